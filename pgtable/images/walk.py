# SPDX-License-Identifier: GPL-2.0-only
"""The page-table entries of an address space in columns, and what was odd on the way."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import bits, encodings
from ..census import Census, new_histogram, read_histogram
from ..engines._native import ffi, lib
from ..engines.native import native
from ..files import replacing
from ..kernels import SWAP_LAYOUTS, Kernel, SwapLayout
from ..memory import empty, empty_columns
from . import export
from .segments import Segments

if TYPE_CHECKING:
    from .spaces.model import Space


class Kind(IntEnum):
    """What a non-zero entry is.

    LEAF and TABLE are present to the hardware, the others are not.  What those
    say is the kernel's own.  Where the kernel is known, they are named as
    :func:`pgtable.encodings.absent` names them; where it is not, this holds for
    Linux 5.19 to 7.x:

    PROT_NONE: bit 8 without PRESENT; a page is there, no access is allowed.
    SWAP: in a swap file; certain, since types below 22 are nothing else.
    MIGRATION: a type from 22 up: a page under migration, in device-private memory
        or poisoned; which of these depends on the kernel's version and
        configuration, and with that many swap files it may be one of them.
    MARKER: the topmost types with an offset of 1 to 7 (uffd-wp, poison, guard).
    OTHER: made inaccessible some other way: what is left in the kernel half
        (secret memory, vmalloc guards), a large page being split, a page of a
        nonlinear file mapping (kernels before 4.0).
    """

    LEAF = 0
    TABLE = 1
    PROT_NONE = 2
    SWAP = 3
    MIGRATION = 4
    MARKER = 5
    OTHER = 6


#: How a kind is printed, by its number.
KIND_NAMES = ("leaf", "table", "prot_none", "swap", "migration", "marker", "other")
#: Of the kinds that :mod:`pgtable.encodings` names.
_KIND_OF = {
    encodings.PROTNONE: Kind.PROT_NONE,
    encodings.SWAP: Kind.SWAP,
    encodings.MIGRATION: Kind.MIGRATION,
    encodings.MARKER: Kind.MARKER,
    encodings.FILE: Kind.OTHER,
    encodings.INVALID: Kind.OTHER,
    encodings.OTHER: Kind.OTHER,
}

#: Tables that may always be visited, counting shared ones wherever they are reached.
ALWAYS_VISITED = 1 << 15
#: Beyond that, how many times as many as there are.
EXPANSION = 4
#: Rows from which on memory is reserved rather than rows counted: with fewer, what is left
#: over of the last huge page of each column would be much of the result.
RESERVED_FROM = 1 << 22
#: If fewer were found, they are copied to memory of their own size: huge pages are not.
COPIED_BELOW = 1 << 20
#: Reports of one kind that are listed; the rest is counted.
MAX_REPORTS = 1000

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
    ]
)
#: The columns that C fills; the others are made of them.
_FILLED: dict[str, type] = {"va": np.uint64, "entry": np.uint64, "traits": np.uint8}
COLUMNS = ("va", "entry", "pa", "level", "kind", "leaf", "writable", "user", "nx")


class Root(NamedTuple):
    """Where a walk begins and how entries are read.

    ``assumed`` says what was not known, or was found out from the tables themselves.
    ``origin`` says where root and levels were taken from.
    ``encryption``: the bit of an entry that says "encrypted" (SME, SEV); no part of a frame.
    ``user_pa``: with page-table isolation, the user copy of the top table, whose lower
    half stands for that of ``pa``; None where one table is read as it is.
    ``half``: "user" or "kernel" where only that half of the top table is walked.
    ``slots``: numbers of the entries of the top table that are walked; None: all.
    """

    pa: int
    levels: int
    nxe: bool
    assumed: tuple[str, ...] = ()
    origin: str = ""
    encryption: int = 0
    user_pa: int | None = None
    half: str | None = None
    slots: tuple[int, ...] | None = None


@dataclass(frozen=True)
class WalkReport:
    """Something odd that a walk met.

    kind: "shared" (a table reached at ``count`` addresses, ``va`` the first),
        "outside" (a table that the image lacks), "loop" (an entry that refers
        to a table above it, not followed), "once" (shared tables were expanded
        at their first address only), "limit" (the walk ended at ``va``).
    va: the address that the entry translates; pa: the table; level: the table's level.
    """

    kind: str
    va: int
    pa: int
    level: int
    count: int = 1

    def __str__(self) -> str:
        at = f"{self.va:#018x}"
        table = f"level {self.level} table {self.pa:#x}"
        if self.kind == "shared":
            return f"{table} is reached {self.count} times, first at {at}"
        if self.kind == "outside":
            return f"{table} at {at} is outside the image"
        if self.kind == "loop":
            return f"the entry at {at} refers to a table above it, {self.pa:#x}: not followed"
        if self.kind == "once":
            return f"shared tables are listed once: everywhere would be {self.count} entries"
        return f"stopped at {at}: the limit of {self.count} entries was reached"


class Tables(NamedTuple):
    """The tables that were walked, highest level first: arrays of one length.

    pa: physical address of the page (uint64); va: the lowest address that it
    translates (uint64); level: 1 to 5 (uint8); entries: how many are not zero
    (uint16); reached: at how many addresses the walk came to it (uint64);
    inside: whether its page is in the image (bool).
    """

    pa: np.ndarray
    va: np.ndarray
    level: np.ndarray
    entries: np.ndarray
    reached: np.ndarray
    inside: np.ndarray


class Walk:
    """Every non-zero entry of an address space: arrays of one length, in address order.

    A table entry comes before the entries of its table, which begin at the same address.

    ``va``: canonical address of what the entry translates (uint64).
    ``entry``: the entry as it is in memory (uint64).
    ``level``: 1 = pte, 2 = pmd, 3 = pud, 4 and 5 (uint8).
    ``leaf``: present, and maps a page (bool).
    ``kind``: a :class:`Kind` (uint8).
    ``pa``: physical address of the page or table (uint64), un-inverted where the
    entry is not present; 0 where there is no frame (swap, marker).
    ``writable``, ``user``, ``nx``: what the levels down to this entry allow
    together (bool); an entry that is not present allows nothing.

    ``va`` and ``entry`` are there at once, the others are made when first asked for.

    ``tables`` has the tables that were walked, ``reports`` what was odd (at most
    1000 of each kind; ``report_counts`` has all), ``notes`` what had to be assumed,
    ``root`` where it began, ``kernel`` who made the entries (None: not known).
    """

    #: Who made the entries: settles what those not present are called, and where their frame is.
    kernel: Kernel | None = None
    #: Whether an argument named the kernel; else the image did.
    kernel_given: bool = False
    #: Whose address space it is, where ``Image.walk_all`` made it: all that share it.
    spaces: tuple[Space, ...] = ()

    def __init__(
        self, root: Root, va: np.ndarray, entry: np.ndarray, traits: np.ndarray, tables: Tables
    ):
        self.root = root
        self.va = va
        self.entry = entry
        self.tables = tables
        self.notes = list(root.assumed)
        self.reports: list[WalkReport] = []
        self.report_counts: dict[str, int] = {}
        self._traits = traits

    @cached_property
    def pa(self) -> np.ndarray:
        """Frame of each entry (uint64)."""
        pa = empty(len(self), np.uint64)
        native().loops.walk.frames(*map(_pointer, (self.entry, self._traits, pa)), len(self))
        if self.kernel is not None and len(self._absent):
            pa[self._absent] = self._absent_frames(self.kernel)
        if self.root.encryption:
            np.bitwise_and(pa, np.uint64(~self.root.encryption & (1 << 64) - 1), out=pa)
        return pa

    @cached_property
    def _absent(self) -> np.ndarray:
        """Rows that are not present."""
        return np.flatnonzero(self._where(lib.PGTABLE_NOT_PRESENT, lib.PGTABLE_NOT_PRESENT))

    def _absent_frames(self, kernel: Kernel) -> np.ndarray:
        """Return what ``pa`` has of the rows that are not present, as the kernel keeps it."""
        rows = self._absent
        entry, kind = self.entry[rows], self.kind[rows]
        mask = np.full(len(rows), bits.SMALL_FRAME, np.uint64)
        for number, name in ((2, "pmd"), (3, "pud")):
            here = self.level[rows] == number
            mask[here] = bits.frame_mask(entry[here], name)
        frames = (~entry if kernel.inverted else entry) & mask
        frames[np.isin(kind, (Kind.SWAP, Kind.MARKER))] = 0
        moving = kind == Kind.MIGRATION
        found = encodings.migration_frames(entry[moving], kernel, self.root.levels)
        frames[moving] = found << np.uint64(12)
        return frames

    @cached_property
    def level(self) -> np.ndarray:
        """Level of each entry (uint8)."""
        level = empty(len(self), np.uint8)
        return np.floor_divide(self._traits, np.uint8(lib.PGTABLE_LEVEL), out=level)

    @cached_property
    def kind(self) -> np.ndarray:
        """:class:`Kind` of each entry (uint8)."""
        kind = empty(len(self), np.uint8)
        lib.pgtable_walk_kinds(_pointer(self._traits), _pointer(kind), len(self))
        if self.kernel is not None and len(self._absent):
            rows = self._absent
            half = self.va[rows] >> np.uint64(63) != 0
            names = encodings.kinds_of(self.entry[rows], self.level[rows], half, self.kernel)
            kind[rows] = [_KIND_OF[name] for name in names.tolist()]
        return kind

    @cached_property
    def leaf(self) -> np.ndarray:
        """Whether each entry maps a page (bool)."""
        return self._where(lib.PGTABLE_NOT_PRESENT | lib.PGTABLE_TABLE, 0)

    @cached_property
    def writable(self) -> np.ndarray:
        """Whether all levels allow writing (bool)."""
        return self._where(lib.PGTABLE_NOT_PRESENT | lib.PGTABLE_WRITABLE, lib.PGTABLE_WRITABLE)

    @cached_property
    def user(self) -> np.ndarray:
        """Whether all levels allow user mode (bool)."""
        return self._where(lib.PGTABLE_NOT_PRESENT | lib.PGTABLE_USER, lib.PGTABLE_USER)

    @cached_property
    def nx(self) -> np.ndarray:
        """Whether any level forbids execution (bool)."""
        executable = self._where(lib.PGTABLE_NOT_PRESENT | lib.PGTABLE_NX, 0)
        return np.logical_not(executable, out=executable)

    def __len__(self) -> int:
        return len(self.va)

    def __repr__(self) -> str:
        return f"<walk of {len(self)} entries from {self.root.pa:#x}, {self.root.levels} levels>"

    def _where(self, mask: int, value: int) -> np.ndarray:
        """Tell of which rows the traits are ``value`` under a mask."""
        flags = empty(len(self), np.bool_)
        lib.pgtable_walk_flags(_pointer(self._traits), mask, value, _pointer(flags), len(self))
        return flags

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """All columns by name."""
        return {name: getattr(self, name) for name in COLUMNS}

    @property
    def nbytes(self) -> int:
        """Memory that the columns take."""
        return sum(column.nbytes for column in self.columns.values())

    @property
    def swap_type(self) -> np.ndarray:
        """Which swap file or special use (uint8); it means something for SWAP, MIGRATION, MARKER.

        Where the kernel is not known: bits 59 to 63.
        """
        return self._swap_layout.type(self.entry).astype(np.uint8)

    @property
    def swap_offset(self) -> np.ndarray:
        """The place in the swap file, the frame, or the marker (uint64).

        Where the kernel is not known: bits 9 to 58 un-inverted.
        """
        return self._swap_layout.offset(self.entry)

    @property
    def _swap_layout(self) -> SwapLayout:
        return SWAP_LAYOUTS["inverted"] if self.kernel is None else self.kernel.swap

    def to_info_tlb(self) -> str:
        """Return the present leaves as QEMU's ``info tlb`` prints them, a line each.

        QEMU shows the flags of the leaf alone (bit 7 only of large pages), not
        what the levels above make of them; X means that NX is set.
        """
        text = io.BytesIO()
        export.write_info_tlb(self, text)
        return text.getvalue().decode("ascii")

    def write_info_tlb(self, path: str | os.PathLike[str]) -> None:
        """Write what :meth:`to_info_tlb` returns to a file, replaced only when complete."""
        with replacing(path) as file:
            export.write_info_tlb(self, file)

    def save_npy(self, path: str | os.PathLike[str]) -> None:
        """Write all columns as one ``.npy`` of records, which ``numpy.load`` can also map."""
        export.write_npy(self, path)

    def save_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write all columns as Parquet; ValueError without the extra "parquet"."""
        export.write_parquet(self, path)

    def _report(self, reports: list[WalkReport], total: int | None = None) -> None:
        if reports:
            kind = reports[0].kind
            self.report_counts[kind] = len(reports) if total is None else total
            self.reports += reports[:MAX_REPORTS]


class _Native:
    """One walk in C; of tables of level 1 it knows the entries at most, until counted."""

    def __init__(self, segments: Segments, root: Root):
        self.segments = segments  # keeps the memory alive
        self.top = _top_table(segments, root)  # so does this
        start = ffi.new("struct pgtable_root *")
        start.pa, start.levels, start.nxe = root.pa, root.levels, root.nxe
        start.encryption = root.encryption
        start.top = ffi.NULL if self.top is None else _pointer(self.top)
        walk = lib.pgtable_walk_new(native().loops, segments.pointer, len(segments.table), start)
        if not walk:
            raise MemoryError("no memory for a walk")
        self.walk = ffi.gc(walk, lib.pgtable_walk_free)
        if lib.pgtable_walk_discover(self.walk):
            raise MemoryError("no memory for the list of tables; the image may be damaged")

    def count(self) -> None:
        lib.pgtable_walk_count(self.walk)

    @property
    def bounds(self) -> Any:
        return lib.pgtable_walk_bounds(self.walk)

    def fill(self, columns: dict[str, np.ndarray], once: bool) -> int:
        out = ffi.new("struct pgtable_columns *")
        for name, column in columns.items():
            setattr(out, name, _pointer(column))
        out.capacity = len(columns["va"])
        return lib.pgtable_walk_fill(self.walk, out, once)

    @property
    def excessive(self) -> bool:
        """Whether shared tables make this so large that they are expanded once only."""
        _, known = self._listed_tables()
        return self.bounds.tables > max(ALWAYS_VISITED, EXPANSION * known)

    def _listed_tables(self) -> tuple[Any, int]:
        n = ffi.new("size_t *")
        return lib.pgtable_walk_tables(self.walk, n), n[0]

    def tables(self) -> Tables:
        start, n = self._listed_tables()
        rows = np.frombuffer(ffi.buffer(start, n * _TABLE.itemsize), _TABLE)
        rows = rows[rows["reached"] > 0]
        return Tables(
            rows["pa"].copy(),
            rows["va"].copy(),
            rows["level"].astype(np.uint8),
            rows["entries"].astype(np.uint16),
            rows["reached"].copy(),
            rows["data"] != 0,
        )

    def loops(self) -> tuple[list[WalkReport], int]:
        kept = ffi.new("size_t *")
        total = ffi.new("uint64_t *")
        loops = lib.pgtable_walk_loops(self.walk, kept, total)
        found = [
            WalkReport("loop", loops[i].va, loops[i].pa, loops[i].level - 1) for i in range(kept[0])
        ]
        return found, total[0]

    def stopped(self) -> int | None:
        va = ffi.new("uint64_t *")
        return va[0] if lib.pgtable_walk_stopped(self.walk, va) else None


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


def _pointer(column: np.ndarray) -> Any:
    return ffi.from_buffer("uint8_t[]" if column.itemsize == 1 else "uint64_t[]", column)


def run_walk(segments: Segments, root: Root, limit: int | None) -> Walk:
    """Walk the tables in these segments; see ``Image.walk``."""
    walk = _Native(segments, root)
    once = limit is None and walk.excessive
    columns = None
    if limit is None and not once and walk.bounds.everywhere >= RESERVED_FROM:
        columns = _reserve(walk.bounds.everywhere)
    everywhere = 0
    if columns is None:
        walk.count()
        bounds = walk.bounds
        once = once or (limit is not None and bounds.everywhere > limit)
        if once and bounds.everywhere > bounds.once:
            everywhere = bounds.everywhere
        columns = _columns(bounds.once if once else bounds.everywhere, limit)
    columns = _shortened(columns, walk.fill(columns, once))
    found = Walk(root, **columns, tables=walk.tables())
    _report_all(found, walk, everywhere)
    return found


def _reserve(rows: int) -> dict[str, np.ndarray] | None:
    """Return columns for so many rows at most, or None where that is too much to ask for.

    What is not written takes no memory, so this saves counting rows first.
    """
    try:
        return empty_columns(rows, _FILLED)
    except MemoryError:
        return None


def _columns(rows: int, limit: int | None) -> dict[str, np.ndarray]:
    rows = rows if limit is None else min(rows, limit)
    try:
        return empty_columns(rows, _FILLED)
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
    own = empty_columns(rows, _FILLED)
    for name, column in columns.items():
        own[name][:] = column
    return own


def _report_all(walk: Walk, native: _Native, everywhere: int) -> None:
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


def _report_shared(walk: Walk) -> None:
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


def run_census(segments: Segments, root: Root) -> dict[tuple[str, int], Census]:
    """Count the entries of the tables in these segments; see ``Image.census``."""
    walk = _Native(segments, root)
    histograms = [new_histogram() for _ in range(10)]
    if lib.pgtable_walk_census(walk.walk, histograms, walk.excessive):
        raise MemoryError("no memory for the histograms of a census")
    found = {}
    for i, histogram in enumerate(histograms):
        census = read_histogram(histogram)
        census = census.where(census.entries != 0)
        if len(census.entries):
            found["kernel" if i >= 5 else "user", i % 5 + 1] = census
    return found
