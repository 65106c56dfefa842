# SPDX-License-Identifier: GPL-2.0-only
"""Applies rules to all rows that could break one, and collects the findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..regions import SIZES, Runs, runs
from ..spaces.model import Space, roots_text
from ..steps import Progress, Task, run_tasks
from .row_sieve import Cells, Sieve
from .row_streams import Columns, RowStreams, Stream
from .rows import Machine, Rows
from .rules import Rule


@dataclass(frozen=True)
class Finding:
    """All entries that break one rule, in address order."""

    rule: Rule
    va: np.ndarray  #: uint64
    level: np.ndarray  #: uint8
    entry: np.ndarray  #: uint64
    ranges: Runs  #: the same as runs of neighbours; ``first`` is an index into ``entry``
    partner: int | None = None  #: where the first one's page is executable, if that is the fault
    partner_spaces: tuple[Space, ...] = ()  #: in which spaces, where several were walked

    @property
    def entries(self) -> int:
        """How many entries break the rule."""
        return len(self.entry)

    @property
    def size(self) -> int:
        """How many bytes they cover."""
        return int(SIZES[self.level].sum())

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        found: dict[str, Any] = {
            "rule": self.rule.id,
            "severity": self.rule.severity,
            "sentence": self.rule.sentence,
            "follows": self.rule.follows,
            "kernels": self.rule.kernels,
            "entries": self.entries,
            "bytes": self.size,
            "ranges": [
                {
                    "start": f"{start:#x}",
                    "end": f"{end or 1 << 64:#x}",
                    "entries": members,
                    "level": int(self.level[first]),
                    "entry": f"{self.entry[first]:#018x}",
                }
                for start, end, first, members in self.ranges.rows()
            ],
        }
        if self.partner is not None:
            found["executable_at"] = f"{self.partner:#x}"
            if self.partner_spaces:
                found["executable_in"] = roots_text(self.partner_spaces)
        return found


class _Hits(NamedTuple):
    """Rows that break a rule, with frame and user right of the first one."""

    va: np.ndarray
    level: np.ndarray
    entry: np.ndarray
    pa: int
    user: bool


def find(
    source: RowStreams,
    rules: Sequence[Rule],
    machine: Machine,
    others: Sequence[RowStreams] = (),
    progress: Progress | None = None,
) -> list[Finding]:
    """Return the findings; others: where else the code of a frame may be mapped."""
    cells = Cells(machine)
    tasks = [_look(source, stream, rules, machine, cells) for stream in source.streams]
    by_stream = run_tasks(tasks, source.threads, progress)
    found = []
    for number, rule in enumerate(rules):
        hits = [hit for stream in by_stream for hit in stream[number]]
        if hits:
            found.append(_finding(rule, hits, [source, *others]))
    return found


def _look(
    source: RowStreams, stream: Stream, rules: Sequence[Rule], machine: Machine, cells: Cells
) -> Task[list[list[_Hits]]]:
    sieve = Sieve(rules, machine, cells)
    found: list[list[_Hits]] = [[] for _ in rules]
    for seen, columns in sieve.passing(stream()):
        if columns is not None:
            rows = Rows(source.walk_of(columns), 0, len(columns["va"]))
            for rule, hits in zip(rules, found, strict=True):
                broken = np.flatnonzero(rule.predicate(rows, machine))
                if len(broken):
                    hits.append(_hits(rows, broken))
        yield seen
    return found


def _hits(rows: Rows, broken: np.ndarray) -> _Hits:
    first = broken[0]
    va, level, entry = (column[broken] for column in (rows.va, rows.level, rows.entry))
    return _Hits(va, level, entry, int(rows.pa[first]), bool(rows.user[first]))


def _finding(rule: Rule, hits: list[_Hits], sources: Sequence[RowStreams]) -> Finding:
    va = np.concatenate([hit.va for hit in hits])
    level = np.concatenate([hit.level for hit in hits])
    entry = np.concatenate([hit.entry for hit in hits])
    partner, where = _partner(rule, hits[0], sources) if rule.partner else (None, ())
    return Finding(rule, va, level, entry, runs(va, SIZES[level]), partner, where)


def _partner(
    rule: Rule, hit: _Hits, sources: Sequence[RowStreams]
) -> tuple[int | None, tuple[Space, ...]]:
    """Return the lowest address of the mapping that makes a row a fault, and its spaces."""
    assert rule.partner is not None
    start, size = hit.pa, int(SIZES[hit.level[0]])
    for source in sources:
        for stream in source.streams:
            for columns in stream():
                rows = _near(source, columns, start, size)
                if rows is None:
                    continue
                overlaps = (rows.pa < start + size) & (rows.pa + rows.size > start)
                hits = np.flatnonzero(rule.partner(rows, hit.user) & overlaps)
                if len(hits):
                    return int(rows.va[hits[0]]), source.walked.spaces
    return None, ()


def _near(source: RowStreams, columns: Columns, start: int, size: int) -> Rows | None:
    """Return the rows of level 1 whose frame is in a range, and all of other levels."""
    mask = np.uint64(0x000F_FFFF_FFFF_F000 & ~source.walked.root.encryption)
    frame = columns["entry"] & mask
    wanted = frame - np.uint64(start) < np.uint64(size)
    wanted |= columns["traits"] >= np.uint8(64)
    chosen = np.flatnonzero(wanted)
    if not len(chosen):
        return None
    some = source.walk_of({name: column[chosen] for name, column in columns.items()})
    return Rows(some, 0, len(chosen))
