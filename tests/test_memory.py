# SPDX-License-Identifier: GPL-2.0-only
"""Memory for results."""

from __future__ import annotations

import numpy as np
import pytest

from pgtable import memory

DTYPES = {"va": np.uint64, "entry": np.uint64, "traits": np.uint8}


@pytest.mark.parametrize("rows", [0, 1, 63, 64, 1000, 100_000, 123_362, 130_000, 1_000_003])
def test_columns_are_of_their_length_and_apart(rows: int) -> None:
    columns = memory.empty_columns(rows, DTYPES)
    for value, (name, dtype) in enumerate(DTYPES.items()):
        assert columns[name].shape == (rows,)
        assert columns[name].dtype == dtype
        assert columns[name].flags.writeable
        assert columns[name].flags.aligned
        columns[name][:] = value
    for value, name in enumerate(DTYPES):
        assert np.all(columns[name] == value)


def test_a_column_outlives_the_others() -> None:
    kept = memory.empty_columns(1 << 20, DTYPES)["entry"]
    kept[:] = 7
    memory.empty_columns(1 << 20, DTYPES)["va"][:] = 1
    assert np.all(kept == 7)


def test_large_columns_begin_at_a_huge_page() -> None:
    columns = memory.empty_columns(1 << 21, DTYPES)
    assert columns["va"].ctypes.data % memory.HUGE_PAGE == 0
    assert columns["entry"].ctypes.data == columns["va"].ctypes.data + columns["va"].nbytes


@pytest.mark.parametrize("size", [1, 1 << 20, (1 << 21) + 1, 3 << 20, (1 << 22) + (1 << 20)])
def test_at_most_a_quarter_is_rounded_up(size: int) -> None:
    pages = memory._huge_pages(size)
    if pages is not None:
        assert size <= len(pages) <= size * 1.25
    else:
        assert size < memory.HUGE_PAGE


@pytest.mark.parametrize("rows", [1 << 50, 1 << 62, 1 << 70])
def test_what_no_machine_has_is_refused(rows: int) -> None:
    with pytest.raises(MemoryError):
        memory.empty_columns(rows, DTYPES)
    with pytest.raises(MemoryError):
        memory.empty(rows, np.uint64)


def test_a_kernel_without_huge_pages_has_other_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(memory.mmap, "MADV_HUGEPAGE", raising=False)
    columns = memory.empty_columns(1 << 20, DTYPES)
    columns["traits"][:] = 1
    assert columns["va"].shape == (1 << 20,)
    with pytest.raises(MemoryError):
        memory.empty_columns(1 << 62, DTYPES)


class TestKept:
    @pytest.fixture(autouse=True)
    def nothing_kept(self) -> None:
        memory._kept.clear()

    def test_memory_is_used_again_once_the_last_array_is_gone(self) -> None:
        columns = memory.empty_columns(1 << 20, DTYPES)
        at = columns["va"].ctypes.data
        last = columns["traits"][5:]
        del columns
        assert not memory._kept
        other = memory.empty_columns(1 << 20, DTYPES)
        assert other["va"].ctypes.data != at
        del last
        assert len(memory._kept) == 1
        first, second = (memory.empty_columns(1 << 20, DTYPES) for _ in range(2))
        assert first["va"].ctypes.data == at
        assert not memory._kept
        for value, columns in enumerate((other, first, second)):
            columns["va"][:] = value
        assert np.all(first["va"] == 1)
        assert np.all(other["va"] == 0)

    def test_the_smallest_that_is_large_enough_is_taken(self) -> None:
        arrays = [memory.empty(n << 18, np.uint64) for n in (3, 1, 2)]
        at = {array.size: array.ctypes.data for array in arrays}
        del arrays
        assert len(memory._kept) == 3
        assert memory.empty(2 << 18, np.uint64).ctypes.data == at[2 << 18]
        larger = memory.empty(4 << 18, np.uint64)
        assert larger.ctypes.data not in at.values()
        assert len(memory._kept) == 3

    def test_no_more_than_a_little_is_kept(self) -> None:
        memory.empty(memory.KEPT_AT_MOST // 8 + 1, np.uint64)
        assert not memory._kept
        arrays = [memory.empty(1 << 20, np.uint64) for _ in range(20)]
        del arrays
        kept = sum(len(pages) for pages in memory._kept)
        assert memory.KEPT_AT_MOST // 2 < kept <= memory.KEPT_AT_MOST
