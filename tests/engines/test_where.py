# SPDX-License-Identifier: GPL-2.0-only
"""where: what is selected, and what happens to the rest."""

from __future__ import annotations

import array

import numpy as np
import pytest

import pgtable

OLD = 0xDEAD


@pytest.fixture(params=[pgtable.native, pgtable.reference])
def engine(request):
    return request.param()


@pytest.fixture
def entries() -> np.ndarray:
    return np.array([0x867, 0x0, 0x63, 0x25, 0x867], np.uint64)


SELECT = [True, True, False, True, False]
#: wrprotect of the selected entries
DONE = [0x0400000000000825, 0, OLD, 0x25, OLD]


def test_out_keeps_its_own_elsewhere(engine, entries) -> None:
    out = np.full(5, OLD, np.uint64)
    before = entries.copy()
    assert engine.pte_wrprotect(entries, out=out, where=np.array(SELECT)) is out
    assert out.tolist() == DONE
    assert np.array_equal(entries, before)


def test_in_place_the_entry_stays_elsewhere(engine, entries) -> None:
    engine.pte_wrprotect(entries, out=entries, where=np.array(SELECT))
    assert entries.tolist() == [0x0400000000000825, 0, 0x63, 0x25, 0x867]


def test_without_out_the_entry_comes_through_elsewhere(engine, entries) -> None:
    before = entries.copy()
    result = engine.pte_wrprotect(entries, where=np.array(SELECT))
    assert result.tolist() == [0x0400000000000825, 0, 0x63, 0x25, 0x867]
    assert np.array_equal(entries, before)


def test_numbers_of_the_selected_alone(engine, entries) -> None:
    assert engine.pte_flags(entries | np.uint64(0x5000), where=np.array(SELECT)).tolist() == [
        0x867, 0, 0x5063, 0x25, 0x5867,
    ]  # fmt: skip


def test_a_test_is_false_elsewhere_or_out_keeps_its_own(engine, entries) -> None:
    where = np.array(SELECT)
    assert engine.pte_dirty(entries, where=where).tolist() == [True, False, False, False, False]
    for old in (False, True):
        out = np.full(5, old)
        assert engine.pte_dirty(entries, out=out, where=where) is out
        assert out.tolist() == [True, False, old, False, old]


def test_counting_the_selected(engine, entries) -> None:
    assert engine.pte_dirty.count(entries) == 3
    assert engine.pte_dirty.count(entries, where=np.array(SELECT)) == 1
    assert engine.pte_dirty.count(entries, where=engine.pte_soft_dirty) == 2
    assert engine.pte_same.count(entries, 0x867, where=np.array(SELECT)) == 1


def test_a_test_helper_selects(engine, entries) -> None:
    assert engine.pte_mkclean(entries, where=engine.pte_soft_dirty).tolist() == [
        0x827, 0, 0x63, 0x25, 0x827,
    ]  # fmt: skip
    assert engine.pte_young(entries, where=engine.pte_write).tolist() == [
        True,
        False,
        True,
        False,
        True,
    ]


def test_the_condition_is_asked_of_the_entry_that_came_in(engine, entries) -> None:
    """Not of what the chain has made of it."""
    chain = pgtable.chain(engine.pte_mkclean, (engine.pte_set_flags, 8))
    assert chain(entries, where=engine.pte_dirty).tolist() == [0x82F, 0, 0x2B, 0x25, 0x82F]
    assert chain(entries, out=entries, where=engine.pte_dirty).tolist() == [
        0x82F, 0, 0x2B, 0x25, 0x82F,
    ]  # fmt: skip


def test_with_arguments_for_each_entry(engine, entries) -> None:
    masks = np.array([8, 8, 8, 16, 16], np.uint64)
    assert engine.pte_set_flags(entries, masks, where=np.array(SELECT)).tolist() == [
        0x86F, 8, 0x63, 0x35, 0x867,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "raw",
    [
        bytes([1, 1, 0, 1, 0]),
        bytearray([255, 2, 0, 128, 0]),
        memoryview(bytes([1, 1, 0, 1, 0])),
        array.array("b", [-1, 1, 0, 3, 0]),
        memoryview(np.array(SELECT)),
    ],
)
def test_raw_bytes_are_bools(engine, entries, raw) -> None:
    where = np.array(SELECT)
    assert np.array_equal(
        engine.pte_wrprotect(entries, where=raw), engine.pte_wrprotect(entries, where=where)
    )
    assert engine.pte_none(entries, where=raw).view(np.uint8).tolist() == [0, 1, 0, 0, 0]
    assert engine.pte_dirty.count(entries, where=raw) == 1
    out = np.full(5, True)
    engine.pte_none(entries, out=out, where=raw)
    assert out.view(np.uint8).tolist() == [0, 1, 1, 0, 1]


def test_nothing_selected_and_everything(engine, entries) -> None:
    none, everything = np.zeros(5, bool), np.ones(5, bool)
    assert engine.pte_wrprotect(entries, where=none).tolist() == entries.tolist()
    assert np.array_equal(
        engine.pte_wrprotect(entries, where=everything), engine.pte_wrprotect(entries)
    )
    assert engine.pte_dirty.count(entries, where=none) == 0
    assert engine.pte_dirty.count(entries, where=everything) == 3


BAD = {
    "another size": (lambda e: np.ones(4, bool), ValueError, "where has shape"),
    "another shape": (lambda e: np.ones((5, 1), bool), ValueError, "where has shape"),
    "one bool": (lambda e: True, TypeError, "where is a bool"),
    "raw of another size": (lambda e: bytes(4), ValueError, "where has shape"),
    "numbers": (lambda e: np.ones(5, np.uint8), TypeError, "where has dtype uint8"),
    "words": (lambda e: array.array("Q", [1] * 5), TypeError, "where has elements of format"),
    "a list": (lambda e: SELECT, TypeError, "where is a list"),
    "not contiguous": (lambda e: np.ones(10, bool)[::2], ValueError, "where is not contiguous"),
    "a map": (lambda e: e.pte_mkold, TypeError, "where is pte_mkold"),
    "a test with an argument": (lambda e: e.pte_same, TypeError, "where is pte_same"),
    "a chain": (lambda e: pgtable.chain(e.pte_mkold, e.pte_dirty), TypeError, "where is a Chain"),
    "another engine's": (
        lambda e: pgtable.reference("base").pte_dirty,
        ValueError,
        "where is pte_dirty of another engine, reference.rules='base'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_where(engine, entries, case) -> None:
    make, error, message = BAD[case]
    out = np.full(5, OLD, np.uint64)
    before = entries.copy()
    for call in (
        lambda where: engine.pte_wrprotect(entries, out=out, where=where),
        lambda where: engine.pte_wrprotect(entries, out=entries, where=where),
        lambda where: engine.pte_dirty.count(entries, where=where),
        lambda where: pgtable.chain(engine.pte_mkold)(entries, out=out, where=where),
    ):
        with pytest.raises(error, match=message):
            call(make(engine))
    assert out.tolist() == [OLD] * 5
    assert np.array_equal(entries, before)
