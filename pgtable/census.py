# SPDX-License-Identifier: GPL-2.0-only
"""A histogram of entries by their flag bits, from which every count follows."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from .engines import buffers
from .engines._native import ffi, lib
from .engines.interface import Operation, processors
from .engines.native import native
from .locks import lock_across_forks


class Census:
    """How many entries of each kind there are.

    ``entries`` (uint64) has one entry that stands for each kind that was seen, in
    ascending order, ``counts`` (uint64) how many there were of it.  The stand-ins
    keep bits 0 to 11 and 57 to 63; bit 52 stands for any of 52 to 56, bit 30 for
    any of the frame's bits 12 to 51.  Any test of an entry can be asked of them.
    """

    def __init__(self, entries: np.ndarray, counts: np.ndarray):
        self.entries = entries
        self.counts = counts

    @property
    def total(self) -> int:
        """How many entries were counted."""
        return int(self.counts.sum())

    def count(self, test: Operation) -> int:
        """Return for how many entries a test helper, of any engine, is true.

        Raises TypeError for anything but a test that takes the entry alone.
        """
        if test.kind != "test":
            raise TypeError(f"{test.name} gives entries; only tests can be counted")
        return int(self.counts[test(self.entries)].sum())

    def count_bits(self, mask: int, value: int) -> int:
        """Return how many entries have ``value`` in the bits of ``mask``.

        Raises ValueError if the mask has bits that the histogram does not keep apart.
        """
        if mask & _LUMPED:
            raise ValueError(f"mask {mask:#x} has bits of 12 to 56, which are not told apart")
        hit = (self.entries & np.uint64(mask)) == np.uint64(value)
        return int(self.counts[hit].sum())

    def where(self, mask: np.ndarray) -> Census:
        """Return the census of the kinds for which ``mask`` (one bool each) is true."""
        return Census(self.entries[mask], self.counts[mask])

    def as_dict(self) -> Mapping[str, int]:
        """Return the counts by stand-in, as ``{"0x...": n}``."""
        return {
            f"{entry:#018x}": int(count)
            for entry, count in zip(self.entries.tolist(), self.counts.tolist(), strict=True)
        }

    def __repr__(self) -> str:
        return f"<census of {self.total} entries of {len(self.entries)} kinds>"


#: Entries that the C side takes in one call.
_AT_ONCE = 1 << 31

_LUMPED = 0x01FF_FFFF_FFFF_F000


def new_histogram() -> Any:
    """Return a ``struct pgtable_census`` that frees itself."""
    histogram = lib.pgtable_census_new(native().loops)
    if not histogram:
        raise MemoryError("no memory for the histogram of a census")
    return ffi.gc(histogram, lib.pgtable_census_free)


#: Histograms of former calls: making a new one takes longer than counting a page table.
#: Each has memory for the kinds it has seen, 8 MiB at most.
_kept: list[Any] = []
_KEPT_AT_MOST = 2


def _taken_histogram() -> Any:
    """Return an empty histogram: a kept one or a new one."""
    try:
        histogram = _kept.pop()
    except IndexError:
        return new_histogram()
    lib.pgtable_census_clear(histogram, native().loops)
    return histogram


#: How many rows are read at first: real tables have tens of kinds.
_SOME_ROWS = 128


def read_histogram(histogram: Any) -> Census:
    """Return what a ``struct pgtable_census`` has counted."""
    rows, size = _SOME_ROWS, 0
    while rows > size:
        size = rows
        pairs = np.empty((2, size), np.uint64)
        start = ffi.from_buffer("uint64_t[]", pairs)
        rows = lib.pgtable_census_rows(histogram, start, start + size, size)
    found = pairs[:, :rows].copy()
    return Census(found[0], found[1])


#: Held while a counter takes a histogram, puts one back or reads them all; no call counts under it.
_TAKING = lock_across_forks()


class Counter:
    """Collects a census from any number of arrays.

    Any number of threads may add to one counter, also while it is read.  Each call counts
    into a histogram of its own.  A census waits for the calls that are under way, and calls
    that begin later wait for it: so it has whole calls only, and all that ended before it.
    """

    def __init__(self) -> None:
        # no call counts into one of these: a call takes one, and puts it back
        self._idle = [_taken_histogram()]
        self._adding: dict[int, int] = {}  # the threads that add, with their processes
        self._reading = 0
        self._changed = threading.Condition(_TAKING)

    def add(self, entries: Any, *, threads: int = 1) -> None:
        """Count every entry of an array; ``threads`` and errors as for helpers."""
        array = buffers.as_entries(entries, "entries")
        flat = (array if array.flags.c_contiguous else array.T).reshape(-1)
        workers = processors(threads)
        thread = threading.get_ident()
        with _TAKING:
            if self._adding:
                self._require_other_threads(thread)
            if self._reading:
                self._changed.wait_for(lambda: not self._reading)
            histogram = self._idle.pop() if self._idle else _taken_histogram()
            self._adding[thread] = os.getpid()
        try:
            _add_to(histogram, flat, workers)
        finally:
            with _TAKING:
                self._idle.append(histogram)
                del self._adding[thread]
                if self._reading:
                    self._changed.notify_all()

    def census(self) -> Census:
        """Return what has been counted so far.

        Raises RuntimeError where another thread was adding when this process was forked, as
        what it had counted is lost, and inside of a call that adds (in a signal handler).
        """
        with _TAKING:
            self._require_other_threads(threading.get_ident())
            self._reading += 1
            try:
                self._changed.wait_for(lambda: not self._adding)
                return together([read_histogram(histogram) for histogram in self._idle])
            finally:
                self._reading -= 1
                self._changed.notify_all()

    def _require_other_threads(self, thread: int) -> None:
        """Raise RuntimeError where waiting for the calls under way would never end."""
        if any(process != os.getpid() for process in self._adding.values()):
            raise RuntimeError("a thread was adding to this Counter when the process was forked")
        if thread in self._adding:
            raise RuntimeError("this thread is adding to this Counter: its call has to end first")

    def __reduce__(self) -> Any:
        raise TypeError("a Counter cannot be copied or pickled; take its census()")


def _add_to(histogram: Any, flat: np.ndarray, threads: int) -> None:
    for start in range(0, flat.size, _AT_ONCE):
        part = flat[start : start + _AT_ONCE]
        if lib.pgtable_census_add(histogram, ffi.from_buffer(part), part.size, threads):
            raise MemoryError("no memory for the histogram of a census")


def together(found: list[Census]) -> Census:
    """Return what several censuses counted in all."""
    if len(found) == 1:
        return found[0]
    if not found:
        return Census(np.empty(0, np.uint64), np.empty(0, np.uint64))
    entries, which = np.unique(np.concatenate([one.entries for one in found]), return_inverse=True)
    counts = np.zeros(len(entries), np.uint64)
    np.add.at(counts, which, np.concatenate([one.counts for one in found]))
    return Census(entries, counts)


def census(entries: Any, *, threads: int = 1) -> Census:
    """Count every kind of entry in one pass, which only reads.

    entries: anything that a helper takes as an array.
    threads: how many threads may work; 0: one for each processor.
    """
    counter = Counter()
    counter.add(entries, threads=threads)
    found = counter.census()
    if len(_kept) < _KEPT_AT_MOST:
        _kept.append(counter._idle[0])
    return found
