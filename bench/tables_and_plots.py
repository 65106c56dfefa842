# SPDX-License-Identifier: GPL-2.0-only
"""Makes tables and plots from the results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tabulate import tabulate

from pgtable.cost.report.marked_parts import replace_between
from pgtable.cost.units import bytes_text, entries_text, rate_text, time_text

from . import goals
from .goals import ThroughputResults
from .timed_operations import BY_NAME

#: Columns of the tables: family, threads, heading.
COLUMNS = (
    ("limit", 1, "limit"),
    ("native", 1, "pgtable"),
    ("native", 2, "2 threads"),
    ("numpy", 1, "NumPy"),
    ("numba", 1, "Numba"),
    ("numexpr", 1, "numexpr"),
    ("polars", 1, "polars"),
    ("python", 1, "Python"),
)
#: The table of the top README shows one operation at these sizes.
SHORT = ("wrprotect", (512, 16 << 10, 1 << 20, 16 << 20))
COLORS = {
    "limit": "black",
    "native": "tab:red",
    "numpy": "tab:blue",
    "numba": "tab:orange",
    "numexpr": "tab:green",
    "polars": "tab:cyan",
    "python": "tab:purple",
}
PLOTTED = ("wrprotect", "copy", "dirty.count")


def load(directory: Path) -> tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any] | None]:
    """Return the results of throughput.py and, if there are any, of command_line.py and walk.py."""
    throughput = json.loads((directory / "throughput.json").read_text())
    paths = directory / "files.json", directory / "walk.json"
    files, walk = (json.loads(path.read_text()) if path.exists() else None for path in paths)
    return throughput, files, walk


def _table(rows: list[list[str]], headers: list[str], left: int = 1) -> str:
    align = ("left",) * left + ("right",) * (len(headers) - left)
    return tabulate(rows, headers, tablefmt="github", colalign=align, disable_numparse=True)


def machine_text(machine: dict[str, Any]) -> str:
    """Return one sentence on the machine and the software."""
    caches = ", ".join(f"{level} {size}" for level, size in machine["caches"].items())
    versions = ", ".join(
        f"{name} {version}" for name, version in machine["versions"].items() if version
    )
    return (
        f"Measured on {machine['date'][:10]}: {machine['processor']}, {machine['processors']}"
        f" processors ({caches}), {bytes_text(machine['memory_bytes'])}, widest instruction set"
        f" {machine['isa']}; {machine['compiler']}; Python {machine['python']}, {versions}."
    )


def full_table(results: ThroughputResults) -> str:
    """Return the table of all operations and sizes: median time a call."""
    rows = []
    for operation in results.operations():
        for n in results.sizes(operation):
            cells = [BY_NAME[operation].title, entries_text(n)]
            found = {key: results.row(operation, n, *key) for key in (c[:2] for c in COLUMNS)}
            for row in found.values():
                cells.append(_cell(row))
            native, limit = found["native", 1], found["limit", 1]
            if native and limit:
                cells.append(f"{native['median_ns'] / limit['median_ns']:.2f}")
            rows.append(cells)
    headers = ["operation", "entries", *(c[2] for c in COLUMNS), "pgtable / limit"]
    return _table(rows, headers)


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    spread = (row["q3_ns"] - row["q1_ns"]) / 2 / row["median_ns"]
    return f"{time_text(row['median_ns'])} ±{spread:.0%}"


def short_table(results: ThroughputResults) -> str:
    """Return the table of the top README: entries a second."""
    operation, shown_sizes = SHORT
    sizes = [n for n in shown_sizes if n in results.sizes(operation)]
    rows = []
    for family, threads, heading in COLUMNS:
        name = {"2 threads": "pgtable, 2 threads", "limit": "limit: `a[i] ^= k` in C"}.get(
            heading, heading
        )
        found = [results.row(operation, n, family, threads) for n in sizes]
        if any(found):
            rates = [_rate(row) for row in found]
            rows.append([f"**{name}**" if family == "native" else name, *rates])
    headers = [f"{operation} in place", *(f"{entries_text(n)} entries" for n in sizes)]
    return _table(rows, headers)


def _rate(row: dict[str, Any] | None) -> str:
    return "" if row is None else rate_text(row["entries"] / row["median_ns"] * 1e9)


def isa_table(results: ThroughputResults) -> str:
    """Return the table of wrprotect in place by instruction set: entries a second."""
    sizes = results.sizes("wrprotect")
    rates: dict[str, dict[int, str]] = {}
    for row in results.rows:
        if (row["operation"], row["family"], row["threads"]) == ("wrprotect", "native", 1):
            rates.setdefault(row["variant"], {})[row["entries"]] = _rate(row)
    rows = [[isa, *(found.get(n, "") for n in sizes)] for isa, found in rates.items()]
    return _table(rows, ["instruction set", *map(entries_text, sizes)])


def files_table(files: dict[str, Any]) -> str:
    """Return the table of the command line over a large file."""
    rows = [
        [
            row["name"],
            _cell(row),
            f"{files['bytes'] / row['median_ns'] * 1e9 / (1 << 30):.2f} GiB/s",
            bytes_text(row["peak_rss_bytes"]),
        ]
        for row in files["results"]
    ]
    headers = [f"{bytes_text(files['bytes'])} file", "median", "rate", "peak resident memory"]
    return _table(rows, headers)


def walk_table(walk: dict[str, Any]) -> str:
    """Return the table of walking and counting the page tables of an image."""
    rows = []
    for name, found in walk.items():
        if "census_over_reading" not in found:
            continue
        rates = [
            rate_text(found[key])
            for key in (
                "reading_entries_per_second",
                "census_entries_per_second",
                "entries_per_second",
                "entries_per_second_all_columns",
            )
        ]
        ratios = [
            f"{found[key]:.2f}"
            for key in ("census_over_reading", "walk_over_reading_and_writing", "peak_over_result")
        ]
        rows.append([name, f"{found['entries'] / 1e6:.1f} M", *rates, *ratios])
    headers = ["image", "entries", "only reading", "census", "walk", "walk, every column"]
    ratios = ["census / reading", "walk / limit", "peak memory / result"]
    return _table(rows, [*headers, *ratios])


def walkers_table(walk: dict[str, Any]) -> str:
    """Return the table of how many times as long others take to walk the same image."""
    others = (
        ("plain_python", "plain Python"),
        ("plain_python_all_columns", "plain Python, every column"),
        ("drgn", "drgn"),
        ("drgn_all_columns", "drgn, every column"),
    )
    rows = [
        [name, str(found["entries"]), *(_times(found.get(key)) for key, _ in others)]
        for name, found in walk["times faster"].items()
    ]
    return _table(rows, ["image", "entries", *(heading for _, heading in others)])


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.0f} x"


def goals_table(results: ThroughputResults) -> str:
    """Return the table of goals, measured values and whether they are reached."""
    return _table(goals.rows(results), ["goal", "measured", "should be", "reached"])


def plot(results: ThroughputResults, operation: str, path: Path) -> None:
    """Draw throughput by size: a line for each contender, the limit dashed."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "pgtable"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    lines = [*COLUMNS[:3], ("limit", 2, "limit, 2 threads"), *COLUMNS[3:]]
    moved = BY_NAME[operation].bytes_per_entry
    for family, threads, heading in lines:
        found = [results.row(operation, n, family, threads) for n in results.sizes(operation)]
        points = [(row["entries"], row) for row in found if row]
        if not points:
            continue
        sizes = [n for n, _ in points]
        rates = [n * moved / row["median_ns"] for n, row in points]
        label = "pgtable, 2 threads" if heading == "2 threads" else heading
        style = {"limit": "--", "native": "-o"}.get(family, "-")
        color = COLORS[family]
        alpha = 0.5 if threads == 2 else 1
        axes.plot(sizes, rates, style, label=label, color=color, alpha=alpha, markersize=4)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    ticks = results.sizes(operation)
    axes.set_xticks(ticks, [entries_text(n) for n in ticks], rotation=45)
    axes.set_xlabel("entries")
    axes.set_ylabel("GB/s read and written")
    axes.set_title(BY_NAME[operation].title)
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def write(results_directory: Path, plots: Path, readmes: list[Path]) -> str:
    """Write the plots and the marked parts of the READMEs; return the table of goals."""
    throughput, files, walk = load(results_directory)
    results = ThroughputResults(throughput, files, walk)
    for operation in PLOTTED:
        plot(results, operation, plots / f"{operation.replace('.', '-')}.svg")
    parts = {
        "throughput": short_table(results),
        "machine": machine_text(throughput["machine"]),
        "times": full_table(results),
        "isas": isa_table(results),
        "goals": goals_table(results),
    }
    if files:
        parts["files"] = files_table(files)
    if walk:
        parts["walk"] = f"{walk_table(walk)}\n\n{walkers_table(walk)}"
    for readme in readmes:
        for name, text in parts.items():
            replace_between(readme, name, text)
    return tabulate(goals.rows(results), ["goal", "measured", "should be", "reached"])
