# SPDX-License-Identifier: GPL-2.0-only
"""The space of a process, told by its pagemap."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest

import pgtable
from pgtable.cli import main
from pgtable.cli import walk as walk_command
from pgtable.images.spaces.of_process import find_process

sys.path.insert(0, str(Path(__file__).parent))
from machines import PAGE, Machine

PRESENT = 1 << 63


def write_process(proc: Path, pid: int, pages: dict[int, int], hidden: bool = False) -> None:
    """Write maps and pagemap of a process: frames by address."""
    place = proc / str(pid)
    place.mkdir(parents=True)
    lines = [f"{va:x}-{va + PAGE:x} rw-p 00000000 00:00 0\n" for va in sorted(pages)]
    lines.append("ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n")
    (place / "maps").write_text("".join(lines))
    with (place / "pagemap").open("wb") as file:
        for va, frame in pages.items():
            file.seek(va // PAGE * 8)
            file.write(struct.pack("<Q", PRESENT | (0 if hidden else frame)))


def user_pages(image: pgtable.images.Image, root: int) -> dict[int, int]:
    walk = image.walk(root)
    rows = walk.leaf & (walk.va < np.uint64(1 << 63)) & (walk.level == 1)
    frames = walk.pa[rows] >> np.uint64(12)
    return dict(zip(walk.va[rows].tolist(), frames.tolist(), strict=True))


@pytest.fixture
def machine(tmp_path: Path) -> tuple[Path, list[int]]:
    made = Machine(17)
    roots = [made.process(12) for _ in range(4)]
    made.map(roots[2] // PAGE, 0x4000_0000_0000, 6 << 20 | 0xE7, 2)
    path = tmp_path / "ram"
    path.write_bytes(made.tobytes())
    return path, roots


def test_the_space_with_its_frames_is_found(machine: tuple, tmp_path: Path) -> None:
    path, roots = machine
    proc = tmp_path / "proc"
    with pgtable.open_image(path, format="raw") as image:
        found = image.spaces()
        for pid, root in enumerate(roots, 1):
            pages = user_pages(image, root)
            if pid == 3:  # within a large page; and it ran on meanwhile
                pages |= {0x4000_0000_0000 + i * PAGE: 0x600 + i for i in range(5)}
                pages[next(iter(pages))] += 1
            write_process(proc, pid, pages)
            assert find_process(image, found, pid, proc).root == root


def test_what_cannot_be_told_is_said(machine: tuple, tmp_path: Path) -> None:
    path, roots = machine
    proc = tmp_path / "proc"
    with pgtable.open_image(path, format="raw") as image:
        found = image.spaces()
        write_process(proc, 1, {0x5000: 0x123, 0x9000: 0x124})
        write_process(proc, 2, user_pages(image, roots[0]), hidden=True)
        write_process(proc, 3, {})
        for pid, said in ((1, "no space in"), (2, "root rights"), (3, "no page in memory")):
            with pytest.raises(ValueError, match=said):
                find_process(image, found, pid, proc)
        with pytest.raises(OSError, match="No such file"):
            find_process(image, found, 4, proc)
        # what two spaces map alike is neither's
        both = user_pages(image, roots[0])
        found.spaces = [found[0], found[0]] if found[0].root == roots[0] else found.spaces
        write_process(proc, 5, both)
        with pytest.raises(ValueError, match="two spaces map"):
            find_process(image, found, 5, proc)


def test_pid_on_the_command_line(
    machine: tuple, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    path, roots = machine
    asked = []

    def told(image: object, found: object, pid: int) -> object:
        asked.append(pid)
        return next(space for space in found if space.root == roots[1])

    monkeypatch.setattr(walk_command, "find_process", told)
    arguments = ["walk", str(path), "--image-format", "raw"]
    assert main([*arguments, "--pid", "77"]) == 0
    assert f"root {roots[1]:#x}" in capsys.readouterr().out
    assert asked == [77]
    assert main([*arguments, "--pid", "77", "--space", "1"]) == 2
    assert "leave one of them" in capsys.readouterr().err
