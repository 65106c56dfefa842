# SPDX-License-Identifier: GPL-2.0-only
"""Shows results: as plain ASCII of 80 columns, for mailing lists, and as JSON."""

from __future__ import annotations

import json
import re
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .. import bits
from ..engines.interface import Engine, Helper

WIDTH = 80


class Report(ABC):
    """A result.  str() gives text, and as_dict() gives plain values for programs."""

    @abstractmethod
    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""

    @abstractmethod
    def __str__(self) -> str: ...

    def to_json(self) -> str:
        """Return it as one JSON document."""
        return json.dumps(self.as_dict(), indent=2)


def call(helper: Helper, entries: Any, argument: Any) -> Any:
    """Call a helper, with the argument only if it takes one."""
    return helper(entries) if helper.argument is None else helper(entries, argument)


def rules_of(engine: Engine) -> str:
    """Return the rules whose bit names an engine uses: its own, else those of mainline."""
    return getattr(engine, "rules", None) or "saved_dirty"


@dataclass(frozen=True)
class Value:
    """A word or a truth value, and how it is printed."""

    value: int | bool
    kind: str  #: a level, "val" for a plain number, or "test" for a bool
    rules: str

    def __str__(self) -> str:
        if self.kind == "test":
            return str(bool(self.value))
        number = f"{self.value:#018x}"
        if self.kind in ("val", "swp"):
            return number
        return f"{number} {bits.state(self.value, self.rules)}"

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        if self.kind == "test":
            return {"value": bool(self.value)}
        found: dict[str, Any] = {"value": f"{self.value:#018x}"}
        if self.kind not in ("val", "swp"):
            found["state"] = bits.state(self.value, self.rules)
        return found


def counted(count: int, thing: str) -> str:
    """Return "no findings", "1 finding", "2 findings"."""
    number = f"{count:,}" if count else "no"
    return f"{number} {thing}" + ("" if count == 1 else "s")


def differing(count: int, of: str = "") -> str:
    """Return "1 differs", "2 differ"; ``of`` names the whole that they are a part of."""
    return f"{count:,}{of and f' of {of}'} differ" + ("s" if count == 1 else "")


def wrap(text: str, indent: str = "", hang: str | None = None) -> str:
    """Fill a paragraph to the width of a mail."""
    return _Paragraph(
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent if hang is None else hang,
        break_long_words=False,
        break_on_hyphens=False,
    ).fill(text)


class _Paragraph(textwrap.TextWrapper):
    """Breaks a list of bits after commas if it is wider than a line."""

    def _split(self, text: str) -> list[str]:
        room = self.width - max(len(self.initial_indent), len(self.subsequent_indent))
        pieces: list[str] = []
        for word in super()._split(text):
            pieces += re.findall(r"[^,]+,?|,", word) if len(word) > room else [word]
        return pieces


def aligned(rows: Iterable[tuple[str, object]], indent: str = "  ") -> list[str]:
    """Return lines of labels and values, with the values aligned."""
    rows = list(rows)
    widest = max(len(label) for label, _ in rows)
    return [f"{indent}{label:<{widest}}  {value}".rstrip() for label, value in rows]


def bit_names(word: int, level: str, rules: str) -> str:
    """Name the set bits of a difference, frame bits as such; "" for none."""
    if level not in bits.LEVELS:
        level = "pte"
    large = bits.LEAF_FRAME.get(level, bits.SMALL_FRAME)
    names = [bit.name for bit in bits.named_bits(word & ~large | 1, level, rules)]
    if not word & 1:
        names.remove("PRESENT")
    if word & large:
        names.append("frame")
    # some bits of a swap entry have no name
    return "|".join(names) or "|".join(f"bit {bit}" for bit in range(64) if word >> bit & 1)
