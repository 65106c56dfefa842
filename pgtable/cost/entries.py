# SPDX-License-Identifier: GPL-2.0-only
"""Entries to measure on: random ones, those of a file, and memory for them."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ..files import open_entries

#: Of one page table.
TABLE = 512
_SEED = 58


def random_entries(n: int) -> np.ndarray:
    """Return n entries of random bits, the same in each call."""
    return np.random.default_rng(_SEED).integers(0, 2**64, n, dtype=np.uint64)


def from_file(path: str | os.PathLike[str], n: int) -> np.ndarray:
    """Return n entries of a file: tables spread over it, or, if it has fewer, all of it repeated.

    path: what ``pgtable apply`` reads: raw entries or ``.npy``, also compressed with xz.

    Raises OSError where it cannot be read, ValueError for what holds no entries.
    """
    with open_entries(path) as source:
        chunks = [chunk.copy() for chunk in source.chunks()]
    if not chunks:
        raise ValueError(f"{path}: holds no entries")
    entries = np.concatenate(chunks)
    if entries.size <= n:
        return np.resize(entries, n)
    tables = entries[: entries.size // TABLE * TABLE].reshape(-1, TABLE)
    pages = -(-n // TABLE)
    return tables[np.arange(pages) * len(tables) // pages].reshape(-1)[:n]


def aligned(n: int, dtype: Any = np.uint64) -> np.ndarray:
    """Return a new array that starts at a page, as page tables do.  Its pages are in memory.

    In other arrays some vectors lie in two cache lines.  That slows some loops down and others not,
    and two arrays of one program may differ in it.
    """
    page = 4096
    nbytes = n * np.dtype(dtype).itemsize
    raw = np.empty(nbytes + page, np.uint8)
    first = -raw.ctypes.data % page
    array = raw[first : first + nbytes].view(dtype)
    array.view(np.uint8).fill(1)
    return array


def fill(array: np.ndarray, block: np.ndarray) -> None:
    """Write the block into the array as often as it takes."""
    if array.size:
        array.reshape(-1, block.size)[:] = block
