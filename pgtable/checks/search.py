# SPDX-License-Identifier: GPL-2.0-only
"""Searches inputs that fail, and the smallest of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from .inputs import Inputs

#: So many entries at a time, so that a helper's intermediate arrays stay in the cache.
BLOCK = 1 << 15

#: A function of entries and arguments: which of them fail.
Fails = Callable[[np.ndarray, "np.ndarray | None"], np.ndarray]


class Input(NamedTuple):
    """The input of a helper: entry and argument."""

    entry: int
    argument: int | None


class Search(NamedTuple):
    """What a search found."""

    tried: int
    failures: int
    smallest: Input | None  #: fewest bits set, then the lowest entry, then argument


def blocks(inputs: Inputs) -> Iterator[Inputs]:
    """Divide inputs into pieces that stay in the cache."""
    for start in range(0, inputs.entries.size, BLOCK):
        piece = slice(start, start + BLOCK)
        arguments = None if inputs.arguments is None else inputs.arguments[piece]
        yield Inputs(inputs.entries[piece], arguments)


def fails_anywhere(fails: Fails, inputs: Inputs) -> bool:
    """Tell whether there is any input that fails."""
    return any(fails(*block).any() for block in blocks(inputs))


def search(fails: Fails, inputs: Inputs) -> Search:
    """Try all inputs, and make the smallest one that fails still smaller if possible."""
    failures = 0
    best: Input | None = None
    for entries, arguments in blocks(inputs):
        failed = fails(entries, arguments)
        if failed.any():
            failures += int(np.count_nonzero(failed))
            chosen = None if arguments is None else arguments[failed]
            best = _smaller(best, smallest(entries[failed], chosen))
    if best is not None:
        best = shrink(fails, best)
    return Search(inputs.entries.size, failures, best)


def bits_set(words: np.ndarray) -> np.ndarray:
    """Return how many bits each word has set."""
    if hasattr(np, "bitwise_count"):  # NumPy 2
        return np.bitwise_count(words)
    bytes_ = np.ascontiguousarray(words).view(np.uint8).reshape(-1, 8)
    return np.unpackbits(bytes_, axis=1).sum(axis=1, dtype=np.uint8)


def smallest(entries: np.ndarray, arguments: np.ndarray | None) -> Input:
    """Return the input with the fewest bits set, of these the lowest.  There must be one."""
    count = bits_set(entries)
    if arguments is None:
        return Input(int(entries[count == count.min()].min()), None)
    count = count + bits_set(arguments)
    fewest = count == count.min()
    entries, arguments = entries[fewest], arguments[fewest]
    entry = entries.min()
    return Input(int(entry), int(arguments[entries == entry].min()))


def shrink(fails: Fails, found: Input) -> Input:
    """Clear bits, one or two at a time, while the input still fails."""
    while True:
        candidates = _with_fewer_bits(found)
        failed = fails(candidates.entries, candidates.arguments)
        if not failed.any():
            return found
        arguments = candidates.arguments
        found = smallest(
            candidates.entries[failed], None if arguments is None else arguments[failed]
        )


def _with_fewer_bits(found: Input) -> Inputs:
    both = found.entry | (found.argument or 0) << 64
    bits = [1 << bit for bit in range(128) if both >> bit & 1]
    fewer = [both & ~(one | other) for one in bits for other in bits]
    entries = np.array([word & (2**64 - 1) for word in fewer], np.uint64)
    if found.argument is None:
        return Inputs(entries, None)
    return Inputs(entries, np.array([word >> 64 for word in fewer], np.uint64))


def _smaller(one: Input | None, other: Input) -> Input:
    return other if one is None else min(one, other, key=size)


def size(found: Input) -> tuple[int, int, int]:
    """Return the sort key of an input: bits set, then entry, then argument."""
    argument = found.argument or 0
    return (found.entry.bit_count() + argument.bit_count(), found.entry, argument)
