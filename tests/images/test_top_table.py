# SPDX-License-Identifier: GPL-2.0-only
"""A root that is no top table is said, with exit code 2, by every command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pgtable
from pgtable.cli import main
from pgtable.images.synthetic import synthesize, write

DATA = Path(__file__).parents[1] / "data"
PAGE = 4096
CORE = DATA / "k612-128.vmcore.xz"


def _raw(tmp_path: Path) -> Path:
    """Return the shipped core as raw memory, with text, a zero page and data beside its tables."""
    path = tmp_path / "ram.raw"
    with pgtable.open_image(CORE) as core, path.open("wb") as file:
        for start, end in core.ranges.tolist():
            file.seek(start)
            file.write(core.read(start, end - start))
        file.seek(PAGE)
        file.write(b"Linux version 6.12.0 (root@host) #1 SMP\n" * 102)
        file.seek(2 * PAGE)
        file.write(np.random.default_rng(1).bytes(PAGE))
    return path


@pytest.mark.parametrize(
    ("root", "why"),
    [(0, "it is all zeros"), (PAGE, "no entries of a top table|is a present entry|outside"),
     (2 * PAGE, "no entries of a top table|outside the image")],
)  # fmt: skip
@pytest.mark.parametrize("command", ["walk", "audit", "census"])
def test_a_wrong_page_is_said(
    command: str, root: int, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _raw(tmp_path)
    image = ["--image"] if command == "census" else []
    assert main([command, str(path), *image, "--root", hex(root)]) == 2
    error = capsys.readouterr().err
    assert f"{path}: the page at the root {root:#x} is no top table of 4 levels: " in error
    assert any(part in error for part in why.split("|"))
    assert error.count("\n") == 1


def test_pages_of_lower_levels_are_no_top_tables() -> None:
    with pgtable.open_image(CORE) as image:
        walk = image.walk()
        level = walk.tables.level
        refused = {2: 0, 1: 0}
        for depth in refused:
            for pa in walk.tables.pa[level == depth].tolist():
                try:
                    image.root(pa, 4)
                except ValueError as error:
                    assert "no top table" in str(error) or "not in the image" in str(error)  # noqa: PT017
                    refused[depth] += 1
        assert refused[1] > 0.8 * np.count_nonzero(level == 1)
        assert refused[2] > 0.8 * np.count_nonzero(level == 2)


@pytest.mark.parametrize("dump", ["k612-128", "k61-256"])
def test_real_top_tables_are_none_the_less(dump: str) -> None:
    with pgtable.open_image(DATA / f"{dump}.vmcore.xz") as image:
        for cpu in (0, 1):
            assert image.root(cpu=cpu).pa == image.cpus[cpu].root


@pytest.mark.parametrize("levels", [4, 5])
def test_synthetic_top_tables_are_too(levels: int, tmp_path: Path) -> None:
    for seed in range(3):
        machine = synthesize(3000, seed=seed, levels=levels, large=20, loops=4, outside=6)
        with pgtable.open_image(write(machine, tmp_path / "raw")) as image:
            assert image.root(machine.root, levels).pa == machine.root


@pytest.mark.parametrize("flags", [0x67, 0x63, 0x23])
@pytest.mark.parametrize("missing", [8, 64, 200, 512])
def test_a_right_top_table_may_have_all_below_in_a_gap(
    missing: int, flags: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    memory = np.zeros((3, 512), "<u8")
    memory[0, 0] = PAGE | flags
    memory[1, :missing] = (0x1000_0000 + np.arange(missing, dtype=np.uint64) * (2 << 20)) | flags
    path = tmp_path / "ram.raw"
    memory.tofile(path)
    assert main(["audit", str(path), "--root", "0"]) in (0, 1)
    assert f"\n  {missing} entries, {missing} GiB in 1 range:\n" in capsys.readouterr().out
    # pages of a process, taken for tables: another flag than tables have
    memory[1, 0] |= np.uint64(1 << 63)
    memory.tofile(path)
    assert main(["audit", str(path), "--root", "0"]) == 2
    assert f"all {missing} tables of level 2 below it are outside" in capsys.readouterr().err
