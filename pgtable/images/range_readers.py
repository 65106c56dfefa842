# SPDX-License-Identifier: GPL-2.0-only
"""Files that are read a range at a time: file objects, remote files, a running kernel's memory."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, BinaryIO

#: Bytes that are read at once where the parts of a header are asked for.
_BLOCK = 1 << 16


class RangeReader(ABC):
    """Reads ranges of a file; ``live``: its content may change between two reads."""

    live = False

    def __init__(self, size: int):
        self.size = size

    @abstractmethod
    def read(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of (offset, size) ranges, in one batch where that can be had.

        What lies beyond the end, or cannot be read, is missing from a result.
        """


class ObjectReader(RangeReader):
    """Reads a file object that can seek; ranges are read one after the other."""

    def __init__(self, file: BinaryIO):
        super().__init__(file.seek(0, os.SEEK_END))
        self._file = file
        self._lock = threading.Lock()

    def read(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each range."""
        found = []
        with self._lock:
            for offset, size in ranges:
                self._file.seek(offset)
                found.append(_all_of(self._file, size))
        return found


def _all_of(file: BinaryIO, size: int) -> bytes:
    """Read until all is there: an unbuffered file may give less at once."""
    parts = []
    while size and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


class RemoteReader(RangeReader):
    """Reads a file of an fsspec file system; a batch is one call, with requests at once."""

    def __init__(self, file_system: Any, path: str):
        size = file_system.info(path).get("size")
        if size is None:
            raise ValueError(f"{path}: its server does not say how long it is; fetch it")
        super().__init__(int(size))
        self._file_system = file_system
        self._path = path

    def read(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each range."""
        starts = [min(offset, self.size) for offset, _ in ranges]
        ends = [min(offset + size, self.size) for offset, size in ranges]
        return self._file_system.cat_ranges(
            [self._path] * len(ranges), starts, ends, on_error="raise"
        )


class KernelReader(RangeReader):
    """Reads a file that cannot be mapped, as /proc/kcore; pages without memory are missing."""

    live = True

    def __init__(self, file: BinaryIO):
        # the size that /proc/kcore tells is that of the address space, or none
        super().__init__((1 << 63) - 1)
        self._file = file

    def read(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each range."""
        return [self._one(offset, size) for offset, size in ranges]

    def _one(self, offset: int, size: int) -> bytes:
        parts = []
        while size:
            try:
                part = os.pread(self._file.fileno(), size, offset)
            except OSError:
                break
            if not part:
                break
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
        return b"".join(parts)


class Window:
    """A file that is read a range at a time, sliced as if it lay in memory."""

    def __init__(self, reader: RangeReader):
        self.reader = reader
        self._blocks: dict[int, bytes] = {}

    def __len__(self) -> int:
        return self.reader.size

    def __getitem__(self, part: slice) -> bytes:
        start, end, _ = part.indices(self.reader.size)
        if end - start > 4 * _BLOCK:
            return self.reader.read([(start, end - start)])[0]
        first, last = start // _BLOCK, max(start, end - 1) // _BLOCK
        wanted = [at for at in range(first, last + 1) if at not in self._blocks]
        sizes = [(at * _BLOCK, min(_BLOCK, self.reader.size - at * _BLOCK)) for at in wanted]
        if sizes:
            self._blocks |= dict(zip(wanted, self.reader.read(sizes), strict=True))
        joined = b"".join(self._blocks[at] for at in range(first, last + 1))
        return joined[start - first * _BLOCK : end - first * _BLOCK]
