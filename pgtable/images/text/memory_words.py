# SPDX-License-Identifier: GPL-2.0-only
"""Words of memory as debuggers print them: each word of 8 bytes is an entry at its address.

crash's ``rd``, QEMU's ``x`` and ``xp``, gdb's ``x``, ``hexdump -C``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from .records import UNKNOWN_LEVEL, Format, Place, Record

_SIZES = {"b": 1, "h": 2, "w": 4, "g": 8}


class MemoryWords(Format):
    """Rows ``ADDRESS: WORD WORD``."""

    name = "memory"
    lost = "levels, and which addresses the entries translate"
    PATTERNS: ClassVar[Mapping[str, re.Pattern[str]]] = {
        "command": re.compile(
            r"^[^\n]{0,40}?(?:\(qemu\)|\(gdb\)|crash>|^)[ \t]*xp?[ \t]*/[ \t]*\d*([a-z]{1,3})\b"
            r"(?:\s+(?:0x)?[0-9a-f]+(?![\w:]))?",
            re.M,
        ),
        "prefixed": re.compile(
            r"^[ \t]*(?P<at>(?:0x)?[0-9a-f]{4,16})(?:\s+<[^>\n]*>)?:"
            r"(?P<words>(?:\s+0x[0-9a-f]{1,16}\b(?![:\w]|\s+<)){1,8})",
            re.M,
        ),
        # one word alone is a row only with the column of characters behind it
        "bare": re.compile(
            r"^[ \t]*(?P<at>[0-9a-f]{1,16}):(?P<words>(?:\s+[0-9a-f]{16}\b(?!:)){2}"
            r"|[ \t]+[0-9a-f]{16}(?=[ \t]{2,}\S))(?!\S)",
            re.M,
        ),
        "small": re.compile(
            r"^[ \t]*(?P<at>[0-9a-f]{1,16}):(?P<words>(?:[ \t]+[0-9a-f]{8}\b(?!:)){2,4})(?!\S)",
            re.M,
        ),
        "bytes": re.compile(
            r"^[ \t]*(?P<at>[0-9a-f]{8,16})[ \t]+(?P<words>(?:[0-9a-f]{2}\s+){8,16})\|", re.M
        ),
    }

    def __init__(self) -> None:
        super().__init__()
        self._size: int | None = None  # of a word, as the command says
        self._rows: list[tuple[int, list[tuple[str, int]], int | None]] = []
        self._notes: list[str] = []

    def take(self, what: str, match: re.Match[str], place: Place) -> None:
        """Take a command, or a row."""
        if what == "command":
            sizes = [_SIZES[letter] for letter in match[1] if letter in _SIZES]
            self._size = sizes[0] if sizes else None
            return
        base = match.start("words")
        words = [
            (word[0], place.line(base + word.start()))
            for word in re.finditer(r"\S+", match["words"])
        ]
        at = int(match["at"], 16)
        if what == "prefixed":
            self._rows.append((at, words, self._size))
        elif what == "bytes":
            self._add_bytes(at, words, 1)
        elif what == "small":
            self._add_bytes(at, words, 4)
        else:
            self._add(at, words)

    def finish(self) -> None:
        """Decide how wide the words are: the addresses of two rows tell, or their digits."""
        for index, (at, words, size) in enumerate(self._rows):
            size = size or self._step(index) or _digits(words)  # noqa: PLW2901
            line = words[0][1]
            if size == 8:
                self._add(at, words)
            elif size == 4:
                self._add_bytes(at, words, 4)
            elif size is None:
                self.unreadable.append(
                    (line, f"row at {at:#x}: how wide its words are is not known; use x/gx")
                )
            else:
                self.unreadable.append((line, f"row at {at:#x}: words of {size} bytes; use x/gx"))

    def _step(self, index: int) -> int | None:
        at, words, _ = self._rows[index]
        if index + 1 < len(self._rows):
            step = self._rows[index + 1][0] - at
            return step // len(words) if step in (4 * len(words), 8 * len(words)) else None
        if index:
            before, earlier, _ = self._rows[index - 1]
            step = at - before
            return step // len(earlier) if step in (4 * len(earlier), 8 * len(earlier)) else None
        return None

    def _add(self, at: int, words: list[tuple[str, int]]) -> None:
        if at % 8:
            self.unreadable.append(
                (words[0][1], f"row at {at:#x}: no multiple of 8, so its words are no entries")
            )
            return
        for index, (word, line) in enumerate(words):
            self._keep(line, (at + 8 * index) % (1 << 64), int(word, 16))

    def _add_bytes(self, at: int, words: list[tuple[str, int]], size: int) -> None:
        """Make entries of smaller words, of which the lowest comes first."""
        each = 8 // size
        whole = len(words) // each * each
        if at % 8 or any(int(word, 16) >> (8 * size) for word, _ in words):
            self.unreadable.append(
                (words[0][1], f"row at {at:#x}: words of {size} bytes that do not start an entry")
            )
            return
        for first in range(0, whole, each):
            parts = words[first : first + each]
            entry = sum(int(word, 16) << (8 * size * n) for n, (word, _) in enumerate(parts))
            self._keep(parts[0][1], (at + size * first) % (1 << 64), entry)
        if whole < len(words):
            self.unreadable.append((words[whole][1], f"row at {at:#x}: its last entry is cut"))

    def _keep(self, line: int, place: int, entry: int) -> None:
        record = Record(line, self.name, UNKNOWN_LEVEL, None, entry, place=place)
        self.records.append(record)


def _digits(words: list[tuple[str, int]]) -> int | None:
    lengths = {len(word) - 2 for word, _ in words}
    if max(lengths) > 8:
        return 8
    return 4 if lengths == {8} else None
