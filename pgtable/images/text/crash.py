# SPDX-License-Identifier: GPL-2.0-only
"""The crash utility's ``vtop ADDRESS`` and ``pte ENTRY``."""

from __future__ import annotations

import re

from .records import UNKNOWN_LEVEL, Format, Record, covered_from, top_down

_HEADER = re.compile(r"\bVIRTUAL\s+PHYSICAL\b")
_ADDRESSES = re.compile(
    r"(?:^|[\s>])([0-9a-f]{1,16})\s+(?:[0-9a-f]{1,16}|\(not (?:mapped|accessible)\))\s*$"
)
_DIRECTORY = re.compile(r"\b(?:PML4|PGD) DIRECTORY: [0-9a-f]+")
_TOP = re.compile(r"\bPAGE DIRECTORY: ([0-9a-f]+)\b")
_STEP = re.compile(r"\b(PML4?|PGD|P4D|PUD|PMD|PTE): ([0-9a-f]+) => ([0-9a-f]+)\b")
_ROW_HEADER = re.compile(r"\bPTE\s+(?:PHYSICAL\s+FLAGS|SWAP\s+OFFSET)\b")
_ROW = re.compile(
    r"(?:^|[\s>])([0-9a-f]{1,16})\s+"
    r"(?:[0-9a-f]+\s+\(([A-Z|]+|no mapping)\)|\S+\s+\d+)\s*$"
)
_PAGE = re.compile(r"\bPAGE: [0-9a-f]+\b")


class Crash(Format):
    """``vtop`` (the entries on the way to an address) and ``pte`` (one entry)."""

    name = "crash"
    lost = "level and address of what pte shows"

    def __init__(self) -> None:
        super().__init__()
        self._expect = ""
        self._address: int | None = None
        self._steps: list[tuple[str, int, int]] = []  # name, entry, line
        self._places: set[str] = set()
        self._in_vtop = False
        self._top_next = False

    def feed(self, number: int, line: str) -> bool:
        """Take a line."""
        expect, self._expect = self._expect, ""
        if _HEADER.search(line):
            self._end_vtop()
            self._in_vtop, self._expect = True, "addresses"
            return True
        if _ROW_HEADER.search(line):
            self._expect = "row"
            return True
        if expect == "addresses" and (match := _ADDRESSES.search(line)):
            self._address = int(match[1], 16)
            return True
        if expect == "row" and (match := _ROW.search(line)):
            self._row(number, int(match[1], 16), match[2] or "")
            return True
        return self._feed_step(number, line)

    def _feed_step(self, number: int, line: str) -> bool:
        if _DIRECTORY.search(line):
            self._top_next = True
            return True
        if match := _TOP.search(line):
            # without the line above it is not an entry but where the directory is
            if self._top_next:
                self._steps.append(("PGD", int(match[1], 16), number))
            self._top_next = False
            return True
        if match := _STEP.search(line):
            name, place, entry = match.groups()
            # of 32-bit kernels: a level that is folded repeats the one above
            if place not in self._places:
                self._steps.append(("PGD" if name[:3] == "PML" else name, int(entry, 16), number))
            self._places.add(place)
            return True
        return self._in_vtop and _PAGE.search(line) is not None

    def _row(self, number: int, entry: int, flags: str) -> None:
        """Take the translated entry: in vtop it repeats the last step."""
        if self._steps and self._steps[-1][1] == entry:
            self._end_vtop()
            return
        note = "level not printed; PSE is PAT if it is a pte" if "PSE" in flags else ""
        self.records.append(Record(number, self.name, UNKNOWN_LEVEL, None, entry, note=note))

    def _end_vtop(self) -> None:
        lines = {name: number for name, _, number in self._steps}
        names = [name for name, _, _ in self._steps]
        levels = top_down([(name, entry) for name, entry, _ in self._steps])
        kept = [name for name in names if name != "P4D"] if len(levels) < len(names) else names
        for name, (level, entry) in zip(kept, levels, strict=True):
            va = covered_from(self._address, level)
            self.records.append(Record(lines[name], self.name, level, va, entry))
        self._steps, self._places = [], set()
        self._address, self._in_vtop, self._top_next = None, False, False

    def finish(self) -> None:
        """End the last vtop."""
        self._end_vtop()
