# SPDX-License-Identifier: GPL-2.0-only
"""The walk in plain Python, which the walk in C is compared with."""

from __future__ import annotations

import struct
from collections.abc import Callable

from .walk import Kind

FRAME = 0x000F_FFFF_FFFF_F000

#: The columns of a walk, in their order.
Row = tuple[int, int, int, int, int, bool, bool, bool, bool]


def reference_walk(read: Callable[[int], bytes], root: int, levels: int) -> list[Row]:
    """Return a row of all columns for every non-zero entry below a root, in address order.

    read: gives the 4096 bytes at a physical address, or raises.  Only for images in
    which every table is there and none is its own ancestor, with EFER.NXE set.
    Source: the processor's manual; for entries that are not present, Linux 6.1 to 6.12.
    """
    rows: list[Row] = []
    unpack = struct.Struct("<512Q").unpack

    def visit(pa: int, level: int, base: int, above: tuple[bool, bool, bool]) -> None:
        shift = 12 + 9 * (level - 1)
        for i, entry in enumerate(unpack(read(pa))):
            if not entry:
                continue
            va = base | i << shift
            if level == levels and i >= 256:
                va |= (1 << 64) - (1 << shift + 9)
            if not entry & 1:
                kind, frame = _absent(va, entry, level)
                rows.append((va, entry, frame, level, kind, False, False, False, True))
                continue
            leaf = level == 1 or (level <= 3 and bool(entry & 0x80))
            frame = entry & (FRAME & -(1 << shift) if leaf else FRAME)
            rights = (
                above[0] and bool(entry & 2),
                above[1] and bool(entry & 4),
                above[2] or bool(entry >> 63),
            )
            rows.append((va, entry, frame, level, 0 if leaf else 1, leaf, *rights))
            if not leaf:
                visit(frame, level - 1, va, rights)

    visit(root, levels, 0, (True, True, False))
    return rows


def _absent(va: int, entry: int, level: int) -> tuple[int, int]:
    """Return kind and frame of an entry that is not present."""
    mask = FRAME & -(1 << 12 + 9 * (level - 1)) if entry & 0x80 and level > 1 else FRAME
    inverted = ~entry & mask
    if level <= 3 and entry & 0x100:
        return Kind.PROT_NONE, inverted
    kind = entry >> 59
    if level > 3 or va >> 63 or entry & 0xF0 or (level > 1 and kind < 22):
        return Kind.OTHER, inverted
    offset = ~entry >> 9 & (1 << 50) - 1
    if kind < 22:
        return Kind.SWAP, 0
    if kind >= 30 and 0 < offset < 8:
        return Kind.MARKER, 0
    return Kind.MIGRATION, (offset & (1 << 40) - 1) << 12
