# SPDX-License-Identifier: GPL-2.0-only
"""Blocks of entries, which are small enough for the caches.

A large array is one block repeated.  So the expected result of a helper is that of the block,
repeated as well, and a check only reads the array once.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from pgtable.cost import entries

from .paths import DUMP

#: 8 MiB of entries.
BLOCK = 1 << 20


@cache
def real_block() -> np.ndarray:
    """Return one block out of the level-1 tables of a running Linux 6.12, repeated."""
    return _fixed(entries.from_file(DUMP, BLOCK))


@cache
def random_block() -> np.ndarray:
    """Return one block of entries with random bits."""
    return _fixed(entries.random_entries(BLOCK))


def _fixed(block: np.ndarray) -> np.ndarray:
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
