# SPDX-License-Identifier: GPL-2.0-only
"""A case of a law: which helper is called, and for which inputs it breaks the law."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..engines.interface import Helper


class Outcome(NamedTuple):
    """The results of helpers for entries and arguments."""

    entries: Any
    arguments: Any
    one: Any
    other: Any  #: the result to compare with; None if the law needs only one


@dataclass(frozen=True)
class Case:
    """One helper under one law."""

    helper: Helper
    outcome: Callable[[Any, Any], Outcome]
    breaks: Callable[[Outcome], Any]  #: tells for which inputs the law is broken
    labels: tuple[str, str] = ("gives", "")
    kinds: tuple[str, str] = ("", "")
    with_: Helper | None = None  #: the other helper that the case is about
    two_words: bool = False
    applies: Callable[[Any, Any], Any] | None = None  #: tells which inputs make sense; None: all
