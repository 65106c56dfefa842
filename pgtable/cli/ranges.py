# SPDX-License-Identifier: GPL-2.0-only
"""How address ranges, sizes and long sentences are printed."""

from __future__ import annotations

import argparse
import textwrap

WIDTH = 80


def address_range(start: int, end: int) -> str:
    """Return a range; the end is the last byte's address."""
    return f"{start:016x}-{(end - 1) % (1 << 64):016x}"


def size_text(size: int) -> str:
    """Return a number of bytes in the largest unit that divides it well."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} TiB"


def wrapped(text: str, indent: str = "", label: str = "") -> str:
    """Return a sentence in lines of at most 80 columns, the label before the first."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=indent + label,
        subsequent_indent=indent + " " * min(len(label), 4),
        break_long_words=False,
        break_on_hyphens=False,
    )


def count(text: str) -> int:
    """Return how many rows to print, for argparse."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rows")
    return number


def plural(number: int, one: str, many: str | None = None) -> str:
    """Return "1 entry", "2 entries"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
