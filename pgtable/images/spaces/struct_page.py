# SPDX-License-Identifier: GPL-2.0-only
"""Which tables are alive, as the kernel's array of struct page says.

The struct page of a process's top table points to its mm, and the mm holds the table's own
address in the direct map.  Where the direct map and the array lie is told by the shape of
the kernel half: most memory is mapped at one distance, and the array begins at a multiple
of 1 GiB.  Source: pgd_set_mm() in arch/x86/mm/pgtable.c, arch/x86/mm/kaslr.c.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..image import Image
from ..regions import SIZES, runs
from ..segments import PAGE
from ..walk import Walk

_GIB = 1 << 30
#: Bytes of a struct page, likeliest first.
_SIZES = (64, 56, 72, 80, 96, 128)
#: Where in a struct page the mm is: (word, byte of the reference count); since 4.18, before.
_LAYOUTS = ((4, 52), (2, 28))
#: Bytes of an mm that are searched for its table.
_MM = 1024
#: Tables that are asked to find the array.
_ASKED = 256
#: Places where the array may begin that are tried: a kernel half has a handful.
_STARTS = 256
KERNEL_TEXT = 0xFFFF_FFFF_8000_0000


@dataclass
class KernelLeaves:
    """The leaves of the kernel half, to translate by."""

    va: np.ndarray
    pa: np.ndarray
    size: np.ndarray

    @classmethod
    def of(cls, walk: Walk) -> KernelLeaves:
        """Return the leaves of a walk of the kernel half."""
        leaf = walk.leaf
        return cls(walk.va[leaf], walk.pa[leaf], SIZES[walk.level[leaf]])

    def translate(self, va: int) -> int | None:
        """Return the physical address of a virtual one, None where nothing is mapped."""
        i = int(np.searchsorted(self.va, np.uint64(va), "right")) - 1
        if i < 0 or va - int(self.va[i]) >= int(self.size[i]):
            return None
        return int(self.pa[i]) + va - int(self.va[i])

    def direct_map(self) -> int | None:
        """Return the address at which the direct map begins; None where there is none."""
        low = self.va < np.uint64(KERNEL_TEXT)
        distance = self.va[low] - self.pa[low]
        aligned = distance % np.uint64(_GIB) == 0
        distances, which = np.unique(distance[aligned], return_inverse=True)
        if not len(distances):
            return None
        mapped = np.bincount(which, weights=self.size[low][aligned].astype(float))
        return int(distances[np.argmax(mapped)])

    def starts(self) -> list[int]:
        """Return where runs of mapped memory begin at a multiple of 1 GiB."""
        start = runs(self.va, self.size).start
        return [int(va) for va in start[start % np.uint64(_GIB) == 0]]

    def holds_text(self, pa: int) -> bool:
        """Tell whether a page is in the kernel's image: mapped from KERNEL_TEXT on."""
        text = self.va >= np.uint64(KERNEL_TEXT)
        start, size = self.pa[text], self.size[text]
        return bool(np.any((start <= np.uint64(pa)) & (np.uint64(pa) < start + size)))


@dataclass
class PageArray:
    """The array of struct page, and how one is read."""

    image: Image
    mapping: KernelLeaves
    direct: int  #: where the direct map begins
    start: int  #: where the array begins
    size: int = 64  #: bytes of a struct page
    word: int = 4  #: which word of it points to the mm
    count: int = 52  #: at which byte of it the reference count is

    def mm_of(self, pa: int) -> int | None:
        """Return the physical address of the mm that holds this top table; None: none does."""
        page = self._bytes(self.start + pa // PAGE * self.size, self.size)
        if page is None:
            return None
        mm = int.from_bytes(page[8 * self.word : 8 * self.word + 8], "little")
        content = self._bytes(mm, _MM) if mm >= self.direct else None
        own = (self.direct + pa).to_bytes(8, "little")
        if content is None or not any(content[at : at + 8] == own for at in range(0, _MM, 8)):
            return None
        return mm - self.direct

    def alive(self, pa: int) -> bool:
        """Tell whether the page is in use: its reference count is above 0."""
        page = self._bytes(self.start + pa // PAGE * self.size + self.count, 4)
        return page is not None and int.from_bytes(page, "little", signed=True) > 0

    def _bytes(self, va: int, size: int) -> bytes | None:
        pa = self.mapping.translate(va)
        if pa is None:
            return None
        try:
            return self.image.read(pa, size)
        except ValueError:
            return None


def find_array(image: Image, mapping: KernelLeaves, tops: np.ndarray) -> PageArray | None:
    """Return the array that confirms most of some tables; None where none confirms any."""
    direct = mapping.direct_map()
    if direct is None:
        return None
    asked = tops[np.linspace(0, len(tops) - 1, min(len(tops), _ASKED), dtype=np.intp)].tolist()
    best, most = None, 0
    starts = mapping.starts()[:_STARTS]
    for size in _SIZES:
        for word, count in _LAYOUTS:
            for start in starts:
                array = PageArray(image, mapping, direct, start, size, word, count)
                confirmed = sum(array.mm_of(pa) is not None for pa in asked)
                if confirmed > most:
                    best, most = array, confirmed
            if most > 1:  # two tables that are held by what their struct page points to
                return best
    return best
