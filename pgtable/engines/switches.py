# SPDX-License-Identifier: GPL-2.0-only
"""The rule sets, their two switches, which combinations exist, and what versions change of them."""

from __future__ import annotations

from typing import NamedTuple

from ..kernels import Kernel, find


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

#: What some versions of the kernel do differently, apart from rules and switches:
#: ``plain_frames``: before the change for L1TF (4.19) frames of PROT_NONE entries are not inverted;
#: ``plain_frames_swp7``: and up to 4.13 the soft-dirty bit of swap entries is bit 7;
#: ``drops_dirty``: from 6.6 until the fix of September 2026 pmd_modify() drops Dirty.
#: csrc/Makefile compiles each with the switches that stand here.
VARIANTS = (
    (Switches("base", False, False), "plain_frames"),
    (Switches("base", False, False), "plain_frames_swp7"),
    (Switches("saved_dirty", True, True), "drops_dirty"),
    (Switches("saved_dirty", False, True), "drops_dirty"),
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
    given = ", ".join(
        f"{name}={value!r}"
        for name, value in (("rules", rules), ("shstk", shstk), ("config", config))
        if value is not None
    )
    exist = "; ".join(map(str, COMBINATIONS))
    raise ValueError(f"no such combination: {given}; these exist: {exist}")


class Chosen(NamedTuple):
    """What a native or reference engine computes, and which kernel decided it."""

    switches: Switches
    variant: str  #: one of :data:`VARIANTS`, or "" for the newest kernel of the rules
    kernel: Kernel | None

    def __str__(self) -> str:
        release = f", kernel={self.kernel.release!r}" if self.kernel else ""
        return f"{self.switches}{release}"


def choose(
    rules: str | None, shstk: bool | None, config: bool | None, kernel: str | Kernel | None
) -> Chosen:
    """Return the choice that rules, switches and a kernel make together.

    rules: None: those of the kernel, or "cow" where none is named.
    kernel: a release as :func:`pgtable.kernels.find` reads it, what that gives, or None.

    Raises ValueError for a release that cannot be read, for a combination that does not
    exist, and for rules that no kernel of that version can have had.
    """
    if kernel is None:
        return Chosen(resolve("cow" if rules is None else rules, shstk, config), "", None)
    if isinstance(kernel, str):
        kernel = find(kernel, rules=rules)
    elif rules is not None and rules != kernel.rules:
        kernel = kernel.with_rules(rules)
    switches = resolve(kernel.rules, shstk, config)
    variant = kernel.variant
    if variant and (switches, variant) not in VARIANTS:
        raise ValueError(
            f"rules {kernel.rules} are not those of Linux {kernel.release}: before the change for"
            " L1TF (4.19) there are rules base alone; name other rules or another kernel"
        )
    return Chosen(switches, variant, kernel)
