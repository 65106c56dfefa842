# SPDX-License-Identifier: GPL-2.0-only
"""A chain is its helpers, one after the other - for any chain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pgtable
from pgtable.engines import loop_engine
from pgtable.engines.switches import COMBINATIONS

ALL = 2**64 - 1
WORD = st.integers(0, ALL) | st.sampled_from([0, 1, ALL, 0x67, 1 << 37, 0x100])
USABLE = [name for name, usable in pgtable.isas().items() if usable]


def one_after_the_other(steps, entries, where, out):
    """Run the steps one by one on the whole array; what a chain must equal."""
    test = steps[-1][0].kind == "test"
    result = entries
    for helper, *argument in steps:
        result = helper(result, *argument)
    if isinstance(where, pgtable.Helper):
        where = where(entries)
    if where is not None:
        result = np.where(where, result, out if out is not None else False if test else entries)
    return result


@st.composite
def chained(draw):
    """Draw an engine's steps, entries, where and whether there is an out."""
    switches = draw(st.sampled_from(COMBINATIONS))
    isa = draw(st.sampled_from(USABLE))
    reference = pgtable.reference(*switches)
    native = pgtable.native(*switches, isa=isa)
    n = draw(st.sampled_from([0, 1, 3, 17, 100, 1023, 1024, 1025, 2500]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    entries = rng.integers(0, ALL, n, np.uint64, endpoint=True)
    entries[:: draw(st.integers(1, 5))] &= np.uint64(0xFFF)
    names = list(reference.helpers)
    maps = [name for name in names if reference.helpers[name].kind == "map"]
    chosen = draw(st.lists(st.sampled_from(maps), max_size=5))
    chosen.append(draw(st.sampled_from(names)))
    arguments = []
    for name in chosen:
        if reference.helpers[name].argument is None:
            arguments.append(())
        elif draw(st.booleans()):
            arguments.append((draw(WORD),))
        else:
            arguments.append((rng.permutation(entries),))
    where = draw(st.sampled_from(["none", "array", "test"]))
    tests = [
        name
        for name in names
        if reference.helpers[name].kind == "test" and not reference.helpers[name].argument
    ]
    where = {
        "none": None,
        "array": rng.random(n) < 0.5,
        "test": draw(st.sampled_from(tests)),
    }[where]
    out = draw(st.sampled_from(["new", "own", "in place"]))
    return native, reference, entries, list(zip(chosen, arguments, strict=True)), where, out


def steps_of(engine, chosen):
    return [(engine.helpers[name], *argument) for name, argument in chosen]


def as_chain(steps):
    return pgtable.chain(*(step if len(step) == 2 else step[0] for step in steps))


@pytest.mark.parametrize("large_from", [loop_engine.LARGE_FROM, 1])
def test_any_chain(large_from, monkeypatch) -> None:
    monkeypatch.setattr(loop_engine, "LARGE_FROM", large_from)
    any_chain()


@settings(max_examples=250)
@given(chained())
def any_chain(drawn) -> None:
    native, reference, entries, chosen, where, out_kind = drawn
    test = native.helpers[chosen[-1][0]].kind == "test"
    results = []
    for engine in (native, reference):
        steps = steps_of(engine, chosen)
        chain = as_chain(steps)
        condition = engine.helpers[where] if isinstance(where, str) else where
        mine = entries.copy()
        out = None
        if out_kind == "in place" and not test:
            out = mine
        elif out_kind != "new":
            out = np.arange(entries.size, dtype=np.uint64).view() if not test else None
            out = out if not test else np.arange(entries.size) % 3 == 0
        expected = one_after_the_other(
            steps, entries, condition, None if out is None else out.copy()
        )
        result = chain(mine, out=out, where=condition)
        assert result.dtype == (bool if test else np.uint64)
        assert out is None or result is out
        assert np.array_equal(result, expected)
        if out is not mine:
            assert np.array_equal(mine, entries)
        if test:
            # of the selected alone, whatever out held elsewhere
            selected = one_after_the_other(steps, entries, condition, None)
            assert chain.count(mine, where=condition) == np.count_nonzero(selected)
        results.append(result)
        if entries.size and not any(isinstance(a, np.ndarray) for _, *rest in steps for a in rest):
            one = int(entries[-1])
            assert chain(one) == one_after_the_other(steps, one, None, None)
    assert np.array_equal(*results)


@pytest.fixture(params=[pgtable.native, pgtable.reference])
def engine(request):
    return request.param()


ENTRIES = np.array([0x867, 0x25, 0x8000000012345067, 0], np.uint64)


def test_a_chain_is_called_like_a_helper(engine) -> None:
    fork = pgtable.chain(engine.pte_wrprotect, engine.pte_mkold)
    assert (fork.kind, fork.name, fork.argument) == ("map", "pte_wrprotect,pte_mkold", None)
    assert fork.engine is engine
    assert fork(0x867) == 0x0400000000000805
    assert fork(ENTRIES).tolist() == [0x0400000000000805, 0x5, 0x8400000012345005, 0]
    assert "pte_wrprotect,pte_mkold" in repr(fork)
    young = pgtable.chain(engine.pte_mkold, engine.pte_young)
    assert young.kind == "test"
    assert young(0x867) is False
    assert young.count(ENTRIES) == 0
    assert pgtable.chain(engine.pte_young).count(ENTRIES) == 3


def test_the_engine_makes_chains_of_names_too(engine) -> None:
    by_name = engine.chain("pte_mkold", (engine.pte_set_flags, 8), "pte_dirty")
    assert by_name.name == "pte_mkold,pte_set_flags,pte_dirty"
    assert by_name.count(ENTRIES) == 2


def test_arguments_are_part_of_the_chain(engine) -> None:
    chain = pgtable.chain((engine.pte_modify, 0x8000000000000025), engine.pte_mkyoung)
    assert chain(0x12345067) == 0x8000000012345065
    masks = np.array([0, 8, 16, 24], np.uint64)
    assert (
        pgtable.chain((engine.pte_set_flags, masks))(ENTRIES).tolist() == (ENTRIES | masks).tolist()
    )
    assert pgtable.chain((engine.pte_access_permitted, True)).count(ENTRIES) == 2


def test_a_chain_may_contain_a_helper_twice(engine) -> None:
    twice = pgtable.chain((engine.pte_set_flags, 8), (engine.pte_set_flags, 16))
    assert twice(0) == 24


BAD_CHAINS = {
    "no helper": (lambda e: (), ValueError, "at least one helper"),
    "test in between": (lambda e: (e.pte_dirty, e.pte_mkold), ValueError, "pte_dirty is a test"),
    "no argument": (lambda e: (e.pte_mkold, e.pte_modify), TypeError, "newprot"),
    "argument too many": (lambda e: ((e.pte_mkold, 5),), TypeError, "takes the entry alone"),
    "array too many": (lambda e: ((e.pte_mkold, ENTRIES),), TypeError, "takes the entry alone"),
    "bad argument": (lambda e: ((e.pte_modify, 1.5),), TypeError, "newprot is a float"),
    "big argument": (lambda e: ((e.pte_modify, 2**64),), OverflowError, "newprot"),
    "argument's type": (lambda e: ((e.pte_modify, ENTRIES.astype("f8")),), TypeError, "float64"),
    "a name": (lambda e: ("pte_mkold",), TypeError, "not 'pte_mkold'"),
    "a tuple of three": (lambda e: ((e.pte_modify, 1, 2),), TypeError, "pairs"),
    "a function": (lambda e: (abs,), TypeError, "pairs"),
    "a chain": (lambda e: (pgtable.chain(e.pte_mkold),), TypeError, "pairs"),
    "two engines": (
        lambda e: (e.pte_mkold, pgtable.native("base").pte_mkold),
        ValueError,
        "pte_mkold is of native.rules='base'",
    ),
}


@pytest.mark.parametrize("case", BAD_CHAINS)
def test_what_is_no_chain(engine, case) -> None:
    make, error, message = BAD_CHAINS[case]
    with pytest.raises(error, match=message):
        pgtable.chain(*make(engine))


def test_bad_calls_of_chains(engine) -> None:
    chain = pgtable.chain(engine.pte_mkold, engine.pte_mkclean)
    with pytest.raises(TypeError, match="a chain takes entries alone"):
        chain(ENTRIES, 5)
    with pytest.raises(TypeError, match="only tests can be counted"):
        chain.count(ENTRIES)
    with_array = pgtable.chain((engine.pte_set_flags, ENTRIES))
    with pytest.raises(TypeError, match="mask is an array, but there is one entry only"):
        with_array(5)
    with pytest.raises(ValueError, match="mask has shape"):
        with_array(ENTRIES[:3])


def test_a_chain_of_fortran_ordered_entries(engine) -> None:
    square = np.arange(9, dtype=np.uint64).reshape(3, 3)
    masks = square * np.uint64(16)
    chain = pgtable.chain(engine.pte_mkold, (engine.pte_set_flags, np.asfortranarray(masks)))
    expected = (square & ~np.uint64(0x20)) | masks
    assert np.array_equal(chain(np.asfortranarray(square)), expected)
    same = pgtable.chain(engine.pte_mkold, (engine.pte_same, np.asfortranarray(square)))
    assert same.count(np.asfortranarray(square)) == 9
    # in the other order it would be another entry's argument
    with pytest.raises(ValueError, match="mask is laid out in another order"):
        pgtable.chain((engine.pte_set_flags, masks))(np.asfortranarray(square))
