# SPDX-License-Identifier: GPL-2.0-only
"""The measured costs as the report needs them: by stage of the patch, and by kernel tree."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..result_files import PARAMS, CostResults, Row

LEVELS = ("pte", "pmd", "pud")
MIXES = ("clean", "dirty", "half", "sorted")
WAYS = ("kernel", "constant", "vector")


class Stage(NamedTuple):
    """A stage of the helpers: before the patch, in the patch, as merged."""

    title: str
    engine: str
    shstk: bool | None
    config: bool | None

    @property
    def params(self) -> dict[str, Any]:
        """Return the parameters of rows of this stage."""
        return {"engine": self.engine, "shstk": self.shstk, "config": self.config}


BEFORE = Stage("before", "base", None, None)
PATCH = Stage("patch, feature on", "cow", True, True)
PATCH_OFF = Stage("patch, feature off", "cow", False, True)
PATCH_OUT = Stage("patch, compiled out", "cow", False, False)
MERGED = Stage("merged, feature on", "saved_dirty", True, True)
MERGED_OFF = Stage("merged, feature off", "saved_dirty", False, True)
STAGES = (BEFORE, PATCH, PATCH_OFF, PATCH_OUT, MERGED, MERGED_OFF)


class CostValue(NamedTuple):
    """A cost with its interval, in cycles, or in nanoseconds."""

    median: float
    low: float
    high: float
    noisy: bool

    @property
    def reach(self) -> float:
        """Return how far the interval reaches, on its longer side."""
        return max(self.median - self.low, self.high - self.median)

    def apart_from(self, other: CostValue) -> bool:
        """Tell whether the two intervals have no value in common."""
        return self.low > other.high or self.high < other.low


class Pair(NamedTuple):
    """A row of a real tree and the row of our rules that should be like it."""

    real: Row
    ours: Row

    @property
    def same_code(self) -> bool:
        """Tell whether both have as many bytes of code and run as many instructions."""
        return all(
            _rounded(self.real.extra[name]) == _rounded(self.ours.extra[name])
            for name in ("code_bytes", "instructions", "branches")
        )


def _rounded(count: float | None) -> float | None:
    # the loop around the helper may run one iteration more or less
    return None if count is None else round(count, 1)


@dataclass(frozen=True)
class Costs:
    """Results, and access to their rows."""

    results: CostResults

    def __post_init__(self) -> None:
        object.__setattr__(self, "_rows", {row.key: row for row in self.results.rows})

    @property
    def compilers(self) -> list[str]:
        """Return the compilers.  The tables are about the first one."""
        names = dict.fromkeys(row.params["compiler"] for row in self.results.rows)
        return sorted(names, key=lambda name: not name.startswith("gcc"))

    @property
    def in_cycles(self) -> bool:
        """Tell whether cycles were counted; else every cost is in nanoseconds."""
        return all(row.extra["cycles"] is not None for row in self.results.rows)

    @property
    def unit(self) -> str:
        """Return the unit of costs."""
        return "cycles" if self.in_cycles else "ns"

    def helpers(self, **params: Any) -> list[str]:
        """Return the helpers of rows with these parameters, in the order of measurement."""
        return self._names("helper", params)

    def mixes(self, **params: Any) -> list[str]:
        """Return the mixes of such rows."""
        return self._names("mix", params)

    def _names(self, name: str, params: dict[str, Any]) -> list[str]:
        found = (
            row.params[name]
            for row in self.results.rows
            if all(row.params[key] == value for key, value in params.items())
        )
        return list(dict.fromkeys(found))

    def row(
        self,
        helper: str,
        stage: Stage,
        mix: str,
        way: str = "kernel",
        shape: str = "table",
        compiler: str | None = None,
    ) -> Row | None:
        """Return a row; None where it was not measured."""
        compiler = compiler or self.compilers[0]
        key = (helper, stage.engine, stage.shstk, stage.config, way, compiler, mix, shape)
        return self._rows.get(key)  # type: ignore[attr-defined]

    def value(self, row: Row | None) -> CostValue | None:
        """Return a row's cost, in the unit of the report."""
        if row is None:
            return None
        summary, extra = row.summary, row.extra
        if not self.in_cycles:
            return CostValue(summary.median, summary.low, summary.high, summary.noisy)
        low, high = extra["cycles_low"], extra["cycles_high"]
        return CostValue(
            extra["cycles"],
            -float("inf") if low is None else low,
            float("inf") if high is None else high,
            summary.noisy,
        )

    def worst(self, helper: str, stage: Stage, choose: Callable[..., str] = max) -> str | None:
        """Return the mix for which a helper costs most (or least), in the way "kernel"."""
        costs = {
            mix: value.median
            for mix in MIXES
            if (value := self.value(self.row(helper, stage, mix)))
        }
        return choose(costs, key=costs.__getitem__) if costs else None

    @property
    def kernels(self) -> list[Stage]:
        """Return the real trees, as stages."""
        ours = {stage.engine for stage in STAGES}
        found = dict.fromkeys(
            Stage(_release(row.params["engine"]), *_engine(row))
            for row in self.results.rows
            if row.params["engine"] not in ours
        )
        return list(found)

    def pairs(self, kernel: Stage) -> list[Pair]:
        """Return the rows of a tree beside those of the rules that it has."""
        ours = BEFORE if kernel.shstk is None else MERGED if kernel.shstk else MERGED_OFF
        found = []
        for row in self.results.rows:
            if _engine(row) == kernel[1:]:
                wanted = {**row.params, **ours.params}
                other = self._rows.get(  # type: ignore[attr-defined]
                    tuple(wanted[name] for name in PARAMS)
                )
                if other:
                    found.append(Pair(row, other))
        return found


def _engine(row: Row) -> tuple[str, bool | None, bool | None]:
    return row.params["engine"], row.params["shstk"], row.params["config"]


def _release(engine: str) -> str:
    number = re.match(r"\d+\.\d+", engine)
    return f"Linux {number[0]}" if number else engine
