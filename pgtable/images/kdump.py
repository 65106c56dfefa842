# SPDX-License-Identifier: GPL-2.0-only
"""kdump-compressed files, as makedumpfile and QEMU write them, whole or split over files.

Sources: makedumpfile's diskdump_mod.h and IMPLEMENTATION, QEMU's dump/dump.c.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from .codecs import PageCodecs
from .image import GatheringImage, Image
from .mapped import all_there
from .registers import parse_notes
from .segments import PAGE, PHYSICAL_END, AbsentError
from .vmcoreinfo import kernel_notes

MAGIC = b"KDUMP   "

_VERSION_AT = 8
#: ``new_utsname``: six names of 65 bytes; the fifth is the machine
_MACHINE_AT = 12 + 4 * 65
_NAME_SIZE = 65
#: ``struct disk_dump_header``: status, block_size, sub_hdr_size, bitmap_blocks, max_mapnr
_HEADER = struct.Struct("<IiiII")
_HEADER_AT = 424
_INCOMPLETE = 0x8
#: ``struct kdump_sub_header``: phys_base, dump_level, split, start_pfn, end_pfn
_SUB = struct.Struct("<QiiQQ")
#: where and how long VMCOREINFO and the notes are
_NOTES = struct.Struct("<QQQQ")
_NOTES_AT = 32
#: start_pfn, end_pfn and max_mapnr in 64 bits, of version 6
_WIDE = struct.Struct("<QQQ")
_WIDE_AT = 80
_MAX_NOTES = 1 << 26
#: ``page_desc_t``: offset, size, flags, page_flags
_DESCRIPTOR = struct.Struct("<qIIQ")
#: For each block of so many bytes of a bitmap, the set bits before it are counted once.
_RANK = 512
#: Descriptors that are looked at as the file is opened.
_LOOKED_AT = 4096
_KEPT = 1024


def open_kdump(path: Path, memories: Sequence[tuple[Path, memoryview]]) -> Image:
    """Return the image in a kdump-compressed file, or in all parts of a split one.

    Raises ValueError for damage, for a dump of another architecture, for parts that
    are missing, and where pages need a package that is not installed.
    """
    parts = [KdumpPart(name, memory) for name, memory in memories]
    parts.sort(key=lambda part: part.first)
    _check_parts(parts)
    return KdumpImage(path, parts)


def _check_parts(parts: list[KdumpPart]) -> None:
    """Raise ValueError if parts of a split dump are missing."""
    first = parts[0]
    if len(parts) == 1 and not first.split:
        return
    for one in parts:
        if not one.split:
            raise ValueError(f"{one.path}: is no part of a split dump")
        if (one.pages, one.identity) != (first.pages, first.identity):
            raise ValueError(f"{one.path}: is of another dump than {first.path}")
    at = 0
    each: list[KdumpPart | None] = [*parts, None]
    for part in each:
        begins = part.first if part else first.pages
        if begins > at:
            raise ValueError(
                f"{first.path}: is part of a split dump, the part with the pages from"
                f" {at * PAGE:#x} to {begins * PAGE:#x} is missing; name the others:"
                " --part FILE, or join all: makedumpfile --reassemble PARTS OUT"
            )
        if part:
            if begins < at:
                raise ValueError(f"{part.path}: has pages of another part too; name each part once")
            at = part.end


class KdumpPart:
    """A kdump file: its header, checked, and where its pages are."""

    def __init__(self, path: Path, memory: memoryview):
        self.path = path
        self.memory = memory
        if len(memory) < 2 * PAGE:
            raise ValueError(f"{path}: cut short within its kdump header")
        (version,) = struct.unpack_from("<i", memory, _VERSION_AT)
        self.status, block, sub_blocks, bitmap_blocks, pages = _HEADER.unpack_from(
            memory, _HEADER_AT
        )
        self._check_machine(version, block)
        if block != PAGE or sub_blocks < 1 or not 1 <= version <= 64:
            raise ValueError(f"{path}: damaged, or no kdump file of x86-64 (blocks of {block})")
        phys_base, self.level, split, first, end = _SUB.unpack_from(memory, block)
        if version >= 6:
            first, end, pages = _WIDE.unpack_from(memory, block + _WIDE_AT)
        self.split = version >= 2 and split != 0
        self.phys_base = phys_base if version >= 2 else None
        # two bitmaps: pages that are memory, and pages that are in the file
        half = bitmap_blocks // 2 * block
        at = (1 + sub_blocks) * block
        if at + 2 * half > len(memory) or pages > 8 * half:
            raise ValueError(f"{path}: cut short within its bitmap of {pages} pages")
        if not half:
            raise ValueError(f"{path}: damaged: a kdump file without bitmaps")
        self.pages = pages
        self.memory_bitmap = memory[at : at + half]
        self.bitmap = memory[at + half : at + 2 * half]
        self.descriptors = at + 2 * half
        self.first: int
        self.end: int
        self.first, self.end = (first, end) if self.split else (0, pages)
        if not 0 <= self.first <= self.end <= pages:
            raise ValueError(f"{path}: damaged: pages {self.first} to {self.end} of {pages}")
        #: Fields that are the same in all parts.
        self.identity = bytes(memory[12:_HEADER_AT])
        self.notes = self._read_notes(version)
        counts = _POPULATION[np.frombuffer(self.bitmap, np.uint8)]
        blocks = np.add.reduceat(counts, np.arange(0, half, _RANK), dtype=np.int64)
        self._before = np.concatenate([[0], np.cumsum(blocks)]).astype(np.int64)
        self._skipped = self._rank(self.first)
        self.dumped = self._rank(self.end) - self._skipped

    def _check_machine(self, version: int, block: int) -> None:
        machine = bytes(self.memory[_MACHINE_AT : _MACHINE_AT + _NAME_SIZE]).split(b"\0")[0]
        name = machine.decode("ascii", "replace")
        # QEMU before 9 leaves the name empty, and writes of x86-64 alone what fits here
        if name not in ("", "x86_64") and name.isprintable():
            raise ValueError(f"{self.path}: a kdump file of {name}; pgtable reads x86-64")
        swapped = int.from_bytes(block.to_bytes(4, "little", signed=True), "big")
        if version > 64 and swapped in (PAGE, 1 << 16):
            raise ValueError(f"{self.path}: a kdump file of a big-endian machine, not of x86-64")

    def _read_notes(self, version: int) -> bytes:
        if version < 4:
            return b""
        _, _, at, size = _NOTES.unpack_from(self.memory, PAGE + _NOTES_AT)
        return bytes(self.memory[at : at + min(size, _MAX_NOTES)])

    def vmcoreinfo(self) -> str:
        """Return the text of VMCOREINFO, for files whose notes do not have it."""
        (version,) = struct.unpack_from("<i", self.memory, _VERSION_AT)
        if version < 3:
            return ""
        at, size, _, _ = _NOTES.unpack_from(self.memory, PAGE + _NOTES_AT)
        return bytes(self.memory[at : at + min(size, _MAX_NOTES)]).decode("ascii", "replace")

    def _rank(self, pfn: int) -> int:
        """Count the dumped pages below one."""
        block = (pfn >> 3) // _RANK
        whole = int.from_bytes(self.bitmap[block * _RANK : pfn >> 3], "little").bit_count()
        rest = self.bitmap[pfn >> 3] & (1 << (pfn & 7)) - 1 if pfn & 7 else 0
        return int(self._before[block]) + whole + rest.bit_count()

    def holds(self, pfn: int) -> bool:
        """Tell whether a page is in this file."""
        return self.first <= pfn < self.end and bool(self.bitmap[pfn >> 3] >> (pfn & 7) & 1)

    def stored(self, pfn: int) -> tuple[memoryview, int]:
        """Return a page as it is stored, and how; ValueError where the file ends before it."""
        at = self.descriptors + (self._rank(pfn) - self._skipped) * _DESCRIPTOR.size
        if at + _DESCRIPTOR.size > len(self.memory):
            raise ValueError(f"{self.path}: cut short before the page at {pfn * PAGE:#x}")
        offset, size, flags, _ = _DESCRIPTOR.unpack_from(self.memory, at)
        if not 0 < size <= PAGE or offset < self.descriptors:
            raise ValueError(f"{self.path}: damaged: the page at {pfn * PAGE:#x} has {size} bytes")
        if offset + size > len(self.memory):
            raise ValueError(f"{self.path}: cut short before the page at {pfn * PAGE:#x}")
        return self.memory[offset : offset + size], flags

    def first_and_last(self) -> np.ndarray:
        """Return some descriptors of the beginning and the end: shape (n, 3), int64."""
        there = max(0, (len(self.memory) - self.descriptors) // _DESCRIPTOR.size)
        count = min(self.dumped, there)
        numbers = {*range(min(count, _LOOKED_AT)), *range(max(0, count - _LOOKED_AT), count)}
        rows = [
            _DESCRIPTOR.unpack_from(self.memory, self.descriptors + number * _DESCRIPTOR.size)[:3]
            for number in sorted(numbers)
        ]
        return np.array(rows, np.int64).reshape(-1, 3)

    def remarks(self) -> list[str]:
        """Return a note on what is missing of the file."""
        found = []
        if self.status & _INCOMPLETE:
            found.append(f"{self.path.name}: makedumpfile ran out of room: pages are missing")
        needed = self.descriptors + self.dumped * _DESCRIPTOR.size
        rows = self.first_and_last()
        if len(rows):
            needed = max(needed, int((rows[:, 0] + rows[:, 1]).max()))
        if needed > len(self.memory):
            found.append(
                f"{self.path.name}: the file is cut short: pages of its last"
                f" {needed - len(self.memory)} bytes are missing"
            )
        return found


_POPULATION = np.array([byte.bit_count() for byte in range(256)], np.uint8)


class KdumpImage(GatheringImage):
    """An image whose pages are decompressed when they are read."""

    def __init__(self, path: Path, parts: list[KdumpPart]):
        notes = next((part.notes for part in parts if part.notes), b"")
        remarks = [remark for part in parts for remark in part.remarks()]
        found = list(parse_notes(notes))
        if not any(name == "VMCOREINFO" for name, _ in found) and (text := parts[0].vmcoreinfo()):
            found.append(("VMCOREINFO", text.encode()))
        super().__init__(path, "kdump", found, remarks)
        self.kernel = kernel_notes(self.vmcoreinfo, parts[0].phys_base)
        self._parts: list[KdumpPart] | None = parts
        flags = [parts[0].status, *(part.first_and_last()[:, 2] for part in parts)]
        self._codecs = PageCodecs(path, int(np.bitwise_or.reduce(np.hstack(flags))))
        self._page = lru_cache(_KEPT)(self._decompressed)
        self.dump_level = parts[0].level

    def _opened(self) -> list[KdumpPart]:
        if self._parts is None:
            raise ValueError(f"{self.path}: the image was closed")
        return self._parts

    @property
    def ranges(self) -> np.ndarray:
        """Physical memory that the image holds: [start, end) a row, uint64, in order."""
        part = self._opened()[0]
        with all_there(self._files):
            return _ranges(part.bitmap, part.pages)

    @property
    def memory_map(self) -> np.ndarray | None:
        """Memory that the machine has, also what makedumpfile left out."""
        part = self._opened()[0]
        with all_there(self._files):
            return _ranges(part.memory_bitmap, part.pages)

    def _decompressed(self, pfn: int) -> bytes:
        with all_there(self._files):
            part = next((part for part in self._opened() if part.holds(pfn)), None)
            if part is None:
                raise AbsentError(f"physical address {pfn * PAGE:#x} is not in the image")
            return self._codecs.page(pfn * PAGE, *part.stored(pfn))

    def read(self, pa: int, n: int) -> bytes:
        """Return n bytes from a physical address; ValueError where they are not all there."""
        pa, n = operator.index(pa), operator.index(n)
        if pa < 0 or n < 0 or pa + n > PHYSICAL_END:
            raise ValueError(f"{n} bytes at {pa:#x} are no physical memory")
        first, end = pa // PAGE, -(-(pa + n) // PAGE)
        content = b"".join(self._page(pfn) for pfn in range(first, end))
        return content[pa - first * PAGE : pa - first * PAGE + n]

    def close(self) -> None:
        """Close the file.  Results of walks stay valid."""
        super().close()
        self._parts = None
        self._page.cache_clear()


def _ranges(bitmap: memoryview, pages: int) -> np.ndarray:
    bits = np.unpackbits(np.frombuffer(bitmap, np.uint8), count=pages, bitorder="little")
    edges = np.flatnonzero(np.diff(bits.astype(np.int8), prepend=0, append=0))
    return edges.astype(np.uint64).reshape(-1, 2) * np.uint64(PAGE)
