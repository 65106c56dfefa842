# SPDX-License-Identifier: GPL-2.0-only
"""Walking page tables: against plain Python, drgn, and only reading and writing as much.

``python -m bench.walk [OUT.json] [--entries MI] [--smoke]``.  Everybody walks the same
image in one run and takes turns, results are compared before anything is printed, and
times are processor time of one core (user and system), the median of the rounds.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import pgtable
from pgtable.images import Image, Walk
from pgtable.images.reference_walk import Row, reference_walk
from pgtable.images.synthetic import synthesize, write
from pgtable.memory import empty

DATA = Path(__file__).resolve().parents[1] / "tests" / "data"
FULL = {"clean": 1.0, "dirty": 2.0, "cow": 1.0}
MIXED = {**FULL, "hole": 1.0, "swap": 0.5, "prot_none": 0.5}
PAGE = 4096
TURN = 0.05  # seconds
COLUMNS_AT_ONCE = 17  # bytes an entry: va, entry, and what the others are made of


def medians(rounds: int, **contenders: Callable[[], Any]) -> dict[str, float]:
    """Return the median processor time of each, in seconds.

    They take turns; in its turn a short one is repeated for TURN seconds, since its first
    run pays for the caches that the one before it has filled.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            times[name].append(_turn(run))
    return {name: statistics.median(taken) for name, taken in times.items()}


def _turn(run: Callable[[], Any]) -> float:
    """Return the median processor time of the runs of one turn."""
    times: list[float] = []
    while sum(times) < TURN:
        began = time.process_time()
        run()
        times.append(time.process_time() - began)
    return statistics.median(times)


def assert_same(rows: list[Row], walk: Walk) -> None:
    """Raise AssertionError unless both walks found the same in every column."""
    for theirs, column in zip(zip(*rows, strict=True), walk.columns.values(), strict=True):
        assert list(theirs) == column.tolist()


def only_read(image: Image, walk: Walk) -> Callable[[], None]:
    """Return what reads every table page that the walk read, one after the other in memory."""
    memory = image.segments.memory.view(np.uint64)  # type: ignore[attr-defined]
    start = int(image.segments.table["pa"][0])  # type: ignore[attr-defined]
    pages = np.sort(walk.tables.pa - np.uint64(start)) // np.uint64(PAGE)
    first, count = int(pages[0]), len(pages)
    assert np.array_equal(pages, np.arange(first, first + count, dtype=np.uint64))
    words = memory[first * 512 : (first + count) * 512]
    return lambda: np.bitwise_xor.reduce(words)


def only_write(size: int) -> Callable[[], None]:
    """Return what makes new memory of so many bytes and writes it once."""
    return lambda: empty(size // 8, np.uint64).fill(1)


def peak_resident(run: Callable[[], Any]) -> int:
    """Return how many bytes of anonymous memory a call adds at most, in a child process."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        run()
        before = _status("RssAnon")
        # what is mapped of the image stays the same: only anonymous memory grows the peak
        Path("/proc/self/clear_refs").write_text("5")
        mapped = _status("VmRSS") - before
        result = run()
        os.write(writer, str(_status("VmHWM") - mapped - before).encode())
        del result
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as pipe:
        return int(pipe.read() or 0)


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    return 0


def measure_image(path: Path, mix: dict[str, float], entries: int, rounds: int) -> dict[str, Any]:
    """Time one synthetic image."""
    machine = synthesize(entries, mix=mix, expected=False)
    root = machine.root
    write(machine, path)
    del machine
    with pgtable.open_image(path) as image:
        walk = image.walk(root, 4)
        counted = sum(census.total for census in image.census(root, 4).values())
        assert counted == len(walk)
        found, size = len(walk), len(walk) * COLUMNS_AT_ONCE
        read = only_read(image, walk)
        del walk
        times = medians(
            rounds,
            reading=read,
            writing=only_write(size),
            walk=lambda: image.walk(root, 4),
            all_columns=lambda: image.walk(root, 4).columns,
            census=lambda: image.census(root, 4),
        )
        peak = peak_resident(lambda: image.walk(root, 4))
    return {
        "entries": found,
        "seconds": times,
        "reading_entries_per_second": found / times["reading"],
        "entries_per_second": found / times["walk"],
        "entries_per_second_all_columns": found / times["all_columns"],
        "census_entries_per_second": found / times["census"],
        "census_over_reading": times["census"] / times["reading"],
        "walk_over_reading_and_writing": times["walk"] / (times["reading"] + times["writing"]),
        "peak_over_result": peak / size,
    }


def measure_opening(path: Path) -> dict[str, Any]:
    """Time opening 8 TiB (sparse) and walking a small address space in it."""
    machine = synthesize(4096, seed=1)
    write(machine, path)
    os.truncate(path, 1 << 43)

    def run() -> None:
        with pgtable.open_image(path) as image:
            assert len(image.walk(machine.root, 4)) == len(machine.expected["va"])  # type: ignore[index]

    run()
    began = time.perf_counter()
    run()
    return {"open_and_walk_8_TiB_ms": (time.perf_counter() - began) * 1e3}


def measure_others(directory: Path, entries: int, rounds: int) -> dict[str, Any]:
    """Time plain Python and drgn on a dump of a real machine and on a larger image."""
    results: dict[str, Any] = {}
    core = directory / "core"
    core.write_bytes(lzma.decompress((DATA / "k61-256.vmcore.xz").read_bytes()))
    large = directory / "large"
    machine = synthesize(entries, mix=FULL, expected=False)
    write(machine, large)
    for name, path, root in (("k61-256", core, None), ("synthetic", large, machine.root)):
        with pgtable.open_image(path) as image:
            walk = image.walk(root, 4)
            top = walk.root.pa
            read = partial(read_page, path.read_bytes(), _pieces(image))
            assert_same(reference_walk(read, top, 4), walk)
            times = medians(
                rounds,
                ours=partial(image.walk, root, 4),
                all_columns=partial(_all_columns, image, root),
                python=partial(reference_walk, read, top, 4),
            )
        # drgn opens what names its kernel only
        drgn = _drgn(path, top, walk) if name == "k61-256" else None
        results[name] = {
            "entries": len(walk),
            "plain_python": times["python"] / times["ours"],
            "plain_python_all_columns": times["python"] / times["all_columns"],
            "drgn": drgn and drgn / times["ours"],
            "drgn_all_columns": drgn and drgn / times["all_columns"],
        }
    return results


Piece = tuple[int, int, int]


def _pieces(image: Image) -> list[Piece]:
    """Return where physical memory lies in the file: start, end, offset."""
    start = image.segments.memory.ctypes.data  # type: ignore[attr-defined]
    return [
        (int(pa), int(pa) + int(size), int(data) - start)
        for data, pa, size in image.segments.table.tolist()  # type: ignore[attr-defined]
    ]


def read_page(memory: bytes, pieces: list[Piece], pa: int) -> bytes:
    """Return the page at a physical address; ValueError where there is none."""
    for start, end, offset in pieces:
        if start <= pa < end:
            return memory[offset + pa - start : offset + pa - start + PAGE]
    raise ValueError(hex(pa))


def _all_columns(image: Image, root: int | None) -> dict[str, np.ndarray]:
    return image.walk(root, 4).columns


def _drgn(core: Path, root: int, walk: Walk) -> float | None:
    """Return the time of the same walk with drgn's reads of physical memory, if it is there."""
    try:
        import drgn
    except ImportError:
        return None
    program = drgn.Program()
    program.set_core_dump(core)

    def read(pa: int) -> bytes:
        return program.read(pa, PAGE, True)

    assert_same(reference_walk(read, root, 4), walk)
    return medians(2, drgn=lambda: reference_walk(read, root, 4))["drgn"]


def main(argv: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.walk", description=__doc__)
    parser.add_argument("output", nargs="?", type=Path, help="JSON file for the results")
    parser.add_argument("--entries", type=int, default=64, help="Mi entries (default: 64)")
    parser.add_argument("--smoke", action="store_true", help="small and quick")
    args = parser.parse_args(argv)
    entries, rounds = (1 << 18, 3) if args.smoke else (args.entries << 20, 7)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        results = {
            "full tables": measure_image(directory / "image", FULL, entries, rounds),
            "mixed tables": measure_image(directory / "image", MIXED, entries, rounds),
            "opening": measure_opening(directory / "image"),
            "times faster": measure_others(directory, 1 << 16 if args.smoke else 1 << 20, 3),
        }
    text = json.dumps(results, indent=1) + "\n"
    print(text, end="")
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
