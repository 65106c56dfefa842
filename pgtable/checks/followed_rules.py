# SPDX-License-Identifier: GPL-2.0-only
"""Finds out which of our rule sets an engine follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..engines.interface import Engine, Helper
from ..engines.native import native
from ..engines.switches import COMBINATIONS, Switches
from .differential import comparable, differ, inputs_for
from .report import Report, wrap
from .search import fails_anywhere
from .subject import LEVELS, name_of
from .variants import variants_of


@dataclass(frozen=True)
class Recognition(Report):
    """The rules that an engine follows most closely."""

    engine: str
    switches: Switches
    shared: int  #: how many helpers could be compared
    differing: tuple[str, ...]  #: helpers that compute something else
    known: tuple[str, ...] = ()  #: helpers with a known difference of such trees

    @property
    def matches(self) -> bool:
        """Whether there are shared helpers, and all compute what they should."""
        return not self.differing and self.shared > 0

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "engine": self.engine,
            "matches": self.matches,
            "rules": self.switches._asdict(),
            "shared": self.shared,
            "differing": list(self.differing),
            "known_differences": list(self.known),
        }

    def __str__(self) -> str:
        name = self.switches.rules
        if self.matches:
            return wrap(matching(self.switches, self.shared, len(self.known)), hang="  ")
        if not self.shared:
            return "no helper in common with any rules"
        return wrap(
            f"nearest to {name} ({self.switches}): {len(self.differing)} of {self.shared}"
            f" helpers differ: {', '.join(self.differing)}",
            hang="  ",
        )


def matching(switches: Switches, shared: int, known: int) -> str:
    """Return a sentence: how many helpers match the rules, and how many with known differences."""
    but_for = f", {known} of them but for known differences" if known else ""
    return f"matches {switches.rules} ({switches}): {shared} helpers{but_for}"


#: Helpers that only these rules have: a tree with one of them follows these rules.
_OWN = {"cow": ("mkcow", "clear_cow"), "saved_dirty": ("mksaveddirty", "clear_saveddirty")}


def _has_any(engine: Engine, stems: tuple[str, ...]) -> bool:
    return any(name_of(stem, level) in engine.helpers for stem in stems for level in LEVELS)


def recognise(engine: Engine) -> Recognition:
    """Return which rules and switches an engine follows, helper by helper."""
    own = {rules for rules, stems in _OWN.items() if _has_any(engine, stems)}
    chosen = [each for each in COMBINATIONS if len(own) != 1 or each.rules in own]
    candidates = [_compare(engine, switches) for switches in chosen]
    return min(candidates, key=_distance(engine))


def _distance(engine: Engine) -> Callable[[Recognition], tuple[int, int]]:
    """Order by helpers that differ; then by what only one side has."""

    def distance(found: Recognition) -> tuple[int, int]:
        ours = native(*found.switches).helpers
        others = len(ours.keys() ^ engine.helpers.keys())
        return len(found.differing), others + len(found.known)

    return distance


def _compare(engine: Engine, switches: Switches) -> Recognition:
    ours = native(*switches).helpers
    shared = [
        helper
        for name, helper in engine.helpers.items()
        if name in ours and comparable(helper, ours[name])
    ]
    differing = [helper for helper in shared if _differs(helper, ours[helper.name])]
    known = tuple(helper.name for helper in differing if _is_known(helper, ours[helper.name]))
    return Recognition(
        engine.name,
        switches,
        len(shared),
        tuple(helper.name for helper in differing if helper.name not in known),
        known,
    )


def _differs(helper: Helper, other: Helper) -> bool:
    return fails_anywhere(differ(helper, other), inputs_for(helper, 0))


def _is_known(helper: Helper, ours: Helper) -> bool:
    given = inputs_for(helper, 0)
    return any(
        not fails_anywhere(variant.differ(helper, ours), given)
        for variant in variants_of(helper, ours)
    )
