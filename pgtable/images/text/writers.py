# SPDX-License-Identifier: GPL-2.0-only
"""Divides a text by writer: a caller of printk, or a host.

Reports of several processors are interleaved in a log.  printk's caller id, if there is one, keeps
them apart.  Prefixes of every kind are removed, so that only the text of the kernel or the tool
itself is left.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_CLOCK = r"\d\d:\d\d:\d\d(?:[.,]\d+)?"
_ISO = rf"\d{{4}}-\d\d-\d\d(?:T|\s+){_CLOCK}(?:Z|\s?[+-]\d\d:?\d\d|\s+[A-Z]{{3,4}}\b)?"
_DATE = rf"(?:(?:{_DAY}\s+)?{_MONTH}\s+\d{{1,2}}\s+(?:\d{{4}}\s+)?{_CLOCK}|(?:{_DAY}\s+)?{_ISO})"
#: What stands before a line of a log; any number of these follow each other.
_PREFIX = re.compile(
    r"^[ \t]*(?:(?:"
    rf"{_DATE}(?:\s+(?P<host>[^\s:<\[]+)\s+(?P<tag>[^\s:\[]+(?:\[\d+\])?:)(?=\s|$))?"
    r"|<\d{1,3}>(?:1\s(?=\d{4}-))?"  # syslog's priority
    r"|\[\s*\d+\.\d+\s*\]"  # seconds since boot
    rf"|\[\s*(?:{_DAY}\s+)?{_MONTH}\s+\d{{1,2}}\s+[\d:.]+(?:\s+\d{{4}})?\s*\]"  # dmesg -T, -e
    rf"|\[\s*(?:[+<]\s*\d+\.\d+>?|{_ISO}|{_CLOCK})\s*\]"  # dmesg -d, serial loggers
    r"|\[\s*(?P<caller>[TC]\d+)\s*\]"
    r"|(?:kern|user|daemon|syslog)\s*:(?:emerg|alert|crit|err|warn|notice|info|debug)\s*:"
    r"|(?:\d+\.\d+[\w.+-]*,)?\d+,\d+,\d+,[-c+]"  # /dev/kmsg, netconsole
    r"(?:,[^;\n]*?(?:caller=(?P<kmsg>[TC]\d+))?)?;"
    r"|(?:[^\s:<\[]+\s+)?kernel(?:\[\d+\])?:(?=\s|$)(?:\s+-\s+-\s+-(?=\s))?"
    r")\s*)+",
    re.M,
)


def starts_record(line: str) -> bool:
    """Whether a line starts with a prefix of a log."""
    match = _PREFIX.match(line)
    return match is not None and match.end() > 0


@dataclass
class WriterText:
    """What one writer wrote, without prefixes."""

    key: tuple[str, str, str] = ("", "", "")  #: host, tag, caller id
    parts: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)  #: where each line starts in the text
    numbers: list[int] = field(default_factory=list)  #: the number of that line in the file
    continued: set[int] = field(default_factory=set)  #: numbers of lines that a prefix precedes
    length: int = 0
    text: str = ""
    _words: list[int] = field(default_factory=list)

    def add(self, number: int, line: str) -> None:
        """Append a line."""
        self.starts.append(self.length)
        self.numbers.append(number)
        self.parts.append(line)
        self.length += len(line) + 1

    def close(self) -> None:
        """Make ``text``."""
        self.text = "\n".join(self.parts) + "\n"
        self._words = [match.start() for match in re.finditer(r"\S+", self.text)]

    def line_at(self, position: int) -> int:
        """Return the number of the line of the file at a position of ``text``."""
        return self.numbers[max(0, bisect_right(self.starts, position) - 1)]

    def word_at(self, position: int) -> int:
        """Return how many words precede a position: how far things are, however wrapped."""
        return bisect_right(self._words, position)


def split(lines: Iterable[tuple[int, str]]) -> list[WriterText]:
    """Return the writers' texts of numbered lines, without prefixes.

    A line without a prefix belongs to the record before it.
    """
    numbered = _without_lead(list(lines))
    text = "\n".join(line for _, line in numbered)
    starts = _starts(numbered)
    streams: dict[tuple[str, str, str], WriterText] = {}
    place, end, key = 0, 0, ("", "", "")
    for match in _PREFIX.finditer(text):
        if match.end() == match.start() or not match[0].strip():
            continue
        _put(streams, key, text[end : match.start()], end, starts, numbered, place > 0)
        key = (match["host"] or "", match["tag"] or "", match["caller"] or match["kmsg"] or "")
        place, end = place + 1, match.end()
    _put(streams, key, text[end:], end, starts, numbered, place > 0)
    for stream in streams.values():
        stream.close()
    return list(streams.values())


_STAMP = re.compile(r"(?:<\d{1,3}>)?\[\s{0,5}\d{1,9}\.\d{6}\s*[\]<]")
#: A lead belongs to the log's lines if this share of those with a time stamp have it.
_SHARE = 0.8


def _without_lead(lines: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Take off what a tool of its own put before every time stamp of the kernel's."""
    stamps = [_STAMP.search(line, 0, 200) for _, line in lines]
    leads = [
        line[: stamp.start()] if stamp and not _PREFIX.fullmatch(line, 0, stamp.start()) else ""
        for (_, line), stamp in zip(lines, stamps, strict=True)
    ]
    shapes = [re.sub(r"\d+", "0", lead).strip() for lead in leads]
    often = Counter(shape for shape in shapes if shape).most_common(1)
    if not often:
        return lines
    ((common, times),) = often
    if times < 2 or times < _SHARE * sum(stamp is not None for stamp in stamps):
        return lines
    return [
        (number, line[len(lead) :] if shape == common else line)
        for (number, line), lead, shape in zip(lines, leads, shapes, strict=True)
    ]


def _starts(numbered: list[tuple[int, str]]) -> list[int]:
    starts, place = [], 0
    for _, line in numbered:
        starts.append(place)
        place += len(line) + 1
    return starts


def _put(
    streams: dict[tuple[str, str, str], WriterText],
    key: tuple[str, str, str],
    body: str,
    place: int,
    starts: list[int],
    numbered: list[tuple[int, str]],
    prefixed: bool,
) -> None:
    """Append a record, which may have several lines, to its stream."""
    if not body:
        return
    stream = streams.setdefault(key, WriterText(key))
    first = max(0, bisect_right(starts, place) - 1)
    for offset, line in enumerate(body.removesuffix("\n").split("\n")):
        number = numbered[min(first + offset, len(numbered) - 1)][0]
        if prefixed:
            stream.continued.add(number)
        stream.add(number, line)
