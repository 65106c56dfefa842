# SPDX-License-Identifier: GPL-2.0-only
"""The rule sets, their two switches, and which combinations exist."""

from __future__ import annotations

from typing import NamedTuple


class Switches(NamedTuple):
    """One rule set with its switches set.

    ``shstk`` is the run-time switch ``cpu_feature_enabled(X86_FEATURE_SHSTK)``,
    ``config`` the build-time switch ``CONFIG_X86_SHADOW_STACK``.
    """

    rules: str
    shstk: bool
    config: bool

    def __str__(self) -> str:
        return f"rules={self.rules!r}, shstk={self.shstk}, config={self.config}"


#: Every combination that exists.  The first of a rule set is its default.
COMBINATIONS = (
    Switches("cow", True, True),
    Switches("cow", False, True),
    Switches("cow", True, False),
    Switches("cow", False, False),
    Switches("base", False, False),
    Switches("saved_dirty", True, True),
    Switches("saved_dirty", False, True),
)

RULES = tuple(dict.fromkeys(combination.rules for combination in COMBINATIONS))


def resolve(rules: str, shstk: bool | None, config: bool | None) -> Switches:
    """Return the combination; a switch left at None takes the rule set's default.

    Raises ValueError, listing the combinations that exist, for any other.
    """
    for combination in COMBINATIONS:
        if (
            combination.rules == rules
            and shstk in (None, combination.shstk)
            and config in (None, combination.config)
        ):
            return combination
    asked = ", ".join(
        f"{name}={value!r}"
        for name, value in (("rules", rules), ("shstk", shstk), ("config", config))
        if value is not None
    )
    exist = "; ".join(map(str, COMBINATIONS))
    raise ValueError(f"no such combination: {asked}; these exist: {exist}")
