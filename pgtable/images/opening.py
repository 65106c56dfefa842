# SPDX-License-Identifier: GPL-2.0-only
"""Which kind of image a file is, told from its content."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from pathlib import Path

from . import compressed, elf, kdump, raw, records
from .image import Image

FORMATS = ("raw", "elf", "kdump", "records")


def open_image(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002 - what everybody calls it
    segments: Sequence[tuple[int, int, int]] | None = None,
) -> Image:
    """Open the memory image of a machine.

    path: an ELF core (QEMU's dump-guest-memory, /proc/vmcore), a kdump-compressed
        file (needs the extra "kdump"), page-table pages as records of 8 bytes
        physical address and 4096 bytes, or raw physical memory; all of them may
        be compressed with xz or zstd (the latter needs the extra "zstd").
    format: one of "raw", "elf", "kdump", "records"; default: told from the content.
    segments: for raw memory that does not begin at address 0 or has holes:
        (physical address, offset in the file, size) of each piece.

    Uncompressed files are mapped, not read: opening takes the same time whatever the size.

    Raises OSError where the file cannot be read, ValueError for what is no
    image, is damaged, or needs an extra that is not installed.
    """
    path = Path(path)
    if format is not None and format not in FORMATS:
        raise ValueError(f"format is {format!r}; it is one of {', '.join(FORMATS)}")
    if segments is not None and format not in (None, "raw"):
        raise ValueError(f"segments are for raw memory, not for format {format!r}")
    memory, packed = _content(path)
    if segments is not None:
        format = "raw"  # noqa: A001
    kind = format or _recognise(memory)
    if kind == "elf":
        return elf.open_elf(path, memory)
    if kind == "kdump":
        if packed:
            raise ValueError(f"{path}: a compressed kdump file; decompress it first")
        return kdump.open_kdump(path, memory)
    if kind == "records":
        return records.open_records(path, memory)
    return raw.open_raw(path, memory, segments)


def _recognise(memory: memoryview) -> str:
    start = bytes(memory[:16])
    if start.startswith(elf.MAGIC):
        return "elf"
    if start.startswith(kdump.MAGICS):
        return "kdump"
    return "records" if records.looks_like_records(memory) else "raw"


def _content(path: Path) -> tuple[memoryview, bool]:
    """Return the file's bytes, and whether they had to be decompressed."""
    with path.open("rb") as file:
        start = file.read(16)
        if not start:
            raise ValueError(f"{path}: is empty")
        if compressed.is_compressed(start):
            return memoryview(compressed.decompress(path, start)), True
        try:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)), False
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: cannot be mapped ({error}); copy it to a file") from None
