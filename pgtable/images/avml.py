# SPDX-License-Identifier: GPL-2.0-only
"""AVML dumps, version 2: ranges of memory as snappy frames, each behind a header as LiME's.

Sources: AVML's src/image.rs; snappy's framing_format.txt.
"""

from __future__ import annotations

import bisect
import itertools
import operator
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .image import GatheringImage
from .lime import HEADER, read_range
from .mapped import all_there
from .segments import PAGE, PHYSICAL_END, AbsentError

MAGIC = b"AVML"
_VERSION = 2
#: After the frames of a range: how many bytes they took.
_FOOTER = 8
_STREAM_START = b"\xff\x06\0\0sNaPpY"
_COMPRESSED, _STORED = 0x00, 0x01
#: Chunks of these types may be skipped; the stream identifier and padding are among them.
_SKIPPABLE = 0x80
#: The data of a chunk comes after a checksum.
_CHECKSUM = 4
_MAX_CHUNK = 1 << 16
#: How many decompressed chunks are kept: 16 MiB.
_KEPT = 256


class _Chunk(NamedTuple):
    pa: int
    size: int
    at: int
    length: int


def open_avml(path: Path, memory: memoryview) -> AvmlImage:
    """Return the image in an AVML dump.  Pages are decompressed when they are read.

    Raises ValueError for another version, for damage, and without the extra "snappy".
    """
    chunks, remarks = _index(path, memory)
    if not chunks:
        raise ValueError(f"{path}: cut short: an AVML dump without any memory in it")
    try:
        import cramjam  # noqa: PLC0415 - an extra
    except ImportError:
        raise ValueError(
            f"{path}: AVML needs the package cramjam: pip install 'pgtable[snappy]',"
            f" or convert it: avml-convert {path.name} OUT.lime"
        ) from None
    return AvmlImage(path, memory, chunks, remarks, cramjam.snappy.decompress)


def _index(path: Path, memory: memoryview) -> tuple[list[_Chunk], list[str]]:
    """Return where the memory of each chunk is, without decompressing it."""
    chunks: list[_Chunk] = []
    at = number = 0
    while at < len(memory):
        if len(memory) - at < HEADER.size:
            return chunks, [f"the file is cut short within the header of range {number}"]
        start, size = read_range(path, memory, at, MAGIC, _VERSION, number)
        pa, end = start, start + size
        at += HEADER.size
        while pa < end:
            chunk = _chunk_at(path, memory, at, pa, end)
            if chunk is None:
                missing = f"{end - pa} bytes of the range from {start:#x} are missing"
                return chunks, [f"the file is cut short: {missing}"]
            if chunk.size:
                chunks.append(chunk)
            at = chunk.at + chunk.length
            pa += chunk.size
        at += _FOOTER
        number += 1
    return chunks, []


def _chunk_at(path: Path, memory: memoryview, at: int, pa: int, end: int) -> _Chunk | None:
    """Return a chunk (of no size where it holds no data); None where the file ends in it."""
    length = 4 + int.from_bytes(memory[at + 1 : at + 4], "little")
    if at + length > len(memory) or length < 4:
        return None
    kind = memory[at]
    if kind == _COMPRESSED:
        size = _varint(memory[at + 4 + _CHECKSUM : at + length])
    elif kind == _STORED:
        size = length - 4 - _CHECKSUM
    elif kind >= _SKIPPABLE:
        return _Chunk(pa, 0, at, length)
    else:
        raise ValueError(f"{path}: damaged: a snappy chunk of type {kind:#x} at offset {at:#x}")
    if not 0 < size <= min(_MAX_CHUNK, end - pa):
        raise ValueError(f"{path}: damaged: a snappy chunk of {size} bytes at offset {at:#x}")
    return _Chunk(pa, size, at, length)


def _varint(data: memoryview) -> int:
    value = 0
    for i, byte in enumerate(data[:5]):
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return value
    return 0


class AvmlImage(GatheringImage):
    """Pages are decompressed when they are asked for."""

    def __init__(
        self,
        path: Path,
        memory: memoryview,
        chunks: list[_Chunk],
        remarks: list[str],
        decompress: Callable[[bytes], Any],
    ):
        super().__init__(path, "avml", [], remarks)
        chunks.sort()
        overlaps = sum(a.pa + a.size > b.pa for a, b in itertools.pairwise(chunks))
        if overlaps:
            raise ValueError(f"{path}: damaged: {overlaps} of its ranges overlap")
        self._chunks = chunks
        self._starts = [chunk.pa for chunk in chunks]
        self._memory: memoryview | None = memory
        self._decompress = decompress
        self._content = lru_cache(_KEPT)(self._decompressed)

    def _decompressed(self, number: int) -> bytes:
        if self._memory is None:
            raise ValueError(f"{self.path}: the image was closed")
        chunk = self._chunks[number]
        with all_there(self._files):
            frame = bytes(self._memory[chunk.at : chunk.at + chunk.length])
        try:
            content = bytes(self._decompress(_STREAM_START + frame))
        except Exception as error:
            raise ValueError(
                f"{self.path}: damaged: the memory at {chunk.pa:#x} cannot be decompressed"
                f" ({error})"
            ) from None
        if len(content) != chunk.size:
            raise ValueError(f"{self.path}: damaged: the memory at {chunk.pa:#x} has another size")
        return content

    @property
    def ranges(self) -> np.ndarray:
        """Physical memory that the image holds: [start, end) a row, uint64, in order."""
        start = np.array(self._starts, np.uint64)
        end = start + np.array([chunk.size for chunk in self._chunks], np.uint64)
        apart = start[1:] != end[:-1]
        first = np.concatenate(([True], apart))
        last = np.concatenate((apart, [True]))
        return np.stack([start[first], end[last]], axis=1)

    def read(self, pa: int, n: int) -> bytes:
        """Return n bytes from a physical address; ValueError where they are not all there."""
        pa, n = operator.index(pa), operator.index(n)
        if pa < 0 or n < 0 or pa + n > PHYSICAL_END:
            raise ValueError(f"{n} bytes at {pa:#x} are no physical memory")
        parts = []
        while n:
            number = bisect.bisect_right(self._starts, pa) - 1
            chunk = self._chunks[number]
            within = pa - chunk.pa
            if number < 0 or within >= chunk.size:
                raise AbsentError(f"physical address {pa & -PAGE:#x} is not in the image")
            part = self._content(number)[within : within + n]
            parts.append(part)
            pa += len(part)
            n -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Close the file.  Results of walks stay valid."""
        super().close()
        self._memory = None
        self._content.cache_clear()
