# SPDX-License-Identifier: GPL-2.0-only
"""Bad input: the same clear error from every engine, and nothing written."""

from __future__ import annotations

import array
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

import pgtable

N = 8


class Memory(NamedTuple):
    """What a call may touch; compared byte by byte before and after."""

    entries: np.ndarray
    out: np.ndarray
    bools: np.ndarray
    raw: bytearray


def fresh() -> Memory:
    return Memory(
        np.arange(N, dtype=np.uint64) | np.uint64(0x8000000000000042),
        np.full(3 * N, 0xDEAD, np.uint64),
        np.tile([True, False], N),
        bytearray(range(8 * N + 8)),
    )


def at(array: np.ndarray, nbytes: int) -> np.ndarray:
    """Return N entries that start so many bytes into an array."""
    return np.frombuffer(array, np.uint8)[nbytes : nbytes + 8 * N].view(np.uint64)


def in_place(helper: Callable, entries: np.ndarray) -> np.ndarray:
    return helper(entries, out=entries)


Call = Callable[..., object]

BAD: dict[str, tuple[Call, type[Exception], str]] = {
    # one entry
    "below 0": (lambda e, m: e.pte_mkold(-1), OverflowError, "entry is -0x1"),
    "above 2**64-1": (
        lambda e, m: e.pte_mkold(2**64),
        OverflowError,
        "entry is 0x10000000000000000",
    ),
    "numpy below 0": (lambda e, m: e.pte_mkold(np.int64(-5)), OverflowError, "entry is -0x5"),
    "a bool": (lambda e, m: e.pte_mkold(True), TypeError, "entry is a bool"),
    "numpy's bool": (lambda e, m: e.pte_mkold(np.True_), TypeError, "entry is a bool"),
    "a float": (lambda e, m: e.pte_mkold(1.0), TypeError, "entry is a float"),
    "numpy's float": (lambda e, m: e.pte_mkold(np.float64(1)), TypeError, "entry is a float64"),
    "a complex": (lambda e, m: e.pte_mkold(1j), TypeError, "entry is a complex"),
    "a string": (lambda e, m: e.pte_mkold("0x867"), TypeError, "entry is a str"),
    "None": (lambda e, m: e.pte_mkold(None), TypeError, "entry is a NoneType"),
    "out of an int": (
        lambda e, m: e.pte_mkold(5, out=m.out),
        TypeError,
        "out and where need an array",
    ),
    "where of an int": (
        lambda e, m: e.pte_mkold(5, where=m.bools),
        TypeError,
        "out and where need an array",
    ),
    # entries
    "a list": (lambda e, m: e.pte_mkold([1, 2]), TypeError, "entries is a list"),
    "a tuple": (lambda e, m: e.pte_mkold((1, 2)), TypeError, "entries is a tuple"),
    "an object": (lambda e, m: e.pte_mkold(object()), TypeError, "entries is a object"),
    "count of an int": (lambda e, m: e.pte_dirty.count(5), TypeError, "entries is a int"),
    "length": (lambda e, m: e.pte_mkold(bytes(15)), ValueError, "entries is 15 bytes long"),
    "length, in place": (
        lambda e, m: e.pte_mkold(memoryview(m.raw)[:-1], out=memoryview(m.raw)[:-1]),
        ValueError,
        "entries is 71 bytes long",
    ),
    "a byte": (lambda e, m: e.pte_dirty.count(b"\1"), ValueError, "entries is 1 bytes long"),
    **{
        f"dtype {dtype}": (
            lambda e, m, dtype=dtype: e.pte_mkold(np.zeros(4, dtype)),
            TypeError,
            f"entries has dtype {np.dtype(dtype)}",
        )
        for dtype in ("uint32", "int32", "uint8", "bool", "float64", "complex64", "object", "S8")
    },
    "big-endian": (
        lambda e, m: e.pte_mkold(np.zeros(4, ">u8")),
        TypeError,
        "entries is big-endian",
    ),
    "big-endian, in place": (
        lambda e, m: in_place(e.pte_mkold, m.entries.view(">u8")),
        TypeError,
        "entries is big-endian",
    ),
    "big-endian, signed": (lambda e, m: e.pte_mkold(np.zeros(4, ">i8")), TypeError, "big-endian"),
    "big-endian view": (
        lambda e, m: e.pte_mkold(memoryview(np.zeros(4, ">u8"))),
        TypeError,
        "entries has elements of format '>Q'",
    ),
    "array of doubles": (
        lambda e, m: e.pte_mkold(array.array("d", [1.0])),
        TypeError,
        "entries has elements of format 'd'",
    ),
    "array of ints": (
        lambda e, m: e.pte_mkold(array.array("I", [1, 2])),
        TypeError,
        "entries has elements of format 'I'",
    ),
    "every other": (
        lambda e, m: e.pte_mkold(m.entries[::2]),
        ValueError,
        "entries is not contiguous",
    ),
    "backwards": (
        lambda e, m: e.pte_mkold(m.entries[::-1]),
        ValueError,
        "entries is not contiguous",
    ),
    "every other, in place": (
        lambda e, m: in_place(e.pte_mkold, m.entries[::2]),
        ValueError,
        "entries is not contiguous",
    ),
    "columns": (
        lambda e, m: e.pte_mkold(m.entries.reshape(2, 4)[:, :2]),
        ValueError,
        "entries is not contiguous",
    ),
    "swapped axes": (
        lambda e, m: e.pte_mkold(m.entries.reshape(2, 2, 2).transpose(1, 0, 2)),
        ValueError,
        "entries is not contiguous",
    ),
    "every other of a view": (
        lambda e, m: e.pte_mkold(memoryview(m.entries)[::2]),
        ValueError,
        "entries is not contiguous",
    ),
    # out
    "out's length": (lambda e, m: e.pte_mkold(m.entries, out=m.out), ValueError, "out has shape"),
    "out's shape": (
        lambda e, m: e.pte_mkold(m.entries, out=m.out[:N].reshape(2, 4)),
        ValueError,
        "out has shape",
    ),
    "raw out's length": (
        lambda e, m: e.pte_mkold(m.entries, out=memoryview(m.raw)),
        ValueError,
        "out has shape",
    ),
    "raw out, no entries": (
        lambda e, m: e.pte_mkold(m.entries, out=memoryview(m.raw)[1:]),
        ValueError,
        "out is 71 bytes long",
    ),
    "out of bools for entries": (
        lambda e, m: e.pte_mkold(m.entries, out=m.bools[:N]),
        TypeError,
        "out has dtype bool",
    ),
    "out of entries for bools": (
        lambda e, m: e.pte_dirty(m.entries, out=m.out[:N]),
        TypeError,
        "out has dtype uint64",
    ),
    "out of bytes for bools": (
        lambda e, m: e.pte_dirty(m.entries, out=m.bools[:N].view(np.uint8)),
        TypeError,
        "out has dtype uint8",
    ),
    "out of floats": (
        lambda e, m: e.pte_mkold(m.entries, out=m.out[:N].view(np.float64)),
        TypeError,
        "out has dtype float64",
    ),
    "out big-endian": (
        lambda e, m: e.pte_mkold(m.entries, out=m.out[:N].view(">u8")),
        TypeError,
        "out is big-endian",
    ),
    "out is a list": (lambda e, m: e.pte_mkold(m.entries, out=[0] * N), TypeError, "out is a list"),
    "out every other": (
        lambda e, m: e.pte_mkold(m.entries, out=m.out[::2]),
        ValueError,
        "out is not contiguous",
    ),
    "out in another order": (
        lambda e, m: e.pte_mkold(m.entries.reshape(2, 4), out=m.out[:N].reshape(2, 4, order="F")),
        ValueError,
        "out is laid out in another order",
    ),
    "out in C order for Fortran's": (
        lambda e, m: e.pte_mkold(m.entries.reshape(2, 4, order="F"), out=m.out[:N].reshape(2, 4)),
        ValueError,
        "out is laid out in another order",
    ),
    # overlap
    **{
        f"out {nbytes:+} bytes off": (
            lambda e, m, nbytes=nbytes: e.pte_mkold(at(m.out, 16), out=at(m.out, 16 + nbytes)),
            ValueError,
            "out overlaps entries",
        )
        for nbytes in (-16, -8, -1, 1, 8, 8 * N - 8)
    },
    "bools over entries": (
        lambda e, m: e.pte_dirty(m.entries, out=m.entries.view(np.bool_)[:N]),
        ValueError,
        "out overlaps entries",
    ),
    "bools at the entries' end": (
        lambda e, m: e.pte_dirty(m.entries, out=m.entries.view(np.bool_)[-N:]),
        ValueError,
        "out overlaps entries",
    ),
    "out over where": (
        lambda e, m: e.pte_mkold(m.entries, out=m.out[:N], where=m.out.view(np.bool_)[N : 2 * N]),
        ValueError,
        "out overlaps where",
    ),
    "in place over where": (
        lambda e, m: e.pte_mkold(m.entries, out=m.entries, where=m.entries.view(np.bool_)[:N]),
        ValueError,
        "out overlaps where",
    ),
    "bools are where": (
        lambda e, m: e.pte_dirty(m.entries, out=m.bools[:N], where=m.bools[:N]),
        ValueError,
        "out overlaps where",
    ),
    "out overlaps the argument": (
        lambda e, m: e.pte_modify(m.entries, m.out[:N], out=m.out[1 : N + 1]),
        ValueError,
        "out overlaps argument",
    ),
    "out is a chain's argument": (
        lambda e, m: pgtable.chain((e.pte_set_flags, m.out[:N]), e.pte_mkold)(
            m.entries, out=m.out[:N]
        ),
        ValueError,
        "out overlaps argument",
    ),
    "out is what a chain compares with": (
        lambda e, m: pgtable.chain((e.pte_same, m.out[:N]))(
            m.entries, out=m.out.view(np.bool_)[:N]
        ),
        ValueError,
        "out overlaps argument",
    ),
    # the second argument
    "none given": (lambda e, m: e.pte_modify(m.entries, out=m.out[:N]), TypeError, "newprot"),
    "none given to count": (lambda e, m: e.pte_same.count(m.entries), TypeError, "other"),
    "one too many": (
        lambda e, m: e.pte_mkold(m.entries, 5, out=m.entries),
        TypeError,
        r"pte_mkold\(\) takes the entry alone",
    ),
    "argument below 0": (
        lambda e, m: e.pte_modify(m.entries, -1, out=m.entries),
        OverflowError,
        "newprot is -0x1",
    ),
    "argument above": (
        lambda e, m: e.pte_set_flags(m.entries, 2**64, out=m.entries),
        OverflowError,
        "mask is 0x1",
    ),
    "argument's bool": (
        lambda e, m: e.pte_set_flags(m.entries, True, out=m.entries),
        TypeError,
        "mask is a bool",
    ),
    "argument's float": (
        lambda e, m: e.pte_modify(m.entries, 0.5, out=m.entries),
        TypeError,
        "newprot is a float",
    ),
    "argument's None": (
        lambda e, m: e.pte_modify(m.entries, None, out=m.entries),
        TypeError,
        "newprot is a NoneType",
    ),
    "argument's list": (
        lambda e, m: e.pte_modify(m.entries, [1] * N, out=m.entries),
        TypeError,
        "newprot is a list",
    ),
    "argument's length": (
        lambda e, m: e.pte_modify(m.entries, m.out, out=m.entries),
        ValueError,
        "newprot has shape",
    ),
    "argument's shape": (
        lambda e, m: e.pte_modify(m.entries, m.out[:N].reshape(4, 2), out=m.entries),
        ValueError,
        "newprot has shape",
    ),
    "argument's dtype": (
        lambda e, m: e.pte_modify(m.entries, np.zeros(N, np.int32), out=m.entries),
        TypeError,
        "newprot has dtype int32",
    ),
    "argument of bools": (
        lambda e, m: e.pte_access_permitted(m.entries, m.bools[:N]),
        TypeError,
        "write has dtype bool",
    ),
    "argument every other": (
        lambda e, m: e.pte_modify(m.entries, m.out[::2], out=m.entries),
        ValueError,
        "newprot is not contiguous",
    ),
    "argument in another order": (
        lambda e, m: e.pte_modify(m.entries.reshape(2, 4), m.out[:N].reshape(2, 4, order="F")),
        ValueError,
        "newprot is laid out in another order",
    ),
    "where in another order": (
        lambda e, m: e.pte_mkold(
            m.entries.reshape(2, 4), where=m.bools[:N].reshape(2, 4, order="F")
        ),
        ValueError,
        "where is laid out in another order",
    ),
    "an array for an int": (
        lambda e, m: e.pte_modify(5, m.entries),
        TypeError,
        "newprot is an array, but there is one entry only",
    ),
    "counting a map": (
        lambda e, m: e.pte_mkold.count(m.entries),
        TypeError,
        "pte_mkold gives entries; only tests can be counted",
    ),
}


@pytest.mark.parametrize("make", [pgtable.native, pgtable.reference])
@pytest.mark.parametrize("case", BAD)
def test_bad_input(make, case) -> None:
    call, error, message = BAD[case]
    memory = fresh()
    with pytest.raises(error, match=message) as raised:
        call(make(), memory)
    assert type(raised.value) is error or error is OverflowError
    assert "\n" not in str(raised.value)
    for now, before in zip(memory, fresh(), strict=True):
        assert bytes(now) == bytes(before)


@pytest.mark.parametrize("case", BAD)
def test_engines_say_the_same(case) -> None:
    said = []
    for make in (pgtable.native, pgtable.reference):
        with pytest.raises(BAD[case][1]) as raised:
            BAD[case][0](make(), fresh())
        said.append((type(raised.value), str(raised.value)))
    assert said[0] == said[1]


@pytest.mark.parametrize("make", [pgtable.native, pgtable.reference])
def test_an_unknown_helper_names_the_nearest(make) -> None:
    engine = make()
    for get in (lambda name: getattr(engine, name), engine.helper, engine.chain):
        with pytest.raises(AttributeError, match=r"did you mean pte_wrprotect\?"):
            get("pte_wrprotct")
        with pytest.raises(AttributeError, match=r"no helper 'frobnicate'; \.helpers lists"):
            get("frobnicate")
    with pytest.raises(pgtable.UnknownHelperError) as error:
        _ = engine.pmd_mkoldd
    assert error.value.name == "pmd_mkoldd"
    assert engine.name in str(error.value)
    assert not hasattr(engine, "pte_wrprotct")
    assert not hasattr(engine, "_pte_wrprotect")


@pytest.mark.parametrize("make", [pgtable.native, pgtable.reference])
@pytest.mark.parametrize(
    ("rules", "name", "owners"),
    [
        ("cow", "pte_mksaveddirty", "saved_dirty"),
        ("cow", "pud_shstk", "saved_dirty"),
        ("cow", "pud_modify", "saved_dirty"),
        ("base", "pte_shstk", "cow, saved_dirty"),
        ("base", "pte_mkwrite_shstk", "cow, saved_dirty"),
        ("base", "pud_mkcow", "cow"),
        ("saved_dirty", "pte_clear_cow", "cow"),
    ],
)
def test_a_helper_of_other_rules_names_them(make, rules, name, owners) -> None:
    with pytest.raises(AttributeError, match=f"has no {name}; rules that have it: {owners}$"):
        getattr(make(rules), name)


def test_the_advice_for_a_strided_out_writes_to_it() -> None:
    """A contiguous copy of out would take the results and be thrown away."""
    engine = pgtable.native()
    entries = np.arange(8, dtype="<u8") | np.uint64(0x62)
    for out in (np.zeros(16, "<u8")[::2], np.zeros(8, ">u8"), memoryview(np.zeros(16, "<u8"))[::2]):
        with pytest.raises((TypeError, ValueError), match="out is") as error:
            engine.pte_mkold(entries, out=out)
        advice = str(error.value).split("assign the result: ")[1]
        assert "copy" not in advice
        exec(advice, {"numpy": np, "helper": engine.pte_mkold, "entries": entries, "out": out})
        assert np.array_equal(np.asarray(out), entries & ~np.uint64(0x20))


def test_the_advice_for_strided_entries_is_right() -> None:
    helper = pgtable.native().pte_mkold
    memory = np.arange(16, dtype="<u8") | np.uint64(0x62)
    entries = memory[::2]
    with pytest.raises(ValueError, match="entries is not contiguous") as error:
        helper(entries, out=entries)
    advice, in_place = str(error.value).split("; pass ")[1].split("; to change them in place, ")
    names = {"numpy": np, "helper": helper, "entries": entries, "a": entries}
    names["copy"] = eval(advice, names)
    expected = entries & ~np.uint64(0x20)
    assert np.array_equal(helper(names["copy"]), expected)
    exec(in_place.removeprefix("assign: "), names)
    assert np.array_equal(memory[::2], expected)
