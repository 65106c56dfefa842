# SPDX-License-Identifier: GPL-2.0-only
"""Times the command line on a large file in the page cache, beside cp and cat.

Both commands that write make the result durable: the copy of cp is synced, and apply syncs before
it renames.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import pgtable
from pgtable.cost import checking, this_machine, units
from pgtable.cost.statistics import quartiles

from . import blocks
from .paths import BENCH, BUILD, ROOT

#: The helpers that run over the file: those that fork uses for a parent.
HELPERS = ("pte_wrprotect", "pte_mkold")


@dataclass
class Command:
    """One command, a check of its result, and its times."""

    name: str
    argv: list[str]
    check: Callable[[], None]
    times: list[float] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)

    def run(self, launcher: subprocess.Popen[str], captured: Path) -> None:
        """Run it once; raises RuntimeError if it fails."""
        assert launcher.stdin
        assert launcher.stdout
        launcher.stdin.write(json.dumps({"argv": self.argv, "stdout": str(captured)}) + "\n")
        launcher.stdin.flush()
        answer = json.loads(launcher.stdout.readline())
        if code := answer["exit_code"]:
            raise RuntimeError(f"{self.name}: exit code {code}")
        self.times.append(answer["ns"])
        self.peaks.append(answer["peak_rss_bytes"])
        self.check()

    def row(self) -> dict[str, Any]:
        """Return what goes into the JSON file."""
        q1, median, q3 = quartiles(self.times)
        return {
            "name": self.name,
            "median_ns": median,
            "q1_ns": q1,
            "q3_ns": q3,
            "min_ns": min(self.times),
            "max_ns": max(self.times),
            "rounds": len(self.times),
            "peak_rss_bytes": max(self.peaks),
        }


def make_file(path: Path, nbytes: int) -> None:
    """Write a file of real entries, repeated, and leave it in the page cache."""
    block = blocks.real_block()
    with path.open("wb") as file:
        for first in range(0, nbytes, block.nbytes):
            file.write(block[: (nbytes - first) // 8].data)
        os.fsync(file.fileno())


def commands(source: Path, target: Path, captured: Path) -> list[Command]:
    """Return the commands that are compared."""
    block = blocks.real_block()
    reference = pgtable.reference()
    expected = reference.chain(*HELPERS)(block)
    times = source.stat().st_size // block.nbytes
    dirty = reference.pte_dirty.count(block) * times

    def written(what: np.ndarray) -> Callable[[], None]:
        def check() -> None:
            got = np.memmap(target, np.uint64, "r")
            checking.require_equal(str(target), got, what)
            if got.size != times * block.size:
                raise checking.WrongResultError(f"{target}: {got.size} entries")

        return check

    def counted() -> None:
        tests = json.loads(captured.read_text())["tests"]
        checking.require_equal("pgtable census", tests["pte_dirty"], dirty)

    tool = [sys.executable, "-m", "pgtable"]
    copy = 'cp "$1" "$2" && sync "$2"'
    apply = [*tool, "apply", ",".join(HELPERS), str(source), "-o", str(target)]
    census = [*tool, "census", "--json", str(source)]
    return [
        Command("cp, sync", ["sh", "-c", copy, "sh", str(source), str(target)], written(block)),
        Command("pgtable apply", apply, written(expected)),
        Command("pgtable apply --threads 0", [*apply, "--threads", "0"], written(expected)),
        Command("cat", ["cat", str(source)], lambda: None),
        Command("pgtable census", census, counted),
        Command("pgtable census --threads 0", [*census, "--threads", "0"], counted),
    ]


def _launcher() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(BENCH / "launcher.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def run(nbytes: int, rounds: int) -> dict[str, Any]:
    """Time all commands; return what goes into the JSON file."""
    directory = BUILD / "files"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    try:
        source, target, captured = (directory / name for name in ("in.bin", "out.bin", "captured"))
        make_file(source, nbytes)
        group = commands(source, target, captured)
        with _launcher() as launcher:
            for _ in range(rounds):
                for command in group:
                    target.unlink(missing_ok=True)
                    os.sync()
                    # cat only reads: it writes to /dev/null
                    out = Path(os.devnull) if command.name == "cat" else captured
                    command.run(launcher, out)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    for command in group:
        row = command.row()
        print(
            f"{command.name}, {units.bytes_text(nbytes)}: {units.time_text(row['median_ns'])},"
            f" peak {units.bytes_text(row['peak_rss_bytes'])}",
            flush=True,
        )
    return {
        "format": 1,
        "machine": this_machine.describe(),
        "bytes": nbytes,
        "results": [command.row() for command in group],
    }


def main(argv: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.command_line", description=__doc__)
    parser.add_argument("output", type=Path, help="the JSON file to write")
    parser.add_argument("--smoke", action="store_true", help="a small file, one round")
    args = parser.parse_args(argv)
    result = run(16 << 20, 1) if args.smoke else run(2 << 30, 3)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
