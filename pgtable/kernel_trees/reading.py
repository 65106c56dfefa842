# SPDX-License-Identifier: GPL-2.0-only
"""Reads files of a tree: they may be no files at all, or without end."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .errors import KernelTreeError

#: Bytes; no header or Makefile of any kernel comes near.
_LARGEST = 64 << 20


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return what is in a file.

    Raises OSError as open() does, and KernelTreeError for what is no regular file
    (a FIFO is not waited for) and for a file over 64 MiB.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise KernelTreeError(f"{path} is no regular file, so it is not read")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(_LARGEST + 1)
    finally:
        os.close(descriptor)
    if len(content) > _LARGEST:
        raise KernelTreeError(f"{path} is larger than {_LARGEST >> 20} MiB, so it is not read")
    return content


def read_text(path: Path) -> str:
    """Return the text of a file; bytes that are no UTF-8 are replaced.  Raises as read_bytes()."""
    return read_bytes(path).decode(errors="replace").replace("\r\n", "\n")
