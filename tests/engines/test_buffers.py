# SPDX-License-Identifier: GPL-2.0-only
"""What may be passed as entries, argument and out; that it is used where it lies."""

from __future__ import annotations

import array
import ctypes
import mmap
import operator
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pgtable

VALUES = [0x867, 0x8000000012345067, 0, 2**64 - 1]
PROTECTED = [0x0400000000000825, 0x8400000012345025, 0, 0xFFFFFFFFFFFFFFBD]
DIRTY = [True, True, False, True]
VALUES_ARRAY = np.array(VALUES, np.uint64)
VALUES_ARRAY.flags.writeable = False
RAW = b"".join(value.to_bytes(8, "little") for value in VALUES)


@pytest.fixture(params=[pgtable.native, pgtable.reference])
def engine(request):
    return request.param()


def in_mmap() -> mmap.mmap:
    memory = mmap.mmap(-1, len(RAW))
    memory[:] = RAW
    return memory


WRITABLE = {
    "uint64 array": lambda: np.array(VALUES, np.uint64),
    "int64 array": lambda: np.array(VALUES, np.uint64).view(np.int64),
    "unsigned long long": lambda: np.array(VALUES, np.ulonglong),
    "bytearray": lambda: bytearray(RAW),
    "mmap": in_mmap,
    "array Q": lambda: array.array("Q", VALUES),
    "array q": lambda: array.array("q", RAW),
    "array of bytes": lambda: array.array("B", RAW),
    "memoryview": lambda: memoryview(bytearray(RAW)),
    "memoryview of chars": lambda: memoryview(bytearray(RAW)).cast("c"),
    "memoryview of signed chars": lambda: memoryview(bytearray(RAW)).cast("b"),
    "memoryview of words": lambda: memoryview(bytearray(RAW)).cast("Q"),
    "memoryview of longs": lambda: memoryview(bytearray(RAW)).cast("l"),
    "ctypes": lambda: (ctypes.c_uint64 * 4)(*VALUES),
}
READ_ONLY = {
    "bytes": lambda: RAW,
    "read-only array": lambda: np.frombuffer(RAW, np.uint64),
    "read-only memoryview": lambda: memoryview(RAW),
}


def address(buffer) -> int:
    return np.frombuffer(buffer, np.uint8).ctypes.data


@pytest.mark.parametrize("kind", WRITABLE | READ_ONLY)
def test_whatever_holds_64_bit_integers_is_read(engine, kind) -> None:
    entries = (WRITABLE | READ_ONLY)[kind]()
    result = engine.pte_wrprotect(entries)
    assert type(result) is np.ndarray
    assert (result.dtype, result.shape) == (np.uint64, (4,))
    assert result.tolist() == PROTECTED
    assert engine.pte_dirty(entries).tolist() == DIRTY
    assert engine.pte_dirty(entries).dtype == bool
    assert engine.pte_dirty.count(entries) == 3
    assert engine.pte_same(VALUES_ARRAY, entries).all()
    assert pgtable.chain((engine.pte_same, entries)).count(VALUES_ARRAY) == 4
    assert bytes(entries) == RAW
    assert not np.shares_memory(result, np.frombuffer(entries, np.uint8))


@pytest.mark.parametrize("kind", WRITABLE)
def test_it_is_written_where_it_lies(engine, kind) -> None:
    out = WRITABLE[kind]()
    result = engine.pte_wrprotect(VALUES_ARRAY, out=out)
    assert bytes(out) == np.array(PROTECTED, np.uint64).tobytes()
    assert result.ctypes.data == address(out)
    if isinstance(out, np.ndarray):
        assert result is out
    else:
        assert type(result) is np.ndarray


@pytest.mark.parametrize("kind", WRITABLE)
def test_in_place(engine, kind) -> None:
    entries = WRITABLE[kind]()
    result = engine.pte_wrprotect(entries, out=entries)
    assert bytes(entries) == np.array(PROTECTED, np.uint64).tobytes()
    assert result.ctypes.data == address(entries)
    # under another name, as another type
    again = np.frombuffer(entries, np.int64)
    engine.pte_mkexec(entries, out=again)
    assert bytes(entries)[15] == 0x04


@pytest.mark.parametrize("kind", READ_ONLY)
def test_read_only_memory_is_not_written(engine, kind) -> None:
    out = READ_ONLY[kind]()
    for entries in (VALUES_ARRAY.copy(), out):
        with pytest.raises(ValueError, match="out is read-only"):
            engine.pte_wrprotect(entries, out=out)
    with pytest.raises(ValueError, match="out is read-only"):
        engine.pte_dirty(VALUES_ARRAY, out=bytes(4))
    assert bytes(out) == RAW


@pytest.mark.parametrize("make", [lambda: bytearray(b"\7" * 4), lambda: array.array("b", [7] * 4)])
def test_a_raw_out_for_bools(engine, make) -> None:
    out = make()
    result = engine.pte_dirty(VALUES_ARRAY, out=out)
    assert bytes(out) == b"\1\1\0\1"
    assert (type(result), result.dtype) == (np.ndarray, bool)
    assert result.ctypes.data == address(out)


@pytest.mark.parametrize("shape", [(4,), (2, 2), (4, 1), (1, 2, 2), (1, 4, 1, 1)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_any_shape(engine, shape, order) -> None:
    entries = np.array(VALUES_ARRAY.reshape(shape), order=order)
    wanted = np.array(PROTECTED, np.uint64).reshape(shape)
    result = engine.pte_wrprotect(entries)
    assert result.shape == shape
    assert np.array_equal(result, wanted)
    masks = np.asarray(np.arange(4, dtype=np.uint64).reshape(shape), order=order)
    assert np.array_equal(engine.pte_set_flags(entries, masks), entries | masks)
    assert engine.pte_same.count(entries, entries.copy(order="K")) == 4
    where = np.asarray(np.array([True, False, False, True]).reshape(shape), order=order)
    out = np.full_like(entries, 5)
    assert engine.pte_wrprotect(entries, out=out, where=where) is out
    assert np.array_equal(out, np.where(where, wanted, 5))
    assert engine.pte_dirty.count(entries, where=where) == 2
    assert engine.pte_dirty(entries).shape == shape
    assert engine.pte_wrprotect(entries, out=entries) is entries
    assert np.array_equal(entries, wanted)


def test_fortran_order_is_kept(engine) -> None:
    entries = np.arange(6, dtype=np.uint64).reshape(2, 3, order="F")
    assert engine.pte_mkyoung(entries).flags.f_contiguous
    raw = bytearray(48)
    result = engine.pte_mkyoung(entries, out=raw)
    assert np.array_equal(result, entries | np.uint64(0x20))
    assert result.ctypes.data == address(raw)


def test_raw_buffers_take_the_shape_of_the_entries(engine) -> None:
    entries = VALUES_ARRAY.reshape(2, 2)
    out = bytearray(32)
    assert engine.pte_wrprotect(entries, out=out).shape == (2, 2)
    assert engine.pte_set_flags(entries, array.array("Q", [1, 2, 4, 8])).shape == (2, 2)
    assert engine.pte_dirty(entries, where=bytes(4)).shape == (2, 2)
    words = memoryview(bytearray(RAW)).cast("B").cast("Q", (2, 2))
    assert engine.pte_wrprotect(words).tolist() == [PROTECTED[:2], PROTECTED[2:]]


def test_no_dimension(engine) -> None:
    entry = np.array(0x867, np.uint64)
    result = engine.pte_wrprotect(entry)
    assert (result.shape, int(result)) == ((), 0x0400000000000825)
    assert engine.pte_dirty(entry).shape == ()
    assert engine.pte_dirty.count(entry) == 1
    assert engine.pte_wrprotect(entry, out=entry) is entry
    assert int(entry) == 0x0400000000000825


@pytest.mark.filterwarnings("error")
def test_no_dimension_and_numbers_that_wrap(engine) -> None:
    make = pgtable.native if engine is pgtable.native() else pgtable.reference
    saved = make("saved_dirty")
    back = pgtable.chain((saved.pte_set_flags, 0), (saved.pte_advance_pfn, 1))
    assert int(back(np.array(2**64 - 1, np.uint64))) == 0xFFF
    down = pgtable.chain((saved.pte_set_flags, 0x100), (saved.pte_advance_pfn, 1))
    assert int(down(np.array(0x100, np.uint64))) == 0xFFFFFFFFFFFFF100


EMPTY = [
    b"",
    bytearray(),
    array.array("Q"),
    memoryview(b""),
    np.zeros(0, np.uint64),
    np.zeros((0, 512), np.uint64),
    np.zeros((3, 0), np.int64, order="F"),
]


def kind_of(value: object) -> str:
    """Name a parameter by its type: an address in a name would differ from run to run."""
    return type(value).__name__


@pytest.mark.parametrize("entries", EMPTY, ids=kind_of)
def test_no_entries(engine, entries) -> None:
    shape = getattr(entries, "shape", (0,))
    result = engine.pte_wrprotect(entries)
    assert (result.shape, result.dtype) == (shape, np.uint64)
    assert engine.pte_dirty(entries).dtype == bool
    assert engine.pte_dirty.count(entries) == 0
    assert engine.pte_modify(entries, 5).shape == shape
    assert engine.pte_wrprotect(entries, where=np.zeros(shape, bool)).shape == shape
    assert engine.pte_wrprotect(entries, out=np.zeros(shape, np.uint64)).shape == shape
    assert pgtable.chain(engine.pte_mkold, engine.pte_dirty).count(entries, threads=3) == 0


def test_a_file_mapped(engine, tmp_path) -> None:
    path = tmp_path / "entries"
    path.write_bytes(RAW)
    mapped = np.memmap(path, np.uint64, "r+")
    assert engine.pte_wrprotect(mapped, out=mapped) is mapped
    mapped.flush()
    assert path.read_bytes() == np.array(PROTECTED, np.uint64).tobytes()
    read_only = np.memmap(path, np.uint64, "r")
    assert engine.pte_dirty.count(read_only) == 3
    with pytest.raises(ValueError, match="out is read-only"):
        engine.pte_mkold(read_only, out=read_only)


class Index:
    """An integer that is none of NumPy's and none of Python's."""

    def __index__(self) -> int:
        return 0x867


@pytest.mark.parametrize(
    "entry", [0x867, np.uint64(0x867), np.int64(0x867), np.uint16(0x867), Index()], ids=kind_of
)
def test_integers_of_any_make_are_one_entry(engine, entry) -> None:
    assert engine.pte_wrprotect(entry) == 0x0400000000000825
    assert type(engine.pte_wrprotect(entry)) is int
    assert engine.pte_dirty(entry) is True
    assert engine.pte_same(0x867, entry) is True
    assert engine.pte_set_flags(VALUES_ARRAY, entry).tolist() == [
        operator.or_(value, 0x867) for value in VALUES
    ]


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_one_entry_as_int_and_as_array(entry, other) -> None:
    for engine in (pgtable.native(), pgtable.reference()):
        for name in ("pte_wrprotect", "pmd_pfn", "pud_bad", "pud_mkdirty"):
            helper = engine.helpers[name]
            assert helper(np.array([entry], np.uint64)).tolist() == [helper(entry)]
        modify = engine.pte_modify
        assert modify(np.array([entry], np.uint64), other).tolist() == [modify(entry, other)]


def test_a_bool_says_whether_to_write(engine) -> None:
    permitted = engine.pmd_access_permitted
    for write in (True, 1, np.True_, np.uint64(1)):
        assert permitted(0x5, write) is False
        assert permitted(0x7, write) is True
    for write in (False, 0, np.False_):
        assert permitted(0x5, write) is True
    each = np.array([0, 1, 0, 1], np.uint64)
    entries = np.array([5, 5, 7, 7], np.uint64)
    assert permitted(entries, each).tolist() == [True, False, True, True]
    assert permitted(entries, True).tolist() == [False, False, True, True]


def test_subclasses_of_arrays_come_back_as_they_are(engine) -> None:
    class Table(np.ndarray):
        pass

    table = VALUES_ARRAY.copy().view(Table)
    assert engine.pte_wrprotect(table, out=table) is table
    assert table.tolist() == PROTECTED


def test_out_may_be_the_argument(engine) -> None:
    masks = np.array([1, 2, 4, 8], np.uint64)
    wanted = (VALUES_ARRAY | masks).tolist()
    assert engine.pte_set_flags(VALUES_ARRAY, masks, out=masks) is masks
    assert masks.tolist() == wanted


def test_buffers_are_let_go_after_the_call(engine) -> None:
    raw = bytearray(RAW)
    engine.pte_wrprotect(raw)
    engine.pte_dirty.count(raw, where=bytearray(4))
    raw.clear()  # BufferError while anyone holds it
    held = np.array(VALUES, np.uint64)
    references = sys.getrefcount(held)
    engine.pte_wrprotect(held, out=held)
    engine.pte_wrprotect(held)
    engine.pte_dirty.count(held)
    assert sys.getrefcount(held) == references


@pytest.mark.parametrize("make", [pgtable.native, pgtable.reference])
def test_arrays_of_another_shape_and_the_same_size_are_refused(make) -> None:
    """A raw buffer has no shape, and an array has one."""
    engine, entries = make(), np.zeros(4, np.uint64)
    square = np.zeros((2, 2), np.uint64)
    for call in (
        lambda: engine.pte_mkold(entries, where=np.ones((2, 2), np.bool_)),
        lambda: engine.pte_mkold(entries, out=square),
        lambda: engine.pte_modify(entries, square),
    ):
        with pytest.raises(ValueError, match=r"shape \(2, 2\)"):
            call()
