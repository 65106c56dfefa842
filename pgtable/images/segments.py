# SPDX-License-Identifier: GPL-2.0-only
"""Where physical memory is in the image: a sorted table that C and Python search."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

from ..engines._native import ffi

PAGE = 4096
#: Physical addresses have at most 52 bits.
PHYSICAL_END = 1 << 52

#: ``struct pgtable_segment``
_SEGMENT = np.dtype([("data", "<u8"), ("pa", "<u8"), ("size", "<u8")])


class AbsentError(ValueError):
    """The image does not have this memory.  That is no damage."""


class Segments:
    """Physical ranges and the bytes behind them, sorted and without overlap.

    memory: the buffer that all of it lies in.
    pa, offset, size: of each segment; offset in ``memory``.

    Of segments that overlap, the one that begins lower is kept whole; of those
    that begin alike, the first; ``overlapping`` says how many were cut.
    Raises ValueError where a segment leaves the buffer or the physical address space.
    """

    def __init__(self, memory: Any, pa: Any, offset: Any, size: Any):
        self.memory = np.frombuffer(memory, np.uint8)
        pa, offset, size = (np.asarray(column, np.uint64) for column in (pa, offset, size))
        if np.any(size > PHYSICAL_END) or np.any(pa > PHYSICAL_END - size):
            raise ValueError("a segment lies beyond the 52 bits of a physical address")
        length = np.uint64(self.memory.size)
        if np.any(offset > length) or np.any(size > length - np.minimum(offset, length)):
            raise ValueError("a segment lies beyond the end of the file")
        order = np.argsort(pa, kind="stable")
        pa, offset, size = pa[order], offset[order], size[order]
        covered = np.zeros_like(pa)
        covered[1:] = np.maximum.accumulate(pa + size)[:-1]
        cut = np.minimum(np.maximum(covered, pa) - pa, size)
        kept = size > cut
        self.overlapping = int(np.count_nonzero(cut))
        self.table = np.empty(np.count_nonzero(kept), _SEGMENT)
        self.table["data"] = (self.memory.ctypes.data + offset + cut)[kept]
        self.table["pa"] = (pa + cut)[kept]
        self.table["size"] = (size - cut)[kept]

    def __reduce__(self) -> Any:
        # the table has addresses of this process
        raise TypeError("segments cannot be copied or pickled; copy or pickle the image")

    @property
    def remarks(self) -> list[str]:
        """A note on segments that overlap, in one line; empty if none does."""
        if not self.overlapping:
            return []
        which = "segment overlaps" if self.overlapping == 1 else "segments overlap"
        return [
            f"{self.overlapping} {which} another: where two do, the one that begins lower counts"
        ]

    @property
    def pointer(self) -> Any:
        """The table as C takes it; valid as long as this object."""
        return ffi.cast("struct pgtable_segment *", self.table.ctypes.data)

    def ranges(self) -> np.ndarray:
        """Return [start, end) of each stretch of physical memory, shape (n, 2), uint64."""
        start = self.table["pa"]
        end = start + self.table["size"]
        apart = start[1:] != end[:-1]
        first = np.concatenate(([True], apart)) if start.size else apart
        last = np.concatenate((apart, [True])) if start.size else apart
        return np.stack([start[first], end[last]], axis=1)

    def pieces(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (physical address, bytes) of each segment."""
        for data, pa, size in self.table.tolist():
            at = data - self.memory.ctypes.data
            yield pa, self.memory[at : at + size]

    def read(self, pa: int, n: int) -> bytes:
        """Return n bytes at a physical address.

        Raises ValueError where any of them is not there.
        """
        parts = []
        end = pa + n
        while pa < end:
            part = self._piece(pa)[: end - pa]
            if not len(part):
                raise AbsentError(f"physical address {pa:#x} is not in the image")
            parts.append(part)
            pa += len(part)
        return b"".join(part.tobytes() for part in parts)

    def _piece(self, pa: int) -> np.ndarray:
        """Return the bytes from ``pa`` to the end of its segment."""
        i = int(np.searchsorted(self.table["pa"], np.uint64(pa), side="right")) - 1
        if i < 0:
            return self.memory[:0]
        data, start, size = (int(value) for value in self.table[i])
        at = data - self.memory.ctypes.data + pa - start
        return self.memory[at : at + max(0, start + size - pa)]

    def page(self, pa: int) -> np.ndarray | None:
        """Return the 512 words of the page at a physical address, not copied; None: not there."""
        starts, places = self._places
        i = bisect_right(starts, pa) - 1
        if i < 0 or pa + PAGE - starts[i] > places[i][1]:
            return None
        at = places[i][0] + pa - starts[i]
        return self.memory[at : at + PAGE].view(np.uint64)

    @cached_property
    def _places(self) -> tuple[list[int], list[tuple[int, int]]]:
        """Where segments begin, and of each: its offset in ``memory`` and its size."""
        base = self.memory.ctypes.data
        rows = self.table.tolist()
        return [pa for _, pa, _ in rows], [(data - base, size) for data, _, size in rows]

    def pages(self, pas: np.ndarray) -> np.ndarray:
        """Return the pages at these physical addresses: uint64, shape (len(pas), 512).

        Raises ValueError where one is not there as a whole.
        """
        out = np.empty((len(pas), PAGE // 8), np.uint64)
        for row, pa in zip(out, pas.tolist(), strict=True):
            row[:] = np.frombuffer(self.read(pa, PAGE), np.uint64)
        return out
