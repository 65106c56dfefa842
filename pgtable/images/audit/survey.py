# SPDX-License-Identifier: GPL-2.0-only
"""What rules ask of an address space as a whole: its code, what it maps, how it keeps Dirty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..regions import Intervals
from ..steps import Progress, Task, run_tasks
from ..walk import Root
from .recognise import evidence_of
from .row_sieve import Cells, Sieve, class_rows
from .row_streams import RowStreams, Stream
from .rows import IntervalCollector, Machine, Rows


@dataclass
class Survey:
    """What a look at all rows gives.

    evidence: what tells rule sets apart (see :mod:`.recognise`); user_code, kernel_code:
    pages that user mode and the kernel may execute; mapped: leaves; outside: those not in
    what the image holds; maps_more: a large page of the kernel's own is all outside.
    """

    evidence: np.ndarray
    user_code: Intervals
    kernel_code: Intervals
    rows: int
    mapped: int
    outside: int
    maps_more: bool

    def is_reduced(self, share: float) -> bool:
        """Tell whether the image has less than this share of what is mapped."""
        return self.mapped - self.outside < self.mapped * share


class _Question(NamedTuple):
    """What is asked of rows as a rule is."""

    predicate: Callable[[Rows, Machine], np.ndarray]


def _is_code(rows: Rows, _: Machine) -> np.ndarray:
    return rows.leaf & ~rows.nx


class _Found:
    """What one stream gave."""

    def __init__(self) -> None:
        self.evidence = np.zeros(4, np.int64)
        self.user_code = IntervalCollector()
        self.kernel_code = IntervalCollector()
        self.rows = self.mapped = self.outside = 0
        self.maps_more = False


def survey(source: RowStreams, held: Intervals | None, progress: Progress | None = None) -> Survey:
    """Look at all rows once; held: the memory that the image has, if that is asked."""
    machine = _machine(source.walked.root, held)
    cells = Cells(machine)
    tasks = [_look(source, stream, machine, cells) for stream in source.streams]
    found = run_tasks(tasks, source.threads, progress)
    return Survey(
        sum((one.evidence for one in found), np.zeros(4, np.int64)),
        IntervalCollector.joined([one.user_code for one in found]),
        IntervalCollector.joined([one.kernel_code for one in found]),
        sum(one.rows for one in found),
        sum(one.mapped for one in found),
        sum(one.outside for one in found),
        any(one.maps_more for one in found),
    )


def _machine(root: Root, held: Intervals | None) -> Machine:
    nothing = Intervals(np.empty(0, np.uint64), np.empty(0, np.uint64))
    return Machine(
        memory=held,
        memory_why="",
        incomplete="",
        physical_bits=None,
        nxe=root.nxe,
        tables=nothing,
        missing_tables=nothing,
        tops=(),
        levels=root.levels,
        encryption=root.encryption,
        cow=0,
        loops=np.empty(0, np.uint64),
        user_code=nothing,
        kernel_code=nothing,
    )


def _look(source: RowStreams, stream: Stream, machine: Machine, cells: Cells) -> Task[_Found]:
    sieve = Sieve([_Question(_is_code)], machine, cells, counting=True)
    found = _Found()
    for seen, columns in sieve.passing(stream()):
        if columns is not None:
            _add(found, Rows(source.walk_of(columns), 0, len(columns["va"])), machine)
        found.rows += seen
        yield seen
    _add_classes(found, sieve, source.walked.root)
    return found


def _add(found: _Found, rows: Rows, machine: Machine) -> None:
    code = rows.leaf & ~rows.nx
    for collector, mask in (
        (found.user_code, code & rows.user),
        (found.kernel_code, code & ~rows.user),
    ):
        collector.add(rows.pa[mask], rows.size[mask])
    upper = rows.leaf & (rows.level > 1)  # those of level 1 are counted by class
    found.mapped += int(np.count_nonzero(upper))
    found.evidence += [np.count_nonzero(mask) for mask in evidence_of(rows, upper)]
    if machine.memory is not None:
        outside = upper & ~machine.memory.contain(rows.pa, rows.size)
        found.outside += int(np.count_nonzero(outside))
        found.maps_more |= rows.large_outside(machine.memory)


def _add_classes(found: _Found, sieve: Sieve, root: Root) -> None:
    classes = sieve.met
    counts = sieve.counts[classes].astype(np.int64)
    rows = class_rows(classes, root)
    found.mapped += int(counts[rows.leaf].sum())
    found.outside += sieve.outside
    found.evidence += [int(counts[mask].sum()) for mask in evidence_of(rows, rows.leaf)]


def together(found: Sequence[Survey]) -> tuple[Intervals, Intervals]:
    """Return the user's and the kernel's code of several address spaces."""
    users, kernels = IntervalCollector(), IntervalCollector()
    for one in found:
        users.add_intervals(one.user_code)
        kernels.add_intervals(one.kernel_code)
    return users.intervals(), kernels.intervals()
