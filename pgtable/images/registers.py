# SPDX-License-Identifier: GPL-2.0-only
"""Reads the notes of a dump: registers of each processor, and VMCOREINFO."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from .vmcoreinfo import parse_vmcoreinfo

_NOTE = struct.Struct("<III")
#: ``QEMUCPUState``: version, size, 18 registers, 10 segments of 24 bytes, CR0 to CR4, ...
_QEMU_MIN = 432
_QEMU_RIP = 8 + 16 * 8
_QEMU_CS = 8 + 18 * 8
_QEMU_CR = 8 + 18 * 8 + 10 * 24

_CR0_PG = 1 << 31
_CR4_PAE = 1 << 5
_CR4_LA57 = 1 << 12
_EFER_NXE = 1 << 11
_EFER_LME = 1 << 8
_EFER_LMA = 1 << 10
_CR3_FRAME = 0x000F_FFFF_FFFF_F000

#: ``DBGFCORECPU`` of VirtualBox: 18 registers, 6 segments of 24 bytes, CR0 to CR4, ...
_VBOX_MIN = 496
_VBOX_RIP = 14 * 8
_VBOX_CS = 18 * 8 + 16
_VBOX_CR = 18 * 8 + 6 * 24
_VBOX_EFER = 488


@dataclass(frozen=True)
class Registers:
    """The registers that decide how a processor translates addresses.

    ``efer`` is None where the image does not carry it: the notes that QEMU
    writes have CR0 to CR4 only.
    """

    cr0: int
    cr2: int
    cr3: int
    cr4: int
    rip: int
    cpl: int
    efer: int | None = None

    @property
    def root(self) -> int:
        """Physical address of the top table."""
        return self.cr3 & _CR3_FRAME

    @property
    def levels(self) -> int:
        """5 with CR4.LA57, else 4."""
        return 5 if self.cr4 & _CR4_LA57 else 4

    @property
    def nxe(self) -> bool | None:
        """Whether bit 63 of an entry is NX (else it is reserved); None where not known."""
        return None if self.efer is None else bool(self.efer & _EFER_NXE)

    @property
    def paging(self) -> bool:
        """Whether it translates with tables of 64-bit entries."""
        return bool(self.cr0 & _CR0_PG and self.cr4 & _CR4_PAE)


def parse_notes(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of each ELF note; stops where the notes are cut short."""
    at = 0
    while at + _NOTE.size <= len(data):
        name_size, size, _ = _NOTE.unpack_from(data, at)
        name_at = at + _NOTE.size
        at = name_at + _aligned(name_size)
        if at + size > len(data):
            return
        name = data[name_at : name_at + name_size].rstrip(b"\0")
        yield name.decode("ascii", "replace"), data[at : at + size]
        at += _aligned(size)


def _aligned(size: int) -> int:
    return (size + 3) & ~3


def registers_of(notes: list[tuple[str, bytes]]) -> list[Registers]:
    """Return the registers of each processor, in order, from QEMU's or VirtualBox's notes."""
    found = []
    for name, content in notes:
        if name == "QEMU" and len(content) >= _QEMU_MIN:
            found.append(_qemu_registers(content))
        elif name == "VBCPU" and len(content) >= _VBOX_MIN:
            found.append(_vbox_registers(content))
    return found


def _vbox_registers(content: bytes) -> Registers:
    """Source: VirtualBox's include/VBox/vmm/dbgfcorefmt.h."""
    cr0, cr2, cr3, cr4 = struct.unpack_from("<4Q", content, _VBOX_CR)
    (rip,) = struct.unpack_from("<Q", content, _VBOX_RIP)
    (cs,) = struct.unpack_from("<H", content, _VBOX_CS)
    (efer,) = struct.unpack_from("<Q", content, _VBOX_EFER)
    # LMA or LME is set in every 64-bit guest: an EFER without them was not filled in
    known = efer if efer & (_EFER_LME | _EFER_LMA) else None
    return Registers(cr0=cr0, cr2=cr2, cr3=cr3, cr4=cr4, rip=rip, cpl=cs & 3, efer=known)


def _qemu_registers(content: bytes) -> Registers:
    cr0, _, cr2, cr3, cr4 = struct.unpack_from("<5Q", content, _QEMU_CR)
    (rip,) = struct.unpack_from("<Q", content, _QEMU_RIP)
    (cs,) = struct.unpack_from("<I", content, _QEMU_CS)
    return Registers(cr0=cr0, cr2=cr2, cr3=cr3, cr4=cr4, rip=rip, cpl=cs & 3)


def vmcoreinfo_of(notes: list[tuple[str, bytes]]) -> dict[str, str]:
    """Return the ``KEY=value`` lines of VMCOREINFO; empty where there is none."""
    found: dict[str, str] = {}
    for name, content in notes:
        if name == "VMCOREINFO":
            found |= parse_vmcoreinfo(content.decode("ascii", "replace"))
    return found
