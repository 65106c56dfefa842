# SPDX-License-Identifier: GPL-2.0-only
"""Flattened dumps: a kdump or ELF file in pieces, in the order of writing.

``makedumpfile -F`` and QEMU's ``dump-guest-memory -z`` write them if they cannot seek.  Source:
makedumpfile's makedumpfile.h (big-endian headers).
"""

from __future__ import annotations

import mmap
import struct
import tempfile
from pathlib import Path

MAGIC = b"makedumpfile\0"

#: signature, type, version; padded to 4096 bytes
_HEADER = struct.Struct(">16sqq")
_HEADER_SIZE = 4096
#: offset in the rearranged file, and size of the piece that follows; -1, -1 at the end
_PIECE = struct.Struct(">qq")
_END = -1
#: No dump is larger: 52 bits of memory are 4 PiB.
_MAX_SIZE = 1 << 46


def rearrange(path: Path, memory: memoryview) -> memoryview:
    """Return the file that the pieces make up, in a temporary file that is mapped.

    Raises ValueError for damage and for a file that is cut short: what is missing
    could not be told from zeros; OSError where the disk has no room.
    """
    pieces = _pieces(path, memory)
    size = max((offset + length for offset, _, length in pieces), default=0)
    if not size:
        raise ValueError(f"{path}: a flattened dump without anything in it")
    with tempfile.TemporaryFile(prefix="pgtable-") as file:
        try:
            file.truncate(size)
            for offset, at, length in pieces:
                file.seek(offset)
                file.write(memory[at : at + length])
            file.flush()
        except OSError as error:
            raise OSError(
                error.errno,
                f"{error.strerror}: rearranging needs {size >> 20} MiB of temporary space;"
                f" set TMPDIR, or run makedumpfile -R OUT < {path.name}",
                tempfile.gettempdir(),
            ) from None
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _pieces(path: Path, memory: memoryview) -> list[tuple[int, int, int]]:
    """Return (offset in the rearranged file, offset in this one, size) of each piece."""
    if len(memory) < _HEADER_SIZE:
        raise ValueError(f"{path}: cut short within the header of a flattened dump")
    _, kind, version = _HEADER.unpack_from(memory)
    if (kind, version) != (1, 1):
        raise ValueError(
            f"{path}: a flattened dump of type {kind}, version {version}; 1, 1 is read"
        )
    pieces: list[tuple[int, int, int]] = []
    at = _HEADER_SIZE
    while at + _PIECE.size <= len(memory):
        offset, size = _PIECE.unpack_from(memory, at)
        if offset == _END and size == _END:
            return pieces
        if offset < 0 or size < 0 or offset + size > _MAX_SIZE:
            raise ValueError(f"{path}: damaged: a piece of {size} bytes at offset {at:#x}")
        at += _PIECE.size
        if at + size > len(memory):
            break
        pieces.append((offset, at, size))
        at += size
    raise ValueError(
        f"{path}: cut short: the flattened dump has no end mark after {len(pieces)} pieces;"
        " copy it again"
    )
