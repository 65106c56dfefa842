# SPDX-License-Identifier: GPL-2.0-only
"""Shows what fork does to a parent's page tables: on tables of a real kernel, then at scale."""

from __future__ import annotations

import lzma
import shlex
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import pgtable
from pgtable.cli import main as command_line

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "demo-output"
TABLES = ROOT / "tests" / "data" / "k612-128.ptes.bin.xz"
HELPERS = "pte_wrprotect,pte_mkold"
RULES = "saved_dirty"
SCALE = 32 << 20
ROUNDS = 5
PURE_PYTHON_ENTRIES = 1 << 18


def run(line: str) -> None:
    """Run a command as a user would type it."""
    print(f"\n$ pgtable {line}")
    if code := command_line(shlex.split(line)):
        raise SystemExit(code)


def numpy_wrprotect_mkold(entries: np.ndarray, moved: np.ndarray) -> None:
    """Compute the chain with NumPy, in place: the closed form, nothing allocated."""
    np.bitwise_and(entries, 1 << 6, out=moved)
    np.left_shift(moved, 52, out=moved)
    np.bitwise_and(entries, 2**64 - 1 - (1 << 1 | 1 << 5 | 1 << 6), out=entries)
    np.bitwise_or(entries, moved, out=entries)


def median_seconds(work: Callable[[], object]) -> float:
    """Return the median time of one call."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return sorted(times)[ROUNDS // 2]


def real_tables() -> None:
    """Transform the shipped tables, and check every entry with the reference."""
    OUTPUT.mkdir(exist_ok=True)
    before, after = OUTPUT / "parent.bin", OUTPUT / "after-fork.bin"
    before.write_bytes(lzma.decompress(TABLES.read_bytes()))
    print(f"The page tables of a process on Linux 6.12 ({before.stat().st_size // 8:,} entries).")
    run(f"census {before} --rules {RULES}")
    print("\nfork() write-protects the parent's pages; mkold as a scan for idle pages would do.")
    run(f"apply {HELPERS} {before} -o {after} --rules {RULES}")
    run(f"census {after} --rules {RULES}")

    engine = pgtable.reference(RULES)
    expected = engine.chain(*HELPERS.split(","))(np.fromfile(before, "<u8"))
    agree = np.count_nonzero(expected == np.fromfile(after, "<u8"))
    print(f"\nThe pure-Python reference agrees on {agree:,} of {expected.size:,} entries.")
    if agree != expected.size:
        raise SystemExit(1)


def at_scale() -> None:
    """Run the same chain over tens of millions of entries, with each library that can do it."""
    real = np.fromfile(OUTPUT / "parent.bin", "<u8")
    source = np.resize(real[real != 0], SCALE)
    entries, moved = np.empty_like(source), np.empty_like(source)
    native = pgtable.native(RULES).chain(*HELPERS.split(","))
    reference = pgtable.reference(RULES).chain(*HELPERS.split(","))
    few = source[:PURE_PYTHON_ENTRIES].tolist()

    contenders: dict[str, tuple[int, Callable[[], object]]] = {
        "native, 1 thread": (SCALE, lambda: native(entries, out=entries)),
        "native, all processors": (SCALE, lambda: native(entries, out=entries, threads=0)),
        "NumPy closed form": (SCALE, lambda: numpy_wrprotect_mkold(entries, moved)),
        "reference, entry by entry": (len(few), lambda: [reference(entry) for entry in few]),
    }
    expected = reference(source)
    print(f"\n{SCALE:,} entries made from the real ones, in place; medians of {ROUNDS} runs:")
    rates = {}
    for name, (count, work) in contenders.items():
        np.copyto(entries, source)
        rates[name] = count / median_seconds(work)
        if count == SCALE and not np.array_equal(entries, expected):
            raise SystemExit(f"{name} is wrong")
    slowest = min(rates.values())
    for name, rate in rates.items():
        print(f"  {name:25} {rate / 1e6:10,.2f} million entries/s  {rate / slowest:8,.0f}x")


if __name__ == "__main__":
    real_tables()
    at_scale()
