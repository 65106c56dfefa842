# SPDX-License-Identifier: GPL-2.0-only
"""The reference engine: what every helper computes, in plain Python, written to be read.

Nothing here uses the C module.  Each helper is written once, with operators that mean the same for
an int and for a NumPy array of uint64.  So the text that you read also runs on a million entries.
A choice that depends on the entry goes through :func:`pick`.  A choice that depends on the rules is
a plain ``if``.

This list of helpers is written by hand on purpose: an oracle that is made from
the same source as what it judges proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ..kernels import Kernel
from .interface import Engine, Helper, HelperInfo, Step
from .switches import COMBINATIONS, Chosen, Switches, choose

ALL = 2**64 - 1

PRESENT = 1 << 0
RW = 1 << 1
USER = 1 << 2
PWT = 1 << 3
PCD = 1 << 4
ACCESSED = 1 << 5
DIRTY = 1 << 6
PSE = 1 << 7
PAT = 1 << 7
GLOBAL = 1 << 8
PROTNONE = 1 << 8
SPECIAL = 1 << 9
UFFD_WP = 1 << 10
SOFT_DIRTY = 1 << 11
PAT_LARGE = 1 << 12
COW = 1 << 58
NX = 1 << 63

FRAME = {
    "pte": 0x000F_FFFF_FFFF_F000,
    "pmd": 0x000F_FFFF_FFE0_0000,  # of a large page
    "pud": 0x000F_FFFF_C000_0000,  # of a large page
}
SMALL_FRAME = FRAME["pte"]

SWP_SOFT_DIRTY = 1 << 1
SWP_SOFT_DIRTY_BEFORE = 1 << 7  # up to Linux 4.13
SWP_UFFD_WP = 1 << 2
SWP_EXCLUSIVE = 1 << 3

VM_SHADOW_STACK = 1 << 37


def without(v: Any, bits: int) -> Any:
    """Return v with these bits clear."""
    return v & (ALL ^ bits)


def any_of(v: Any, bits: int) -> Any:
    """Tell whether one of these bits is set."""
    return (v & bits) != 0


def none_of(v: Any, bits: int) -> Any:
    """Tell whether all of these bits are clear."""
    return (v & bits) == 0


def all_of(v: Any, bits: int) -> Any:
    """Tell whether all of these bits are set."""
    return (v & bits) == bits


def pick(condition: Any, yes: Any, no: Any) -> Any:
    """Return yes where the condition holds, else no."""
    if isinstance(condition, (bool, np.bool_)):
        return yes if condition else no
    return np.where(condition, _word(yes), _word(no))


def _word(v: Any) -> Any:
    return np.uint64(v) if isinstance(v, int) else v


def frame_mask(level: str, v: Any) -> Any:
    """Return which bits of v are its frame: a large page has fewer."""
    if level == "pte":
        return SMALL_FRAME
    return pick(any_of(v, PSE), FRAME[level], SMALL_FRAME)


class _Rules:
    """What the helpers compute under one rule set with its switches."""

    def __init__(self, switches: Switches, variant: str = ""):
        self.plain_frames = variant.startswith("plain_frames")
        self.drops_dirty = variant == "drops_dirty"
        self.swp_soft_dirty = (
            SWP_SOFT_DIRTY_BEFORE if variant == "plain_frames_swp7" else SWP_SOFT_DIRTY
        )
        self.base = switches.rules == "base"
        self.cow_rules = switches.rules == "cow"
        self.saved_dirty = switches.rules == "saved_dirty"
        self.shstk_on = switches.shstk
        #: _PAGE_COW or _PAGE_SAVED_DIRTY; 0 if it is compiled out
        self.cow = COW if switches.config else 0
        self.devmap_bit = 1 << 58 if self.base else 1 << 57
        self.dirty_bits = DIRTY | self.cow
        self.change_mask = (
            SMALL_FRAME | PCD | PWT | SPECIAL | ACCESSED | DIRTY | SOFT_DIRTY
            | self.devmap_bit | UFFD_WP | PSE
        )  # fmt: skip
        if self.saved_dirty:
            self.change_mask |= COW

    # ---- where dirtiness is kept

    def dirty_to_cow(self, v: Any) -> Any:
        return pick(any_of(v, DIRTY), without(v, DIRTY) | self.cow, v)

    def cow_to_dirty(self, v: Any) -> Any:
        return pick(any_of(v, self.cow), without(v, self.cow) | DIRTY, v)

    def mksaveddirty(self, v: Any) -> Any:
        return pick(none_of(v, RW), self.dirty_to_cow(v), v)

    def clear_saveddirty(self, v: Any) -> Any:
        return pick(any_of(v, RW), self.cow_to_dirty(v), v)

    # ---- tests

    def dirty(self, v: Any) -> Any:
        return any_of(v, self.dirty_bits)

    def shstk(self, level: str, v: Any) -> Any:
        looks_like_one = none_of(v, RW) & any_of(v, DIRTY)
        if self.saved_dirty and level != "pte":
            looks_like_one = looks_like_one & any_of(v, PSE)
        return looks_like_one & self.shstk_on

    def write(self, level: str, v: Any) -> Any:
        if self.base or level == "pud":
            return any_of(v, RW)
        return any_of(v, RW) | self.shstk(level, v)

    def leaf(self, level: str, v: Any) -> Any:
        if level == "pud" and not self.saved_dirty:
            return all_of(v, PSE | PRESENT)
        return any_of(v, PSE)

    def flags(self, level: str, v: Any) -> Any:
        return v & (frame_mask(level, v) ^ ALL)

    def bad(self, level: str, v: Any) -> Any:
        flags = self.flags(level, v)
        if level == "pmd":
            return without(flags, USER | ACCESSED) != PRESENT | RW | DIRTY
        return without(flags, PRESENT | RW | ACCESSED | DIRTY | USER) != 0

    def access_permitted(self, v: Any, write: Any) -> Any:
        readable = all_of(v, PRESENT | USER)
        return readable & ((write == 0) | any_of(v, RW))

    # ---- maps

    def wrprotect(self, v: Any) -> Any:
        moves = self.saved_dirty or (self.cow_rules and self.shstk_on)
        v = without(v, RW)
        return self.dirty_to_cow(v) if moves else v

    def mkwrite(self, v: Any) -> Any:
        v = v | RW
        moves = self.saved_dirty or (self.cow_rules and self.shstk_on)
        return self.cow_to_dirty(v) if moves else v

    def mkwrite_vma(self, v: Any, vm_flags: Any) -> Any:
        return pick(any_of(vm_flags, VM_SHADOW_STACK), self.mkwrite_shstk(v), self.mkwrite(v))

    def mkwrite_shstk(self, v: Any) -> Any:
        return without(v, RW) | DIRTY if self.saved_dirty else self.clear_cow(v)

    def mkdirty(self, level: str, v: Any) -> Any:
        if self.saved_dirty:
            return self.mksaveddirty(v | DIRTY | SOFT_DIRTY)
        if self.cow_rules and self.shstk_on:
            return v | SOFT_DIRTY | pick(self.write(level, v), DIRTY, self.cow)
        return v | DIRTY | SOFT_DIRTY

    def mkcow(self, v: Any) -> Any:
        return without(v, DIRTY) | self.cow if self.shstk_on else v

    def clear_cow(self, v: Any) -> Any:
        return without(v, self.cow) | DIRTY if self.shstk_on else v

    def mkuffd_wp(self, v: Any) -> Any:
        v = v | UFFD_WP
        return self.wrprotect(v) if self.saved_dirty else v

    def modify(self, level: str, v: Any, newprot: Any) -> Any:
        kept = self.change_mask
        if self.drops_dirty and level == "pmd":
            kept &= ALL ^ DIRTY
        new = (v & kept) | without(newprot, self.change_mask)
        crossed = self.keeps_frame_inverted(v) != self.keeps_frame_inverted(new)
        new = pick(crossed, new ^ FRAME[level], new)
        if self.saved_dirty:
            new = pick(any_of(v, RW), self.mksaveddirty(new), self.clear_saveddirty(new))
        return new

    # ---- frames

    def keeps_frame_inverted(self, v: Any) -> Any:
        """Tell whether v is non-zero and not present; before 4.19 no frame is inverted."""
        return (v != 0) & none_of(v, PRESENT) & (not self.plain_frames)

    def invert_frame(self, v: Any, entry: Any, frame: int) -> Any:
        """Return v with its frame bits inverted, if the entry stores them inverted."""
        return pick(self.keeps_frame_inverted(entry), v ^ frame, v)

    def pfn(self, level: str, v: Any) -> Any:
        """Return the frame number."""
        return (self.invert_frame(v, v, ALL) & frame_mask(level, v)) >> 12

    def from_pfn(self, level: str, number: Any, prot: Any) -> Any:
        """Return the entry of a frame number and a protection value."""
        address = self.invert_frame((number << 12) & ALL, prot, ALL)
        return (address & FRAME[level]) | prot

    def mkinvalid(self, level: str, v: Any) -> Any:
        """Return a large entry with Present clear, and with the same frame."""
        flags = without(self.flags(level, v), PRESENT | PROTNONE)
        return self.from_pfn(level, self.pfn(level, v), flags)

    def advance_pfn(self, v: Any, nr: Any) -> Any:
        """Return the entry nr frames further on.  An inverted frame becomes lower."""
        step = (nr << 12) & ALL
        return pick(self.keeps_frame_inverted(v), (v - step) & ALL, (v + step) & ALL)


def protval_4k_2_large(v: Any) -> Any:
    """Move PAT from where a 4 KiB entry has it to where a large one has it."""
    return without(v, PAT | PAT_LARGE) | (v & PAT) << 5


def protval_large_2_4k(v: Any) -> Any:
    """Move PAT back."""
    return without(v, PAT | PAT_LARGE) | (v & PAT_LARGE) >> 5


class _List:
    """Collects helpers in the kernel's order.  The level is the first part of each name."""

    def __init__(self) -> None:
        self.found: list[tuple[HelperInfo, Callable]] = []

    def test(self, name: str, function: Callable, argument: str | None = None) -> None:
        level = name[:3]
        self.found.append((HelperInfo(name, level, level, "test", argument), function))

    def map(self, name: str, function: Callable, argument: str | None = None) -> None:
        level = name[:3]
        self.found.append((HelperInfo(name, level, level, level, argument), function))

    def number(self, name: str, function: Callable) -> None:
        level = name[:3]
        self.found.append((HelperInfo(name, level, level, "val", None), function))


def _at(method: Callable, level: str) -> Callable:
    return lambda *args: method(level, *args)


LEVELS = ("pte", "pmd", "pud")


def define(switches: Switches, variant: str = "") -> list[tuple[HelperInfo, Callable]]:
    """Return every helper that the rule set has, in the kernel's order."""
    rules = _Rules(switches, variant)
    helpers = _List()
    for name, function in (
        ("protval_4k_2_large", protval_4k_2_large),
        ("protval_large_2_4k", protval_large_2_4k),
    ):
        helpers.found.append((HelperInfo(name, "prot", "val", "val", None), function))
    for level in LEVELS:
        helpers.number(f"{level}_flags", _at(rules.flags, level))
    _define_tests(helpers, rules)
    for level in LEVELS:
        _define_level(helpers, rules, level)
    _define_soft_dirty(helpers)
    _define_whole_entries(helpers, rules)
    _define_presence(helpers, rules)
    _define_swap(helpers, rules)
    for level in LEVELS:
        helpers.test(f"{level}_access_permitted", rules.access_permitted, "write")
    return helpers.found


def _define_tests(helpers: _List, rules: _Rules) -> None:
    for level in LEVELS:
        helpers.test(f"{level}_dirty", rules.dirty)
        if rules.saved_dirty or (rules.cow_rules and level != "pud"):
            helpers.test(f"{level}_shstk", _at(rules.shstk, level))
        helpers.test(f"{level}_young", lambda v: any_of(v, ACCESSED))
    for level in LEVELS:
        helpers.test(f"{level}_write", _at(rules.write, level))
    helpers.test("pte_huge", lambda v: any_of(v, PSE))
    helpers.test("pte_global", lambda v: any_of(v, GLOBAL))
    helpers.test("pte_exec", lambda v: none_of(v, NX))
    helpers.test("pte_special", lambda v: any_of(v, SPECIAL))
    for level in LEVELS:
        helpers.number(f"{level}_pfn", _at(rules.pfn, level))
    for level in ("pmd", "pud"):
        helpers.test(f"{level}_leaf", _at(rules.leaf, level))
    for level in ("pmd", "pud"):
        helpers.test(f"{level}_trans_huge", lambda v: any_of(v, PSE) & none_of(v, rules.devmap_bit))
    for level in ("pmd", "pud"):
        helpers.test(f"{level}_devmap", lambda v: any_of(v, rules.devmap_bit))
    if rules.saved_dirty:
        for level in ("pmd", "pud"):
            helpers.test(f"{level}_special", lambda v: any_of(v, SPECIAL))
            helpers.map(f"{level}_mkspecial", lambda v: v | SPECIAL)


def _define_level(helpers: _List, rules: _Rules, level: str) -> None:
    helpers.map(f"{level}_set_flags", lambda v, mask: v | mask, "mask")
    helpers.map(f"{level}_clear_flags", lambda v, mask: v & (mask ^ ALL), "mask")
    if rules.cow_rules:
        helpers.map(f"{level}_mkcow", rules.mkcow)
        helpers.map(f"{level}_clear_cow", rules.clear_cow)
    if rules.saved_dirty:
        helpers.map(f"{level}_mksaveddirty", rules.mksaveddirty)
        helpers.map(f"{level}_clear_saveddirty", rules.clear_saveddirty)
    helpers.map(f"{level}_wrprotect", rules.wrprotect)
    if level != "pud":
        helpers.test(f"{level}_uffd_wp", lambda v: any_of(v, UFFD_WP))
        helpers.map(f"{level}_mkuffd_wp", rules.mkuffd_wp)
        helpers.map(f"{level}_clear_uffd_wp", lambda v: without(v, UFFD_WP))
    helpers.map(f"{level}_mkclean", lambda v: without(v, rules.dirty_bits))
    helpers.map(f"{level}_mkold", lambda v: without(v, ACCESSED))
    if level == "pte":
        helpers.map("pte_mkexec", lambda v: without(v, NX))
    helpers.map(f"{level}_mkdirty", _at(rules.mkdirty, level))
    if level != "pud" and not rules.base:
        helpers.map(f"{level}_mkwrite_shstk", rules.mkwrite_shstk)
    helpers.map(f"{level}_mkyoung", lambda v: v | ACCESSED)
    if rules.saved_dirty and level != "pud":
        helpers.map(f"{level}_mkwrite_novma", lambda v: v | RW)
        helpers.map(f"{level}_mkwrite", rules.mkwrite_vma, "vm_flags")
    else:
        helpers.map(f"{level}_mkwrite", rules.mkwrite)
    helpers.map(f"{level}_mkhuge", lambda v: v | PSE)
    if level == "pte":
        helpers.map("pte_clrhuge", lambda v: without(v, PSE))
        helpers.map("pte_mkglobal", lambda v: v | GLOBAL)
        helpers.map("pte_clrglobal", lambda v: without(v, GLOBAL))
        helpers.map("pte_mkspecial", lambda v: v | SPECIAL)
        helpers.map("pte_mkdevmap", lambda v: v | SPECIAL | rules.devmap_bit)
    else:
        helpers.map(f"{level}_mkdevmap", lambda v: v | rules.devmap_bit)


def _define_soft_dirty(helpers: _List) -> None:
    for level in LEVELS:
        helpers.test(f"{level}_soft_dirty", lambda v: any_of(v, SOFT_DIRTY))
    for level in LEVELS:
        helpers.map(f"{level}_mksoft_dirty", lambda v: v | SOFT_DIRTY)
    for level in LEVELS:
        helpers.map(f"{level}_clear_soft_dirty", lambda v: without(v, SOFT_DIRTY))


def _define_whole_entries(helpers: _List, rules: _Rules) -> None:
    for level in LEVELS:
        info = HelperInfo(f"pfn_{level}", level, "val", level, "prot")
        helpers.found.append((info, _at(rules.from_pfn, level)))
    for level in ("pmd", "pud") if rules.saved_dirty else ("pmd",):
        helpers.map(f"{level}_mkinvalid", _at(rules.mkinvalid, level))
    for level in LEVELS if rules.saved_dirty else ("pte", "pmd"):
        helpers.map(f"{level}_modify", _at(rules.modify, level), "newprot")
    if rules.saved_dirty:
        helpers.map("pte_advance_pfn", rules.advance_pfn, "nr")


def _define_presence(helpers: _List, rules: _Rules) -> None:
    def is_none(v: Any) -> Any:
        return without(v, ACCESSED | DIRTY) == 0

    def protnone(v: Any) -> Any:
        return none_of(v, PRESENT) & any_of(v, PROTNONE)

    def same(v: Any, other: Any) -> Any:
        return v == other

    helpers.test("pte_none", is_none)
    helpers.test("pte_same", same, "other")
    helpers.test("pte_present", lambda v: any_of(v, PRESENT | PROTNONE))
    helpers.test("pte_devmap", lambda v: any_of(v, rules.devmap_bit))
    helpers.test("pte_protnone", protnone)
    helpers.test("pmd_protnone", protnone)
    helpers.test("pmd_present", lambda v: any_of(v, PRESENT | PROTNONE | PSE))
    helpers.test("pmd_none", is_none)
    helpers.test("pmd_same", same, "other")
    helpers.test("pmd_bad", _at(rules.bad, "pmd"))
    helpers.test("pud_none", is_none)
    helpers.test("pud_present", lambda v: any_of(v, PRESENT))
    helpers.test("pud_same", same, "other")
    helpers.test("pud_bad", _at(rules.bad, "pud"))


def _define_swap(helpers: _List, rules: _Rules) -> None:
    for state, bit, levels in (
        ("soft_dirty", rules.swp_soft_dirty, ("pte", "pmd")),
        ("uffd_wp", SWP_UFFD_WP, ("pte", "pmd")),
        ("exclusive", SWP_EXCLUSIVE, ("pte",)),
    ):
        for level in levels:
            helpers.map(f"{level}_swp_mk{state}", lambda v, bit=bit: v | bit)
            helpers.test(f"{level}_swp_{state}", lambda v, bit=bit: any_of(v, bit))
            helpers.map(f"{level}_swp_clear_{state}", lambda v, bit=bit: without(v, bit))


class ReferenceEngine(Engine):
    """The oracle.  The ``handle`` of a helper is its Python function."""

    def __init__(self, chosen: Chosen):
        self.switches, self.variant, self.kernel = chosen
        self.rules, self.shstk, self.config = self.switches
        self.name = f"reference({chosen})"
        defined = define(self.switches, self.variant)
        self._set_helpers(Helper(self, info, function) for info, function in defined)

    def _run_one(self, steps: tuple[Step, ...], entry: int) -> int | bool:
        for step in steps:
            entry = _apply(step, entry)
        return entry

    def _run(
        self,
        steps: tuple[Step, ...],
        entries: np.ndarray,
        out: np.ndarray | None,
        where: np.ndarray | Helper | None,
        otherwise: np.ndarray | None,
        threads: int,
    ) -> int:
        # an array without dimensions would give NumPy scalars, which warn when they overflow
        entries = np.atleast_1d(entries)
        mask = where.handle(entries) if isinstance(where, Helper) else where
        result = entries
        for step in steps:
            result = _apply(step, result)
        if out is None:
            return int(np.count_nonzero(result if mask is None else result & mask))
        if mask is None:
            out[...] = result
        elif otherwise is None:
            np.copyto(out, result, where=mask)
        else:
            out[...] = np.where(mask, result, otherwise)
        return 0

    def _owners(self, name: str) -> list[str]:
        return owners(name)


def _apply(step: Step, entry: Any) -> Any:
    if step.helper.argument is None:
        return step.helper.handle(entry)
    return step.helper.handle(entry, step.argument)


def owners(name: str) -> list[str]:
    """Return the rule sets that have a helper of that name."""
    return list(
        dict.fromkeys(
            switches.rules
            for switches in COMBINATIONS
            if any(info.name == name for info, _ in define(switches))
        )
    )


@cache
def _engine(chosen: Chosen) -> ReferenceEngine:
    return ReferenceEngine(chosen)


def reference(
    rules: str | None = None,
    shstk: bool | None = None,
    config: bool | None = None,
    *,
    kernel: str | Kernel | None = None,
) -> ReferenceEngine:
    """Return the pure-Python engine; arguments and errors are those of native()."""
    return _engine(choose(rules, shstk, config, kernel))
