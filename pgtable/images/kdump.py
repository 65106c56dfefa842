# SPDX-License-Identifier: GPL-2.0-only
"""kdump-compressed files: pages through drgn (its wheels have libkdumpfile), notes by ourselves."""

from __future__ import annotations

import operator
import struct
from pathlib import Path
from typing import Any

import numpy as np

from .image import GatheringImage, Image
from .registers import parse_notes
from .segments import PAGE, PHYSICAL_END

_MAGIC = b"KDUMP   "
#: As makedumpfile -F and older QEMU write it: to be rearranged before use.
_FLATTENED = b"makedumpfile\0"
MAGICS = (_MAGIC, _FLATTENED)

#: ``struct disk_dump_header``: block_size, sub_hdr_size, bitmap_blocks, max_mapnr
_HEADER = struct.Struct("<iiII")
_HEADER_AT = 428
#: ``struct kdump_sub_header``: where and how long the notes are; the 64-bit max_mapnr
_NOTES = struct.Struct("<QQ")
_NOTES_AT = 48
_MAX_MAPNR_64_AT = 96
_VERSION_AT = 8
_MAX_NOTES = 1 << 26


def open_kdump(path: Path, memory: memoryview) -> Image:
    """Return the image in a kdump-compressed file.

    Raises ValueError for a damaged file, and where drgn is missing or refuses it.
    """
    if memory[: len(_FLATTENED)] == _FLATTENED:
        raise ValueError(
            f"{path}: a flattened kdump file; rearrange it first: makedumpfile -R NEW < {path.name}"
        )
    try:
        import drgn  # noqa: PLC0415 - an extra
    except ImportError:
        raise ValueError(
            f"{path}: kdump files need the package drgn: pip install 'pgtable[kdump]'"
        ) from None
    header = _Header(path, memory)
    program = drgn.Program()
    try:
        program.set_core_dump(path)
    except Exception as error:
        raise ValueError(f"{path}: drgn cannot open it ({error})") from None
    return KdumpImage(path, header, program, (drgn.FaultError, ValueError, OSError, MemoryError))


class _Header:
    """What the header of a kdump file says, checked against the size of the file."""

    def __init__(self, path: Path, memory: memoryview):
        if len(memory) < 2 * PAGE:
            raise ValueError(f"{path}: cut short within its kdump header")
        (version,) = struct.unpack_from("<i", memory, _VERSION_AT)
        block, sub_blocks, bitmap_blocks, pages = _HEADER.unpack_from(memory, _HEADER_AT)
        if block != PAGE or sub_blocks < 1 or not 1 <= version <= 64:
            raise ValueError(f"{path}: damaged, or no kdump file of x86-64 (blocks of {block})")
        notes, size = _NOTES.unpack_from(memory, block + _NOTES_AT) if version >= 4 else (0, 0)
        if version >= 6:
            (pages,) = struct.unpack_from("<Q", memory, block + _MAX_MAPNR_64_AT)
        # two bitmaps: pages that are memory, and pages that are in the file
        half = bitmap_blocks // 2 * block
        dumped = (1 + sub_blocks) * block + half
        if dumped + half > len(memory) or pages > 8 * half:
            raise ValueError(f"{path}: cut short within its bitmap of {pages} pages")
        self.pages = pages
        self.bitmap = memory[dumped : dumped + half]
        self.notes = bytes(memory[notes : notes + min(size, _MAX_NOTES)])


class KdumpImage(GatheringImage):
    """Pages are decompressed when they are asked for."""

    def __init__(
        self, path: Path, header: _Header, program: Any, faults: tuple[type[BaseException], ...]
    ):
        super().__init__(path, "kdump", list(parse_notes(header.notes)), [])
        self._header: _Header | None = header
        self._program = program
        self._faults = faults

    def _opened(self) -> _Header:
        if self._header is None:
            raise ValueError(f"{self.path}: the image was closed")
        return self._header

    @property
    def ranges(self) -> np.ndarray:
        """Physical memory that the image holds: [start, end) a row, uint64, in order."""
        header = self._opened()
        bits = np.unpackbits(
            np.frombuffer(header.bitmap, np.uint8), count=header.pages, bitorder="little"
        )
        edges = np.flatnonzero(np.diff(bits.astype(np.int8), prepend=0, append=0))
        return edges.astype(np.uint64).reshape(-1, 2) * np.uint64(PAGE)

    def _dumped(self, pfn: int) -> bool:
        header = self._opened()
        return pfn < header.pages and bool(header.bitmap[pfn >> 3] >> (pfn & 7) & 1)

    def read(self, pa: int, n: int) -> bytes:
        """Return n bytes from a physical address; ValueError where they are not all there."""
        pa, n = operator.index(pa), operator.index(n)
        if pa < 0 or n < 0 or pa + n > PHYSICAL_END:
            raise ValueError(f"{n} bytes at {pa:#x} are no physical memory")
        # drgn gives zeros for pages that were left out of the dump
        for pfn in range(pa // PAGE, -(-(pa + n) // PAGE)):
            if not self._dumped(pfn):
                raise ValueError(f"physical address {pfn * PAGE:#x} is not in the image")
        try:
            return self._program.read(pa, n, True)
        except self._faults as error:
            raise ValueError(
                f"{self.path}: {n} bytes at {pa:#x} cannot be read ({error})"
            ) from None

    def close(self) -> None:
        """Let go of the file; results of walks stay."""
        self._header = None
        self._program = None
