# SPDX-License-Identifier: GPL-2.0-only
"""Which kind of image a file is, told from its content."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from .. import containers
from . import avml, compressed, elf, flattened, kdump, lime, page_records, raw
from .image import Image
from .mapped import Identity, MappedFile, all_there
from .origin import Origin
from .range_readers import KernelReader, ObjectReader, RangeReader, RemoteReader, Window

FORMATS = ("raw", "elf", "kdump", "lime", "avml", "records")

_OPENERS: dict[str, Callable[[Path, Any], Image]] = {
    "elf": elf.open_elf,
    "lime": lime.open_lime,
    "avml": avml.open_avml,
    "records": page_records.open_records,
}
_READ_AT_ONCE = 1 << 20


class _Content(NamedTuple):
    """The bytes of an image, and what had to be done to get them.

    memory: a memoryview, or a Window to what is read a range at a time;
    file: what is mapped, of which ``memory`` may be a copy; None where it was read.
    identity: of the file; None where it can be read only once.
    """

    memory: Any
    remarks: list[str]
    file: MappedFile | None
    identity: Identity | None


def open_image(
    path: str | os.PathLike[str] | BinaryIO,
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
        bzip2, xz or zstd, also twice.  "-" is standard input.  Also an address of fsspec
        (``s3://bucket/ram.raw``, extra "remote"), a binary file object that can seek, and
        /proc/kcore.
    format: one of "raw", "elf", "kdump", "lime", "avml", "records"; default: told from
        the content.
    segments: for raw memory that does not begin at address 0 or has holes:
        (physical address, offset in the file, size) of each piece.
    parts: the other files of a kdump that makedumpfile --split wrote.
    max_decompressed: bytes that a compressed file may come to; default: 4 GiB, or half
        of the free memory where that is less.

    Of file objects, addresses and /proc/kcore only what is asked for is read, where they hold
    raw memory, an ELF core or LiME's format; else all of it.
    Uncompressed files are mapped, not read: opening takes the same time whatever the size.
    Extras are needed for zstd ("zstd"), AVML ("snappy") and kdump files that are not
    compressed with zlib ("kdump").

    Pickled and copied images are opened again by their paths.

    Raises OSError where the file cannot be read, ValueError for what is no
    image (other containers are named), is damaged, or needs an extra that is not
    installed.  What reads the image raises OSError where its file became shorter.
    """
    given, path = path, _name_of(path)
    if format is not None and format not in FORMATS:
        raise ValueError(f"format is {format!r}; it is one of {', '.join(FORMATS)}")
    if segments is not None and format not in (None, "raw"):
        raise ValueError(f"segments are for raw memory, not for format {format!r}")
    if segments is not None:
        format = "raw"  # noqa: A001
        segments = [tuple(segment) for segment in segments]  # type: ignore[misc]
    limit = compressed.default_limit() if max_decompressed is None else max_decompressed
    read = [(path, _content_of(given, path, limit, format))]
    files: list[MappedFile] = []
    with all_there(files):
        files += _files(read)
        memory = read[0][1].memory
        if format != "raw":
            memory = _rearranged(path, memory)
        kind = format or _recognise(path, memory)
        if parts and kind != "kdump":
            raise ValueError(f"{path}: parts are of split kdump files, and this one is {kind}")
        read += [(Path(part), _content(Path(part), limit)) for part in parts]
        files += _files(read[1:])
        if kind == "raw":
            image: Image = raw.open_raw(path, memory, segments)
        elif kind == "kdump":
            others = [(name, _rearranged(name, other.memory)) for name, other in read[1:]]
            image = kdump.open_kdump(path, [(path, memory), *others])
        else:
            image = _OPENERS[kind](path, memory)
    image.notes[:0] = read[0][1].remarks
    if isinstance(memory, Window):
        return image
    identities = [(name, content.identity) for name, content in read]
    image._opened_from(Origin.of(identities, kind, segments, max_decompressed), files)
    return image


def _files(read: list[tuple[Path, _Content]]) -> list[MappedFile]:
    return [content.file for _, content in read if content.file is not None]


def _recognise(path: Path, memory: memoryview | Window) -> str:
    """Return the format of what is no longer compressed; ValueError for other containers."""
    found = containers.recognise(bytes(memory[: containers.HEAD]))
    if found is None and memory[-512:][:8] == b"conectix":
        found = containers.recognise(b"conectix")  # a disk of fixed size has its mark at the end
    if found is None:
        if isinstance(memory, Window):
            return "raw"  # others were read
        return "records" if page_records.looks_like_records(memory) else "raw"
    if found.name in FORMATS:
        return found.name
    raise ValueError(found.refusal(path))


def _rearranged(path: Path, memory: Any) -> Any:
    if memory[: len(flattened.MAGIC)] != flattened.MAGIC:
        return memory
    return flattened.rearrange(path, memory)


def _name_of(path: Any) -> Path:
    """Return what an image is called in messages."""
    if hasattr(path, "read"):
        name = getattr(path, "name", None)
        return Path(name if isinstance(name, str) else "<file object>")
    return Path(path)


def _content_of(given: Any, path: Path, limit: int, format: str | None) -> _Content:  # noqa: A002
    """Return what a path, an address or a file object holds."""
    if hasattr(given, "read"):
        if not (hasattr(given, "seek") and given.seekable()):
            return _decompressed(path, _read_all(path, given, limit), limit)
        return _ranged(path, ObjectReader(given), given, limit, format)
    if isinstance(given, str) and "://" in given:
        file_system, name = _remote(given)
        reader = RemoteReader(file_system, name)
        with file_system.open(name, "rb") as file:
            return _ranged(path, reader, file, limit, format)
    return _content(path, limit)


def _remote(address: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs  # noqa: PLC0415 - an extra
    except ImportError:
        raise ValueError(
            f"{address}: files elsewhere need the extra 'remote': pip install 'pgtable[remote]'"
        ) from None
    try:
        return url_to_fs(address)
    except ImportError as error:
        raise ValueError(f"{address}: {error}") from None


def _ranged(path: Path, reader: RangeReader, file: Any, limit: int, kind: str | None) -> _Content:
    """Return a window to what can be read a range at a time, else all that there is."""
    window = Window(reader)
    start = window[: containers.HEAD]
    if not start:
        raise ValueError(f"{path}: is empty")
    if compressed.is_compressed(start):
        file.seek(0)
        return _unpacked(path, file, start, limit)
    found = containers.recognise(start)
    whole = start.startswith(flattened.MAGIC) or kind in ("kdump", "avml", "records")
    whole = whole or (found is not None and found.name in ("kdump", "avml"))
    if found is None and kind is None:
        whole = whole or _may_be_records(window)
    if whole:
        file.seek(0)
        return _Content(memoryview(_read_all(path, file, limit)), [], None, None)
    return _Content(window, [], None, None)


def _may_be_records(window: Window) -> bool:
    """Tell whether addresses of pages stand where records begin."""
    size = page_records.RECORD
    if len(window) % size:
        return False
    numbers = sorted({len(window) // size * i // 16 for i in range(16)})
    found = window.reader.read([(number * size, 8) for number in numbers])
    addresses = [int.from_bytes(one, "little") for one in found]
    return not any(pa % 4096 or pa >> 52 for pa in addresses) and any(addresses)


def _content(path: Path, limit: int) -> _Content:
    """Return the file's bytes, decompressed; files that can be read only once are read once."""
    if str(path) == "-":
        return _decompressed(path, _read_all(path, sys.stdin.buffer, limit), limit)
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        mode = status.st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode):
            return _decompressed(path, _read_all(path, file, limit), limit)
        start = file.read(containers.HEAD)
        if not start:
            raise ValueError(f"{path}: is empty")
        if compressed.is_compressed(start):
            file.seek(0)
            return _unpacked(path, file, start, limit)._replace(identity=Identity.of(status))
        try:
            mapped = MappedFile.of(path, file, _size(file))
        except (OSError, ValueError, OverflowError) as error:
            if start.startswith(elf.MAGIC):  # /proc/kcore
                again = path.open("rb", buffering=0)
                return _Content(Window(KernelReader(again)), [], None, None)
            raise ValueError(f"{path}: cannot be mapped ({error}); copy it to a file") from None
        return _Content(memoryview(mapped), [], mapped, mapped.identity)


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
    return _Content(memoryview(content), [], None, None)


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
    return _Content(memoryview(content), [], None, None)
