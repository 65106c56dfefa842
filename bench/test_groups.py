# SPDX-License-Identifier: GPL-2.0-only
"""Groups for pytest-benchmark: wrprotect, mkclean, mkdirty, dirty.count at four sizes.

These are cases and contenders of throughput.py, in the form that ``pytest-benchmark compare``
reads.  Each result is checked.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest

from bench import contenders, limit, others
from bench.contenders import Contender
from bench.timed_operations import BY_NAME, BenchCase
from pgtable.cost.units import entries_text

SMOKE = bool(os.environ.get("PGTABLE_BENCH_SMOKE"))
GROUPS = ("wrprotect", "mkclean", "mkdirty", "dirty.count")
SIZES = (512, 16 << 10) if SMOKE else (512, 16 << 10, 1 << 20, 16 << 20)
FAMILIES = ("native", "numpy", "python")
#: With more entries pure Python takes seconds.
PYTHON_MAX = 16 << 10
ROUNDS = 3 if SMOKE else 15
#: A round processes at least about so many entries.
ENTRIES_A_ROUND = 1 << 18


def _contender(case: BenchCase, family: str) -> Contender:
    """Return the contender of a family; of NumPy, the version that is faster at that size."""
    if family == "native":
        return next(contenders.native(case, [limit.widest_isa()], [1]))
    if family == "python":
        return next(others.python(case))
    return list(others.numpy(case))[-1 if case.n >= 1 << 18 else 0]


def _parameters() -> Iterator[object]:
    for group in GROUPS:
        for n in SIZES:
            for family in FAMILIES:
                if family != "python" or n <= PYTHON_MAX:
                    name = f"{group}-{entries_text(n).replace(' ', '')}-{family}"
                    yield pytest.param(group, n, family, id=name)


@pytest.mark.parametrize(("group", "n", "family"), _parameters())
def test_throughput(benchmark, group: str, n: int, family: str) -> None:
    """Time one contender and check what it computed."""
    case = BenchCase(BY_NAME[group], n)
    timed = _contender(case, family).timed
    benchmark.group = f"{group}, {entries_text(n)} entries"
    iterations = max(1, ENTRIES_A_ROUND // n) if family != "python" else 1
    call = timed.as_function()
    gc.collect()
    case.restore()
    benchmark.pedantic(call, rounds=ROUNDS, iterations=iterations, warmup_rounds=1)
    timed.check(1)
    if benchmark.stats is None:  # run with --benchmark-disable: checked, not timed
        return
    per_second = n / benchmark.stats.stats.median
    benchmark.extra_info["entries"] = n
    benchmark.extra_info["entries_per_second"] = per_second
    benchmark.extra_info["bytes_per_second"] = per_second * case.operation.bytes_per_entry
