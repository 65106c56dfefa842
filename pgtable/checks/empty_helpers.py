# SPDX-License-Identifier: GPL-2.0-only
"""Helpers that a tree's configuration leaves empty.  That is no fault, and no law is about them.

Without an option (huge pages, soft-dirty tracking, NUMA balancing ...) a kernel
has stubs instead of some helpers: tests that are never true, and maps that change nothing. A stub
is known from a fault by its family: an option leaves the whole family empty.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from ..engines.interface import Engine, Helper, Step
from .inputs import single
from .subject import stem_of

#: Stems of helpers that one option compiles in or out together, at each level separately.
FAMILIES = (
    ("trans_huge",),
    ("devmap",),
    ("protnone",),
    ("special", "mkspecial"),
    ("soft_dirty", "mksoft_dirty", "clear_soft_dirty"),
    ("swp_soft_dirty", "swp_mksoft_dirty", "swp_clear_soft_dirty"),
    ("uffd_wp", "mkuffd_wp", "clear_uffd_wp"),
    ("swp_uffd_wp", "swp_mkuffd_wp", "swp_clear_uffd_wp"),
    ("huge",),
    ("is_swap_*", "to_swp_entry", "swp_entry_to_*"),
)

#: A family counts as left empty only if one of these options is off.
OPTIONS = {"huge": "CONFIG_HUGETLB_PAGE"}

#: Helpers of swap entries, by name -> options; without one of them each may be empty.
SWAP_OPTIONS = {
    r"device_(?:private|exclusive)_entry$": ("CONFIG_DEVICE_PRIVATE",),
    r"is_pmd_migration_entry$": ("CONFIG_ARCH_ENABLE_THP_MIGRATION",),
    r"migration_entry_(?:young|dirty)$": ("CONFIG_MIGRATION", "CONFIG_SWAP"),
    r"migration_entry$": ("CONFIG_MIGRATION",),
    r"hwpoison_entry$": ("CONFIG_MEMORY_FAILURE",),
    r"pte_marker": ("CONFIG_PTE_MARKER", "CONFIG_PTE_MARKER_UFFD_WP"),
    r"pte_swp_uffd_wp_any$": ("CONFIG_PTE_MARKER_UFFD_WP",),
    r"swapin_error_entry$": ("CONFIG_SWAP", "CONFIG_PTE_MARKER"),
}

#: A stem without a family of its own -> the stem whose option leaves it empty as well.
GOES_WITH = {"softleaf_from_*": "trans_huge"}


def compiled_out(engine: Engine) -> list[str]:
    """Return the helpers that are stubs, with all of their family at their level."""
    by_place: dict[tuple[str, str], Helper] = {}
    for helper in engine.helpers.values():
        stem, level = stem_of(helper), helper.level
        if level == "swp" and helper.name.startswith("swp_entry_to_"):
            # it does not take a pmd, but it belongs to that level
            stem, level = "swp_entry_to_*", helper.name[-3:]
        elif "*" in stem:
            level = helper.name[-3:]
        by_place[stem, level] = helper
    found = []
    for family in FAMILIES:
        for level in ("pte", "pmd", "pud"):
            members = [by_place[stem, level] for stem in family if (stem, level) in by_place]
            if members and _may_be_off(engine, family) and all(map(_does_nothing, members)):
                found += [helper.name for helper in members]
    found += [
        helper.name
        for helper in engine.helpers.values()
        if helper.name not in found and _is_empty_swap_helper(engine, helper)
    ]
    for (stem, level), helper in by_place.items():
        other = by_place.get((GOES_WITH.get(stem, ""), level))
        if other is not None and other.name in found and _does_nothing(helper):
            found.append(helper.name)
    return found


def _is_empty_swap_helper(engine: Engine, helper: Helper) -> bool:
    configured = getattr(engine, "configured", None)
    if configured is None:
        return False
    for pattern, options in SWAP_OPTIONS.items():
        if re.search(pattern, helper.name):
            return not all(map(configured, options)) and _does_nothing(helper)
    return False


def _may_be_off(engine: Engine, family: tuple[str, ...]) -> bool:
    """Tell whether a family of one helper, which may be a fault, has its option off."""
    option = OPTIONS.get(family[0])
    configured = getattr(engine, "configured", None)
    return option is None or (configured is not None and not configured(option))


def _does_nothing(helper: Helper) -> bool:
    """Tell whether a test is never true, or a map gives its input or 0, whatever the entry."""
    if helper.argument:
        return False
    entries = single(0).entries
    if helper.kind == "test":
        return helper.count(entries) == 0
    results = helper(entries)
    return bool((results == entries).all() or not results.any())


class ReducedEngine(Engine):
    """An engine without some of its helpers."""

    def __init__(self, engine: Engine, names: list[str]):
        self.name = engine.name
        self._engine = engine
        left: Mapping[str, Helper] = engine.helpers
        self._set_helpers(helper for name, helper in left.items() if name not in names)

    def configured(self, option: str) -> bool:
        """Tell whether a build option is on.  In an engine that is no tree all options are on."""
        ask = getattr(self._engine, "configured", None)
        return ask is None or bool(ask(option))

    def _run_one(self, steps: tuple[Step, ...], entry: int) -> int | bool:
        return self._engine._run_one(steps, entry)

    def _run(
        self,
        steps: tuple[Step, ...],
        entries: np.ndarray,
        out: np.ndarray | None,
        where: np.ndarray | Helper | None,
        otherwise: np.ndarray | None,
        threads: int,
    ) -> int:
        return self._engine._run(steps, entries, out, where, otherwise, threads)
