# SPDX-License-Identifier: GPL-2.0-only
"""The compiled loops alone, called from C again and again: no call of Python in the time.

For arrays in the caches, where what a call costs would hide the loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import pgtable
from pgtable.engines._native import ffi as native_ffi

from . import limit
from .common import checking, units
from .common.timing import Budget, Timed, measure
from .operations import BY_NAME, CONSTANTS, NEWPROT, Case

SIZES = (512, 1 << 12, 1 << 14, 1 << 16, 1 << 19)
HELPERS = ("wrprotect", "mkclean", "mkdirty", "mkwrite", "modify")
#: Entries a call of the repeating loop goes over, all repeats together.
WORK = 1 << 20


def run(budget: Budget) -> list[dict[str, Any]]:
    """Time the loops of the widest instruction set beside the limit's."""
    rows = []
    for n in SIZES:
        times = max(1, WORK // n)
        group = {name: _loop(name, n, times) for name in HELPERS}
        group["limit"] = _limit(n, times)
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
        text = ", ".join(f"{name} {t.summary()['median_ns'] / times:.0f}" for name, t in group.items())
        print(f"loops alone, {units.entries_text(n)}, ns: {text}", flush=True)
    return rows


def _loop(name: str, n: int, times: int) -> Timed:
    _, lib = limit.load()
    case = Case(BY_NAME[name], n)
    helper = pgtable.native(isa=limit.widest_isa()).helper(f"pte_{name}")
    address = int(native_ffi.cast("uintptr_t", helper.handle.map))
    argument = NEWPROT if name == "modify" else 0
    return _timed(
        case,
        address,
        argument,
        times,
        case.checker(f"loop of pte_{name} over {n} entries", lambda: case.array),
    )


def _limit(n: int, times: int) -> Timed:
    _, lib = limit.load()
    case = Case(BY_NAME["wrprotect"], n)
    key = CONSTANTS["CHG"]

    def check(calls: int) -> None:
        flipped = np.uint64(key if calls * times % 2 else 0)
        checking.require_equal("limit loop", case.array, case.block ^ flipped)

    return _timed(case, lib.limit_xor_address(), key, times, check)


def _timed(case: Case, address: int, argument: int, times: int, check: Any) -> Timed:
    ffi, lib = limit.load()
    names = {
        "f": lib.limit_repeat,
        "loop": address,
        "p": ffi.from_buffer(case.array),
        "n": case.n,
        "k": argument,
        "times": times,
    }
    return Timed("loop", "f(loop, p, n, k, times)", names, case.restore, check)
