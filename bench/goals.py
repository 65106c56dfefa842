# SPDX-License-Identifier: GPL-2.0-only
"""The goals for the speed of pgtable: ratios of medians that were measured side by side.

These are goals, not tests: another machine, or a busy one, has other ratios.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from pgtable.cost.units import entries_text

Ki, Mi = 1 << 10, 1 << 20


class ThroughputResults:
    """Medians of one run of the benchmarks, in nanoseconds a call."""

    def __init__(
        self,
        throughput: dict[str, Any],
        files: dict[str, Any] | None = None,
        walk: dict[str, Any] | None = None,
    ):
        self.rows = throughput["results"]
        self.widest = throughput["machine"]["isa"]
        self.files = {row["name"]: row for row in files["results"]} if files else {}
        self.file_bytes = files["bytes"] if files else 0
        self.walk = walk or {}

    def row(self, operation: str, n: int, family: str, threads: int = 1) -> dict[str, Any] | None:
        """Return the fastest variant of a family; of pgtable, the widest instruction set."""
        found = [
            row
            for row in self.rows
            if (row["operation"], row["entries"], row["family"], row["threads"])
            == (operation, n, family, threads)
            and (family != "native" or row["variant"] == self.widest)
        ]
        return min(found, key=lambda row: row["median_ns"], default=None)

    def time(self, operation: str, n: int, family: str, threads: int = 1) -> float:
        """Return the median of :meth:`row`; LookupError where there is none."""
        row = self.row(operation, n, family, threads)
        if row is None:
            raise LookupError(f"{operation} of {n} entries has no {family}, {threads} threads")
        return row["median_ns"]

    def sizes(self, operation: str) -> list[int]:
        """Return the sizes at which an operation was timed, smallest first."""
        return sorted({row["entries"] for row in self.rows if row["operation"] == operation})

    def operations(self) -> list[str]:
        """Return the operations that were timed as a user calls them."""
        names = dict.fromkeys(row["operation"] for row in self.rows)
        return [name for name in names if not name.startswith("loop")]


class GoalValue(NamedTuple):
    """A measured value.  If it is the worst of several, it says of which case."""

    number: float
    where: str = ""


@dataclass(frozen=True)
class Goal:
    """A goal: a value that should be at most, or at least, ``bound``."""

    text: str
    value: Callable[[ThroughputResults], GoalValue]
    relation: str
    bound: float
    unit: str = "x"

    def measured(self, results: ThroughputResults) -> GoalValue | None:
        """Return the value, or None if this run did not measure it."""
        try:
            return self.value(results)
        except LookupError:
            return None

    def reached(self, value: GoalValue) -> bool:
        """Tell whether the goal is reached."""
        compare = operator.le if self.relation == "<=" else operator.ge
        return compare(value.number, self.bound)


def to_limit(operation: str, n: int) -> Callable[[ThroughputResults], GoalValue]:
    """Return the time of native, divided by that of the limit."""
    return lambda r: GoalValue(r.time(operation, n, "native") / r.time(operation, n, "limit"))


def to_one(operation: str, n: int) -> Callable[[ThroughputResults], GoalValue]:
    """Return the time of a chain, divided by that of one helper."""
    return lambda r: GoalValue(r.time(operation, n, "native") / r.time(operation, n, "one helper"))


def loop_to_limit(helper: str, sizes: tuple[int, ...]) -> Callable[[ThroughputResults], GoalValue]:
    """Return the worst time of a loop, without the call, divided by the limit's."""

    def value(r: ThroughputResults) -> GoalValue:
        ratios = {
            n: r.time(f"loop {helper}", n, "native") / r.time("loop", n, "limit") for n in sizes
        }
        worst = max(ratios, key=ratios.__getitem__)
        return GoalValue(ratios[worst], entries_text(worst))

    return value


def over(operation: str, n: int, family: str) -> Callable[[ThroughputResults], GoalValue]:
    """Return the time of another family, divided by that of native."""
    return lambda r: GoalValue(r.time(operation, n, family) / r.time(operation, n, "native"))


def worst_over(family: str, least: int = 0) -> Callable[[ThroughputResults], GoalValue]:
    """Return the worst time of native to another family's, of all operations and sizes."""

    def value(r: ThroughputResults) -> GoalValue:
        ratios = {
            (operation, n): r.time(operation, n, "native") / r.time(operation, n, family)
            for operation in r.operations()
            for n in r.sizes(operation)
            if n >= least and r.row(operation, n, family) and r.row(operation, n, "native")
        }
        worst = max(ratios, key=ratios.__getitem__, default=None)
        if worst is None:
            raise LookupError(family)
        return GoalValue(ratios[worst], f"{worst[0]}, {entries_text(worst[1])}")

    return value


def worst_at(family: str, n: int) -> Callable[[ThroughputResults], GoalValue]:
    """Return the worst time of native to another family's, of all operations at one size."""

    def value(r: ThroughputResults) -> GoalValue:
        ratios = {
            operation: r.time(operation, n, "native") / r.time(operation, n, family)
            for operation in r.operations()
            if r.row(operation, n, family) and r.row(operation, n, "native")
        }
        worst = max(ratios, key=ratios.__getitem__, default=None)
        if worst is None:
            raise LookupError(family)
        return GoalValue(ratios[worst], worst)

    return value


def gain_to_limit(operation: str, n: int) -> Callable[[ThroughputResults], GoalValue]:
    """Return the gain of native by 2 threads, divided by the limit's."""

    def value(r: ThroughputResults) -> GoalValue:
        native = r.time(operation, n, "native") / r.time(operation, n, "native", 2)
        limit = r.time(operation, n, "limit") / r.time(operation, n, "limit", 2)
        return GoalValue(native / limit, f"{native:.2f} of {limit:.2f}")

    return value


def file_ratio(numerator: str, denominator: str) -> Callable[[ThroughputResults], GoalValue]:
    """Return the ratio of two commands over the same file."""
    return lambda r: GoalValue(r.files[numerator]["median_ns"] / r.files[denominator]["median_ns"])


def _census_of_file(r: ThroughputResults) -> GoalValue:
    allowed = max(1.2 * r.files["cat"]["median_ns"], 0.6e9 * r.file_bytes / (1 << 30))
    return GoalValue(r.files["pgtable census"]["median_ns"] / allowed)


def of_walk(group: str, key: str, factor: float = 1) -> Callable[[ThroughputResults], GoalValue]:
    """Return a value that walk.py measured."""
    return lambda r: GoalValue(r.walk[group][key] * factor)


def _times_plain_python(r: ThroughputResults) -> GoalValue:
    return GoalValue(r.walk["times faster"]["synthetic"]["plain_python"])


def walk_goals() -> Iterator[Goal]:
    """Yield the goals of walking the page tables of an image."""
    for image in ("full tables", "mixed tables"):
        yield Goal(
            f"census of an image, {image}, to only reading them",
            of_walk(image, "census_over_reading"),
            "<=",
            3,
        )
    yield Goal(
        "walk into columns, full tables",
        of_walk("full tables", "entries_per_second", 1e-6),
        ">=",
        100,
        "M/s",
    )
    yield Goal(
        "walk: peak memory to the result",
        of_walk("full tables", "peak_over_result"),
        "<=",
        1.5,
    )
    yield Goal("plain Python to walk", _times_plain_python, ">=", 200)
    yield Goal(
        "open an image of 8 TiB and walk a small address space",
        of_walk("opening", "open_and_walk_8_TiB_ms"),
        "<=",
        50,
        "ms",
    )


def goals() -> Iterator[Goal]:
    """Yield every goal."""
    for helper in ("wrprotect", "mkclean", "mkdirty", "mkwrite"):
        for n in (16 * Mi, 128 * Mi):
            yield Goal(
                f"{helper} in place, {entries_text(n)}, to the limit",
                to_limit(helper, n),
                "<=",
                1.08,
            )
        yield Goal(
            f"{helper} in place, loop alone, 16 Ki to 512 Ki, to the limit",
            loop_to_limit(helper, (16 * Ki, 64 * Ki, 512 * Ki)),
            "<=",
            1.15,
        )
        yield Goal(
            f"{helper} in place, loop alone, smaller, to the limit",
            loop_to_limit(helper, (512, 4 * Ki)),
            "<=",
            1.9,
        )
    yield Goal("modify in place, 16 Mi, to the limit", to_limit("modify", 16 * Mi), "<=", 1.3)
    for n in (16 * Mi, 128 * Mi):
        size = entries_text(n)
        yield Goal(f"wrprotect out of place, {size}, to the limit", to_limit("copy", n), "<=", 1.15)
        yield Goal(f"dirty.count, {size}, to the limit", to_limit("dirty.count", n), "<=", 1.15)
        yield Goal(f"dirty to bools, {size}, to the limit", to_limit("dirty", n), "<=", 1.15)
        yield Goal(f"census, {size}, to the reading limit", to_limit("census", n), "<=", 3)
        yield Goal(f"chain of four, {size}, to one helper", to_one("chain", n), "<=", 1.15)
    for family in ("numpy", "numexpr", "polars"):
        yield Goal(f"never slower than {family}: worst of all", worst_over(family), "<=", 1)
    yield Goal("never slower than numba from 4 Ki: worst", worst_over("numba", 4 * Ki), "<=", 1)
    yield Goal("to numba at 512: worst", worst_at("numba", 512), "<=", 2)
    yield Goal("numpy to wrprotect in place, 16 Mi", over("wrprotect", 16 * Mi, "numpy"), ">=", 5)
    yield Goal("numpy to wrprotect in place, 512", over("wrprotect", 512, "numpy"), ">=", 3)
    yield Goal(
        "python to wrprotect in place, 16 Mi", over("wrprotect", 16 * Mi, "python"), ">=", 1000
    )
    yield Goal(
        "wrprotect in place, 512: one call",
        lambda r: GoalValue(r.time("wrprotect", 512, "native")),
        "<=",
        600,
        "ns",
    )
    yield Goal(
        "wrprotect in place, 512: above the bare cffi call",
        lambda r: GoalValue(
            r.time("wrprotect", 512, "native") - r.time("wrprotect", 512, "bare cffi call")
        ),
        "<=",
        250,
        "ns",
    )
    for operation in ("wrprotect", "copy", "dirty.count"):
        for n in (1 * Mi, 4 * Mi, 16 * Mi, 128 * Mi):
            yield Goal(
                f"{operation}, {entries_text(n)}: gain of 2 threads, to the limit's",
                gain_to_limit(operation, n),
                ">=",
                0.9,
            )
    yield Goal(
        "pgtable apply of a file, to cp and sync",
        file_ratio("pgtable apply", "cp, sync"),
        "<=",
        1.15,
    )
    yield Goal(
        "pgtable apply of a file: peak resident memory",
        lambda r: GoalValue(r.files["pgtable apply"]["peak_rss_bytes"] / Mi),
        "<=",
        128,
        "MiB",
    )
    yield Goal(
        "pgtable census of a file, to the larger of 1.2 of cat and 0.6 s/GiB",
        _census_of_file,
        "<=",
        1,
    )
    yield from walk_goals()


def rows(results: ThroughputResults) -> list[list[str]]:
    """Return a row for each goal: text, measured, goal, whether it is reached."""
    table = []
    for goal in goals():
        value = goal.measured(results)
        bound = f"{'at most' if goal.relation == '<=' else 'at least'} {goal.bound:g} {goal.unit}"
        if value is None:
            table.append([goal.text, "not measured", bound, ""])
            continue
        measured = f"{value.number:.3g} {goal.unit}" + (f" ({value.where})" if value.where else "")
        table.append([goal.text, measured, bound, "yes" if goal.reached(value) else "no"])
    return table
