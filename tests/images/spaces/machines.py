# SPDX-License-Identifier: GPL-2.0-only
"""Machines of many address spaces that never were, in a few MiB of raw memory."""

from __future__ import annotations

import numpy as np

PAGE = 4096
P, W, U, A, D, PSE, NX = 1, 2, 4, 0x20, 0x40, 0x80, 1 << 63
TABLE, KERNEL = P | W | U | A | D, P | W | A | D
MIB = 1 << 20


class Machine:
    """Physical memory: a direct map, an array of struct page, a kernel image, processes.

    Addresses are chosen by the seed, as KASLR does.
    """

    def __init__(self, seed: int, *, levels: int = 4, pti: bool = False, c_bit: int = 0):
        self.rng = np.random.default_rng(seed)
        self.levels, self.pti, self.c = levels, pti, c_bit and 1 << c_bit
        self.words = np.zeros((8 * MIB // PAGE, 512), np.uint64)
        self.next = 3 * MIB // PAGE
        self.processes: dict[int, set[int]] = {}
        self.direct = self._place(0xFF, 280) | int(self.rng.integers(0, 400)) << 30
        self.array = self._place(0xFF, 480) | int(self.rng.integers(0, 400)) << 30
        self.kernel = 2 * MIB // PAGE
        self.half: dict[int, int] = {}
        top = self.kernel
        for pa in range(0, 8 * MIB, 2 * MIB):
            self.map(top, self.direct + pa, pa | KERNEL | PSE | NX, 2)
        self.map(top, self.array, 4 * MIB | KERNEL | PSE | NX, 2)
        self.map(top, 0xFFFF_FFFF_8000_0000, 2 * MIB | P | A | PSE, 2)
        self.map(top, 0xFFFF_FFFF_8020_0000, 0 | P | A | PSE, 2)

    def _place(self, _: int, slot: int) -> int:
        slot += int(self.rng.integers(0, 8))
        return ((1 << 64) - (512 - slot << (12 + 9 * (self.levels - 1)))) & (1 << 64) - 1

    def page(self, pages: int = 1) -> int:
        """Return the number of a free page (of two, the first is even)."""
        if pages == 2:
            self.next += self.next & 1
        number = self.next
        self.next += pages
        assert self.next < 4 * MIB // PAGE or number >= 6 * MIB // PAGE
        return number

    def map(self, top: int, va: int, entry: int, level: int = 1) -> None:
        table = top
        for at in range(self.levels, level, -1):
            index = va >> (12 + 9 * (at - 1)) & 511
            flags = TABLE if va < 1 << 63 or at < self.levels else KERNEL
            if not self.words[table, index]:
                self.words[table, index] = self.page() * PAGE | flags | self.c
            table = (int(self.words[table, index]) & ~self.c & 0x000F_FFFF_FFFF_F000) // PAGE
        self.words[table, va >> (12 + 9 * (level - 1)) & 511] = entry | self.c

    def process(self, pages: int, *, alive: bool = True) -> int:
        """Add a process with so many pages; return the address of its top table."""
        top = self.page(2)
        user = top + 1 if self.pti else top
        frames = set()
        for _ in range(pages):
            va = int(self.rng.integers(1, 1 << 24)) << 12
            frame = int(self.rng.integers(6 * MIB // PAGE, 8 * MIB // PAGE))
            self.map(user, va, frame * PAGE | P | W | U | A | D | NX)
            frames.add(va)
        self.words[top, 256:] = self.words[self.kernel, 256:]
        if self.pti:
            lower = self.words[user, :256]
            self.words[top, :256] = np.where(lower != 0, lower | np.uint64(NX), lower)
            self.words[user, 510:] = self.words[self.kernel, 510:]
            self.words[user, 509] = self.words[self.kernel, 511]
        mm = self.page() * PAGE + 0x140
        self.words.ravel()[(mm + 120) // 8] = self.direct + top * PAGE
        struct = (4 * MIB + top * 64) // 8
        self.words.ravel()[struct + 4] = self.direct + mm
        self.words.ravel()[struct + 6] = int(alive) << 32 | 0xFFFF_FFFF
        if alive:
            self.processes[top * PAGE] = frames
        return top * PAGE

    def copy(self, pa: int) -> int:
        """Leave a stale copy of a top table; return its address."""
        number = self.page(2)
        self.words[number] = self.words[pa // PAGE]
        return number * PAGE

    def tobytes(self) -> bytes:
        return self.words.tobytes()
