# SPDX-License-Identifier: GPL-2.0-only
"""LiME dumps, version 1: each range of memory behind a header of 32 bytes.

AVML writes the same without --compress.  Source: LiME's README, "lime" format.
"""

from __future__ import annotations

import struct
from pathlib import Path

from .image import Image
from .range_readers import Window
from .ranged_image import assemble
from .segments import PHYSICAL_END

MAGIC = b"EMiL"

#: magic, version, first address, last address (inclusive), reserved
HEADER = struct.Struct("<4sIQQQ")
_VERSION = 1


def open_lime(path: Path, memory: memoryview | Window) -> Image:
    """Return the image in a LiME dump.

    Raises ValueError for another version and for a header that is none; a range
    that is cut short is a note.
    """
    ranges: list[tuple[int, int, int]] = []
    remarks: list[str] = []
    at = 0
    while at < len(memory):
        if len(memory) - at < HEADER.size:
            remarks.append(f"the file is cut short within the header of range {len(ranges)}")
            break
        start, size = read_range(path, memory, at, MAGIC, _VERSION, len(ranges))
        at += HEADER.size
        there = min(size, len(memory) - at)
        ranges.append((start, at, there))
        if there < size:
            remarks.append(
                f"the file is cut short: {size - there} bytes of the range from {start:#x}"
                " are missing"
            )
        at += size
    if not sum(size for _, _, size in ranges):
        raise ValueError(f"{path}: cut short: a LiME dump without any memory in it")
    return assemble(path, "lime", memory, list(zip(*ranges, strict=True)), [], remarks)


def read_range(
    path: Path, memory: memoryview | Window, at: int, magic: bytes, version: int, number: int
) -> tuple[int, int]:
    """Return (first address, size) of the range whose header is at an offset.

    Raises ValueError if there is no header, or an impossible one.
    """
    found, its_version, first, last, _ = HEADER.unpack(memory[at : at + HEADER.size])
    name = magic.decode()[::-1] if magic == MAGIC else magic.decode()
    if found != magic:
        raise ValueError(
            f"{path}: damaged: no {name} header at offset {at:#x}, where range {number} begins"
        )
    if its_version != version:
        raise ValueError(
            f"{path}: {name} version {its_version}; version {version} is read: dump it as that"
        )
    if last < first or last >= PHYSICAL_END:
        raise ValueError(
            f"{path}: damaged: range {number} at offset {at:#x} is from {first:#x} to {last:#x}"
        )
    return first, last - first + 1
