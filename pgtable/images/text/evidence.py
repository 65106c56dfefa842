# SPDX-License-Identifier: GPL-2.0-only
"""Lines beside the entries: gives error codes, registers and versions to the reports."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from .log_report import FACTS
from .records import Format, Place


class Listener(Protocol):
    """A format that has reports."""

    def fact(self, what: str, match: re.Match[str], place: Place) -> None:
        """Take a fact of :data:`~.log_report.FACTS`."""


class Evidence(Format):
    """Gives every fact to the formats of the same stream, and keeps the versions."""

    name = "evidence"
    PATTERNS = FACTS

    def __init__(self) -> None:
        super().__init__()
        self.listeners: Sequence[Listener] = ()
        self.kernels: list[tuple[int, str]] = []  # line, version

    def take(self, what: str, match: re.Match[str], place: Place) -> None:
        """Take a fact."""
        if what == "kernel":
            self.kernels.append((place.line(), re.sub(r"\s", "", match[1])))
        for listener in self.listeners:
            listener.fact(what, match, place)
