# SPDX-License-Identifier: GPL-2.0-only
"""ELF64 cores, as QEMU's dump-guest-memory and /proc/vmcore write them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from .image import MappedImage
from .registers import parse_notes
from .segments import PHYSICAL_END, Segments
from .vmcoreinfo import KERNEL_MAP_SIZE, START_KERNEL_MAP, kernel_notes

MAGIC = b"\x7fELF"

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM_HEADER = np.dtype(
    [
        ("type", "<u4"),
        ("flags", "<u4"),
        ("offset", "<u8"),
        ("vaddr", "<u8"),
        ("paddr", "<u8"),
        ("filesz", "<u8"),
        ("memsz", "<u8"),
        ("align", "<u8"),
    ]
)
_SECTION_HEADER_SIZE = 64
_SECTION_INFO_AT = 44
_ELFCLASS64 = 2
_LITTLE_ENDIAN = 1
_ET_CORE = 4
_EM_X86_64 = 62
#: More program headers than 16 bits hold: their number is in the first section header.
_PN_XNUM = 0xFFFF
_PT_LOAD = 1
_PT_NOTE = 4
#: Registers of a processor take about a kilobyte.
_MAX_NOTES = 1 << 26


def open_elf(path: Path, memory: memoryview) -> MappedImage:
    """Return the image in an ELF core.

    Raises ValueError for what is no ELF64 core of x86-64, or has no memory in it.
    """
    headers = _program_headers(path, memory)
    notes_at = headers[headers["type"] == _PT_NOTE]
    data = b"".join(
        bytes(memory[int(h["offset"]) : int(h["offset"]) + min(int(h["filesz"]), _MAX_NOTES)])
        for h in notes_at[:16]
    )
    loads = headers[(headers["type"] == _PT_LOAD) & (headers["filesz"] > 0)]
    remarks = []
    # a core may hold mappings that are no physical memory; they have no physical address
    placed = (loads["paddr"] < PHYSICAL_END) & (loads["filesz"] <= PHYSICAL_END)
    placed &= loads["paddr"] <= PHYSICAL_END - np.minimum(loads["filesz"], PHYSICAL_END)
    if not placed.all():
        remarks.append(f"{np.count_nonzero(~placed)} segments without a physical address left out")
        loads = loads[placed]
    length = np.uint64(len(memory))
    offset = np.minimum(loads["offset"], length)
    size = np.minimum(loads["filesz"], length - offset)
    missing = int((loads["filesz"] - size).sum())
    if missing:
        remarks.append(f"the file is cut short: {missing} bytes of its segments are missing")
    if not size.sum():
        raise ValueError(f"{path}: an ELF core without any memory in it; is it complete?")
    segments = Segments(memory, loads["paddr"], offset, size)
    image = MappedImage(path, "elf", segments, list(parse_notes(data)), remarks)
    image.kernel = kernel_notes(image.vmcoreinfo, _phys_base(loads))
    return image


def _phys_base(loads: np.ndarray) -> int | None:
    """Return phys_base by the segment that maps the kernel's own code; None without one."""
    in_map = loads["vaddr"] - np.uint64(START_KERNEL_MAP) < np.uint64(KERNEL_MAP_SIZE)
    kernel = loads[in_map & (loads["vaddr"] >= np.uint64(START_KERNEL_MAP))]
    if not len(kernel):
        return None
    return int(kernel["paddr"][0]) - (int(kernel["vaddr"][0]) - START_KERNEL_MAP)


def _program_headers(path: Path, memory: memoryview) -> np.ndarray:
    if len(memory) < _HEADER.size:
        raise ValueError(f"{path}: cut short within its ELF header")
    fields = _HEADER.unpack_from(memory)
    ident, kind, machine, _, _, at, sections_at, _, _, entry_size, count, *_ = fields
    if ident[4] != _ELFCLASS64 or ident[5] != _LITTLE_ENDIAN:
        raise ValueError(f"{path}: not a 64-bit little-endian ELF file; dump as ELF64")
    if kind != _ET_CORE or machine != _EM_X86_64:
        raise ValueError(f"{path}: an ELF file, but not a core of an x86-64 machine")
    if entry_size != _PROGRAM_HEADER.itemsize:
        raise ValueError(f"{path}: damaged: program headers of {entry_size} bytes")
    if count == _PN_XNUM and sections_at:
        if sections_at > len(memory) - _SECTION_HEADER_SIZE:
            raise ValueError(f"{path}: cut short: the number of program headers is missing")
        (count,) = struct.unpack_from("<I", memory, sections_at + _SECTION_INFO_AT)
    if at > len(memory) or count * _PROGRAM_HEADER.itemsize > len(memory) - at:
        raise ValueError(f"{path}: cut short within its {count} program headers")
    return np.frombuffer(memory, _PROGRAM_HEADER, count, at)
