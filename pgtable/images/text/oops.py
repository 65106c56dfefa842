# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel logs of page tables when something is wrong.

An oops names an address and prints the entries on the way to it; a ``Bad page
map`` report prints the entry at fault, then its address, and the entries above.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .records import LEVEL_NUMBERS, Format, Record, covered_from, top_down

_FAULT = re.compile(
    r"(?:page fault for address: |NULL pointer dereference, address: |Corrupted page table"
    r" at address |kernel paging request at (?:virtual address )?"
    r"|NULL pointer dereference at (?:virtual address )?) *([0-9a-f]+\b|\(null\))"
)
_CR2 = re.compile(r"\bCR2: ([0-9a-f]{16})\b")
_TABLES = re.compile(
    r"\bPGD ([0-9a-f]+)\b(?: P4D ([0-9a-f]+)\b)?(?: PUD ([0-9a-f]+)\b)?"
    r"(?: PMD ([0-9a-f]+)\b)?(?: PTE ([0-9a-f]+)\b)?"
)
_NAMES = ("PGD", "P4D", "PUD", "PMD", "PTE")

#: How many lines of other text may stand between two lines of one report.
_NEAR = 40


class Oops(Format):
    """The ``PGD ... P4D ... PUD ... PMD ... PTE ...`` line of a page fault in the kernel."""

    name = "oops"
    lost = "entries below the first one that is not present"

    def __init__(self) -> None:
        super().__init__()
        self._address: int | None = None
        self._until = 0
        self._waiting: Sequence[Record] = ()

    def feed(self, number: int, line: str) -> bool:
        """Take a line."""
        if number > self._until:
            self._address, self._waiting = None, ()
        if match := _FAULT.search(line):
            self._address = 0 if match[1] == "(null)" else int(match[1], 16)
            self._until, self._waiting = number + _NEAR, ()
            return True
        if match := _TABLES.search(line):
            self._add(number, match)
            return True
        if self._waiting and (match := _CR2.search(line)):
            for record in self._waiting:
                record.va = covered_from(int(match[1], 16), record.level)
            self._waiting = ()
            return True
        return False

    def _add(self, number: int, match: re.Match[str]) -> None:
        printed = zip(_NAMES, match.groups(), strict=True)
        levels = top_down([(name, int(value, 16)) for name, value in printed if value])
        found = [
            Record(number, self.name, level, covered_from(self._address, level), entry)
            for level, entry in levels
        ]
        if len(found) == 1 and match[2] is None:
            found[0].note = "the top level: 4, or 5 on a machine with five"
        self.records += found
        self._waiting = found if self._address is None else ()
        self._address, self._until = None, number + _NEAR


_BAD_MAP = re.compile(
    r"BUG: Bad page map in process .*?\s(pte|pmd|pud|p4d|pgd):([0-9a-f]+)\b(?: pmd:([0-9a-f]+)\b)?"
)
_ADDRESS = re.compile(r"\baddr:(?:0x)?([0-9a-f]{8,16})\b")
_ABOVE = re.compile(
    r"\bpgd:([0-9a-f]+)\b(?: p4d:([0-9a-f]+)\b)?(?: pud:([0-9a-f]+)\b)?(?: pmd:([0-9a-f]+)\b)?"
)
_BAD_TABLE = re.compile(r"\bbad (pte|pmd|pud|p4d|pgd) (?:0x)?[0-9a-f]+\(([0-9a-f]{8,16})\)")


class BadPageMap(Format):
    """``BUG: Bad page map in process ...`` with its ``addr:`` line, and ``bad pmd ...``."""

    name = "bad page map"
    lost = "levels above the entry at fault (older kernels print one of them)"

    def __init__(self) -> None:
        super().__init__()
        self._report: list[Record] = []
        self._address: int | None = None
        self._until = 0

    def feed(self, number: int, line: str) -> bool:
        """Take a line."""
        if match := _BAD_MAP.search(line):
            self._report, self._address, self._until = [], None, number + _NEAR
            self._add(number, LEVEL_NUMBERS[match[1].upper()], match[2])
            if match[3]:
                self._add(number, 2, match[3])
            return True
        if match := _BAD_TABLE.search(line):
            entry = int(match[2], 16)
            level = LEVEL_NUMBERS[match[1].upper()]
            self.records.append(Record(number, self.name, level, None, entry))
            return True
        return number <= self._until and self._feed_report(number, line)

    def _feed_report(self, number: int, line: str) -> bool:
        if self._address is None and (match := _ADDRESS.search(line)):
            self._address = int(match[1], 16)
            for record in self._report:
                record.va = covered_from(self._address, record.level)
            return True
        if match := _ABOVE.search(line):
            printed = zip(_NAMES, match.groups(), strict=False)
            for level, entry in top_down([(name, int(text, 16)) for name, text in printed if text]):
                if all((old.level, old.entry) != (level, entry) for old in self._report):
                    self._add(number, level, f"{entry:x}")
            return True
        return False

    def _add(self, number: int, level: int, entry: str) -> None:
        va = covered_from(self._address, level)
        record = Record(number, self.name, level, va, int(entry, 16))
        self._report.append(record)
        self.records.append(record)
