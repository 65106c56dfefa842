# SPDX-License-Identifier: GPL-2.0-only
"""Threads that call everything at once, under the thread sanitizer: ``make tsan``.

Run three times: a race that is planted (two calls write to one ``out``) has to be found,
the mended one (each its own) not, and then all calls at once must give no report and
right values.  Exit code 0: so it was.

What it does not see: stores that go past the caches (results of megabytes), and Python
itself, whose locks are seen.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

REPORT = "WARNING: ThreadSanitizer: data race"
#: What the sanitizer's process exits with where it reported anything.
FOUND = 66
#: Threads of our own in each call: more would be slow under the sanitizer.
PARTS = 2


def everything(seconds: float, workers: int) -> dict[str, int]:
    """Call everything from so many threads; return how often each was called."""
    import numpy as np  # noqa: PLC0415 - only in the process that has the sanitizer

    import pgtable  # noqa: PLC0415
    from pgtable.images.synthetic import synthesize, write  # noqa: PLC0415

    entries = np.random.default_rng(1).integers(0, 2**64, 10_000, np.uint64)
    mask = entries & np.uint64(4) != 0
    young = entries & np.uint64(0x20) != 0
    cleared = entries & ~np.uint64(0x20)
    kinds = pgtable.census(entries).as_dict()
    machine = synthesize(3_000, seed=1)
    directory = tempfile.TemporaryDirectory()
    image = pgtable.open_image(write(machine, Path(directory.name) / "memory", "raw"))
    rows = image.walk(machine.root).entry.copy()
    counted = sum(each.total for each in image.census(machine.root).values())
    shared, added = pgtable.Counter(), []
    chain = pgtable.chain(pgtable.pte_mkold, pgtable.pte_mkold)
    isas = [name for name, usable in _usable(pgtable).items() if usable]

    def switch() -> None:
        with pgtable.isa(random.choice(isas)):
            assert np.array_equal(pgtable.pte_mkold(entries[:100]), cleared[:100])

    def new_chain() -> None:
        made = pgtable.chain(pgtable.pte_mkold, pgtable.pte_wrprotect, pgtable.pte_mkold)
        assert made(int(entries[0])) == pgtable.pte_wrprotect(int(cleared[0]))

    def add() -> None:
        shared.add(entries[:5000], threads=PARTS)
        added.append(5000)

    def opened() -> None:
        with pgtable.open_image(image.path) as other:
            assert np.array_equal(other.walk(machine.root).entry, rows)

    def where() -> None:
        got = pgtable.pte_mkold(entries, where=pgtable.pte_young, threads=PARTS)
        assert np.array_equal(got, cleared)
        got = pgtable.pte_mkold(entries, where=mask)
        assert np.array_equal(got, np.where(mask, cleared, entries))

    calls: dict[str, Callable[[], object]] = {
        "helper": lambda: _same(np, pgtable.pte_mkold(entries, threads=PARTS), cleared),
        "small": lambda: _same(np, pgtable.pte_mkold(entries[:64]), cleared[:64]),
        "test": lambda: _same(np, pgtable.pte_young(entries, threads=PARTS), young),
        "chain": lambda: _same(np, chain(entries, threads=PARTS), cleared),
        "new chain": new_chain,
        "where": where,
        "count": lambda: _equal(pgtable.pte_young.count(entries, threads=PARTS), int(young.sum())),
        "census": lambda: _equal(pgtable.census(entries, threads=PARTS).as_dict(), kinds),
        "counter": add,
        "counter read": lambda: _equal(shared.census().total % 5000, 0),
        "walk": lambda: _same(np, image.walk(machine.root).entry, rows),
        "image census": lambda: _equal(
            sum(each.total for each in image.census(machine.root).values()), counted
        ),
        "open": opened,
        "isa": switch,
    }
    done = _call_all(calls, seconds, workers)
    _equal(shared.census().total, sum(added))
    return dict(sorted(done.items()))


def _call_all(calls: dict[str, Callable[[], object]], seconds: float, workers: int) -> Counter[str]:
    """Let threads make calls at random; return how often each was made."""
    done: Counter[str] = Counter()
    failed: list[BaseException] = []
    end = time.monotonic() + seconds
    told = threading.Lock()

    def work(seed: int) -> None:
        rng = random.Random(seed)
        mine: Counter[str] = Counter()
        try:
            while time.monotonic() < end and not failed:
                name = rng.choice([*calls])
                calls[name]()
                mine[name] += 1
        except BaseException as error:
            failed.append(error)
        with told:
            done.update(mine)

    _in_threads([lambda seed=seed: work(seed) for seed in range(workers)])
    if failed:
        raise failed[0]
    return done


def same_out(own: bool) -> None:
    """Let two threads write results to one array, which is a race, or each to its own."""
    import numpy as np  # noqa: PLC0415

    import pgtable  # noqa: PLC0415

    entries = np.arange(100_000, dtype=np.uint64)  # less is in one thread before the other starts
    out = [np.zeros_like(entries), np.zeros_like(entries)]
    started = threading.Barrier(2)

    def work(number: int) -> None:
        started.wait()
        for _ in range(20):
            pgtable.pte_mkold(entries, out=out[number if own else 0])

    _in_threads([lambda: work(0), lambda: work(1)])


def _in_threads(works: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _usable(pgtable: object) -> dict[str, bool]:
    return dict(pgtable.isas())  # type: ignore[attr-defined]


def _same(np: object, got: object, expected: object) -> None:
    assert np.array_equal(got, expected)  # type: ignore[attr-defined]


def _equal(got: object, expected: object) -> None:
    assert got == expected, (got, expected)


def run(*arguments: str) -> tuple[int, str]:
    """Run this file with the sanitizer; return the exit code and all that was printed."""
    library = subprocess.check_output(["gcc", "-print-file-name=libtsan.so"], text=True).strip()
    environment = os.environ | {
        "LD_PRELOAD": library,
        "TSAN_OPTIONS": f"exitcode={FOUND} halt_on_error=0 history_size=4",
        "PYTHONMALLOC": "malloc",
    }
    # without random addresses: the sanitizer's own places must be free
    ended = subprocess.run(
        ["setarch", "-R", sys.executable, __file__, *arguments],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    return ended.returncode, ended.stdout


def main() -> int:
    """Run what the arguments say; see the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--threads", type=int, default=6)
    parser.add_argument("--within", choices=("everything", "same-out", "own-out"))
    given = parser.parse_args()
    if given.within == "everything":
        print("calls:", everything(given.seconds, given.threads))
        return 0
    if given.within:
        same_out(given.within == "own-out")
        return 0
    code, output = run("--within", "same-out")
    if code != FOUND or REPORT not in output or "pgtable" not in output:
        print(output[-4000:])
        print(f"the planted race was not found (exit code {code})")
        return 1
    print(f"planted race: found, {output.count(REPORT)} reports")
    for name in ("own-out", "everything"):
        code, output = run(
            "--within", name, "--seconds", str(given.seconds), "--threads", str(given.threads)
        )
        if code or REPORT in output:
            print(output[-20000:])
            print(f"{name}: {output.count(REPORT)} reports, exit code {code}")
            return 1
        print(f"{name}: no race; {output.strip()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
