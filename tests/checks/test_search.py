# SPDX-License-Identifier: GPL-2.0-only
"""Searching for the smallest input that fails."""

import numpy as np

from pgtable.checks import search
from pgtable.checks.inputs import Inputs


def array(*values):
    return np.array(values, np.uint64)


def test_fewest_bits_first_then_the_lowest():
    assert search.smallest(array(7, 1 << 63, 24, 16), None) == (16, None)
    assert search.smallest(array(1, 1, 2), array(6, 1, 0)) == (2, 0)
    assert search.smallest(array(2, 1, 1), array(1, 4, 2)) == (1, 2)


def test_bits_set():
    assert search.bits_set(array(0, 1, 2**64 - 1, 0x8001 << 40)).tolist() == [0, 1, 64, 2]
    assert search.bits_set(array(0, 255, 3, 1)[1:3]).tolist() == [8, 2]


def test_counts_over_all_blocks(monkeypatch):
    monkeypatch.setattr(search, "BLOCK", 10)
    entries = np.arange(95, dtype=np.uint64)
    result = search.search(lambda v, _: v % np.uint64(10) == 7, Inputs(entries, None))
    assert (result.tried, result.failures) == (95, 9)
    assert result.smallest == (17, None)


def test_nothing_fails():
    result = search.search(lambda v, _: v < 0, Inputs(np.arange(5, dtype=np.uint64), None))
    assert result == (5, 0, None)


def test_shrinks_both_words():
    def fails(v, argument):
        return ((v & np.uint64(4)) != 0) & ((argument & np.uint64(9)) == 9)

    inputs = Inputs(array(2**64 - 1), array(2**64 - 1))
    assert search.search(fails, inputs).smallest == (4, 9)


def test_shrinks_past_pairs_that_only_fail_together():
    def fails(v, _):
        return (v & np.uint64(3) == 3) | (v & np.uint64(3) == 0)

    assert search.search(fails, Inputs(array(0xFF), None)).smallest == (0, None)
