# SPDX-License-Identifier: GPL-2.0-only
"""Contenders: pgtable, and the limit of the machine.

A contender is a statement and its names for one :class:`~.timed_operations.BenchCase`.
All that it needs is prepared.  Results go where the case says, or into ``box``.  Other libraries
are in others.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import pgtable
from pgtable.cost import checking
from pgtable.engines.loop_engine import ffi as native_ffi

from . import limit
from .timed_operations import BY_NAME, BenchCase
from .timing import TimedStatement


@dataclass
class Contender:
    """One contender: its family ("native", "limit", "numpy" ...), variant and threads."""

    family: str
    variant: str
    threads: int
    timed: TimedStatement

    @property
    def name(self) -> str:
        """Return its name in tables."""
        text = f"{self.family} {self.variant}".strip()
        return text if self.threads == 1 else f"{text}, {self.threads} threads"


def thread_counts() -> list[int]:
    """Return 1, 2 and the number of processors, without those that are more than it."""
    processors = len(os.sched_getaffinity(0))
    return sorted({n for n in (1, 2, processors) if n <= processors})


def contender(
    case: BenchCase,
    family: str,
    variant: str,
    statement: str,
    names: dict[str, Any],
    threads: int = 1,
    result: Callable[[], Any] | None = None,
    check: Callable[[int], None] | None = None,
) -> Contender:
    """Return a contender.  Counts go into a box, arrays where the case says."""
    box: list[Any] = [None]
    who = f"{case.operation.name} of {case.n} entries, {family} {variant}"
    if result is None:
        if case.operation.shape in ("count", "census"):
            statement = f"box[0] = {statement}"
            result = _boxed(box)
        else:
            target = case.array if case.in_place else case.out
            result = lambda: target  # noqa: E731
    timed = TimedStatement(
        name=who,
        statement=statement,
        names={**names, "a": case.array, "box": box},
        restore=case.restore,
        check=check or case.checker(who, result),
    )
    return Contender(family, variant, threads, timed)


def _boxed(box: list[Any]) -> Callable[[], Any]:
    def result() -> Any:
        value = box[0]
        return value if isinstance(value, (dict, list, np.ndarray)) else int(value)

    return result


# -- pgtable ---------------------------------------------------------------------------------


def native(case: BenchCase, isas: list[str], threads: list[int]) -> Iterator[Contender]:
    """Yield pgtable itself, for each instruction set and number of threads."""
    operation = case.operation
    for isa in isas:
        engine = pgtable.native(isa=isa)
        for number in threads:
            more = f", threads={number}" if number > 1 else ""
            if operation.shape == "census":
                yield _census(case, engine, isa, number)
                continue
            names: dict[str, Any] = {"f": operation.operation_of(engine)}
            target = "a" if case.in_place else "o"
            if not case.in_place and operation.shape != "count":
                names["o"] = case.out
            statement = f"f(a, out={target}{more})"
            if isinstance(operation.steps[0], tuple):
                # the second argument of one helper alone is given as users give it
                names["f"] = engine.helper(operation.steps[0][0])
                names["arg"] = operation.steps[0][1]
                statement = f"f(a, arg, out={target}{more})"
            elif operation.shape == "count":
                statement = f"f.count(a{more})"
            elif operation.where == "array":
                names["m"] = case.mask
                statement = f"f(a, out=a, where=m{more})"
            elif operation.where == "helper":
                names["m"] = engine.helper("pte_present")
                statement = f"f(a, out=a, where=m{more})"
            yield contender(case, "native", isa, statement, names, number)


def _census(case: BenchCase, engine: Any, isa: str, threads: int) -> Contender:
    """Return pgtable.census() as a contender, with the counts of all tests as its result."""
    box: list[Any] = [None]

    def counts() -> dict[str, int]:
        return {name: box[0].count(engine.helper(name)) for name in case.expected}

    names = {"f": pgtable.census, "threads": threads, "result": box}
    statement = "result[0] = f(a, threads=threads)"
    return contender(case, "native", isa, statement, names, threads, result=counts)


def bare_call(case: BenchCase, isa: str) -> Iterator[Contender]:
    """Yield the loop of the helper's text, called through cffi without any check."""
    if case.operation.name != "wrprotect":
        return
    names = {
        "f": pgtable.native(isa=isa).pte_wrprotect.handle.map,
        "p": native_ffi.from_buffer(case.array),
        "null": native_ffi.NULL,
        "n": case.n,
    }
    yield contender(case, "bare cffi call", isa, "f(p, null, 0, p, n)", names)


def one_helper(case: BenchCase, isa: str) -> Iterator[Contender]:
    """Yield the first helper of a chain alone, to compare the chain with."""
    if case.operation.name != "chain":
        return
    single = BY_NAME["wrprotect"]
    expected = single.operation_of(pgtable.reference())(case.block)

    def check(calls: int) -> None:
        checking.require_equal("one helper", case.array, expected)

    names = {"f": single.operation_of(pgtable.native(isa=isa))}
    yield contender(case, "one helper", isa, "f(a, out=a)", names, check=check)


# -- the limit -------------------------------------------------------------------------------


def limits(case: BenchCase, threads: list[int]) -> Iterator[Contender]:
    """Yield the loops that move the same bytes and do nothing else."""
    ffi, lib = limit.load()
    names: dict[str, Any] = {"p": ffi.from_buffer(case.array), "n": case.n}
    shape = case.operation.shape
    for number in threads:
        names = {**names, "t": number}
        if shape == "in place":
            check = _xor_check(case)
            if case.operation.where == "array":
                call, names["f"] = "f(p, m, n, t)", lib.limit_xor_where
                names["m"] = ffi.from_buffer(case.mask)
            else:
                call, names["f"] = "f(p, n, t)", lib.limit_xor
            yield contender(case, "limit", "a[i] ^= k", call, names, number, check=check)
        elif shape == "out of place":
            names["o"] = ffi.from_buffer(case.out)
            for variant, function in (
                ("memcpy", lib.limit_memcpy),
                ("streaming copy", lib.limit_stream),
            ):
                check = _copy_check(case)
                more = {**names, "f": function}
                yield contender(case, "limit", variant, "f(o, p, n, t)", more, number, check=check)
        else:
            yield _reading_limit(case, names, number)


def _reading_limit(case: BenchCase, names: dict[str, Any], threads: int) -> Contender:
    ffi, lib = limit.load()
    times = case.n // max(case.block.size, 1)
    total = int(case.block.sum(dtype=np.uint64)) * times % 2**64
    box = [0]
    names = {**names, "sums": box, "f": lib.limit_sum}
    call, variant = "sums[0] = f(p, n, t)", "sum += a[i]"
    if case.operation.shape == "bools":
        names |= {"f": lib.limit_sum_fill, "o": ffi.from_buffer(case.out)}
        call, variant = "sums[0] = f(p, o, n, t)", "sum += a[i], out[i] = 1"

    def check(calls: int) -> None:
        checking.require_equal(f"limit of {case.operation.name}", box[0], total)
        if case.operation.shape == "bools" and not case.out.all():
            raise checking.WrongResultError("limit of bools: out is not written")

    return contender(
        case, "limit", variant, call, names, threads, result=lambda: box[0], check=check
    )


def _xor_check(case: BenchCase) -> Callable[[int], None]:
    def check(calls: int) -> None:
        key = np.uint64(limit.KEY if calls % 2 else 0)
        checking.require_equal("limit a[i] ^= k", case.array, case.block ^ key)

    return check


def _copy_check(case: BenchCase) -> Callable[[int], None]:
    def check(calls: int) -> None:
        checking.require_equal("limit copy", case.out, case.block)

    return check
