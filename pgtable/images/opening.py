# SPDX-License-Identifier: GPL-2.0-only
"""Which kind of image a file is, told from its content."""

from __future__ import annotations

import io
import mmap
import os
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from . import avml, compressed, containers, elf, flattened, kdump, lime, raw, records
from .image import Image

FORMATS = ("raw", "elf", "kdump", "lime", "avml", "records")

_OPENERS: dict[str, Callable[[Path, memoryview], Image]] = {
    "elf": elf.open_elf,
    "lime": lime.open_lime,
    "avml": avml.open_avml,
    "records": records.open_records,
}
_READ_AT_ONCE = 1 << 20


class _Content(NamedTuple):
    """The bytes of an image, and what had to be done to get them."""

    memory: memoryview
    remarks: list[str]


def open_image(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002 - what everybody calls it
    segments: Sequence[tuple[int, int, int]] | None = None,
    parts: Sequence[str | os.PathLike[str]] = (),
    max_decompressed: int | None = None,
) -> Image:
    """Open the memory image of a machine.

    path: an ELF core (QEMU's dump-guest-memory, VirtualBox, /proc/vmcore), a
        kdump-compressed file, both also flattened by makedumpfile; LiME's and AVML's
        dumps; page-table pages as records of 8 bytes physical address and 4096
        bytes; or raw physical memory.  All of them may be compressed with gzip,
        bzip2, xz or zstd, also twice.  "-" is standard input.
    format: one of "raw", "elf", "kdump", "lime", "avml", "records"; default: told from
        the content.
    segments: for raw memory that does not begin at address 0 or has holes:
        (physical address, offset in the file, size) of each piece.
    parts: the other files of a kdump that makedumpfile --split wrote.
    max_decompressed: bytes that a compressed file may come to; default: 4 GiB, or half
        of the free memory where that is less.

    Uncompressed files are mapped, not read: opening takes the same time whatever the size.
    Extras are needed for zstd ("zstd"), AVML ("snappy") and kdump files that are not
    compressed with zlib ("kdump").

    Raises OSError where the file cannot be read, ValueError for what is no
    image (other containers are named), is damaged, or needs an extra that is not
    installed.
    """
    path = Path(path)
    if format is not None and format not in FORMATS:
        raise ValueError(f"format is {format!r}; it is one of {', '.join(FORMATS)}")
    if segments is not None and format not in (None, "raw"):
        raise ValueError(f"segments are for raw memory, not for format {format!r}")
    if segments is not None:
        format = "raw"  # noqa: A001
    limit = compressed.default_limit() if max_decompressed is None else max_decompressed
    content = _content(path, limit)
    if format != "raw":
        content = _rearranged(path, content)
    kind = format or _recognise(path, content.memory)
    if parts and kind != "kdump":
        raise ValueError(f"{path}: parts are of split kdump files, and this one is {kind}")
    if kind == "raw":
        image: Image = raw.open_raw(path, content.memory, segments)
    elif kind == "kdump":
        others = [(Path(part), _content(Path(part), limit)) for part in parts]
        every = [(path, content), *((name, _rearranged(name, other)) for name, other in others)]
        image = kdump.open_kdump(path, [(name, other.memory) for name, other in every])
    else:
        image = _OPENERS[kind](path, content.memory)
    image.notes[:0] = content.remarks
    return image


def _recognise(path: Path, memory: memoryview) -> str:
    """Return the format of what is no longer compressed; ValueError for other containers."""
    found = containers.recognise(bytes(memory[: containers.HEAD]))
    if found is None and memory[-512:][:8] == b"conectix":
        found = containers.recognise(b"conectix")  # a disk of fixed size has its mark at the end
    if found is None:
        return "records" if records.looks_like_records(memory) else "raw"
    if found.name in FORMATS:
        return found.name
    raise ValueError(found.refusal(path))


def _rearranged(path: Path, content: _Content) -> _Content:
    if content.memory[: len(flattened.MAGIC)] != flattened.MAGIC:
        return content
    return _Content(flattened.rearrange(path, content.memory), content.remarks)


def _content(path: Path, limit: int) -> _Content:
    """Return the file's bytes, decompressed; files that can be read only once are read once."""
    if str(path) == "-":
        return _decompressed(path, _read_all(path, sys.stdin.buffer, limit), limit)
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode):
            return _decompressed(path, _read_all(path, file, limit), limit)
        start = file.read(containers.HEAD)
        if not start:
            raise ValueError(f"{path}: is empty")
        if compressed.is_compressed(start):
            file.seek(0)
            return _unpacked(path, file, start, limit)
        try:
            mapped = mmap.mmap(file.fileno(), _size(file), access=mmap.ACCESS_READ)
        except (OSError, ValueError, OverflowError) as error:
            raise ValueError(f"{path}: cannot be mapped ({error}); copy it to a file") from None
        return _Content(memoryview(mapped), [])


def _size(file: BinaryIO) -> int:
    """Return how long a file or block device is: the status of a device says 0."""
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    return end


def _read_all(path: Path, file: BinaryIO, limit: int) -> bytearray:
    content = bytearray()
    while chunk := file.read(_READ_AT_ONCE):
        content += chunk
        if len(content) > limit:
            raise ValueError(
                f"{path}: cannot be mapped and holds more than {limit / (1 << 30):.3g} GiB;"
                " copy it to a file, or raise --max-decompressed"
            )
    if not content:
        raise ValueError(f"{path}: is empty")
    return content


def _decompressed(path: Path, content: bytearray, limit: int) -> _Content:
    start = bytes(content[: containers.HEAD])
    if compressed.is_compressed(start):
        return _unpacked(path, io.BytesIO(content), start, limit)
    return _Content(memoryview(content), [])


def _unpacked(path: Path, file: BinaryIO | io.BytesIO, start: bytes, limit: int) -> _Content:
    """Return what a compressed file holds, and what a compressed file in it holds."""
    content = bytearray()
    for _ in range(compressed.NESTED):
        container = containers.recognise(start)
        if container is None or container.group != containers.COMPRESSED:
            break
        content = compressed.decompress(path, file, container, limit)
        if not content:
            raise ValueError(f"{path}: {container.what} with nothing in it")
        start = bytes(content[: containers.HEAD])
        file = io.BytesIO(content)
    return _Content(memoryview(content), [])
