# SPDX-License-Identifier: GPL-2.0-only
"""Bare entries, one a line: ``0x8000000012345867``, or sixteen digits without 0x."""

from __future__ import annotations

import re

from .records import UNKNOWN_LEVEL, Format, Record

_LINE = re.compile(r"\s*(?:0[xX]([0-9a-fA-F]{1,16})|([0-9a-fA-F]{16}))\s*$")


class Plain(Format):
    """One number a line."""

    name = "numbers"
    lost = "levels and addresses"

    def feed(self, number: int, line: str) -> bool:
        """Take a line."""
        match = _LINE.match(line)
        if match is None:
            return False
        entry = int(match[1] or match[2], 16)
        self.records.append(Record(number, self.name, UNKNOWN_LEVEL, None, entry))
        return True
