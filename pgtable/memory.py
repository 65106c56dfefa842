# SPDX-License-Identifier: GPL-2.0-only
"""Memory for results, in huge pages if the system has them.

A result is written once, so most of its time is the first touch of its pages.  With pages of 4 KiB
that takes several times as long as the writing.  NumPy asks for huge pages, too, but its arrays
begin and end within one, and arrays below 4 MiB get none.
"""

from __future__ import annotations

import mmap
import weakref
from typing import Any

import numpy as np

HUGE_PAGE = 1 << 21
_LINE = 64


def empty_columns(rows: int, dtypes: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return uninitialised arrays of one length that lie in one piece of memory.

    rows: their length; dtypes: those of the arrays, by name.  The system provides only memory that
    is written to.  It is freed with the last of the arrays.

    Raises MemoryError if the system refuses so much memory.
    """
    starts, size = {}, 0
    for name, dtype in dtypes.items():
        starts[name] = size
        size += -(-rows * np.dtype(dtype).itemsize // _LINE) * _LINE
    memory = _huge_pages(size)
    if memory is None:
        return {name: _empty(rows, dtype) for name, dtype in dtypes.items()}
    return {
        name: np.ndarray(rows, dtype, memory, offset=starts[name]) for name, dtype in dtypes.items()
    }


def empty(rows: int, dtype: Any) -> np.ndarray:
    """Return one such array."""
    return empty_columns(rows, {"": dtype})[""]


def _empty(rows: int, dtype: Any) -> np.ndarray:
    try:
        return np.empty(rows, dtype)
    except ValueError:  # larger than an address space
        raise MemoryError(f"{rows} rows do not fit in memory") from None


#: Bytes that are kept when a result is gone, as the C library does: for who walks one address
#: space after the other.
KEPT_AT_MOST = 1 << 26
_kept: list[mmap.mmap] = []


def _huge_pages(size: int) -> np.ndarray | None:
    """Return bytes that begin at a huge page, or None where none would be filled or can be had."""
    rounded = -(-size // HUGE_PAGE) * HUGE_PAGE
    if rounded - size <= size // 4:
        size = rounded  # the last one is worth its rest
    if size < HUGE_PAGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return None
    pages = _taken(size) or _mapped(size)
    if pages is None:
        return None
    memory = np.frombuffer(pages, np.uint8)
    # not later than the last array over it, and not before
    weakref.finalize(memory, _keep, pages).atexit = False
    start = -memory.ctypes.data % HUGE_PAGE
    return memory[start : start + size]


def _mapped(size: int) -> mmap.mmap | None:
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
    try:
        pages = mmap.mmap(-1, size + HUGE_PAGE, flags=flags)
    except (OSError, OverflowError):
        raise MemoryError(f"{size} bytes are refused") from None
    try:
        pages.madvise(mmap.MADV_HUGEPAGE)
    except OSError:
        return None  # a kernel without
    return pages


def _taken(size: int) -> mmap.mmap | None:
    """Return the smallest that was kept and is large enough."""
    fitting = sorted((pages for pages in _kept if len(pages) >= size + HUGE_PAGE), key=len)
    for pages in fitting:
        try:
            _kept.remove(pages)
        except ValueError:  # another thread was quicker
            continue
        return pages
    return None


def _keep(pages: mmap.mmap) -> None:
    if len(pages) > KEPT_AT_MOST:
        return
    _kept.append(pages)
    while sum(map(len, _kept)) > KEPT_AT_MOST:
        del _kept[:1]
