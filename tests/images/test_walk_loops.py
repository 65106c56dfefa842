# SPDX-License-Identifier: GPL-2.0-only
"""Tables of level 1 to rows, on every instruction set, against a walk written in Python."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import pgtable
from pgtable.images import Kind, Walk
from pgtable.images import walking as walk_module
from pgtable.images.reference_walk import reference_walk
from pgtable.images.walk import COLUMNS

PAGE = 4096
PRESENT, RW, USER, NX = 1, 2, 4, 1 << 63
FIRST_PTES = 12  # pages: a spare one, the root, one pud and one pmd table of each half, ...


def patterns() -> Iterator[np.ndarray]:
    """Yield tables: each place that may be zero alone, and entries of all kinds at random."""
    rng = np.random.default_rng(58)

    def words(n: int = 512) -> np.ndarray:
        return rng.integers(0, 1 << 64, n, np.uint64)

    present = words() | np.uint64(PRESENT)
    yield present
    yield np.zeros(512, np.uint64)
    yield words() & ~np.uint64(PRESENT) | np.uint64(2)  # none is present
    for density in (0.02, 0.3, 0.5, 0.9, 0.99):
        yield np.where(rng.random(512) < density, words(), np.uint64(0))
        yield np.where(rng.random(512) < density, present, np.uint64(0))
    for start in (0, 3, 31, 32, 200):  # runs, with ends in and between blocks
        for length in (1, 31, 32, 33, 64, 312):
            table = np.zeros(512, np.uint64)
            table[start : start + length] = present[:length]
            yield table
            yield np.where(table, np.uint64(0), present)
    for bits in range(16):  # every set of four neighbours, at every place of a block
        four = np.array([bits >> i & 1 for i in range(4)], bool)
        yield np.where(np.tile(four, 128), words(), np.uint64(0))
    # swap entries, and others like them, as kernels write them
    kind = rng.integers(0, 32, 512, np.uint64) << np.uint64(59)
    offset = ~rng.integers(0, 12, 512, np.uint64) << np.uint64(9) & np.uint64((1 << 59) - 1)
    low = rng.choice(np.array([0, 2, 4, 8, 0x10, 0x80, 0x100], np.uint64), 512)
    yield kind | offset | low
    # nothing but one bit or all but one, which no other entry would stand in for
    yield np.resize(np.uint64(1) << np.arange(64, dtype=np.uint64), 512)
    yield np.resize(~(np.uint64(1) << np.arange(64, dtype=np.uint64)), 512)


def make_image() -> np.ndarray:
    """Return pages of a machine whose pmd entries have all rights in turn, in both halves."""
    tables = list(patterns())
    memory = np.zeros((FIRST_PTES + len(tables), 512), np.uint64)
    link = PRESENT | RW | USER
    for half, index in ((0, 0), (1, 511)):
        pud, pmd = 2 + 2 * half, 3 + 2 * half
        memory[1, index] = pud * PAGE | link
        memory[pud, 0] = pmd * PAGE | link
        for i in range(len(tables)):
            rights = PRESENT | i % 4 << 1 | (i // 4 % 2) * NX
            memory[pmd, (7 * i + half) % 512] = (FIRST_PTES + i) * PAGE | rights
    memory[FIRST_PTES:] = tables
    return memory


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("loops") / "memory"
    make_image().tofile(path)
    return path


def expected(path: Path) -> dict[str, list]:
    memory = path.read_bytes()
    read = partial(_page, memory)
    rows = zip(*reference_walk(read, PAGE, 4), strict=True)
    return dict(zip(COLUMNS, map(list, rows), strict=True))


def _page(memory: bytes, pa: int) -> bytes:
    return memory[pa : pa + PAGE]


def walked(path: Path, **arguments: object) -> Walk:
    with pgtable.open_image(path, format="raw") as opened:
        return opened.walk(PAGE, 4, **arguments)  # type: ignore[arg-type]


def as_lists(walk: Walk) -> dict[str, list]:
    return {name: column.tolist() for name, column in walk.columns.items()}


@pytest.mark.parametrize("isa", pgtable.isas())
def test_all_columns_are_those_of_plain_python(image: Path, isa: str) -> None:
    if not pgtable.isas()[isa]:
        pytest.skip(f"this processor has no {isa}")
    with pgtable.isa(isa):
        walk = walked(image)
        assert as_lists(walk) == expected(image)
    assert set(walk.kind) == set(Kind)  # none is missing from the patterns


@pytest.mark.parametrize("isa", pgtable.isas())
def test_without_nxe_nothing_but_nx_is_another(image: Path, isa: str) -> None:
    if not pgtable.isas()[isa]:
        pytest.skip(f"this processor has no {isa}")
    with pgtable.isa(isa):
        walk = walked(image, nxe=False)
        found = as_lists(walk)
    other = expected(image)
    other["nx"] = (walk.kind > Kind.TABLE).tolist()
    assert found == other


@pytest.mark.parametrize("reserved_from", [1, 1 << 40])
@pytest.mark.parametrize("copied_below", [1, 1 << 40])
def test_reserved_and_counted_memory_hold_the_same(
    image: Path, monkeypatch: pytest.MonkeyPatch, reserved_from: int, copied_below: int
) -> None:
    monkeypatch.setattr(walk_module, "RESERVED_FROM", reserved_from)
    monkeypatch.setattr(walk_module, "COPIED_BELOW", copied_below)
    walk = walked(image)
    assert as_lists(walk) == expected(image)
    counts = np.count_nonzero(np.fromfile(image, np.uint64).reshape(-1, 512), axis=1)
    assert walk.tables.entries.tolist() == counts[walk.tables.pa // PAGE].tolist()


def test_where_memory_is_refused_rows_are_counted(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(rows: int, dtypes: dict) -> dict:
        asked.append(rows)
        if len(asked) <= refused:
            raise MemoryError
        return make(rows, dtypes)

    make = walk_module.empty_columns
    monkeypatch.setattr(walk_module, "empty_columns", refuse)
    monkeypatch.setattr(walk_module, "RESERVED_FROM", 1)
    refused = 1
    walk = walked(image)
    assert as_lists(walk) == expected(image)
    assert asked[0] > asked[1] == len(walk)
    asked.clear()
    refused = 2
    with pytest.raises(MemoryError, match=f"{len(walk)} entries do not fit"):
        walked(image)


def test_a_limit_cuts_at_any_row(tmp_path: Path) -> None:
    memory = make_image()
    memory[1, 511] = 0  # no table is shared, so a limit does nothing but cut
    path = tmp_path / "memory"
    memory.tofile(path)
    whole = walked(path).columns
    n = len(whole["va"])
    for limit in [*range(20), *range(500, 560), *range(n - 600, n, 7), n - 1, n, n + 1]:
        walk = walked(path, limit=limit)
        assert len(walk) == min(limit, n)
        for name, column in walk.columns.items():
            assert np.array_equal(column, whole[name][:limit]), (limit, name)
        stops = [report.va for report in walk.reports if report.kind == "limit"]
        assert stops == whole["va"][limit : limit + 1].tolist()
