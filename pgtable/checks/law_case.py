# SPDX-License-Identifier: GPL-2.0-only
"""One helper under one law: what is called, and where the law is broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..engines.interface import Helper


class Outcome(NamedTuple):
    """What helpers made of entries and arguments, for laws and their exceptions."""

    entries: Any
    arguments: Any
    one: Any
    other: Any  #: what it is compared with; None where the law needs only one result


@dataclass(frozen=True)
class Case:
    """One helper under one law."""

    helper: Helper
    outcome: Callable[[Any, Any], Outcome]
    breaks: Callable[[Outcome], Any]  #: where the law is broken
    labels: tuple[str, str] = ("gives", "")
    kinds: tuple[str, str] = ("", "")
    with_: Helper | None = None  #: the other helper that the case is about
    two_words: bool = False
    applies: Callable[[Any, Any], Any] | None = None  #: inputs that make sense; None: all
