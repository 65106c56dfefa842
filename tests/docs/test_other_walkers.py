# SPDX-License-Identifier: GPL-2.0-only
"""Every command of docs/other-walkers.md says what the page says; its examples run."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import pgtable
from pgtable.cli import main

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "images" / "spaces"))
from machines import PAGE, Machine  # noqa: E402

PAGE_TEXT = (ROOT / "docs" / "other-walkers.md").read_text()
CASES = re.findall(
    r"^## (\d+)\..*?```sh\npgtable (.*?)\n```\n```\n(.*?)```", PAGE_TEXT, re.M | re.S
)


def _machine(name: str) -> tuple[bytes, int]:
    """Return memory in which the case is, and the root of its process."""
    machine = Machine(
        5, levels=5 if name == "la57" else 4, pti=name == "pti", c_bit=47 if name == "sev" else 0
    )
    root = machine.process(1)
    if name == "protnone":
        machine.map(root // PAGE, 0x1234_5000, ~(7 << 20) & 0x000F_FFFF_FFFF_F000 | 1 << 8)
    if name == "pat":
        machine.map(root // PAGE, 0x4000_0000_0000, 6 << 20 | 1 << 12 | 0xE7, 2)
    if name == "alike":
        for i in range(512):
            machine.map(root // PAGE, 0x7000_0000_0000 + i * PAGE, 6 << 20 | 0x8000_0000_0000_0067)
    return machine.tobytes(), root


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("walkers")
    for name in ("la57", "protnone", "pat", "pti", "sev", "alike"):
        (place / f"{name}.raw").write_bytes(_machine(name)[0])
    content, _ = _machine("joined")
    # between the kernel's image and the tables of processes there is a hole
    (place / "joined.raw").write_bytes(content[:0x28_0000] + content[0x30_0000:])
    deep = np.zeros((6, 512), np.uint64)
    for level in range(1, 5):
        deep[level] = (level + 1) << 12 | 0x67
    (place / "deep.raw").write_bytes(deep.tobytes())
    shutil.copy(ROOT / "tests" / "data" / "spaces" / "main.raw.xz", place)
    return place


def test_there_are_ten_and_more() -> None:
    assert [int(number) for number, _, _ in CASES] == list(range(1, len(CASES) + 1))
    assert len(CASES) >= 10
    sections = re.split(r"^## ", PAGE_TEXT, flags=re.M)[1 : 1 + len(CASES)]
    for section in sections:
        assert re.search(r"https://github\.com/[\w.-]+/[\w.-]+/(issues|pull)/\d+", section)


@pytest.mark.parametrize(("number", "command", "said"), CASES, ids=[case[0] for case in CASES])
def test_the_command_says_it(
    files: Path,
    number: str,
    command: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(files)
    arguments = shlex.split(command)
    assert main(arguments) in (0, 1)
    out = " ".join(capsys.readouterr().out.split())
    for line in said.strip().splitlines():
        assert " ".join(line.split()) in out, out


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_for_volatility3(files: Path) -> None:
    pytest.importorskip("volatility3")
    path = files / "alike.raw"
    context, names = example("volatility3_spaces").layers_of(str(path))
    with pgtable.open_image(path, format="raw") as image:
        spaces = image.spaces()
        assert len(names) == len(spaces)
        walk = image.walk(spaces[0].root)
        layer = context.layers[f"space_{spaces[0].root:x}"]
        rows = np.flatnonzero(walk.leaf & walk.user)
        # volatility3 drops tables whose entries are all alike: what is told of the others agrees
        first = int(walk.va[rows[0]])
        assert layer.translate(first)[0] == int(walk.pa[rows[0]])


def test_the_example_for_drgn(files: Path) -> None:
    pytest.importorskip("drgn")
    path = files / "protnone.raw"
    with pgtable.open_image(path, format="raw") as image:
        program = example("drgn_space").program_of(image, "0")
        assert program.read(0x1234_5000, 16) == image.read(7 << 20, 16)
        kernel = int(image.walk(image.spaces()[0].root).va[-1])
        assert len(program.read(kernel, 64)) == 64
