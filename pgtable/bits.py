# SPDX-License-Identifier: GPL-2.0-only
"""The bits of an entry: names, masks, states, and everything that an entry says.

Everything here takes one entry as an int; :func:`state_code`, :func:`frame_mask`
and :func:`frame` take uint64 arrays as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import encodings
from .engines.switches import RULES, resolve
from .kernels import Kernel, of_rules

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
    "SWP_SOFT_DIRTY": "swap entry: soft-dirty",
    "SWP_UFFD_WP": "swap entry: write-protected by userfaultfd",
    "SWP_EXCLUSIVE": "swap entry: the page is this process's alone",
}
#: Names of bits in a kernel that does not use them yet, or no longer.
_UNUSED = {10: "SOFTW2", 11: "SOFTW3", 57: "SOFTW4", 58: "SOFTW5"}
#: No machine has a frame above this (2**46 bytes, which four levels map).
_MOST_MEMORY = 1 << 46


def devmap_bit(rules: str) -> int:
    """Return the mask of DEVMAP under these rules."""
    return BIT58 if rules == "base" else BIT57


def cow_bit(rules: str, config: bool | None = None) -> int:
    """Return the mask of Cow (SavedDirty); 0 where the rules or the config lack it."""
    if config is None:
        config = resolve(rules, None, None).config
    return BIT58 if rules != "base" and config else 0


# ---- the state: Write, Dirty, Cow

#: The number of values of :func:`state_code`.
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
NUMA = encodings.PROTNONE
INVALID = encodings.INVALID
SWAP = encodings.SWAP
MIGRATION = encodings.MIGRATION
MARKER = encodings.MARKER
FILE = encodings.FILE
OTHER = encodings.OTHER
#: Kinds whose bits are no frame and flags of a page.
SOFTWARE = (SWAP, MIGRATION, MARKER, FILE, OTHER)

#: Every kind, with what it means.
KINDS = {
    NONE: "empty",
    TABLE: "points to a table",
    LEAF: "maps a page",
    NUMA: "maps a page, but no access is allowed (PRESENT=0, PROTNONE=1)",
    INVALID: "maps a large page, made invalid for a moment (PRESENT=0, PSE=1)",
    SWAP: "not present: a swap, migration or other software entry",
    MIGRATION: "not present: a page under migration, in a device, or with broken memory",
    MARKER: "not present: a marker, which stands for no page",
    FILE: "not present: a page of a file that is mapped nonlinearly (before Linux 4.0)",
    OTHER: "not present: left-over bits, which stand for nothing",
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


def kinds(entries: np.ndarray, level: str) -> np.ndarray:
    """Return the kind of each entry of a uint64 array, as an array of str."""
    decides = entries & np.uint64(PRESENT | PSE | PROTNONE)
    others = (entries & np.uint64(ALL ^ (ACCESSED | DIRTY))) != 0
    decides |= np.where(others, np.uint64(1 << 30), np.uint64(0))
    distinct, which = np.unique(decides, return_inverse=True)
    named = np.array([kind(int(entry), level) for entry in distinct], dtype=object)
    return named[which] if len(distinct) else np.empty(0, dtype=object)


# ---- frames

_Entries = Any  # an int, or an array of uint64


def frame_mask(entry: _Entries, level: str) -> _Entries:
    """Return which bits of an entry hold its frame: a large page has fewer."""
    large = LEAF_FRAME.get(level, SMALL_FRAME)
    if not isinstance(entry, int):
        is_large = (entry & np.uint64(PSE)) != 0
        return np.where(is_large, np.uint64(large), np.uint64(SMALL_FRAME))
    return large if entry & PSE else SMALL_FRAME


def frame(entry: _Entries, level: str) -> _Entries:
    """Return the frame number (physical address >> 12).

    A non-zero entry with PRESENT=0 keeps its frame inverted; that is undone.
    """
    mask = frame_mask(entry, level)
    if not isinstance(entry, int):
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
    entry: int,
    level: str = "pte",
    rules: str = "cow",
    config: bool | None = None,
    kernel: Kernel | None = None,
) -> list[NamedBit]:
    """Return the set bits of an entry that are not its frame, by name, lowest first.

    kernel: who made it; None: any that has the rules.
    In a swap entry the bits of its offset and type are left out.
    """
    _require(level, rules)
    if kind(entry, level) == SWAP and _software(entry, level, kernel):
        return _swap_bits(entry, level, kernel)
    flags = entry & ~frame_mask(entry, level)
    found = (NamedBit(n, *_name(n, entry, level, rules, config)) for n in _numbers(flags))
    return [bit if kernel is None else _as_in(bit, kernel) for bit in found]


def _software(entry: int, level: str, kernel: Kernel | None) -> bool:
    return encodings.absent(entry, level, kernel).kind in SOFTWARE


def _swap_bits(entry: int, level: str, kernel: Kernel | None) -> list[NamedBit]:
    """Name the bits of a swap entry that are neither its type nor its offset."""
    known = kernel or of_rules("saved_dirty")
    if encodings.absent(entry, level, kernel).kind == FILE:
        return [NamedBit(6, "FILE", "a page of a nonlinear file mapping")]
    taken = known.swap.entry(31, 0) | known.swap.entry(0, 0) ^ known.swap.entry(
        0, (1 << known.swap.offset_bits) - 1
    )
    found = []
    for number in _numbers(entry & ~taken):
        name = known.swap_bits.get(number, f"bit {number}")
        found.append(NamedBit(number, name, _SWAP.get(name, "")))
    return found


def _as_in(bit: NamedBit, kernel: Kernel) -> NamedBit:
    """Return this kernel's name for a bit.  Some bits are not used yet, or no longer."""
    lacking = {
        "UFFD_WP": not kernel.has("uffd_wp"),
        "SOFT_DIRTY": not kernel.has("swap_soft_dirty"),
        "DEVMAP": kernel.devmap != bit.number,
    }
    if lacking.get(bit.name):
        return NamedBit(bit.number, _UNUSED[bit.number], f"no meaning in Linux {kernel.release}")
    return bit


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
    """What the bits Write, Dirty and Cow of a leaf say, and what they cannot say."""

    letters: str  #: which of "a" to "e" it may be, in order; "" for none of them
    text: str
    unknown: str = ""  #: what the entry cannot say, and why


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

    Other entries have none of these states: their bits mean other things.
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
    state: str | None  #: None if these bits do not mean Write, Dirty and Cow
    state_class: StateClass
    frame: int | None  #: frame number; None for empty and swap entries
    pkey: int | None  #: protection key of an entry that maps a page
    swap_type: int | None
    swap_offset: int | None
    special: str = ""  #: what a swap type or a marker stands for: "migration_write", "uffd_wp"
    kernel: str = ""  #: release of the kernel that was named
    notes: tuple[str, ...] = ()  #: what was assumed, and what does not fit

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
            "special": self.special,
            "kernel": self.kernel,
            "notes": list(self.notes),
        }


def decode(
    entry: int,
    level: str = "pte",
    rules: str | None = None,
    shstk: bool | None = None,
    config: bool | None = None,
    *,
    kernel: Kernel | None = None,
    va: int | None = None,
) -> Decoded:
    """Return everything that one entry (0 to 2**64-1) says.

    rules: None: those of the kernel, or "cow" where none is named.
    kernel: who made it (:func:`pgtable.kernels.find`): it settles how swap entries are laid
        out, whether frames are inverted and what bits are called.
    va: an address that it maps: the kernel half has no swap entries.

    Raises ValueError for an unknown level or rule set.
    """
    rules = rules or (kernel.rules if kernel else "cow")
    _require(level, rules)
    decoded = _decode_as_page(entry, level, rules, shstk, config, kernel)
    file_entries = kernel is not None and not kernel.has("no_file_entries")
    empty = decoded.kind == NONE and not (file_entries and entry & DIRTY)
    if entry & PRESENT or empty:
        return decoded
    return _decode_absent(decoded, kernel, va is not None and va >> 63 == 1)


def _decode_as_page(
    entry: int,
    level: str,
    rules: str,
    shstk: bool | None,
    config: bool | None,
    kernel: Kernel | None,
) -> Decoded:
    what = kind(entry, level)
    page = what in (LEAF, TABLE, NUMA, INVALID)
    return Decoded(
        entry=entry,
        level=level,
        rules=rules,
        kind=what,
        kind_text=KINDS[what],
        bits=tuple(named_bits(entry, level, rules, config, kernel)),
        state=None if what in (SWAP, NONE) else state(entry, rules, config),
        state_class=classify(entry, level, rules, shstk, config),
        frame=frame(entry, level) if page else None,
        pkey=(entry & PKEY) >> 59 if what in (LEAF, NUMA, INVALID) else None,
        swap_type=None,
        swap_offset=None,
        kernel=kernel.release if kernel else "",
        notes=kernel.assumed if kernel else (),
    )


def _decode_absent(decoded: Decoded, kernel: Kernel | None, kernel_half: bool) -> Decoded:
    """Add what an entry with PRESENT=0 stands for, with the names of :func:`encodings.absent`."""
    entry, level = decoded.entry, decoded.level
    what = encodings.absent(entry, level, kernel, kernel_half)
    if what.kind in (NUMA, INVALID):
        number, note = _absent_frame(entry, level, kernel)
        return replace(
            decoded,
            kind=what.kind,
            kind_text=what.text,
            frame=number,
            state=state(entry, decoded.rules),
            notes=decoded.notes + note,
        )
    return replace(
        decoded,
        kind=what.kind,
        kind_text=what.text,
        state=None,
        state_class=StateClass("", "the states are those of present leaf entries"),
        frame=what.frame,
        swap_type=what.type,
        swap_offset=what.offset,
        special=what.name,
        notes=decoded.notes + ((what.assumed,) if what.assumed else ()),
    )


def _absent_frame(entry: int, level: str, kernel: Kernel | None) -> tuple[int, tuple[str, ...]]:
    """Return the frame number of a page without access, and a note if it is a guess."""
    inverted = frame(entry, level)
    plain = (entry & frame_mask(entry, level)) >> 12
    if kernel is not None:
        return (inverted if kernel.inverted else plain), ()
    if inverted << 12 < _MOST_MEMORY or plain << 12 >= _MOST_MEMORY:
        return inverted, ()
    return plain, (
        "the frame is not inverted, as before Linux 4.19: inverted it would be more than"
        " machines have",
    )
