# SPDX-License-Identifier: GPL-2.0-only
"""ELF64 cores, as QEMU's dump-guest-memory, VirtualBox and /proc/vmcore write them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from .elf_refusals import refuse_process_core, refuse_wrong_kind, refuse_xen
from .image import Image
from .range_readers import Window
from .ranged_image import assemble
from .registers import parse_notes
from .segments import PHYSICAL_END
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
#: More program headers than 16 bits hold: their number is in the first section header.
_PN_XNUM = 0xFFFF
_PT_LOAD = 1
_PT_NOTE = 4
#: Registers of a processor take about a kilobyte.
_MAX_NOTES = 1 << 26
#: /proc/kcore has segments of virtual memory: the direct map lies in this part of it,
#: below the area for vmalloc, which is one segment of 32 TiB or more.
_NO_ADDRESS = (1 << 64) - 1
_KERNEL_HALF = 0xFFFF_8000_0000_0000
_VMALLOC_AT_LEAST = 1 << 44
#: Where KASLR may put the direct map: multiples of this; memory begins below it.
_DIRECT_MAP_STEP = 1 << 30


def open_elf(path: Path, memory: memoryview | Window) -> Image:
    """Return the image in an ELF core.

    Raises ValueError for a file that is no ELF64 core of x86-64, and says what it is; and for a
    core without physical memory.
    """
    headers = _program_headers(path, memory)
    data = _notes(memory, headers)
    notes = list(parse_notes(data))
    every = headers[headers["type"] == _PT_LOAD]
    loads = every[every["filesz"] > 0]
    remarks: list[str] = []
    if not len(loads):
        raise ValueError(f"{path}: an ELF core without any memory in it; is it complete?")
    loads = _with_addresses(path, loads, notes, remarks)
    length = np.uint64(len(memory))
    offset = np.minimum(loads["offset"], length)
    size = np.minimum(loads["filesz"], length - offset)
    missing = int((loads["filesz"] - size).sum())
    if missing:
        remarks.append(f"the file is cut short: {missing} bytes of its segments are missing")
    if not size.sum():
        raise ValueError(f"{path}: an ELF core without any memory in it; is it complete?")
    image = assemble(path, "elf", memory, (loads["paddr"], offset, size), notes, remarks)
    image.kernel = kernel_notes(image.vmcoreinfo, _phys_base(loads))
    image._memory_map = _memory_map(every)
    return image


def _notes(memory: memoryview | Window, headers: np.ndarray) -> bytes:
    return b"".join(
        bytes(memory[int(h["offset"]) : int(h["offset"]) + min(int(h["filesz"]), _MAX_NOTES)])
        for h in headers[headers["type"] == _PT_NOTE][:16]
    )


def _placed(loads: np.ndarray) -> np.ndarray:
    """Tell which segments lie within the 52 bits of physical memory."""
    inside = (loads["paddr"] < PHYSICAL_END) & (loads["filesz"] <= PHYSICAL_END)
    # 0 stands for "none" where several begin there, and where vmalloc's area would
    virtual = (loads["paddr"] == 0) & (loads["vaddr"] >= np.uint64(_KERNEL_HALF))
    if np.count_nonzero(virtual) == 1:
        virtual &= loads["filesz"] >= _VMALLOC_AT_LEAST
    inside &= ~virtual
    return inside & (loads["paddr"] <= PHYSICAL_END - np.minimum(loads["filesz"], PHYSICAL_END))


def _with_addresses(
    path: Path, loads: np.ndarray, notes: list[tuple[str, bytes]], remarks: list[str]
) -> np.ndarray:
    """Return the segments that are physical memory; ValueError where none is.

    A core may hold mappings that are no physical memory; they have no physical
    address.  /proc/kcore has had none at all at times: 0 or -1 everywhere.
    """
    placed = _placed(loads)
    if placed.any() and not (len(loads) > 1 and not loads["paddr"].any()):
        if not placed.all():
            left_out = np.count_nonzero(~placed)
            remarks.append(f"{left_out} segments without a physical address left out")
        return loads[placed]
    refuse_process_core(path, loads["vaddr"], notes)
    found = _direct_map(loads)
    if found is None and _meant(loads):
        raise ValueError(f"{path}: an ELF core without any memory below 2^52; is it damaged?")
    if found is None:
        value = "0" if not loads["paddr"].any() else f"{int(loads['paddr'][0]):#x}"
        raise ValueError(
            f"{path}: no segment has a physical address (p_paddr is {value}, as in the /proc/kcore"
            " of some kernels), and none lies in the direct map; dump physical memory instead:"
            " LiME, AVML, /proc/vmcore or virsh dump --memory-only"
        )
    base, direct = found
    remarks.append(
        f"no segment has a physical address: those of the direct map, assumed to begin at"
        f" {base:#x}, are taken"
    )
    return direct


def _meant(loads: np.ndarray) -> bool:
    """Tell whether the physical addresses are valid: neither all 0 nor all -1."""
    zero = len(loads) > 1 and not loads["paddr"].any()
    given = (loads["paddr"] != 0) & (loads["paddr"] != np.uint64(_NO_ADDRESS))
    return not zero and bool(given.any() or (len(loads) == 1 and not loads["paddr"].any()))


def _direct_map(loads: np.ndarray) -> tuple[int, np.ndarray] | None:
    """Return (where it begins, its segments with physical addresses); None without any."""
    kernel = loads[(loads["vaddr"] >= _KERNEL_HALF) & (loads["vaddr"] < START_KERNEL_MAP)]
    kernel = np.sort(kernel, order="vaddr")
    vmalloc = np.flatnonzero(kernel["filesz"] >= _VMALLOC_AT_LEAST)
    direct = kernel[: vmalloc[0]] if len(vmalloc) else kernel
    if not len(direct):
        return None
    base = int(direct["vaddr"][0]) & -_DIRECT_MAP_STEP
    direct = direct.copy()
    direct["paddr"] = direct["vaddr"] - np.uint64(base)
    direct = direct[direct["paddr"] <= PHYSICAL_END - direct["filesz"]]
    return (base, direct) if len(direct) else None


def _memory_map(every: np.ndarray) -> np.ndarray | None:
    """Return what the segments cover, if some have less content, which makedumpfile left out."""
    every = every[every["paddr"] < PHYSICAL_END]
    if not np.any(every["memsz"] > every["filesz"]):
        return None
    every = every[every["memsz"] <= PHYSICAL_END - every["paddr"]]
    every = np.sort(every[every["memsz"] > 0], order="paddr")
    if not len(every):
        return None
    end = np.maximum.accumulate(every["paddr"] + every["memsz"])
    first = np.concatenate(([True], every["paddr"][1:] > end[:-1]))
    last = np.concatenate((first[1:], [True]))
    return np.stack([every["paddr"][first], end[last]], axis=1)


def _phys_base(loads: np.ndarray) -> int | None:
    """Return phys_base by the segment that maps the kernel's own code; None without one."""
    in_map = loads["vaddr"] - np.uint64(START_KERNEL_MAP) < np.uint64(KERNEL_MAP_SIZE)
    kernel = loads[in_map & (loads["vaddr"] >= np.uint64(START_KERNEL_MAP))]
    if not len(kernel):
        return None
    return int(kernel["paddr"][0]) - (int(kernel["vaddr"][0]) - START_KERNEL_MAP)


def _program_headers(path: Path, memory: memoryview | Window) -> np.ndarray:
    refuse_wrong_kind(path, bytes(memory[: _HEADER.size]))
    if len(memory) < _HEADER.size:
        raise ValueError(f"{path}: cut short within its ELF header")
    fields = _HEADER.unpack(memory[: _HEADER.size])
    _, _, _, _, _, at, sections_at, _, _, entry_size, count, _, sections, names = fields
    refuse_xen(path, memory, sections_at, sections, names)
    if entry_size != _PROGRAM_HEADER.itemsize:
        raise ValueError(f"{path}: damaged: program headers of {entry_size} bytes")
    if count == _PN_XNUM and sections_at:
        if sections_at > len(memory) - _SECTION_HEADER_SIZE:
            raise ValueError(f"{path}: cut short: the number of program headers is missing")
        at_count = sections_at + _SECTION_INFO_AT
        (count,) = struct.unpack("<I", memory[at_count : at_count + 4])
    if at > len(memory) or count * _PROGRAM_HEADER.itemsize > len(memory) - at:
        raise ValueError(f"{path}: cut short within its {count} program headers")
    size = count * _PROGRAM_HEADER.itemsize
    return np.frombuffer(memory[at : at + size], _PROGRAM_HEADER)
