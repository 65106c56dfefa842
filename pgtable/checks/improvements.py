# SPDX-License-Identifier: GPL-2.0-only
"""Finds differences that are improvements: only the reference breaks a law there."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..engines.interface import Engine
from .compare import ClassifiedDifference, Comparison
from .differential import differ, inputs_for
from .law_case import Case
from .law_check import LawReport
from .laws import LAWS
from .search import Fails, fails_anywhere
from .subject import Subject

#: Laws about one entry.  Whether levels agree follows from these, or is about both levels.
_BY_ITSELF = (
    *("no_accidental_shadow_stack", "dirtiness_not_lost", "dirtiness_not_made_up"),
    "levels_agree",
)


def improvements(
    tree: Engine, ours: Engine, against: Comparison, laws: LawReport
) -> dict[str, str]:
    """Return helper -> law, for helpers that differ only where the reference breaks that law.

    The tree's helper must break none on these inputs, and have no finding.
    """
    found = {}
    guilty = {name for finding in laws for name in (finding.helper, finding.with_)}
    for each in against:
        if each.helper not in guilty and (law := _better(tree, ours, each, laws)):
            found[each.helper] = law
    return found


def _better(tree: Engine, ours: Engine, difference: ClassifiedDifference, laws: LawReport) -> str:
    """Return the laws that a difference mends; "" if a part of it is no improvement."""
    name = difference.helper
    given = inputs_for(ours.helpers[name], 0)
    theirs, broken = Subject(tree, laws.rules), Subject(ours, laws.rules)
    where = differ(tree.helpers[name], ours.helpers[name])
    mended, breaks = [], []
    for law in LAWS:
        if law.name not in _BY_ITSELF:
            continue
        old = _cases(law.cases(broken), name)
        new = _cases(law.cases(theirs), name)
        if any(fails_anywhere(_both(where, case), given) for case in new):
            return ""
        if any(fails_anywhere(_both(where, case), given) for case in old):
            mended.append(law.name)
            breaks += old
    if mended and not fails_anywhere(_elsewhere(where, breaks), given):
        return ", ".join(mended)
    return ""


def _cases(cases: Any, name: str) -> list[Case]:
    return [case for case in cases if name in (case.helper.name, case.with_ and case.with_.name)]


def _fails(case: Case, entries: Any, arguments: Any) -> Any:
    broken = case.breaks(case.outcome(entries, arguments))
    return broken if case.applies is None else broken & case.applies(entries, arguments)


def _both(where: Fails, case: Case) -> Fails:
    return lambda entries, arguments: where(entries, arguments) & _fails(case, entries, arguments)


def _elsewhere(where: Fails, cases: list[Case]) -> Fails:
    def fails(entries: Any, arguments: Any) -> Any:
        left = np.array(where(entries, arguments))
        for case in cases:
            left &= ~_fails(case, entries, arguments)
        return left

    return fails
