# SPDX-License-Identifier: GPL-2.0-only
"""The plots of the cost report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .by_stage import BEFORE, MERGED, PATCH, PATCH_OFF, WAYS, Costs, CostValue, Stage
from .tables import DISCUSSED, mix_text

#: What a bar is: its name, its colour, and the values of its groups.
Series = tuple[str, str, Sequence[CostValue | None]]

_COLOURS = {BEFORE: "tab:gray", PATCH: "tab:red", PATCH_OFF: "tab:orange", MERGED: "tab:blue"}


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("svg")
    # so that the same plot gives the same file
    matplotlib.rcParams["svg.hashsalt"] = "pgtable"
    from matplotlib import pyplot

    return pyplot


def _bars(axes: Any, groups: Sequence[str], series: Sequence[Series]) -> None:
    """Draw a bar of each series in each group, with its interval."""
    width = 0.8 / len(series)
    for number, (name, colour, values) in enumerate(series):
        places = [i + (number - (len(series) - 1) / 2) * width for i in range(len(groups))]
        known = [(at, value) for at, value in zip(places, values, strict=True) if value]
        heights = [value.median for _, value in known]
        errors = [
            [_finite(value.median - value.low) for _, value in known],
            [_finite(value.high - value.median) for _, value in known],
        ]
        axes.bar(
            [at for at, _ in known],
            heights,
            width,
            yerr=errors,
            label=name,
            color=colour,
            error_kw={"elinewidth": 0.8, "capsize": 1.5},
        )
    axes.axhline(0, color="black", linewidth=0.5)
    axes.set_xticks(range(len(groups)), groups)
    axes.grid(visible=True, axis="y", alpha=0.3)


def _finite(reach: float) -> float:
    return max(reach, 0.0) if math.isfinite(reach) else 0.0


def _save(figure: Any, path: Path) -> None:
    names = figure.axes[0].get_legend_handles_labels()
    figure.legend(*names, loc="outside lower center", ncols=len(names[1]), fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    _pyplot().close(figure)


def _panels(costs: Costs, names: Sequence[str], title: str) -> tuple[Any, Any]:
    figure, panels = _pyplot().subplots(
        1, len(names), figsize=(3.6 * len(names), 4), layout="constrained", squeeze=False
    )
    for axes, name in zip(panels[0], names, strict=True):
        axes.set_title(name)
    panels[0][0].set_ylabel(f"{costs.unit} an entry above the bare loop")
    figure.suptitle(title, fontsize="medium")
    return figure, panels[0]


def main(costs: Costs, path: Path) -> None:
    """Draw the discussed helpers by mix: before the patch, in the patch, as merged."""
    names = [name for name in DISCUSSED if name in costs.helpers(way="kernel", shape="table")]
    compiler = costs.compilers[0]
    figure, panels = _panels(
        costs, names, f"One entry of a 512-entry table, compiled as the kernel does ({compiler})"
    )
    for axes, helper in zip(panels, names, strict=True):
        mixes = costs.mixes(helper=helper, way="kernel", shape="table")
        series = [
            (stage.title, colour, [costs.value(costs.row(helper, stage, mix)) for mix in mixes])
            for stage, colour in _COLOURS.items()
        ]
        _bars(axes, [mix_text(mix) for mix in mixes], series)
        axes.set_xlabel("mix of entries")
    _save(figure, path)


def ways(costs: Costs, path: Path) -> None:
    """Draw the costs of each way of compiling, for the mix "half"."""
    stages = (BEFORE, PATCH, MERGED)
    figure, panels = _panels(costs, WAYS, "Half and half at random, by way of compiling")
    names = costs.helpers(way="vector", shape="table")
    for axes, way in zip(panels, WAYS, strict=True):
        _bars(axes, _short(names), _series(costs, names, stages, "half", way, "table"))
        axes.tick_params("x", rotation=60)
    _save(figure, path)


def latency(costs: Costs, path: Path) -> None:
    """Draw the costs in a chain, where each entry waits for the result before."""
    stages = (BEFORE, PATCH, MERGED)
    mixes = costs.mixes(way="kernel", shape="latency")
    figure, panels = _panels(costs, mixes, "In a dependent chain, by mix")
    names = costs.helpers(way="kernel", shape="latency")
    for axes, mix in zip(panels, mixes, strict=True):
        _bars(axes, _short(names), _series(costs, names, stages, mix, "kernel", "latency"))
        axes.tick_params("x", rotation=60)
    _save(figure, path)


def _series(
    costs: Costs, names: Iterable[str], stages: Sequence[Stage], mix: str, way: str, shape: str
) -> list[Series]:
    names = list(names)
    return [
        (
            stage.title,
            _COLOURS[stage],
            [costs.value(costs.row(name, stage, mix, way, shape)) for name in names],
        )
        for stage in stages
    ]


def _short(names: Iterable[str]) -> list[str]:
    return [name.removeprefix("pte_") for name in names]
