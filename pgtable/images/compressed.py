# SPDX-License-Identifier: GPL-2.0-only
"""Compressed images, decompressed into memory as they are opened."""

from __future__ import annotations

import lzma
from pathlib import Path
from typing import Any, BinaryIO

XZ_MAGIC = b"\xfd7zXZ\0"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

#: A small file may hold endless zeros; beyond this it has to be decompressed on disk.
MAX_DECOMPRESSED = 4 << 30
_CHUNK = 1 << 20


def is_compressed(start: bytes) -> bool:
    """Tell from its first bytes whether a file is compressed."""
    return start.startswith((XZ_MAGIC, ZSTD_MAGIC))


def decompress(path: Path, start: bytes) -> bytearray:
    """Return what an xz or zstd file holds.

    Raises ValueError for a damaged file and for more than 4 GiB of content,
    ImportError where the extra for zstd is missing.
    """
    if start.startswith(XZ_MAGIC):
        with lzma.open(path) as file:
            return _read_all(path, file, lzma.LZMAError)
    try:
        import zstandard  # noqa: PLC0415 - an extra
    except ImportError:
        raise ValueError(
            f"{path}: zstd needs the package zstandard: pip install 'pgtable[zstd]'"
        ) from None
    with path.open("rb") as raw:
        reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        return _read_all(path, reader, zstandard.ZstdError)


def _read_all(path: Path, file: BinaryIO | Any, damage: type[Exception]) -> bytearray:
    content = bytearray()
    try:
        while chunk := file.read(_CHUNK):
            content += chunk
            if len(content) > MAX_DECOMPRESSED:
                raise ValueError(
                    f"{path}: holds more than {MAX_DECOMPRESSED >> 30} GiB; decompress it to a file"
                )
    except (damage, EOFError) as error:
        raise ValueError(f"{path}: damaged or cut short ({error})") from None
    return content
