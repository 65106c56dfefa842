# SPDX-License-Identifier: GPL-2.0-only
"""Runs of neighbours and sets of address ranges, against sets of numbers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgtable.images.regions import SIZES, Intervals, in_kernel_half, runs

U64 = np.uint64
PAIRS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), max_size=30)


def columns(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    array = np.array(pairs, U64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def members(pairs: list[tuple[int, int]]) -> set[int]:
    return {byte for start, size in pairs for byte in range(start, start + size)}


def test_sizes() -> None:
    assert SIZES.tolist()[1:] == [1 << 12, 1 << 21, 1 << 30, 1 << 39, 1 << 48]


def test_halves() -> None:
    va = np.array([0, (1 << 47) - 1, 0xFFFF_8000_0000_0000, 2**64 - 1], U64)
    assert in_kernel_half(va).tolist() == [False, False, True, True]


@settings(deadline=None)
@given(PAIRS.filter(lambda pairs: all(size for _, size in pairs)))
def test_intervals_hold_what_they_were_given(pairs: list[tuple[int, int]]) -> None:
    intervals = Intervals(*columns(pairs))
    merged = list(zip(intervals.start.tolist(), intervals.end.tolist(), strict=True))
    assert members([(start, end - start) for start, end in merged]) == members(pairs)
    assert all(end < following for (_, end), (following, _) in itertools.pairwise(merged))
    assert intervals.total == len(members(pairs))
    assert len(intervals) == len(merged)


@pytest.mark.parametrize("few", [0, 64])
@settings(deadline=None)
@given(
    pairs=PAIRS.filter(lambda pairs: all(size for _, size in pairs)),
    asked=st.lists(st.tuples(st.integers(0, 80), st.integers(1, 20)), min_size=1, max_size=30),
    unit=st.sampled_from([1, 4096, 1 << 30]),
)
def test_touch_and_contain(
    few: int, pairs: list[tuple[int, int]], asked: list[tuple[int, int]], unit: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pgtable.images.regions._FEW", few if pairs else 64)
        patch.setattr("pgtable.images.regions._MAP_BITS", 5)
        start, size = (column * U64(unit) for column in columns(pairs))
        intervals = Intervals(start, size)
        at, length = (column * U64(unit) for column in columns(asked))
        ranges = [set(range(first, first + n)) for first, n in asked]
        inside = members(pairs)
        assert intervals.touch(at, length).tolist() == [bool(r & inside) for r in ranges]
        assert intervals.contain(at, length).tolist() == [r <= inside for r in ranges]


def test_an_empty_set_touches_nothing() -> None:
    nothing = Intervals(*columns([]))
    asked = columns([(0, 5), (7, 1)])
    assert nothing.touch(*asked).tolist() == nothing.contain(*asked).tolist() == [False, False]
    assert (len(nothing), nothing.total) == (0, 0)


def test_runs_join_what_follows() -> None:
    found = runs(*columns([(0, 4), (4, 4), (12, 4), (16, 1), (17, 1)]))
    assert list(found.rows()) == [(0, 8, 0, 2), (12, 18, 2, 3)]


def test_runs_of_different_groups_are_apart() -> None:
    found = runs(*columns([(0, 4), (4, 4), (8, 4)]), np.array([1, 1, 2]))
    assert list(found.rows()) == [(0, 8, 0, 2), (8, 12, 2, 1)]


def test_a_run_may_end_where_addresses_end() -> None:
    va = np.array([2**64 - 8192, 2**64 - 4096], U64)
    assert list(runs(va, np.full(2, 4096, U64)).rows()) == [(2**64 - 8192, 0, 0, 2)]


def test_no_runs() -> None:
    assert list(runs(*columns([])).rows()) == []
