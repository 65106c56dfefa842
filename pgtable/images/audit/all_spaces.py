# SPDX-License-Identifier: GPL-2.0-only
"""Audit every address space of a machine: one report, in which findings say in which spaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...kernels import Kernel
from ..image import Image
from ..spaces.model import Space, Spaces, roots_text
from . import Finding, _applicable, _check, _limits, _run, recognise
from .audit_result import AuditResult
from .machine_memory import find_memory
from .rows import find_machine, find_shared
from .rules import RULES, SEVERITIES, Rule


@dataclass(frozen=True)
class SpaceFinding:
    """A finding, and the spaces that have the very same entries.

    everywhere: it is in the kernel half that all spaces share.
    """

    finding: Finding
    spaces: tuple[Space, ...]
    everywhere: bool

    @property
    def rule(self) -> Rule:
        """The rule that is broken."""
        return self.finding.rule

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {
            **self.finding.as_dict(),
            "everywhere": self.everywhere,
            "spaces": roots_text(self.spaces),
        }


@dataclass(frozen=True)
class SpacesAudit(AuditResult):
    """What an audit of all spaces found, worst first, and what it could not look at."""

    findings: Sequence[SpaceFinding]
    spaces: Spaces
    kernel: Kernel | None  #: who made the entries


def audit_spaces(
    image: Image,
    found: Spaces | None = None,
    *,
    rules: str | None = None,
    memory: Any = None,
    physical_bits: int | None = None,
    kernel: str | Kernel | None = None,
) -> SpacesAudit:
    """Audit every address space of a machine, the kernel half that they share once.

    Frames are compared across spaces: what one may write to and another executes, and page
    tables of any space.

    found: what ``image.spaces()`` returned; default: it is asked.
    The other arguments and errors are those of :func:`pgtable.audit` and ``Image.walk``.
    """
    _check(rules, physical_bits)
    spaces = image.spaces() if found is None else found
    walks = list(image.walk_all(spaces, kernel=kernel))
    recognised = recognise(walks, rules)
    known = find_memory(walks[0], image, memory)
    shared = find_shared(walks)
    merged: dict[tuple[str, bytes, bytes], SpaceFinding] = {}
    skipped: dict[tuple[str, str], Rule] = {}
    limits: dict[str, None] = dict.fromkeys(spaces.notes)
    for number, walk in enumerate(walks):
        machine = find_machine(walk, known, physical_bits, recognised.rules or "cow", shared)
        applied, left = _applicable(recognised, machine)
        skipped |= {(rule.id, why): rule for rule, why in left}
        limits |= dict.fromkeys(_limits(walk, image, physical_bits))
        for finding in _run(walk, applied, machine, walks):
            _merge(merged, SpaceFinding(finding, walk.spaces, number == 0))
    order = {rule.id: i for i, rule in enumerate(RULES)}
    findings = sorted(
        merged.values(),
        key=lambda one: (
            SEVERITIES.index(one.rule.severity),
            order[one.rule.id],
            not one.everywhere,
        ),
    )
    return SpacesAudit(
        recognised,
        findings,
        [(rule, why) for (_, why), rule in skipped.items()],
        list(limits),
        sum(map(len, walks)),
        spaces,
        walks[0].kernel,
    )


def _merge(merged: dict[tuple[str, bytes, bytes], SpaceFinding], one: SpaceFinding) -> None:
    """Join findings whose addresses and entries are the same."""
    finding = one.finding
    key = finding.rule.id, finding.va.tobytes(), finding.entry.tobytes()
    known = merged.get(key)
    if known is not None:
        more = tuple(space for space in one.spaces if space not in known.spaces)
        one = replace(known, spaces=(*known.spaces, *more))
    merged[key] = one
