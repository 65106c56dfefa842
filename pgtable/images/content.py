# SPDX-License-Identifier: GPL-2.0-only
"""What page tables show: the number of levels, an encryption bit, and two copies of the top table.

The tables are used only if nothing else gives the answer (CR4, VMCOREINFO, an argument), or to
check it.  Only few tables are looked at: the top one, and at most 64 at each lower level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

#: A function of a physical address: the 512 entries there; None if the image lacks them.
ReadTable = Callable[[int], "np.ndarray | None"]

_PRESENT, _PSE, _NX = np.uint64(1), np.uint64(1 << 7), np.uint64(1 << 63)
_ACCESSED_DIRTY = np.uint64(1 << 5 | 1 << 6)
_FRAME = 0x000F_FFFF_FFFF_F000
_HALF = 256
#: How many tables of each level are looked at.
_TABLES = 64
#: An encryption bit lies above all memory: on processors it is bit 43 or higher.
_FIRST_ENCRYPTION_BIT = 40
_MOST_PHYSICAL_BITS = 52
#: If so many different large pages are all aligned, that is no accident.
_ENOUGH = 4

#: The two copies of a top table that isolation keeps lie side by side: the kernel's first.
_COPY = 0x1000


class Levels(NamedTuple):
    """The number of levels, 4 or 5, and what shows it."""

    levels: int
    evidence: str


def levels_of(read: ReadTable, root: int) -> Levels | None:
    """Find the number of levels from the tables below a root; None if they do not show it.

    Large pages tell: only levels 2 and 3 have them, at frames aligned to 2 MiB and 1 GiB.
    Every x86-64 kernel maps its text with some.
    """
    depth = list(_by_depth(read, root))
    large = [_large_frames(tables) for tables in depth]
    if len(large[1]):
        return Levels(4, "large pages stand one table below the top, where five levels have none")
    below = large[2] & np.uint64((1 << 30) - 1)
    if len(below) and np.any(below != 0):
        return Levels(4, "large pages two tables below the top are not aligned to 1 GiB")
    third = large[3] & np.uint64((1 << 21) - 1)
    if _enough(large[3]) and np.all(third == 0):
        return Levels(5, "large pages, aligned to 2 MiB, stand three tables below the top")
    if _enough(large[2]):
        return Levels(5, "large pages two tables below the top are all aligned to 1 GiB")
    return None


def _enough(frames: np.ndarray) -> bool:
    """Tell whether enough of them differ."""
    for _ in range(_ENOUGH):
        if not len(frames):
            return False
        frames = frames[frames != frames[0]]
    return True


def _by_depth(read: ReadTable, root: int) -> Iterator[np.ndarray]:
    """Yield the entries of the tables at the top, one below it, two, three: shape (n, 512)."""
    wanted = [root]
    for depth in range(4):
        found = [table for pa in wanted if (table := read(pa)) is not None]
        tables = np.array(found, np.uint64).reshape(-1, 2 * _HALF)
        yield tables
        if depth == 3:
            return
        # from the highest address down, for the kernel's text is there
        entries = tables[:, ::-1].ravel()
        below = entries[(entries & _PRESENT != 0) & (entries & _PSE == 0)]
        wanted = _first_distinct(below & np.uint64(_FRAME))


def _first_distinct(frames: np.ndarray) -> list[int]:
    """Return the first few that differ, in order."""
    found: dict[int, None] = {}
    for first in range(0, len(frames), 8 * _TABLES):
        found |= dict.fromkeys(frames[first : first + 8 * _TABLES].tolist())
        if len(found) >= _TABLES:
            break
    return list(found)[:_TABLES]


def _large_frames(tables: np.ndarray) -> np.ndarray:
    """Return the frames of entries with PSE; bit 12 is none of theirs, but PAT."""
    entries = tables.ravel()
    large = entries[(entries & _PRESENT != 0) & (entries & _PSE != 0)]
    return large & np.uint64(_FRAME & ~(1 << 12))


def encryption_of(read: ReadTable, root: int) -> int:
    """Return the bit that every present entry of a top table carries as "encrypted", or 0.

    It is the one high bit that all have, and without which, only, their tables are in
    the image.
    """
    top = read(root)
    if top is None:
        return 0
    frames = np.unique(top[top & _PRESENT != 0] & np.uint64(_FRAME))
    if not len(frames) or any(read(int(frame)) is not None for frame in frames):
        return 0
    common = int(np.bitwise_and.reduce(frames))
    found = [
        1 << bit
        for bit in range(_FIRST_ENCRYPTION_BIT, _MOST_PHYSICAL_BITS)
        if common >> bit & 1 and _most(read(int(pa) & ~(1 << bit)) is not None for pa in frames)
    ]
    return found[0] if len(found) == 1 else 0


def encryption_of_address(read: ReadTable, root: int) -> int:
    """Return the one high bit without which a top table is in the image, or 0."""
    if read(root) is not None:
        return 0
    bits = [1 << bit for bit in range(_FIRST_ENCRYPTION_BIT, _MOST_PHYSICAL_BITS)]
    found = [bit for bit in bits if root & bit and read(root & ~bit) is not None]
    return found[0] if len(found) == 1 else 0


def _most(answers: Iterator[bool]) -> bool:
    given = list(answers)
    return 2 * sum(given) >= len(given)


def isolated_copies(read: ReadTable, root: int) -> tuple[int, int] | None:
    """Return the places of the kernel's and the user's copy of a top table, or None.

    Page-table isolation keeps both in neighbouring pages.  The lower half of the kernel's
    copy is that of the user's with NX set; of the upper half the user's has a few entries.
    Source: arch/x86/mm/pti.c.
    """
    kernel_pa, user_pa = root & ~_COPY, root | _COPY
    kernel, user = read(kernel_pa), read(user_pa)
    if kernel is None or user is None:
        return None
    lower_kernel, lower = kernel[:_HALF], user[:_HALF]
    used = lower & _PRESENT != 0
    same = (lower_kernel | _NX | _ACCESSED_DIRTY) == (lower | _NX | _ACCESSED_DIRTY)
    forbidden = lower_kernel & _NX != 0
    few = np.count_nonzero(user[_HALF:]), np.count_nonzero(kernel[_HALF:])
    if used.any() and (same & forbidden)[used].all() and 0 < few[0] < few[1]:
        return kernel_pa, user_pa
    return None
