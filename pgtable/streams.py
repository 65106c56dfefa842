# SPDX-License-Identifier: GPL-2.0-only
"""Files as streams of bytes: opened once, read from start to end, decompressed on their way.

A pipe gives each byte once, so the first bytes are kept to find out what a file is.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .containers import COMPRESSED, HEAD, Container, recognise
from .unpacking import Unpacked

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

STDIN = "standard input"


class Stream(io.RawIOBase):
    """A file that is read once.

    ``name`` is for messages; ``head`` its first bytes, decompressed; ``container`` what they
    say it is (None: nothing that is known); ``packed`` the compression it had, or ""; ``size``
    how many bytes it holds (None where only the end will tell); ``regular`` whether it can be
    opened once more by its path.
    """

    def __init__(self, name: str, file: io.RawIOBase):
        self.name = name
        self._file = file
        self._status = os.fstat(file.fileno())
        # files of /proc always have a size of 0
        self._watched = stat.S_ISREG(self._status.st_mode) and self._status.st_size > 0
        self.regular = stat.S_ISREG(self._status.st_mode)
        self.packed = ""
        self.size: int | None = None
        if self._watched:
            with contextlib.suppress(OSError):
                self.size = max(self._status.st_size - file.seek(0, os.SEEK_CUR), 0)
        self._source: io.RawIOBase = file
        self._pushed = b""
        self._look()

    def _look(self) -> None:
        """Find out what the file is and, if it is compressed, what is in it."""
        self.head = self._peek(HEAD)
        self.container = recognise(self.head)
        if self.container is not None and self.container.group == COMPRESSED:
            self._unpack(self.container.name)
            self.head = self._peek(HEAD)
            self.container = recognise(self.head)

    def _unpack(self, kind: str) -> None:
        packed = _Rest(self._source, self._pushed)
        self._source, self._pushed = Unpacked(self.name, kind, packed), b""
        self.packed, self.size = kind, None

    def _peek(self, n: int) -> bytes:
        """Return the first bytes; reading gives them again."""
        if self.size is not None:
            # from the start of a page: elsewhere copying is five times slower
            at = self._file.seek(0, os.SEEK_CUR)
            head = read_fully(self._source, n)
            self._file.seek(at)
            return head
        self._pushed = read_fully(self._source, n)
        return self._pushed

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill the buffer as far as one read does; return 0 at the end."""
        view = memoryview(buffer).cast("B")
        if self._pushed:
            n = min(len(view), len(self._pushed))
            view[:n] = self._pushed[:n]
            self._pushed = self._pushed[n:]
            return n
        return read_some(self._source, view)

    def check_unchanged(self) -> None:
        """Raise ValueError where somebody wrote to the file since it was opened."""
        if not self._watched:
            return
        now = os.fstat(self._file.fileno())
        if now.st_size != self._status.st_size:
            raise ValueError(
                f"{self.name}: was {self._status.st_size} bytes long when it was opened, and is"
                f" {now.st_size} now; wait until it is written"
            )
        if now.st_mtime_ns != self._status.st_mtime_ns:
            raise ValueError(
                f"{self.name}: was written to while it was read; wait until it is written"
            )

    def refuse(self, accepted: tuple[str, ...] = ()) -> None:
        """Raise ValueError where the file is a container with none of these names."""
        if self.container is not None and self.container.name not in accepted:
            raise ValueError(refusal(self.container, self.name, self.packed))


class _Rest(io.RawIOBase):
    """First the bytes that were read ahead, then the rest."""

    def __init__(self, file: io.RawIOBase, pushed: bytes):
        self._file, self._pushed = file, pushed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        if not self._pushed:
            return read_some(self._file, view)
        n = min(len(view), len(self._pushed))
        view[:n], self._pushed = self._pushed[:n], self._pushed[n:]
        return n


def refusal(container: Container, name: str, packed: str) -> str:
    """Return the message for a container that is not read, with its compression."""
    inside = f"has {container.what} in it" if packed else f"is {container.what}"
    return f"{name}: {inside}; {container.mend}"


def read_some(file: io.RawIOBase, view: memoryview) -> int:
    """Read once.  If the descriptor does not block, wait until it is ready."""
    while (got := file.readinto(view)) is None:
        select.select([file], [], [])
    return got


def read_fully(file: io.RawIOBase, n: int) -> bytes:
    """Return n bytes, or all that there are."""
    content = bytearray(n)
    view, filled = memoryview(content), 0
    while filled < n and (got := read_some(file, view[filled:])):
        filled += got
    view.release()
    return bytes(content[:filled])


def inherited(path: str | os.PathLike[str]) -> int | None:
    """Return the descriptor that a path such as /dev/stdout or /dev/fd/3 is another name of."""
    current = os.path.abspath(path)
    own = (os.path.realpath("/proc/self/fd"), os.path.realpath("/proc/thread-self/fd"))
    for _ in range(40):  # as many links as Linux follows
        place, name = os.path.split(current)
        if name.isdecimal() and os.path.realpath(place) in own:
            return int(name)
        try:
            current = os.path.join(place, os.readlink(current))
        except OSError:
            return None
    return None


def is_stdin(path: str | os.PathLike[str]) -> bool:
    """Tell whether a path names standard input."""
    return path == "-" or inherited(path) == 0


@contextlib.contextmanager
def open_stream(path: str | os.PathLike[str]) -> Iterator[Stream]:
    """Open a file for one reading from start to end; "-" is standard input.

    gzip, bzip2, xz, lzma and (with the extra "zstd") zstd are decompressed.

    Raises OSError where it cannot be read, ValueError where what it is compressed with
    cannot be read or is damaged at its start.
    """
    name = STDIN if path == "-" else str(path)
    with _open(path) as file:
        try:
            with Stream(name, file) as stream:
                yield stream
        except OSError as error:
            if error.errno == errno.EBADF and path == "-":
                raise ValueError(f"{name}: is closed; give a file or a pipe") from None
            if error.filename is None and error.errno in (errno.EIO, errno.EISDIR, errno.ESTALE):
                error.filename = name
            raise


def _open(path: str | os.PathLike[str]) -> io.FileIO:
    if path == "-":
        return _duplicate(0, STDIN)
    try:
        return io.FileIO(path, "rb")
    except OSError as error:
        number = inherited(path)
        if error.errno != errno.ENXIO or number is None:  # a socket has no path to open
            raise
        return _duplicate(number, str(path))


def _duplicate(number: int, name: str) -> io.FileIO:
    try:
        return io.FileIO(os.dup(number), "rb")
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
        raise ValueError(f"{name}: is closed; give a file or a pipe") from None
