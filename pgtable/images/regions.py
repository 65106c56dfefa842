# SPDX-License-Identifier: GPL-2.0-only
"""The two halves of the address space, sizes of entries, and runs of neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np

#: The kernel half starts here: canonical addresses have their top bit set.
KERNEL = 1 << 63

#: A set of fewer intervals is searched at once; for more there is a map of this many cells.
_FEW = 64
_MAP_BITS = 24

#: Bytes that an entry of each level covers; level 0 does not exist.
SIZES = np.array([0, *(1 << (12 + 9 * level) for level in range(5))], np.uint64)


def in_kernel_half(va: np.ndarray) -> np.ndarray:
    """Tell for each address whether it is in the kernel half."""
    return va.view(np.int64) < 0


class Runs(NamedTuple):
    """Runs of neighbours: arrays of one element a run."""

    start: np.ndarray  #: first address (uint64)
    end: np.ndarray  #: address after the last byte (uint64; 2**64 is 0)
    first: np.ndarray  #: index of the first member
    members: np.ndarray  #: how many members

    def rows(self, limit: int | None = None) -> Iterator[tuple[int, int, int, int]]:
        """Yield start, end, first and members of each run (or of the first few), as ints."""
        return zip(*(column[:limit].tolist() for column in self), strict=True)


def runs(va: np.ndarray, size: np.ndarray, group: np.ndarray | None = None) -> Runs:
    """Join ranges that follow each other without a gap.

    va, size: uint64, addresses in ascending order and how many bytes each covers.
    group: only members with the same value here are joined.
    """
    if not len(va):
        nothing = np.empty(0, np.uint64)
        return Runs(nothing, nothing, np.empty(0, np.intp), np.empty(0, np.intp))
    end = va + size
    broken = end[:-1] != va[1:]
    if group is not None:
        broken |= group[:-1] != group[1:]
    first = np.concatenate(([0], np.flatnonzero(broken) + 1))
    last = np.concatenate((first[1:], [len(va)])) - 1
    return Runs(va[first], end[last], first, last - first + 1)


class Intervals:
    """A set of addresses, as merged intervals."""

    def __init__(self, start: np.ndarray, size: np.ndarray):
        """Take uint64 arrays of the same length, in any order, overlapping or not."""
        order = np.argsort(start, kind="stable")
        start, end = start[order], (start + size)[order]
        reach = np.maximum.accumulate(end) if len(end) else end
        opens = np.ones(len(start), bool)
        opens[1:] = start[1:] > reach[:-1]
        first = np.flatnonzero(opens)
        last = np.concatenate((first[1:], [len(start)])).astype(np.intp) - 1
        self.start = start[first]
        self.end = reach[last] if len(first) else reach

    def __len__(self) -> int:
        return len(self.start)

    @property
    def total(self) -> int:
        """How many bytes there are in all."""
        return int((self.end - self.start).sum())

    def touch(self, start: np.ndarray, size: np.ndarray) -> np.ndarray:
        """Tell for each range whether any byte of it is in the set.

        start, size: uint64 arrays of one length, or one size for all.
        """
        size = np.broadcast_to(size, start.shape)
        if len(self) < _FEW:
            return self._touch(start, size)
        # most ranges are far from all of a large set: one look at a map tells
        near = np.flatnonzero(self._near(start, size))
        touched = np.zeros(len(start), bool)
        touched[near] = self._touch(start[near], size[near])
        return touched

    def _near(self, start: np.ndarray, size: np.ndarray) -> np.ndarray:
        occupied, shift = self._map
        beyond = np.uint64(len(occupied) - 1)
        first = np.minimum(start >> shift, beyond)
        last = np.minimum((start + size - np.uint64(1)) >> shift, beyond)
        return occupied[first] | occupied[last] | (size >> shift > np.uint64(1))

    @cached_property
    def _map(self) -> tuple[np.ndarray, np.uint64]:
        """Which cells of 2**shift bytes have something of the set; none at the end."""
        end = int(self.end[-1])
        shift = np.uint64(max(12, end.bit_length() - _MAP_BITS))
        cells = (end - 1 >> int(shift)) + 2
        first = (self.start >> shift).astype(np.intp)
        last = ((self.end - np.uint64(1)) >> shift).astype(np.intp)
        occupied = np.zeros(cells, bool)
        occupied[first] = True
        for i in np.flatnonzero(last > first).tolist():
            occupied[first[i] : last[i] + 1] = True
        return occupied, shift

    def _touch(self, start: np.ndarray, size: np.ndarray) -> np.ndarray:
        if not len(self):
            return np.zeros(len(start), bool)
        index = np.searchsorted(self.end, start, side="right")
        inside = index < len(self)
        index[~inside] = 0
        return inside & (self.start[index] < start + size)

    def contain(self, start: np.ndarray, size: np.ndarray) -> np.ndarray:
        """Tell for each range whether every byte of it is in the set."""
        if not len(self):
            return np.zeros(len(start), bool)
        index = np.searchsorted(self.start, start, side="right").astype(np.intp) - 1
        before = index < 0
        index[before] = 0
        return ~before & (start + size <= self.end[index])
