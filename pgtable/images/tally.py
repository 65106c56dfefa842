# SPDX-License-Identifier: GPL-2.0-only
"""How many entries of each kind an address space has, without listing any."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np

from .. import encodings
from ..engines._native import ffi, lib
from ..kernels import Kernel
from .segments import Segments
from .steps import Progress, Task, run_task, run_tasks
from .walk import KIND_NAMES, KIND_OF, Kind, Root, Tables, Walked, pointer
from .walking import NativeWalk, Parts, report_all, streamed_columns

_HALVES = ("user", "kernel")
_ABSENT = int(lib.PGTABLE_NOT_PRESENT)


class Tally(Walked):
    """What a walk has beside its columns, and how many entries of each kind there are.

    ``counts``: by half and level ("user level 1"), then by kind (``KIND_NAMES``); only what
    has entries.  The length is that of a walk.
    """

    def __init__(self, root: Root, numbers: np.ndarray, tables: Tables):
        """Take numbers of shape (halves, levels, kinds)."""
        super().__init__(root, tables)
        self.counts = {
            f"{half} level {level}": dict(zip(KIND_NAMES, row.tolist(), strict=True))
            for half, levels in zip(_HALVES, numbers, strict=True)
            for level, row in enumerate(levels)
            if row.any()
        }
        self._entries = int(numbers.sum())

    def __len__(self) -> int:
        return self._entries


def run_tally(
    segments: Segments,
    root: Root,
    kernel: Kernel | None,
    threads: int = 1,
    progress: Progress | None = None,
) -> Tally:
    """Count the entries of the tables in these segments; see ``Image.tally``."""
    parts = Parts.of(segments, root, threads)
    once, everywhere = False, 0
    if parts is None:
        whole = NativeWalk(segments, root)
        run_task(whole.discover())
        once = whole.excessive
        if once:
            run_task(whole.count())
            everywhere = whole.bounds.everywhere
        shares = [iter([whole])]
    else:
        whole, shares = parts.whole, parts.shared_out()
    numbers = sum(run_tasks([_tally(walks, once, kernel) for walks in shares], threads, progress))
    tables = whole.tables() if parts is None else parts.tables()
    found = Tally(root, np.asarray(numbers), tables)
    report_all(found, whole, everywhere)
    return found


def _tally(walks: Iterator[NativeWalk], once: bool, kernel: Kernel | None) -> Task[np.ndarray]:
    """Return counts of shape (halves, levels, kinds)."""
    traits = np.zeros((len(_HALVES), 256), np.uint64)
    renamed = np.zeros((len(_HALVES), 6, len(KIND_NAMES)), np.int64)
    room = streamed_columns()
    for rows in chain.from_iterable(walk.stream(once, room) for walk in walks):
        va = rows["va"]
        middle = len(va)
        if va[0] >> np.uint64(63) != va[-1] >> np.uint64(63):
            middle = int(np.searchsorted(va, np.uint64(1 << 63)))
        upper = int(va[0] >> np.uint64(63))
        for half, part in ((upper, slice(middle)), (1, slice(middle, None))):
            if len(va[part]):
                _add(traits[half], rows["traits"][part])
        if kernel is not None:
            _rename(rows, kernel, renamed)
        yield len(va)
    return _by_kind(traits, kernel is None) + renamed


def _add(counts: np.ndarray, traits: np.ndarray) -> None:
    out = ffi.from_buffer("uint64_t[]", counts)
    lib.pgtable_walk_tally(pointer(traits), len(traits), out)


def _rename(rows: dict[str, np.ndarray], kernel: Kernel, numbers: np.ndarray) -> None:
    """Count what is not present as its kernel names it."""
    absent = np.flatnonzero(rows["traits"] & np.uint8(_ABSENT))
    if not len(absent):
        return
    level = rows["traits"][absent] // np.uint8(lib.PGTABLE_LEVEL)
    half = (rows["va"][absent] >> np.uint64(63)).astype(np.intp)
    names = encodings.kinds_of(rows["entry"][absent], level, half != 0, kernel)
    for name, kind in KIND_OF.items():
        hit = names == name
        np.add.at(numbers, (half[hit], level[hit], int(kind)), 1)


def _by_kind(traits: np.ndarray, absent_too: bool) -> np.ndarray:
    numbers = np.zeros((len(_HALVES), 6, len(KIND_NAMES)), np.int64)
    for half, value in zip(*np.nonzero(traits), strict=True):
        level, rest = divmod(int(value), int(lib.PGTABLE_LEVEL))
        if not rest & _ABSENT:
            kind = Kind.TABLE if rest & int(lib.PGTABLE_TABLE) else Kind.LEAF
        elif absent_too:
            kind = Kind(rest % _ABSENT)
        else:
            continue
        numbers[half, level, kind] += int(traits[half, value])
    return numbers
