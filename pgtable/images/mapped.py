# SPDX-License-Identifier: GPL-2.0-only
"""Mapped files that may change while they are read.

Reading a page that a file no longer has would end the process (SIGBUS).  The guard of csrc/guard
gives zeros instead.  After reading, :meth:`MappedFile.check` raises an error if a page was lost.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ..engines._native import ffi, lib
from ..locks import lock_across_forks

_GUARDING = lock_across_forks()


class Identity(NamedTuple):
    """The identity of a file: it changes when the file is replaced or written to."""

    size: int
    inode: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Identity:
        """Return it of what ``os.stat`` or ``os.fstat`` returns."""
        return cls(status.st_size, status.st_ino, status.st_mtime_ns)


class MappedFile(mmap.mmap):
    """A file that is mapped for reading.  Its memory is guarded while the mapping exists."""

    path: Path
    identity: Identity
    _regular: bool
    _guard: Any = None

    @classmethod
    def of(cls, path: Path, file: BinaryIO, size: int) -> MappedFile:
        """Map so many bytes of an open file; raises OSError, ValueError, OverflowError."""
        mapped = cls(file.fileno(), size, access=mmap.ACCESS_READ)
        status = os.fstat(file.fileno())
        mapped.path, mapped.identity = path, Identity.of(status)
        mapped._regular = stat.S_ISREG(status.st_mode)
        with _GUARDING:
            mapped._guard = lib.pgtable_guard_add(ffi.from_buffer(mapped), size)
        if not mapped._guard:
            raise MemoryError(f"{path}: no memory to map it")
        return mapped

    def check(self) -> None:
        """Raise OSError where any of the file is no longer there."""
        lost = lib.pgtable_guard_lost(self._guard)
        if self._regular and (now := self.size()) < len(self):
            raise OSError(
                errno.EIO,
                f"was {len(self)} bytes long when it was opened, and is {now} now;"
                " wait until it is written, and open it again",
                str(self.path),
            )
        if lost:
            raise OSError(
                errno.EIO,
                "some of it could not be read: it became shorter meanwhile, or its disk fails;"
                " open it again",
                str(self.path),
            )

    def __del__(self) -> None:
        if self._guard:
            with _GUARDING:  # before its memory is used for something else
                lib.pgtable_guard_remove(self._guard)


@contextlib.contextmanager
def all_there(files: list[MappedFile]) -> Iterator[None]:
    """Raise OSError after what was done with files of which something was lost meanwhile.

    Other errors are raised where nothing was lost: zeros look like damage.
    """
    try:
        yield
    except Exception:
        for file in files:
            file.check()
        raise
    for file in files:
        file.check()
