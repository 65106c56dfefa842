# SPDX-License-Identifier: GPL-2.0-only
"""Bulk calls at the edges of memory: every length, every alignment, guard pages on both sides.

What is expected comes from the reference, once, over the longest buffer; every helper works
entry by entry, so the shorter calls must give the beginning of it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import pgtable
from pgtable.engines import loop_engine
from pgtable.engines.switches import COMBINATIONS

SHORT = range(131)
# around vectors, unrolled vectors, the driver's blocks of 1024 and the threads' grain of 512
LONG = sorted(
    {
        width + off
        for width in (256, 512, 1024, 1536, 2048, 3072, 4096)
        for off in (-65, *range(-9, 10), 65)
    }
)
LONGEST = LONG[-1]
SOME = (0, 1, 2, 3, 5, 8, 15, 16, 17, 33, 64, 67, 130)
PLACES = [("start", 0), ("end", 0)]
SHIFTS = [(at, shift) for at in ("start", "end") for shift in range(1, 8)]

FAULT = """
import ctypes, importlib.util, sys
spec = importlib.util.spec_from_file_location("conftest", sys.argv[1])
conftest = importlib.util.module_from_spec(spec)
spec.loader.exec_module(conftest)
memory = conftest.GuardedMemory(1)
array = memory.place("u1", memory.size, "start")
print(ctypes.string_at(array.ctypes.data, memory.size) == bytes(memory.size), flush=True)
ctypes.string_at(array.ctypes.data + int(sys.argv[2]), memory.size)
print("survived")
"""


@pytest.mark.parametrize("off", [-1, 1])
def test_the_guard_pages_guard(off, environment) -> None:
    conftest = Path(__file__).parents[1] / "conftest.py"
    run = subprocess.run(
        [sys.executable, "-c", FAULT, conftest, str(off)],
        capture_output=True,
        env=environment,
        check=False,
    )
    assert run.stdout == b"True\n"
    assert run.returncode != 0


class Buffers(NamedTuple):
    """Guarded memory for one call: entries, results, second arguments, where."""

    entries: object
    out: object
    arguments: object
    where: object


@pytest.fixture(scope="module")
def memory(guarded) -> Buffers:
    return Buffers(
        guarded(8 * LONGEST + 8),
        guarded(8 * LONGEST + 8),
        guarded(8 * LONGEST + 8),
        guarded(LONGEST + 8),
    )


class Samples(NamedTuple):
    """Entries, second arguments and where of the longest length."""

    entries: np.ndarray
    arguments: np.ndarray
    where: np.ndarray


@pytest.fixture(scope="module")
def samples(low_bit_entries) -> Samples:
    rng = np.random.default_rng(130)
    entries = rng.choice(low_bit_entries, LONGEST)
    arguments = np.where(rng.random(LONGEST) < 0.2, entries, rng.permutation(entries))
    return Samples(entries, arguments, rng.random(LONGEST) < 0.5)


def engine_pairs(isa: str) -> Iterator[tuple]:
    for switches in COMBINATIONS:
        yield pgtable.native(*switches, isa=isa), pgtable.reference(*switches)


@pytest.mark.parametrize(
    ("at", "shift", "lengths"),
    [*((*place, SHORT) for place in PLACES), ("start", 3, SOME), ("end", 5, SOME)],
)
def test_every_helper_at_short_lengths(usable_isa, at, shift, lengths, memory, samples) -> None:
    size = SHORT[-1]
    entries, arguments = samples.entries[:size], samples.arguments[:size]
    ends = at == "end"
    sources = [memory.entries.place(np.uint64, n, at, shift) for n in SHORT]
    seconds = [memory.arguments.place(np.uint64, n, at, shift) for n in SHORT]
    words = [memory.out.place(np.uint64, n, at, shift) for n in SHORT]
    bools = [memory.out.place(np.bool_, n, at, shift) for n in SHORT]
    # flush against the end, the n last are what a call of n sees
    sources[-1][:] = entries
    seconds[-1][:] = arguments
    for native, reference in engine_pairs(usable_isa):
        for name, helper in native.helpers.items():
            given = (arguments,) if helper.argument else ()
            expected = reference.helpers[name](entries, *given)
            wanted = expected.tobytes()
            width = expected.itemsize
            for n in lengths:
                first, last = ((size - n) * width, size * width) if ends else (0, n * width)
                second = (seconds[n],) if helper.argument else ()
                out = words[n] if helper.kind == "map" else bools[n]
                out.fill(1)
                helper(sources[n], *second, out=out)
                assert out.tobytes() == wanted[first:last], (native, name, n)
                if helper.kind == "test":
                    truth = sum(wanted[first:last])
                    assert helper.count(sources[n], *second) == truth, (native, name, n)
    assert sources[-1].tobytes() == entries.tobytes()
    assert seconds[-1].tobytes() == arguments.tobytes()


Call = Callable[..., object]


def calls(engine) -> dict[str, tuple[Call, bool]]:
    """Return one call for each shape of loop, and whether it gives bools.

    A call takes entries, second arguments, where, out; it may use less.
    """
    wrprotect, modify, pfn = engine.pte_wrprotect, engine.pte_modify, engine.pmd_pfn
    dirty, same, permitted = engine.pmd_dirty, engine.pte_same, engine.pte_access_permitted
    four = engine.chain(
        wrprotect, engine.pte_mkold, (modify, 0x8000000000000025), engine.pte_mkhuge
    )
    maps = {
        "map": lambda e, a, w, out: wrprotect(e, out=out),
        "number": lambda e, a, w, out: pfn(e, out=out),
        "map with one": lambda e, a, w, out: modify(e, 0x100, out=out),
        "map with each": lambda e, a, w, out: modify(e, a, out=out),
        # threads= takes a call past the short way for small ones, to the driver
        "driven map": lambda e, a, w, out: wrprotect(e, out=out, threads=1),
        "driven number": lambda e, a, w, out: pfn(e, out=out, threads=1),
        "driven map with one": lambda e, a, w, out: modify(e, 0x100, out=out, threads=1),
        "map where": lambda e, a, w, out: wrprotect(e, out=out, where=w),
        "map where test": lambda e, a, w, out: wrprotect(e, out=out, where=dirty),
        "map with each where": lambda e, a, w, out: modify(e, a, out=out, where=w),
        "chain": lambda e, a, w, out: four(e, out=out),
        "chain with each": lambda e, a, w, out: engine.chain((modify, a), wrprotect)(e, out=out),
        "chain where": lambda e, a, w, out: four(e, out=out, where=w),
    }
    tests = {
        "test": lambda e, a, w, out: dirty(e, out=out),
        "test with one": lambda e, a, w, out: permitted(e, True, out=out),
        "test with each": lambda e, a, w, out: same(e, a, out=out),
        "driven test": lambda e, a, w, out: dirty(e, out=out, threads=1),
        "driven test with one": lambda e, a, w, out: same(e, 0x867, out=out, threads=1),
        "test where": lambda e, a, w, out: dirty(e, out=out, where=w),
        "test where test": lambda e, a, w, out: dirty(e, out=out, where=engine.pte_young),
        "chain to test": lambda e, a, w, out: engine.chain(wrprotect, dirty)(e, out=out),
        "chain to test where": lambda e, a, w, out: engine.chain(wrprotect, (same, a))(
            e, out=out, where=w
        ),
    }
    return {name: (call, False) for name, call in maps.items()} | {
        name: (call, True) for name, call in tests.items()
    }


def counts(engine) -> dict[str, Call]:
    dirty, same = engine.pmd_dirty, engine.pte_same
    return {
        "count": lambda e, a, w: dirty.count(e),
        "driven count": lambda e, a, w: dirty.count(e, threads=1),
        "driven count with one": lambda e, a, w: same.count(e, 0x867, threads=1),
        "count with one": lambda e, a, w: engine.pte_access_permitted.count(e, True),
        "count with each": lambda e, a, w: same.count(e, a),
        "count where": lambda e, a, w: dirty.count(e, where=w),
        "count where test": lambda e, a, w: dirty.count(e, where=engine.pte_young),
        "count of chain": lambda e, a, w: engine.chain(engine.pte_mkold, (same, a)).count(e),
        "count of chain where": lambda e, a, w: engine.chain(engine.pte_mkold, dirty).count(
            e, where=w
        ),
    }


def lengths_and_places() -> list[tuple[int, str, int]]:
    """Every length flush against both guards, and a few at every misalignment."""
    flush = [(n, at, shift) for n in [*SHORT, *LONG] for at, shift in PLACES]
    shifted = [(n, at, shift) for n in (1, 2, 7, 17, 64, 130, 1023, 1025) for at, shift in SHIFTS]
    return flush + shifted


OLD = 0xA5


@pytest.mark.parametrize("stream", [False, True])
def test_every_kind_of_call_out_of_place(usable_isa, stream, memory, samples, monkeypatch) -> None:
    if stream:
        monkeypatch.setattr(loop_engine, "LARGE_FROM", 1)
    native, reference = pgtable.native(isa=usable_isa), pgtable.reference()
    expected = {}
    for name, (call, gives_bools) in calls(reference).items():
        out = np.full(LONGEST * (1 if gives_bools else 8), OLD * (not gives_bools), np.uint8)
        expected[name] = out.view(np.bool_ if gives_bools else np.uint64)
        call(*samples, expected[name])
    for n, at, shift in lengths_and_places():
        entries = memory.entries.place(np.uint64, n, at, shift)
        arguments = memory.arguments.place(np.uint64, n, at, shift)
        where = memory.where.place(np.bool_, n, at, shift)
        entries[:], arguments[:], where[:] = (sample[:n] for sample in samples)
        for name, (call, gives_bools) in calls(native).items():
            out = memory.out.place(np.bool_ if gives_bools else np.uint64, n, at, shift)
            out.view(np.uint8).fill(OLD * (not gives_bools))
            call(entries, arguments, where, out)
            assert out.tobytes() == expected[name][:n].tobytes(), (name, n, at, shift)
        assert entries.tobytes() == samples.entries[:n].tobytes()
        assert arguments.tobytes() == samples.arguments[:n].tobytes()
        assert where.tobytes() == samples.where[:n].tobytes()


@pytest.mark.parametrize("stream", [False, True])
def test_every_kind_of_map_in_place(usable_isa, stream, memory, samples, monkeypatch) -> None:
    if stream:
        monkeypatch.setattr(loop_engine, "LARGE_FROM", 1)
    native, reference = pgtable.native(isa=usable_isa), pgtable.reference()
    expected = {}
    for name, (call, gives_bools) in calls(reference).items():
        if not gives_bools:
            expected[name] = samples.entries.copy()
            call(expected[name], samples.arguments, samples.where, expected[name])
    for n, at, shift in lengths_and_places():
        entries = memory.entries.place(np.uint64, n, at, shift)
        arguments = memory.arguments.place(np.uint64, n, at, shift)
        where = memory.where.place(np.bool_, n, at, shift)
        arguments[:], where[:] = samples.arguments[:n], samples.where[:n]
        for name, wanted in expected.items():
            entries[:] = samples.entries[:n]
            calls(native)[name][0](entries, arguments, where, entries)
            assert entries.tobytes() == wanted[:n].tobytes(), (name, n, at, shift)


def test_every_kind_of_count(usable_isa, memory, samples) -> None:
    native, reference = pgtable.native(isa=usable_isa), pgtable.reference()
    for n, at, shift in lengths_and_places():
        entries = memory.entries.place(np.uint64, n, at, shift)
        arguments = memory.arguments.place(np.uint64, n, at, shift)
        where = memory.where.place(np.bool_, n, at, shift)
        entries[:], arguments[:], where[:] = (sample[:n] for sample in samples)
        wanted = counts(reference)
        for name, call in counts(native).items():
            expected = wanted[name](entries, arguments, where)
            assert call(entries, arguments, where) == expected, (name, n, at, shift)


@pytest.mark.parametrize("n", [511, 1024, 65_536, 131_072 + 1])
def test_threads_stay_inside_too(usable_isa, n, guarded, random_entries) -> None:
    source, target = guarded(8 * n), guarded(8 * n)
    native, reference = pgtable.native(isa=usable_isa), pgtable.reference()
    for at, _ in PLACES:
        entries, out = source.place(np.uint64, n, at), target.place(np.uint64, n, at)
        entries[:] = random_entries[:n]
        native.pte_mkdirty(entries, out=out, threads=3)
        assert np.array_equal(out, reference.pte_mkdirty(random_entries[:n]))
        native.pte_mkdirty(entries, out=entries, threads=2)
        assert np.array_equal(out, entries)
