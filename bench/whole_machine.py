# SPDX-License-Identifier: GPL-2.0-only
"""A whole machine: searching for its spaces, walks, censuses and audits by threads.

``python -m bench.whole_machine [OUT.json] [--entries MI] [--smoke]``.  Times are of the clock,
medians of rounds in which all take turns; ratios are of one run.
"""

from __future__ import annotations

import argparse
import json
import lzma
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tabulate import tabulate

import pgtable
from pgtable.images.audit import audit_image
from pgtable.images.audit.all_spaces import audit_spaces
from pgtable.images.spaces.candidates import find_tops
from pgtable.images.synthetic import synthesize, write

SPACES = Path(__file__).resolve().parents[1] / "tests" / "data" / "spaces" / "main.raw.xz"
#: A machine in which an audit finds next to nothing.
MIX = {"clean": 4.0, "dirty": 6.0, "cow": 4.0}
MEMORY = 1 << 36
_BLOCK = 1 << 20


def medians(rounds: int, contenders: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Return the median time of each by the clock, in seconds; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            began = time.perf_counter()
            result = run()
            times[name].append(time.perf_counter() - began)
            del result
    return {name: statistics.median(taken) for name, taken in times.items()}


def _read(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while file.read(_BLOCK):
            pass


def measure_spaces(path: Path, rounds: int) -> dict[str, float]:
    """Time the search in the shipped machine, against reading its memory once."""
    path.write_bytes(lzma.decompress(SPACES.read_bytes()))
    with pgtable.open_image(path, format="raw") as image:
        found = image.spaces()
        return medians(
            rounds,
            {
                "reading the file": lambda: _read(path),
                "search": lambda: find_tops(image),
                "spaces()": image.spaces,
                f"walk and audit of {len(found)} spaces": lambda: audit_spaces(image, found),
            },
        )


def measure_threads(path: Path, entries: int, rounds: int) -> dict[str, float]:
    """Time walks, tallies, censuses and audits of one large address space."""
    machine = synthesize(entries, seed=1, user=1.0, mix=MIX, memory=MEMORY, expected=False)
    root = machine.root
    write(machine, path)
    del machine
    with pgtable.open_image(path) as image:
        start = image.root(root, 4)
        contenders: dict[str, Callable[[], Any]] = {}
        for threads in (1, 2):
            of = f", {threads} threads" if threads > 1 else ""
            for name in ("walk", "tally", "census"):
                work = getattr(image, name)
                contenders[name + of] = partial(work, root, 4, threads=threads)
            known: dict[str, Any] = {
                "memory": [(0, MEMORY)],
                "rules": "saved_dirty",
                "threads": threads,
            }
            contenders[f"audit{of}"] = partial(audit_image, image, start, **known)
        return medians(rounds, contenders)


def table(results: dict[str, dict[str, float]]) -> str:
    """Return times, and each as a multiple of the first of its group."""
    rows = []
    for times in results.values():
        first = next(iter(times.values()))
        rows += [
            [name, f"{taken * 1e3:.1f}", f"{taken / first:.2f}"] for name, taken in times.items()
        ]
    return tabulate(rows, ["", "ms", "of the first"], "github", disable_numparse=True)


def main(argv: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.whole_machine", description=__doc__)
    parser.add_argument("output", nargs="?", type=Path, help="JSON file for the results")
    parser.add_argument("--entries", type=int, default=64, help="Mi entries (default: 64)")
    parser.add_argument("--smoke", action="store_true", help="small and quick")
    args = parser.parse_args(argv)
    entries, rounds = (1 << 18, 3) if args.smoke else (args.entries << 20, 7)
    with tempfile.TemporaryDirectory() as name:
        results = {
            "spaces": measure_spaces(Path(name) / "machine", rounds),
            "threads": measure_threads(Path(name) / "image", entries, rounds),
        }
    print(table(results))
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
