# SPDX-License-Identifier: GPL-2.0-only
"""Guesses what a file without a magic number is: entries, a memory image, or a pagemap file.

Entries may have any bits, so only clear signs count: text and kernel pointers as in memory, page
tables that refer to each other within the file, and the fields of /proc/PID/pagemap.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from .image import Image
from .opening import open_image
from .page_records import RECORD, looks_like_records
from .segments import PAGE
from .top_table import complaint, table_frames

_ENTRIES = PAGE // 8
#: Pages of each piece that are looked at, and pieces after which most are passed over.
_PAGES_OF_PIECE = 4
_PIECES = 1024
_THEN_EVERY = 16
#: How many words other than 0 are needed to be sure.
_ENOUGH = 4096
_ENOUGH_PAGEMAP = 16
#: Shares of those words that are pointers into the kernel, and text, in any Linux machine.
_POINTERS, _TEXT = 0.005, 0.005
#: Share of zero pages from which on page tables are looked for.
_ZEROS = 0.2
#: How much memory is searched for page tables at most, and how many pages in a step.
_SEARCHED = 1 << 30
_STEP = 4096
_MOST_CANDIDATES = 1000
_MOST_FOUND = 32
_WALKED = 1 << 18
#: Tables of a level that are followed.
_TABLES = 64

#: /proc/PID/pagemap: present, swapped; bits that are always 0; the frame's upper bits.
_PM_ANY = np.uint64(3 << 62)
_PM_PRESENT = np.uint64(1 << 63)
_PM_ZERO = np.uint64(0x7 << 58)
_PM_NO_FRAME = np.uint64(0x7FFF << 40)
_PM_FRAME = np.uint64((1 << 55) - 1)


class Looks:
    """Looks at the pieces of a file while they are read, and then says what it is.

    Counts sampled ``words`` that are not 0, and among them pointers into the kernel
    and text, and what does not fit a pagemap file.
    """

    def __init__(self) -> None:
        self._pieces = 0
        self.total = 0
        self.pages = self.zero_pages = 0
        self.words = self.pointers = self.text = 0
        self.no_pagemap = self.odd = self.present = self.frames = 0

    def add(self, piece: np.ndarray) -> None:
        """Look at some of a piece of uint64 words."""
        self.total += len(piece)
        self._pieces += 1
        if self._pieces > _PIECES and self._pieces % _THEN_EVERY:
            return
        whole = piece[: len(piece) // _ENTRIES * _ENTRIES].reshape(-1, _ENTRIES)
        some = whole[:: max(1, len(whole) // _PAGES_OF_PIECE)] if len(whole) else piece[None]
        used = np.ascontiguousarray(some[some != 0])
        self.pages += len(some)
        self.zero_pages += int(np.count_nonzero(~some.any(axis=1)))
        self.words += len(used)
        upper = used >> np.uint64(47) == (1 << 17) - 1
        self.pointers += int(np.count_nonzero(upper & (used < np.uint64(0xFFFF_FFFF_FF00_0000))))
        letters = used.view(np.uint8).reshape(-1, 8)
        self.text += int(np.count_nonzero(((letters >= 32) & (letters < 127)).all(axis=1)))
        self._add_pagemap(used)

    def _add_pagemap(self, used: np.ndarray) -> None:
        there = used & _PM_PRESENT != 0
        fits = (used & _PM_ANY != 0) & (used & _PM_ZERO == 0)
        fits &= ~there | (used & _PM_NO_FRAME == 0)
        self.no_pagemap += int(np.count_nonzero(~fits))
        present = used[there]
        self.present += len(present)
        self.odd += int(np.count_nonzero(present & np.uint64(1)))
        self.frames += int(np.count_nonzero(present & _PM_FRAME))

    @property
    def is_memory(self) -> bool:
        """Whether there are kernel pointers and text as in the memory of a machine."""
        enough = self.words >= _ENOUGH and self.total % _ENTRIES == 0
        return (
            enough and self.pointers >= _POINTERS * self.words and self.text >= _TEXT * self.words
        )

    @property
    def is_pagemap(self) -> bool:
        """Whether the words are those of /proc/PID/pagemap: frames from bit 0, or none at all."""
        if self.words < _ENOUGH_PAGEMAP or self.no_pagemap or not self.present:
            return False
        # an entry with bit 63 is nearly always present: bit 0; of frames it is as good as random
        return self.frames == 0 or self.odd <= 0.85 * self.present

    @property
    def may_hold_tables(self) -> bool:
        """Whether a search for page tables is worthwhile."""
        return (
            self.total % _ENTRIES == 0
            and self.total >= 16 * _ENTRIES
            and (self.zero_pages >= _ZEROS * self.pages or self.is_memory)
        )


def refuse_other_than_entries(name: str, looks: Looks, path: str | None) -> None:
    """Raise ValueError if a file is clearly no file of entries.

    path: where it can be opened once more to search it; None for a pipe.
    """
    raw = "or count every word as an entry with --raw"
    if looks.is_pagemap:
        raise ValueError(
            f"{name}: looks like a copy of /proc/PID/pagemap, not like page-table entries: bit 63"
            f" is 'present' there, and frames begin at bit 0; read it with the kernel's"
            f" page-types, {raw}"
        )
    if path is not None and _is_records(path, looks.total * 8):
        raise ValueError(
            f"{name}: looks like page tables as records of address and page; walk it with"
            f" --image --root PA, {raw}"
        )
    root = find_top_table(path) if path is not None and looks.may_hold_tables else None
    if root is not None:
        raise ValueError(
            f"{name}: looks like a memory image, with a top table at {root:#x}; walk it with"
            f" --image --root {root:#x}, {raw}"
        )
    if looks.is_memory:
        raise ValueError(
            f"{name}: looks like a memory image (it has text and kernel pointers in it); walk it"
            f" with --image --root CR3, {raw}"
        )


def _is_records(path: str, size: int) -> bool:
    if size < 4 * RECORD or size % RECORD:
        return False
    with open_image(path, format="raw", max_decompressed=_SEARCHED) as image:
        return looks_like_records(memoryview(image.read(0, size)))


def find_top_table(path: str) -> int | None:
    """Return the page of a raw memory image that is its best top table; None without one.

    Its tables must all lie in the file, down to level 1; the best has the least that is odd,
    and then the most tables.  Searches the first GiB.
    """
    try:
        image = open_image(path, format="raw", max_decompressed=_SEARCHED)
    except (ValueError, MemoryError):
        return None  # too large to be decompressed for this
    with image:
        found = list(itertools.islice(_top_tables(image), _MOST_FOUND))
        if not found:
            return None
        return max(found, key=lambda pa: _merit(image, pa))


def _merit(image: Image, pa: int) -> tuple[int, int]:
    """Rank a top table: one of a lower level leads out of memory, and back to itself."""
    try:
        walk = image.walk(pa, limit=_WALKED)
    except ValueError:
        return -_WALKED, 0
    odd = walk.report_counts.get("outside", 0) + walk.report_counts.get("loop", 0)
    return -odd, len(walk.tables.pa)


def _top_tables(image: Image) -> Iterator[int]:
    end = int(image.ranges[-1, 1]) // PAGE * PAGE
    candidates = 0
    for start in range(0, min(end, _SEARCHED), _STEP * PAGE):
        size = min(_STEP * PAGE, end - start)
        pages = np.frombuffer(image.read(start, size), np.uint64).reshape(-1, _ENTRIES)
        for number in np.flatnonzero(_could_be_top(pages, end)):
            candidates += 1
            if candidates > _MOST_CANDIDATES:
                return
            if _leads_down(image, start + int(number) * PAGE):
                yield start + int(number) * PAGE


def _could_be_top(pages: np.ndarray, end: int) -> np.ndarray:
    """Return which pages have only entries of tables in the file, some in the kernel's half."""
    frame = pages & np.uint64(0x000F_FFFF_FFFF_F000)
    fits = (pages & np.uint64(0x81) == 1) & (frame < np.uint64(end))
    used = pages != 0
    return (used == fits).all(axis=1) & used[:, _ENTRIES // 2 :].any(axis=1)


def _leads_down(image: Image, pa: int) -> bool:
    """Tell whether a page is a top table with a page of entries at every level below it."""
    if complaint(image.entries_at, pa, 4) is not None:
        return False
    tables: list[np.ndarray] = [page for page in [image.entries_at(pa)] if page is not None]
    for level in (4, 3, 2):
        frames = table_frames(np.stack(tables[:_TABLES]), level)
        below = (image.entries_at(int(frame)) for frame in frames)
        tables = [page for page in below if page is not None and page.any()]
        if not tables:
            return False
    return True
