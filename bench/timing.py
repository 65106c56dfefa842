# SPDX-License-Identifier: GPL-2.0-only
"""Interleaved timing: each round times all contenders once, so that a slow moment affects all.

The statement of a contender is compiled into the timing loop, as timeit does it.  It is what a user
would write, without a wrapper.
"""

from __future__ import annotations

import time
import timeit
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pgtable.cost.statistics import quartiles

#: A round repeats a fast statement for about so long.  With a quarter of this, a contender that
#: ran after one with two threads, whose caches had the array, took up to twice as long.
BLOCK_NS = 2_000_000
#: A contender that takes so many times its share is timed only three times.
SLOW = 10


class Budget(NamedTuple):
    """How long a group may take.  A contender takes part in rounds until its share is used up."""

    #: for the whole group; contenders have equal shares
    seconds: float
    min_rounds: int
    max_rounds: int


@dataclass
class TimedStatement:
    """One statement to be timed."""

    name: str
    statement: str
    names: dict[str, Any]
    restore: Callable[[], None]
    #: called with the number of runs since restore(); raises WrongResultError
    check: Callable[[int], None]
    before: Callable[[], None] | None = None
    inner: int = 1
    samples: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._timer = timeit.Timer(self.statement, timer=time.perf_counter_ns, globals=self.names)

    def calibrate(self) -> None:
        """Run it for the first time, check it, and choose the number of repeats."""
        self._prepare()
        self._timer.timeit(1)
        self.check(1)
        once = self._timer.timeit(1)
        if once < BLOCK_NS:
            once = min(self._timer.repeat(5, 1))
        self.inner = max(1, int(BLOCK_NS // max(once, 1)))

    def _prepare(self) -> None:
        self.restore()
        if self.before:
            self.before()

    def run(self, check: bool) -> None:
        """Take one sample: nanoseconds a call."""
        self._prepare()
        # a first run, so that the caches are the same for each repeat
        warm = self.inner > 1
        if warm:
            self._timer.timeit(1)
        self.samples.append(self._timer.timeit(self.inner) / self.inner)
        if check:
            self.check(self.inner + warm)

    def as_function(self) -> Callable[[], None]:
        """Return the statement as a function, for pytest-benchmark."""
        names = dict(self.names)
        exec(f"def call():\n    {self.statement}", names)
        return names["call"]

    def summary(self) -> dict[str, Any]:
        """Return median and spread, in nanoseconds a call."""
        q1, median, q3 = quartiles(self.samples)
        return {
            "median_ns": median,
            "q1_ns": q1,
            "q3_ns": q3,
            "min_ns": min(self.samples),
            "max_ns": max(self.samples),
            "rounds": len(self.samples),
            "calls_per_round": self.inner,
        }


def measure(
    group: Sequence[TimedStatement], budget: Budget, check_every_round: bool = True
) -> None:
    """Time the group; results are in ``samples``.

    Each round begins with another contender.  A contender whose share of the time is used up leaves
    after ``min_rounds``, a very slow one after three.  The last of these rounds is always checked.
    """
    for timed in group:
        timed.calibrate()
    share = budget.seconds / max(len(group), 1)
    spent = dict.fromkeys(range(len(group)), 0.0)
    for number in range(budget.max_rounds):
        active = [
            i
            for i in range(len(group))
            if spent[i] < share or number < (3 if spent[i] > SLOW * share else budget.min_rounds)
        ]
        if not active:
            return
        shift = number % len(active)
        for i in active[shift:] + active[:shift]:
            started = time.perf_counter()
            group[i].run(check_every_round or number in (2, budget.min_rounds - 1))
            spent[i] += time.perf_counter() - started
