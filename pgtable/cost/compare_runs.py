# SPDX-License-Identifier: GPL-2.0-only
"""Compares two results row by row, and says which differences are real.

The ratio of two costs has Fieller's interval (E. C. Fieller, "Some Problems in Interval
Estimation", 1954): it needs no cost to be far from zero, and says so where one is too near.
The standard error of each cost is computed from its interval, so that all that widened the interval
(processes, samples, the clock) counts here as well.  Degrees of freedom are Welch's.

A difference is real if the whole interval lies beyond the threshold.  With many rows, some would do
so by chance.  So Holm's rule widens the intervals for this decision ("A Simple Sequentially
Rejective Multiple Test Procedure", 1979).  Then the chance that a comparison reports any difference
that does not exist is 5 %, for any number of rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .result_files import PARAMS, CostResults, Row, engine_text
from .statistics import CONFIDENCE, Summary, t_probability, t_quantile

#: In percent: two builds of the same text may differ by so much.
THRESHOLD = 2.0

#: Properties that must agree for two results to be of one machine.
_MACHINE = ("processor", "processors", "caches", "system", "isa")


@dataclass(frozen=True)
class CostDifference:
    """One measurement in both results."""

    before: Row
    after: Row
    ratio: float  #: after to before, of the medians; NaN if before is 0
    low: float  #: lower end of the ratio's own 95 % interval; -inf if unknown
    high: float
    chance: float  #: the chance of a difference so far beyond the threshold if there is none
    real: bool  #: that chance is small enough for the number of rows

    @property
    def slower(self) -> bool:
        """Tell whether after costs really more."""
        return self.real and self.after.summary.median > self.before.summary.median

    @property
    def quicker(self) -> bool:
        """Tell whether after costs really less."""
        return self.real and self.after.summary.median < self.before.summary.median

    @property
    def agrees(self) -> bool:
        """Tell whether the two stated intervals have a value in common."""
        before, after = self.before.summary, self.after.summary
        return before.low <= after.high and after.low <= before.high

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values; null for what is unknown."""
        return {
            **self.after.params,
            "before_ns": _times(self.before.summary),
            "after_ns": _times(self.after.summary),
            "ratio": _finite(self.ratio),
            "ratio_low": _finite(self.low),
            "ratio_high": _finite(self.high),
            "chance": self.chance,
            "verdict": "slower" if self.slower else "quicker" if self.quicker else "none",
            "agrees": self.agrees,
        }


def _times(summary: Summary) -> dict[str, float | None]:
    return {name: _finite(getattr(summary, name)) for name in ("median", "low", "high")}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class CostComparison:
    """All of two results."""

    differences: list[CostDifference]  #: in the order of the second
    only_before: list[Row]
    only_after: list[Row]
    notes: list[str]  #: what else is different: one line for each
    threshold: float  #: percent

    @property
    def slower(self) -> list[CostDifference]:
        """Return the rows that really cost more, the worst first."""
        return sorted((d for d in self.differences if d.slower), key=lambda d: -d.ratio)

    @property
    def quicker(self) -> list[CostDifference]:
        """Return the rows that really cost less, the largest difference first."""
        return sorted((d for d in self.differences if d.quicker), key=lambda d: d.ratio)

    def agreement(self) -> dict[str, tuple[int, int]]:
        """Return for each helper how many of its rows agree, and how many it has."""
        found: dict[str, tuple[int, int]] = {}
        for one in self.differences:
            agree, of = found.get(one.after.params["helper"], (0, 0))
            found[one.after.params["helper"]] = agree + one.agrees, of + 1
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON has it."""
        return {
            "threshold_percent": self.threshold,
            "notes": self.notes,
            "slower": len(self.slower),
            "quicker": len(self.quicker),
            "differences": [one.as_dict() for one in self.differences],
            "only_before": [row.params for row in self.only_before],
            "only_after": [row.params for row in self.only_after],
        }


def compare(
    before: CostResults, after: CostResults, threshold: float = THRESHOLD
) -> CostComparison:
    """Return the differences between two results.

    threshold: a difference within so many percent counts as none.
    Raises ValueError where no measurement is in both, or for a negative threshold.
    """
    if not 0 <= threshold < math.inf:
        raise ValueError(f"threshold is {threshold}; it must be a percentage, 0 or more")
    notes = list(_unlike(before, after))
    other_names, renamed = _other_compilers(before, after)
    notes += renamed
    old = {_key(row, other_names): row for row in before.rows}
    new = {row.key: row for row in after.rows}
    both = [key for key in new if key in old]
    if not both:
        raise ValueError(f"{before.path} and {after.path} have no measurement in common")
    return CostComparison(
        differences=_judge([(old[key], new[key]) for key in both], threshold),
        only_before=[row for key, row in old.items() if key not in new],
        only_after=[row for key, row in new.items() if key not in old],
        notes=notes,
        threshold=threshold,
    )


def _key(row: Row, other_names: Mapping[str, str]) -> tuple[Any, ...]:
    params = row.params
    compiler = other_names.get(params["compiler"], params["compiler"])
    return tuple(compiler if name == "compiler" else params[name] for name in PARAMS)


def _unlike(before: CostResults, after: CostResults) -> Iterator[str]:
    other = [
        f"{name} {before.machine.get(name, 'unknown')} and {after.machine.get(name, 'unknown')}"
        for name in _MACHINE
        if before.machine.get(name) != after.machine.get(name)
    ]
    if other:
        yield f"measured on different machines: {'; '.join(other)}"
    if before.version != after.version:
        yield f"measured by different versions: {before.version} and {after.version}"


def _other_compilers(before: CostResults, after: CostResults) -> tuple[dict[str, str], list[str]]:
    """Return compilers of before -> compilers of after that differ only in the version."""
    old, new = (_versions(results) for results in (before, after))
    names, notes = {}, []
    for program in old.keys() & new.keys():
        if len(old[program]) == len(new[program]) == 1 and old[program] != new[program]:
            (was,), (now,) = old[program], new[program]
            names[was] = now
            notes.append(f"different compilers: {was} is compared with {now}")
    return names, sorted(notes)


def _versions(results: CostResults) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in results.rows:
        name = row.params["compiler"]
        found.setdefault(name.partition(" ")[0], set()).add(name)
    return found


def _judge(pairs: list[tuple[Row, Row]], threshold: float) -> list[CostDifference]:
    chances = [_chance(b.summary, a.summary, 1 + threshold / 100) for b, a in pairs]
    real = holm(chances)
    return [
        CostDifference(b, a, *ratio(b.summary, a.summary), chance=chance, real=holds)
        for (b, a), chance, holds in zip(pairs, chances, real, strict=True)
    ]


def holm(chances: list[float]) -> list[bool]:
    """Return which of these results are significant, with 95 % confidence for all together."""
    holds = [False] * len(chances)
    for rank, i in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        if chances[i] * (len(chances) - rank) > 1 - CONFIDENCE:
            break
        holds[i] = True
    return holds


def _error(summary: Summary) -> float:
    """Return the standard error that an interval implies; infinite for a single process."""
    if summary.processes < 2 or not math.isfinite(summary.low + summary.high):
        return math.inf
    return (summary.high - summary.low) / 2 / t_quantile(CONFIDENCE, summary.processes - 1)


def _degrees(before: Summary, after: Summary, weight: float = 1.0) -> int:
    """Return Welch's degrees of freedom, rounded down, of after - weight * before."""
    parts = [(weight * _error(before)) ** 2, _error(after) ** 2]
    squares = parts[0] ** 2 / (before.processes - 1) + parts[1] ** 2 / (after.processes - 1)
    if squares == 0:
        return min(before.processes, after.processes) - 1
    return max(1, int(sum(parts) ** 2 / squares))


def _chance(before: Summary, after: Summary, factor: float) -> float:
    """Return the chance of a difference so far beyond the factor, if there is none."""
    if math.isinf(_error(before) + _error(after)):
        return 1.0
    chance = 1.0
    for less, more in ((before, after), (after, before)):
        beyond = more.median - factor * less.median
        if less.median < more.median and beyond > 0:
            error = math.hypot(_error(more), factor * _error(less))
            degrees = _degrees(less, more, factor)
            chance = t_probability(beyond / error, degrees) if error else 0.0
    return chance


def ratio(before: Summary, after: Summary) -> tuple[float, float, float]:
    """Return after to before, and Fieller's 95 % interval of it.

    The interval is infinite if before may be 0, or if one of both has a single process.
    """
    a, b = before.median, after.median
    value = b / a if a else math.nan
    errors = _error(before), _error(after)
    if math.isinf(sum(errors)):
        return value, -math.inf, math.inf
    t = t_quantile(CONFIDENCE, _degrees(before, after))
    # the ratios r for which b - r a lies within t standard errors of zero
    square = a**2 - (t * errors[0]) ** 2
    rest = b**2 - (t * errors[1]) ** 2
    if a <= 0 or square <= 0:
        return value, -math.inf, math.inf
    root = math.sqrt(max(0.0, (a * b) ** 2 - square * rest))
    return value, (a * b - root) / square, (a * b + root) / square


def describe(one: CostDifference) -> list[str]:
    """Return a difference as cells: what, before, after, ratio, verdict."""
    params = one.after.params
    interval = f"{one.ratio:.3f} ({one.low:.3f} to {one.high:.3f})"
    if not math.isfinite(one.low):
        interval = "cannot be told"
    return [
        params["helper"],
        engine_text(params),
        f"{params['mix']}, {params['shape']}",
        f"{params['way']}, {params['compiler']}",
        f"{one.before.summary.median:.3f}",
        f"{one.after.summary.median:.3f}",
        interval,
        "slower" if one.slower else "quicker" if one.quicker else "",
    ]
