# SPDX-License-Identifier: GPL-2.0-only
"""The crash utility's ``vtop ADDRESS`` and ``pte ENTRY``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from .records import UNKNOWN_LEVEL, Format, Place, Record, covered_from, top_down

_HEX = "([0-9a-f]{1,16})"


class Crash(Format):
    """``vtop`` (the entries on the way to an address) and ``pte`` (one entry)."""

    name = "crash"
    lost = "level and address of what pte shows"
    PATTERNS: ClassVar[Mapping[str, re.Pattern[str]]] = {
        "header": re.compile(
            rf"\bVIRTUAL\s+PHYSICAL\b(?:\s+{_HEX}\s+(?:[0-9a-f]{{1,16}}\b"
            r"|\(not\s+(?:mapped|accessible)\)))?"
        ),
        "directory": re.compile(r"\b(?:PML4|PGD)\s+DIRECTORY:\s+[0-9a-f]+"),
        "top": re.compile(rf"\bPAGE\s+DIRECTORY:\s+{_HEX}\b"),
        "step": re.compile(rf"\b(PML4?|PGD|P4D|PUD|PMD|PTE):\s+{_HEX}\s+=>\s+{_HEX}\b"),
        "row": re.compile(
            rf"\bPTE\s+PHYSICAL\s+FLAGS\s+{_HEX}\s+{_HEX}\s+\(([A-Z_0-9|\s]+|no\s+mapping)\)"
        ),
        "swap": re.compile(rf"\bPTE\s+SWAP\s+OFFSET\s+{_HEX}\s+(\S+)\s+(\d+)\b"),
        "page": re.compile(r"\bPAGE:\s+[0-9a-f]+\b"),
    }

    def __init__(self) -> None:
        super().__init__()
        self.foreign: list[tuple[int, str]] = []
        self._address: int | None = None
        self._steps: list[tuple[str, int, int]] = []  # name, entry, line
        self._places: set[str] = set()
        self._top_next = False
        self._is_32_bit = False

    def take(self, what: str, match: re.Match[str], place: Place) -> None:
        """Take a part of the output."""
        if what == "header":
            self._end_vtop()
            self._address = int(match[1], 16) if match[1] else None
        elif what == "directory":
            self._top_next = True
        elif what == "top":
            # without the line above it is not an entry but where the directory is
            if self._top_next:
                self._steps.append(("PGD", int(match[1], 16), place.line()))
            self._top_next = False
        elif what == "step":
            self._step(match, place)
        elif what == "row":
            self._row(match, place)
        elif what == "swap":
            record = Record(place.line(match.start(1)), self.name, 0, None, int(match[1], 16))
            record.printed["swap_offset"] = int(match[3])
            self._keep_row(record)

    def _step(self, match: re.Match[str], place: Place) -> None:
        name, where, entry = match.groups()
        # a level that is folded repeats the one above: no level of x86-64 does
        self._is_32_bit |= where in self._places
        self._places.add(where)
        name = "PGD" if name[:3] == "PML" else name
        self._steps.append((name, int(entry, 16), place.line()))

    def _row(self, match: re.Match[str], place: Place) -> None:
        record = Record(place.line(match.start(1)), self.name, UNKNOWN_LEVEL, None, 0)
        record.entry = int(match[1], 16)
        if "mapping" not in match[3]:
            flags = re.sub(r"\s", "", match[3]).split("|")
            record.printed.update(flags=flags, physical=int(match[2], 16))
            if "PSE" in flags:
                record.note = "level not printed; PSE is PAT if it is a pte"
        self._keep_row(record)

    def _keep_row(self, record: Record) -> None:
        """Keep the translated entry, unless it repeats vtop's last step."""
        if self._steps and self._steps[-1][1] == record.entry:
            self._end_vtop()
            if self.records and self.records[-1].entry == record.entry:
                self.records[-1].printed.update(record.printed)
            return
        if self._is_32_bit:
            self._end_vtop()
            return
        self.records.append(record)

    def _end_vtop(self) -> None:
        lines = {name: number for name, _, number in self._steps}
        names = [name for name, _, _ in self._steps]
        levels = top_down([(name, entry) for name, entry, _ in self._steps])
        kept = [name for name in names if name != "P4D"] if len(levels) < len(names) else names
        if self._is_32_bit:
            self.foreign.append((self._steps[0][2], "crash's vtop of a 32-bit kernel"))
            kept = []
        for name, (level, entry) in zip(kept, levels, strict=False):
            va = covered_from(self._address, level)
            self.records.append(Record(lines[name], self.name, level, va, entry))
        self._steps, self._places = [], set()
        self._address, self._top_next, self._is_32_bit = None, False, False

    def finish(self) -> None:
        """End the last vtop."""
        self._end_vtop()
