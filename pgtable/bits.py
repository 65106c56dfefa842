# SPDX-License-Identifier: GPL-2.0-only
"""The bits of an entry: names, masks, how states are printed, what an entry says.

Everything here takes one entry as an int; :func:`state_code`, :func:`frame_mask`
and :func:`frame` take uint64 arrays as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .engines.switches import RULES, resolve

#: Levels whose entries are decoded; the first three have helpers.
LEVELS = ("pte", "pmd", "pud", "p4d", "pgd")

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
BIT57 = 1 << 57
BIT58 = 1 << 58
PKEY = 0xF << 59
NX = 1 << 63
ALL = 2**64 - 1

#: Frame bits of an entry that maps 4 KiB or points to a table.
SMALL_FRAME = 0x000F_FFFF_FFFF_F000
#: Frame bits of an entry that maps a page at its level.
LEAF_FRAME = {"pte": SMALL_FRAME, "pmd": 0x000F_FFFF_FFE0_0000, "pud": 0x000F_FFFF_C000_0000}

_EVERYWHERE = {
    0: ("PRESENT", "the processor uses the entry"),
    1: ("RW", "Write"),
    2: ("USER", "user mode may access it"),
    3: ("PWT", "memory type: write-through"),
    4: ("PCD", "memory type: cache disabled"),
    5: ("ACCESSED", "accessed since last cleared"),
    6: ("DIRTY", "written since last cleared"),
    9: ("SPECIAL", "SOFTW1: no struct page behind it"),
    10: ("UFFD_WP", "SOFTW2: write-protected by userfaultfd"),
    11: ("SOFT_DIRTY", "SOFTW3: written since tracking was reset"),
    59: ("PKEY_BIT0", "protection key, bit 0"),
    60: ("PKEY_BIT1", "protection key, bit 1"),
    61: ("PKEY_BIT2", "protection key, bit 2"),
    62: ("PKEY_BIT3", "protection key, bit 3"),
    63: ("NX", "no execution"),
}
_SWAP = {
    1: ("SWP_SOFT_DIRTY", "swap entry: soft-dirty"),
    2: ("SWP_UFFD_WP", "swap entry: write-protected by userfaultfd"),
    3: ("SWP_EXCLUSIVE", "swap entry: the page is this process's alone"),
}
_SWAP_TYPE_SHIFT = 59
_SWAP_OFFSET_SHIFT = 9
_SWAP_OFFSET_MASK = (1 << 50) - 1


def devmap_bit(rules: str) -> int:
    """Return the mask of DEVMAP under these rules."""
    return BIT58 if rules == "base" else BIT57


def cow_bit(rules: str, config: bool | None = None) -> int:
    """Return the mask of Cow (SavedDirty); 0 where the rules or the config lack it."""
    if config is None:
        config = resolve(rules, None, None).config
    return BIT58 if rules != "base" and config else 0


# ---- the state: Write, Dirty, Cow

#: What :func:`state_code` counts to.
STATES = tuple(f"(Write={c >> 2},Dirty={c >> 1 & 1},Cow={c & 1})" for c in range(8))


def state_code(entry: Any, rules: str = "cow", config: bool | None = None) -> Any:
    """Return Write*4 + Dirty*2 + Cow of an entry or of each of an array."""
    cow = (entry >> 58) & 1 if cow_bit(rules, config) else 0
    return ((entry >> 1) & 1) << 2 | ((entry >> 6) & 1) << 1 | cow


def state(entry: int, rules: str = "cow", config: bool | None = None) -> str:
    """Return the state as it is printed everywhere: ``(Write=0,Dirty=1,Cow=0)``.

    Cow is bit 58, also where it is called SavedDirty; it is 0 under rules that
    have no such bit, whatever bit 58 holds.
    """
    return STATES[state_code(int(entry), rules, config)]


# ---- what kind of entry

NONE = "none"
TABLE = "table"
LEAF = "leaf"
NUMA = "protnone"
INVALID = "invalid"
SWAP = "swap"

#: Every kind, with what it means.
KINDS = {
    NONE: "empty",
    TABLE: "points to a table",
    LEAF: "maps a page",
    NUMA: "maps a page, but no access is allowed (PRESENT=0, PROTNONE=1)",
    INVALID: "maps a large page, made invalid for a moment (PRESENT=0, PSE=1)",
    SWAP: "not present: a swap, migration or other software entry",
}


def kind(entry: int, level: str) -> str:
    """Return what an entry is: NONE, TABLE, LEAF, NUMA, INVALID or SWAP."""
    if entry & PRESENT:
        large = level in ("pmd", "pud") and entry & PSE
        return LEAF if level == "pte" or large else TABLE
    if not entry & ~(ACCESSED | DIRTY):
        return NONE
    if entry & PROTNONE:
        return NUMA
    return INVALID if level == "pmd" and entry & PSE else SWAP


# ---- frames

_Entries = Any  # an int, or an array of uint64


def frame_mask(entry: _Entries, level: str) -> _Entries:
    """Return which bits of an entry hold its frame: a large page has fewer."""
    large = LEAF_FRAME.get(level, SMALL_FRAME)
    if isinstance(entry, np.ndarray):
        is_large = (entry & np.uint64(PSE)) != 0
        return np.where(is_large, np.uint64(large), np.uint64(SMALL_FRAME))
    return large if entry & PSE else SMALL_FRAME


def frame(entry: _Entries, level: str) -> _Entries:
    """Return the frame number (physical address >> 12).

    A non-zero entry with PRESENT=0 keeps its frame inverted; that is undone.
    """
    mask = frame_mask(entry, level)
    if isinstance(entry, np.ndarray):
        inverted = (entry != 0) & ((entry & np.uint64(PRESENT)) == 0)
        return (np.where(inverted, ~entry, entry) & mask) >> np.uint64(12)
    inverted = entry != 0 and not entry & PRESENT
    return ((entry ^ ALL if inverted else entry) & mask) >> 12


# ---- bits by name


@dataclass(frozen=True)
class NamedBit:
    """One set bit."""

    number: int
    name: str
    meaning: str


def named_bits(
    entry: int, level: str = "pte", rules: str = "cow", config: bool | None = None
) -> list[NamedBit]:
    """Return the set bits of an entry that are not its frame, by name, lowest first.

    In a swap entry bits 9 to 63 are its offset and type, and are left out.
    """
    _require(level, rules)
    if kind(entry, level) == SWAP:
        names = {**{n: (f"bit {n}", "") for n in range(_SWAP_OFFSET_SHIFT)}, **_SWAP}
        return [NamedBit(n, *names[n]) for n in _numbers(entry) if n in names]
    flags = entry & ~frame_mask(entry, level)
    return [NamedBit(n, *_name(n, entry, level, rules, config)) for n in _numbers(flags)]


def _numbers(word: int) -> Iterator[int]:
    return (n for n in range(64) if word >> n & 1)


def _name(number: int, entry: int, level: str, rules: str, config: bool | None) -> tuple[str, str]:
    """Name a bit that is not part of the frame."""
    if number == 7:
        return _bit7(level)
    if number == 8:
        return _bit8(entry)
    if 1 << number == devmap_bit(rules):
        return "DEVMAP", "SOFTW4: device memory with struct pages"
    if number == 58:
        return _bit58(rules, config)
    if number == 12:
        return "PAT_LARGE", "memory type of a large page"
    must_be_0 = f"below the frame of a large {level}: must be 0"
    unnamed = (f"bit {number}", "no meaning" if number > 51 else must_be_0)
    return _EVERYWHERE.get(number, unnamed)


def _bit7(level: str) -> tuple[str, str]:
    if level == "pte":
        return "PAT", "memory type"
    if level in ("pmd", "pud"):
        return "PSE", "maps a large page"
    return "PSE", f"must be 0 in a {level}"


def _bit8(entry: int) -> tuple[str, str]:
    if entry & PRESENT:
        return "GLOBAL", "kept in the TLB when the address space changes"
    return "PROTNONE", "mapped, but no access allowed"


def _bit58(rules: str, config: bool | None) -> tuple[str, str]:
    if not cow_bit(rules, config):
        return "SOFTW5", "no meaning: Cow is compiled out"
    name = "SAVED_DIRTY" if rules == "saved_dirty" else "COW"
    return name, "SOFTW5: dirty, kept out of the processor's sight"


def describe_bits(
    entry: int, level: str = "pte", rules: str = "cow", config: bool | None = None
) -> str:
    """Return the names of the set bits in one line, ``PRESENT|RW|bit 52``; "0" for none."""
    return "|".join(bit.name for bit in named_bits(entry, level, rules, config)) or "0"


# ---- the states (a) to (e)


@dataclass(frozen=True)
class StateClass:
    """What the bits Write, Dirty and Cow say of a leaf, and what they cannot say."""

    letters: str  #: which of "a" to "e" it may be, in order; "" for none of them
    text: str
    unknown: str = ""  #: what cannot be told from the entry, and why


MEANING = {
    "a": "modified copy-on-write page: was writable and dirty, then write-protected (fork)",
    "b": "read-only page that was copied for get_user_pages()",
    "c": "shadow-stack page",
    "d": "shadow-stack page shared at fork (copied on access)",
    "e": "read-only page, dirty set where there are no shadow stacks",
}


def classify(
    entry: int,
    level: str = "pte",
    rules: str = "cow",
    shstk: bool | None = None,
    config: bool | None = None,
) -> StateClass:
    """Return which of the states (a) to (e) a present leaf is in.

    shstk: whether the processor has shadow stacks; None: the rules' default.

    Entries that are no present leaf are in none: their bits mean other things.
    """
    _require(level, rules)
    shstk, config = _switches(rules, shstk, config)
    what = kind(entry, level)
    if what != LEAF:
        return StateClass("", f"{KINDS[what]}: the states are those of present leaf entries")
    code = state_code(entry, rules, config)
    if code == 0b001:
        return _saved(shstk)
    if code == 0b010:
        return _write0_dirty1(rules, shstk)
    return StateClass("", _NO_LETTER[code])


_NO_LETTER = {
    0b000: "read-only and clean",
    0b011: "dirty in both bits: none of (a) to (e); a processor with shadow stacks"
    " takes it for a shadow-stack page",
    0b100: "writable and clean",
    0b101: "writable, dirty by Cow alone: Dirty was not restored when Write was set",
    0b110: "writable and dirty",
    0b111: "writable and dirty; Cow is left over and says nothing more",
}


def _saved(shstk: bool) -> StateClass:
    letters = "abd" if shstk else "ab"
    text = "; or ".join(f"({letter}) {MEANING[letter]}" for letter in letters)
    names = "(a), (b) and (d)" if shstk else "(a) and (b)"
    unknown = f"{names} have the same bits: the entry alone cannot tell which it is"
    if not shstk:
        unknown += "; (d) is out, there are no shadow stacks"
    return StateClass(letters, text, unknown)


def _write0_dirty1(rules: str, shstk: bool) -> StateClass:
    letter = "c" if shstk else "e"
    text = f"({letter}) {MEANING[letter]}"
    if rules == "base":
        text += "; a kernel of these rules makes such entries itself, at fork"
    have = "has" if shstk else "has no"
    other = "without them it is (e)" if shstk else "with them it is (c)"
    unknown = f"(c) and (e) have the same bits: this holds if the processor {have} shadow stacks;"
    return StateClass(letter, text, f"{unknown} {other}")


def _switches(rules: str, shstk: bool | None, config: bool | None) -> tuple[bool, bool]:
    default = resolve(rules, None, None)
    return (
        default.shstk if shstk is None else shstk,
        default.config if config is None else config,
    )


def _require(level: str, rules: str) -> None:
    if level not in LEVELS:
        raise ValueError(f"no such level: {level!r}; these exist: {', '.join(LEVELS)}")
    if rules not in RULES:
        raise ValueError(f"no such rules: {rules!r}; these exist: {', '.join(RULES)}")


# ---- all of it


@dataclass(frozen=True)
class Decoded:
    """Everything that one entry says."""

    entry: int
    level: str
    rules: str
    kind: str
    kind_text: str
    bits: tuple[NamedBit, ...]
    state: str | None  #: None where Write, Dirty and Cow are not what the bits mean
    state_class: StateClass
    frame: int | None  #: frame number; None for empty and swap entries
    pkey: int | None  #: protection key of what maps a page
    swap_type: int | None
    swap_offset: int | None

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {
            "entry": f"{self.entry:#018x}",
            "level": self.level,
            "rules": self.rules,
            "kind": self.kind,
            "bits": [{"bit": bit.number, "name": bit.name} for bit in self.bits],
            "state": self.state,
            "may_be": list(self.state_class.letters),
            "text": self.state_class.text,
            "unknown": self.state_class.unknown,
            "frame": self.frame,
            "address": None if self.frame is None else self.frame << 12,
            "pkey": self.pkey,
            "swap_type": self.swap_type,
            "swap_offset": self.swap_offset,
        }


def decode(
    entry: int,
    level: str = "pte",
    rules: str = "cow",
    shstk: bool | None = None,
    config: bool | None = None,
) -> Decoded:
    """Return everything that one entry (0 to 2**64-1) says.

    Raises ValueError for an unknown level or rule set.
    """
    _require(level, rules)
    what = kind(entry, level)
    swap = what == SWAP
    return Decoded(
        entry=entry,
        level=level,
        rules=rules,
        kind=what,
        kind_text=KINDS[what],
        bits=tuple(named_bits(entry, level, rules, config)),
        state=None if what in (SWAP, NONE) else state(entry, rules, config),
        state_class=classify(entry, level, rules, shstk, config),
        frame=None if what in (SWAP, NONE) else frame(entry, level),
        pkey=(entry & PKEY) >> 59 if what in (LEAF, NUMA, INVALID) else None,
        swap_type=entry >> _SWAP_TYPE_SHIFT if swap else None,
        swap_offset=(~entry >> _SWAP_OFFSET_SHIFT) & _SWAP_OFFSET_MASK if swap else None,
    )
