# SPDX-License-Identifier: GPL-2.0-only
"""Entries out of the text that kernels and tools print.

:func:`parse` finds them among any other text, behind any prefix (time stamps,
log levels, host names, caller ids), in mail (quoted, wrapped, quoted-printable)
and in colours: crash's ``vtop``, ``pte`` and ``rd``, QEMU's ``info tlb`` and ``xp``,
gdb's ``x``, the kernel's page_tables files and W+X warnings, the ``PGD ... PTE ...``
of an oops and ``Bad page map`` reports, and bare numbers.  What a format does not
print is said in :attr:`Text.lost` and, bit by bit, in :attr:`Record.known`; what
does not fit in :attr:`Record.warnings`; page tables of other architectures in
:attr:`Text.foreign`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import chain

from .bad_map import BadPageMap
from .crash import Crash
from .evidence import Evidence
from .foreign import Foreign
from .log_report import LogReport
from .memory_words import MemoryWords
from .oops import Oops
from .plain import Plain
from .ptdump import InsecureMapping, PageTablesFile
from .qemu import InfoTlb
from .records import Format, Place, Record, Text
from .source import as_text, plain_lines
from .writers import WriterText, split

__all__ = ["FORMATS", "Record", "LogReport", "Text", "as_text", "parse"]

#: What is understood; where two match the same words, the first has them.
FORMATS: tuple[type[Format], ...] = (
    InfoTlb,
    PageTablesFile,
    InsecureMapping,
    Crash,
    BadPageMap,
    Oops,
    MemoryWords,
    Evidence,
    Foreign,
    Plain,
)


#: Patterns of words that say something and belong to no entry; see :class:`Foreign`.
_BESIDE = ("sign ", "name ", "x86")


def parse(text: str | bytes | Iterable[str]) -> Text:
    """Return every entry that a text prints, in the order of its lines.

    text: as a whole (bytes: in any encoding that :func:`as_text` knows), or its lines.

    Several kinds of text may be mixed; lines without any are passed over and counted
    in ``ignored``.
    """
    if isinstance(text, bytes):
        text = as_text(text)
    elif not isinstance(text, str):
        text = "\n".join(line.rstrip("\n") for line in text)
    lines = plain_lines(text)
    read = [_read(stream) for stream in split(lines)]
    formats = list(chain.from_iterable(formats for formats, _ in read))
    understood: set[int] = set().union(*(used for _, used in read))
    records = [record for own, _ in read for record in _of_x86(own)]
    records.sort(key=lambda record: record.line)
    used = {format_.name: format_.lost for format_ in formats if format_.records}
    order = [make.name for make in FORMATS if make.name in used]
    reports = [report for format_ in formats for report in getattr(format_, "reports", [])]
    reports.sort(key=lambda report: report.line)
    versions = {version for f in formats if isinstance(f, Evidence) for _, version in f.kernels}
    return Text(
        records=records,
        lost={name: used[name] for name in order},
        notes=[*_notes(formats), *_foreign_notes(formats)],
        ignored=sum(bool(line.strip()) and number not in understood for number, line in lines),
        reports=reports,
        foreign=_foreign(formats),
        kernel=next(iter(versions)) if len(versions) == 1 else None,
    )


def _read(stream: WriterText) -> tuple[list[Format], set[int]]:
    """Return the formats, each with what it found, and the lines that they understood."""
    formats = [make() for make in FORMATS]
    for format_ in formats:
        if isinstance(format_, Evidence):
            format_.listeners = [f for f in formats if isinstance(f, (Oops, BadPageMap))]
    lines: set[int] = set()
    for match, format_, what in _matches(stream.text, formats):
        format_.take(what, match, Place(stream, match.start()))
        if not isinstance(format_, (Evidence, Foreign)):
            first, last = match.start(), max(match.start(), match.end() - 1)
            lines.update(_lines(stream, first, last))
    for format_ in formats:
        format_.finish()
    return formats, lines


def _of_x86(formats: list[Format]) -> list[Record]:
    """Return a stream's records; none of what all processors' kernels print alike, if foreign."""
    alone = any(format_.alone for format_ in formats if isinstance(format_, Foreign))
    alike = (BadPageMap, Oops)
    kept = [f for f in formats if not (alone and isinstance(f, alike))]
    return [record for format_ in kept for record in format_.records]


def _lines(stream: WriterText, first: int, last: int) -> list[int]:
    start = first + len(stream.text[first : last + 1]) - len(stream.text[first : last + 1].lstrip())
    numbers = {stream.line_at(start), stream.line_at(last)}
    place = stream.text.find("\n", start, last)
    while place >= 0:
        numbers.add(stream.line_at(place + 1))
        place = stream.text.find("\n", place + 1, last)
    return sorted(numbers)


def _matches(text: str, formats: list[Format]) -> list[tuple[re.Match[str], Format, str]]:
    """Return all matches by their place; of two that overlap, the one of the first format."""
    taken = bytearray(len(text) + 1)
    found: list[tuple[re.Match[str], Format, str]] = []
    for format_ in formats:
        own: list[tuple[re.Match[str], Format, str]] = []
        for what, pattern in format_.PATTERNS.items():
            for match in pattern.finditer(text):
                if isinstance(format_, Evidence) or what.startswith(_BESIDE):
                    own.append((match, format_, what))
                elif isinstance(format_, Foreign) or 1 not in taken[match.start() : match.end()]:
                    own.append((match, format_, what))
                    taken[match.start() : match.end()] = b"\1" * (match.end() - match.start())
        found += own
    found.sort(key=lambda item: item[0].start())
    return found


def _notes(formats: list[Format]) -> list[str]:
    notes = [note for format_ in formats for note in format_.notes()]
    unreadable = sorted(where for format_ in formats for where in format_.unreadable)
    shown = [f"line {line}: not readable as an entry: {text}" for line, text in unreadable[:20]]
    if len(unreadable) > len(shown):
        shown.append(f"{len(unreadable) - len(shown)} more lines not readable as entries")
    return notes + shown


def _foreign(formats: list[Format]) -> list[str]:
    tables = [
        *(where for f in formats if isinstance(f, Foreign) for where in f.tables),
        *(where for f in formats if isinstance(f, Crash) for where in f.foreign),
    ]
    whose: dict[str, int] = {}
    for line, name in sorted(tables):
        whose.setdefault(name, line)
    found = [f"page tables of {name} (line {line})" for name, line in whose.items()]
    if not found:
        signs = _signs(formats)
        found = [f"a report of {name} (line {line})" for name, line in signs.items()]
    return found


def _signs(formats: list[Format]) -> dict[str, int]:
    signs: dict[str, int] = {}
    own = [f for f in formats if isinstance(f, Foreign) and not f.x86]
    for line, name in sorted(where for format_ in own for where in format_.signs):
        signs.setdefault(name, line)
    return signs


def _foreign_notes(formats: list[Format]) -> list[str]:
    return [f"{found}: not covered, only x86-64's are" for found in _foreign(formats)]
