# SPDX-License-Identifier: GPL-2.0-only
"""Times the compiled loops alone: C calls them again and again, without Python.

This is for arrays in the caches, where the time of a call would hide the loop's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import pgtable
from pgtable.cost import checking, entries, units
from pgtable.engines.loop_engine import ffi as native_ffi

from . import limit
from .timed_operations import BY_NAME, NEWPROT, BenchCase
from .timing import Budget, TimedStatement, measure

SIZES = (512, 1 << 12, 1 << 14, 1 << 16, 1 << 19)
HELPERS = ("wrprotect", "mkclean", "mkdirty", "mkwrite", "modify")
#: How many entries a call of the repeating loop processes, in all repeats together.
WORK = 1 << 20


def run(budget: Budget) -> list[dict[str, Any]]:
    """Time the loops of the widest instruction set beside the limit's."""
    rows = []
    for n in SIZES:
        times = max(1, WORK // n)
        array = entries.aligned(n)
        group = {name: _loop(name, array, times) for name in HELPERS}
        group["limit"] = _limit(array, times)
        measure(list(group.values()), budget)
        for name, timed in group.items():
            summary = timed.summary()
            for key in ("median_ns", "q1_ns", "q3_ns", "min_ns", "max_ns"):
                summary[key] /= times
            rows.append(
                {
                    "operation": f"loop {name}" if name != "limit" else "loop",
                    "entries": n,
                    "bytes_per_entry": 16,
                    "family": "limit" if name == "limit" else "native",
                    "variant": "a[i] ^= k" if name == "limit" else limit.widest_isa(),
                    "threads": 1,
                    **summary,
                }
            )
        medians = {name: timed.summary()["median_ns"] / times for name, timed in group.items()}
        text = ", ".join(f"{name} {median:.0f}" for name, median in medians.items())
        print(f"loops alone, {units.entries_text(n)}, ns: {text}", flush=True)
    return rows


def _loop(name: str, array: np.ndarray, times: int) -> TimedStatement:
    """Return the loop that calls of the helper run: that of its form, or its own."""
    case = BenchCase(BY_NAME[name], array.size, array)
    engine = pgtable.native(isa=limit.widest_isa())
    helper: Any = engine.helper(f"pte_{name}")
    check = case.checker(f"loop of pte_{name} over {case.n} entries", lambda: array)
    if helper.c_steps and helper.c_steps.array[0].form:
        names = {
            "f": limit.load()[1].limit_repeat_form,
            "loop": _address(engine.loops.form.map),
            "k": _address(helper.c_steps.array[0].form),
            "owner": helper,  # of the form
        }
    else:
        names = {
            "f": limit.load()[1].limit_repeat,
            "loop": _address(helper.handle.map),
            "k": NEWPROT if name == "modify" else 0,
        }
    return _timed(case, names, times, check)


def _address(pointer: Any) -> int:
    return int(native_ffi.cast("uintptr_t", pointer))


def _limit(array: np.ndarray, times: int) -> TimedStatement:
    _, lib = limit.load()
    case = BenchCase(BY_NAME["wrprotect"], array.size, array)

    def check(calls: int) -> None:
        flipped = np.uint64(limit.KEY if calls * times % 2 else 0)
        checking.require_equal("limit loop", case.array, case.block ^ flipped)

    names = {"f": lib.limit_repeat, "loop": lib.limit_xor_address(), "k": limit.KEY}
    return _timed(case, names, times, check)


def _timed(
    case: BenchCase, names: dict[str, Any], times: int, check: Callable[[int], None]
) -> TimedStatement:
    ffi, _ = limit.load()
    names = {**names, "p": ffi.from_buffer(case.array), "n": case.n, "times": times}
    return TimedStatement("loop", "f(loop, p, n, k, times)", names, case.restore, check)
