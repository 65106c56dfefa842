# SPDX-License-Identifier: GPL-2.0-only
"""Find in a walk what should not be there.

:func:`audit` asks every rule of :data:`RULES` that applies, and gives findings
with address ranges; rules that cannot be applied are listed with the reason.
Rows are looked at a cacheful at a time, so an audit costs little memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...engines.switches import RULES as RULE_SETS
from ..regions import SIZES, Intervals, Runs, runs
from .recognise import Recognised, recognise
from .rows import Machine, chunks, find_machine
from .rules import RULES, SEVERITIES, Rule

__all__ = ["RULES", "SEVERITIES", "Audit", "Finding", "Recognised", "Rule", "audit", "recognise"]

#: An image that holds less than this share of the mapped memory is taken as reduced.
REDUCED = 0.5


@dataclass(frozen=True)
class Finding:
    """All rows that break one rule."""

    rule: Rule
    index: np.ndarray  #: which rows of the walk, ascending
    ranges: Runs  #: the same as runs of neighbours
    pages: int  #: how many 4 KiB pages they cover

    @property
    def entries(self) -> int:
        """How many entries break the rule."""
        return len(self.index)


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


def audit(
    walk: Any,
    *,
    rules: str | None = None,
    root: int | None = None,
    memory: Iterable[tuple[int, int]] | None = None,
    physical_bits: int | None = None,
    nxe: bool | None = None,
    cet: bool | None = None,
) -> Audit:
    """Audit a walk.

    rules: the rule set of the kernel; None: recognised from the entries.
    root: physical address of the top-level table (its page is a table, too).
    memory: the machine's physical memory as (address, size) pairs; None: not
        known.  Ranges that hold less than half of what is mapped are taken for
        those of a reduced image and not used.
    physical_bits: width of physical addresses (36 to 52); None: not known.
    nxe: EFER.NXE; cet: CR4.CET; None: not known.

    Raises ValueError for an unknown rule set and an impossible width.
    """
    if rules is not None and rules not in RULE_SETS:
        raise ValueError(f"no such rules: {rules!r}; these exist: {', '.join(RULE_SETS)}")
    if physical_bits is not None and not 32 <= physical_bits <= 52:
        raise ValueError(f"physical_bits is {physical_bits}; processors have 36 to 52")
    recognised = recognise(walk, rules)
    ranges = None if memory is None else _intervals(memory)
    reduced = ranges is not None and _is_reduced(walk, ranges)
    machine = find_machine(walk, root, None if reduced else ranges, physical_bits, nxe, cet)
    applied, skipped = _applicable(recognised, machine)
    findings = _run(walk, applied, machine)
    findings.sort(key=lambda finding: SEVERITIES.index(finding.rule.severity))
    return Audit(recognised, findings, skipped, _limits(machine), len(walk.va))


def _intervals(memory: Iterable[tuple[int, int]]) -> Intervals:
    pairs = np.array([*memory], np.uint64).reshape(-1, 2)
    return Intervals(pairs[:, 0], pairs[:, 1])


def _is_reduced(walk: Any, memory: Intervals) -> bool:
    """Tell whether most of what is mapped is missing from the image."""
    mapped = inside = 0
    for rows in chunks(walk):
        pa, size = rows.pa[rows.leaf], rows.size[rows.leaf]
        mapped += len(pa)
        inside += int(memory.contain(pa, size).sum())
    return inside < mapped * REDUCED


def _applicable(
    recognised: Recognised, machine: Machine
) -> tuple[list[Rule], list[tuple[Rule, str]]]:
    applied, skipped = [], []
    for rule in RULES:
        why_not = rule.why_not(machine)
        if recognised.rules is not None and recognised.rules not in rule.applies:
            why_not = f"rules {recognised.rules} allow it"
        if why_not is None:
            applied.append(rule)
        else:
            skipped.append((rule, why_not))
    return applied, skipped


def _run(walk: Any, rules: Sequence[Rule], machine: Machine) -> list[Finding]:
    found: list[list[np.ndarray]] = [[] for _ in rules]
    for rows in chunks(walk):
        for rule, indices in zip(rules, found, strict=True):
            hits = np.flatnonzero(rule.predicate(rows, machine))
            if len(hits):
                indices.append(hits + rows.first)
    return [
        _finding(walk, rule, np.concatenate(indices))
        for rule, indices in zip(rules, found, strict=True)
        if indices
    ]


def _finding(walk: Any, rule: Rule, index: np.ndarray) -> Finding:
    size = SIZES[walk.level[index]]
    return Finding(rule, index, runs(walk.va[index], size), int(size.sum()) >> 12)


def _limits(machine: Machine) -> list[str]:
    limits = []
    if machine.physical_bits is None:
        limits.append(
            "reserved-bits: address bits above the processor's width not looked at"
            " (CPUID knows it, an image does not: give it)"
        )
    if machine.nxe is None:
        limits.append("reserved-bits: EFER.NXE not known, bit 63 taken as NX")
    if machine.cet is False:
        limits.append("CR4.CET is 0: this processor reads no Write=0,Dirty=1 as a shadow stack")
    return limits
