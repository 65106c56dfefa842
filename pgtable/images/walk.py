# SPDX-License-Identifier: GPL-2.0-only
"""The result of a walk: the page-table entries of an address space in columns, and reports."""

from __future__ import annotations

import io
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import bits, encodings
from ..engines._native import ffi, lib
from ..engines.native import native
from ..files import replacing
from ..kernels import SWAP_LAYOUTS, Kernel, SwapLayout
from ..memory import empty
from . import export

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
KIND_OF = {
    encodings.PROTNONE: Kind.PROT_NONE,
    encodings.SWAP: Kind.SWAP,
    encodings.MIGRATION: Kind.MIGRATION,
    encodings.MARKER: Kind.MARKER,
    encodings.FILE: Kind.OTHER,
    encodings.INVALID: Kind.OTHER,
    encodings.OTHER: Kind.OTHER,
}

#: Reports of one kind that are listed; the rest is counted.
MAX_REPORTS = 1000

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
    ``first``, ``last``: addresses that are walked, both canonical; ``begins``: entries that
    translate lower addresses too are not listed.
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
    first: int = 0
    last: int = (1 << 64) - 1
    begins: bool = False

    @property
    def is_bounded(self) -> bool:
        """Whether not all addresses are walked."""
        return self.first > 0 or self.last < (1 << 64) - 1


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


class Maker(NamedTuple):
    """Which kernel made the entries: ``given`` by an argument, else as the image says.

    note: why the kernel that the image names is not used; "" where it is, or names none.
    """

    kernel: Kernel | None
    given: bool = False
    note: str = ""


class Walked(ABC):
    """What walks have in common: where they began, which tables they met, what was odd."""

    #: Who made the entries: settles what those not present are called, and where their frame is.
    kernel: Kernel | None = None
    #: Whether an argument named the kernel; else the image did.
    kernel_given: bool = False
    #: Whose address space it is, where ``Image.walk_all`` made it: all that share it.
    spaces: tuple[Space, ...] = ()

    def __init__(self, root: Root, tables: Tables):
        self.root = root
        self.tables = tables
        self.notes = list(root.assumed)
        self.reports: list[WalkReport] = []
        self.report_counts: dict[str, int] = {}

    @abstractmethod
    def __len__(self) -> int:
        """Return how many entries are not zero."""

    def set_maker(self, maker: Maker) -> None:
        """Say which kernel made the entries."""
        self.kernel, self.kernel_given = maker.kernel, maker.given
        if maker.note:
            self.notes.append(maker.note)

    def _report(self, reports: list[WalkReport], total: int | None = None) -> None:
        if reports:
            kind = reports[0].kind
            self.report_counts[kind] = len(reports) if total is None else total
            self.reports += reports[:MAX_REPORTS]


class Walk(Walked):
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

    def __init__(
        self, root: Root, va: np.ndarray, entry: np.ndarray, traits: np.ndarray, tables: Tables
    ):
        self.va = va
        self.entry = entry
        super().__init__(root, tables)
        self._traits = traits

    @cached_property
    def pa(self) -> np.ndarray:
        """Frame of each entry (uint64)."""
        pa = empty(len(self), np.uint64)
        native().loops.walk.frames(*map(pointer, (self.entry, self._traits, pa)), len(self))
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
        lib.pgtable_walk_kinds(pointer(self._traits), pointer(kind), len(self))
        if self.kernel is not None and len(self._absent):
            rows = self._absent
            half = self.va[rows] >> np.uint64(63) != 0
            names = encodings.kinds_of(self.entry[rows], self.level[rows], half, self.kernel)
            kind[rows] = [KIND_OF[name] for name in names.tolist()]
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
        lib.pgtable_walk_flags(pointer(self._traits), mask, value, pointer(flags), len(self))
        return flags

    def part(self, rows: slice) -> Walk:
        """Return some rows as a walk of their own: their columns are made for them alone."""
        if len(self._traits) == len(self):
            traits, made = self._traits[rows], {}
        else:  # columns that were put together by hand
            traits = self._traits
            made = {name: column[rows] for name, column in self.columns.items()}
        found = Walk(self.root, self.va[rows], self.entry[rows], traits, self.tables)
        vars(found).update(made)
        found.kernel, found.kernel_given, found.spaces = (
            self.kernel,
            self.kernel_given,
            self.spaces,
        )
        return found

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


def pointer(column: np.ndarray) -> Any:
    """Return a column of bytes or words as C takes it."""
    return ffi.from_buffer("uint8_t[]" if column.itemsize == 1 else "uint64_t[]", column)
