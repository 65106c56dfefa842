# SPDX-License-Identifier: GPL-2.0-only
"""A census by place: half of the address space, level, kind and state.

Present leaves have states.  Entries of tables and entries that are not present are counted
separately.  If a source does not show a bit, the state has ``?`` for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from .. import bits, encodings
from ..census import Census
from ..kernels import Kernel
from .regions import KERNEL
from .text import Text

LEVEL_NAMES = ("", "pte", "pmd", "pud", "p4d", "pgd")

#: Halves in the order in which they are shown.
HALVES = ("user", "kernel", "unknown")

#: Bits that a census does not keep apart, and the bit that stands for any of them.
_FRAME, _FRAME_STANDS = np.uint64(bits.SMALL_FRAME), np.uint64(1 << 30)
_IGNORED, _IGNORED_STANDS = np.uint64(0x1F << 52), np.uint64(1 << 52)
_LUMPED = 1 << 30 | 1 << 52

_KIND_ORDER = (bits.LEAF, bits.TABLE, *(k for k in bits.KINDS if k not in (bits.LEAF, bits.TABLE)))

_STATE_BITS = (("Write", bits.RW), ("Dirty", bits.DIRTY), ("Cow", bits.BIT58))


@dataclass
class Region:
    """The entries of one level in one half of the address space."""

    half: str  #: "user", "kernel", or "unknown" where addresses are not known
    level: str  #: "pte" to "pgd"
    entries: int = 0
    kinds: dict[str, int] = field(default_factory=dict)  #: by :data:`pgtable.bits.KINDS`
    states: dict[str, int] = field(default_factory=dict)  #: of leaves, as (Write=,Dirty=,Cow=)
    may_be: dict[str, int] = field(default_factory=dict)  #: of leaves, by letters: "a b d"
    flags: dict[str, int] = field(default_factory=dict)  #: of leaves, by bit
    flag_sets: dict[str, int] = field(default_factory=dict)  #: of leaves, by all but the frame
    unknown: list[str] = field(default_factory=list)  #: what cannot be known of these leaves

    @property
    def leaves(self) -> int:
        """How many present leaves there are."""
        return self.kinds.get(bits.LEAF, 0)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return asdict(self)


def by_region(
    censuses: Mapping[tuple[str, int], Census],
    rules: str = "cow",
    shstk: bool | None = None,
    config: bool | None = None,
    known: Mapping[tuple[str, int], int] | None = None,
    kernel: Kernel | None = None,
) -> list[Region]:
    """Return the regions of all censuses: the user half first, levels from the pte up.

    censuses: by half ("user", "kernel", "unknown") and level (1 to 5), as
        ``image.census()`` gives them.
    rules, shstk, config: as for :func:`pgtable.bits.classify`.
    known: which bits of the entries are known, where not all are.
    kernel: who made the entries: types of swap entries are told apart where a census keeps
        their bits (Linux 4.19 and later).
    """
    regions = []
    for half, level in sorted(censuses, key=lambda key: (HALVES.index(key[0]), key[1])):
        shown = bits.ALL if known is None else known[half, level]
        place = Region(half, LEVEL_NAMES[level])
        switches = rules, shstk, config
        regions.append(_filled(place, censuses[half, level], shown, switches, kernel))
    return regions


_Switches = tuple[str, bool | None, bool | None]


def _filled(
    region: Region, counted: Census, known: int, switches: _Switches, kernel: Kernel | None
) -> Region:
    region.entries = counted.total
    kinds = kinds_told(counted.entries, region.level, region.half, kernel, known)
    for kind in _KIND_ORDER:
        number = int(counted.counts[kinds == kind].sum())
        if number:
            region.kinds[kind] = number
    leaves = counted.where(kinds == bits.LEAF)
    _add_states(region, leaves, known, switches)
    _add_flags(region, leaves, switches)
    return region


def kinds_told(
    entries: np.ndarray,
    level: str,
    half: str = "unknown",
    kernel: Kernel | None = None,
    known: int = bits.ALL,
) -> np.ndarray:
    """Return the kind of each entry of a census (array of str).

    SWAP stands for all software entries where types cannot be told: without a kernel,
    and of kernels before 4.19, whose types a census does not keep.
    """
    kinds = bits.kinds(entries, level)
    swap = kinds == bits.SWAP
    if half == "kernel":
        kinds[swap] = bits.OTHER  # it has no swap entries
    elif kernel is not None and kernel.inverted and known == bits.ALL:
        levels = np.full(int(swap.sum()), LEVEL_NAMES.index(level))
        nowhere = np.zeros(len(levels), bool)
        kinds[swap] = encodings.kinds_of(entries[swap], levels, nowhere, kernel)
    return kinds


def _add_states(region: Region, leaves: Census, known: int, switches: _Switches) -> None:
    rules, _, config = switches
    codes = bits.state_code(leaves.entries, rules, config).astype(np.intp)
    for code in np.unique(codes):
        entry = int(leaves.entries[np.argmax(codes == code)])
        number = int(leaves.counts[codes == code].sum())
        _count(region.states, state_text(entry, known, rules, config), number)
        if _hidden(known, rules, config):
            _note(region, "bits of the state are not printed: which of (a) to (e) it is stays open")
            continue
        found = bits.classify(entry, region.level, *switches)
        if found.letters:
            _count(region.may_be, " ".join(found.letters), number)
        if found.unknown:
            _note(region, found.unknown)


def _add_flags(region: Region, leaves: Census, switches: _Switches) -> None:
    rules, _, config = switches
    for number in range(64):
        has = (leaves.entries & ~np.uint64(_LUMPED) & np.uint64(1 << number)) != 0
        if has.any():
            entry = int(leaves.entries[np.argmax(has)])
            named = bits.named_bits(entry, region.level, rules, config)
            name = next(bit.name for bit in named if bit.number == number)
            region.flags[f"{number:2} {name}"] = int(leaves.counts[has].sum())
    words = leaves.entries & ~np.uint64(_LUMPED)
    sets, which = np.unique(words, return_inverse=True)
    total = np.zeros(len(sets), np.uint64)
    np.add.at(total, which, leaves.counts)
    order = np.argsort(-total.astype(np.int64), kind="stable")
    pairs = zip(sets[order].tolist(), total[order].tolist(), strict=True)
    region.flag_sets = {f"{word:#018x}": number for word, number in pairs}


def _count(counts: dict[str, int], key: str, count: int) -> None:
    counts[key] = counts.get(key, 0) + count


def _note(region: Region, sentence: str) -> None:
    if sentence not in region.unknown:
        region.unknown.append(sentence)


def _hidden(known: int, rules: str, config: bool | None) -> int:
    """Return which bits of the state are not known."""
    return (bits.RW | bits.DIRTY | bits.cow_bit(rules, config)) & ~known


def state_text(entry: int, known: int, rules: str = "cow", config: bool | None = None) -> str:
    """Return the state, with ``?`` for the bits that are not known."""
    hidden = _hidden(known, rules, config)
    if not hidden:
        return bits.state(entry, rules, config)
    shown = bits.state(entry, rules, config)
    for name, bit in _STATE_BITS:
        if hidden & bit:
            shown = re.sub(rf"{name}=\d", f"{name}=?", shown)
    return shown


# ---- of text


def census_of_text(
    text: Text, level: int = 1
) -> tuple[dict[tuple[str, int], Census], dict[tuple[str, int], int]]:
    """Count the entries of a text by half and level.

    level: for entries whose level the text does not say.

    Returns censuses and known bits, as :func:`by_region` takes them.
    """
    levels = np.where(text.level == 0, level, text.level)
    halves = np.where(text.va_known, (text.va >= np.uint64(KERNEL)).astype(np.uint8), 2)
    censuses, known = {}, {}
    for half, number in sorted({*zip(halves.tolist(), levels.tolist(), strict=True)}):
        mask = (halves == half) & (levels == number)
        key = HALVES[half], number
        censuses[key] = _weighted(text.entry[mask], text.count[mask])
        known[key] = int(np.bitwise_and.reduce(text.known[mask]))
    return censuses, known


def _weighted(entries: np.ndarray, counts: np.ndarray) -> Census:
    """Count entries, each of which stands for many."""
    zero = np.uint64(0)
    frame = np.where(entries & _FRAME != zero, _FRAME_STANDS, zero)
    ignored = np.where(entries & _IGNORED != zero, _IGNORED_STANDS, zero)
    stand_ins = (entries & ~(_FRAME | _IGNORED)) | frame | ignored
    values, which = np.unique(stand_ins, return_inverse=True)
    total = np.zeros(len(values), np.uint64)
    np.add.at(total, which, counts)
    return Census(values, total)
