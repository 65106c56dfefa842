# SPDX-License-Identifier: GPL-2.0-only
"""Threads of a call, calls from threads: the same bytes, and nobody is kept waiting."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from pgtable.engines._native import lib

import pgtable
from pgtable.engines import loop_engine

THREADS = (1, 2, 3, 7, 0, 1000)
PART = 1 << 16  # entries that are worth a thread
SIZES = (0, 1, PART - 1, 2 * PART - 1, 2 * PART, 3 * PART + 511, 7 * PART, 7 * PART + 513)


@pytest.mark.parametrize("stream", [False, True])
def test_any_number_of_threads_gives_the_same(
    usable_isa, stream, random_entries, monkeypatch
) -> None:
    monkeypatch.setattr(loop_engine, "LARGE_FROM", 1 if stream else 1 << 40)
    engine, reference = pgtable.native(isa=usable_isa), pgtable.reference()
    for n in SIZES:
        entries = random_entries[:n]
        masks = random_entries[-n or n :][:n]
        where = (entries & np.uint64(1 << 20)) != 0
        steps = lambda e: e.chain((e.pte_set_flags, masks), e.pte_wrprotect)  # noqa: B023, E731
        wanted = steps(reference)(entries)
        counted = reference.pte_dirty.count(entries, where=where)
        protected = reference.pte_wrprotect(entries)
        bools = reference.pmd_bad(entries)
        for threads in THREADS:
            assert np.array_equal(steps(engine)(entries, threads=threads), wanted)
            in_place = entries.copy()
            engine.pte_wrprotect(in_place, out=in_place, threads=threads)
            assert np.array_equal(in_place, protected)
            selected = engine.pte_wrprotect(entries, where=where, threads=threads)
            assert np.array_equal(selected, np.where(where, protected, entries))
            assert np.array_equal(engine.pmd_bad(entries, threads=threads), bools)
            assert engine.pmd_bad.count(entries, threads=threads) == np.count_nonzero(bools)
            assert engine.pte_dirty.count(entries, where=where, threads=threads) == counted


class SpyLib:
    """Notes how many threads the driver is told of."""

    def __init__(self) -> None:
        self.told: list[int] = []

    def __getattr__(self, name: str):
        return getattr(lib, name)

    def pgtable_run(self, *arguments) -> int:
        self.told.append(arguments[-1])
        return lib.pgtable_run(*arguments)


@pytest.mark.parametrize(("asked", "told"), [(1, 1), (2, 2), (7, 7), (0, None)])
def test_the_driver_gets_the_number(asked, told, random_entries, monkeypatch) -> None:
    spy = SpyLib()
    engine = pgtable.native()
    entries = random_entries[:10].copy()
    monkeypatch.setattr(loop_engine, "lib", spy)
    engine.pte_wrprotect(entries, threads=asked)
    engine.pte_wrprotect(entries, out=entries, threads=asked)
    engine.pte_dirty(entries, threads=asked)
    engine.pte_dirty.count(entries, threads=asked)
    engine.chain("pte_mkold", "pte_mkclean")(entries, out=entries, threads=asked)
    engine.chain("pte_mkold", "pte_none").count(entries, threads=asked)
    assert spy.told == [told or len(os.sched_getaffinity(0))] * 6


def test_one_thread_unless_asked_for_more(random_entries, monkeypatch) -> None:
    spy = SpyLib()
    entries = random_entries[:10].copy()
    where = np.ones(10, bool)
    monkeypatch.setattr(loop_engine, "lib", spy)
    pgtable.pte_mkold.call_checked(entries, where=where)
    pgtable.pte_dirty.count_checked(entries, where=where)
    pgtable.chain(pgtable.pte_mkold).call_checked(entries)
    pgtable.chain(pgtable.pte_dirty).count_checked(entries)
    assert spy.told == [1] * 4


def test_all_processors_are_those_this_process_may_use(random_entries, monkeypatch) -> None:
    spy = SpyLib()
    monkeypatch.setattr(loop_engine, "lib", spy)
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        pgtable.pte_dirty.count(random_entries[:10], threads=0)
    finally:
        os.sched_setaffinity(0, allowed)
    assert spy.told == [1]


BAD_THREADS = [
    (-1, ValueError),
    (True, TypeError),
    (1.0, TypeError),
    ("2", TypeError),
    (None, TypeError),
]


@pytest.mark.parametrize("make", [pgtable.native, pgtable.reference])
@pytest.mark.parametrize(("threads", "error"), BAD_THREADS)
def test_a_wrong_number_of_threads(make, threads, error, random_entries) -> None:
    engine = make()
    entries = random_entries[:10].copy()
    before = entries.copy()
    for call in (
        lambda: engine.pte_wrprotect(entries, out=entries, threads=threads),
        lambda: engine.pte_wrprotect(entries, threads=threads),
        lambda: engine.pte_dirty.count(entries, threads=threads),
        lambda: pgtable.chain(engine.pte_mkold)(entries, out=entries, threads=threads),
    ):
        with pytest.raises(error, match="threads is"):
            call()
    assert np.array_equal(entries, before)


@pytest.mark.parametrize("make", [pgtable.native, pgtable.reference])
def test_more_threads_than_there_could_be(make, random_entries) -> None:
    assert make().pte_mkold(random_entries[:10], threads=2**70).size == 10


def test_many_python_threads_at_once(random_entries) -> None:
    engine = pgtable.native()
    chain = engine.chain("pte_wrprotect", "pte_mkold")
    expected = chain(random_entries)

    def work(i: int) -> bool:
        mine = random_entries.copy()
        return (
            np.array_equal(chain(mine, out=mine, threads=1 + i % 3), expected)
            and engine.pte_young.count(mine) == 0
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(24)))


ASKED_FOR = """
import os
import numpy as np, pgtable
tasks = lambda: len(os.listdir("/proc/self/task"))
before = tasks()
entries = np.zeros(1 << 20, np.uint64)
pgtable.pte_wrprotect(entries)
print(tasks() - before)
for threads in (3, 7, 2, 7):
    pgtable.pte_wrprotect(entries, threads=threads)
    print(tasks() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no /proc/self/task")
def test_threads_are_started_when_asked_for_and_stay(environment) -> None:
    run = subprocess.run(
        [sys.executable, "-c", ASKED_FOR], env=environment, capture_output=True, check=True
    )
    # the caller is one of them; a process with threads that wait ends at once
    assert run.stdout.split() == [b"0", b"2", b"6", b"6", b"6"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_goes_on_computing(random_entries) -> None:
    expected = pgtable.pte_wrprotect(random_entries, threads=2).tobytes()
    child = os.fork()
    if not child:
        status = 1
        try:
            here = pgtable.pte_wrprotect(random_entries, threads=2).tobytes()
            status = 0 if here == expected else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert pgtable.pte_wrprotect(random_entries, threads=2).tobytes() == expected


@contextmanager
def ticking() -> Iterator[list[int]]:
    """Let another Python thread count, whenever it gets the interpreter."""
    ticks = [0]
    stop = threading.Event()

    def tick() -> None:
        while not stop.is_set():
            ticks[0] += 1
            time.sleep(0)

    thread = threading.Thread(target=tick)
    interval = sys.getswitchinterval()
    # nobody is made to give the interpreter away: it changes hands only when it is let go
    sys.setswitchinterval(1000)
    try:
        thread.start()
        yield ticks
    finally:
        stop.set()
        sys.setswitchinterval(interval)
        thread.join()


def test_the_interpreter_is_free_during_a_call(random_entries) -> None:
    engine = pgtable.native(isa="scalar")
    entries, out = random_entries.copy(), np.empty_like(random_entries)
    chain = engine.chain("pte_wrprotect", "pte_mkold", "pte_mkdirty", "pmd_mkinvalid")
    with ticking() as ticks:
        before = ticks[0]
        sorted(range(300_000, 0, -1))
        assert ticks[0] == before, "this call holds the interpreter: the test would show nothing"
        for call in (
            lambda: engine.pte_wrprotect(entries, out=entries),
            lambda: engine.pte_dirty.count(entries),
            lambda: chain(entries, out=out),
        ):
            # one call may be over before the other thread is awake; not every one of a thousand
            for _ in range(1000):
                before = ticks[0]
                call()
                if ticks[0] > before:
                    break
            assert ticks[0] > before


STEPS_FREED = """
import threading
import numpy as np
import pgtable

engine = pgtable.native("saved_dirty")
entries = np.random.default_rng(1).integers(0, 2**64, 1 << 22, np.uint64)
expected = engine.pte_mkdirty(entries, where=engine.pte_dirty)
few = np.arange(16, dtype="<i8")  # no array for the short way
done, calls = False, 0

def others():
    global calls
    while not done:  # each has steps of its own: more than any table of kept steps holds
        calls += 1
        where = engine.pte_young if calls % 2 else engine.pte_present
        engine.pte_set_flags(few, calls & 0xFFFF, where=where)

thread = threading.Thread(target=others)
thread.start()
for _ in range(12):
    assert np.array_equal(engine.pte_mkdirty(entries, where=engine.pte_dirty), expected)
done = True
thread.join()
assert calls > 1000
"""

ISA_SWITCHES = """
import threading, time
import numpy as np
import pgtable

engine = pgtable.native("saved_dirty")
entries = np.arange(512, dtype=np.uint64)
expected = engine.pte_wrprotect(entries, where=engine.pte_write)
names = [name for name, usable in pgtable.isas().items() if usable]
until = time.monotonic() + 2

def switch():
    while time.monotonic() < until:
        for name in names:
            pgtable.isa(name)

thread = threading.Thread(target=switch)
thread.start()
calls = 0
while time.monotonic() < until:
    assert np.array_equal(engine.pte_wrprotect(entries, where=engine.pte_write), expected)
    calls += 1
thread.join()
assert calls > 100
"""


def _run_alone(program: str, environment: dict[str, str]) -> None:
    """Run it in a process whose allocator uses freed memory again at once."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment | {"MALLOC_ARENA_MAX": "1", "MALLOC_PERTURB_": "165"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{done.returncode}: {done.stderr}"


def test_steps_of_a_running_call_are_not_freed(environment) -> None:
    _run_alone(STEPS_FREED, environment)


def test_isa_may_change_during_short_calls(environment) -> None:
    _run_alone(ISA_SWITCHES, environment)
