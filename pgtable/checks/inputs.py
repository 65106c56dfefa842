# SPDX-License-Identifier: GPL-2.0-only
"""The entries and arguments that the checks try.

No check can try all 2**64 entries, and none needs to.  Helpers look at single bits, and they treat
all other bits alike: they keep, clear, shift or invert them together.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np

#: Bits that a helper reads or writes one by one: the flags below the frame, 12
#: (PAT_LARGE, moved by the protval helpers), DEVMAP and Cow, NX.  Between them
#: lie the frame, bits without a name (52 to 56) and the protection key.
TOUCHED = (*range(13), 57, 58, 63)

#: Bits that a helper with an argument combines across both words: PRESENT (it
#: turns the frame over), RW, DIRTY and Cow (dirtiness moves), USER (access), PSE
#: (which bits are frame), PROTNONE, DEVMAP (its bit differs between rules).  All
#: others go through masks, each for itself.
COMBINED = (0, 1, 2, 6, 7, 8, 57, 58)

SEED = 58


class Inputs(NamedTuple):
    """Entries and, for helpers with a second argument, the same number of arguments."""

    entries: np.ndarray
    arguments: np.ndarray | None


@lru_cache(maxsize=4)
def single(random_entries: int, seed: int = SEED) -> Inputs:
    """Return the entries for helpers of one word, read-only.

    Every combination of the touched bits with the others all zero, all one and
    random; every word of at most two bits; and ``random_entries`` random words.
    """
    rng = np.random.default_rng(seed)
    every = words(TOUCHED)
    parts = [every | rest for rest in _rests(TOUCHED, every.size, rng)]
    return _frozen(np.concatenate([*parts, sparse(2), random_words(random_entries, rng)]))


@lru_cache(maxsize=4)
def paired(random_entries: int, seed: int = SEED) -> Inputs:
    """Return entries and arguments for helpers of two words, read-only.

    Every combination of the combined bits of both words, with the others of each
    all zero or all one, and random; every bit with every bit of the other word;
    and ``random_entries`` random pairs.
    """
    rng = np.random.default_rng(seed)
    every = words(COMBINED)
    first, second = _cross(every, every)
    rests, others = (_rests(COMBINED, first.size, rng) for _ in range(2))
    alike = list(zip(rests, others, strict=True))
    unlike = [(rests[0], others[1]), (rests[1], others[0])]
    pairs = [(first | rest, second | other) for rest, other in [*alike, *unlike]]
    pairs.append(_cross(sparse(1), sparse(1)))
    pairs.append((random_words(random_entries, rng), random_words(random_entries, rng)))
    entries, arguments = (np.concatenate(column) for column in zip(*pairs, strict=True))
    return _frozen(entries, arguments)


def words(bits: Iterable[int]) -> np.ndarray:
    """Return every combination of these bits, each once."""
    found = np.zeros(1, np.uint64)
    for bit in bits:
        found = np.concatenate([found, found | np.uint64(1 << bit)])
    return found


def sparse(most: int) -> np.ndarray:
    """Return every word with at most so many bits set."""
    return np.array(
        [
            sum(1 << bit for bit in chosen)
            for count in range(most + 1)
            for chosen in combinations(range(64), count)
        ],
        np.uint64,
    )


def random_words(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return random words, every bit set in half of them."""
    return rng.integers(0, 2**64, count, dtype=np.uint64)


def _rests(bits: Iterable[int], count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return settings of the bits that are not listed: all clear, all set, random."""
    others = np.uint64(~sum(1 << bit for bit in bits) % 2**64)
    zeros = np.zeros(count, np.uint64)
    return [zeros, zeros | others, random_words(count, rng) & others]


def _cross(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.repeat(first, second.size), np.tile(second, first.size)


def _frozen(entries: np.ndarray, arguments: np.ndarray | None = None) -> Inputs:
    entries.flags.writeable = False
    if arguments is not None:
        arguments.flags.writeable = False
    return Inputs(entries, arguments)
