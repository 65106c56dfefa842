# SPDX-License-Identifier: GPL-2.0-only
"""Finds entries in a walk that should not be there.

:func:`audit` applies every rule of :data:`RULES` that it can, and gives findings with address
ranges.  Rules that cannot be applied are listed with the reason.  Rows are looked at in pieces that
fit the caches, so an audit needs little memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...engines.interface import processors
from ...engines.switches import RULES as RULE_SETS
from ...kernels import CHANGES, Kernel
from ..image import Image
from ..mapped import all_there
from ..regions import SIZES, runs
from ..spaces.model import Space
from ..steps import Progress
from ..walk import MAX_REPORTS, Root, Walk, Walked
from .audit_result import AuditResult
from .findings import Finding, find
from .machine_memory import find_memory, held_by
from .recognise import Recognised, conclude, recognise, recognise_census
from .row_streams import RowStreams, TablesWalked, streams_of_image, streams_of_walk
from .rows import Machine, chunks, find_machine
from .rules import RULES, SEVERITIES, Rule
from .survey import survey

__all__ = [
    "RULES",
    "SEVERITIES",
    "Audit",
    "Finding",
    "Recognised",
    "Rule",
    "audit",
    "audit_image",
    "recognise",
    "recognise_census",
]

_CR4_CET = 1 << 23


@dataclass(frozen=True)
class Audit(AuditResult):
    """The findings of an audit of one walk, worst first, and what it could not check."""

    findings: Sequence[Finding]


def audit(
    walk: Walk,
    image: Image | None = None,
    *,
    rules: str | None = None,
    memory: Any = None,
    physical_bits: int | None = None,
    threads: int = 1,
    progress: Progress | None = None,
) -> Audit:
    """Audit a walk.

    image: where it comes from: which physical memory there is, and CR4.
    rules: the rule set of the kernel; None: that of a kernel that an argument of the walk
        named, else recognised from the entries.
    memory: the machine's physical memory, [start, end) a row; None: what the
        image holds, if that is all there is (see :mod:`.machine_memory`).
    physical_bits: width of physical addresses, 32 to 52; None: not known.
    threads, progress: as for ``Image.walk``.

    Raises ValueError for an unknown rule set, an impossible width, and ranges
    that end before they start or are no physical addresses.
    """
    _check(rules, physical_bits)
    if len(walk._traits) == len(walk):
        streams = streams_of_walk(walk, processors(threads))
        return _audit_streams(streams, image, rules, memory, physical_bits, progress)
    recognised = recognise(walk, rules)  # columns that were put together by hand
    known = find_memory(walk, image, memory)
    machine = find_machine(walk, known, physical_bits, recognised.rules or "cow")
    applied, skipped = _applicable(recognised, machine)
    findings = _run(walk, applied, machine, [walk])
    findings.sort(key=_worst_first)
    return Audit(recognised, findings, skipped, _limits(walk, image, physical_bits), len(walk))


def audit_image(
    image: Image,
    start: Root,
    *,
    rules: str | None = None,
    memory: Any = None,
    physical_bits: int | None = None,
    kernel: Kernel | None = None,
    threads: int = 1,
    progress: Progress | None = None,
) -> tuple[Audit, Walked]:
    """Audit what is below a root, without keeping rows; return what was walked as well.

    start: what ``image.root()`` returns; kernel: who made the entries, None: as the image
    says.  The other arguments and errors are those of :func:`audit`.
    """
    _check(rules, physical_bits)
    with all_there(image._files):
        streams = streams_of_image(image, start, processors(threads))
        walked = streams.walked
        walked.set_maker(image.made_by(kernel))
        found = _audit_streams(streams, image, rules, memory, physical_bits, progress)
    return found, walked


def _audit_streams(
    streams: RowStreams,
    image: Image | None,
    rules: str | None,
    memory: Any,
    physical_bits: int | None,
    progress: Progress | None,
) -> Audit:
    walked = streams.walked
    seen = survey(streams, held_by(image, memory), progress)
    if isinstance(walked, TablesWalked):
        walked.rows = seen.rows
    recognised = conclude(seen.evidence, rules, walked)
    known = find_memory(None, image, memory, seen)
    machine = find_machine(
        walked,
        known,
        physical_bits,
        recognised.rules or "cow",
        code=(seen.user_code, seen.kernel_code),
    )
    applied, skipped = _applicable(recognised, machine)
    findings = find(streams, applied, machine, progress=progress)
    findings.sort(key=_worst_first)
    return Audit(recognised, findings, skipped, _limits(walked, image, physical_bits), seen.rows)


def _worst_first(finding: Finding) -> int:
    return SEVERITIES.index(finding.rule.severity)


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


def _limits(walk: Walked, image: Image | None, physical_bits: int | None) -> list[str]:
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
