# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel notes of itself for crash dumps: reads VMCOREINFO."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..kernels import Kernel, find

#: ``__START_KERNEL_map``: where the kernel's own code is mapped, and how far that may reach.
START_KERNEL_MAP = 0xFFFF_FFFF_8000_0000
KERNEL_MAP_SIZE = 0x6000_0000

_FRAME = 0x000F_FFFF_FFFF_F000
_TOP_TABLES = ("swapper_pg_dir", "init_top_pgt", "init_level4_pgt")


@dataclass(frozen=True)
class KernelNotes:
    """What the notes say of the kernel in an image; None if they do not say it.

    release: ``uname -r``; build_id: of vmlinux, hexadecimal.
    offset: how far KASLR moved the kernel's addresses (KERNELOFFSET).
    phys_base: what is added to an address less ``__START_KERNEL_map`` for its
        physical one; of VMCOREINFO, or of an ELF core's program headers.
    levels: 4 or 5, of ``pgtable_l5_enabled``.
    sme_mask: the bit that says "encrypted" in every entry (0: encryption is off).
    top_table: virtual address of the kernel's own top table.
    """

    release: str | None = None
    build_id: str | None = None
    offset: int | None = None
    phys_base: int | None = None
    levels: int | None = None
    sme_mask: int | None = None
    top_table: int | None = None

    @property
    def root(self) -> int | None:
        """Physical address of the kernel's own top table."""
        if self.top_table is None or self.phys_base is None:
            return None
        return (self.top_table - START_KERNEL_MAP + self.phys_base) & _FRAME

    def linux(
        self, rules: str | None = None, swap_layout: str | None = None
    ) -> tuple[Kernel | None, str]:
        """Return the kernel of that release, and a note where it is none that is known.

        rules, swap_layout: what an argument says, whatever the version says.
        """
        if self.release is None:
            return None, ""
        try:
            return find(
                self.release, rules=rules, swap_layout=swap_layout, origin="OSRELEASE of VMCOREINFO"
            ), ""
        except ValueError as error:
            return None, f"{error}; --kernel names another"

    @property
    def missing(self) -> str:
        """What the notes lack for :attr:`root`, in words; "" where nothing."""
        if self.top_table is None:
            return "SYMBOL(swapper_pg_dir)" if self != KernelNotes() else "VMCOREINFO"
        return "" if self.phys_base is not None else "NUMBER(phys_base)"


def parse_vmcoreinfo(text: str) -> dict[str, str]:
    """Return the ``KEY=value`` lines of VMCOREINFO."""
    found = {}
    for line in text.rstrip("\0").splitlines():
        key, equals, value = line.partition("=")
        if equals:
            found[key] = value
    return found


def kernel_notes(lines: Mapping[str, str], phys_base: int | None = None) -> KernelNotes:
    """Return what the lines of VMCOREINFO say.

    phys_base: what something else than the lines says; they come first.
    Numbers have the base in which kernel/vmcore_info.c and arch/x86 print them.
    """
    noted = _number(lines.get("NUMBER(phys_base)"), lambda text: int(text, 0))
    five = _number(lines.get("NUMBER(pgtable_l5_enabled)"), lambda text: int(text, 0))
    symbols = (_number(lines.get(f"SYMBOL({name})"), _hexadecimal) for name in _TOP_TABLES)
    return KernelNotes(
        release=lines.get("OSRELEASE"),
        build_id=lines.get("BUILD-ID"),
        offset=_number(lines.get("KERNELOFFSET"), _hexadecimal),
        phys_base=phys_base if noted is None else noted,
        levels=None if five is None else 5 if five else 4,
        sme_mask=_number(lines.get("NUMBER(sme_mask)"), _hexadecimal),
        top_table=next((symbol for symbol in symbols if symbol is not None), None),
    )


def _hexadecimal(text: str) -> int:
    return int(text, 16)


def _number(text: str | None, read: Callable[[str], int]) -> int | None:
    try:
        return None if text is None else read(text.strip())
    except ValueError:
        return None
