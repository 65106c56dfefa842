# SPDX-License-Identifier: GPL-2.0-only
"""``BUG: Bad page map``: the entry at fault, then its address, and the entries above."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from typing import ClassVar

from .log_report import LogReport
from .oops import NEAR, TWO_OPEN
from .records import LEVEL_NUMBERS, Format, Place, Record, covered_from, top_down

_LEVEL = r"(pte|pmd|pud|p4d|pgd)"
_VALUE = r"(?:(?:0x)?[0-9a-f]{1,16}(?![\w*?.])|\S+)"
_MAP = "bad page map"  #: kind of the reports that have an address


class BadPageMap(Format):
    """``BUG: Bad page map in process ...`` with its ``addr:`` line, and ``bad pmd ...``."""

    name = "bad page map"
    lost = "levels above the entry at fault (older kernels print one of them)"
    PATTERNS: ClassVar[Mapping[str, re.Pattern[str]]] = {
        "map": re.compile(
            r"BUG:\s+Bad\s+page\s+map\s+in\s+process\s+(?P<comm>.{0,40}?)\s*\b"
            rf"{_LEVEL}:\s*(?P<entry>{_VALUE})(?:\s+pmd:\s*(?P<pmd>{_VALUE}))?",
            re.S,
        ),
        "suppressed": re.compile(r"Bad\s+page\s+map:\s+(\d+)\s+messages\s+suppressed"),
        "address": re.compile(
            r"\baddr:\s*(?:0x)?([0-9a-f]{8,16}(?![\w*?.])|\S+)(?=\s+vm_flags:|\W*$)", re.M
        ),
        "above": re.compile(
            r"\bpgd:\s*([0-9a-f]{1,16})\b(?:\s+p4d:\s*([0-9a-f]{1,16})\b)?"
            r"(?:\s+pud:\s*([0-9a-f]{1,16})\b)?(?:\s+pmd:\s*([0-9a-f]{1,16})\b)?"
        ),
        "bad": re.compile(
            rf"(?<!\w)bad\s+{_LEVEL}\s+((?:0x)?[0-9a-f]+|\([^()\s]*\))\s*\(([0-9a-f]{{1,16}})\)"
        ),
    }

    def __init__(self) -> None:
        super().__init__()
        self.reports: list[LogReport] = []
        self._open: list[LogReport] = []  # reports whose address has not been read yet
        self._came = 0
        self._last: LogReport | None = None
        self._swapfile: tuple[int, re.Match[str]] | None = None
        self._above: list[tuple[int, int, list[tuple[str, int]]]] = []  # word, line, entries
        self._suppressed = 0
        self._maps: list[LogReport] = []
        self._words: list[int] = []  # where each of them begins
        self._own: dict[int, list[tuple[int, int]]] = {}  # level and entry, by id of the report
        self._narrow: list[LogReport] = []  # addresses of 32 bits: not x86-64's

    def take(self, what: str, match: re.Match[str], place: Place) -> None:
        """Take a line of a report."""
        if what == "suppressed":
            self._suppressed += int(match[1])
        elif what == "map":
            self._map(match, place)
        elif what == "bad":
            self._bad(match, place)
        elif what == "address":
            self._open = [old for old in self._open if place.word - old.word <= NEAR]
            self._address(match, place)
        elif self._near(place.word):
            values = zip(("PGD", "P4D", "PUD", "PMD"), match.groups(), strict=True)
            found = [(name, int(text, 16)) for name, text in values if text]
            self._above.append((place.word, place.line(), found))

    def _near(self, word: int) -> list[LogReport]:
        """Return the reports of maps that begin not far above, the nearest last."""
        after = bisect_right(self._words, word)
        return self._maps[bisect_left(self._words, word - NEAR) : after]

    def _map(self, match: re.Match[str], place: Place) -> None:
        report = LogReport(_MAP, place.line(), place.word, comm=match["comm"].strip())
        self._open = [old for old in self._open if place.word - old.word <= NEAR]
        if not self._open:
            self._came = 0
        self._open.append(report)
        if len(self._open) > 1:
            for old in self._open:
                old.ambiguous = True
        self.reports.append(report)
        self._maps.append(report)
        self._words.append(report.word)
        self._own[id(report)] = []
        self._last = report
        if self._swapfile and place.word - self._swapfile[0] <= NEAR:
            report.take("swapfile", self._swapfile[1])
        self._swapfile = None
        for level, group in ((match[2], "entry"), ("pmd", "pmd")):
            if match[group] is not None:
                self._add(report, place.line(match.start(group)), level, match[group])

    def _add(self, report: LogReport, line: int, level: str, text: str) -> None:
        if not re.fullmatch(r"(?:0x)?[0-9a-f]{1,16}", text):
            self.unreadable.append((line, f"{level}:{text[:40]}"))
            return
        number = LEVEL_NUMBERS[level.upper()]
        self.records.append(Record(line, self.name, number, None, int(text, 16), report=report))
        self._own[id(report)].append((number, int(text, 16)))

    def _bad(self, match: re.Match[str], place: Place) -> None:
        level = LEVEL_NUMBERS[match[1].upper()]
        report = LogReport("bad table", place.line(), place.word)
        self.reports.append(report)
        record = Record(place.line(match.start(3)), self.name, level, None, int(match[3], 16))
        record.report = report
        where = int(match[2], 16) if not match[2].startswith("(") else 0
        if where >> 47 == (1 << 17) - 1 and not where % 8:  # else it is a hash
            record.place = where
        self.records.append(record)

    def _address(self, match: re.Match[str], place: Place) -> None:
        if not self._open:
            return
        if not re.fullmatch(r"[0-9a-f]{8,16}", match[1]):
            self.unreadable.append((place.line(), f"addr:{match[1][:40]}"))
            return
        if any(report.ambiguous for report in self._open):
            self._came += 1
            if self._came >= len(self._open):
                self._open, self._came = [], 0
            return
        report = self._open.pop()
        report.address = int(match[1], 16)
        if len(match[1]) == 8:
            self._narrow.append(report)

    def fact(self, what: str, match: re.Match[str], place: Place) -> None:
        """Take what a line says of the last report."""
        if what == "swapfile":
            self._swapfile = (place.word, match)
            return
        report = self._last
        if what == "end":
            self._last = None
        elif what in ("kernel", "cr3", "cr4") and report is not None and not report.ambiguous:
            report.take(what, match)

    def finish(self) -> None:
        """Give the entries their addresses, and take those above."""
        for word, line, values in self._above:
            self._add_above(word, line, values)
        narrow = {id(report) for report in self._narrow}
        self.records = [r for r in self.records if id(r.report) not in narrow]
        for record in self.records:
            if record.report is not None:
                record.va = covered_from(record.report.address, record.level)
                if record.report.ambiguous:
                    record.note = "address not known: " + TWO_OPEN

    def _add_above(self, word: int, line: int, values: list[tuple[str, int]]) -> None:
        """Add the entries above those at fault, to the report with the same pmd."""
        by_report = [(report, self._own[id(report)]) for report in self._near(word)]
        pmd = (LEVEL_NUMBERS["PMD"], dict(values).get("PMD"))
        same = [(report, own) for report, own in by_report if pmd in own]
        report, own = (same or by_report)[-1]
        others = {r.address for r, _ in (same or by_report)} - {report.address}
        if others or report.ambiguous:
            report, own = LogReport(_MAP, line, word, ambiguous=True), []
        for level, entry in top_down(values, report.five_levels):
            if (level, entry) not in own:
                self.records.append(Record(line, self.name, level, None, entry, report=report))

    def notes(self) -> list[str]:
        """Return how many reports the kernel did not print."""
        if not self._suppressed:
            return []
        return [f"bad page map: the kernel suppressed {self._suppressed} more reports"]
