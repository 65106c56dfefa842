# SPDX-License-Identifier: GPL-2.0-only
"""Find in a walk what should not be there.

:func:`audit` asks every rule of :data:`RULES` that applies, and gives findings
with address ranges; rules that cannot be applied are listed with the reason.
Rows are looked at a cacheful at a time, so an audit costs little memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...engines.switches import RULES as RULE_SETS
from ...kernels import CHANGES
from ..image import Image
from ..regions import SIZES, Runs, runs
from ..spaces.model import Space
from ..walk import MAX_REPORTS, Walk
from .machine_memory import find_memory
from .recognise import Recognised, recognise, recognise_census
from .rows import Machine, chunks, find_machine
from .rules import RULES, SEVERITIES, Rule

__all__ = [
    "RULES",
    "SEVERITIES",
    "Audit",
    "Finding",
    "Recognised",
    "Rule",
    "audit",
    "recognise",
    "recognise_census",
]

_CR4_CET = 1 << 23


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
                found["executable_in"] = [f"{space.root:#x}" for space in self.partner_spaces]
        return found


@dataclass(frozen=True)
class Audit:
    """What an audit found, worst first, and what it could not look at."""

    recognised: Recognised
    findings: Sequence[Finding]
    skipped: Sequence[tuple[Rule, str]]  #: rules that were not applied, and why
    limits: Sequence[str]  #: what rules that were applied could not see
    rows: int  #: how many entries were looked at

    @property
    def faults(self) -> int:
        """How many findings are more than a note."""
        return sum(finding.rule.severity != "note" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {
            "rows": self.rows,
            "rules": self.recognised.rules,
            "rules_given": self.recognised.given,
            "rules_doubt": self.recognised.doubt,
            "evidence": {
                "read_only_dirty": self.recognised.kept,
                "read_only_saved_dirty": self.recognised.saved,
                "kernel_read_only_dirty": self.recognised.kernel_kept,
                "kernel_read_only_clean": self.recognised.kernel_clean,
            },
            "findings": [finding.as_dict() for finding in self.findings],
            "not_applied": [{"rule": rule.id, "why": why} for rule, why in self.skipped],
            "limits": list(self.limits),
        }


def audit(
    walk: Walk,
    image: Image | None = None,
    *,
    rules: str | None = None,
    memory: Any = None,
    physical_bits: int | None = None,
) -> Audit:
    """Audit a walk.

    image: where it comes from: which physical memory there is, and CR4.
    rules: the rule set of the kernel; None: that of a kernel that an argument of the walk
        named, else recognised from the entries.
    memory: the machine's physical memory, [start, end) a row; None: what the
        image holds, if that is all there is (see :mod:`.memory`).
    physical_bits: width of physical addresses, 32 to 52; None: not known.

    Raises ValueError for an unknown rule set, an impossible width, and ranges
    that end before they start or are no physical addresses.
    """
    _check(rules, physical_bits)
    recognised = recognise(walk, rules)
    known = find_memory(walk, image, memory)
    machine = find_machine(walk, known, physical_bits, recognised.rules or "cow")
    applied, skipped = _applicable(recognised, machine)
    findings = _run(walk, applied, machine, [walk])
    findings.sort(key=lambda finding: SEVERITIES.index(finding.rule.severity))
    return Audit(recognised, findings, skipped, _limits(walk, image, physical_bits), len(walk))


def _check(rules: str | None, physical_bits: int | None) -> None:
    if rules is not None and rules not in RULE_SETS:
        raise ValueError(f"no such rules: {rules!r}; these exist: {', '.join(RULE_SETS)}")
    if physical_bits is not None and not 32 <= physical_bits <= 52:
        raise ValueError(f"physical_bits is {physical_bits}; processors have 32 to 52")


def _applicable(
    recognised: Recognised, machine: Machine
) -> tuple[list[Rule], list[tuple[Rule, str]]]:
    applied, skipped = [], []
    for rule in RULES:
        why_not = rule.why_not(machine)
        if recognised.rules is not None and recognised.rules not in rule.applies:
            why_not = f"rules {recognised.rules} allow it"
        if rule.needs and machine.kernel is not None and not machine.kernel.has(rule.needs):
            why_not = f"Linux {machine.kernel.release} is without: {CHANGES[rule.needs].text}"
        if why_not is None:
            applied.append(rule)
        elif why_not:
            skipped.append((rule, why_not))
    return applied, skipped


def _run(
    walk: Walk, rules: Sequence[Rule], machine: Machine, walks: Sequence[Walk]
) -> list[Finding]:
    """Return what breaks the rules; walks: where else the code of a frame may be mapped."""
    found: list[list[np.ndarray]] = [[] for _ in rules]
    for rows in chunks(walk):
        for rule, indices in zip(rules, found, strict=True):
            hits = np.flatnonzero(rule.predicate(rows, machine))
            if len(hits):
                indices.append(hits + rows.first)
    return [
        _finding(walk, rule, np.concatenate(indices), walks)
        for rule, indices in zip(rules, found, strict=True)
        if indices
    ]


def _finding(walk: Walk, rule: Rule, index: np.ndarray, walks: Sequence[Walk]) -> Finding:
    va, level, entry = walk.va[index], walk.level[index], walk.entry[index]
    partner, where = _partner(walk, rule, index[0], walks) if rule.partner else (None, ())
    return Finding(rule, va, level, entry, runs(va, SIZES[level]), partner, where)


def _partner(
    walk: Walk, rule: Rule, row: int, walks: Sequence[Walk]
) -> tuple[int | None, tuple[Space, ...]]:
    """Return the lowest address of the mapping that makes this one a fault, and its spaces."""
    assert rule.partner is not None
    start, size = int(walk.pa[row]), int(SIZES[walk.level[row]])
    for other in (walk, *(one for one in walks if one is not walk)):
        for rows in chunks(other):
            overlaps = (rows.pa < start + size) & (rows.pa + rows.size > start)
            hits = np.flatnonzero(rule.partner(rows, bool(walk.user[row])) & overlaps)
            if len(hits):
                return int(rows.va[hits[0]]), other.spaces
    return None, ()


def _limits(walk: Walk, image: Image | None, physical_bits: int | None) -> list[str]:
    limits = list(walk.notes)
    if physical_bits is None:
        limits.append(
            "reserved-bits: address bits above the processor's width were not looked at"
            " (CPUID has it, an image does not: say it)"
        )
    loops = walk.report_counts.get("loop", 0)
    if loops > MAX_REPORTS:
        limits.append(f"table-loop: {MAX_REPORTS} of {loops} loops are listed")
    if walk.report_counts.get("once"):
        limits.append("tables that are reached at several addresses were looked at once")
    if walk.report_counts.get("limit"):
        limits.append("the walk stopped at its limit: addresses above were not looked at")
    if image is not None and image.cpus and not any(cpu.cr4 & _CR4_CET for cpu in image.cpus):
        limits.append(
            "CR4.CET is 0: these processors did not take Write=0,Dirty=1 for shadow stacks"
        )
    return limits
