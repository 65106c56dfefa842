# SPDX-License-Identifier: GPL-2.0-only
"""Finds out whether an image has all of the machine's memory, or only a part.

A dump that the kernel or a tool filtered lacks memory that the machine has: the
reservation of the crash kernel, pages that makedumpfile excluded, what firmware
keeps.  Frames there are no fault, so rules on memory ask :func:`find_memory` first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..image import Image
from ..regions import Intervals
from ..walk import Walk
from .rows import Memory, chunks

if TYPE_CHECKING:
    from .survey import Survey

#: An image that holds less than this share of the mapped memory is taken as reduced.
REDUCED = 0.5

#: Physical addresses have at most 52 bits.
_PHYSICAL_END = 1 << 52

#: Where a PC has no memory: the VGA window and ROMs, devices below 4 GiB.
_LOW_HOLE = (0xA0000, 0x100000)
_DEVICES_END = 1 << 32

_MEND = "--memory START-END says which memory the machine has"


def held_by(image: Image | None, given: Any) -> Intervals | None:
    """Return the memory that an image has; None where that is not asked."""
    return None if image is None or given is not None else _intervals(image.ranges)


def find_memory(
    walk: Walk | None, image: Image | None, given: Any, seen: Survey | None = None
) -> Memory:
    """Return what is known of the machine's memory.

    given: [start, end) a row, where the user says it; seen: what was seen of the walk, which
    is then not looked at.
    Raises ValueError for ranges that are empty, end before they start, or are no
    physical addresses.
    """
    incomplete = "" if image is None else _incomplete(image)
    if given is not None:
        return Memory(_given(given), incomplete=incomplete)
    if image is None:
        return Memory(None, f"the machine's memory ranges are not known; {_MEND}")
    held = _intervals(image.ranges)
    if seen.is_reduced(REDUCED) if seen else _is_reduced(walk, held):
        incomplete = incomplete or "it is reduced to some pages"
        why = "the machine's memory ranges are not known: a reduced image holds some pages only"
        return Memory(None, f"{why}; {_MEND}", incomplete)
    why = incomplete or _why_unknown(image)
    if not why and (seen.maps_more if seen else _maps_more(walk, held)):
        why = incomplete = "the kernel maps memory with large pages that the image does not hold"
    if why:
        return Memory(None, f"the image does not tell what is memory: {why}; {_MEND}", incomplete)
    return Memory(held)


def _given(given: Any) -> Intervals:
    for start, end in given:
        if end < start:
            raise ValueError("memory has a range that ends before it starts")
        if start < 0 or end > _PHYSICAL_END:
            raise ValueError(
                f"memory has a range from {start:#x} to {end:#x}; physical addresses have 52 bits"
            )
    return _intervals(np.array([pair for pair in given if pair[0] < pair[1]], np.uint64))


def _intervals(ranges: np.ndarray) -> Intervals:
    ranges = np.asarray(ranges, np.uint64).reshape(-1, 2)
    return Intervals(ranges[:, 0], ranges[:, 1] - ranges[:, 0])


def _incomplete(image: Image) -> str:
    """Say why the image may lack memory that the kernel used; "" where it may not."""
    if image.format == "records":
        return "it has page-table pages alone"
    if any("cut short" in note or "are missing" in note for note in image.notes):
        return "the file is cut short, or pages are missing"
    known = image.memory_map
    if known is not None and not np.array_equal(known, image.ranges):
        return "pages were left out of it (makedumpfile leaves out what -d names)"
    if image.format == "kdump" and getattr(image, "dump_level", 0) > 1:
        return f"pages were left out of it (makedumpfile -d {image.dump_level})"  # type: ignore[attr-defined]
    return ""


def _why_unknown(image: Image) -> str:
    """Say why frames outside what the image holds may be memory; "" where they are not."""
    if image.format in ("lime", "avml"):
        return f"{image.format} dumps hold the kernel's memory, not what firmware and devices have"
    if image.format in ("elf", "kdump") and not image.cpus:
        return (
            "what a kernel dumps of itself has no crash kernel's reservation and nothing of"
            " what firmware keeps"
        )
    hole = _hole(image.ranges)
    return f"it has a hole from {hole[0]:#x} to {hole[1]:#x}" if hole else ""


def _hole(ranges: np.ndarray) -> tuple[int, int] | None:
    """Return the first hole that a PC does not have anyway."""
    for start, end in zip([0, *ranges[:, 1].tolist()], ranges[:, 0].tolist(), strict=False):
        low = _LOW_HOLE[0] <= start and end <= _LOW_HOLE[1]
        if start != end and not low and end != _DEVICES_END:
            return start, end
    return None


def _is_reduced(walk: Walk | None, memory: Intervals) -> bool:
    """Tell whether most of what is mapped is missing from the image."""
    mapped = inside = 0
    for rows in chunks(walk) if walk else ():
        pa, size = rows.pa[rows.leaf], rows.size[rows.leaf]
        mapped += len(pa)
        inside += int(memory.contain(pa, size).sum())
    return inside < mapped * REDUCED


def _maps_more(walk: Walk | None, memory: Intervals) -> bool:
    """Tell whether a large page of the kernel's own is all outside: it maps only memory so."""
    return any(rows.large_outside(memory) for rows in (chunks(walk) if walk else ()))
