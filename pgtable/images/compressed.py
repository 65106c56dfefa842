# SPDX-License-Identifier: GPL-2.0-only
"""Compressed images, decompressed into memory up to a limit."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO

from ..containers import COMPRESSED, Container, recognise
from ..unpacking import Unpacked

#: A small file may expand without end.  Larger content has to be decompressed on disk.
MAX_DECOMPRESSED = 4 << 30
_CHUNK = 1 << 20
_XZ_FOOTER = 12
#: How many compressions within each other are opened, such as a .zst in a .gz.
NESTED = 2


def default_limit() -> int:
    """Return how much may be decompressed: MAX_DECOMPRESSED, or half of the free memory."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return MAX_DECOMPRESSED
    return min(MAX_DECOMPRESSED, free * 1024 // 2)


def is_compressed(start: bytes) -> bool:
    """Tell from its first bytes whether a file is compressed in a way that is read here."""
    found = recognise(start)
    return found is not None and found.group == COMPRESSED


def decompress(
    path: Path, file: BinaryIO | io.BytesIO, container: Container, limit: int
) -> bytearray:
    """Return the content of a compressed file.

    limit: bytes at most.  Raises ValueError for a damaged file, for more than
    ``limit`` (where the file says so itself before anything is decompressed),
    and where an extra is missing.
    """
    size = announced_size(file, container.name)
    if size is not None and size > limit:
        raise ValueError(_too_much(path, limit, f"{size / (1 << 30):.1f} GiB"))
    stream = Unpacked(str(path), container.name, file)  # type: ignore[arg-type]
    content = bytearray()
    buffer = bytearray(_CHUNK)
    while n := stream.readinto(buffer):
        content += memoryview(buffer)[:n]
        if len(content) > limit:
            raise ValueError(_too_much(path, limit, f"more than {limit / (1 << 30):.3g} GiB"))
    if size is not None and len(content) < size:
        raise ValueError(
            f"{path}: damaged or cut short: {len(content)} of {size} bytes decompressed"
        )
    return content


def _too_much(path: Path, limit: int, size: str) -> str:
    return (
        f"{path}: holds {size} when decompressed, the limit is {limit / (1 << 30):.3g} GiB;"
        " decompress it to a file, or raise --max-decompressed"
    )


def announced_size(file: Any, name: str) -> int | None:
    """Return how large the content is at least, according to the file; None if it does not say.

    Only xz (index at the end) and zstd (header of the frame) say it.
    """
    if not file.seekable():
        return None
    try:
        start = file.tell()
        size = _xz_size(file) if name == "xz" else _zstd_size(file) if name == "zstd" else None
    finally:
        file.seek(start)
    return size


def _xz_size(file: Any) -> int | None:
    """Add up the index of the last stream; source: the .xz file format, version 1.2.1."""
    end = file.seek(0, io.SEEK_END)
    if end < 2 * _XZ_FOOTER:
        return None
    file.seek(end - _XZ_FOOTER)
    footer = file.read(_XZ_FOOTER)
    length = (int.from_bytes(footer[4:8], "little") + 1) * 4
    if footer[10:] != b"YZ" or length > end - 2 * _XZ_FOOTER:
        return None
    file.seek(end - _XZ_FOOTER - length)
    index = file.read(length)
    at = 1
    numbers: list[int] = []
    while (
        index[:1] == b"\0" and at < length - 4 and (not numbers or len(numbers) <= 2 * numbers[0])
    ):
        value = shift = 0
        while at < length:
            value |= (index[at] & 0x7F) << shift
            shift += 7
            at += 1
            if index[at - 1] < 0x80:
                break
        numbers.append(value)
    return sum(numbers[2::2]) if numbers and len(numbers) == 2 * numbers[0] + 1 else None


def _zstd_size(file: Any) -> int | None:
    """Return the content size in the first frame's header, where it has one."""
    header = file.read(18)
    try:
        import zstandard  # noqa: PLC0415 - an extra

        size = zstandard.frame_content_size(header)
    except (ImportError, ValueError):
        return None
    except zstandard.ZstdError:
        return None
    return None if size < 0 else size
