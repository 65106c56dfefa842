# SPDX-License-Identifier: GPL-2.0-only
"""Finds the entry for which a helper ended its process, by trying halves of the entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...engines.interface import Step
from .child import MAP, TEST
from .worker import EndedError, OutOfTimeError, Worker

if TYPE_CHECKING:
    from .isolated_engine import IsolatedTreeEngine

#: Seconds after which a block counts as endless, while the entry is searched.
_SOON = 0.3


def culprit(
    engine: IsolatedTreeEngine,
    before: tuple[Step, ...],
    step: Step,
    entries: np.ndarray,
    error: EndedError,
) -> str:
    """Say which helper ended its process, on which entry, and how.

    before: steps that ran before this one, and made its entries.
    """
    search = _Search(engine, step, isinstance(error, OutOfTimeError))
    try:
        for one in before:
            entries = search.through(one, entries)
        return search.smallest(entries, error)
    finally:
        search.end()


class _Search:
    """Runs one step over parts of the entries, in a new process after each that ended."""

    def __init__(self, engine: IsolatedTreeEngine, step: Step, slow: bool):
        self.engine = engine
        self.step = step
        self.seconds = min(_SOON, engine.seconds) if slow else engine.seconds
        self.worker: Worker | None = None

    def end(self) -> None:
        if self.worker is not None:
            self.worker.end()

    def through(self, step: Step, entries: np.ndarray) -> np.ndarray:
        """Return the entries after an earlier step."""
        self.ask(step, entries, step.argument, self.engine.seconds)
        assert self.worker is not None
        return self.worker.source[: entries.size].copy()

    def ask(
        self, step: Step, entries: np.ndarray, argument: int | np.ndarray, seconds: float
    ) -> None:
        self.worker = self.worker or self.engine.start()
        n, each = entries.size, isinstance(argument, np.ndarray)
        self.worker.source[:n] = entries
        if each:
            self.worker.arguments[:n] = argument
        what = MAP if step.helper.kind == "map" else TEST
        number = 0 if each else int(argument)
        self.worker.ask(step.helper.handle, what, n, number, each, seconds)

    def ends(self, first: int, last: int, entries: np.ndarray) -> EndedError | None:
        """Return how the process ends for some of the entries; None if it does not end."""
        argument = self.step.argument
        if isinstance(argument, np.ndarray):
            argument = argument[first:last]
        try:
            self.ask(self.step, entries[first:last], argument, self.seconds)
        except EndedError as error:
            self.worker = None
            return error
        return None

    def smallest(self, entries: np.ndarray, error: EndedError) -> str:
        """Return the helper, the first entry for which the process ends, and how it ends."""
        first, last = 0, entries.size
        while last - first > 1:
            middle = (first + last) // 2
            if found := self.ends(first, middle, entries):
                last, error = middle, found
            else:
                first = middle
        name, argument = self.step.helper.name, self.step.argument
        if found := self.ends(first, last, entries):
            # while searching, the time limit was another than the user's
            how = f"did not end within {self.engine.seconds:g} s"
            how = how if isinstance(found, OutOfTimeError) else str(found)
            if isinstance(argument, np.ndarray):
                argument = int(argument[first])
            more = f", {argument:#x}" if self.step.helper.argument else ""
            return f"{name}({entries[first]:#x}{more}) {how}"
        return (
            f"{name} {error}; not on one entry alone, but in a run of {entries.size:,} that begins"
            f" with {entries[0]:#x}"
        )
