# SPDX-License-Identifier: GPL-2.0-only
"""What is plainly no file of entries is not counted as one."""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pgtable
from pgtable.cli import main
from pgtable.images.looks import Looks, find_top_table

DATA = Path(__file__).parents[1] / "data"
PAGE = 4096


@pytest.fixture(scope="module", params=["k612-128", "k61-256"])
def ram(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    """Return raw memory with the page tables of a shipped dump, and its two roots."""
    path = tmp_path_factory.mktemp("ram") / "ram.raw"
    with pgtable.open_image(DATA / f"{request.param}.vmcore.xz") as core, path.open("wb") as file:
        for start, end in core.ranges.tolist():
            file.seek(start)
            file.write(core.read(start, end - start))
        return path, {cpu.root for cpu in core.cpus}


def test_memory_is_refused_with_its_root(ram: tuple, capsys: pytest.CaptureFixture[str]) -> None:
    path, roots = ram
    assert find_top_table(str(path)) in roots
    assert main(["census", str(path)]) == 2
    error = capsys.readouterr().err
    assert any(
        f"{path}: looks like a memory image, with a top table at {root:#x}; walk it with"
        f" --image --root {root:#x}," in error
        for root in roots
    )
    assert main(["census", str(path), "--raw", "--json"]) == 0


def test_memory_with_text_and_pointers_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(5)
    words = rng.integers(0, 1 << 40, 1 << 19, np.uint64)
    words[::50] = rng.integers(0xFFFF888000000000, 0xFFFF8880FFFFFFFF, len(words[::50]), np.uint64)
    words[1::50] = np.frombuffer(b"vmlinuz ", np.uint64)
    path = tmp_path / "ram.raw"
    words.tofile(path)
    assert main(["census", str(path)]) == 2
    assert "looks like a memory image (it has text and" in capsys.readouterr().err


def _pagemap(frames: np.ndarray, flags: int) -> np.ndarray:
    return frames | np.uint64(1 << 63 | flags)


@pytest.mark.parametrize("flags", [0, 1 << 55, 1 << 56 | 1 << 61, 1 << 57])
@pytest.mark.parametrize("shown", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_a_pagemap_is_refused(
    flags: int, shown: bool, packed: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = np.random.default_rng(2).integers(1, 1 << 24, 300, np.uint64)
    words = _pagemap(frames if shown else frames * np.uint64(0), flags)
    words[::7] = 0
    words[5::31] = np.uint64(1 << 62 | 5 << 5)  # swapped
    path = tmp_path / "pagemap"
    path.write_bytes(lzma.compress(words.tobytes()) if packed else words.tobytes())
    assert main(["census", str(path)]) == 2
    assert "looks like a copy of /proc/PID/pagemap" in capsys.readouterr().err
    assert main(["census", str(path), "--raw"]) == 0


def test_records_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pages"
    path.write_bytes(lzma.decompress((DATA / "k612-128.ptpages.bin.xz").read_bytes()))
    assert main(["census", str(path)]) == 2
    assert "as records of address and page; walk it with --image" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["k612-128.ptes.bin.xz", "k61-256.ptes.bin.xz"])
def test_entries_are_counted(name: str) -> None:
    assert main(["census", str(DATA / name)]) == 0


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 1 << 30), st.sampled_from(["random", "leaf", "nx", "swap", "zero"]))
def test_entries_never_look_like_anything_else(seed: int, mix: str) -> None:
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 1 << 27, 20000, np.uint64) << np.uint64(12)
    words = {
        "random": rng.integers(0, 1 << 64, 20000, np.uint64),
        "leaf": frames | np.uint64(0x867),
        "nx": frames | np.uint64(0x8000000000000865),
        "swap": ~(frames >> np.uint64(3)) & np.uint64(0x07FFFFFFFFFFFE00),
        "zero": frames * np.uint64(rng.random() < 0.5),
    }[mix]
    words[rng.random(20000) < rng.random()] = 0
    looks = Looks()
    for at in range(0, len(words), 4096):
        looks.add(words[at : at + 4096])
    assert not looks.is_memory
    assert not looks.is_pagemap
