# SPDX-License-Identifier: GPL-2.0-only
"""Mixes: the entries that a helper gets.  With branches, the cost depends on the mix.

Entries are present pages of user mode with different frames.  "Clean" and "dirty" are two states of
a page for which the helper takes different branches, if it has any (``STATES``).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..engines.interface import HelperInfo
from .entries import TABLE

#: Mixes that need no file, in the order of the tables.
MIXES = ("clean", "dirty", "half", "sorted")
#: The mix of a file's entries has this name, followed by the file's.
FILE = "file:"

PRESENT, RW, USER, ACCESSED, DIRTY, PSE = (1 << bit for bit in (0, 1, 2, 5, 6, 7))
SAVED, NX = 1 << 58, 1 << 63

_FRAMES = {
    "pte": 0x0000_0FFF_FFFF_F000,
    "pmd": 0x0000_0FFF_FFE0_0000,
    "pud": 0x0000_0FFF_C000_0000,
}
_SEED = 9


class State(NamedTuple):
    """The bits of an entry that are about writing."""

    write: bool
    dirty: bool = False
    saved: bool = False  #: dirtiness is in bit 58; if the rules do not have that bit, in Dirty

    def bits(self, has_saved: bool) -> int:
        """Return the state's bits, for rules that have bit 58 or have not."""
        dirty = self.dirty or (self.saved and not has_saved)
        saved = self.saved and has_saved
        return RW * self.write | DIRTY * dirty | SAVED * saved


_WRITABLE, _WRITTEN = State(write=True), State(write=True, dirty=True)
_READ_ONLY, _WRITTEN_BEFORE = State(write=False), State(write=False, saved=True)
_SHADOW_STACK = State(write=False, dirty=True)

#: Helper without its level -> (clean, dirty); all others: writable, not written or written.
STATES = {
    # tests whether the entry is writable: after fork it is not
    "mkdirty": (_WRITABLE, _WRITTEN_BEFORE),
    "write": (_WRITABLE, _WRITTEN_BEFORE),
    # an entry that becomes writable was read-only, and its dirtiness moves back
    "mkwrite": (_READ_ONLY, _WRITTEN_BEFORE),
    "mkwrite_novma": (_READ_ONLY, _WRITTEN_BEFORE),
    "clear_cow": (_READ_ONLY, _WRITTEN_BEFORE),
    "clear_saveddirty": (_READ_ONLY, _WRITTEN_BEFORE),
    # the merged version tests whether the entry was writable
    "modify": (_READ_ONLY, _WRITTEN),
    # between clearing Write and moving Dirty away
    "mkcow": (_READ_ONLY, _SHADOW_STACK),
    "mksaveddirty": (_READ_ONLY, _SHADOW_STACK),
    "mkwrite_shstk": (_READ_ONLY, _SHADOW_STACK),
    "shstk": (_READ_ONLY, _SHADOW_STACK),
}


def states_of(helper: HelperInfo) -> tuple[State, State]:
    """Return what clean and dirty are for a helper."""
    return STATES.get(helper.name.partition("_")[2], (_WRITABLE, _WRITTEN))


def entries_of(mix: str, helper: HelperInfo, n: int, has_saved: bool) -> np.ndarray:
    """Return n entries of a mix of ``MIXES``.  All calls return the same.

    helper: decides what clean and dirty are; its level decides the frames.
    n: a multiple of 512; every table of 512 has the mix.
    has_saved: whether the rules keep dirtiness in bit 58.
    """
    clean, dirty = (state.bits(has_saved) for state in states_of(helper))
    rng = np.random.default_rng(_SEED)
    which = _which(mix, n, rng)
    frames = rng.integers(0, 2**64, n, np.uint64) & np.uint64(_FRAMES.get(helper.level, 0))
    common = PRESENT | USER | ACCESSED | NX | (PSE if helper.level in ("pmd", "pud") else 0)
    return np.where(which, np.uint64(dirty), np.uint64(clean)) | frames | np.uint64(common)


def _which(mix: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return which entries are dirty."""
    if mix in ("clean", "dirty"):
        return np.full(n, mix == "dirty")
    half = np.tile(np.arange(TABLE) >= TABLE // 2, (n // TABLE, 1))
    if mix == "half":
        half = rng.permuted(half, axis=1)
    elif mix != "sorted":
        raise ValueError(f"mix is {mix!r}; it must be one of {', '.join(MIXES)} or a file")
    return half.reshape(-1)
