# SPDX-License-Identifier: GPL-2.0-only
"""Records, which are what a text says of entries, and the base class of formats."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ...bits import ALL
from .log_report import LogReport
from .writers import WriterText

#: Names of the levels as texts print them; PGD is 5 where there are five levels.
LEVEL_NUMBERS = {"PTE": 1, "PMD": 2, "PUD": 3, "P4D": 4, "PGD": 4}

#: The level of an entry where the text does not say it.
UNKNOWN_LEVEL = 0


@dataclass(slots=True)
class Record:
    """What one line says of an entry, or of a run of entries with the same bits."""

    line: int  #: number of the line, from 1
    format: str
    level: int  #: 1 to 5 as in a walk; 0: the text does not say
    va: int | None  #: where what the entry covers starts; None: the text does not say
    entry: int
    known: int = ALL  #: the bits of ``entry`` that the text tells; others are 0 in it
    count: int = 1  #: how many entries in a row
    note: str = ""
    place: int | None = None  #: the address of the entry itself, where the text says it
    report: LogReport | None = None  #: what the text says around it
    printed: dict[str, Any] = field(default_factory=dict)  #: what its line says of its meaning
    evidence: list[str] = field(default_factory=list)  #: statements of the text that fit the entry
    warnings: list[str] = field(default_factory=list)  #: statements that do not fit


@dataclass(frozen=True, slots=True)
class Place:
    """Where a match starts: its stream, and how far into it."""

    stream: WriterText
    position: int

    def line(self, position: int | None = None) -> int:
        """Return the number of the line, of the match or of a position in the stream."""
        return self.stream.line_at(self.position if position is None else position)

    @property
    def word(self) -> int:
        """How many words of the stream precede it."""
        return self.stream.word_at(self.position)


@dataclass(frozen=True)
class Text:
    """All entries of a text.

    ``lost`` says for each format that occurred what it does not print, ``notes``
    what else had to be passed over, ``ignored`` how many lines held no entry.
    """

    records: Sequence[Record]
    lost: Mapping[str, str]
    notes: Sequence[str]
    ignored: int
    reports: Sequence[LogReport] = ()
    foreign: Sequence[str] = ()  #: page tables that are not x86-64's, each with its line
    kernel: str | None = None  #: the version, where the text names one and no other

    @property
    def entry(self) -> np.ndarray:
        """The entries (uint64), one a record; unknown bits are 0."""
        return np.array([record.entry for record in self.records], np.uint64)

    @property
    def known(self) -> np.ndarray:
        """Which bits of each entry are known (uint64)."""
        return np.array([record.known for record in self.records], np.uint64)

    @property
    def level(self) -> np.ndarray:
        """The levels (uint8), 0 where unknown."""
        return np.array([record.level for record in self.records], np.uint8)

    @property
    def va(self) -> np.ndarray:
        """The addresses (uint64), 0 where unknown: see ``va_known``."""
        return np.array([record.va or 0 for record in self.records], np.uint64)

    @property
    def va_known(self) -> np.ndarray:
        """Whether an address is known (bool)."""
        return np.array([record.va is not None for record in self.records], bool)

    @property
    def count(self) -> np.ndarray:
        """How many entries each record stands for (uint64)."""
        return np.array([record.count for record in self.records], np.uint64)


class Format(ABC):
    """A format of text: takes the matches of its patterns in a stream, and collects records.

    One object reads one stream.  ``PATTERNS`` are matched anywhere in the stream, where
    a line may be broken at any white space; of matches that overlap the format that
    stands first in the list of formats has the first one.
    """

    name = ""
    lost = ""
    PATTERNS: ClassVar[Mapping[str, re.Pattern[str]]] = {}

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.unreadable: list[tuple[int, str]] = []

    @abstractmethod
    def take(self, what: str, match: re.Match[str], place: Place) -> None:
        """Take a match of the pattern of this name."""

    def finish(self) -> None:  # noqa: B027 - most have nothing to settle
        """Finish what only the end of the text decides."""

    def notes(self) -> list[str]:
        """Return notes on what was skipped or assumed."""
        return []


def level_shift(level: int) -> int:
    """Return the number of address bits that an entry of this level covers."""
    return 12 + 9 * (level - 1)


def covered_from(address: int | None, level: int) -> int | None:
    """Return where the range that an entry of this level covers starts."""
    if address is None or not level:
        return None
    return address >> level_shift(level) << level_shift(level)


def top_down(values: Sequence[tuple[str, int]], five: bool | None = None) -> list[tuple[int, int]]:
    """Give the entries on the way to an address, PGD first, their levels.

    With four levels the kernel still prints a P4D, which is the PGD once more;
    it is left out here.

    five: whether there are five levels, as CR4 tells; None: not known.
    """
    by_name = dict(values)
    repeated = "P4D" not in by_name or by_name["P4D"] == by_name.get("PGD")
    if repeated if five is None else not five:
        return [(LEVEL_NUMBERS[name], value) for name, value in values if name != "P4D"]
    return [(5 if name == "PGD" else LEVEL_NUMBERS[name], value) for name, value in values]
