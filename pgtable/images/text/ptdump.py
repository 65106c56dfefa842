# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's page_tables files (ptdump): ranges of leaves with the same flags."""

from __future__ import annotations

import re

from ... import bits
from .records import Format, Record, level_shift

_LINE = re.compile(
    r"0x([0-9a-f]{16})-0x([0-9a-f]{16})\s+\d+[BKMGTPE]\s"
    r"((?:\s|USR|RW|ro|PWT|PCD|PSE|PAT|GLB|NX|x)*)\b(pte|pmd|pud|p4d|pgd)\b"
)
_HEADING = re.compile(r"---\[ .* \]---")
_LEVELS = {"pte": 1, "pmd": 2, "pud": 3, "p4d": 4, "pgd": 5}
_FLAGS = {
    "USR": bits.USER,
    "RW": bits.RW,
    "PWT": bits.PWT,
    "PCD": bits.PCD,
    "PSE": bits.PSE,
    "GLB": bits.GLOBAL,
    "NX": bits.NX,
}
_KNOWN = bits.PRESENT | bits.PSE | sum(_FLAGS.values())


class PageTablesFile(Format):
    """/sys/kernel/debug/page_tables/*, and the same at boot in the log."""

    name = "ptdump"
    lost = (
        "the frame, ACCESSED, DIRTY and the software bits (Write is known, Dirty and Cow are not);"
        " table entries; what entries hold where nothing is present"
    )

    def __init__(self) -> None:
        super().__init__()
        self._absent = 0

    def feed(self, number: int, line: str) -> bool:
        """Take a line."""
        match = _LINE.search(line)
        if match is None:
            return _HEADING.search(line) is not None
        first, end, words, name = match.groups()
        flags = words.split()
        if not flags:
            self._absent += 1
            return True
        level = _LEVELS[name]
        start = int(first, 16)
        size = (int(end, 16) - start) % (1 << 64)  # the last range ends at 2**64, printed as 0
        self.records.append(
            Record(
                number,
                self.name,
                level,
                start,
                _entry(flags, level),
                _KNOWN | _pat(level),
                max(1, size >> level_shift(level)),
            )
        )
        return True

    def notes(self) -> list[str]:
        """Say how many ranges hold nothing present."""
        if not self._absent:
            return []
        return [f"ptdump: {self._absent} ranges where nothing is present passed over"]


def _pat(level: int) -> int:
    return bits.PAT if level == 1 else bits.PAT_LARGE


def _entry(flags: list[str], level: int) -> int:
    entry = bits.PRESENT | sum(_FLAGS.get(flag, 0) for flag in flags)
    return entry | _pat(level) if "PAT" in flags else entry
