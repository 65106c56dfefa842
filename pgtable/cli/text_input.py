# SPDX-License-Identifier: GPL-2.0-only
"""Text with entries in it, from a file or standard input."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from .. import bits
from ..images.text import Text, parse

#: Longer lines are cut: what is not text may have no ends of lines.
MAX_LINE = 1 << 16

LEVEL_NUMBERS = {name: number for number, name in enumerate(bits.LEVELS, 1)}


def read_text(name: str) -> Text:
    """Return the entries of a text; ``-`` is standard input.

    Raises ValueError where there are none.
    """
    with _open(name) as file:
        text = parse(iter(lambda: file.readline(MAX_LINE), ""))
    if not text.records:
        raise ValueError(
            f"{name}: no page-table entries in it (crash pte and vtop, info tlb, page_tables"
            " files, oops and Bad page map lines, numbers are understood)"
        )
    return text


@contextlib.contextmanager
def _open(name: str) -> Iterator[TextIO]:
    if name == "-":
        sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]
        yield sys.stdin
        return
    with Path(name).open(errors="replace") as file:
        yield file


def remarks(text: Text) -> Iterator[str]:
    """Yield what the text does not say, and what was passed over."""
    for name, lost in text.lost.items():
        yield f"{name} does not print: {lost}"
    yield from text.notes
    if text.ignored:
        yield f"{text.ignored} lines without entries"
