# SPDX-License-Identifier: GPL-2.0-only
"""The tables in the log of a kernel fault: an address, and the entries on the way to it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from .log_report import LogReport
from .records import Format, Place, Record, covered_from, top_down

_NAMES = ("PGD", "P4D", "PUD", "PMD", "PTE")
_HEX = r"(?:0x)?[0-9a-f]{1,16}\b"

#: How many words of other text may stand between two lines of one report.
NEAR = 400
#: Registers and the version stand below the stack and the list of modules.
_NEAR_BELOW = 4000

TWO_OPEN = "two reports are open and the lines name no caller: which one is meant is not known"


@dataclass
class _Group:
    """The entries that belong together, top first."""

    report: LogReport
    word: int
    end: int
    ambiguous: bool
    before: str  # what stands before it on its line, digits made alike
    values: list[tuple[str, int, int]] = field(default_factory=list)  # name, entry, line


class Oops(Format):
    """The ``PGD ... P4D ... PUD ... PMD ... PTE ...`` of a page fault, in one line or several."""

    name = "oops"
    lost = "entries below the first one that is not present"
    PATTERNS: ClassVar[Mapping[str, re.Pattern[str]]] = {
        "fault": re.compile(
            r"(?:page\s+fault\s+for\s+address:"
            r"|NULL\s+pointer\s+dereference(?:,\s+address:|\s+at(?:\s+virtual\s+address)?)"
            r"|Corrupted\s+page\s+table\s+at\s+address"
            r"|kernel\s+paging\s+request\s+at(?:\s+virtual\s+address)?)"
            r"\s+(?:0x)?([0-9a-f]+\b|\(null\))"
        ),
        # the first two on one line with what precedes them, the last at the end of its own
        "entry": re.compile(
            rf"(?:\bPGD\s+(?P<top>{_HEX})(?:(?<=\w{{4}})|(?=\s*$|\s+(?:P4D|PUD|BAD)\b))"
            rf"|(?<=[0-9a-f])[ \t]+(?P<next>P4D|PUD|PMD|PTE)\s+(?P<beside>{_HEX})(?!\w)"
            rf"|(?:^[ \t]*|(?<=[\s\])|:;]))(?P<own>P4D|PUD|PMD|PTE)\s+(?P<below>{_HEX})"
            r"(?=\s*$|\s+(?:P4D|PUD|PMD|PTE|BAD)\b))",
            re.M,
        ),
        "unreadable": re.compile(
            r"(?:^[ \t]*|(?<=[0-9a-f])[ \t]+)(PGD|P4D|PUD|PMD|PTE)(?:[ \t]+(\S+)|\s*$)", re.M
        ),
    }

    def __init__(self) -> None:
        super().__init__()
        self.reports: list[LogReport] = []
        self._open: list[LogReport] = []  # faults whose entries have not been read yet
        self._came = 0  # groups of entries since several are open
        self._group: _Group | None = None
        self._groups: list[_Group] = []
        self._last: LogReport | None = None

    def take(self, what: str, match: re.Match[str], place: Place) -> None:
        """Take a fault's first line, or an entry."""
        if what == "fault":
            self._fault(match, place)
        elif what == "entry":
            self._entry(match, place)
        elif self._group and (match[2] is None or match.start() == self._group.end):
            if match.start() == self._group.end:
                self.unreadable.append((place.line(), f"{match[1]} {(match[2] or '')[:40]}"))
        elif match[1] == "PGD" and re.search(r"\d", match[2] or ""):
            self.unreadable.append((place.line(), f"PGD {match[2][:40]}"))

    def _fault(self, match: re.Match[str], place: Place) -> None:
        self._expire(place.word)
        address = 0 if match[1] == "(null)" else int(match[1], 16)
        report = LogReport("page fault", place.line(), place.word, address)
        if len(match[1]) > 16:
            report.address = None
        if "Corrupted" in match[0]:
            report.says.append("Corrupted page table")
        self.reports.append(report)
        self._open.append(report)
        self._group, self._last = None, report
        if len({report.address for report in self._open}) > 1:
            for report in self._open:
                report.ambiguous = True

    def _expire(self, word: int) -> None:
        self._open = [report for report in self._open if word - report.word <= NEAR]
        if not self._open:
            self._came = 0

    def _entry(self, match: re.Match[str], place: Place) -> None:
        name = match["next"] or match["own"] or "PGD"
        text = match["top"] or match["beside"] or match["below"]
        line = place.line(match.end() - 1)
        group = self._group
        if name == "PGD":
            group = self._group = self._new_group(place, _before(match, name))
        elif group is None or not self._fits(group, name, place.word):
            if match["own"]:
                self.unreadable.append((line, f"{name} {text} without the PGD above it"))
            return
        elif match.start() != group.end and _before(match, name) not in ("", group.before):
            return  # words of a sentence, not a line with the same prefix
        group.values.append((name, int(text, 16), line))
        group.word, group.end = place.word, match.end()

    @staticmethod
    def _fits(group: _Group, name: str, word: int) -> bool:
        below = _NAMES.index(name) > _NAMES.index(group.values[-1][0])
        return below and word - group.word <= NEAR

    def _new_group(self, place: Place, before: str) -> _Group:
        self._expire(place.word)
        ambiguous = any(report.ambiguous for report in self._open)
        if self._open and not ambiguous:
            report = self._open.pop(0)  # where several are open, all have the same address
        else:
            report = LogReport("page fault", place.line(), place.word, ambiguous=ambiguous)
            self.reports.append(report)
            self._came += 1
            if ambiguous and self._came >= len(self._open):
                self._open, self._came = [], 0
        self._last = report
        group = _Group(report, place.word, place.position, ambiguous, before)
        self._groups.append(group)
        return group

    def fact(self, what: str, match: re.Match[str], place: Place) -> None:
        """Take what a line says of the last report."""
        report = self._last
        if what == "end":
            self._last = self._group = None
        if report is None or what == "swapfile" or place.word - report.word > _NEAR_BELOW:
            return
        if not report.ambiguous:
            report.take(what, match)

    def finish(self) -> None:
        """Make the records: registers below decide what the levels are, and where."""
        for group in self._groups:
            self._add(group)

    def _add(self, group: _Group) -> None:
        report = group.report
        address = report.address
        if address is None and not group.ambiguous:
            address = report.cr2
        elif None not in (address, report.cr2) and address != report.cr2:
            report.warnings.append(
                f"CR2 is {report.cr2:016x}, but the report names the address {address:016x}"
            )
        lines = {name: line for name, _, line in group.values}
        values = [(name, entry) for name, entry, _ in group.values]
        levels = top_down(values, report.five_levels)
        names = [name for name, _ in values if name != "P4D" or len(levels) == len(values)]
        self._compare_levels(report, dict(values))
        for name, (level, entry) in zip(names, levels, strict=True):
            record = Record(lines[name], self.name, level, covered_from(address, level), entry)
            record.report = report
            if group.ambiguous:
                record.note = "address not known: " + TWO_OPEN
            self.records.append(record)
        alone = names == ["PGD"] and "P4D" not in lines and report.five_levels is None
        if alone and not self.records[-1].note:
            self.records[-1].note = "the top level: 4, or 5 on a machine with five"

    @staticmethod
    def _compare_levels(report: LogReport, values: dict[str, int]) -> None:
        if "P4D" not in values or report.five_levels is None:
            return
        if report.five_levels is (values["P4D"] == values["PGD"]):
            told, shown = ("five", "four") if report.five_levels else ("four", "five")
            report.warnings.append(
                f"CR4 {report.cr4:#x} says {told} levels, PGD and P4D look like {shown}"
            )


def _before(match: re.Match[str], name: str) -> str:
    """Return what stands before an entry's name on its line; all numbers count as alike."""
    at = match.start() + match[0].index(name)
    before = match.string[match.string.rfind("\n", 0, at) + 1 : at]
    return re.sub(r"[0-9]+", "0", before[-200:]).strip()
