# SPDX-License-Identifier: GPL-2.0-only
"""Writes files.  A file is replaced only when complete; pipes and devices are written in order.

A file is written without a name, synced to disk, named and renamed.  If the file system has no
unnamed files, it gets a temporary name and a lock.  A file that a killed process left is known by
its lock, which no process holds any more.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import secrets
import select
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .streams import inherited

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STDOUT = "standard output"
#: Ends of temporary names, and how much of the target's own name they have.
_SUFFIX = ".pgtable-tmp"
_KEPT_BYTES = 150
#: Attributes that give a program rights.  They are never copied to other content.
_CAPABILITY = "security.capability"


class ReaderGoneError(OSError):
    """The reader of a pipe has closed it."""


class Sink(io.RawIOBase):
    """A file that is written: every write in full, errors with its name.

    ``notes`` says what of the replaced file could not be kept; ``seekable()`` tells whether
    what was written may be written again.
    """

    def __init__(self, name: str, descriptor: int, *, replaces: bool = False):
        self.name = name
        self.notes: list[str] = []
        self._descriptor = descriptor
        self._replaces = replaces

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def writable(self) -> bool:
        """Tell that it can be written."""
        return True

    def seekable(self) -> bool:
        """Tell whether seeking is possible: only in a file that will replace another."""
        return self._replaces

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        if not self._replaces:
            raise io.UnsupportedOperation("seek")
        return os.lseek(self._descriptor, offset, whence)

    def tell(self) -> int:
        """Return the place."""
        return os.lseek(self._descriptor, 0, os.SEEK_CUR)

    def write(self, data: ReadableBuffer) -> int:
        """Write all of it."""
        view = memoryview(data).cast("B")
        total = len(view)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:
                select.select([], [self._descriptor], [])
            except BrokenPipeError:
                raise ReaderGoneError(
                    errno.EPIPE, "its reader went away before everything was written", self.name
                ) from None
            except OSError as error:
                error.filename = error.filename or self.name
                raise
        return total

    def close(self) -> None:
        """Close the descriptor.  Some errors of the disk are reported only now."""
        if not self.closed:
            super().close()
            try:
                os.close(self._descriptor)
            except OSError as error:
                error.filename = error.filename or self.name
                raise


def is_stdout(path: str | os.PathLike[str]) -> bool:
    """Tell whether what is written to a path goes to standard output."""
    return path == "-" or inherited(path) == 1


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Sink]:
    """Open a new file that takes the place of ``path`` when, and only when, complete.

    It is written beside the target, synced to disk and renamed; after any error
    the target is what it was and nothing else is left.  Mode, owner, ACLs and extended
    attributes are kept where the process may; set-id bits and capabilities are not.  What
    could not be kept stands in the sink's ``notes`` once it is complete.  A symbolic
    link is followed.

    "-" and /dev/stdout are standard output as it is, wherever it goes.  It, and a target that
    is no regular file (a device, a pipe), is written to directly, in order and in full.

    Raises OSError that names the path; ReaderGoneError (one too) where a pipe lost its reader.
    """
    number = 1 if path == "-" else inherited(path)
    if number is not None:
        with _inherited_sink(path, number) as sink:
            yield sink
        return
    target = Path(os.path.realpath(path))
    before = _status_of(target)
    if before is not None and stat.S_ISDIR(before.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory; name a file", str(path))
    if before is not None and not stat.S_ISREG(before.st_mode):
        with Sink(str(path), os.open(target, os.O_WRONLY | os.O_CLOEXEC)) as sink:
            yield sink
        return
    if before is not None and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "is write-protected", str(path))
    with _Replacement(target, before, str(path)) as replacement:
        yield replacement.sink
        replacement.complete()


@contextlib.contextmanager
def _inherited_sink(path: str | os.PathLike[str], number: int) -> Iterator[Sink]:
    name = STDOUT if number == 1 else str(path)
    try:
        descriptor = os.dup(number)
    except OSError as error:
        raise OSError(error.errno, "is closed; nothing can be written to it", name) from None
    with Sink(name, descriptor) as sink:
        yield sink


class _Replacement:
    """A file that will replace another one."""

    def __init__(self, target: Path, before: os.stat_result | None, asked: str):
        self._target, self._before, self._asked = target, before, asked
        #: its name while it has one, relative to the directory
        self._name: str | None = None
        self._directory = -1

    def __enter__(self) -> _Replacement:
        try:
            self._directory = os.open(self._target.parent, os.O_RDONLY | os.O_DIRECTORY)
            self._remove_abandoned()
            self.sink = Sink(self._asked, self._create(), replaces=True)
        except OSError as error:
            self._close_directory()
            raise OSError(
                error.errno, f"cannot be written beside it: {error.strerror}", self._asked
            ) from None
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self._remove()
            self.sink.close()
        finally:
            self._close_directory()
        if isinstance(error, OSError) and error.filename is None:
            error.filename = self._asked  # a full disk: the error has no file name

    def _close_directory(self) -> None:
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    def _create(self) -> int:
        """Open a file without a name, or one with a lock.  No other user may read it."""
        # a new file gets the mode that the umask and the directory's ACL give
        mode = 0o666 if self._before is None else 0o600
        flags = os.O_WRONLY | os.O_CLOEXEC
        try:
            descriptor = os.open(".", flags | os.O_TMPFILE, mode, dir_fd=self._directory)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL):
                raise
        else:
            _lock(descriptor)
            return descriptor
        while True:
            self._name = self._temporary_name()
            descriptor = os.open(
                self._name, flags | os.O_CREAT | os.O_EXCL, mode, dir_fd=self._directory
            )
            # before it had its lock, another process may have removed it as abandoned
            _lock(descriptor)
            if os.fstat(descriptor).st_nlink:
                return descriptor
            os.close(descriptor)

    def _temporary_name(self) -> str:
        return f"{_prefix(self._target)}{secrets.token_hex(6)}{_SUFFIX}"

    def complete(self) -> None:
        """Let the file take its name."""
        descriptor = self.sink.fileno()
        self.sink.notes += _keep_attributes(descriptor, self._target, self._before, self._asked)
        os.fsync(descriptor)
        if self._name is None:
            name = self._temporary_name()
            os.link(
                f"/proc/self/fd/{descriptor}",
                name,
                dst_dir_fd=self._directory,
                follow_symlinks=True,
            )
            self._name = name
        os.replace(self._target.parent / self._name, self._target)
        self._name = None
        with contextlib.suppress(OSError):  # not every file system can
            os.fsync(self._directory)

    def _remove(self) -> None:
        if self._name is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._name, dir_fd=self._directory)
            self._name = None

    def _remove_abandoned(self) -> None:
        """Remove temporary files of this file that killed processes left."""
        prefix = _prefix(self._target)
        with os.scandir(self._directory) as entries:
            names = [
                entry.name
                for entry in entries
                if entry.name.startswith(prefix) and entry.name.endswith(_SUFFIX)
            ]
        for name in names:
            with contextlib.suppress(OSError):
                _remove_if_abandoned(name, self._directory)


def _prefix(target: Path) -> str:
    return f".{os.fsdecode(os.fsencode(target.name)[:_KEPT_BYTES])}."


def _lock(descriptor: int) -> None:
    """Lock a file, to show that its writer is alive.  The lock ends with the process."""
    with contextlib.suppress(OSError):  # some network file systems have no locks
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _remove_if_abandoned(name: str, directory: int) -> None:
    """Remove a temporary file of ours whose lock nobody holds; raises OSError where it is held."""
    descriptor = os.open(
        name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory
    )
    try:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(name, dir_fd=directory)
    finally:
        os.close(descriptor)


def _status_of(target: Path) -> os.stat_result | None:
    try:
        return target.stat()
    except FileNotFoundError:
        return None


def _keep_attributes(
    descriptor: int, target: Path, before: os.stat_result | None, asked: str
) -> list[str]:
    """Give a file owner, mode and attributes of the one it replaces; return what cannot be kept."""
    if before is None:
        return []
    notes = []
    mode = stat.S_IMODE(before.st_mode) & 0o777
    if stat.S_IMODE(before.st_mode) & (stat.S_ISUID | stat.S_ISGID):
        notes.append(f"{asked}: its set-id bits are not kept: they were given to other content")
    ours = os.fstat(descriptor)
    if (ours.st_uid, ours.st_gid) != (before.st_uid, before.st_gid):
        lost = _keep_owner(descriptor, before)
        if lost:
            notes.append(f"{asked}: its {lost} cannot be kept by this user")
        if "group" in lost:
            mode &= ~0o070 | (mode & 0o007) << 3  # its rights are not for another group
    os.fchmod(descriptor, mode)
    notes += _keep_extended(descriptor, target, asked)
    if before.st_nlink > 1:
        notes.append(
            f"{asked}: was one of {before.st_nlink} names of a file (hard links);"
            " the other names still have the old content"
        )
    return notes


def _keep_owner(descriptor: int, before: os.stat_result) -> str:
    """Return which of owner and group could not be kept."""
    lost = []
    for what, uid, gid in (("owner", before.st_uid, -1), ("group", -1, before.st_gid)):
        try:
            os.fchown(descriptor, uid, gid)
        except OSError:
            lost.append(what)
    return " and ".join(lost)


def _keep_extended(descriptor: int, target: Path, asked: str) -> list[str]:
    """Copy extended attributes, ACLs among them."""
    try:
        names = os.listxattr(target)
    except OSError:
        return []  # the file system has none
    notes = []
    for name in names:
        if name == _CAPABILITY:
            notes.append(
                f"{asked}: its capabilities are not kept: they were given to other content"
            )
            continue
        try:
            value = os.getxattr(target, name)
            try:
                same = os.getxattr(descriptor, name) == value
            except OSError:
                same = False
            if not same:
                os.setxattr(descriptor, name, value)
        except OSError as error:
            notes.append(f"{asked}: its attribute {name} cannot be kept: {error.strerror}")
    return notes
