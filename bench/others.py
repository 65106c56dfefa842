# SPDX-License-Identifier: GPL-2.0-only
"""Libraries that a user could use instead of pgtable: NumPy, Numba, numexpr, polars, and Python.

The statements of all but NumPy are made from the closed form of the operation.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from pgtable.cost import entries

from . import numpy_forms
from .contenders import Contender, contender
from .timed_operations import CONSTANTS, PRESENT, BenchCase, OperationForm

#: With more entries a call takes seconds.
PYTHON_MAX = 1 << 24


def numpy(case: BenchCase) -> Iterator[Contender]:
    """Yield NumPy: in whole passes and, for arrays beyond the caches, block by block."""
    form = numpy_forms.FORMS.get(case.operation.name)
    if form is None:
        return
    mask = case.mask if case.operation.where == "array" else None
    out = case.array if case.operation.shape in ("in place", "count") else case.out
    whole = numpy_forms.Workspace(case.temporary, entries.aligned(case.n), case.bools, mask)
    names = {"o": out, "w": whole}
    yield contender(case, "numpy", "", "f(a, o, w)", {**names, "f": form})
    if case.n > numpy_forms.BLOCK:
        names["f"] = numpy_forms.blocked(form)
        yield contender(case, "numpy", "in blocks", "f(a, o, w)", names)


def _value(form: OperationForm, where: str | None) -> str:
    """Return the closed form, with the ``where`` of the operation, as Python source."""
    if where is None:
        return form.python
    condition = "m[i]" if where == "array" else PRESENT.python
    return f"(({form.python}) if {condition} else v)"


_NUMBA = {
    "in place": "for i in {range}(a.size):\n  v = a[i]\n  a[i] = {value}",
    "out of place": "for i in {range}(a.size):\n  v = a[i]\n  o[i] = {value}",
    "bools": "for i in {range}(a.size):\n  v = a[i]\n  o[i] = {value}",
    "count": "t = 0\n for i in {range}(a.size):\n  v = a[i]\n  t += {value}\n return t",
}


@cache
def _numba_function(shape: str, value: str, parallel: bool) -> Any:
    module: Any = _import("numba")
    body = _NUMBA[shape].format(range="prange" if parallel else "range", value=value)
    names: dict[str, Any] = {name: np.uint64(number) for name, number in CONSTANTS.items()}
    names["prange"] = module.prange
    exec(f"def f(a, o, m):\n {body}", names)
    return module.njit(names["f"], parallel=parallel, nogil=True)


def numba(case: BenchCase, parallel: bool) -> Iterator[Contender]:
    """Yield a compiled loop over the closed form; with ``parallel`` also one on all processors."""
    if case.operation.form is None or not _import("numba"):
        return
    value = _value(case.operation.form, case.operation.where)
    none = np.empty(0, bool)
    names = {
        "o": case.array if case.operation.shape in ("in place", "count") else case.out,
        "m": case.mask if case.operation.where == "array" else none,
    }
    for in_parallel in (False, True) if parallel else (False,):
        function = _numba_function(case.operation.shape, value, in_parallel)
        threads = len(os.sched_getaffinity(0)) if in_parallel else 1
        yield contender(case, "numba", "", "f(a, o, m)", {**names, "f": function}, threads)


def _signed(text: str) -> str:
    """Replace the names of constants by their values, as signed words: numexpr has no others."""

    def value(match: re.Match[str]) -> str:
        number = CONSTANTS[match[0]]
        return str(number - 2**64 if number >= 2**63 else number)

    return re.sub("|".join(sorted(CONSTANTS, key=len, reverse=True)), value, text)


def numexpr(case: BenchCase, threads: list[int]) -> Iterator[Contender]:
    """Yield numexpr, with an expression that is compiled beforehand."""
    operation = case.operation
    module = _import("numexpr")
    if operation.form is None or module is None:
        return
    text, inputs = operation.form.numexpr, [case.array.view(np.int64)]
    signature: list[tuple[str, type]] = [("v", np.int64)]
    if operation.where == "array":
        text = f"where(m, {text}, v)"
        inputs.append(case.mask)
        signature.append(("m", bool))
    elif operation.where == "helper":
        text = f"where({PRESENT.numexpr}, {text}, v)"
    if operation.shape == "count":
        text = f"sum(where({text}, 1, 0))"
    compiled = module.NumExpr(_signed(text), signature)
    names = {"f": compiled, "x": inputs, "set_threads": module.set_num_threads}
    call = "f(*x, ex_uses_vml=False)"
    if operation.shape != "count":
        out = case.array if case.in_place else case.out
        names["o"] = out if operation.shape == "bools" else out.view(np.int64)
        call = "f(*x, out=o, ex_uses_vml=False)"
    for number in threads:
        made = contender(case, "numexpr", "", call, names, number)
        made.timed.before = _numexpr_threads(module, number)
        yield made


def _numexpr_threads(module: ModuleType, number: int) -> Any:
    return lambda: module.set_num_threads(number)


_POLARS = {
    "wrprotect": "(s & NOT_WD) | ((s & D) * SHIFTED)",
    "copy": "(s & NOT_WD) | ((s & D) * SHIFTED)",
    "mkclean": "s & NOT_DC",
    "dirty": "(s & DC) != ZERO",
    "dirty.count": "((s & DC) != ZERO).sum()",
    "chain": "(s & CHAIN_KEEP) | ((s & D) * SHIFTED)",
}


def polars(case: BenchCase) -> Iterator[Contender]:
    """Yield a polars Series.  It cannot work in place, has no shift, and allocates each result."""
    text = _POLARS.get(case.operation.name)
    module = _import("polars")
    if text is None or module is None:
        return
    names: dict[str, Any] = {
        name: module.Series([number], dtype=module.UInt64) for name, number in CONSTANTS.items()
    }
    names["SHIFTED"] = module.Series([1 << 52], dtype=module.UInt64)
    series = module.Series(case.block_repeated())
    box: list[Any] = [None]
    yield contender(
        case,
        "polars",
        "",
        f"result[0] = {text}",
        {**names, "s": series, "result": box},
        result=lambda: box[0] if case.operation.shape == "count" else box[0].to_numpy(),
    )


def python(case: BenchCase) -> Iterator[Contender]:
    """Yield a list comprehension over a list of ints."""
    operation = case.operation
    if operation.form is None or case.n > PYTHON_MAX:
        return
    value = _value(operation.form, operation.where).replace("m[i]", "there")
    value = re.sub(r"\b[A-Z_]{1,10}\b", lambda match: str(CONSTANTS[match[0]]), value)
    loop = "for v, there in zip(x, m)" if operation.where == "array" else "for v in x"
    statement = f"y[:] = [{value} {loop}]"
    names: dict[str, Any] = {"x": case.block_repeated().tolist(), "y": []}
    if operation.where == "array":
        names["m"] = case.mask.tolist()
    result = names["y"]
    if operation.shape == "count":
        statement = f"total[0] = sum([{value} {loop}])"
        result = names["total"] = [0]
        yield contender(case, "python", "", statement, names, result=lambda: result[0])
        return
    yield contender(case, "python", "", statement, names, result=lambda: result)


@cache
def _import(name: str) -> ModuleType | None:
    """Return the module, or None if the extra ``bench`` is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"{name} is not installed (extra bench): it is left out")
        return None
