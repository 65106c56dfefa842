# SPDX-License-Identifier: GPL-2.0-only
"""Refuses ELF files that are no memory of an x86-64 machine: names them, and says what to do."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from .range_readers import Window

_CLASS, _DATA, _TYPE_AT, _MACHINE_AT = 4, 5, 16, 18
_ELFCLASS32, _ELFCLASS64 = 1, 2
_LITTLE_ENDIAN, _BIG_ENDIAN = 1, 2
_ET_CORE = 4
_EM_X86_64 = 62
_TYPES = {
    0: "an ELF file of no type",
    1: "an ELF object or kernel module",
    2: "an ELF program (vmlinux?)",
    3: "an ELF program or library",
}
_MACHINES = {
    2: "SPARC", 3: "32-bit x86 (i386)", 4: "m68k", 8: "MIPS", 15: "PA-RISC", 20: "32-bit PowerPC",
    21: "PowerPC 64", 22: "s390", 36870: "Alpha", 40: "32-bit ARM", 42: "SuperH",
    43: "64-bit SPARC", 50: "Itanium", 183: "arm64 (AArch64)", 243: "RISC-V", 252: "C-SKY",
    258: "LoongArch",
}  # fmt: skip

_SECTION = struct.Struct("<IIQQQQIIQQ")
_USER_END = 1 << 63


def refuse_wrong_kind(path: Path, header: bytes) -> None:
    """Raise ValueError for another class, byte order, machine or type."""
    if len(header) <= _DATA:
        return
    big = header[_DATA] == _BIG_ENDIAN
    order = ">" if big else "<"
    if len(header) >= _MACHINE_AT + 2:
        kind, machine = struct.unpack_from(f"{order}HH", header, _TYPE_AT)
        if machine not in (0, _EM_X86_64):
            name = _MACHINES.get(machine, f"machine type {machine}")
            raise ValueError(
                f"{path}: an ELF file of {name}, not a core of an x86-64 machine:"
                " its page tables are others"
            )
    if header[_CLASS] == _ELFCLASS32:
        raise ValueError(
            f"{path}: a 32-bit ELF file, not a 64-bit one; dump as ELF64"
            " (kexec --elf64-core-headers)"
        )
    if header[_CLASS] != _ELFCLASS64 or header[_DATA] != _LITTLE_ENDIAN:
        raise ValueError(f"{path}: not a 64-bit little-endian ELF file; dump as ELF64")
    if len(header) >= _MACHINE_AT + 2 and kind != _ET_CORE:
        what = _TYPES.get(kind, f"an ELF file of type {kind}")
        raise ValueError(f"{path}: {what}, not a core of an x86-64 machine")


def refuse_xen(path: Path, memory: memoryview | Window, at: int, count: int, names: int) -> None:
    """Raise ValueError for the core of a Xen guest: its pages lie in sections."""
    if not at or names >= count or at + count * _SECTION.size > len(memory):
        # xl dump-core writes sections only, behind the memory
        (segments,) = struct.unpack("<H", memory[56:58])
        if at and not segments:
            raise ValueError(f"{path}: cut short: its section headers (a Xen core?) are missing")
        return
    at_names = at + names * _SECTION.size
    _, _, _, _, offset, size, *_ = _SECTION.unpack(memory[at_names : at_names + _SECTION.size])
    text = bytes(memory[offset : offset + min(size, 1 << 16)])
    if b".note.Xen" in text or b".xen_pages" in text:
        raise ValueError(
            f"{path}: the core of a Xen guest (xl dump-core), whose pages are numbered by the"
            " guest; dump inside the guest instead (kdump, LiME, AVML), or read it with crash"
        )


def refuse_process_core(path: Path, vaddr: np.ndarray, notes: list[tuple[str, bytes]]) -> None:
    """Raise ValueError for the core of one process: user addresses, and no physical ones."""
    if len(vaddr) and vaddr.any() and bool((vaddr < np.uint64(_USER_END)).all()):
        raise ValueError(
            f"{path}: the core of one process, not of a machine: it has no physical memory;"
            " dump the machine (kdump, LiME, virsh dump --memory-only)"
        )
