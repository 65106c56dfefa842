# SPDX-License-Identifier: GPL-2.0-only
"""An engine for the laws: finds helpers by what they do and by level."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import bits
from ..engines.interface import Engine, Helper
from ..engines.switches import Switches

#: Levels that have value helpers of their own kind.
LEVELS = ("pte", "pmd", "pud")


def stem_of(helper: Helper) -> str:
    """Return a helper's name without its level: "wrprotect", "swp_uffd_wp", "pfn_*"."""
    if helper.level not in bits.LEVELS:
        return helper.name
    return helper.name.replace(helper.level, "*", 1).removeprefix("*_")


def meaning_of(stem: str) -> str:
    """Return the stem that says what a helper does.

    hugetlb has other names for the same (``huge_pte_mkdirty``), and one helper may be available
    only as the one that works in memory (``ptep_set_wrprotect``).
    """
    if stem == "*p_set_wrprotect":
        return "wrprotect"
    return stem.removeprefix("huge_*_")


def name_of(stem: str, level: str) -> str:
    """Return the name of a stem's helper at a level."""
    return stem.replace("*", level, 1) if "*" in stem else f"{level}_{stem}"


class Subject:
    """An engine with the rules that it follows."""

    def __init__(self, engine: Engine, switches: Switches):
        self.engine = engine
        self.switches = switches
        self.stems = {name: stem_of(helper) for name, helper in engine.helpers.items()}
        self.meanings = {name: meaning_of(stem) for name, stem in self.stems.items()}

    def get(self, stem: str, level: str) -> Helper | None:
        """Return a helper, or None: an engine need not have all."""
        return self.engine.helpers.get(name_of(stem, level))

    def maps(self) -> Iterator[tuple[str, Helper]]:
        """Yield (what it does, helper) for every helper that makes an entry from an entry."""
        for name, helper in self.engine.helpers.items():
            stem = self.meanings[name]
            about_entries = helper.info.takes == helper.info.gives in LEVELS
            if about_entries or stem in ("pfn_*", "protval_4k_2_large", "protval_large_2_4k"):
                yield stem, helper

    def dirty(self, level: str, entries: Any) -> Any:
        """Return which entries are dirty for the engine itself."""
        test = self.get("dirty", level if level in LEVELS else "pte")
        if test is not None:
            return test(entries)
        dirty = bits.DIRTY | bits.cow_bit(self.switches.rules, self.switches.config)
        return (entries & dirty) != 0

    def configured(self, option: str) -> bool:
        """Tell whether a tree has a build option on.  In our own engines all are on."""
        ask = getattr(self.engine, "configured", None)
        return ask is None or bool(ask(option))

    def frame(self, level: str, entries: Any) -> Any:
        """Return the frame numbers as the engine itself reads them."""
        pfn = self.get("pfn", level)
        return bits.frame(entries, level) if pfn is None else pfn(entries)


def run(helper: Helper, entries: Any, arguments: Any) -> Any:
    """Call a helper.  A second argument that is a mapping may be left out: then it has no flags."""
    if helper.argument is None:
        return helper(entries)
    return helper(entries, 0 if arguments is None else arguments)


def has(entries: Any, mask: int) -> Any:
    """Tell which entries have all of these bits."""
    return (entries & mask) == mask


def lacks(entries: Any, mask: int) -> Any:
    """Tell which entries have none of these bits."""
    return (entries & mask) == 0


def looks_like_shadow_stack(entries: Any) -> Any:
    """Tell which entries are Write=0,Dirty=1."""
    return (entries & (bits.RW | bits.DIRTY)) == bits.DIRTY


def keeps_frame_inverted(entries: Any) -> Any:
    """Tell which entries are non-zero and not present."""
    return (entries != 0) & lacks(entries, bits.PRESENT)
