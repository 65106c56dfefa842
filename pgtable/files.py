# SPDX-License-Identifier: GPL-2.0-only
"""Files of entries: read as streams, transformed, written as streams, replaced only when complete.

A file is raw little-endian 64-bit entries or a NumPy ``.npy``; for reading,
either may be compressed.  Memory stays bounded whatever the size.
"""

from __future__ import annotations

import contextlib
import io
import mmap
import os
from collections.abc import Callable, Iterator

import numpy as np

from .engines import buffers
from .npy import MAGIC, NpyHeader, npy_header, read_npy_header
from .replacing import Sink, replacing
from .streams import Stream, open_stream, read_some

__all__ = [
    "CHUNK",
    "EntryFile",
    "entries_of",
    "npy_header",
    "open_entries",
    "replacing",
    "transform",
]

#: How many bytes are read, computed and written at a time.  They stay in the second-level cache
#: meanwhile.  Threads with larger buffers took twice as long.
CHUNK = 1 << 18
#: After so many bytes the system is asked to write them to disk, while more are computed.
WRITE_BACK = 1 << 23


class EntryFile:
    """An open file of entries, read from start to end.

    ``entries`` is how many it holds (None where only the end of a pipe or a compressed
    file will tell); ``npy`` what the header of an ``.npy`` says, else None; ``packed`` the
    compression that it had, or "".
    """

    def __init__(self, stream: Stream):
        self.stream = stream
        self.path = stream.name
        self.packed = stream.packed
        self.npy: NpyHeader | None = None
        self.entries: int | None = None

    @property
    def header(self) -> bytes:
        """The ``.npy`` header for a file with the same shape; empty if this is no ``.npy``."""
        return npy_header(*self.npy) if self.npy is not None else b""

    def read_into(self, buffer: np.ndarray) -> int:
        """Fill a uint64 array from the file; return how many entries there were.

        Raises ValueError where the file ends within an entry.
        """
        view = buffer.data.cast("B")
        filled = 0
        while filled < len(view):
            got = read_some(self.stream, view[filled:])
            if not got:
                break
            filled += got
        if filled % 8:
            raise ValueError(_torn(self.path, f"ends {filled % 8} bytes into an entry"))
        return filled // 8

    def chunks(self) -> Iterator[np.ndarray]:
        """Yield the entries, piece by piece, in one array that is reused.

        Raises ValueError, at the latest at the end, where there are not as many as the file
        said when it was opened, or where somebody wrote to it meanwhile.
        """
        # from the start of a page: 16 bytes into it, where NumPy begins, copying is five times
        # slower
        buffer = np.frombuffer(mmap.mmap(-1, CHUNK), buffers.ENTRY)
        total = 0
        while n := self.read_into(buffer):
            total += n
            if self.entries is not None and total > self.entries:
                self._say_how_many(f"more than {8 * self.entries}")
            yield buffer[:n]
        if self.entries is not None and total < self.entries:
            self._say_how_many(f"{8 * total}")
        self.stream.check_unchanged()

    def _say_how_many(self, held: str) -> None:
        self.stream.check_unchanged()
        said = f"its header says {8 * (self.entries or 0)}; the file is damaged"
        if self.npy is None:
            said = f"{8 * (self.entries or 0)} were there when it was opened"
        raise ValueError(f"{self.path}: holds {held} bytes of entries, {said}")


@contextlib.contextmanager
def open_entries(path: str | os.PathLike[str], raw: bool = False) -> Iterator[EntryFile]:
    """Open a file of entries for reading; "-" is standard input.

    raw: take it for raw entries, whatever it begins with.

    Raises OSError where it cannot be read, ValueError where it is no whole
    number of entries, a ``.npy`` of something else, or a file of another kind.
    """
    with open_stream(path) as stream:
        yield entries_of(stream, raw)


def entries_of(stream: Stream, raw: bool = False) -> EntryFile:
    """Return a stream as a file of entries.  Errors are those of :func:`open_entries`."""
    source = EntryFile(stream)
    size = stream.size
    if stream.head.startswith(MAGIC):
        at = _Counted(stream)
        source.npy = read_npy_header(at, stream.name)
        source.entries = source.npy.entries
        size = None if size is None else size - at.total
    elif not raw:
        _refuse_others(stream)
    if source.npy is None and size is not None:
        if size % 8:
            raise ValueError(_torn(stream.name, f"is {size} bytes long"))
        source.entries = size // 8
    if size is not None and size != 8 * (source.entries or 0):
        raise ValueError(
            f"{stream.name}: holds {size} bytes of entries, its header says"
            f" {8 * (source.entries or 0)}; the file is damaged"
        )
    return source


def _refuse_others(stream: Stream) -> None:
    """Raise ValueError for a file that is known to hold no entries."""
    try:
        stream.refuse()
    except ValueError as error:
        raise ValueError(f"{error} (if it does hold raw entries: --raw)") from None


class _Counted(io.RawIOBase):
    """Counts the bytes that are read from another file."""

    def __init__(self, file: io.RawIOBase):
        self._file, self.total = file, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        got = read_some(self._file, memoryview(buffer))
        self.total += got
        return got


def _torn(path: str, what: str) -> str:
    return f"{path}: {what}, not a whole number of 8-byte entries; truncated, or no dump of entries"


def transform(
    source: EntryFile,
    sink: Sink,
    work: Callable[[np.ndarray], None],
    progress: Callable[[int], object] = lambda n: None,
) -> int:
    """Run ``work`` in place over every entry on its way from source to sink.

    ``progress`` is told the bytes done since it was last told.  Returns how many
    entries there were.
    """
    total = 0
    pending = 0
    for chunk in source.chunks():
        work(chunk)
        _write_all(sink, chunk)
        total += chunk.size
        pending += chunk.nbytes
        if pending >= WRITE_BACK:
            _start_write_back(sink, total * 8 - pending, pending)
            pending = 0
        progress(chunk.nbytes)
    return total


def _start_write_back(sink: Sink, start: int, nbytes: int) -> None:
    """Let the disk begin now, so that syncing at the end has little left to do."""
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):  # a pipe has nothing to write back
            os.posix_fadvise(sink.fileno(), start, nbytes, os.POSIX_FADV_DONTNEED)


def _write_all(sink: Sink, chunk: np.ndarray) -> None:
    sink.write(chunk.data)
