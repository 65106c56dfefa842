# SPDX-License-Identifier: GPL-2.0-only
"""Runs each benchmark in a process of its own, then makes tables and plots."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from . import tables_and_plots
from .paths import BENCH, BUILD, ROOT


def _run(arguments: list[str], smoke: bool) -> None:
    environment = dict(os.environ)
    if smoke:
        environment["PGTABLE_BENCH_SMOKE"] = "1"
    subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, env=environment, check=True)


def _strip_raw_data(path: Path) -> None:
    """Keep the statistics of pytest-benchmark, and remove the single samples."""
    saved = json.loads(path.read_text())
    for benchmark in saved["benchmarks"]:
        benchmark["stats"].pop("data", None)
    path.write_text(json.dumps(saved, indent=1) + "\n")


def main(argv: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="small sizes and few rounds; results go to build/bench, nothing that is kept changes",
    )
    parser.add_argument(
        "--report-only", action="store_true", help="make tables and plots of the last results"
    )
    args = parser.parse_args(argv)
    results, plots = BENCH / "results", BENCH / "plots"
    readmes = [BENCH / "README.md", ROOT / "README.md"]
    if args.smoke:
        results, plots = BUILD / "results", BUILD / "plots"
        # copies, so that writing the tables is tested as well
        BUILD.mkdir(parents=True, exist_ok=True)
        copies = [BUILD / "bench-README.md", BUILD / "README.md"]
        readmes = [Path(shutil.copy(*pair)) for pair in zip(readmes, copies, strict=True)]
    results.mkdir(parents=True, exist_ok=True)
    if not args.report_only:
        smoke = ["--smoke"] if args.smoke else []
        _run(["bench.throughput", str(results / "throughput.json"), *smoke], args.smoke)
        _run(["bench.command_line", str(results / "files.json"), *smoke], args.smoke)
        _run(["bench.walk", str(results / "walk.json"), *smoke], args.smoke)
        _run(["bench.whole_machine", str(results / "whole_machine.json"), *smoke], args.smoke)
        saved = results / "pytest-benchmark.json"
        _run(
            ["pytest", "bench", "--benchmark-enable", "-q", f"--benchmark-json={saved}"], args.smoke
        )
        _strip_raw_data(saved)
    table = tables_and_plots.write(results, plots, readmes)
    if args.smoke:
        print(f"all results are correct; tables and plots as they would be: {BUILD}")
    else:
        print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
