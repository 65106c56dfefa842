# SPDX-License-Identifier: GPL-2.0-only
"""The classes of memory images, for all formats."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..census import Census
from ..engines.interface import processors
from ..kernels import Kernel, find
from .mapped import MappedFile, all_there
from .origin import Origin, reopen
from .registers import Registers, registers_of, vmcoreinfo_of
from .segments import PAGE, PHYSICAL_END, AbsentError, Segments
from .start import bounded, find_root
from .steps import Progress
from .tally import Tally, run_tally
from .vmcoreinfo import KernelNotes, kernel_notes
from .walk import Maker, Root, Walk
from .walking import run_census, run_walk

if TYPE_CHECKING:
    from .reverse_map import ReverseMap
    from .spaces.model import Spaces

_FRAME = 0x000F_FFFF_FFFF_F000
#: Tables that may be fetched for each address at which they are reached, at least.
_PLACES = 1 << 15
#: Pages that cannot be read are noted as long as there are few.
_MAX_NOTES = 20


class Image(ABC):
    """The physical memory of a machine, or the part of it that a file has.

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
        self._memory_map: np.ndarray | None = None
        self._files: list[MappedFile] = []
        self._origin: Origin | None = None

    def _opened_from(self, origin: Origin, files: list[MappedFile]) -> None:
        """Say what the image was opened from, and which files are mapped for it."""
        self._origin, self._files = origin, files

    def __reduce__(self) -> Any:
        """Copies and pickles open the image again; TypeError if there is no file to open."""
        if self._origin is None:
            raise TypeError(
                f"{self.path}: a closed image cannot be copied or pickled, nor one that is read a"
                " range at a time"
            )
        self._origin.check_again()
        return reopen, (self._origin,)

    @property
    def memory_map(self) -> np.ndarray | None:
        """Memory that the machine has, also what was left out of the file; None if not known.

        [start, end) a row, uint64, in order.  Kdump files say it (makedumpfile leaves out
        free and zero pages), and ELF cores whose segments are larger than their content.
        """
        return self._memory_map

    @property
    @abstractmethod
    def ranges(self) -> np.ndarray:
        """Physical memory that the image holds: [start, end) a row, uint64, in order."""

    @abstractmethod
    def read(self, pa: int, n: int) -> bytes:
        """Return n bytes from a physical address.

        Raises ValueError if the image does not have all of them.
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

    def close(self) -> None:
        """Close the file.  Results of walks stay valid."""
        self._files, self._origin = [], None

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
        *,
        c_bit: int | None = None,
        pti: str | None = None,
        within: tuple[int, int] | None = None,
    ) -> Root:
        """Return where a walk with these arguments begins; see :meth:`walk`."""
        with all_there(self._files):
            return bounded(find_root(self, root, levels, cpu, nxe, c_bit, pti), within)

    def entries_at(self, pa: int) -> np.ndarray | None:
        """Return the 512 words of a page (uint64); None where the image lacks it."""
        try:
            return np.frombuffer(self.read(pa, PAGE), np.uint64)
        except ValueError:
            return None

    def holds(self, pa: int) -> bool:
        """Tell whether the whole page at a physical address is in the image."""
        try:
            self.read(pa, PAGE)
        except ValueError:
            return False
        return True

    def ranges_text(self) -> str:
        """Return what the image has, in words."""
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
        c_bit: int | None = None,
        pti: str | None = None,
        kernel: str | Kernel | None = None,
        within: tuple[int, int] | None = None,
        threads: int = 1,
        progress: Progress | None = None,
    ) -> Walk:
        """Return every non-zero entry of an address space, in columns and address order.

        root: physical address of the top table, or CR3; default: that of the
            processor ``cpu``, or the kernel's own where only VMCOREINFO tells.
        levels: 4 or 5; default: what the processor's CR4 or VMCOREINFO says, else what
            the tables show, else 4.
        nxe: whether bit 63 means NX (EFER.NXE); default: as known, else True.
        limit: how many entries at most.
        c_bit: number of the bit that says "encrypted" in entries (SME, SEV), 32 to 51;
            default: what VMCOREINFO says, else the one high bit of every top entry
            without which, only, the tables are in the image.  It is no part of ``pa``.
        pti: with page-table isolation, "user" or "kernel" walks that copy of the top
            table alone; default: the lower half of the user's copy and the upper half
            of the kernel's, which is what each mode can reach.
        kernel: who made the entries, as ``uname -r`` prints it, or what
            :func:`pgtable.kernels.find` gives; default: the OSRELEASE of VMCOREINFO.  It
            settles the kinds and frames of entries that are not present.
        within: only what translates addresses of [from, to); tables outside are not read.
        threads: how many may work; 0: one for each processor.  The result is the same.
        progress: called now and then with how many entries are done.

        A table that is reached at several addresses is expanded at each, as
        hardware does.  Where that would come to more than ``limit`` entries or,
        without a limit, to visiting more than four times as many tables as there
        are (and more than 32768), every table is expanded at its first address only.

        A table that is its own ancestor is not followed, a table outside the
        image neither; ``reports`` of the result has them.

        What was found out or assumed stands in ``notes`` of the result, where root and
        levels come from in ``root.origin``.

        Raises ValueError for a root outside the image, or none known, for levels that the
        tables do not have, for ``pti`` where there is no such pair, and for a kernel that
        cannot be read; MemoryError where the columns do not fit; OSError where the file
        became shorter.
        """
        maker = self.made_by(kernel)
        start = self.root(root, levels, cpu, nxe, c_bit=c_bit, pti=pti, within=within)
        workers = processors(threads)
        with all_there(self._files):
            walk = run_walk(self.tables(start), start, _checked_limit(limit), workers, progress)
        walk.set_maker(maker)
        return walk

    def made_by(self, kernel: str | Kernel | None = None) -> Maker:
        """Return which kernel made the entries: the one that is named, else what the image says.

        Raises ValueError for a name that is no version.
        """
        if kernel is not None:
            return Maker(find(kernel) if isinstance(kernel, str) else kernel, given=True)
        known, note = self.kernel.linux()
        return Maker(known, note=note)

    def tally(
        self,
        root: int | None = None,
        levels: int | None = None,
        cpu: int = 0,
        *,
        nxe: bool | None = None,
        c_bit: int | None = None,
        pti: str | None = None,
        kernel: str | Kernel | None = None,
        within: tuple[int, int] | None = None,
        threads: int = 1,
        progress: Progress | None = None,
    ) -> Tally:
        """Count what :meth:`walk` with these arguments lists, by half, level and kind.

        No columns are made, so it takes the memory of the list of tables alone.
        """
        maker = self.made_by(kernel)
        start = self.root(root, levels, cpu, nxe, c_bit=c_bit, pti=pti, within=within)
        with all_there(self._files):
            found = run_tally(
                self.tables(start), start, maker.kernel, processors(threads), progress
            )
        found.set_maker(maker)
        return found

    def spaces(
        self,
        *,
        c_bit: int | None = None,
        threads: int = 1,
        progress: Progress | None = None,
    ) -> Spaces:
        """Return every address space of the machine, found from content, without symbols.

        Top tables are pages whose kernel half is well formed; the kernel's array of
        struct page, which the tables themselves show, tells those in use from copies.
        ``notes`` of the result says what was found out and what is not certain.

        c_bit, threads: as for :meth:`walk`; progress: called now and then with how many
        words of memory were looked at.

        Raises ValueError where no page can be a top table of 64-bit Linux.
        """
        from .spaces.find import find_spaces  # noqa: PLC0415 - it needs this module

        with all_there(self._files):
            return find_spaces(self, c_bit, processors(threads), progress)

    def walk_all(
        self, spaces: Spaces | None = None, *, kernel: str | Kernel | None = None
    ) -> Iterator[Walk]:
        """Yield walks that together have every address space of the machine, each part once.

        First the kernel half that all share, then what kernel halves have of their own,
        then the user half of each space.  ``spaces`` of a walk says whose it is.

        spaces: what :meth:`spaces` returned; default: it is asked.
        kernel: as for :meth:`walk`.

        Raises ValueError where no page can be a top table of 64-bit Linux.
        """
        from .spaces.parts import walk_parts  # noqa: PLC0415 - it needs this module

        maker = self.made_by(kernel)
        return walk_parts(self, self.spaces() if spaces is None else spaces, maker)

    def reverse_map(
        self,
        pfns: Sequence[int] | None = None,
        spaces: Spaces | None = None,
        *,
        kernel: str | Kernel | None = None,
    ) -> ReverseMap:
        """Return which entries of any address space map a frame.

        pfns: the frame numbers (physical address // 4096) that will be asked for; None: any.
        The other arguments and errors are those of :meth:`walk_all`.
        """
        from .reverse_map import ReverseMap  # noqa: PLC0415 - few need it

        return ReverseMap(self.walk_all(spaces, kernel=kernel), pfns)

    def census(
        self,
        root: int | None = None,
        levels: int | None = None,
        cpu: int = 0,
        *,
        c_bit: int | None = None,
        pti: str | None = None,
        within: tuple[int, int] | None = None,
        threads: int = 1,
        progress: Progress | None = None,
    ) -> dict[tuple[str, int], Census]:
        """Count the entries of an address space without listing them.

        Arguments, errors and shared tables as for :meth:`walk`.  Returns a
        :class:`Census` for each ("user" or "kernel", level) that has entries:
        leaves, tables and entries that are not present, told apart by their bits.
        """
        start = self.root(root, levels, cpu, c_bit=c_bit, pti=pti, within=within)
        workers = processors(threads)
        with all_there(self._files):
            return run_census(self.tables(start), start, workers, progress)


def _checked_limit(limit: int | None) -> int | None:
    if limit is None:
        return None
    limit = operator.index(limit)
    if limit < 0:
        raise ValueError(f"limit is {limit}; it is a number of entries")
    return limit


class MappedImage(Image):
    """An image whose bytes are in memory: mapped, or decompressed."""

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
        found = self.segments.read(pa, n)
        for file in self._files:
            file.check()
        return found

    def _pages(self, pas: np.ndarray) -> np.ndarray:
        with all_there(self._files):
            return self.segments.pages(pas)

    def tables(self, root: Root) -> Segments:
        """Return all of the memory: it is there already."""
        return self.segments

    def close(self) -> None:
        """Close the file.  Results of walks stay valid."""
        super().close()
        self._segments = None


class GatheringImage(Image):
    """An image whose pages have to be fetched.  A walk fetches its tables first."""

    def tables(self, root: Root) -> Segments:
        """Fetch the tables below a root, level by level."""
        tops = [root.pa] if root.user_pa is None else [root.pa, root.user_pa]
        wanted = np.array(tops, np.uint64)
        # where each wanted one is reached; None: asked for at whatever address
        places = np.zeros(len(wanted), np.uint64) if root.is_bounded else None
        known = np.array([], np.uint64)
        content = bytearray()
        for level in range(root.levels, 0, -1):
            pages = self._fetch(np.setdiff1d(wanted, known))
            content += b"".join(pages.values())
            known = np.concatenate([known, np.fromiter(pages, np.uint64, len(pages))])
            if level == 1:
                break
            # a page may be a table of several levels: look at every wanted one
            order = np.argsort(known)
            at = np.searchsorted(known, wanted, sorter=order)
            there = np.isin(wanted, known)
            rows = order[at[there]]
            entries = np.frombuffer(bytes(content), np.uint64).reshape(-1, 512)[rows]
            if places is None:
                wanted = _tables_below(entries, level, root.encryption)
            else:
                wanted, places = _tables_within(entries, places[there], level, root)
                if len(wanted) > _PLACES + 4 * len(known):
                    places = None  # too many addresses of shared tables: take each table once
                    wanted = np.unique(wanted)
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
        """Note a page that cannot be read.  For the walk it is outside of the image."""
        text = str(error).removeprefix(f"{self.path}: ")
        if text not in self.notes and len(self.notes) < _MAX_NOTES:
            self.notes.append(text)

    def _pages(self, pas: np.ndarray) -> np.ndarray:
        data = b"".join(self.read(int(pa), PAGE) for pa in pas)
        return np.frombuffer(data, np.uint64).reshape(-1, 512).copy()


def _tables_below(entries: np.ndarray, level: int, encryption: int) -> np.ndarray:
    """Return the frames that present table entries of a level refer to, each once."""
    return np.unique(entries[_are_tables(entries, level)] & np.uint64(_FRAME & ~encryption))


def _are_tables(entries: np.ndarray, level: int) -> np.ndarray:
    table: np.ndarray = entries & np.uint64(1) != 0
    if level <= 3:
        table &= entries & np.uint64(0x80) == 0
    return table


def _tables_within(
    entries: np.ndarray, places: np.ndarray, level: int, root: Root
) -> tuple[np.ndarray, np.ndarray]:
    """Return frames and lowest addresses of tables that translate what is walked.

    entries: of tables of a level, a row each; places: the lowest address of each.
    """
    shift = np.uint64(12 + 9 * (level - 1))
    number = np.arange(512, dtype=np.uint64)
    va = places[:, None] + (number << shift)
    if level == root.levels:  # the upper half is sign-extended
        va[:, 256:] |= np.uint64((1 << 64) - (1 << (int(shift) + 9)))
    end = va + np.uint64((1 << int(shift)) - 1)
    inside = _are_tables(entries, level) & (va <= np.uint64(root.last))
    inside &= end >= np.uint64(root.first)
    frames = entries[inside] & np.uint64(_FRAME & ~root.encryption)
    pairs = np.unique(np.stack([frames, va[inside]]), axis=1)
    return pairs[0], pairs[1]
