# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's monitor command ``info tlb``: ``va: pa XGPDACTUW``, one line a leaf."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from ... import bits
from .records import Format, Place, Record

_FLAGS = (
    bits.NX,
    bits.GLOBAL,
    bits.PSE,
    bits.DIRTY,
    bits.ACCESSED,
    bits.PCD,
    bits.PWT,
    bits.USER,
    bits.RW,
)
_SHOWN = sum(_FLAGS) | bits.PRESENT
_KNOWN_SMALL = (_SHOWN & ~bits.PSE) | bits.SMALL_FRAME
_KNOWN_LARGE = {
    2: _SHOWN | bits.LEAF_FRAME["pmd"],
    3: _SHOWN | bits.LEAF_FRAME["pud"],
}
_GIB = 1 << 30
_FOUR_GIB = 1 << 32


class InfoTlb(Format):
    """``info tlb`` of the monitor."""

    name = "info tlb"
    lost = (
        "bits 9 to 11 and 52 to 62 (SPECIAL, UFFD_WP, SOFT_DIRTY, DEVMAP, Cow, protection key),"
        " the PAT bit, and every entry that is no present leaf"
    )

    PATTERNS: ClassVar[Mapping[str, re.Pattern[str]]] = {
        "line": re.compile(
            r"\b([0-9a-f]{16}):\s+([0-9a-f]{16})\s+"
            r"([X-][G-][P-][D-][A-][C-][T-][U-][W-])(?=\s|$)"
        )
    }

    def __init__(self) -> None:
        super().__init__()
        self._flags: dict[str, int] = {}
        self._guessed = 0

    def take(self, what: str, match: re.Match[str], place: Place) -> None:
        """Take a line."""
        va, pa, letters = match.groups()
        flags = self._flags.get(letters)
        if flags is None:
            pairs = zip(letters, _FLAGS, strict=True)
            flags = sum(bit for letter, bit in pairs if letter != "-") | bits.PRESENT
            self._flags[letters] = flags
        entry = int(pa, 16) & bits.SMALL_FRAME | flags
        record = Record(place.line(), self.name, 1, int(va, 16), entry, _KNOWN_SMALL)
        if int(pa, 16) & ~bits.SMALL_FRAME & ~bits.NX:
            record.warnings.append(f"physical address {int(pa, 16):#x} is no frame of an entry")
        self.records.append(record)

    def finish(self) -> None:
        """Distinguish leaves of 2 MiB and 1 GiB by their addresses: both are printed as P."""
        for index, record in enumerate(self.records):
            if not record.entry & bits.PSE:
                continue
            record.level = 3 if self._is_gigantic(index) else 2
            record.known = _KNOWN_LARGE[record.level]
            if record.level == 3:
                record.note = "1 GiB by its place alone; a lone 2 MiB page looks the same"
                self._guessed += 1

    def _is_gigantic(self, index: int) -> bool:
        record = self.records[index]
        assert record.va is not None
        if (record.va | record.entry & bits.SMALL_FRAME) % _GIB:
            return False
        if index + 1 == len(self.records):
            return True
        following = self.records[index + 1].va
        assert following is not None
        return not record.va < following < record.va + _GIB

    def notes(self) -> list[str]:
        """Say how many sizes were inferred, and what does not look like 64 bits."""
        said = []
        if self._guessed:
            said.append(
                f"info tlb: {self._guessed} large leaves taken for 1 GiB by their place alone"
            )
        if self.records and all(record.va < _FOUR_GIB for record in self.records if record.va):
            said.append(
                "info tlb: every address is below 4 GiB: of a 32-bit guest? its page tables are"
                " not covered (large pages may be of 4 MiB)"
            )
        return said
