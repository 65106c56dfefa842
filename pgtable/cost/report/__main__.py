# SPDX-License-Identifier: GPL-2.0-only
"""Measures what the helpers cost, and writes bench/COST.md with its plots."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ...files import replacing
from .. import FULL, QUICK, Plan, PlanPart, TreeSettings, measure, result_files, this_machine
from ..compare_runs import compare
from ..ways import WAYS, way_of
from . import plots, sentences, tables
from .by_stage import Costs
from .header_packages import find_or_fetch
from .marked_parts import replace_between

#: The report is about a clone of the project: its pages and its recorded tables.
ROOT = Path(__file__).resolve().parents[3]
BENCH = ROOT / "bench"
DUMP = ROOT / "tests" / "data" / "k612-128.ptes.bin.xz"
#: Where a smoke run and whatever is not kept goes.
BUILD = ROOT / "build" / "bench"
#: Linux versions whose headers are measured: one before shadow stacks, and one with them.
SERIES = ("6.1", "6.12")
#: More processes than FULL has, with less time for each.  The interval is over processes, and
#: with more of them a single disturbed one widens it less.
PROCESSES, SECONDS = 8, 7.5
#: Where header packages are unpacked.
HEADERS = ROOT / "build" / "headers"


def full_plan() -> tuple[Plan, list[str]]:
    """Return the plan of the report, and notes on trees that are not in it."""
    trees, notes = [], []
    for series in SERIES:
        tree, why = find_or_fetch(series, HEADERS)
        if tree:
            trees.append(TreeSettings(str(tree)))
        else:
            notes.append(f"not measured: headers of Linux {series}: {why}")
    # the tables of a real kernel matter more than any artificial mix
    dump = PlanPart(mixes=(), files=(DUMP,), compilers=FULL.parts[0].compilers)
    dump = replace(dump, rules=FULL.parts[0].rules)
    parts = (*FULL.parts, dump)
    return replace(FULL, parts=parts, processes=PROCESSES, seconds=SECONDS).with_kernels(
        *trees
    ), notes


def smoke_plan() -> tuple[Plan, list[str]]:
    """Return a plan that takes seconds and has something of everything."""
    rules = FULL.parts[0].rules
    parts = (
        PlanPart(helpers=tables.DISCUSSED, rules=rules, files=(DUMP,)),
        PlanPart(
            helpers=("pte_wrprotect",), ways=WAYS, mixes=("half",), shapes=("table", "memory")
        ),
        PlanPart(helpers=("pte_wrprotect",), mixes=("half",), shapes=("latency",)),
    )
    return replace(QUICK, parts=parts, seconds=0.2, processes=2), []


def run(plan: Plan, notes: list[str]) -> dict[str, Any]:
    """Measure a plan; return the document, with flags, notes and seconds."""
    notes = list(notes)
    started = time.monotonic()
    with _shown() as show:
        rows = measure(plan, note=notes.append, progress=show)
    known = {
        **this_machine.describe(),
        "seconds": round(time.monotonic() - started, 1),
        "flags": {name: list(way_of(name, plan.isa).flags) for name in WAYS},
        "notes": list(dict.fromkeys(notes)),
    }
    return result_files.document(known, rows)


@contextmanager
def _shown() -> Iterator[Any]:
    with tqdm(
        total=100, unit="%", desc="cost", leave=False, disable=not sys.stderr.isatty()
    ) as bar:

        def show(done: float, what: str) -> None:
            bar.set_description(what)
            bar.update(round(100 * done) - bar.n)

        yield show


def repeat_of(first: Path, second: dict[str, Any], directory: Path) -> dict[str, Any]:
    """Compare a second run with the saved first one; return values for the report."""
    result_files.save(directory, second)
    found = compare(result_files.load(first), result_files.load(directory))
    return {
        "datetime": second["datetime"],
        "agreement": found.agreement(),
        "slower": len(found.slower),
        "quicker": len(found.quicker),
        "threshold_percent": found.threshold,
    }


def write(costs: Costs, repeat: dict[str, Any] | None, drawings: Path, pages: list[Path]) -> None:
    """Draw the plots, and write the marked parts of the pages."""
    plots.main(costs, drawings / "cost-main.svg")
    plots.ways(costs, drawings / "cost-ways.svg")
    plots.latency(costs, drawings / "cost-latency.svg")
    parts = {
        "cost-machine": sentences.machine(costs),
        "cost-sentence": sentences.headline(costs),
        "cost-headline": tables.headline(costs),
        "cost-findings": sentences.findings(costs),
        "cost-helpers": tables.helpers(costs),
        "cost-ways": tables.ways(costs),
        "cost-compilers": tables.compilers(costs),
        "cost-latency": tables.latency(costs),
        "cost-memory": tables.memory(costs),
        "cost-counts": tables.counts(costs),
        "cost-sizes": tables.sizes(costs),
        "cost-kernels": tables.kernels(costs),
        "cost-agreement": sentences.kernels(costs),
        "cost-overhead": tables.overhead(costs),
        "cost-repeated": sentences.repeated(repeat),
        "cost-engines": tables.engine_names(costs),
        "cost-flags": sentences.flags(costs),
        "cost-notes": sentences.notes(costs),
    }
    for page in pages:
        for name, text in parts.items():
            replace_between(page, name, text)


def _save_json(path: Path, value: dict[str, Any]) -> None:
    with replacing(path) as file:
        file.write((json.dumps(value, indent=1) + "\n").encode())


def _places(smoke: bool) -> tuple[Path, Path, list[Path]]:
    """Return the places of results, plots and pages.  In a smoke run all are below build/."""
    pages = [BENCH / "COST.md", ROOT / "README.md"]
    if not smoke:
        (BENCH / "results").mkdir(exist_ok=True)
        return BENCH / "results", BENCH / "plots", pages
    directory = BUILD / "cost"
    directory.mkdir(parents=True, exist_ok=True)
    # copies of the pages, so that writing the tables is tested as well
    return directory, directory / "plots", [Path(shutil.copy(page, directory)) for page in pages]


def main(argv: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m pgtable.cost.report", description=__doc__)
    parser.add_argument(
        "--smoke", action="store_true", help="seconds; everything goes to build/bench/cost"
    )
    parser.add_argument(
        "--repeat", action="store_true", help="measure twice, and say how the two runs agree"
    )
    parser.add_argument(
        "--report-only", action="store_true", help="make tables and plots of the last results"
    )
    args = parser.parse_args(argv)
    directory, drawings, pages = _places(args.smoke)
    saved, repeat = directory / "cost.json", directory / "cost-repeat.json"
    if not args.report_only:
        plan, notes = smoke_plan() if args.smoke else full_plan()
        result_files.save(saved, run(plan, notes))
        if args.repeat:
            BUILD.mkdir(parents=True, exist_ok=True)
            again = run(plan, notes)
            _save_json(repeat, repeat_of(saved, again, BUILD / "cost-again.json"))
    costs = Costs(result_files.load(saved))
    write(costs, json.loads(repeat.read_text()) if repeat.exists() else None, drawings, pages)
    print(sentences.machine(costs))
    print(sentences.findings(costs))
    print(f"written: {', '.join(str(path) for path in (saved, *pages))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
