# SPDX-License-Identifier: GPL-2.0-only
"""Checks what users pass as entries, ``out`` and ``where``."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

ENTRY = np.dtype("<u8")
BOOL = np.dtype(bool)
MAX_ENTRY = 2**64 - 1

#: The dtype of most arrays.  Comparing this object is the quickest check.
_NATIVE = np.dtype(np.uint64)

_RAW_BYTES = frozenset("Bbc")
_WORDS = frozenset("QqLlNn")


class EntryRangeError(OverflowError, ValueError):
    """An int that is no 64-bit word."""


def as_int(value: Any, name: str) -> int:
    """Return ``value`` as an int of 64 bits.

    Raises TypeError for anything but an integer (a bool is no entry) and EntryRangeError (an
    OverflowError and a ValueError) outside 0 to 2**64-1.
    """
    if type(value) is not int:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError(f"{name} is a bool; pass an int or an array of 64-bit integers")
        try:
            value = operator.index(value)
        except TypeError:
            raise TypeError(
                f"{name} is a {type(value).__name__}; pass an int or an array of 64-bit integers"
            ) from None
    if not 0 <= value <= MAX_ENTRY:
        raise EntryRangeError(f"{name} is {value:#x}; an entry is 0 to 2**64-1")
    return value


def as_entries(value: Any, name: str) -> np.ndarray:
    """Return a uint64 array that shares the memory of ``value``, in its shape.

    Takes NumPy arrays of 64-bit integers and whatever else has the buffer
    protocol; raw bytes are read as little-endian words.  Raises TypeError for
    another element type, ValueError for a length that is no whole number of
    entries and for memory that is not contiguous.
    """
    if type(value) is np.ndarray and value.dtype is _NATIVE and value.flags.c_contiguous:
        return value
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "ui" or value.dtype.itemsize != 8:
            raise TypeError(f"{name} has dtype {value.dtype}; entries are 64-bit integers (uint64)")
        if value.dtype.newbyteorder("<") != value.dtype:
            raise TypeError(f"{name} is big-endian, entries are little-endian; {_mend(name)}")
        _require_contiguous(value, name)
        return value.view(ENTRY)
    view = _memoryview(value, name)
    kind = view.format.lstrip("@=<") if view.format else "B"
    if kind in _RAW_BYTES:
        if view.nbytes % 8:
            raise ValueError(
                f"{name} is {view.nbytes} bytes long, not a whole number of 8-byte entries"
            )
        return np.frombuffer(view, ENTRY)
    if kind not in _WORDS or view.itemsize != 8:
        raise TypeError(
            f"{name} has elements of format {view.format!r}; entries are 64-bit integers"
        )
    return np.frombuffer(view.cast("B"), ENTRY).reshape(view.shape)


def as_bools(value: Any, name: str) -> np.ndarray:
    """Return a bool array that shares the memory of ``value``; errors as of as_entries()."""
    if isinstance(value, np.ndarray):
        if value.dtype != BOOL:
            raise TypeError(f"{name} has dtype {value.dtype}; it must be bool")
        _require_contiguous(value, name)
        return value
    view = _memoryview(value, name)
    if view.format not in ("?", "B", "b"):
        raise TypeError(f"{name} has elements of format {view.format!r}; it must hold bools")
    return np.frombuffer(view.cast("B"), BOOL)


def as_out(value: Any, entries: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return ``out`` as an array that results for ``entries`` can be written to."""
    array = as_entries(value, "out") if dtype == ENTRY else as_bools(value, "out")
    if not array.flags.writeable:
        raise ValueError("out is read-only")
    return same_shape(array, entries, "out", raw=not isinstance(value, np.ndarray))


def same_shape(array: np.ndarray, entries: np.ndarray, name: str, raw: bool = False) -> np.ndarray:
    """Return ``array`` if it has the shape of ``entries``.  A raw buffer needs only the size."""
    if raw and array.size == entries.size:
        return array.reshape(entries.shape)
    if array.shape != entries.shape:
        raise ValueError(f"{name} has shape {array.shape}, the entries have {entries.shape}")
    return array


def require_disjoint(out: np.ndarray, other: np.ndarray, name: str, same_allowed: bool) -> None:
    """Raise ValueError if ``out`` overlaps ``other``; same_allowed: they may be the same."""
    if (out is other and same_allowed) or not np.may_share_memory(out, other):
        return
    if same_allowed and _address(out) == _address(other):
        return
    raise ValueError(
        f"out overlaps {name}; pass memory of its own"
        + (" or, to work in place, the input itself" if same_allowed else "")
    )


def _address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def _require_contiguous(array: np.ndarray, name: str) -> None:
    if not (array.flags.c_contiguous or array.flags.f_contiguous):
        raise ValueError(f"{name} is not contiguous; {_mend(name)}")


def _mend(name: str) -> str:
    """Return the advice for an error message.

    A copy does not help for ``out``: results would be written to the copy and be lost.
    """
    if name == "out":
        return "leave out away and assign the result: numpy.asarray(out)[...] = helper(entries)"
    copy = f"numpy.ascontiguousarray({name}, {'bool' if name == 'where' else repr('<u8')})"
    if name == "entries":
        return f"pass {copy}; to change them in place, assign: numpy.asarray(a)[...] = helper(copy)"
    return f"pass {copy}"


def _memoryview(value: Any, name: str) -> memoryview:
    try:
        view = memoryview(value)
    except TypeError:
        wanted = (
            "pass memory that results can be written to, such as numpy.empty_like(entries)"
            if name == "out"
            else "pass an int or something with the buffer protocol,"
            " such as numpy.array(..., dtype='uint64')"
        )
        raise TypeError(f"{name} is a {type(value).__name__}; {wanted}") from None
    if not view.c_contiguous:
        raise ValueError(f"{name} is not contiguous; {_mend(name)}")
    return view
