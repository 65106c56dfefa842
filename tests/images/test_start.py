# SPDX-License-Identifier: GPL-2.0-only
"""Levels, encryption bits and isolated copies: told from a real kernel's tables, remade."""

from __future__ import annotations

import json

import numpy as np
import pytest

import pgtable
from pgtable.cli import main
from pgtable.images.image import GatheringImage

ROOT = 0x544E000
PAGE = 4096
FRAME = 0x000F_FFFF_FFFF_F000
NX, USER, PRESENT, PSE = 1 << 63, 4, 1, 0x80
#: Free pages of the reduced image, where new tables are put; the first is even.
NEW = 0x7F0_0000
TABLE = 0x63
USER_TABLE = 0x67


@pytest.fixture(scope="module")
def pages():
    """Every page of the 6.12 dump, which has four levels: {pa: 512 entries}."""
    with pgtable.open_image("tests/data/k612-128.vmcore.xz") as image:
        return {
            pa: np.frombuffer(image.read(pa, PAGE), np.uint64).copy()
            for first, end in image.ranges.tolist()
            for pa in range(first, end, PAGE)
        }


@pytest.fixture(scope="module")
def plain(pages):
    with pgtable.open_image("tests/data/k612-128.vmcore.xz") as image:
        return image.walk(ROOT)


@pytest.fixture
def opened(tmp_path):
    """Return a function that writes pages as records, which say nothing of the machine."""

    def write(pages):
        path = tmp_path / "pages.bin"
        path.write_bytes(
            b"".join(np.uint64(pa).tobytes() + pages[pa].tobytes() for pa in sorted(pages))
        )
        return pgtable.open_image(path, format="records")

    return write


def five_levels(pages):
    """Put a fifth level on top: the same addresses, through one table more for each half."""
    new = dict(pages)
    lower, upper, top = (np.zeros(512, np.uint64) for _ in range(3))
    lower[:256], upper[256:] = pages[ROOT][:256], pages[ROOT][256:]
    top[0], top[511] = NEW + PAGE | USER_TABLE, NEW + 2 * PAGE | TABLE
    new |= {NEW: top, NEW + PAGE: lower, NEW + 2 * PAGE: upper}
    return new


def tables_below(pages, root):
    """Yield (pa, level) of every table, each once."""
    seen, todo = set(), [(root, 4)]
    while todo:
        pa, level = todo.pop()
        if (pa, level) in seen or pa not in pages:
            continue
        seen.add((pa, level))
        yield pa, level
        for entry in pages[pa].tolist():
            if level > 1 and entry & PRESENT and not (level <= 3 and entry & PSE):
                todo.append((entry & FRAME, level - 1))


def encrypted(pages, bit, shared_every=0):
    """Set a bit in every present entry, but in every n-th leaf of level 1."""
    new = {pa: table.copy() for pa, table in pages.items()}
    for pa, level in tables_below(pages, ROOT):
        table = new[pa]
        present = table & np.uint64(PRESENT) != 0
        if level == 1 and shared_every:
            present[::shared_every] = False
        table[present] |= np.uint64(1 << bit)
    return new


def isolated(pages):
    """Keep two copies of the top table, as page-table isolation does."""
    kernel, user = pages[ROOT].copy(), np.zeros(512, np.uint64)
    user[:256] = kernel[:256]
    used = np.flatnonzero(kernel[:256] & np.uint64(PRESENT))
    kernel[used] |= np.uint64(NX)
    user[511] = kernel[511]
    return pages | {NEW: kernel, NEW + PAGE: user}


def same_rows(walk, other):
    for name in ("va", "entry", "pa", "level", "kind", "leaf", "writable", "user", "nx"):
        np.testing.assert_array_equal(getattr(walk, name), getattr(other, name), err_msg=name)


class TestLevels:
    def test_four_are_told(self, pages, plain, opened):
        with opened(pages) as image:
            walk = image.walk(ROOT)
        same_rows(walk, plain)
        assert walk.root.levels == 4
        assert walk.root.origin == "root from an argument, levels from the tables"
        assert any(note.startswith("4 levels, as the tables show") for note in walk.notes)

    def test_five_are_told(self, pages, plain, opened):
        with opened(five_levels(pages)) as image:
            walk = image.walk(NEW)
        assert walk.root.levels == 5
        below = walk.level <= 3
        np.testing.assert_array_equal(walk.va[below], plain.va[plain.level <= 3])
        np.testing.assert_array_equal(walk.entry[below], plain.entry[plain.level <= 3])
        assert any(note.startswith("5 levels, as the tables show") for note in walk.notes)

    @pytest.mark.parametrize(("levels", "looks"), [(4, 5), (5, 4)])
    def test_an_argument_that_does_not_fit_is_an_error(self, pages, opened, levels, looks):
        new = five_levels(pages) if looks == 5 else pages
        says = f"{levels} levels were asked for, but the tables have {looks}: "
        says += f".*; pass --levels {looks}$"
        with opened(new) as image, pytest.raises(ValueError, match=says):
            image.walk(NEW if looks == 5 else ROOT, levels)

    def test_where_nothing_tells_it_is_an_assumption(self, opened):
        top, below = np.zeros(512, np.uint64), np.zeros(512, np.uint64)
        top[0] = 0x1000 | USER_TABLE
        with opened({0: top, 0x1000: below}) as image:
            walk = image.walk(0)
        assert walk.root.levels == 4
        assert "four levels assumed" in walk.notes[0]


class TestEncryption:
    @pytest.mark.parametrize("bit", [43, 47, 51])
    @pytest.mark.parametrize("shared_every", [0, 7])
    def test_the_bit_is_recognised(self, pages, plain, opened, bit, shared_every):
        with opened(encrypted(pages, bit, shared_every)) as image:
            walk = image.walk(ROOT)
        assert walk.root.encryption == 1 << bit
        assert len(walk) == 12379
        np.testing.assert_array_equal(walk.va, plain.va)
        present = plain.leaf | (plain.kind == 1)
        np.testing.assert_array_equal(walk.pa[present], plain.pa[present])
        assert any(f"bit {bit} is taken for the encryption bit" in note for note in walk.notes)

    def test_cr3_may_carry_it(self, pages, opened):
        with opened(encrypted(pages, 47)) as image:
            walk = image.walk(ROOT | 1 << 47)
        assert (walk.root.pa, len(walk)) == (ROOT, 12379)

    def test_an_argument_is_believed(self, pages, opened):
        with opened(encrypted(pages, 47)) as image:
            assert len(image.walk(ROOT, c_bit=47)) == 12379
            with pytest.raises(ValueError, match="that it refers to are outside the image"):
                image.walk(ROOT, c_bit=46)

    def test_no_bit_where_there_is_none(self, pages, opened):
        with opened(pages) as image:
            assert image.walk(ROOT).root.encryption == 0

    @pytest.mark.parametrize("bit", [31, 52])
    def test_an_impossible_bit(self, pages, opened, bit):
        with opened(pages) as image, pytest.raises(ValueError, match="one of 32 to 51"):
            image.walk(ROOT, c_bit=bit)

    def test_five_levels_and_a_bit(self, pages, opened):
        both = encrypted(pages, 47)
        new = five_levels(both)
        for pa in (NEW,):
            new[pa][new[pa] != 0] |= np.uint64(1 << 47)
        with opened(new) as image:
            walk = image.walk(NEW)
        assert (walk.root.levels, walk.root.encryption) == (5, 1 << 47)
        assert np.count_nonzero(walk.level <= 3) == 12379 - np.count_nonzero(pages[ROOT])

    def test_the_census_counts_the_same(self, pages, opened):
        with opened(encrypted(pages, 47)) as image:
            censuses = image.census(ROOT)
        with opened(pages) as image:
            expected = image.census(ROOT)
        assert censuses.keys() == expected.keys()
        for key, census in censuses.items():
            assert census.total == expected[key].total


class TestIsolation:
    @pytest.mark.parametrize("root", [NEW, NEW + PAGE])
    def test_both_halves_are_walked(self, pages, plain, opened, root):
        with opened(isolated(pages)) as image:
            walk = image.walk(root)
        same_rows(walk, plain)
        assert (walk.root.pa, walk.root.user_pa) == (NEW, NEW + PAGE)
        assert any("page-table isolation" in note and "--pti" in note for note in walk.notes)

    def test_one_copy_alone(self, pages, plain, opened):
        with opened(isolated(pages)) as image:
            user = image.walk(NEW, pti="user")
            kernel = image.walk(NEW, pti="kernel")
        lower = plain.va < 1 << 63
        assert np.array_equal(user.entry[user.va < 1 << 63], plain.entry[lower])
        assert len(user) < len(plain)
        assert len(kernel) == len(plain)
        assert kernel.nx[kernel.va < 1 << 63].all()

    def test_no_copies_no_choice(self, pages, opened):
        with opened(pages) as image, pytest.raises(ValueError, match="not one of two copies"):
            image.walk(ROOT, pti="user")

    def test_a_kdump_fetches_both(self, pages, plain, opened, tmp_path):
        with opened(isolated(pages)) as image:

            class Fetching(GatheringImage):
                ranges = image.ranges
                read = image.read

            fetching = Fetching(tmp_path, "kdump", [], [])
            same_rows(fetching.walk(NEW), plain)


def test_processors_that_are_not_there(pages, opened):
    with opened(pages) as image, pytest.raises(ValueError, match="so no processor 1"):
        image.walk(ROOT, cpu=1)


def test_the_command_line(pages, opened, capsys):
    with opened(encrypted(pages, 47)) as image:
        path = str(image.path)
    assert main(["walk", path, "--root", hex(ROOT), "--image-format", "records", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["entries"], value["encryption"]) == (12379, f"{1 << 47:#x}")
    assert value["origin"] == "root from an argument, levels from the tables"
    assert main(["walk", path, "--root", hex(ROOT), "--image-format", "records", "--c-bit", "9"])
    assert "c_bit is 9" in capsys.readouterr().err
    assert main(["walk", "tests/data/k612-128.vmcore.xz"]) == 0
    assert "root from CR3 of processor 0, levels from CR4" in capsys.readouterr().out
