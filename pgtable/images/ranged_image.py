# SPDX-License-Identifier: GPL-2.0-only
"""Images of which only what is asked for is read: tables, a level in one batch."""

from __future__ import annotations

import operator
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from .image import GatheringImage, Image, MappedImage
from .range_readers import Window
from .segments import PAGE, PHYSICAL_END, AbsentError, Segments
from .walk import Root

_FRAME = np.uint64(0x000F_FFFF_FFFF_F000)
#: Accessed and Dirty: a running processor sets them.
_STEADY = np.uint64(~0x60 & (1 << 64) - 1)


class RangedImage(GatheringImage):
    """An image in a file that is read a range at a time.

    Pages are kept once they were read, unless the file is a running kernel's memory.
    """

    def __init__(
        self,
        path: Path,
        kind: str,
        window: Window,
        pieces: Sequence[tuple[int, int, int]],
        notes: list[tuple[str, bytes]],
        remarks: list[str],
    ):
        """pieces: (physical address, offset in the file, size) of each."""
        super().__init__(path, kind, notes, remarks)
        self._reader = window.reader
        self._pieces = sorted(piece for piece in pieces if piece[2] > 0)
        self._starts = [pa for pa, _, _ in self._pieces]
        self._kept: dict[int, bytes] = {}
        self._children: dict[int, int] = {}

    @property
    def ranges(self) -> np.ndarray:
        """Physical memory that the image holds: [start, end) a row, uint64, in order."""
        found: list[list[int]] = []
        for pa, _, size in self._pieces:
            if found and pa <= found[-1][1]:
                found[-1][1] = max(found[-1][1], pa + size)
            else:
                found.append([pa, pa + size])
        return np.array(found, np.uint64).reshape(-1, 2)

    def read(self, pa: int, n: int) -> bytes:
        """Return n bytes from a physical address; ValueError where they are not all there."""
        pa, n = operator.index(pa), operator.index(n)
        if pa < 0 or n < 0 or pa + n > PHYSICAL_END:
            raise ValueError(f"{n} bytes at {pa:#x} are no physical memory")
        if n == PAGE and not pa % PAGE:
            return self._page(pa)
        parts, at = [], pa
        while at < pa + n:
            offset, left = self._place(at)
            parts.append((offset, min(left, pa + n - at)))
            at += parts[-1][1]
        found = b"".join(self._reader.read(parts))
        if len(found) != n:
            raise ValueError(f"{self.path}: {n} bytes at physical {pa:#x} cannot be read")
        return found

    def _place(self, pa: int) -> tuple[int, int]:
        """Return where in the file an address is, and how much follows; AbsentError: nowhere."""
        for i in range(bisect_right(self._starts, pa) - 1, -1, -1):
            start, offset, size = self._pieces[i]
            if pa < start + size:
                return offset + pa - start, start + size - pa
        raise AbsentError(f"physical address {pa:#x} is not in the image")

    def _page(self, pa: int) -> bytes:
        if pa in self._kept:
            return self._kept[pa]
        self._place(pa)
        # who asks for one table of those that another refers to asks for more of them
        parent = self._children.get(pa)
        wanted = [pa]
        if parent is not None:
            wanted += [other for other in self._below(parent) if other != pa]
        found = self._fetch(wanted)
        if pa not in found:
            raise ValueError(f"{self.path}: the page at physical {pa:#x} cannot be read")
        return found[pa]

    def _below(self, parent: int) -> list[int]:
        entries = np.frombuffer(self._kept[parent], np.uint64)
        table = (entries & np.uint64(1) != 0) & (entries & np.uint64(0x80) == 0)
        frames = np.unique(entries[table] & _FRAME).tolist()
        return [pa for pa in frames if pa not in self._kept]

    def _fetch(self, pas: Iterable[int]) -> dict[int, bytes]:
        """Return whole pages: those that are missing are left out; one batch."""
        found, places = {}, {}
        for pa in map(int, pas):
            if pa in self._kept:
                found[pa] = self._kept[pa]
                continue
            try:
                offset, left = self._place(pa)
            except AbsentError:
                continue
            if left >= PAGE:
                places[pa] = offset, PAGE
        pages = self._reader.read(list(places.values())) if places else []
        for pa, page in zip(places, pages, strict=True):
            if len(page) == PAGE:
                found[pa] = page
                self._keep(pa, page)
            else:
                self._unreadable(ValueError(f"the page at physical {pa:#x} cannot be read"))
        return found

    def _keep(self, pa: int, page: bytes) -> None:
        if self._reader.live:
            return
        self._kept[pa] = page
        for child in self._below(pa):
            self._children.setdefault(child, pa)

    def tables(self, root: Root) -> Segments:
        """Fetch the tables below a root; of a running kernel, say what changed meanwhile."""
        segments = super().tables(root)
        if self._reader.live:
            self._compare(segments)
        return segments

    def _compare(self, segments: Segments) -> None:
        """Read all tables again: entries that differ may be of two moments."""
        tables = entries = 0
        first = None
        pas = segments.table["pa"].tolist()
        again = self._fetch(pas)
        for pa in pas:
            before = segments.page(pa)
            now = again.get(pa)
            if before is None or now is None:
                continue
            changed = np.count_nonzero((before ^ np.frombuffer(now, np.uint64)) & _STEADY)
            if changed:
                tables, entries = tables + 1, entries + int(changed)
                first = pa if first is None else first
        self.notes = [note for note in self.notes if not note.startswith(_RUNS)]
        if first is None:
            self.notes.append(f"{_RUNS}; no table changed while the {len(pas):,} were read")
        else:
            self.notes.append(
                f"{_RUNS}: {entries:,} entries of {tables:,} of {len(pas):,} tables changed while"
                f" they were read (the first at physical {first:#x}): what is below may be of"
                " two moments, or not be a table any more"
            )

    def close(self) -> None:
        """Close the file.  Results of walks stay valid."""
        super().close()
        self._kept, self._children, self._pieces, self._starts = {}, {}, [], []


_RUNS = "the kernel is running"


def assemble(
    path: Path,
    kind: str,
    memory: memoryview | Window,
    columns: Sequence[Sequence[int]] | Sequence[np.ndarray],
    notes: list[tuple[str, bytes]],
    remarks: list[str],
) -> Image:
    """Return the image of pieces of a file: mapped, or read a range at a time.

    columns: physical addresses, offsets and sizes of the pieces.
    Raises ValueError where a piece leaves the file or the physical address space.
    """
    if isinstance(memory, Window):
        pieces = [tuple(map(int, piece)) for piece in zip(*columns, strict=True)]
        return RangedImage(path, kind, memory, pieces, notes, remarks)  # type: ignore[arg-type]
    segments = Segments(memory, *columns)
    return MappedImage(path, kind, segments, notes, remarks + segments.remarks)
