# SPDX-License-Identifier: GPL-2.0-only
"""Entries to work on, of any size, repeated from a block that the caches do not forget.

A large array is one block again and again.  So the expected result of a helper
is that of the block, repeated as well, and checking it costs one reading pass.
"""

from __future__ import annotations

import lzma
from functools import cache
from typing import Any

import numpy as np

from .paths import DUMP

#: 8 MiB of entries.
BLOCK = 1 << 20


@cache
def real_block() -> np.ndarray:
    """Return one block out of the level-1 tables of a running Linux 6.12, repeated."""
    entries = np.frombuffer(lzma.decompress(DUMP.read_bytes()), "<u8")
    block = np.resize(entries, BLOCK)
    block.flags.writeable = False
    return block


@cache
def random_block() -> np.ndarray:
    """Return one block of entries of which every bit is a coin toss."""
    block = np.random.default_rng(58).integers(0, 2**64, BLOCK, dtype=np.uint64)
    block.flags.writeable = False
    return block


BLOCKS = {"real": real_block, "random": random_block}


def block_for(kind: str, n: int) -> np.ndarray:
    """Return the block that n entries of that kind repeat.

    Raises ValueError if n is neither a part nor a multiple of a block.
    """
    if n > BLOCK and n % BLOCK:
        raise ValueError(f"{n} entries are no multiple of a block of {BLOCK}")
    return BLOCKS[kind]()[:n]


def aligned(n: int, dtype: Any = np.uint64) -> np.ndarray:
    """Return a new array that starts at a page, as page tables do, its pages touched.

    What starts elsewhere makes vectors that lie in two cache lines: some loops
    mind, some do not, and two arrays of one program may differ in it.
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
