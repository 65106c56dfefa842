# SPDX-License-Identifier: GPL-2.0-only
"""Raw physical memory: one file, or pieces of it with their physical addresses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .image import Image
from .range_readers import Window
from .ranged_image import assemble
from .segments import PAGE

#: VMware leaves out the hole for devices below 4 GiB.
_VMEM_HOLE = 0xC000_0000


def open_raw(
    path: Path,
    memory: memoryview | Window,
    segments: Sequence[tuple[int, int, int]] | None = None,
) -> Image:
    """Return the image in a raw file.

    segments: (physical address, offset in the file, size) of each piece;
        without them the file is physical memory from address 0.

    Raises ValueError for less than a page and for segments outside the file.
    """
    remarks = []
    if segments is None:
        if path.suffix == ".vmem" and len(memory) > _VMEM_HOLE:
            rest = len(memory) - _VMEM_HOLE
            remarks.append(
                f"a .vmem of VMware: its memory from {_VMEM_HOLE:#x} on lies at 0x100000000 in the"
                f" machine: --segment 0,0,{_VMEM_HOLE:#x}"
                f" --segment 0x100000000,{_VMEM_HOLE:#x},{rest:#x}"
            )
        if len(memory) < PAGE:
            raise ValueError(
                f"{path}: {len(memory)} bytes are no memory image (ELF core, kdump, page records,"
                " or raw memory of at least one page)"
            )
        segments = [(0, 0, len(memory))]
    for pa, offset, size in segments:
        if min(pa, offset, size) < 0:
            raise ValueError(f"{path}: segment {pa:#x},{offset:#x},{size:#x} has a negative number")
        if offset + size > len(memory):
            raise ValueError(
                f"{path}: segment at physical {pa:#x} ends at offset {offset + size:#x},"
                f" the file at {len(memory):#x}"
            )
    if len(memory) % PAGE:
        remarks.append(f"the file is cut short: it ends {len(memory) % PAGE} bytes into a page")
    columns = list(zip(*segments, strict=True)) or [(), (), ()]
    try:
        return assemble(path, "raw", memory, columns, [], remarks)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{path}: {error}") from None
