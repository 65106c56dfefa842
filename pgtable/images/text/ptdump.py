# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's page_tables files (ptdump): ranges of leaves with the same flags."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from ... import bits
from .records import UNKNOWN_LEVEL, Format, Place, Record, level_shift

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

    PATTERNS: ClassVar[Mapping[str, re.Pattern[str]]] = {
        "line": re.compile(
            r"(?:0x)([0-9a-f]{16})-\s*0x([0-9a-f]{16})\s+\d+[BKMGTPE]\s"
            r"((?:\s|USR|RW|ro|PWT|PCD|PSE|PAT|GLB|NX|x)*)\b(pte|pmd|pud|p4d|pgd)\b"
        ),
        "heading": re.compile(r"---\[ [^\n]{1,60} \]---"),
        "broken": re.compile(
            r"0x(?![0-9a-f]{8}-)[0-9a-f]{1,16}-\s*0x[0-9a-f]{1,16}\s+\d+[BKMGTPE]\s"
            r"(?![^\n]*\b(?:PTE|PMD|PUD|P4D|PGD)\b)[^\n]*"
        ),
    }

    def __init__(self) -> None:
        super().__init__()
        self._absent = 0

    def take(self, what: str, match: re.Match[str], place: Place) -> None:
        """Take a line."""
        if what != "line":
            if what == "broken":
                self.unreadable.append((place.line(), match[0].strip()[:80]))
            return
        first, end, words, name = match.groups()
        flags = words.split()
        if not flags:
            self._absent += 1
            return
        level = _LEVELS[name]
        start = int(first, 16)
        size = (int(end, 16) - start) % (1 << 64)  # the last range ends at 2**64, printed as 0
        self.records.append(
            Record(
                place.line(),
                self.name,
                level,
                start,
                _entry(flags, level),
                _KNOWN | _pat(level),
                max(1, size >> level_shift(level)),
            )
        )

    def notes(self) -> list[str]:
        """Return how many ranges have no present entries."""
        if not self._absent:
            return []
        return [f"ptdump: {self._absent} ranges where nothing is present passed over"]


class InsecureMapping(Format):
    """``x86/mm: Found insecure W+X mapping at address ...``, of the check at boot."""

    name = "W+X mapping"
    lost = "the level, the frame, and every bit but PRESENT, Write and NX"
    PATTERNS: ClassVar[Mapping[str, re.Pattern[str]]] = {
        "mapping": re.compile(
            r"x86/mm:\s+Found\s+insecure\s+W\+X\s+mapping\s+at\s+address\s+"
            r"(?:0x)?([0-9a-f]{8,16}|\([^()\s]*\))?(?:/(?:0x)?(\S+))?"
        ),
        "total": re.compile(r"Checked\s+W\+X\s+mappings:\s+FAILED,\s+(\d+)\s+W\+X"),
    }

    def __init__(self) -> None:
        super().__init__()
        self._total = 0

    def take(self, what: str, match: re.Match[str], place: Place) -> None:
        """Take a line."""
        if what == "total":
            self._total += int(match[1])
            return
        texts = [text for text in match.groups() if text]
        addresses = [int(text, 16) for text in texts if re.fullmatch(r"[0-9a-f]{8,16}", text)]
        # pointers are printed as hashes of 32 bits by some versions
        whole = [address for address in addresses if address >> 32]
        known = bits.PRESENT | bits.RW | bits.NX
        va = whole[0] if whole else None
        entry = bits.PRESENT | bits.RW
        self.records.append(Record(place.line(), self.name, UNKNOWN_LEVEL, va, entry, known))
        symbols = [text for text in texts if not re.fullmatch(r"[0-9a-f]{8,16}|\(.*\)", text)]
        note = "the first of a run of pages; how many is not printed"
        if symbols:
            note += f"; in {symbols[0]}"
        self.records[-1].note = note

    def notes(self) -> list[str]:
        """Return how many pages the kernel counted."""
        return [f"W+X mapping: {self._total:,} pages, the kernel says"] if self._total else []


def _pat(level: int) -> int:
    return bits.PAT if level == 1 else bits.PAT_LARGE


def _entry(flags: list[str], level: int) -> int:
    entry = bits.PRESENT | sum(_FLAGS.get(flag, 0) for flag in flags)
    return entry | _pat(level) if "PAT" in flags else entry
