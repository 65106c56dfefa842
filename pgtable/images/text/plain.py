# SPDX-License-Identifier: GPL-2.0-only
"""Bare entries, one a line: ``0x8000000012345867``, ``8000000012345867``, ``12345867f``."""

from __future__ import annotations

import re

from ...notation import AmbiguousNumberError, parse_entry
from .records import UNKNOWN_LEVEL, Format, Record

_LINE = re.compile(r"\s*(0[xXoObB][0-9a-fA-F_]{1,80}|[0-9a-fA-F]{1,20})\s*$")
#: Lines that are named where they could not be read.
_NAMED = 3


class Plain(Format):
    """One number a line."""

    name = "numbers"
    lost = "levels and addresses"

    def __init__(self) -> None:
        super().__init__()
        self._refused: list[str] = []

    def feed(self, number: int, line: str) -> bool:
        """Take a line."""
        match = _LINE.match(line)
        if match is None:
            return False
        digits = match[1]
        if digits.isalpha():  # a word, such as "add" or "face"
            self._refused.append(f"line {number} ({digits!r}): a word, or 0x{digits}?")
            return False
        try:
            entry = parse_entry(digits)
        except AmbiguousNumberError as error:
            self._refused.append(f"line {number}: {error}")
            return False
        except ValueError:
            return False
        if entry >> 64:
            self._refused.append(f"line {number}: {digits} has more than 64 bits")
            return False
        self.records.append(Record(number, self.name, UNKNOWN_LEVEL, None, entry))
        return True

    def notes(self) -> list[str]:
        """Say which numbers were not read."""
        more = len(self._refused) - _NAMED
        named = [f"not read: {refused}" for refused in self._refused[:_NAMED]]
        return named + ([f"not read: {more:,} more such lines"] if more > 0 else [])
