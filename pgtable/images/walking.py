# SPDX-License-Identifier: GPL-2.0-only
"""Walks in C, in steps: to columns, to counts, to a census, by any number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..census import Census, new_histogram, read_histogram, together
from ..engines._native import ffi, lib
from ..engines.native import native
from ..memory import empty_columns
from .segments import Segments
from .steps import Progress, Task, run_task, run_tasks
from .walk import MAX_REPORTS, Root, Tables, Walk, Walked, WalkReport, pointer

#: Tables that may always be visited, counting shared ones wherever they are reached.
ALWAYS_VISITED = 1 << 15
#: Beyond that, how many times as many as there are.
EXPANSION = 4
#: Rows from which on memory is reserved rather than rows counted, and threads are worth it:
#: with fewer, what is left over of the last huge page of each column would be much.
RESERVED_FROM = 1 << 22
#: If fewer were found, they are copied to memory of their own size: huge pages are not.
COPIED_BELOW = 1 << 20
#: Rows and tables that are done in one step: some milliseconds.
ROWS_AT_ONCE = 1 << 20
TABLES_AT_ONCE = 1 << 11
#: Rows that are looked at and forgotten: they stay in the caches.
STREAMED = 1 << 15
#: Pieces, of so many rows about, that a thread does in one step.
PIECES_AT_ONCE = 256
PIECE_ROWS = 32 * 512
#: Parts of a walk for each thread: they are not all of the same size.
PARTS = 4

#: ``struct pgtable_table``
_TABLE = np.dtype(
    [
        ("data", "<u8"),
        ("pa", "<u8"),
        ("va", "<u8"),
        ("times", "<u8"),
        ("reached", "<u8"),
        ("entries", "<u4"),
        ("level", "<u4"),
        ("low", "<u4"),
        ("high", "<u4"),
    ]
)
#: The columns that C fills; the others are made of them.
FILLED: dict[str, type] = {"va": np.uint64, "entry": np.uint64, "traits": np.uint8}


class NativeWalk:
    """One walk in C; of tables of level 1 it knows the entries at most, until counted."""

    def __init__(self, segments: Segments, root: Root):
        self.root = root
        self.segments = segments  # keeps the memory alive
        self.top = _top_table(segments, root)  # so does this
        start = ffi.new("struct pgtable_root *")
        start.pa, start.levels, start.nxe = root.pa, root.levels, root.nxe
        start.encryption, start.begins = root.encryption, root.begins
        start.first, start.last = root.first, root.last
        start.top = ffi.NULL if self.top is None else pointer(self.top)
        walk = lib.pgtable_walk_new(native().loops, segments.pointer, len(segments.table), start)
        if not walk:
            raise MemoryError("no memory for a walk")
        self.walk = ffi.gc(walk, lib.pgtable_walk_free)

    def discover(self, lowest: int = 1) -> Task[None]:
        """Find all tables of a level from ``lowest`` up; this comes first."""
        while more := lib.pgtable_walk_discover(self.walk, lowest, TABLES_AT_ONCE):
            if more < 0:
                raise MemoryError("no memory for the list of tables; the image may be damaged")
            yield 0

    def count(self) -> Task[None]:
        """Count the entries of level 1 too."""
        while lib.pgtable_walk_count(self.walk, TABLES_AT_ONCE):
            yield 0

    @property
    def bounds(self) -> Any:
        """What a visit of all tables comes to, at most (``struct pgtable_bounds``)."""
        return lib.pgtable_walk_bounds(self.walk)

    def fill(self, columns: dict[str, np.ndarray], once: bool) -> Task[int]:
        """Fill columns; returns how many rows there are, and yields them as they come."""
        lib.pgtable_walk_begin(self.walk, once)
        room, rows = len(columns["va"]), 0
        while True:
            here = {name: column[rows : rows + ROWS_AT_ONCE] for name, column in columns.items()}
            # but for the last piece, a step ends before a table that it has no room for
            exact = room - rows <= ROWS_AT_ONCE
            found = lib.pgtable_walk_next(self.walk, _columns(here), exact)
            rows += found
            yield found
            if exact or not found:
                return rows

    def stream(self, once: bool, columns: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """Yield rows, some at a time, in columns that are used again for the next."""
        room = _columns(columns)
        lib.pgtable_walk_begin(self.walk, once)
        while rows := lib.pgtable_walk_next(self.walk, room, False):
            yield {name: column[:rows] for name, column in columns.items()}

    @property
    def excessive(self) -> bool:
        """Whether shared tables make this so large that they are expanded once only."""
        _, known = self._listed_tables()
        return self.bounds.tables > max(ALWAYS_VISITED, EXPANSION * known)

    def all_tables(self) -> np.ndarray:
        """Return all tables as C has them (``_TABLE``), also those not reached.

        Valid as long as this walk.
        """
        start, n = self._listed_tables()
        return np.frombuffer(ffi.buffer(start, n * _TABLE.itemsize), _TABLE)

    def of_level(self, level: int) -> np.ndarray:
        """Return those of one level, which are known; valid as long as this walk."""
        n = ffi.new("size_t *")
        start = lib.pgtable_walk_level(self.walk, level, n)
        return np.frombuffer(ffi.buffer(start, n[0] * _TABLE.itemsize), _TABLE)

    def _listed_tables(self) -> tuple[Any, int]:
        n = ffi.new("size_t *")
        return lib.pgtable_walk_tables(self.walk, n), n[0]

    def tables(self) -> Tables:
        """Return the tables that were reached."""
        rows = self.all_tables()
        return _as_tables(rows[rows["reached"] > 0])

    def loops(self) -> tuple[list[WalkReport], int]:
        """Return loops that the last visit met, and how many there were in all."""
        kept = ffi.new("size_t *")
        total = ffi.new("uint64_t *")
        loops = lib.pgtable_walk_loops(self.walk, kept, total)
        found = [
            WalkReport("loop", loops[i].va, loops[i].pa, loops[i].level - 1) for i in range(kept[0])
        ]
        return found, total[0]

    def stopped(self) -> int | None:
        """Return the address at which rows ended for want of room; None: they are all there."""
        va = ffi.new("uint64_t *")
        return va[0] if lib.pgtable_walk_stopped(self.walk, va) else None


def _as_tables(rows: np.ndarray) -> Tables:
    return Tables(
        rows["pa"].copy(),
        rows["va"].copy(),
        rows["level"].astype(np.uint8),
        rows["entries"].astype(np.uint16),
        rows["reached"].copy(),
        rows["data"] != 0,
    )


def streamed_columns() -> dict[str, np.ndarray]:
    """Return columns of few rows, which stay in the caches."""
    return {name: np.empty(STREAMED, dtype) for name, dtype in FILLED.items()}


def _columns(columns: dict[str, np.ndarray]) -> Any:
    out = ffi.new("struct pgtable_columns *")
    for name, column in columns.items():
        setattr(out, name, pointer(column))
    out.capacity = len(columns["va"])
    return out


def _top_table(segments: Segments, root: Root) -> np.ndarray | None:
    """Return the top table that two copies make together, or None where there is one."""
    if root.slots is not None:
        top = segments.pages(np.array([root.pa], np.uint64))[0]
        top[~np.isin(np.arange(len(top)), root.slots)] = 0
        return top
    if root.half is not None:
        top = segments.pages(np.array([root.pa], np.uint64))[0]
        middle = len(top) // 2
        top[slice(middle, None) if root.half == "user" else slice(middle)] = 0
        return top
    if root.user_pa is None:
        return None
    kernel, user = segments.pages(np.array([root.pa, root.user_pa], np.uint64))
    half = len(user) // 2
    return np.concatenate((user[:half], kernel[half:]))


def run_walk(
    segments: Segments,
    root: Root,
    limit: int | None,
    threads: int = 1,
    progress: Progress | None = None,
) -> Walk:
    """Walk the tables in these segments; see ``Image.walk``."""
    parts = Parts.of(segments, root, threads if limit is None else 1)
    if parts is not None:
        return _walk_parts(parts, progress)
    walk = NativeWalk(segments, root)
    run_task(walk.discover())
    once = limit is None and walk.excessive
    columns = None
    if limit is None and not once and walk.bounds.everywhere >= RESERVED_FROM:
        columns = _reserve(walk.bounds.everywhere)
    everywhere = 0
    if columns is None:
        run_task(walk.count())
        bounds = walk.bounds
        once = once or (limit is not None and bounds.everywhere > limit)
        if once and bounds.everywhere > bounds.once:
            everywhere = bounds.everywhere
        columns = _exact(bounds.once if once else bounds.everywhere, limit)
    columns = _shortened(columns, run_task(walk.fill(columns, once), progress))
    found = Walk(root, **columns, tables=walk.tables())
    report_all(found, walk, everywhere)
    return found


class Parts:
    """A walk in parts, which threads can do: none asks what another has met.

    whole: has the tables of level 3 and up; walks: the rest, in the order of addresses.
    """

    def __init__(self, whole: NativeWalk, walks: list[NativeWalk], threads: int):
        self.whole = whole
        self.walks = walks
        self.threads = threads

    @classmethod
    def of(cls, segments: Segments, root: Root, threads: int) -> Parts | None:
        """Return a walk in parts; None: it is small, or has tables that are reached twice."""
        if threads <= 1:
            return None
        whole = NativeWalk(segments, root)
        run_task(whole.discover(2))
        second = whole.of_level(2)
        tables = np.cumsum(second["entries"])
        if not len(second) or tables[-1] * 512 < RESERVED_FROM:
            return None
        shares = np.linspace(0, tables[-1], threads * PARTS + 1)[1:-1]
        starts = second["va"][np.searchsorted(tables, shares)]
        walks = [NativeWalk(segments, part) for part in _cut(root, np.unique(starts).tolist())]
        run_tasks([walk.discover() for walk in walks], threads)
        parts = cls(whole, walks, threads)
        return None if parts.has_shared else parts

    def column(self, name: str) -> np.ndarray:
        """Return a field of all tables (``_TABLE``), highest level first."""
        by_level = [walk.of_level(level)[name] for level in (2, 1) for walk in self.walks]
        upper = [self.whole.of_level(level)[name] for level in range(self.whole.root.levels, 2, -1)]
        return np.concatenate([*upper, *by_level])

    def shared_out(self) -> list[Iterator[NativeWalk]]:
        """Return for each thread what gives it the next walk that nobody has taken."""
        left = iter(self.walks)
        return [_take(left) for _ in range(self.threads)]

    @property
    def has_shared(self) -> bool:
        """Whether a table is reached twice, at whatever level."""
        ordered = np.sort(self.column("pa"))
        repeated = np.any(ordered[1:] == ordered[:-1])
        return bool(repeated or np.any(self.column("times") != 1))

    def tables(self) -> Tables:
        """Return the tables, when all parts were visited."""
        pa = self.column("pa")
        return Tables(
            pa,
            self.column("va"),
            self.column("level").astype(np.uint8),
            self.column("entries").astype(np.uint16),
            np.ones(len(pa), np.uint64),
            self.column("data") != 0,
        )


def _take(left: Iterator[NativeWalk]) -> Iterator[NativeWalk]:
    """Yield what others that take from the same iterator did not: next() is done at once."""
    yield from left


def _cut(root: Root, starts: list[int]) -> list[Root]:
    """Cut what is walked from a root where these addresses begin."""
    cuts = [root.first, *(start for start in starts if start > root.first)]
    lasts = [start - 1 for start in cuts[1:]] + [root.last]
    return [
        root._replace(first=first, last=last, begins=bool(number) or root.begins)
        for number, (first, last) in enumerate(zip(cuts, lasts, strict=True))
    ]


def _walk_parts(parts: Parts, progress: Progress | None) -> Walk:
    columns = _exact(sum(walk.bounds.everywhere for walk in parts.walks), None)
    walks = ffi.new("struct pgtable_walk *[]", [walk.walk for walk in parts.walks])
    pieces = lib.pgtable_pieces_new(walks, len(parts.walks), _columns(columns))
    if not pieces:
        raise MemoryError("no memory for a walk")
    pieces = ffi.gc(pieces, lib.pgtable_pieces_free)
    run_tasks([_run_pieces(pieces) for _ in range(parts.threads)], parts.threads, progress)
    rows = min(lib.pgtable_pieces_rows(pieces), len(columns["va"]))
    walk = Walk(parts.whole.root, **_shortened(columns, rows), tables=parts.tables())
    report_all(walk, parts.whole, 0)
    return walk


def _run_pieces(pieces: Any) -> Task[None]:
    while more := lib.pgtable_pieces_run(pieces, PIECES_AT_ONCE):
        if more < 0:
            raise MemoryError("no memory for a walk")
        yield PIECES_AT_ONCE * PIECE_ROWS


def _reserve(rows: int) -> dict[str, np.ndarray] | None:
    """Return columns for so many rows at most, or None where that is too much to ask for.

    What is not written takes no memory, so this saves counting rows first.
    """
    try:
        return empty_columns(rows, FILLED)
    except MemoryError:
        return None


def _exact(rows: int, limit: int | None) -> dict[str, np.ndarray]:
    rows = rows if limit is None else min(rows, limit)
    try:
        return empty_columns(rows, FILLED)
    except MemoryError:
        raise MemoryError(
            f"{rows} entries do not fit in memory; walk with a limit, or count with census()"
        ) from None


def _shortened(columns: dict[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
    """Return as many rows of what was reserved; few of them in memory of their own size."""
    if rows == len(columns["va"]):
        return columns
    columns = {name: column[:rows] for name, column in columns.items()}
    if rows >= COPIED_BELOW:
        return columns
    own = empty_columns(rows, FILLED)
    for name, column in columns.items():
        own[name][:] = column
    return own


def report_all(walk: Walked, native: NativeWalk, everywhere: int) -> None:
    """Note in what was walked what was odd."""
    tables = walk.tables
    outside = np.flatnonzero(~tables.inside)
    listed = [
        WalkReport("outside", int(tables.va[i]), int(tables.pa[i]), int(tables.level[i]))
        for i in outside[:MAX_REPORTS]
    ]
    walk._report(listed, len(outside))
    _report_shared(walk)
    walk._report(*native.loops())
    if everywhere:
        walk._report([WalkReport("once", 0, walk.root.pa, walk.root.levels, everywhere)])
    stopped = native.stopped()
    if stopped is not None:
        walk._report([WalkReport("limit", stopped, walk.root.pa, walk.root.levels, len(walk))])


def _report_shared(walk: Walked) -> None:
    """Report pages that are reached more than once, at whatever level."""
    tables = walk.tables
    ordered = np.sort(tables.pa)
    if not np.any(ordered[1:] == ordered[:-1]) and not np.any(tables.reached > 1):
        return  # the usual case, and much quicker told than what follows
    _, first, page = np.unique(tables.pa, return_index=True, return_inverse=True)
    reached = np.zeros(len(first), np.uint64)
    np.add.at(reached, page, tables.reached)
    shared = np.flatnonzero(reached > 1)
    listed = [
        WalkReport(
            "shared",
            int(tables.va[first[i]]),
            int(tables.pa[first[i]]),
            int(tables.level[first[i]]),
            int(reached[i]),
        )
        for i in shared[:MAX_REPORTS]
    ]
    walk._report(listed, len(shared))


Censuses = dict[tuple[str, int], Census]


def run_census(
    segments: Segments, root: Root, threads: int = 1, progress: Progress | None = None
) -> Censuses:
    """Count the entries of the tables in these segments; see ``Image.census``."""
    parts = Parts.of(segments, root, threads)
    if parts is not None:
        counted = _census_parts(parts, progress)
    else:
        walk = NativeWalk(segments, root)
        run_task(walk.discover())
        counted = [run_task(_census_whole(walk), progress)]
    found: Censuses = {}
    for half in ("user", "kernel"):
        for level in range(1, root.levels + 1):
            census = together([one[half, level] for one in counted])
            census = census.where(census.entries != 0)
            if len(census.entries):
                found[half, level] = census
    return found


def _new_histograms() -> list[Any]:
    return [new_histogram() for _ in range(10)]


def _read_histograms(histograms: list[Any]) -> Censuses:
    return {
        ("kernel" if i >= 5 else "user", i % 5 + 1): read_histogram(histogram)
        for i, histogram in enumerate(histograms)
    }


def _checked(code: int) -> int:
    if code < 0:
        raise MemoryError("no memory for the histograms of a census")
    return code


def _census_whole(walk: NativeWalk) -> Task[Censuses]:
    histograms = _new_histograms()
    _checked(lib.pgtable_walk_census(walk.walk, histograms, walk.excessive))
    while _checked(lib.pgtable_walk_census_more(walk.walk, histograms, TABLES_AT_ONCE)):
        yield TABLES_AT_ONCE * 512
    return _read_histograms(histograms)


def _census_parts(parts: Parts, progress: Progress | None) -> list[Censuses]:
    """Count upper tables part by part, then those of level 1 by where they lie in memory."""
    threads = parts.threads
    upper = run_tasks([_census_upper(walks) for walks in parts.shared_out()], threads)
    walks = ffi.new("struct pgtable_walk *[]", [walk.walk for walk in parts.walks])
    left = ffi.new("size_t *")
    joined = parts.whole.walk
    _checked(lib.pgtable_walk_census_join(joined, walks, len(parts.walks), left))
    firsts = iter(range(0, left[0], TABLES_AT_ONCE))
    tasks = [_census_ptes(joined, iter(lambda: next(firsts, -1), -1)) for _ in range(threads)]
    return [*upper, *run_tasks(tasks, threads, progress)]


def _census_upper(walks: Iterator[NativeWalk]) -> Task[Censuses]:
    histograms = _new_histograms()
    for walk in walks:
        _checked(lib.pgtable_walk_census(walk.walk, histograms, False))
        yield 0
    return _read_histograms(histograms)


def _census_ptes(joined: Any, firsts: Iterator[int]) -> Task[Censuses]:
    histograms = _new_histograms()
    for first in firsts:
        _checked(lib.pgtable_walk_census_some(joined, histograms, first, TABLES_AT_ONCE))
        yield TABLES_AT_ONCE * 512
    return _read_histograms(histograms)
