# SPDX-License-Identifier: GPL-2.0-only
"""Single entries and odd tables, made by hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import pgtable
from pgtable.images import Kind, Walk
from pgtable.images import walk as walk_module

PAGE = 4096
TABLE = 0x67
USER_LEAF = 0x8000000000000067
NX = 1 << 63


class Memory:
    """Raw memory of a few pages, and a tree of tables in it that reaches ``pte``."""

    def __init__(self, pages: int = 16):
        self.words = np.zeros((pages, 512), np.uint64)

    def set(self, page: int, index: int, value: int) -> None:
        self.words[page, index] = value & (1 << 64) - 1

    def chain(self, *pages: int, index: int = 0) -> None:
        """Let each page refer to the next one."""
        for page, below in pairwise(pages):
            self.set(page, index, below * PAGE | TABLE)

    def walk(self, path: Path, root: int = 1, levels: int = 4, **arguments: object) -> Walk:
        file = path / "memory"
        self.words.tofile(file)
        with pgtable.open_image(file, format="raw") as image:
            return image.walk(root * PAGE, levels, **arguments)  # type: ignore[arg-type]


@pytest.fixture
def memory() -> Memory:
    found = Memory()
    found.chain(1, 2, 3, 4)
    return found


def one(walk: Walk, level: int) -> dict[str, object]:
    """Return the single row of a level."""
    (row,) = np.flatnonzero(walk.level == level)
    return {name: column[row].item() for name, column in walk.columns.items()}


@pytest.mark.parametrize(
    ("entry", "kind", "pa"),
    [
        (0x1, Kind.LEAF, 0),
        (0x000FFFFFFFFFF001, Kind.LEAF, 0x000FFFFFFFFFF000),
        (0xFFFFFFFFFFFFFFFF, Kind.LEAF, 0x000FFFFFFFFFF000),
        (0x81, Kind.LEAF, 0),  # PAT
        (~0x12345000 & 0xFFFFFFFFFF000 | 0x100, Kind.PROT_NONE, 0x12345000),
        (0x100, Kind.PROT_NONE, 0xFFFFFFFFFF000),
        (0x120, Kind.PROT_NONE, 0xFFFFFFFFFF000),
        (0 << 59 | (~5 & (1 << 50) - 1) << 9, Kind.SWAP, 0),
        (21 << 59 | 0xE, Kind.SWAP, 0),
        (22 << 59 | (~7 & (1 << 50) - 1) << 9, Kind.MIGRATION, 7 * PAGE),
        (26 << 59 | (~((1 << 41) + 9) & (1 << 50) - 1) << 9, Kind.MIGRATION, 9 * PAGE),
        (29 << 59 | (~1 & (1 << 50) - 1) << 9, Kind.MIGRATION, PAGE),
        (30 << 59 | (~1 & (1 << 50) - 1) << 9, Kind.MARKER, 0),
        (31 << 59 | (~7 & (1 << 50) - 1) << 9, Kind.MARKER, 0),
        (31 << 59 | (~8 & (1 << 50) - 1) << 9, Kind.MIGRATION, 8 * PAGE),
        (31 << 59 | (~0 & (1 << 50) - 1) << 9, Kind.MIGRATION, 0),
        (0x10, Kind.OTHER, 0xFFFFFFFFFF000),
        (0x80, Kind.OTHER, 0xFFFFFFFFFF000),
    ],
)
def test_kinds_of_level_1(memory: Memory, tmp_path: Path, entry: int, kind: Kind, pa: int) -> None:
    memory.set(4, 3, entry)
    row = one(memory.walk(tmp_path), 1)
    assert (row["va"], row["entry"], Kind(row["kind"]), row["pa"]) == (3 * PAGE, entry, kind, pa)
    assert row["leaf"] == (kind == Kind.LEAF)
    if kind != Kind.LEAF:
        assert (row["writable"], row["user"], row["nx"]) == (False, False, True)


def test_nothing_is_swapped_in_the_kernel_half(tmp_path: Path) -> None:
    memory = Memory()
    memory.chain(1, 2, 3, 4, index=511)
    memory.set(4, 511, 3 << 59)
    row = one(memory.walk(tmp_path), 1)
    assert row["va"] == 0xFFFFFFFFFFFFF000
    assert Kind(row["kind"]) == Kind.OTHER


@pytest.mark.parametrize(
    ("level", "entry", "kind", "pa"),
    [
        (2, 0x000FFFFFFFFFF0E7, Kind.LEAF, 0x000FFFFFFFE00000),
        (3, 0x000FFFFFFFFFF0E7, Kind.LEAF, 0x000FFFFFC0000000),
        (4, 0x000FFFFFFFFFF0E7, Kind.TABLE, 0x000FFFFFFFFFF000),
        (2, 0x000FFFFFFFFFF067, Kind.TABLE, 0x000FFFFFFFFFF000),
        (2, ~0x40200000 & 0xFFFFFFFE00000 | 0x180, Kind.PROT_NONE, 0x40200000),
        (2, ~0x40200000 & 0xFFFFFFFE00000 | 0x080, Kind.OTHER, 0x40200000),
        (3, ~0x40000000 & 0xFFFFFC0000000 | 0x180, Kind.PROT_NONE, 0x40000000),
        (2, 25 << 59 | (~0x200 & (1 << 50) - 1) << 9, Kind.MIGRATION, 0x200000),
        (2, 31 << 59 | (~1 & (1 << 50) - 1) << 9, Kind.MARKER, 0),
        (2, 3 << 59, Kind.OTHER, 0xFFFFFFFFFF000),
        (4, 0x100, Kind.OTHER, 0xFFFFFFFFFF000),
    ],
)
def test_kinds_of_upper_levels(tmp_path: Path, level: int, entry: int, kind: Kind, pa: int) -> None:
    memory = Memory()
    memory.chain(*range(1, 6 - level))
    memory.set(5 - level, 1, entry)
    memory.set(1, 0, 2 * PAGE | TABLE)  # a top table has an entry that is present
    walk = memory.walk(tmp_path)
    row = {name: column[-1].item() for name, column in walk.columns.items()}
    span = PAGE << 9 * (level - 1)
    assert (row["va"], row["level"]) == (span, level)
    assert (Kind(row["kind"]), row["pa"]) == (kind, pa)


@pytest.mark.parametrize("level", [1, 2, 3, 4])
@pytest.mark.parametrize(("bit", "flag"), [(2, "writable"), (4, "user"), (NX, "nx")])
def test_each_level_restricts(
    memory: Memory, tmp_path: Path, level: int, bit: int, flag: str
) -> None:
    memory.set(4, 0, 0x5067)
    memory.words[5 - level, 0] ^= np.uint64(bit)
    walk = memory.walk(tmp_path)
    changed = getattr(walk, flag) != (flag != "nx")
    # the entry itself and all below, none above
    assert np.array_equal(changed, walk.level <= level)
    for other in {"writable", "user", "nx"} - {flag}:
        assert np.all(getattr(walk, other) == (other != "nx"))


def test_bit_63_is_reserved_without_nxe(memory: Memory, tmp_path: Path) -> None:
    memory.set(4, 0, USER_LEAF)
    assert one(memory.walk(tmp_path, nxe=True), 1)["nx"] is True
    assert one(memory.walk(tmp_path, nxe=False), 1)["nx"] is False
    assert memory.walk(tmp_path, nxe=False).notes == []
    assert "EFER.NXE assumed" in memory.walk(tmp_path).notes[0]


@pytest.mark.parametrize(
    ("levels", "index", "va"),
    [
        (4, 255, 0x00007F8000000000),
        (4, 256, 0xFFFF800000000000),
        (4, 511, 0xFFFFFF8000000000),
        (5, 255, 0x00FF000000000000),
        (5, 256, 0xFF00000000000000),
    ],
)
def test_addresses_are_canonical(tmp_path: Path, levels: int, index: int, va: int) -> None:
    memory = Memory()
    memory.set(1, index, 2 * PAGE | TABLE)
    walk = memory.walk(tmp_path, levels=levels)
    assert (walk.va.tolist(), walk.level.tolist()) == ([va], [levels])


def test_a_shared_table_is_listed_at_each_address(memory: Memory, tmp_path: Path) -> None:
    memory.set(3, 7, 4 * PAGE | TABLE)
    memory.set(4, 5, USER_LEAF)
    walk = memory.walk(tmp_path)
    assert walk.va[walk.leaf].tolist() == [5 * PAGE, 7 * 512 * PAGE + 5 * PAGE]
    (report,) = walk.reports
    assert (report.kind, report.va, report.pa, report.level, report.count) == (
        "shared", 0, 4 * PAGE, 1, 2,
    )  # fmt: skip
    assert str(report) == "level 1 table 0x4000 is reached 2 times, first at 0x0000000000000000"


def test_a_table_that_is_its_own_ancestor_is_not_followed(memory: Memory, tmp_path: Path) -> None:
    memory.set(4, 5, USER_LEAF)
    memory.set(3, 1, 3 * PAGE | TABLE)  # itself
    memory.set(3, 2, 1 * PAGE | TABLE)  # the root
    memory.set(1, 493, 1 * PAGE | TABLE)  # the root as its own entry
    walk = memory.walk(tmp_path)
    assert walk.entry.tolist().count(USER_LEAF) == 1
    assert [(report.kind, report.va, report.pa, report.level) for report in walk.reports] == [
        ("loop", 1 << 21, 3 * PAGE, 1),
        ("loop", 2 << 21, 1 * PAGE, 1),
        ("loop", 493 << 39 | 0xFFFF << 48, 1 * PAGE, 3),
    ]
    assert len(walk) == len(walk.va) == 7


def test_tables_outside_are_reported_once_each(memory: Memory, tmp_path: Path) -> None:
    memory.set(3, 1, 0x777000 | TABLE)
    memory.set(3, 2, 0x777000 | TABLE)
    memory.set(2, 9, 0xFFFFFFFFFF000 | TABLE)
    walk = memory.walk(tmp_path)
    assert walk.report_counts == {"outside": 2, "shared": 1}
    outside = [(r.va, r.pa, r.level) for r in walk.reports if r.kind == "outside"]
    assert sorted(outside) == [(1 << 21, 0x777000, 1), (9 << 30, 0xFFFFFFFFFF000, 2)]
    assert "outside the image" in str(walk.reports[0])


def test_a_page_that_is_cut_short_is_outside(memory: Memory, tmp_path: Path) -> None:
    file = tmp_path / "memory"
    memory.set(4, 0, USER_LEAF)
    file.write_bytes(memory.words[:4].tobytes() + memory.words[4].tobytes()[:-1])
    with pgtable.open_image(file, format="raw") as image:
        walk = image.walk(PAGE)
        assert "cut short" in image.notes[0]
    assert walk.report_counts == {"outside": 1}


def test_sharing_that_explodes_is_listed_once(tmp_path: Path) -> None:
    memory = Memory()
    for page in (1, 2, 3):
        memory.words[page] = (page + 1) * PAGE | TABLE
    memory.set(4, 511, USER_LEAF)
    walk = memory.walk(tmp_path)
    assert len(walk) == 3 * 512 + 1
    assert walk.va[walk.leaf].tolist() == [511 * PAGE]
    everywhere = 512 + 512**2 + 512**3 + 512**3
    once = [report for report in walk.reports if report.kind == "once"]
    assert [report.count for report in once] == [everywhere]
    assert walk.report_counts["shared"] == 3


def test_every_entry_refers_to_the_root(tmp_path: Path) -> None:
    memory = Memory()
    memory.words[1] = 1 * PAGE | TABLE
    walk = memory.walk(tmp_path, levels=5)
    assert len(walk) == 512
    assert walk.report_counts["loop"] == 512


def test_limit_ends_the_list(memory: Memory, tmp_path: Path) -> None:
    memory.words[4] = USER_LEAF
    whole = memory.walk(tmp_path)
    assert len(whole) == 515
    for limit in (0, 1, 3, 4, 100, 514):
        walk = memory.walk(tmp_path, limit=limit)
        assert np.array_equal(walk.va, whole.va[:limit])
        assert np.array_equal(walk.kind, whole.kind[:limit])
        (report,) = walk.reports
        assert (report.kind, report.va) == ("limit", whole.va[limit])
    assert memory.walk(tmp_path, limit=515).reports == []


def test_limit_decides_on_sharing(memory: Memory, tmp_path: Path) -> None:
    memory.words[3] = 4 * PAGE | TABLE
    memory.words[4] = USER_LEAF
    everywhere = 2 + 512 + 512 * 512
    assert len(memory.walk(tmp_path, limit=everywhere)) == everywhere
    walk = memory.walk(tmp_path, limit=everywhere - 1)
    assert len(walk) == 2 + 512 + 512
    assert "once" in walk.report_counts


def test_reports_of_one_kind_are_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk_module, "MAX_REPORTS", 10)
    memory = Memory()
    memory.words[1] = np.arange(512, dtype=np.uint64) * np.uint64(PAGE) + np.uint64(1 << 40 | TABLE)
    memory.set(1, 0, 2 * PAGE | TABLE)
    walk = memory.walk(tmp_path)
    assert (len(walk.reports), walk.report_counts) == (10, {"outside": 511})


def test_large_tables_are_walked_as_a_whole_or_not(memory: Memory, tmp_path: Path) -> None:
    # full, full but for one that is not present, with one hole
    for hole, value in ((None, 0), (100, 0x100), (100, 0)):
        memory.words[4] = USER_LEAF
        if hole is not None:
            memory.set(4, hole, value)
        walk = memory.walk(tmp_path)
        expected = [i * PAGE for i in range(512) if memory.words[4, i]]
        level_1 = walk.level == 1
        assert walk.va[level_1].tolist() == expected
        assert np.count_nonzero(walk.leaf) == np.count_nonzero(memory.words[4] & np.uint64(1))


def test_results_stay_after_the_image_is_closed(memory: Memory, tmp_path: Path) -> None:
    memory.set(4, 0, USER_LEAF)
    walk = memory.walk(tmp_path)
    (tmp_path / "memory").write_bytes(b"")
    assert walk.columns["pa"].tolist()[-1] == 0
    assert repr(walk) == "<walk of 4 entries from 0x1000, 4 levels>"
    assert walk.nbytes == 4 * 30


def shared_by_both_halves(memory: Memory) -> None:
    memory.chain(1, 9, 8, 4, index=500)
    memory.set(8, 3, 4 * PAGE | TABLE)
    memory.set(8, 4, 15 * PAGE | TABLE)
    memory.words[4] = np.arange(512, dtype=np.uint64) | np.uint64(USER_LEAF)
    memory.words[15, 9:300] = 0x8000000000000063


def out_of_order(memory: Memory) -> None:
    memory.chain(1, 2, 3)
    for index, page in enumerate((14, 5, 13, 6, 12, 7, 11)):
        memory.set(3, index, page * PAGE | TABLE)
        memory.words[page, index : 4 * index + 2] = USER_LEAF | page << 52


def its_own_ancestor(memory: Memory) -> None:
    memory.set(3, 1, 3 * PAGE | TABLE)
    memory.set(3, 2, 1 * PAGE | TABLE)
    memory.words[4, ::5] = USER_LEAF


def exploding(memory: Memory) -> None:
    for page in (1, 2, 3):
        memory.words[page] = (page + 1) * PAGE | TABLE
    memory.set(4, 511, USER_LEAF)


def without_tables(memory: Memory) -> None:
    memory.words[1] = USER_LEAF


@pytest.mark.parametrize(
    "arrange", [shared_by_both_halves, out_of_order, its_own_ancestor, exploding, without_tables]
)
def test_a_census_counts_what_a_walk_lists(
    memory: Memory, tmp_path: Path, arrange: Callable[[Memory], None]
) -> None:
    arrange(memory)
    walk = memory.walk(tmp_path)
    half = np.where(walk.va >> np.uint64(63), "kernel", "user")
    expected = {
        (str(name), int(level)): pgtable.census(walk.entry[(half == name) & (walk.level == level)])
        for name, level in {*zip(half.tolist(), walk.level.tolist(), strict=True)}
    }
    with pgtable.open_image(tmp_path / "memory", format="raw") as image:
        found = image.census(PAGE, 4)
    assert {key: census.as_dict() for key, census in found.items()} == {
        key: census.as_dict() for key, census in expected.items()
    }
