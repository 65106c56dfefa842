# SPDX-License-Identifier: GPL-2.0-only
"""Mixes are what they are called: bits are counted, in every table."""

import lzma

import numpy as np
import pytest

import pgtable
from pgtable.cost import entries, mixes
from pgtable.cost.plan import HELPERS, LARGE_HELPERS

TABLES = 8
N = TABLES * entries.TABLE
W, D, S = np.uint64(1 << 1), np.uint64(1 << 6), np.uint64(1 << 58)

SAVED = pgtable.reference("saved_dirty")
BASE = pgtable.reference("base")


def made(mix, name, engine=SAVED, n=N):
    has_saved = engine is SAVED
    return mixes.entries_of(mix, engine.helper(name).info, n, has_saved)


def dirty_tables(found, engine=SAVED):
    return engine.pte_dirty(found).reshape(-1, entries.TABLE)


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        *((name, engine) for name in HELPERS for engine in (SAVED, BASE)),
        ("pte_mksaveddirty", SAVED),
    ],
)
def test_dirty_entries_are_counted_in_every_table(name, engine):
    for mix, expected in (("clean", 0), ("dirty", 512), ("half", 256), ("sorted", 256)):
        dirty = dirty_tables(made(mix, name, engine), engine)
        assert dirty.sum(axis=1).tolist() == [expected] * TABLES, mix


def test_half_is_random_and_sorted_is_sorted():
    half, ordered = (dirty_tables(made(mix, "pte_wrprotect")) for mix in ("half", "sorted"))
    assert not ordered[:, :256].any()
    assert ordered[:, 256:].all()
    # neither in order, nor in turn, nor the same twice
    changes = (half[:, 1:] != half[:, :-1]).sum(axis=1)
    assert ((changes > 200) & (changes < 310)).all()
    assert len({table.tobytes() for table in half}) == TABLES


@pytest.mark.parametrize("mix", mixes.MIXES)
def test_entries_are_pages_of_their_own(mix):
    found = made(mix, "pte_wrprotect")
    assert SAVED.pte_present(found).all()
    assert np.unique(SAVED.pte_pfn(found)).size > N - 10
    assert np.array_equal(found, made(mix, "pte_wrprotect"))


@pytest.mark.parametrize("level", ["pmd", "pud"])
def test_large_pages_are_large(level):
    found = made("half", f"{level}_wrprotect")
    assert SAVED.helper(f"{level}_leaf")(found).all()
    frames = np.uint64(2**52 - 2 ** {"pmd": 21, "pud": 30}[level])
    low = np.uint64(2**52 - 1) & ~frames & ~np.uint64(0xFFF)
    assert not (found & low).any()


@pytest.mark.parametrize(
    ("name", "clean", "dirty"),
    [
        ("pte_wrprotect", (1, 0, 0), (1, 1, 0)),
        ("pte_mkclean", (1, 0, 0), (1, 1, 0)),
        ("pte_dirty", (1, 0, 0), (1, 1, 0)),
        ("pte_mkdirty", (1, 0, 0), (0, 0, 1)),
        ("pte_write", (1, 0, 0), (0, 0, 1)),
        ("pmd_write", (1, 0, 0), (0, 0, 1)),
        ("pte_mkwrite", (0, 0, 0), (0, 0, 1)),
        ("pte_modify", (0, 0, 0), (1, 1, 0)),
        ("pte_mksaveddirty", (0, 0, 0), (0, 1, 0)),
    ],
)
def test_states(name, clean, dirty):
    for mix, state in (("clean", clean), ("dirty", dirty)):
        found = made(mix, name)
        assert tuple(int((found & bit).astype(bool).mean()) for bit in (W, D, S)) == state
        # without bit 58 the dirtiness is where it was before the patch
        if name in BASE.helpers:
            before = made(mix, name, BASE)
            write, is_dirty, saved = state
            expected = (write, is_dirty or saved, 0)
            assert tuple(int((before & bit).astype(bool).mean()) for bit in (W, D, S)) == expected


@pytest.mark.parametrize("name", ["pte_write", "pmd_write", "pud_write"])
def test_tests_have_both_answers(name):
    helper = SAVED.helper(name)
    assert helper(made("clean", name)).all()
    assert not helper(made("dirty", name)).any()


def test_all_helpers_of_plans_have_two_states():
    for name in (*HELPERS, *LARGE_HELPERS):
        clean, dirty = mixes.states_of(SAVED.helper(name).info)
        assert clean != dirty


def test_another_mix_is_refused():
    with pytest.raises(ValueError, match="must be one of clean, dirty, half, sorted"):
        made("mixed", "pte_wrprotect")


class TestFile:
    @pytest.fixture
    def path(self, tmp_path):
        path = tmp_path / "dump.bin"
        np.arange(4 * entries.TABLE, dtype=np.uint64).tofile(path)
        return path

    def test_small_files_are_repeated(self, path):
        found = entries.from_file(path, 10 * entries.TABLE)
        assert np.array_equal(found[: 4 * 512], np.arange(4 * 512))
        assert np.array_equal(found[4 * 512 : 8 * 512], np.arange(4 * 512))
        assert found.size == 10 * 512

    def test_of_large_ones_whole_tables_are_taken_from_all_over(self, path):
        found = entries.from_file(path, 2 * entries.TABLE)
        assert np.array_equal(found[:512], np.arange(512))
        assert np.array_equal(found[512:], np.arange(2 * 512, 3 * 512))

    def test_xz_and_npy_are_read(self, path, tmp_path):
        packed, saved = tmp_path / "dump.xz", tmp_path / "dump.npy"
        packed.write_bytes(lzma.compress(path.read_bytes()))
        np.save(saved, np.fromfile(path, "<u8"))
        expected = entries.from_file(path, 512)
        assert np.array_equal(entries.from_file(packed, 512), expected)
        assert np.array_equal(entries.from_file(saved, 512), expected)

    def test_empty_files_are_refused(self, tmp_path):
        (tmp_path / "empty").touch()
        with pytest.raises(ValueError, match="empty: holds no entries"):
            entries.from_file(tmp_path / "empty", 512)
