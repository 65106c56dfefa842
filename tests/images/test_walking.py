# SPDX-License-Identifier: GPL-2.0-only
"""Walks in parts, of a range, without columns: each is held against the plain walk."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pgtable
from pgtable.cli.walk import counts
from pgtable.images import Image, Walk, walking
from pgtable.images.regions import SIZES
from pgtable.images.synthetic import FULL_MIX, synthesize
from pgtable.images.walk import COLUMNS

SHAPES: dict[str, dict] = {
    "dense": {"entries": 400_000},
    "sparse": {"entries": 30_000, "sparse": True, "user": 0.5},
    "large": {"entries": 90_000, "large": 3000, "restricted": 0.2},
    "outside": {"entries": 90_000, "large": 10, "outside": 50},
    "shared": {"entries": 90_000, "shared": 40, "loops": 9},
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Image]:
    made: dict[tuple[str, int], tuple[Image, int]] = {}

    def make(shape: str, levels: int) -> tuple[Image, int]:
        if (shape, levels) not in made:
            machine = synthesize(
                **SHAPES[shape], levels=levels, mix=FULL_MIX, seed=levels, expected=False
            )
            path = tmp_path_factory.mktemp("walking") / "ram"
            machine.write_raw(path)
            made[shape, levels] = pgtable.open_image(path, format="raw"), machine.root
        return made[shape, levels]

    return make


@pytest.fixture
def divided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small walks are done in parts too, in many steps."""
    monkeypatch.setattr(walking, "RESERVED_FROM", 1)
    monkeypatch.setattr(walking, "PIECES_AT_ONCE", 1)
    monkeypatch.setattr(walking, "TABLES_AT_ONCE", 3)


def assert_same(a: Walk, b: Walk) -> None:
    for name in COLUMNS:
        assert np.array_equal(getattr(a, name), getattr(b, name)), name
    assert a.report_counts == b.report_counts
    assert sorted(map(str, a.reports)) == sorted(map(str, b.reports))
    assert_same_tables(a, b)


def assert_same_tables(a: object, b: object) -> None:
    for name, one, other in zip(a.tables._fields, a.tables, b.tables, strict=True):
        assert np.array_equal(one, other), name


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("levels", [4, 5])
@pytest.mark.parametrize("threads", [2, 5])
def test_threads_change_nothing(
    images: Callable, shape: str, levels: int, threads: int, divided: None
) -> None:
    image, root = images(shape, levels)
    asked = {"root": root, "levels": levels}
    alone, together = image.walk(**asked), image.walk(**asked, threads=threads)
    assert_same(alone, together)
    tally = image.tally(**asked, threads=threads)
    assert tally.counts == counts(alone)
    assert tally.report_counts == alone.report_counts
    assert_same_tables(tally, alone)
    assert len(tally) == len(alone)
    one, many = image.census(**asked), image.census(**asked, threads=threads)
    assert {key: c.as_dict() for key, c in one.items()} == {
        key: c.as_dict() for key, c in many.items()
    }
    assert list(one) == list(many)


def test_some_walks_are_really_done_in_parts(images: Callable, divided: None) -> None:
    image, root = images("dense", 4)
    start = image.root(root, 4)
    parts = walking.Parts.of(image.tables(start), start, 3)
    assert parts is not None
    assert len(parts.walks) > 1
    image, root = images("shared", 4)
    start = image.root(root, 4)
    assert walking.Parts.of(image.tables(start), start, 3) is None


def test_large_pages_without_tables_have_room(tmp_path: Path, divided: None) -> None:
    """A stretch of large pages alone is more rows than its tables have entries."""
    words = np.zeros((600, 512), np.uint64)
    words[1, :512] = np.uint64(2 << 12 | 0x67) + (np.arange(512, dtype=np.uint64) << np.uint64(12))
    words[0, 5] = 1 << 12 | 0x67
    large = np.arange(512, dtype=np.uint64) << np.uint64(21) | np.uint64(0xE7)
    words[2:514] = large
    words[2, 3], words[2, 400] = 514 << 12 | 0x67, 515 << 12 | 0x67
    words[514:516] = (np.arange(512, dtype=np.uint64) << np.uint64(12)) | np.uint64(0x67)
    path = tmp_path / "ram"
    path.write_bytes(words.tobytes())
    with pgtable.open_image(path, format="raw") as image:
        walk = image.walk(0, 4)
        assert len(walk) == 1 + 512 + 512 * 512 + 1024
        assert_same(walk, image.walk(0, 4, threads=2))


def overlapping(walk: Walk, start: int, end: int) -> np.ndarray:
    first, last = np.uint64(start), np.uint64(end - 1)
    return (walk.va <= last) & (walk.va + (SIZES[walk.level] - np.uint64(1)) >= first)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("shape", SHAPES)
def test_a_range_is_what_overlaps_it(images: Callable, shape: str, data: st.DataObject) -> None:
    levels = data.draw(st.sampled_from([4, 5]))
    image, root = images(shape, levels)
    asked = {"root": root, "levels": levels}
    whole = image.walk(**asked)
    row = st.integers(0, len(whole) - 1).map(lambda i: int(whole.va[i]))
    near = st.builds(lambda va, by: (va + by) % (1 << 64), row, st.integers(-5000, 5000))
    one, other = data.draw(near), data.draw(near)
    start, end = min(one, other), max(one, other) + 1
    try:
        walk = image.walk(**asked, within=(start, end))
    except ValueError as error:
        assert "has no address" in str(error)  # noqa: PT017 - it may or may not
        assert not overlapping(whole, start, end)[whole.level == 1].any()
        return
    rows = overlapping(whole, walk.root.first, walk.root.last + 1)
    for name in COLUMNS:
        assert np.array_equal(getattr(walk, name), getattr(whole, name)[rows]), name
    assert image.tally(**asked, within=(start, end)).counts == counts(walk)
    census = image.census(**asked, within=(start, end))
    assert sum(one.total for one in census.values()) == len(walk)


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(0, (1 << 48) - 1))
def test_threads_of_a_range(images: Callable, cut: int) -> None:
    image, root = images("dense", 4)
    whole = image.walk(root, 4)
    start = int(whole.va[cut % len(whole)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walking, "RESERVED_FROM", 1)
        within = (start, 1 << 64)
        assert_same(
            image.walk(root, 4, within=within), image.walk(root, 4, within=within, threads=3)
        )


def test_tables_outside_a_range_are_not_read(kdump: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pgtable.open_image(kdump) as image:
        whole = image.walk()
        read: list[int] = []
        real = type(image).read

        def noted(self: Image, pa: int, n: int) -> bytes:
            read.append(pa)
            return real(self, pa, n)

        root = image.root(within=(0, 1 << 47))
        monkeypatch.setattr(type(image), "read", noted)
        image.tables(root)
        user = whole.tables.pa[(whole.tables.va < np.uint64(1 << 47)) & whole.tables.inside]
        assert set(read) == set(user.tolist())
        read.clear()
        walk = image.walk(within=(0, 1 << 47))
        assert len(walk) == np.count_nonzero(whole.va < np.uint64(1 << 63))


@pytest.mark.parametrize(
    ("within", "said"),
    [
        ((5, 5), "is empty"),
        ((9, 5), "is empty"),
        ((-1, 5), "is empty"),
        ((0, (1 << 64) + 1), "is empty"),
        ((1 << 47, 1 << 48), "has no address of 4 levels"),
    ],
)
def test_ranges_that_are_none(images: Callable, within: tuple[int, int], said: str) -> None:
    image, root = images("sparse", 4)
    with pytest.raises(ValueError, match=said):
        image.walk(root, 4, within=within)


def test_a_tally_names_what_is_absent_as_its_kernel_does(images: Callable) -> None:
    image, root = images("sparse", 4)
    for kernel in ("4.4.0", "4.15.0", "5.10.0", "6.8.0"):
        walk = image.walk(root, 4, kernel=kernel)
        assert image.tally(root, 4, kernel=kernel).counts == counts(walk)


def test_progress_grows_to_all_entries(images: Callable, divided: None) -> None:
    image, root = images("dense", 4)
    for work in (image.walk, image.tally, image.census):
        for threads in (1, 2):
            told: list[int] = []
            work(root, 4, threads=threads, progress=told.append)
            assert told
            assert told == sorted(told)


@pytest.mark.parametrize("threads", [-1, 1.5, True])
def test_bad_numbers_of_threads(images: Callable, threads: object) -> None:
    image, root = images("sparse", 4)
    for work in (image.walk, image.tally, image.census):
        with pytest.raises((TypeError, ValueError), match="threads is"):
            work(root, 4, threads=threads)


@pytest.mark.parametrize("threads", [1, 2])
def test_who_stops_it_is_heard_at_the_next_step(
    images: Callable, divided: None, threads: int
) -> None:
    image, root = images("dense", 4)
    told = []

    def stop(done: int) -> None:
        told.append(done)
        raise KeyboardInterrupt

    before = threading.active_count()
    for work in (image.walk, image.tally, image.census):
        with pytest.raises(KeyboardInterrupt):
            work(root, 4, threads=threads, progress=stop)
    assert len(told) == 3
    assert threading.active_count() == before
