# SPDX-License-Identifier: GPL-2.0-only
"""Decides where a walk begins and how entries are read, from arguments, notes, or the tables."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import content
from .top_table import complaint
from .walk import Root

if TYPE_CHECKING:
    from .image import Image

_FRAME = 0x000F_FFFF_FFFF_F000
#: Encryption bits that processors have (47, 51; guests of some clouds lower ones).
_C_BITS = range(32, 52)
PTI_CHOICES = ("user", "kernel")


class _Known(NamedTuple):
    """What arguments and notes say; None if they say nothing."""

    pa: int
    levels: int | None
    nxe: bool | None
    origin: str


def find_root(
    image: Image,
    root: int | None,
    levels: int | None,
    cpu: int,
    nxe: bool | None,
    c_bit: int | None,
    pti: str | None,
) -> Root:
    """Return where a walk of an image begins; arguments and errors as of ``Image.walk``."""
    _check(levels, c_bit, pti)
    known = _known(image, root, cpu)
    notes: list[str] = []
    encryption = _encryption(image, known.pa, c_bit, notes)
    read = find_reader(image, encryption)
    pa = known.pa & _FRAME & ~encryption
    if read(pa) is None:
        raise ValueError(
            f"{image.path}: the top table at physical {pa:#x} is not in the image"
            f" ({image.ranges_text()})"
        )
    pa, user_pa = _copy(image, read, pa, pti, notes)
    found, origin = _levels(image, read, pa, levels, known, notes)
    if (why := complaint(read, pa, found)) is not None:
        raise ValueError(
            f"{image.path}: the page at the root {pa:#x} is no top table of {found} levels:"
            f" {why}; pass another: --root CR3, --levels 4 or 5, or --cpu N"
        )
    if nxe is None:
        nxe = known.nxe
    if nxe is None:
        nxe = True
        notes.append("EFER.NXE assumed set: the image has no EFER (bit 63 is taken for NX)")
    return Root(pa, found, bool(nxe), tuple(notes), origin, encryption, user_pa)


def bounded(root: Root, within: tuple[int, int] | None) -> Root:
    """Return a root from which only addresses of [from, to) are walked; None: all.

    Raises ValueError for a range that is empty, or lies where there are no addresses.
    """
    if within is None:
        return root
    first, end = (operator.index(address) for address in within)
    if not 0 <= first < end <= 1 << 64:
        raise ValueError(
            f"the range {first:#x}-{end:#x} is empty or no range of addresses: FROM is below TO,"
            " and both have 64 bits"
        )
    last = end - 1
    half = 1 << (12 + 9 * root.levels - 1)
    hole = range(half, (1 << 64) - half)  # which no address of this many levels is in
    if first in hole and last in hole:
        raise ValueError(
            f"the range {first:#x}-{end:#x} has no address of {root.levels} levels: those end at"
            f" {half:#x}, and go on at {hole.stop:#x}"
        )
    first = hole.stop if first in hole else first
    last = half - 1 if last in hole else last
    return root._replace(first=first, last=last)


def check_c_bit(c_bit: int | None) -> None:
    """Raise ValueError for what cannot be the number of the encryption bit."""
    if c_bit is not None and operator.index(c_bit) not in _C_BITS:
        raise ValueError(f"c_bit is {c_bit}; the encryption bit is one of 32 to 51")


def _check(levels: int | None, c_bit: int | None, pti: str | None) -> None:
    if levels not in (None, 4, 5):
        raise ValueError(f"levels is {levels!r}; x86-64 has 4 or 5")
    check_c_bit(c_bit)
    if pti is not None and pti not in PTI_CHOICES:
        raise ValueError(f"pti is {pti!r}; it can be 'user' or 'kernel'")


def _known(image: Image, root: int | None, cpu: int) -> _Known:
    cpu = operator.index(cpu)
    if image.cpus and not 0 <= cpu < len(image.cpus):
        last = len(image.cpus) - 1
        raise ValueError(f"{image.path}: has no processor {cpu}, only 0 to {last}")
    if not image.cpus and cpu:
        raise ValueError(f"{image.path}: has no processor registers, so no processor {cpu}")
    registers = image.cpus[cpu] if image.cpus else None
    if root is not None:
        pa = operator.index(root)
        if not 0 <= pa < 1 << 64:
            raise ValueError(f"root is {pa:#x}; it is a physical address (or the value of CR3)")
        if registers is None:
            return _Known(pa, image.kernel.levels, None, "an argument")
        return _Known(pa, registers.levels, registers.nxe, "an argument")
    if registers is None:
        if image.kernel.root is None:
            raise ValueError(
                f"{image.path}: has no processor registers, and no {image.kernel.missing} to"
                " find the kernel's own tables by; pass the root: --root CR3"
            )
        return _Known(image.kernel.root, image.kernel.levels, None, "VMCOREINFO")
    if not registers.paging:
        raise ValueError(
            f"{image.path}: processor {cpu} did not use 64-bit page tables"
            f" (CR0 {registers.cr0:#x}, CR4 {registers.cr4:#x}); pass a root instead"
        )
    return _Known(registers.cr3, registers.levels, registers.nxe, f"CR3 of processor {cpu}")


def find_reader(image: Image, encryption: int) -> content.ReadTable:
    """Return what gives the 512 entries at a physical address, without encryption bit."""
    mask = np.uint64(~encryption & (1 << 64) - 1)

    def read(pa: int) -> np.ndarray | None:
        entries = image.entries_at(pa)
        return None if entries is None else entries & mask

    return read


def _encryption(image: Image, pa: int, c_bit: int | None, notes: list[str]) -> int:
    """Return the encryption bit as a mask, and note where it was found."""
    if c_bit is not None:
        return 1 << operator.index(c_bit)
    if image.kernel.sme_mask is not None:
        return image.kernel.sme_mask & _FRAME
    read = find_reader(image, 0)
    pa &= _FRAME
    found = content.encryption_of_address(read, pa)
    found = found or content.encryption_of(read, pa)
    if found:
        bit = found.bit_length() - 1
        notes.append(
            f"bit {bit} is taken for the encryption bit (SME, SEV): every entry of the top table"
            f" has it, and its tables are in the image without it; --c-bit {bit} says so"
        )
    return found


def _copy(
    image: Image, read: content.ReadTable, pa: int, pti: str | None, notes: list[str]
) -> tuple[int, int | None]:
    """Return the top table to walk and, where both copies are walked, the user's."""
    copies = content.isolated_copies(read, pa)
    if copies is None:
        if pti is not None:
            raise ValueError(
                f"{image.path}: the top table at {pa:#x} is not one of two copies that page-table"
                f" isolation makes; walk it without --pti {pti}"
            )
        return pa, None
    kernel, user = copies
    what = f"page-table isolation: the kernel's copy of the top table is at {kernel:#x}"
    what += f", the user's at {user:#x}"
    if pti is None:
        notes.append(
            f"{what}; walked are the lower half of the user's and the upper half of the kernel's"
            " (--pti user or --pti kernel walks one alone)"
        )
        return kernel, user
    notes.append(f"{what}; walked is the {pti}'s")
    return (user if pti == "user" else kernel), None


def _levels(
    image: Image,
    read: content.ReadTable,
    pa: int,
    given: int | None,
    known: _Known,
    notes: list[str],
) -> tuple[int, str]:
    """Return the number of levels, and where root and levels were taken from."""
    origin = f"root from {known.origin}, levels from"
    if given is None and known.levels is not None:
        source = "CR4" if image.cpus else "VMCOREINFO"
        return known.levels, f"{origin} {source}"
    told = content.levels_of(read, pa)
    if given is not None:
        if told is not None and told.levels != given:
            raise ValueError(
                f"{image.path}: {given} levels were asked for, but the tables have {told.levels}:"
                f" {told.evidence}; pass --levels {told.levels}"
            )
        return given, f"{origin} an argument"
    if told is not None:
        notes.append(f"{told.levels} levels, as the tables show: {told.evidence}")
        return told.levels, f"{origin} the tables"
    notes.append(
        "four levels assumed: the image has no CR4, and the tables do not show it"
        " (--levels 5 for LA57)"
    )
    return 4, f"{origin} an assumption"
