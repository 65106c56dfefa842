# SPDX-License-Identifier: GPL-2.0-only
"""Times every operation, all contenders side by side, from a part of a table to a gigabyte."""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pgtable
from pgtable.cost import this_machine, units

from . import contenders, limit, loops, others
from .timed_operations import BY_NAME, OPERATIONS, BenchCase
from .timing import Budget, measure

Ki, Mi = 1 << 10, 1 << 20

#: From so many entries on, memory decides: only fast contenders are timed, in few rounds.
LARGE = 64 * Mi


class TimingPlan(NamedTuple):
    """Which operations are timed at which sizes, and how long a group may take."""

    sizes: dict[str, tuple[int, ...]]
    budget: Budget
    budget_large: Budget
    smoke: bool


_EVERY = (64, 512, 4 * Ki, 16 * Ki, 64 * Ki, 512 * Ki, 1 * Mi, 4 * Mi, 16 * Mi, 128 * Mi)
_SOME = (512, 16 * Ki, 512 * Ki, 1 * Mi, 16 * Mi, 128 * Mi)
_FEW = (512, 16 * Ki, 1 * Mi, 16 * Mi)

FULL = TimingPlan(
    sizes={
        "wrprotect": _EVERY,
        "copy": _EVERY,
        "dirty.count": _EVERY,
        "mkclean": _SOME,
        "mkdirty": _SOME,
        "mkwrite": _SOME,
        "dirty": _SOME,
        "census": _SOME,
        "chain": _SOME,
        "modify": _FEW,
        "census-random": _FEW,
        "where-array": _FEW,
        "where-helper": _FEW,
    },
    budget=Budget(seconds=2, min_rounds=7, max_rounds=31),
    budget_large=Budget(seconds=5, min_rounds=3, max_rounds=5),
    smoke=False,
)
SMOKE = TimingPlan(
    sizes={operation.name: (512, 64 * Ki) for operation in OPERATIONS},
    budget=Budget(seconds=0.02, min_rounds=2, max_rounds=3),
    budget_large=Budget(seconds=0.02, min_rounds=2, max_rounds=3),
    smoke=True,
)


def group_of(case: BenchCase, plan: TimingPlan) -> Iterator[contenders.Contender]:
    """Yield the contenders of a case."""
    usable = [name for name, ok in pgtable.isas().items() if ok]
    widest = limit.widest_isa()
    threads = contenders.thread_counts()
    yield from contenders.limits(case, threads)
    yield from contenders.native(case, [widest], threads)
    if case.n <= 4 * Ki:
        yield from contenders.bare_call(case, widest)
    yield from contenders.one_helper(case, widest)
    if case.n < LARGE or case.operation.name == "wrprotect":
        narrower = [name for name in usable if name != widest]
        if case.operation.shape != "census":
            yield from contenders.native(case, narrower, [1])
        yield from others.numpy(case)
        in_parallel = case.operation.name in ("wrprotect", "dirty.count", "copy")
        yield from others.numba(case, parallel=in_parallel and not plan.smoke)
        yield from others.numexpr(case, threads)
        if case.n < LARGE:
            yield from others.polars(case)
    if case.n <= (16 * Mi if case.operation.name == "wrprotect" else 16 * Ki):
        yield from others.python(case)


def run(plan: TimingPlan, only: list[str] | None = None) -> dict[str, Any]:
    """Time everything; return what goes into the JSON file."""
    rows: list[dict[str, Any]] = []
    started = time.monotonic()
    for name, sizes in plan.sizes.items():
        if only and name not in only:
            continue
        for n in sizes:
            case = BenchCase(BY_NAME[name], n)
            group = list(group_of(case, plan))
            large = n >= LARGE
            gc.collect()
            measure(
                [contender.timed for contender in group],
                plan.budget_large if large else plan.budget,
                check_every_round=n < 4 * Mi,
            )
            rows += [_row(case, contender) for contender in group]
            print(_line(case, group), flush=True)
    if not only or "loops" in only:
        rows += loops.run(plan.budget)
    return {
        "format": 1,
        "machine": this_machine.describe(),
        "seconds": round(time.monotonic() - started, 1),
        "results": rows,
    }


def _row(case: BenchCase, contender: contenders.Contender) -> dict[str, Any]:
    return {
        "operation": case.operation.name,
        "entries": case.n,
        "bytes_per_entry": case.operation.bytes_per_entry,
        "family": contender.family,
        "variant": contender.variant,
        "threads": contender.threads,
        **contender.timed.summary(),
    }


def _line(case: BenchCase, group: list[contenders.Contender]) -> str:
    fastest = sorted(group, key=lambda contender: contender.timed.summary()["median_ns"])
    times = ", ".join(
        f"{contender.name} {units.time_text(contender.timed.summary()['median_ns'])}"
        for contender in fastest
    )
    return f"{case.operation.title}, {units.entries_text(case.n)}: {times}"


def main(argv: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.throughput", description=__doc__)
    parser.add_argument("output", type=Path, help="the JSON file to write")
    parser.add_argument("--smoke", action="store_true", help="small sizes and few rounds")
    parser.add_argument("--only", action="append", help="this operation (may be given again)")
    args = parser.parse_args(argv)
    result = run(SMOKE if args.smoke else FULL, args.only)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
