# SPDX-License-Identifier: GPL-2.0-only
"""Checks whether a page can be a top table, before a walk of another page gives nonsense."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_PRESENT = np.uint64(1)
_PSE = np.uint64(0x80)
_FRAME = np.uint64(0x000F_FFFF_FFFF_F000)
#: Present, writable, perhaps User, Accessed and Dirty: all that entries of tables have in Linux.
_MADE_FOR_TABLES = np.uint64(0x3)
_FLAGS_OF_TABLES = np.uint64(0x67)
#: Bits 46 to 51: Linux uses 46 bits with four levels of tables, 52 with five.
_MAX_PHYSMEM_BITS = {4: 46, 5: 52}
#: Tables of a level that are looked at, and how many must be nonsense to be sure.
_SAMPLE = 64
_SURE = 8
#: With fewer entries, all of them leading out of the image may be a gap in it.
_FEW = 4

#: Gives the 512 entries at a physical address, None where the image lacks them.
Reader = Callable[[int], np.ndarray | None]


def complaint(read: Reader, pa: int, levels: int) -> str | None:
    """Return why a page of the image can be no top table; None where it can.

    The text completes "the page at ... is no top table: ".
    """
    top = read(pa)
    if top is None:
        return None  # another check reports that it is missing
    if (said := _of_top(top)) is not None:
        return said
    below = table_frames(top[None], levels)
    pages = [page for page in map(read, _some(below)) if page is not None]
    if not pages and len(below) >= _FEW:
        return f"all {len(below)} tables that it refers to are outside the image"
    level = levels - 1
    while pages and level >= 2:
        tables = np.stack(pages)
        bad = _nonsense(tables, level, levels)
        if bad >= _SURE and 2 * bad > len(tables):
            return f"what it refers to is no page table at level {level}"
        made = _made_for_tables(tables, level)
        below = table_frames(tables, level)
        pages = [page for page in map(read, _some(below)) if page is not None]
        level -= 1
        # below tables that are right, all may lie in a gap of the image
        if not pages and len(below) >= _SURE and not made:
            return f"all {len(below)} tables of level {level} below it are outside the image"
    return None


def _of_top(top: np.ndarray) -> str | None:
    used = np.count_nonzero(top)
    if not used:
        return "it is all zeros"
    present = top & _PRESENT != 0
    if not present.any():
        return f"none of its {used} words is a present entry"
    possible = np.count_nonzero(present & (top & _PSE == 0))
    if 2 * possible < used:
        return f"{used - possible} of its {used} words are no entries of a top table"
    return None


def table_frames(tables: np.ndarray, level: int) -> np.ndarray:
    """Return what present table entries refer to, each once."""
    return np.unique(_table_entries(tables, level) & _FRAME)


def _table_entries(tables: np.ndarray, level: int) -> np.ndarray:
    table = tables & _PRESENT != 0
    if level <= 3:
        table &= tables & _PSE == 0
    return tables[table]


def _made_for_tables(tables: np.ndarray, level: int) -> bool:
    """Tell whether all entries that refer to tables have flags that Linux gives to tables."""
    flags = _table_entries(tables, level) & ~_FRAME
    made = (flags & ~_FLAGS_OF_TABLES == 0) & (flags & _MADE_FOR_TABLES == _MADE_FOR_TABLES)
    return bool(made.all())


def _some(frames: np.ndarray) -> list[int]:
    if len(frames) > _SAMPLE:
        frames = frames[np.linspace(0, len(frames) - 1, _SAMPLE, dtype=np.intp)]
    return [int(pa) for pa in frames]


def _nonsense(tables: np.ndarray, level: int, levels: int) -> int:
    """Count the tables of level 2 and up most of whose words cannot be entries.

    Kernels leave hardly anything in such tables that is not present.
    """
    used = tables != 0
    fits = used & (tables & _PRESENT != 0)
    fits &= (tables & _FRAME) >> np.uint64(_MAX_PHYSMEM_BITS[levels]) == 0
    if level > 3:
        fits &= tables & _PSE == 0
    return int(np.count_nonzero(2 * fits.sum(axis=1) < used.sum(axis=1)))
