# SPDX-License-Identifier: GPL-2.0-only
"""Which calls take the short way in C, and which are handed on to the checks in Python."""

from __future__ import annotations

import numpy as np
import pytest
from pgtable.engines._native import ffi

import pgtable

ALL = 2**64 - 1
MOST_ENTRIES = 512 * 1024  # of more, the driver has to decide
HANDED_ON = "handed on"
TABLE = np.arange(512, dtype=np.uint64) * np.uint64(0x0400000000000067)


@pytest.fixture
def helpers(usable_isa):
    """Helpers by name, that say so when a call is handed on."""
    engine = pgtable.native(isa=usable_isa)
    for helper in engine.helpers.values():
        helper.call_checked = lambda *_, **__: HANDED_ON
        helper.count_checked = lambda *_, **__: HANDED_ON
    return engine


def same(result, expected) -> bool:
    return type(result) is type(expected) and np.array_equal(result, expected)


@pytest.mark.parametrize("entry", [0, 1, 0x867, 1 << 63, ALL])
def test_ints(helpers, entry) -> None:
    reference = pgtable.reference()
    assert same(helpers.pte_wrprotect(entry), reference.pte_wrprotect(entry))
    assert same(helpers.pte_dirty(entry), reference.pte_dirty(entry))
    assert same(helpers.pte_modify(entry, ALL), reference.pte_modify(entry, ALL))
    assert same(helpers.pte_same(entry, 1), reference.pte_same(entry, 1))


@pytest.mark.parametrize("n", [0, 1, 512, 2048, 2049, MOST_ENTRIES])
@pytest.mark.parametrize("dimensions", [1, 2])
def test_plain_arrays(helpers, n, dimensions) -> None:
    reference = pgtable.reference()
    entries = np.resize(TABLE, n).reshape((n, 1)[:dimensions])
    for ours, theirs, *argument in (
        (helpers.pte_wrprotect, reference.pte_wrprotect),
        (helpers.pte_modify, reference.pte_modify, 0x8000000000000125),
        (helpers.pud_pfn, reference.pud_pfn),
    ):
        expected = theirs(entries, *argument)
        result = ours(entries, *argument)
        assert result is not entries
        assert (result.dtype, result.shape) == (np.uint64, entries.shape)
        assert np.array_equal(result, expected)
        out = np.zeros_like(entries)
        assert ours(entries, *argument, out=out) is out
        assert np.array_equal(out, expected)
        signed = np.zeros_like(entries).view(np.int64)
        assert ours(entries.view(np.int64), *argument, out=signed) is signed
        assert np.array_equal(signed.view(np.uint64), expected)
        assert ours(out, *argument, out=out) is out
        assert np.array_equal(out, theirs(expected, *argument))
    for ours, theirs, *argument in (
        (helpers.pte_dirty, reference.pte_dirty),
        (helpers.pte_same, reference.pte_same, 0x67),
    ):
        expected = theirs(entries, *argument)
        result = ours(entries, *argument)
        assert (result.dtype, result.shape) == (bool, entries.shape)
        assert np.array_equal(result, expected)
        out = np.ones_like(expected)
        assert ours(entries, *argument, out=out) is out
        assert np.array_equal(out, expected)
        assert same(ours.count(entries, *argument), int(expected.sum()))
        assert same(ours.count(entries.view(np.int64), *argument), int(expected.sum()))


def test_a_great_many_are_still_called_the_short_way(helpers) -> None:
    entries = plain(MOST_ENTRIES)
    assert helpers.pte_mkold(entries, out=entries) is entries
    assert type(helpers.pte_young.count(entries)) is int


class Table(np.ndarray):
    """A subclass may mean anything."""


def plain(n: int = 512) -> np.ndarray:
    return np.resize(TABLE, n)


def read_only() -> np.ndarray:
    entries = plain()
    entries.flags.writeable = False
    return entries


def in_place(helper, entries: np.ndarray) -> object:
    return helper(entries, out=entries)


def overlapping(helper, first: int, second: int) -> object:
    """Call with 64 entries and an out that start so many bytes into one memory."""
    memory = plain().view(np.uint8)
    entries, out = (memory[at : at + 8 * 64].view(np.uint64) for at in (first, second))
    return helper(entries, out=out)


def where_in_out(test) -> object:
    out = np.zeros(512, bool)
    return test(plain(), out=out, where=out)


NOT_PLAIN = {
    "bool": lambda e: e.pte_mkold(True),
    "below": lambda e: e.pte_mkold(-1),
    "above": lambda e: e.pte_mkold(2**64),
    "far above": lambda e: e.pte_mkold(2**200),
    "numpy's int": lambda e: e.pte_mkold(np.uint64(5)),
    "float": lambda e: e.pte_mkold(5.0),
    "nothing": lambda e: e.pte_mkold(),
    "None": lambda e: e.pte_mkold(None),
    "bytes": lambda e: e.pte_mkold(bytes(8)),
    "no argument": lambda e: e.pte_modify(5),
    "an argument": lambda e: e.pte_mkold(5, 5),
    "two arguments": lambda e: e.pte_modify(5, 5, 5),
    "argument below": lambda e: e.pte_modify(plain(), -1),
    "argument's bool": lambda e: e.pte_access_permitted(plain(), True),
    "argument for each": lambda e: e.pte_modify(plain(), plain()),
    "by name": lambda e: e.pte_modify(5, newprot=5),
    "where": lambda e: e.pte_mkold(plain(), where=plain() > 5),
    "where None": lambda e: e.pte_mkold(plain(), out=plain(), where=None),
    "where of bytes": lambda e: e.pte_mkold(plain(), out=plain(), where=np.ones(512, np.uint8)),
    "where of steps": lambda e: e.pte_mkold(plain(), out=plain(), where=np.ones(1024, bool)[::2]),
    "where too short": lambda e: e.pte_mkold(plain(), out=plain(), where=np.ones(511, bool)),
    "where a list": lambda e: e.pte_mkold(plain(), out=plain(), where=[True] * 512),
    "where a map": lambda e: e.pte_mkold(plain(), out=plain(), where=e.pte_mkold),
    "where of two words": lambda e: e.pte_mkold(plain(), out=plain(), where=e.pte_same),
    "where a chain": lambda e: e.pte_mkold(plain(), out=plain(), where=e.chain("pte_dirty")),
    "where of another engine": lambda e: e.pte_mkold(
        plain(), out=plain(), where=pgtable.native("base", isa="baseline").pte_dirty
    ),
    "where that out overlaps": lambda e: where_in_out(e.pte_dirty),
    "threads": lambda e: e.pte_mkold(plain(), threads=1),
    "threads and out": lambda e: e.pte_mkold(plain(), out=plain(), threads=1),
    "out None": lambda e: e.pte_mkold(plain(), out=None),
    "out of an int": lambda e: e.pte_mkold(5, out=plain()),
    "signed, new": lambda e: e.pte_mkold(plain().view(np.int64)),
    "subclass": lambda e: e.pte_mkold(plain().view(Table)),
    "subclass as out": lambda e: e.pte_mkold(plain(), out=plain().view(Table)),
    "big-endian": lambda e: e.pte_mkold(plain().view(">u8")),
    "doubles": lambda e: e.pte_mkold(plain().view(np.float64)),
    "times": lambda e: e.pte_mkold(plain().view("M8[s]")),
    "halves": lambda e: e.pte_mkold(plain().view(np.uint32)),
    "doubles as out": lambda e: e.pte_mkold(plain(), out=plain().view(np.float64)),
    "bools as out": lambda e: e.pte_mkold(plain(64), out=np.zeros(64, bool)),
    "words as out": lambda e: e.pte_dirty(plain(), out=plain()),
    "bytes as out": lambda e: e.pte_dirty(plain(), out=np.zeros(512, np.uint8)),
    "test in place": lambda e: in_place(e.pte_dirty, plain()),
    "big-endian in place": lambda e: in_place(e.pte_mkold, plain().view(">u8")),
    "steps": lambda e: e.pte_mkold(plain()[::2]),
    "steps as out": lambda e: e.pte_mkold(plain(256), out=plain()[::2]),
    "steps in place": lambda e: in_place(e.pte_mkold, plain()[::2]),
    "Fortran's order": lambda e: e.pte_mkold(plain().reshape(2, 256, order="F")),
    "read-only out": lambda e: e.pte_mkold(plain(), out=read_only()),
    "read-only in place": lambda e: in_place(e.pte_mkold, read_only()),
    "shorter out": lambda e: e.pte_mkold(plain(), out=plain(511)),
    "longer out": lambda e: e.pte_mkold(plain(), out=plain(513)),
    "another shape": lambda e: e.pte_mkold(plain(), out=plain().reshape(512, 1)),
    "another shape of as many dimensions": lambda e: e.pte_mkold(
        plain().reshape(2, 256), out=plain().reshape(256, 2)
    ),
    "the same memory": lambda e: overlapping(e.pte_mkold, 0, 0),
    "a byte on": lambda e: overlapping(e.pte_mkold, 0, 1),
    "a byte back": lambda e: overlapping(e.pte_mkold, 1, 0),
    "the last byte": lambda e: overlapping(e.pte_mkold, 0, 8 * 64 - 1),
    "the first byte": lambda e: overlapping(e.pte_mkold, 8 * 64 - 1, 0),
    "large, new": lambda e: e.pte_mkold(plain(MOST_ENTRIES + 1)),
    "large, out": lambda e: e.pte_mkold(
        plain(MOST_ENTRIES + 1), out=np.zeros(MOST_ENTRIES + 1, np.uint64)
    ),
    "large, in place": lambda e: in_place(e.pte_mkold, plain(MOST_ENTRIES + 1)),
    "large, counted": lambda e: e.pte_young.count(plain(MOST_ENTRIES + 1)),
    "count of an int": lambda e: e.pte_dirty.count(5),
    "count of a map": lambda e: e.pte_mkold.count(plain()),
    "count where None": lambda e: e.pte_dirty.count(plain(), where=None),
    "count into": lambda e: e.pte_dirty.count(plain(), out=np.ones(512, bool)),
    "count of doubles": lambda e: e.pte_dirty.count(plain().view(np.float64)),
    "count with one too many": lambda e: e.pte_dirty.count(plain(), 5),
    "count with none": lambda e: e.pte_same.count(plain()),
    "count with each": lambda e: e.pte_same.count(plain(), plain()),
    "count of steps": lambda e: e.pte_dirty.count(plain()[::2]),
}


@pytest.mark.parametrize("case", NOT_PLAIN)
def test_all_others_are_handed_on(case) -> None:
    engine = pgtable.native(isa="baseline")
    for helper in engine.helpers.values():
        helper.call_checked = lambda *_, **__: HANDED_ON
        helper.count_checked = lambda *_, **__: HANDED_ON
    assert NOT_PLAIN[case](engine) is HANDED_ON


def test_neighbours_are_not_overlapping(helpers) -> None:
    both = plain(1024)
    expected = pgtable.reference().pte_mkold(both[:512])
    assert helpers.pte_mkold(both[:512], out=both[512:]) is not HANDED_ON
    assert np.array_equal(both[512:], expected)
    assert helpers.pte_mkold(both[512:], out=both[:512]) is not HANDED_ON
    assert np.array_equal(both[:512], expected)


def test_errors_of_the_checks_come_through(helpers) -> None:
    def fail(*_, **__):
        raise KeyError("mine")

    helpers.pte_mkold.call_checked = fail
    with pytest.raises(KeyError, match="mine"):
        helpers.pte_mkold(-1)


def test_a_helper_without_loops_hands_everything_on() -> None:
    helper = pgtable.native(isa="scalar").pte_young
    helper.call_checked = helper.count_checked = lambda *_, **__: HANDED_ON
    helper._bind(*helper.engine.operation(None, ffi.NULL, is_chain=False))
    assert helper(5) is helper(TABLE) is helper.count(TABLE) is HANDED_ON
    helper._bind(*helper.engine.operation(None, helper.handle, is_chain=False))
    assert helper(0x20) is True


CALLS_WHERE = {
    "helper": lambda e: e.pte_wrprotect,
    "test": lambda e: e.pte_dirty,
    "chain": lambda e: e.chain("pte_wrprotect", (e.pte_set_flags, 0x200), "pte_mkold"),
    "chain to a test": lambda e: e.chain("pte_mkclean", "pte_write"),
}


@pytest.mark.parametrize("by", ["nothing", "array", "test"])
@pytest.mark.parametrize("name", CALLS_WHERE)
@pytest.mark.parametrize("isa", [name for name, usable in pgtable.isas().items() if usable])
def test_chains_and_where_take_the_short_way(isa, name, by) -> None:
    engine, oracle = pgtable.native(isa=isa), pgtable.reference()
    operation, expected_of = CALLS_WHERE[name](engine), CALLS_WHERE[name](oracle)
    operation.call_checked = operation.count_checked = lambda *_, **__: HANDED_ON
    for n in (0, 1, 511, 512, 3000):
        entries = plain(n)
        mask = (entries >> np.uint64(3)) % np.uint64(2) == 0
        where = {"nothing": {}, "array": {"where": mask}, "test": {"where": engine.pte_present}}[by]
        theirs = {"where": oracle.pte_present} if by == "test" else where
        dtype = bool if operation.kind == "test" else np.uint64
        out, expected = np.ones(n, dtype), np.ones(n, dtype)
        expected_of(entries, out=expected, **theirs)
        assert operation(entries, out=out, **where) is out
        assert np.array_equal(out, expected)
        if operation.kind == "test":
            count = operation.count(entries, **where)
            assert type(count) is int
            assert count == expected_of.count(entries, **theirs)
        else:
            again = entries.copy()
            expected_of(again, out=again, **theirs)
            assert operation(entries, out=entries, **where) is entries
            assert np.array_equal(entries, again)


def test_a_chain_follows_the_instruction_set() -> None:
    chain = pgtable.chain(pgtable.pte_wrprotect, pgtable.pte_mkdirty)  # which has no form
    expected = pgtable.reference().chain("pte_wrprotect", "pte_mkdirty")(plain())
    for name in [name for name, usable in pgtable.isas().items() if usable]:
        with pgtable.isa(name):
            bound = ffi.cast("struct pgtable_helper *", chain.steps[-1][0].handle)
            assert chain.c_steps.array[1].helper == bound
            assert np.array_equal(chain(plain(), out=plain()), expected)


def test_a_chain_with_an_argument_for_each_is_handed_on() -> None:
    engine = pgtable.native()
    chain = engine.chain("pte_mkold", (engine.pte_set_flags, plain()))
    chain.call_checked = lambda *_, **__: HANDED_ON
    assert chain(plain(), out=plain()) is HANDED_ON
