# SPDX-License-Identifier: GPL-2.0-only
"""Files of entries: streamed in, transformed, streamed out, replaced only when complete.

A file is raw little-endian 64-bit entries or a NumPy ``.npy``; for reading,
either may be compressed with xz.  Memory stays bounded whatever the size.
"""

from __future__ import annotations

import contextlib
import io
import lzma
import mmap
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .engines import buffers

#: Bytes read, computed and written at a time.  They stay in the second-level cache on their
#: way from the page cache and back; threads with larger buffers of their own took twice as long.
CHUNK = 1 << 18
#: Bytes written until the system is asked to bring them to disk, while more are computed.
WRITE_BACK = 1 << 23

_NPY_MAGIC = b"\x93NUMPY"
_XZ_MAGIC = b"\xfd7zXZ\x00"


class EntryFile:
    """An open file of entries, read from start to end.

    ``entries`` is how many it holds (None where only the end of a compressed
    file will tell); ``header`` the ``.npy`` header to repeat for a file alike.
    """

    def __init__(self, path: Path, file: BinaryIO):
        self.path = path
        self.file = file
        self.entries: int | None = None
        self.header = b""

    def read_into(self, buffer: np.ndarray) -> int:
        """Fill a uint64 array from the file; return how many entries there were.

        Raises ValueError where the file ends within an entry.
        """
        view = buffer.data.cast("B")
        filled = 0
        while filled < len(view):
            got = self.file.readinto(view[filled:])  # type: ignore[attr-defined]
            if not got:
                break
            filled += got
        if filled % 8:
            raise ValueError(_torn(self.path, f"ends {filled % 8} bytes into an entry"))
        return filled // 8

    def chunks(self) -> Iterator[np.ndarray]:
        """Yield the entries, piece by piece, in one array that is reused."""
        # a page, not 16 bytes into one as NumPy has it: there processors copy a fifth as fast
        buffer = np.frombuffer(mmap.mmap(-1, CHUNK), buffers.ENTRY)
        while n := self.read_into(buffer):
            yield buffer[:n]


@contextlib.contextmanager
def open_entries(path: str | os.PathLike[str]) -> Iterator[EntryFile]:
    """Open a file of entries for reading; "-" is standard input.

    Raises OSError where it cannot be read, ValueError where it is no whole
    number of entries or a ``.npy`` of something else.
    """
    path = Path("/dev/stdin" if path == "-" else path)
    with contextlib.ExitStack() as stack:
        file: BinaryIO = stack.enter_context(path.open("rb", buffering=0))
        size: int | None = None
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            size = os.fstat(file.fileno()).st_size
        if _peek(file, size, len(_XZ_MAGIC)) == _XZ_MAGIC:
            file = stack.enter_context(_Decompressed(path, file))  # type: ignore[assignment]
            size = None
        source = EntryFile(path, file)
        if _peek(file, size, len(_NPY_MAGIC)) == _NPY_MAGIC:
            _read_npy_header(source)
            size = None if size is None else size - file.tell()
        elif size is not None and size % 8:
            raise ValueError(_torn(path, f"is {size} bytes long"))
        if size is not None and source.entries is None:
            source.entries = size // 8
        if size is not None and size != 8 * (source.entries or 0):
            raise ValueError(
                f"{path}: holds {size} bytes of entries, its header says"
                f" {8 * (source.entries or 0)}; the file is damaged"
            )
        yield source


class _Decompressed(io.RawIOBase):
    """An xz file as a stream; damage is a ValueError that names the file."""

    def __init__(self, path: Path, file: BinaryIO):
        self._path = path
        self._stream = lzma.open(file)  # noqa: SIM115 - closed with the file

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            return self._stream.readinto(buffer)
        except (lzma.LZMAError, EOFError) as error:
            raise ValueError(f"{self._path}: damaged xz file ({error})") from None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)


def _peek(file: BinaryIO, size: int | None, n: int) -> bytes:
    """Return the first n bytes; nothing for a pipe, which cannot go back."""
    if size is None and not isinstance(file, _Decompressed):
        return b""
    start = file.read(n) or b""
    file.seek(0)
    return start


def _read_npy_header(source: EntryFile) -> None:
    file = source.file
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(file)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{source.path}: damaged .npy header ({error})") from None
    if dtype.kind not in "ui" or dtype.itemsize != 8 or dtype.newbyteorder("<") != dtype:
        raise ValueError(
            f"{source.path}: is an .npy of {dtype.str}; entries are '<u8', convert it with .astype"
        )
    source.entries = int(np.prod(shape, dtype=object))
    source.header = npy_header(shape, fortran_order)


def npy_header(shape: tuple[int, ...], fortran_order: bool = False) -> bytes:
    """Return the header of an ``.npy`` of entries."""
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        out, {"descr": "<u8", "fortran_order": fortran_order, "shape": shape}
    )
    return out.getvalue()


def _torn(path: Path, what: str) -> str:
    return f"{path}: {what}, not a whole number of 8-byte entries; truncated, or no dump of entries"


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of ``path`` when, and only when, complete.

    It is written beside the target, synced to disk and renamed; after any error
    the target is what it was and nothing else is left.  A target that is no
    regular file (a device, a pipe) is written to directly.
    """
    target = Path(os.path.realpath(path))
    mode = _mode_of(target)
    if mode is not None and not stat.S_ISREG(mode):
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(21, "is a directory; name a file", str(path))
        with target.open("wb", buffering=0) as file:
            try:
                yield file
            except OSError as error:
                error.filename = error.filename or str(path)
                raise
        return
    if mode is not None and not os.access(target, os.W_OK):
        raise PermissionError(13, "is write-protected", str(path))
    handle, name = _temporary_beside(target, path)
    try:
        with os.fdopen(handle, "wb", buffering=0) as file:
            os.fchmod(handle, stat.S_IMODE(mode) if mode is not None else 0o666 & ~_umask())
            yield file
            os.fsync(handle)
        os.replace(name, target)
        _sync_directory(target.parent)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a full disk: the write knew no name
        raise


def _mode_of(target: Path) -> int | None:
    try:
        return target.stat().st_mode
    except FileNotFoundError:
        return None


def _temporary_beside(target: Path, asked: str | os.PathLike[str]) -> tuple[int, str]:
    try:
        return tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    except OSError as error:
        raise OSError(error.errno, f"cannot be written: {error.strerror}", str(asked)) from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_directory(directory: Path) -> None:
    """Make a rename durable; not every file system can."""
    with contextlib.suppress(OSError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def transform(
    source: EntryFile,
    sink: BinaryIO,
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


def _start_write_back(sink: BinaryIO, start: int, nbytes: int) -> None:
    """Let the disk begin now, so that syncing at the end finds little left to do."""
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):  # a pipe has nothing to write back
            os.posix_fadvise(sink.fileno(), start, nbytes, os.POSIX_FADV_DONTNEED)


def _write_all(sink: BinaryIO, chunk: np.ndarray) -> None:
    view = chunk.data.cast("B")
    while view:
        view = view[sink.write(view) :]
