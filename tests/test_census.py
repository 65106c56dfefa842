# SPDX-License-Identifier: GPL-2.0-only
"""One histogram: every count from it is the count that the helper itself gives."""

from __future__ import annotations

import copy
import importlib
import json
import lzma
import os
import pickle
import sys
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import pgtable
from pgtable import bits
from pgtable.engines.switches import COMBINATIONS

DATA = Path(__file__).parent / "data"
USABLE_ISAS = [name for name, usable in pgtable.isas().items() if usable]
#: pgtable.census is the function.
census_module = importlib.import_module("pgtable.census")
DUMPS = {"k612-128": "saved_dirty", "k61-256": "base"}


def level1_tables(name: str) -> np.ndarray:
    return np.frombuffer(lzma.decompress((DATA / f"{name}.ptes.bin.xz").read_bytes()), "<u8")


@pytest.fixture(scope="module", params=["random", "low bits", "lone bits", *DUMPS])
def entries(request, low_bit_entries, random_entries) -> np.ndarray:
    made = {
        "random": lambda: random_entries[: 1 << 17],
        "low bits": lambda: low_bit_entries[:: 1 << 3],
        # each bit alone and each bit missing: every edge of every field of the key
        "lone bits": lambda: np.array(
            [v for n in range(64) for v in (1 << n, 2**64 - 1 - (1 << n))] + [0], np.uint64
        ),
    }
    return np.ascontiguousarray(made.get(request.param, lambda: level1_tables(request.param))())


@pytest.mark.parametrize("isa", USABLE_ISAS)
@pytest.mark.parametrize("switches", COMBINATIONS, ids=str)
def test_every_test_of_every_engine_counts_the_same(entries, switches, isa):
    with pgtable.isa(isa):
        census = pgtable.census(entries)
        assert census.total == entries.size
        for helper in pgtable.native(*switches).helpers.values():
            if helper.kind == "test" and not helper.argument:
                assert census.count(helper) == helper.count(entries), helper.name


def test_stand_ins_ascend_and_fold_only_what_they_say(entries):
    census = pgtable.census(entries)
    assert (census.entries[1:] > census.entries[:-1]).all()
    assert (census.counts > 0).all()
    assert counts_of(census) == counted_one_by_one(entries)


#: Kinds of which several fall into one block; in the last six one field of the key differs.
KINDS = [
    *(0, 0x8000000123456067, 0x123456163, 0x8000000123456025, 0x0400000123456025, 0xFE << 56),
    *(0x25, 0x1025, 1 << 51 | 0x25, 1 << 52 | 0x25, 1 << 56 | 0x25, 1 << 63 | 0x25),
]


def mixture(pattern: str, length: int, seed: int = 0) -> np.ndarray:
    """Return entries in an order that takes its own way through a block."""
    rng = np.random.default_rng([seed, length])
    kinds = np.array(KINDS, np.uint64)
    which = {
        "one": np.zeros(length, int) + seed % len(KINDS),
        "two in turn": np.arange(length) % 2 + 1,
        "few": rng.integers(0, 3, length),
        "all kinds": rng.integers(0, len(KINDS), length),
        "runs": np.repeat(rng.integers(0, len(KINDS), length), rng.integers(1, 40, length)),
        "one astray": np.where(np.arange(length) == rng.integers(0, max(length, 1)), 1, 4),
        "mostly one": np.where(rng.random(length) < 0.8, 3, rng.integers(0, len(KINDS), length)),
    }
    if pattern == "random":
        return rng.integers(0, 2**64, length, dtype=np.uint64)
    if pattern == "twenty in turn":  # more than are usual at a time, none of them rare
        return np.arange(length, dtype=np.uint64) % np.uint64(20) + np.uint64(seed << 12)
    if pattern == "kinds in plenty":
        few_bits = np.uint64(0x8600_0000_0000_0063)
        return rng.integers(0, 2**64, length, dtype=np.uint64) & few_bits
    return kinds[which[pattern][:length]]


PATTERNS = [
    *("one", "two in turn", "few", "all kinds", "runs", "one astray", "mostly one"),
    *("twenty in turn", "random", "kinds in plenty"),
]
#: Around a block of 64, and around where memory is asked for ahead.
LENGTHS = [*range(131), *(n + d for n in (192, 256, 512, 1024, 1088, 1152) for d in (-1, 0, 1))]


def stand_in(entry: int) -> int:
    frame = entry & 0x000F_FFFF_FFFF_F000
    ignored = entry & 0x01F0_0000_0000_0000
    return entry & (0xFFF | 0x7F << 57) | bool(frame) << 30 | bool(ignored) << 52


def counted_one_by_one(entries: np.ndarray) -> dict[int, int]:
    return dict(sorted(Counter(map(stand_in, entries.tolist())).items()))


def counts_of(census: pgtable.Census) -> dict[int, int]:
    return dict(zip(census.entries.tolist(), census.counts.tolist(), strict=True))


@pytest.mark.parametrize("isa", USABLE_ISAS)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_is_what_counting_one_by_one_gives_at_any_length(pattern, isa):
    with pgtable.isa(isa):
        for length in LENGTHS:
            entries = mixture(pattern, length, seed=length % 5)
            assert counts_of(pgtable.census(entries)) == counted_one_by_one(entries), length


@pytest.mark.parametrize("isa", USABLE_ISAS)
@pytest.mark.parametrize("place", range(64))
def test_every_place_of_a_block_is_counted_as_what_it_is(place, isa):
    """Alone in its kind, third and last of its block, and one of a pair."""
    entries = np.full(64, KINDS[1], np.uint64)
    entries[(place + 7) % 64] = KINDS[2]
    entries[place] = KINDS[3]
    entries[(place + 31) % 64] = KINDS[3]
    entries[(place + 40) % 64] = KINDS[4]
    with pgtable.isa(isa):
        assert counts_of(pgtable.census(entries)) == counted_one_by_one(entries)


@pytest.mark.parametrize("isa", USABLE_ISAS)
@pytest.mark.parametrize("distinct", [1023, 1024, 1025, 4096])
def test_more_kinds_than_are_listed(distinct, isa):
    """And the histogram, which is kept, has forgotten them at the next call."""
    low = np.arange(distinct, dtype=np.uint64)
    entries = np.concatenate([low % np.uint64(2048) | low >> np.uint64(11) << np.uint64(62)] * 3)
    with pgtable.isa(isa):
        for _ in range(3):
            census = pgtable.census(entries)
            assert len(census.entries) == distinct
            assert (census.counts == 3).all()
            assert counts_of(census) == counted_one_by_one(entries)
            assert counts_of(pgtable.census(entries[:1])) == {0: 1}
        for threads in (2, 3, 7):
            many = np.resize(entries, 1 << 22)
            assert counts_of(pgtable.census(many, threads=threads)) == counts_of(
                pgtable.census(many)
            )


def test_a_counter_is_not_disturbed_by_calls_between():
    counter = pgtable.Counter()
    counter.add(mixture("runs", 500))
    assert counts_of(pgtable.census(mixture("few", 100))) == counted_one_by_one(mixture("few", 100))
    counter.add(mixture("all kinds", 300))
    expected = counted_one_by_one(np.concatenate([mixture("runs", 500), mixture("all kinds", 300)]))
    assert counts_of(counter.census()) == expected
    assert counts_of(counter.census()) == expected  # asking changes nothing


@pytest.mark.parametrize("isa", USABLE_ISAS)
def test_the_histogram_that_is_kept_follows_the_instruction_set(isa):
    pgtable.census(mixture("few", 100))
    with pgtable.isa(isa):
        pgtable.census(mixture("few", 100))
        kept = census_module._kept
        assert kept
        assert len(kept) <= census_module._KEPT_AT_MOST
        for pattern in PATTERNS:
            entries = mixture(pattern, 777)
            assert counts_of(pgtable.census(entries)) == counted_one_by_one(entries)


@pytest.mark.parametrize("isa", USABLE_ISAS)
@pytest.mark.parametrize("length", [0, 1, 3, 63, 64, 65, 127, 128, 1023, 1024, 1088, 1089, 2049])
def test_lengths_at_any_alignment(guarded, length, isa):
    rng = np.random.default_rng(length)
    with pgtable.isa(isa):
        for at, shift in (("end", 0), ("start", 0), ("start", 1), ("end", 3)):
            memory = guarded(length * 8 + 8).place(np.uint8, length * 8, at, shift)
            memory[:] = rng.integers(0, 256, length * 8, np.uint8)
            entries = np.frombuffer(memory.tobytes(), "<u8")
            assert counts_of(pgtable.census(memory.data)) == counted_one_by_one(entries)


@pytest.mark.parametrize("threads", [0, 2, 3, 7])
def test_threads_change_nothing(threads):
    for entries in (np.resize(level1_tables("k612-128"), 1 << 22), mixture("random", 3_700_001)):
        alone = pgtable.census(entries)
        assert counts_of(pgtable.census(entries, threads=threads)) == counts_of(alone)


def test_a_counter_adds_up_whatever_the_pieces_and_threads():
    entries = np.resize(level1_tables("k61-256"), 2_000_001)
    counter = pgtable.Counter()
    for start, stop, threads in ((0, 1, 1), (1, 1_500_000, 2), (1_500_000, 1_500_000, 1)):
        counter.add(entries[start:stop], threads=threads)
    counter.add(entries[1_500_000:], threads=1)
    assert counter.census().as_dict() == pgtable.census(entries).as_dict()


def test_counters_of_32_bits_do_not_overflow():
    """Virtual memory of zeros makes a count that no 32-bit counter can hold."""
    zeros = np.zeros(1 << 29, np.uint64)  # pages that are only read are never made
    counter = pgtable.Counter()
    for _ in range(8):
        counter.add(zeros)
    counter.add(np.array([0x67], np.uint64))
    census = counter.census()
    assert census.total == (1 << 32) + 1
    assert census.counts.tolist() == [1 << 32, 1]
    counter.add(np.array([0x25, 0x67, 0], np.uint64))
    assert counts_of(counter.census()) == {0: (1 << 32) + 1, 0x25: 1, 0x67: 2}


def test_where_and_bits():
    entries = np.array([0x67, 0x67, 0x25, 0x400_0000_0000_0025 | 7 << 12], np.uint64)
    census = pgtable.census(entries)
    assert census.count_bits(0x42, 0x42) == 2
    assert census.count_bits(1 << 58, 1 << 58) == 1
    assert census.where(census.entries == 0x67).total == 2
    with pytest.raises(ValueError, match="not told apart"):
        census.count_bits(1 << 12, 0)
    with pytest.raises(TypeError, match="pte_mkold gives entries"):
        census.count(pgtable.pte_mkold)


@pytest.mark.parametrize(("name", "rules"), DUMPS.items())
def test_level_1_of_the_real_dumps_is_what_was_recorded(name, rules):
    """The records come from a walker that is no part of this project."""
    recorded = json.loads((DATA / f"{name}.json").read_text())["cpus"][0]["hist"]
    census = pgtable.census(level1_tables(name))
    present = (census.entries & np.uint64(1)) != 0
    leaves = census.where(present)
    for half, user in (("user", 1), ("kernel", 0)):
        expected = recorded[f"{half} leaf level1"]
        at_half = leaves.where((leaves.entries >> np.uint64(2)) & np.uint64(1) == user)
        assert at_half.total == expected["n"]
        states = {
            f"W={code >> 2} D={code >> 1 & 1} b58={code & 1}": int(
                at_half.counts[bits.state_code(at_half.entries, "saved_dirty") == code].sum()
            )
            for code in range(8)
        }
        assert {k: n for k, n in states.items() if n} == expected["W,D,bit58"]
        assert at_half.count(pgtable.native(rules).pte_soft_dirty) == expected.get(
            "SW3_softdirty", 0
        )


def test_threads_that_share_a_counter_count_right():
    """Each call counts whole, also while others read."""
    pieces = [mixture(pattern, 3000 + i) for i, pattern in enumerate(PATTERNS)] * 5
    counter = pgtable.Counter()
    totals: list[list[int]] = []
    done = threading.Event()

    def add() -> None:
        for piece in pieces:
            counter.add(piece)

    def read() -> None:
        seen = [0]
        while not done.is_set():
            seen.append(counter.census().total)
        totals.append(seen)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        readers = [threading.Thread(target=read) for _ in range(2)]
        adders = [threading.Thread(target=add) for _ in range(6)]
        for thread in (*readers, *adders):
            thread.start()
        for thread in adders:
            thread.join()
        done.set()
        for thread in readers:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    expected = {key: 6 * n for key, n in counted_one_by_one(np.concatenate(pieces)).items()}
    assert counts_of(counter.census()) == expected
    assert all(seen == sorted(seen) for seen in totals)  # what was counted stays counted
    assert len(counter._idle) <= 6


def _while_adding(counter, monkeypatch, what):
    """Return what a call of ``what`` gives in the middle of a call that adds."""
    given = []
    whole = census_module._add_to

    def interrupted(*arguments):
        given.append(what())
        whole(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(census_module, "_add_to", interrupted)
        counter.add(np.arange(5, dtype=np.uint64))
    return given[0]


def test_a_census_within_a_call_that_adds_is_refused(monkeypatch):
    def both():
        for call in (counter.census, lambda: counter.add(np.ones(1, np.uint64))):
            with pytest.raises(RuntimeError, match="its call has to end first"):
                call()

    counter = pgtable.Counter()
    _while_adding(counter, monkeypatch, both)
    assert counter.census().total == 5


def test_a_fork_while_a_thread_adds_is_told_in_the_child(monkeypatch):
    def in_child() -> int:
        pid = os.fork()
        if not pid:
            try:
                counter.census()
                os._exit(1)
            except RuntimeError as error:
                os._exit(42 if "was forked" in str(error) else 2)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    counter = pgtable.Counter()
    assert _while_adding(counter, monkeypatch, in_child) == 42
    assert counter.census().total == 5


def test_a_counter_is_no_value_to_copy():
    for how in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="take its census"):
            how(pgtable.Counter())
