# SPDX-License-Identifier: GPL-2.0-only
"""Pickled and copied images are opened again: they walk as the first one does."""

from __future__ import annotations

import copy
import lzma
import multiprocessing
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import pgtable
from pgtable.images.image import Image
from pgtable.images.synthetic import synthesize, write

DATA = Path(__file__).parents[1] / "data"
PAGE = 4096
FORMATS = ("flat.kdump.xz", "k612.avml.xz", "limefull.lime.xz", "vbox.elf.xz")

COPIES: dict[str, Callable[[Image], Image]] = {
    **{f"pickle {n}": lambda image, n=n: pickle.loads(pickle.dumps(image, n))
       for n in range(2, pickle.HIGHEST_PROTOCOL + 1)},
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}  # fmt: skip


def summary(image: Image, root: int | None = None) -> tuple:
    walk = image.walk(root)
    return (
        {name: column.tobytes() for name, column in walk.columns.items()},
        [str(report) for report in walk.reports],
        {key: each.as_dict() for key, each in image.census(root).items()},
        image.format,
        image.cpus,
        image.vmcoreinfo,
        image.notes,
        image.ranges.tolist(),
    )


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("core") / "vmcore"
    path.write_bytes(lzma.decompress((DATA / "k61-256.vmcore.xz").read_bytes()))
    return path


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_walks_as_the_first_did_which_is_closed(core, how):
    """The memory of the first is given away in between."""
    with pgtable.open_image(core) as image:
        expected = summary(image)
        made = COPIES[how](image)
    del image
    taken = [np.full(core.stat().st_size // 8, 0x67, np.uint64) for _ in range(3)]
    assert summary(made) == expected
    assert made.path == core
    made.close()
    del taken


def _walked(blob: bytes) -> tuple:
    with pickle.loads(blob) as image:
        return summary(image)


def test_fresh_processes_walk_the_same(core, monkeypatch):
    monkeypatch.chdir(core.parent)
    image = pgtable.open_image(core.name)  # a relative path
    expected, blob = summary(image), pickle.dumps(image)
    image.close()
    monkeypatch.chdir("/")
    context = multiprocessing.get_context("spawn")
    with context.Pool(2, maxtasksperchild=3) as pool:
        found = pool.map(_walked, [blob] * 30, chunksize=1)
    assert all(one == expected for one in found)
    assert len(found) == 30


@pytest.mark.parametrize("name", FORMATS)
def test_other_formats_too(name):
    with pgtable.open_image(DATA / "cases" / name) as image:
        pa = int(image.ranges[0, 0])
        made = pickle.loads(pickle.dumps(image))
        content = image.read(pa, PAGE)
    assert (made.read(pa, PAGE), made.format) == (content, image.format)


def test_segments_and_the_format_are_kept(tmp_path):
    machine = synthesize(5000, seed=1, base=PAGE)
    path = tmp_path / "memory"
    write(machine, path, "raw")
    half = path.stat().st_size // 2 & -PAGE
    pieces = [(0x1_0000_0000, half, path.stat().st_size - half), (0, 0, half)]
    with pgtable.open_image(path, segments=pieces) as image:
        made = copy.deepcopy(image)
        assert made.ranges.tolist() == image.ranges.tolist()
        assert len(made.ranges) == 2
    # records that are said to be raw memory
    with pgtable.open_image(DATA / "k61-256.ptpages.bin.xz", format="raw") as image:
        assert copy.deepcopy(image).format == "raw"


CHANGES: dict[str, tuple[Callable[[Path], object], type[Exception], str]] = {
    "written to": (lambda p: os.utime(p, ns=(1, 1)), ValueError, "was written to"),
    "longer": (lambda p: os.truncate(p, p.stat().st_size + 8), ValueError, "was written to"),
    "another file": (
        lambda p: (shutil.copy2(p, f"{p}.new"), os.replace(f"{p}.new", p)),
        ValueError, "is another file",
    ),
    "gone": (lambda p: p.unlink(), FileNotFoundError, "No such file"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changed_is_noticed(core, tmp_path, change):
    alter, error, says = CHANGES[change]
    path = tmp_path / "vmcore"
    shutil.copy(core, path)
    with pgtable.open_image(path) as image:
        blob = pickle.dumps(image)
        alter(path)
        with pytest.raises(error, match=says) as raised:
            pickle.loads(blob)
        assert str(path) in str(raised.value)
        with pytest.raises(error, match=says):
            copy.deepcopy(image)


def test_what_can_be_read_only_once_is_refused(core, monkeypatch):
    with core.open("rb") as file:
        monkeypatch.setattr(sys, "stdin", open(file.fileno(), closefd=False))  # noqa: SIM115
        with pgtable.open_image("-") as image, pytest.raises(TypeError, match="copy it to a file"):
            pickle.dumps(image)


def test_closed_images_and_their_segments_are_refused(core):
    image = pgtable.open_image(core)
    with pytest.raises(TypeError, match="pickle the image"):
        copy.copy(image.segments)
    image.close()
    with pytest.raises(TypeError, match="closed"):
        copy.deepcopy(image)
