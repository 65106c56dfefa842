# SPDX-License-Identifier: GPL-2.0-only
"""What every memory image can do, whatever its format."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..census import Census
from .registers import Registers, registers_of, vmcoreinfo_of
from .segments import PAGE, PHYSICAL_END, AbsentError, Segments
from .top_table import complaint
from .vmcoreinfo import KernelNotes, kernel_notes
from .walk import Root, Walk, run_census, run_walk

_FRAME = 0x000F_FFFF_FFFF_F000
#: Pages that cannot be read are noted as long as there are few.
_MAX_NOTES = 20


class Image(ABC):
    """The physical memory of a machine, as far as a file holds it.

    Made by :func:`pgtable.open_image`; used in ``with``, or closed with :meth:`close`.

    ``path`` and ``format`` ("raw", "elf", "kdump" or "records") say what was opened,
    ``cpus`` has the :class:`Registers` of each processor where the file carries
    them, ``vmcoreinfo`` what the kernel noted of itself, ``kernel`` the same as
    :class:`KernelNotes`, ``notes`` what is unusual about the file (one line each).
    """

    def __init__(self, path: Path, kind: str, notes: list[tuple[str, bytes]], remarks: list[str]):
        self.path = path
        self.format = kind
        self.cpus: list[Registers] = registers_of(notes)
        self.vmcoreinfo = vmcoreinfo_of(notes)
        self.kernel: KernelNotes = kernel_notes(self.vmcoreinfo)
        self.notes = remarks

    @property
    def memory_map(self) -> np.ndarray | None:
        """Memory that the machine has, also what was left out of the file; None if not known.

        [start, end) a row, uint64, in order.  Kdump files say it (makedumpfile leaves out
        free and zero pages), and ELF cores whose segments are larger than their content.
        """
        return None

    @property
    @abstractmethod
    def ranges(self) -> np.ndarray:
        """Physical memory that the image holds: [start, end) a row, uint64, in order."""

    @abstractmethod
    def read(self, pa: int, n: int) -> bytes:
        """Return n bytes from a physical address.

        Raises ValueError where the image does not hold them all.
        """

    def pages(self, pas: Any) -> np.ndarray:
        """Return whole pages: uint64 of shape (len(pas), 512).

        pas: their physical addresses, multiples of 4096.
        Raises ValueError for other addresses and for pages that the image lacks.
        """
        wanted = np.atleast_1d(np.asarray(pas, np.uint64))
        if np.any(wanted % PAGE):
            raise ValueError("pas has an address that is no multiple of 4096")
        return self._pages(wanted)

    @abstractmethod
    def _pages(self, pas: np.ndarray) -> np.ndarray:
        """Return whole pages at addresses that were checked."""

    @abstractmethod
    def tables(self, root: Root) -> Segments:
        """Return memory with at least all the tables below a root, for the C walker."""

    def close(self) -> None:  # noqa: B027 - most have nothing to let go of
        """Let go of the file; results of walks stay."""

    def __enter__(self) -> Image:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<image {self.path}: {self.format}, {len(self.cpus)} processors>"

    def root(
        self,
        root: int | None = None,
        levels: int | None = None,
        cpu: int = 0,
        nxe: bool | None = None,
    ) -> Root:
        """Return where a walk with these arguments begins; see :meth:`walk`."""
        assumed = []
        found = self._known_root(cpu) if root is None else (operator.index(root), None, None)
        if root is not None and self.cpus:
            found = (found[0], self.cpus[0].levels, self.cpus[0].nxe)
        pa, known_levels, known_nxe = found
        if levels is None:
            levels = known_levels
        if levels is None:
            levels = 4
            assumed.append("four levels assumed: the image has no CR4 (levels=5 for LA57)")
        if levels not in (4, 5):
            raise ValueError(f"levels is {levels!r}; x86-64 has 4 or 5")
        if nxe is None:
            nxe = known_nxe
        if nxe is None:
            nxe = True
            assumed.append("EFER.NXE assumed set: the image has no EFER (bit 63 is taken for NX)")
        if not 0 <= pa < 1 << 64:
            raise ValueError(f"root is {pa:#x}; it is a physical address (or the value of CR3)")
        pa &= _FRAME
        if not self.holds(pa):
            raise ValueError(
                f"{self.path}: the top table at physical {pa:#x} is not in the image"
                f" ({self._ranges_text()})"
            )
        self._check_top_table(pa, levels)
        return Root(pa, levels, bool(nxe), tuple(assumed))

    def _check_top_table(self, pa: int, levels: int) -> None:
        """Raise ValueError where a walk from here would be nonsense."""
        why = complaint(self._entries_at, pa, levels)
        if why is not None:
            raise ValueError(
                f"{self.path}: the page at the root {pa:#x} is no top table of {levels} levels:"
                f" {why}; pass another: --root CR3, --levels 4 or 5, or --cpu N"
            )

    def _entries_at(self, pa: int) -> np.ndarray | None:
        try:
            return np.frombuffer(self.read(pa, PAGE), np.uint64)
        except ValueError:
            return None

    def _known_root(self, cpu: int) -> tuple[int, int | None, bool | None]:
        if not self.cpus:
            if self.kernel.root is None:
                raise ValueError(
                    f"{self.path}: has no processor registers, and no {self.kernel.missing} to"
                    " find the kernel's own tables by; pass the root: --root CR3"
                )
            return self.kernel.root, self.kernel.levels or 4, None
        if not 0 <= operator.index(cpu) < len(self.cpus):
            raise ValueError(f"{self.path}: has no processor {cpu}, only 0 to {len(self.cpus) - 1}")
        registers = self.cpus[cpu]
        if not registers.paging:
            raise ValueError(
                f"{self.path}: processor {cpu} did not use 64-bit page tables"
                f" (CR0 {registers.cr0:#x}, CR4 {registers.cr4:#x}); pass a root instead"
            )
        return registers.root, registers.levels, registers.nxe

    def holds(self, pa: int) -> bool:
        """Tell whether the whole page at a physical address is in the image."""
        try:
            self.read(pa, PAGE)
        except ValueError:
            return False
        return True

    def _ranges_text(self) -> str:
        ranges = self.ranges
        if not len(ranges):
            return "which holds nothing"
        return f"which holds {len(ranges)} ranges from {ranges[0, 0]:#x} to {ranges[-1, 1]:#x}"

    def walk(
        self,
        root: int | None = None,
        levels: int | None = None,
        cpu: int = 0,
        *,
        nxe: bool | None = None,
        limit: int | None = None,
    ) -> Walk:
        """Return every non-zero entry of an address space, in columns and address order.

        root: physical address of the top table, or CR3; default: that of the
            processor ``cpu``, or the kernel's own where only VMCOREINFO tells.
        levels: 4 or 5; default: what the processor's CR4 says, else 4.
        nxe: whether bit 63 means NX (EFER.NXE); default: as known, else True.
        limit: how many entries at most.

        A table that is reached at several addresses is expanded at each, as
        hardware does.  Where that would come to more than ``limit`` entries or,
        without a limit, to visiting more than four times as many tables as there
        are (and more than 32768), every table is expanded at its first address only.

        A table that is its own ancestor is not followed, a table outside the
        image neither; ``reports`` of the result has them.

        Raises ValueError for a root outside the image, or none known; MemoryError
        where the columns do not fit.
        """
        start = self.root(root, levels, cpu, nxe)
        return run_walk(self.tables(start), start, _checked_limit(limit))

    def census(
        self, root: int | None = None, levels: int | None = None, cpu: int = 0
    ) -> dict[tuple[str, int], Census]:
        """Count the entries of an address space without listing them.

        Arguments, errors and shared tables as for :meth:`walk`.  Returns a
        :class:`Census` for each ("user" or "kernel", level) that has entries:
        leaves, tables and entries that are not present, told apart by their bits.
        """
        start = self.root(root, levels, cpu)
        return run_census(self.tables(start), start)


def _checked_limit(limit: int | None) -> int | None:
    if limit is None:
        return None
    limit = operator.index(limit)
    if limit < 0:
        raise ValueError(f"limit is {limit}; it is a number of entries")
    return limit


class MappedImage(Image):
    """An image whose bytes lie in memory as they are: mapped, or decompressed."""

    def __init__(
        self,
        path: Path,
        kind: str,
        segments: Segments,
        notes: list[tuple[str, bytes]],
        remarks: list[str],
    ):
        super().__init__(path, kind, notes, remarks)
        self._segments: Segments | None = segments

    @property
    def segments(self) -> Segments:
        """The physical segments; ValueError after close."""
        if self._segments is None:
            raise ValueError(f"{self.path}: the image was closed")
        return self._segments

    @property
    def ranges(self) -> np.ndarray:
        """Physical memory that the image holds: [start, end) a row, uint64, in order."""
        return self.segments.ranges()

    def read(self, pa: int, n: int) -> bytes:
        """Return n bytes from a physical address; ValueError where they are not all there."""
        pa, n = operator.index(pa), operator.index(n)
        if pa < 0 or n < 0 or pa + n > PHYSICAL_END:
            raise ValueError(f"{n} bytes at {pa:#x} are no physical memory")
        return self.segments.read(pa, n)

    def _pages(self, pas: np.ndarray) -> np.ndarray:
        return self.segments.pages(pas)

    def tables(self, root: Root) -> Segments:
        """Return all of the memory: it is there already."""
        return self.segments

    def close(self) -> None:
        """Let go of the file; results of walks stay."""
        self._segments = None


class GatheringImage(Image):
    """An image whose pages have to be fetched: a walk fetches its tables first."""

    def tables(self, root: Root) -> Segments:
        """Fetch the tables below a root, level by level."""
        wanted = np.array([root.pa], np.uint64)
        known = np.array([], np.uint64)
        content = bytearray()
        for level in range(root.levels, 0, -1):
            pages = self._fetch(np.setdiff1d(wanted, known))
            content += b"".join(pages.values())
            known = np.concatenate([known, np.fromiter(pages, np.uint64, len(pages))])
            # a page may be a table of several levels: look at every wanted one
            offset = {int(pa): i for i, pa in enumerate(known)}
            rows = [offset[int(pa)] for pa in wanted if int(pa) in offset]
            entries = np.frombuffer(bytes(content), np.uint64).reshape(-1, 512)[rows]
            wanted = _tables_below(entries, level)
        size = np.full(len(known), PAGE, np.uint64)
        return Segments(content, known, np.arange(len(known), dtype=np.uint64) * PAGE, size)

    def _fetch(self, pas: Iterable[int]) -> dict[int, bytes]:
        found = {}
        for pa in pas:
            try:
                found[int(pa)] = self.read(int(pa), PAGE)
            except AbsentError:
                continue  # the walk reports tables that are not there
            except ValueError as error:
                self._unreadable(error)
        return found

    def _unreadable(self, error: ValueError) -> None:
        """Note a page that is there but cannot be read; to the walk it is outside."""
        text = str(error).removeprefix(f"{self.path}: ")
        if text not in self.notes and len(self.notes) < _MAX_NOTES:
            self.notes.append(text)

    def _pages(self, pas: np.ndarray) -> np.ndarray:
        data = b"".join(self.read(int(pa), PAGE) for pa in pas)
        return np.frombuffer(data, np.uint64).reshape(-1, 512).copy()


def _tables_below(entries: np.ndarray, level: int) -> np.ndarray:
    """Return the frames that present table entries of a level refer to, each once."""
    table = entries & np.uint64(1) != 0
    if level <= 3:
        table &= entries & np.uint64(0x80) == 0
    return np.unique(entries[table] & np.uint64(_FRAME)) if level > 1 else entries[:0].ravel()
