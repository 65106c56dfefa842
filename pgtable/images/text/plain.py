# SPDX-License-Identifier: GPL-2.0-only
"""Bare entries, one a line: ``0x8000000012345867``, ``8000000012345867``, ``12345867f``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from ...notation import AmbiguousNumberError, parse_entry
from .records import UNKNOWN_LEVEL, Format, Place, Record

#: Lines that are named where they could not be read.
_NAMED = 3
#: Signs that a paragraph is a report, whose numbers are registers or a stack.
_REPORT = re.compile(
    r"\b(?:[RE](?:IP|SP|AX|FLAGS)|CR[234]|Stack|Call\s+Trace|Code|FS|DR\d|RSP|Oops|BUG):?\s"
    r"|\b(?:PAGE|VIRTUAL|PTE)\s+PHYSICAL\b|\bDIRECTORY:"
)
#: A line of running text, or of a table: numbers beside it may be a part of it.
_SENTENCE = re.compile(r"^[ \t]*\S+[ \t]+\S+[ \t]+\S+", re.M)
#: How many lines of a paragraph are searched.
_FAR = 4000


class Plain(Format):
    """One number a line."""

    name = "numbers"
    lost = "levels and addresses"
    PATTERNS: ClassVar[Mapping[str, re.Pattern[str]]] = {
        "number": re.compile(
            r"^[ \t]*(0[xXoObB][0-9a-fA-F_]{1,80}|[0-9a-fA-F]{1,20})[ \t]*$", re.M
        ),
    }

    def __init__(self) -> None:
        super().__init__()
        self._refused: list[str] = []
        self._parts: list[int] = []  # lines whose number may be a part of a report

    @staticmethod
    def _is_part(line: int, match: re.Match[str], place: Place) -> bool:
        """Tell whether a number may be the rest of a longer line that was wrapped."""
        if match[1][:2].lower() == "0x":  # of a report only addresses of code look so
            return match[1][2:6].lower() == "ffff" and _in_report(place.stream.text, match)
        return line in place.stream.continued or _in_report(place.stream.text, match)

    def take(self, what: str, match: re.Match[str], place: Place) -> None:
        """Take a number, unless it is a part of a report."""
        line = place.line(match.start(1))
        digits = match[1]
        if self._is_part(line, match, place):
            self._parts.append(line)
            return
        if digits.isalpha():  # a word, such as "add" or "face"
            self._refused.append(f"line {line} ({digits!r}): a word, or 0x{digits}?")
            return
        try:
            entry = parse_entry(digits)
        except AmbiguousNumberError as error:
            self._refused.append(f"line {line}: {error}")
            return
        except ValueError:
            return
        if entry >> 64:
            self._refused.append(f"line {line}: {digits} has more than 64 bits")
            return
        self.records.append(Record(line, self.name, UNKNOWN_LEVEL, None, entry))

    def notes(self) -> list[str]:
        """Say which numbers were not read."""
        more = len(self._refused) - _NAMED
        named = [f"not read: {refused}" for refused in self._refused[:_NAMED]]
        if self._parts:
            named.append(
                f"line {self._parts[0]}: a number in a report or log is not taken for an entry"
                f" ({len(self._parts):,} such lines); write 0x before it if it is one"
            )
        return named + ([f"not read: {more:,} more such lines"] if more > 0 else [])


def _in_report(text: str, match: re.Match[str]) -> bool:
    """Whether a number's paragraph has other things in it, of which it may be a part."""
    first = max(text.rfind("\n\n", 0, match.start() + 1) + 1, match.start() - _FAR)
    last = text.find("\n\n", match.end())
    last = min(len(text) if last < 0 else last, match.end() + _FAR)
    short = len(match[1]) < 16
    return bool(
        _REPORT.search(text, first, last) or (short and _SENTENCE.search(text, first, last))
    )
