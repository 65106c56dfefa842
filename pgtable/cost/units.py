# SPDX-License-Identifier: GPL-2.0-only
"""Numbers as people read them."""

from __future__ import annotations

_BINARY = ((1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki"))


def entries_text(n: int) -> str:
    """Return a number of entries: 512, 16 Ki, 128 Mi."""
    for factor, unit in _BINARY:
        if n >= factor and n % factor == 0:
            return f"{n // factor} {unit}"
    return str(n)


def bytes_text(n: float) -> str:
    """Return a number of bytes: 4 KiB, 1.5 GiB."""
    for factor, unit in _BINARY:
        if n >= factor:
            return f"{n / factor:.3g} {unit}B"
    return f"{n:.0f} B"


def time_text(ns: float) -> str:
    """Return a time: 431 ns, 2.15 ms."""
    for factor, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "us")):
        if ns >= factor:
            return f"{ns / factor:.3g} {unit}"
    return f"{ns:.0f} ns"


def rate_text(per_second: float) -> str:
    """Return entries per second: 1.25 G/s, 12.1 M/s."""
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if per_second >= factor:
            return f"{per_second / factor:.3g} {unit}/s"
    return f"{per_second:.3g}/s"
