# SPDX-License-Identifier: GPL-2.0-only
"""What entries that are not present stand for: swap, migration, markers and others.

:func:`absent` names an entry, for the kernel that made it, and :func:`kinds_of` gives the same
kinds for arrays.  If the kernel is not known, types from 22 up count as special uses, as they are
in some kernel, and the names are those of the newest kernel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .kernels import Kernel, of_rules

PROTNONE = "protnone"
INVALID = "invalid"
SWAP = "swap"
MIGRATION = "migration"
MARKER = "marker"
FILE = "file"
OTHER = "other"

_DIRTY = 1 << 6
_PSE = 1 << 7
_PROTNONE = 1 << 8
_NUMA = 1 << 9  #: of 3.16 to 3.19, with CONFIG_NUMA_BALANCING
_FRAME = 0x000F_FFFF_FFFF_F000
#: How many bits a frame number in a swap entry has, by the largest memory of a machine.
_FRAME_BITS = {4: 34, 5: 40}
#: Types from here up are a special use in some kernel; a marker is one of the topmost two.
_FIRST_SPECIAL, _FIRST_MARKER, _MOST_MARKER = 22, 30, 7
_OTHER_TEXT = "not present; its bits are those of no swap, migration or marker entry"
_KERNEL_TEXT = "not present; in the kernel half there are no swap entries"

_WORDS = {
    "hwpoison": "a page with broken memory (hwpoison)",
    "migration_read": "a page under migration, read-only",
    "migration_read_exclusive": "a page under migration, read-only, this process's alone",
    "migration_write": "a page under migration, writable",
    "device_write": "a page in device-private memory, writable",
    "device_read": "a page in device-private memory, read-only",
    "device_exclusive": "a page that a device uses alone",
    "device_exclusive_write": "a page that a device uses alone, writable",
    "device_exclusive_read": "a page that a device uses alone, read-only",
    "swapin_error": "a page that could not be read from swap",
}


@dataclass(frozen=True)
class Absent:
    """What a non-zero entry with PRESENT=0 is.

    kind: as ``walk`` calls it.  name: of its type or marker ("migration_write", "uffd_wp").
    frame: frame number of an entry whose offset is one; None where it has none.
    assumed: what was assumed for the name; "" if nothing.
    """

    kind: str
    text: str
    name: str = ""
    type: int | None = None
    offset: int | None = None
    frame: int | None = None
    assumed: str = ""


def absent(
    entry: int, level: str, kernel: Kernel | None = None, kernel_half: bool = False
) -> Absent:
    """Return what an entry with PRESENT=0 is.

    kernel: the one that made it; None: the newest, which ``assumed`` says.
    kernel_half: it maps an address of the kernel half, which has no swap entries.
    """
    known = kernel or of_rules("saved_dirty")
    if entry & _PROTNONE or (known.swap_layout == "bit10" and entry & _NUMA):
        return Absent(PROTNONE, "maps a page, but no access is allowed (PRESENT=0, PROTNONE=1)")
    if level == "pmd" and entry & _PSE:
        return Absent(INVALID, "maps a large page, made invalid for a moment (PRESENT=0, PSE=1)")
    if kernel_half:
        return Absent(OTHER, _KERNEL_TEXT)
    if level == "pte" and entry & _DIRTY and not known.has("no_file_entries"):
        place = (entry & _FRAME) >> 12
        return Absent(FILE, f"page {place:#x} of a file that is mapped nonlinearly", offset=place)
    if _means_nothing(entry, level, known, kernel is None):
        return Absent(OTHER, _OTHER_TEXT)
    return _swap(entry, known) if kernel else _swap_of_any(entry, known)


def unused_bits(kernel: Kernel) -> int:
    """Return which of the bits 4 to 7 are clear in every swap entry of a kernel."""
    swap = kernel.swap
    flags = sum(1 << bit for bit in kernel.swap_bits)
    return 0xF0 & ~(31 << swap.type_shift) & ~flags


def _means_nothing(entry: int, level: str, kernel: Kernel, any_kernel: bool) -> bool:
    """Tell whether an entry is no swap entry: of a top table, with bits that none has, or large.

    any_kernel: it need not be this one's; up to 4.13 bit 7 is the soft-dirty mark.
    """
    if level not in ("pte", "pmd", "pud"):
        return True
    unused = unused_bits(kernel) & (0x70 if any_kernel else 0xF0)
    first_special = _FIRST_SPECIAL if any_kernel else min(kernel.types)
    large = level != "pte" and int(kernel.swap.type(entry)) < first_special
    return large or bool(entry & unused)


def _swap_of_any(entry: int, newest: Kernel) -> Absent:
    """Name a swap entry of a kernel that is not known."""
    type_, offset = int(newest.swap.type(entry)), int(newest.swap.offset(entry))
    if type_ < _FIRST_SPECIAL:
        return _swap(entry, newest)
    marker = type_ >= _FIRST_MARKER and 1 <= offset <= _MOST_MARKER
    newest_name = newest.types.get(type_)
    if marker or newest_name not in (None, "marker"):
        why = "types of swap entries are numbered as since Linux 6.15; --kernel names another"
        return replace(_swap(entry, newest, "marker" if marker else None), assumed=why)
    text = "a page under migration, in a device, or with broken memory, of an older kernel"
    if type_ < _FIRST_MARKER:
        text += f"; or in swap area {type_}"
    why = "which of them depends on the kernel; --kernel names it"
    return Absent(MIGRATION, text, "", type_, offset, assumed=why)


def _swap(entry: int, kernel: Kernel, name: str | None = None) -> Absent:
    type_, offset = int(kernel.swap.type(entry)), int(kernel.swap.offset(entry))
    name = name or kernel.types.get(type_)
    if name is None:
        return Absent(SWAP, f"in swap area {type_}, at offset {offset:#x}", "", type_, offset)
    if name == "marker":
        marked = [what for bit, what in kernel.markers.items() if offset >> bit & 1]
        unknown = offset & ~sum(1 << bit for bit in kernel.markers)
        marked += [f"unknown {unknown:#x}"] if unknown or not marked else []
        text = f"marker: no page, {', '.join(marked)}"
        return Absent(MARKER, text, ",".join(marked), type_, offset)
    frame, more = _frame(name, offset, kernel)
    return Absent(MIGRATION, _WORDS[name] + more, name, type_, offset, frame)


# ---- whole arrays


def kinds_of(
    entries: np.ndarray, levels: np.ndarray, kernel_half: np.ndarray, kernel: Kernel
) -> np.ndarray:
    """Return the kind of entries with PRESENT=0, as :func:`absent` names each (array of str).

    entries: uint64, none 0; levels: 1 to 5; kernel_half: bool; arrays of one length.
    """
    swap = kernel.swap
    of_type = np.full(32, SWAP, dtype=object)
    for number, name in kernel.types.items():
        of_type[number] = MARKER if name == "marker" else MIGRATION
    types = swap.type(entries).astype(np.intp)
    no_swap = (levels > 1) & (types < min(kernel.types))
    other = kernel_half | (levels > 3) | no_swap | _any(entries, unused_bits(kernel))
    kinds = np.where(other, OTHER, of_type[types])
    if not kernel.has("no_file_entries"):
        kinds[(levels == 1) & ~kernel_half & _any(entries, _DIRTY)] = FILE
    kinds[(levels == 2) & _any(entries, _PSE)] = INVALID
    numa = _NUMA if kernel.swap_layout == "bit10" else 0
    kinds[_any(entries, _PROTNONE | numa)] = PROTNONE
    return kinds


def migration_frames(entries: np.ndarray, kernel: Kernel, levels: int) -> np.ndarray:
    """Return the frame numbers in the offsets of migration and device entries (uint64).

    levels: of the machine's tables, 4 or 5: bits above a frame of that width are flags.
    """
    mask = np.uint64((1 << _FRAME_BITS[levels]) - 1)
    return kernel.swap.offset(entries) & mask


def _any(entries: np.ndarray, mask: int) -> Any:
    return (entries & np.uint64(mask)) != 0


def _frame(name: str, offset: int, kernel: Kernel) -> tuple[int, str]:
    """Return the frame number in an offset, and what its bits above say."""
    if not name.startswith("migration") or not kernel.has("migration_young_dirty"):
        return offset, ""
    for bits in _FRAME_BITS.values():
        above = offset >> bits
        if above < 4:
            marks = [what for bit, what in enumerate(("young", "dirty")) if above >> bit & 1]
            more = f" ({', '.join(marks)} before)" if marks else ""
            return offset & ((1 << bits) - 1), more
    return offset, ""
