# SPDX-License-Identifier: GPL-2.0-only
"""The tables of the cost report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from tabulate import tabulate

from ..result_files import Row, engine_text
from .by_stage import (
    BEFORE,
    MERGED,
    PATCH,
    PATCH_OFF,
    STAGES,
    WAYS,
    Costs,
    CostValue,
    Pair,
    Stage,
)

#: The helpers that were discussed with the patch.
DISCUSSED = ("pte_wrprotect", "pte_mkdirty", "pte_mkwrite")
_SHORT = (BEFORE, PATCH, PATCH_OFF, MERGED)
_THREE = (BEFORE, PATCH, MERGED)
_FILE = "file:"
#: The mark after a cost that is noisy.
NOISY = "~"


def table(rows: Iterable[Sequence[str]], headers: Sequence[str], left: int = 2) -> str:
    """Return a table in Markdown.  The first columns are aligned left, the others right."""
    align = ("left",) * left + ("right",) * (len(headers) - left)
    return tabulate(list(rows), headers, tablefmt="github", colalign=align, disable_numparse=True)


def number(value: float, digits: int = 2) -> str:
    """Return a number as text, and never "-0"."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text


def cell(value: CostValue | None) -> str:
    """Return a cost, how far its interval reaches, and whether its run was noisy."""
    if value is None:
        return ""
    reach = number(value.reach) if math.isfinite(value.reach) else "?"
    return f"{number(value.median)} ±{reach}" + (f" {NOISY}" if value.noisy else "")


def mix_text(mix: str) -> str:
    """Return a mix's name for a table: of a file, its name without suffixes."""
    return mix.removeprefix(_FILE).partition(".")[0] if mix.startswith(_FILE) else mix


def _by_stage(
    costs: Costs, helpers: Iterable[str], stages: Sequence[Stage], way: str, shape: str
) -> list[list[str]]:
    rows = []
    for helper in helpers:
        for mix in costs.mixes(helper=helper, way=way, shape=shape):
            found = [costs.row(helper, stage, mix, way, shape) for stage in stages]
            cells = [cell(costs.value(row)) for row in found]
            if any(cells):
                rows.append([f"`{helper}`", mix_text(mix), *cells])
    return rows


def _headers(stages: Sequence[Stage], costs: Costs) -> list[str]:
    return ["helper", "mix", *(f"{stage.title}, {costs.unit}" for stage in stages)]


def headline(costs: Costs) -> str:
    """Return the table of the discussed helpers: each mix, four stages."""
    rows = _by_stage(costs, DISCUSSED, _SHORT, "kernel", "table")
    return table(rows, _headers(_SHORT, costs))


def helpers(costs: Costs) -> str:
    """Return the table of all helpers, mixes and stages, compiled as the kernel compiles them."""
    names = costs.helpers(way="kernel", shape="table")
    return table(_by_stage(costs, names, STAGES, "kernel", "table"), _headers(STAGES, costs))


def ways(costs: Costs) -> str:
    """Return the table of costs by way of compiling."""
    rows = []
    for helper in costs.helpers(way="vector", shape="table"):
        for mix in ("clean", "half"):
            cells = [
                cell(costs.value(costs.row(helper, stage, mix, way)))
                for stage in _THREE
                for way in WAYS
            ]
            if any(cells):
                rows.append([f"`{helper}`", mix, *cells])
    headers = [f"{stage.title.partition(',')[0]}, {way}" for stage in _THREE for way in WAYS]
    return table(rows, ["helper", "mix", *headers])


def compilers(costs: Costs) -> str:
    """Return the table of costs by compiler; a sentence if there is only one."""
    if len(costs.compilers) < 2:
        return f"Only {costs.compilers[0]} was there."
    columns = [(stage, compiler) for stage in _THREE for compiler in costs.compilers]
    rows = []
    for way in ("kernel", "constant"):
        for helper in costs.helpers(way=way, shape="table"):
            for mix in ("clean", "half"):
                cells = [
                    cell(costs.value(costs.row(helper, stage, mix, way, compiler=compiler)))
                    for stage, compiler in columns
                ]
                if any(cells):
                    rows.append([f"`{helper}`", way, mix, *cells])
    headers = [f"{stage.title.partition(',')[0]}, {compiler}" for stage, compiler in columns]
    return table(rows, ["helper", "compiled", "mix", *headers], left=3)


def latency(costs: Costs) -> str:
    """Return the table of costs in a chain, where each entry waits for the result before."""
    names = costs.helpers(way="kernel", shape="latency")
    return table(_by_stage(costs, names, _THREE, "kernel", "latency"), _headers(_THREE, costs))


def memory(costs: Costs) -> str:
    """Return the cost over a large array, for each way of compiling."""
    rows = []
    for way in WAYS:
        names = costs.helpers(way=way, shape="memory")
        rows += [[row[0], way, *row[1:]] for row in _by_stage(costs, names, _THREE, way, "memory")]
    headers = _headers(_THREE, costs)
    return table(rows, [headers[0], "compiled", *headers[1:]], left=3)


def counts(costs: Costs) -> str:
    """Return instructions, branches and mispredictions of an entry."""
    rows = []
    for helper in costs.helpers(way="kernel", shape="table"):
        for mix in ("clean", "dirty", "half"):
            found = [costs.row(helper, stage, mix) for stage in _SHORT]
            if any(found):
                rows.append([f"`{helper}`", mix, *map(_counts, found)])
    return table(rows, ["helper", "mix", *(stage.title for stage in _SHORT)])


def _counts(row: Row | None) -> str:
    if row is None:
        return ""
    names = ("instructions", "branches", "mispredictions")
    known = [row.extra[name] for name in names]
    if None in known:
        return "not counted"
    instructions, branches, mispredictions = known
    return f"{number(instructions, 1)} / {number(branches, 1)} / {number(mispredictions)}"


def sizes(costs: Costs) -> str:
    """Return the bytes of code of each helper, inlined, by compiler."""
    rows = []
    for helper in costs.helpers(way="kernel", shape="table"):
        for compiler in costs.compilers:
            found = [_bytes(costs, helper, stage, compiler) for stage in STAGES]
            if any(found):
                rows.append([f"`{helper}`", compiler, *found])
    return table(rows, ["helper", "compiler", *(stage.title for stage in STAGES)])


def _bytes(costs: Costs, helper: str, stage: Stage, compiler: str) -> str:
    for mix in costs.mixes(helper=helper, way="kernel", shape="table"):
        row = costs.row(helper, stage, mix, compiler=compiler)
        if row and row.extra["code_bytes"] is not None:
            return str(row.extra["code_bytes"])
    return ""


def overhead(costs: Costs) -> str:
    """Return the table of the loops' own costs, which were subtracted."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for row in costs.results.rows:
        key = (row.params["shape"], row.params["way"], row.params["compiler"])
        found.setdefault(key, []).append(row.extra["overhead_ns"])
    rows = [[*key, f"{number(min(ns), 3)} to {number(max(ns), 3)}"] for key, ns in found.items()]
    return table(rows, ["shape", "compiled", "compiler", "ns an entry"], left=3)


def kernels(costs: Costs) -> str:
    """Return the table of real trees beside our rules; a sentence if there are none."""
    rows = []
    for kernel in costs.kernels:
        for pair in costs.pairs(kernel):
            if _is_in_the_table(costs, pair):
                rows.append([kernel.title, *_pair(costs, pair)])
    if not rows:
        return "No real headers were measured; the notes below say why."
    unit = costs.unit
    return table(
        rows,
        [
            "headers",
            "helper",
            "mix",
            f"real, {unit}",
            f"ours, {unit}",
            "agree",
            "bytes",
            "instructions",
        ],
        left=3,
    )


def _is_in_the_table(costs: Costs, pair: Pair) -> bool:
    params = pair.real.params
    return (params["way"], params["shape"], params["compiler"]) == (
        "kernel",
        "table",
        costs.compilers[0],
    ) and params["mix"] in ("clean", "half")


def _pair(costs: Costs, pair: Pair) -> list[str]:
    real, ours = costs.value(pair.real), costs.value(pair.ours)
    assert real is not None
    assert ours is not None
    return [
        f"`{pair.real.params['helper']}`",
        mix_text(pair.real.params["mix"]),
        cell(real),
        cell(ours),
        "no" if real.apart_from(ours) else "yes",
        *(_both(pair, name, digits) for name, digits in (("code_bytes", 0), ("instructions", 1))),
    ]


def _both(pair: Pair, name: str, digits: int) -> str:
    """Return one number if both have the same, else the real one and ours."""
    texts = [
        "?" if row.extra[name] is None else number(row.extra[name], digits)
        for row in (pair.real, pair.ours)
    ]
    return texts[0] if texts[0] == texts[1] else f"{texts[0]} and {texts[1]}"


def engine_names(costs: Costs) -> str:
    """Return which engine each column is about."""
    rows = [[stage.title, f"`{engine_text(stage.params)}`"] for stage in (*STAGES, *costs.kernels)]
    return table(rows, ["column", "in the results"])
