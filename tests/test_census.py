# SPDX-License-Identifier: GPL-2.0-only
"""One histogram: every count from it is the count that the helper itself gives."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import numpy as np
import pytest

import pgtable
from pgtable import bits
from pgtable.engines.switches import COMBINATIONS

DATA = Path(__file__).parent / "data"
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


@pytest.mark.parametrize("isa", [name for name, usable in pgtable.isas().items() if usable])
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
    kept = np.uint64(0xFFF | 0x7F << 57)
    frame, ignored = np.uint64(0x000F_FFFF_FFFF_F000), np.uint64(0x01F0_0000_0000_0000)
    stand_ins = entries & kept
    stand_ins |= np.where(entries & frame, np.uint64(1 << 30), np.uint64(0))
    stand_ins |= np.where(entries & ignored, np.uint64(1 << 52), np.uint64(0))
    expected, counts = np.unique(stand_ins, return_counts=True)
    assert np.array_equal(census.entries, expected)
    assert np.array_equal(census.counts, counts)


@pytest.mark.parametrize("length", [0, 1, 3, 4, 5, 7, 1023, 1024, 1025, 2049])
def test_lengths_at_any_alignment(guarded, length):
    rng = np.random.default_rng(length)
    for at, shift in (("end", 0), ("start", 0), ("start", 1), ("end", 3)):
        memory = guarded(length * 8 + 8).place(np.uint8, length * 8, at, shift)
        memory[:] = rng.integers(0, 256, length * 8, np.uint8)
        census = pgtable.census(memory.data)
        assert census.total == length
        again = pgtable.census(np.frombuffer(memory.tobytes(), "<u8"))
        assert census.as_dict() == again.as_dict()


@pytest.mark.parametrize("threads", [0, 2, 3, 7])
def test_threads_change_nothing(threads):
    entries = np.resize(level1_tables("k612-128"), 1 << 20)
    assert pgtable.census(entries, threads=threads).as_dict() == pgtable.census(entries).as_dict()


def test_a_counter_adds_up_whatever_the_pieces_and_threads():
    entries = np.resize(level1_tables("k61-256"), 600_001)
    counter = pgtable.Counter()
    for start, stop, threads in ((0, 1, 1), (1, 300_000, 2), (300_000, 300_000, 1)):
        counter.add(entries[start:stop], threads=threads)
    counter.add(entries[300_000:], threads=1)
    assert counter.census().as_dict() == pgtable.census(entries).as_dict()


def test_bins_of_32_bits_do_not_overflow():
    """Virtual memory of zeros makes a count that no 32-bit bin can hold."""
    zeros = np.zeros(1 << 29, np.uint64)  # pages that are only read are never made
    counter = pgtable.Counter()
    for _ in range(8):
        counter.add(zeros)
    counter.add(np.array([0x67], np.uint64))
    census = counter.census()
    assert census.total == (1 << 32) + 1
    assert census.counts.tolist() == [1 << 32, 1]


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
