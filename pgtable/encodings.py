# SPDX-License-Identifier: GPL-2.0-only
"""What an entry that is not present stands for: swap, migration, marker and the others.

One function names them all, :func:`absent`, for the kernel that made the entry.
"""

from __future__ import annotations

from dataclasses import dataclass

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
#: Bits of a frame number in a swap entry: as wide as a machine's memory may be.
_FRAME_BITS = {4: 34, 5: 40}

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
    assumed: what was taken for granted for the name; "" for nothing.
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

    kernel: who made it; None: the newest, which is said in ``assumed``.
    kernel_half: it maps an address of the kernel half, which has no swap entries.
    """
    known = kernel or of_rules("saved_dirty")
    if entry & _PROTNONE or (known.swap_layout == "bit10" and entry & _NUMA):
        return Absent(PROTNONE, "maps a page, but no access is allowed (PRESENT=0, PROTNONE=1)")
    if level == "pmd" and entry & _PSE:
        return Absent(INVALID, "maps a large page, made invalid for a moment (PRESENT=0, PSE=1)")
    if kernel_half:
        return Absent(OTHER, "not present; in the kernel half there are no swap entries")
    if level == "pte" and entry & _DIRTY and not known.has("no_file_entries"):
        place = (entry & _FRAME) >> 12
        return Absent(FILE, f"page {place:#x} of a file that is mapped nonlinearly", offset=place)
    return _swap(entry, known, kernel is None)


def _swap(entry: int, kernel: Kernel, assumed: bool) -> Absent:
    type_, offset = int(kernel.swap.type(entry)), int(kernel.swap.offset(entry))
    name = kernel.types.get(type_)
    if name is None:
        return Absent(SWAP, f"in swap area {type_}, at offset {offset:#x}", "", type_, offset)
    why = ""
    if assumed:
        why = "types of swap entries are numbered as since Linux 6.15; --kernel names another"
    if name == "marker":
        marked = [what for bit, what in kernel.markers.items() if offset >> bit & 1]
        unknown = offset & ~sum(1 << bit for bit in kernel.markers)
        marked += [f"unknown {unknown:#x}"] if unknown or not marked else []
        text = f"marker: no page, {', '.join(marked)}"
        return Absent(MARKER, text, ",".join(marked), type_, offset, assumed=why)
    frame, more = _frame(name, offset, kernel)
    return Absent(MIGRATION, _WORDS[name] + more, name, type_, offset, frame, why)


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
