# SPDX-License-Identifier: GPL-2.0-only
"""The shape of the source: one name for one thing, and imports that go one way."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import pytest

import pgtable

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for room in ("pgtable", "bench", "csrc")
    for path in (ROOT / room).rglob("*.*")
    if path.suffix in (".py", ".c", ".h")
)
MODULES = [path for path in SOURCES if path.suffix == ".py"]

#: Files of one name in several directories: allowed, for they are about the same thing.
SHARED_STEMS = {
    "__init__": "Python",
    "__main__": "Python",
    "errors": "what a package raises",
    "apply": "calling helpers on words, and the command that does it on files",
    "census": "the histogram, its C, and the command",
    "check": "comparing results: the program of csrc, and the command",
    "diff": "two images compared, and the command",
    "form_proofs": "C that a compiler has to reduce, and who has it do so",
    "runner": "the program that times, and who runs it",
    "stdint": "what a kernel tree includes as <stdint.h>",
    "walk": "the walk, its C, the command, and how long it takes",
}

#: The parts of the package, from the lowest layer to the highest.  Imports go down.
LAYERS = (
    ("containers", "kernels", "locks", "memory", "notation", "npy", "unpacking"),
    ("encodings", "streams", "switches"),
    ("bits", "replacing"),
    ("engines",),
    ("census", "files", "kernel_trees"),
    ("checks", "cost"),
    ("images", "proofs"),
    ("review",),
    ("cli",),
)
#: Helpers know no files, and what is said of helpers needs none.
KNOW_NO_FILES = ("engines", "kernel_trees", "checks", "proofs", "review")
FILES = {"containers", "files", "images", "npy", "replacing", "streams", "unpacking"}
#: Not part of a layer: they hand out what the others have.
DOORS = {"__init__", "__main__", "_early"}


def _room(parts: Sequence[str]) -> str:
    """Return the part of the package that a module belongs to: a package, or the module."""
    # the names of rules and switches, which lie beside the engines, need no engine
    return "switches" if tuple(parts[:2]) == ("engines", "switches") else parts[0]


def _room_of(path: Path) -> str:
    return _room(path.relative_to(ROOT / "pgtable").with_suffix("").parts)


def _imported_rooms(path: Path) -> set[str]:
    """Return which parts of the package a module imports, its own not counted."""
    package = ["pgtable", *path.relative_to(ROOT / "pgtable").parent.parts]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        base = package[: len(package) + 1 - node.level] if node.level else []
        module = [*base, *(node.module.split(".") if node.module else [])]
        if module[0] == "pgtable":
            names = [alias.name for alias in node.names if not alias.name.startswith("__")]
            found |= {_room([*module[1:], name]) for name in names}
    return found - {_room_of(path)}


def test_files_of_one_name_are_about_one_thing():
    places = defaultdict(set)
    for path in SOURCES:
        places[path.stem].add(path.parent)
    shared = {stem for stem, where in places.items() if len(where) > 1}
    assert shared - SHARED_STEMS.keys() == set(), "rename one, or say what they share"


def test_no_class_has_the_name_of_another():
    classes = defaultdict(list)
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                classes[node.name].append(str(path.relative_to(ROOT)))
    assert {name: where for name, where in classes.items() if len(where) > 1} == {}


def _package_modules() -> list[Path]:
    modules = [path for path in MODULES if path.is_relative_to(ROOT / "pgtable")]
    return [path for path in modules if _room_of(path) not in DOORS]


def test_every_part_has_its_layer():
    assert {_room_of(path) for path in _package_modules()} == set(chain.from_iterable(LAYERS))


@pytest.mark.parametrize("path", _package_modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path: Path):
    height = {room: i for i, layer in enumerate(LAYERS) for room in layer}
    room, imported = _room_of(path), _imported_rooms(path)
    assert {one for one in imported if height.get(one, -1) >= height[room]} == set()
    if room in KNOW_NO_FILES:
        assert imported & FILES == set()


def test_kernel_trees_have_one_door():
    """Others import what pgtable.kernel_trees names, and none of its modules."""
    modules = {path.stem for path in (ROOT / "pgtable" / "kernel_trees").rglob("*.py")}
    for path in (*_package_modules(), *(ROOT / "bench").glob("*.py")):
        if "kernel_trees" not in path.parts:
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and "kernel_trees" in (node.module or ""):
                    assert node.module.endswith("kernel_trees"), path
                    assert {alias.name for alias in node.names}.isdisjoint(
                        modules - {"kernel_tree", "tree_library"}
                    ), path


def test_the_package_knows_no_benchmarks():
    for path in MODULES:
        if path.is_relative_to(ROOT / "pgtable"):
            roots = {
                name.split(".")[0]
                for node in ast.walk(ast.parse(path.read_text()))
                for name in (
                    [alias.name for alias in node.names]
                    if isinstance(node, ast.Import)
                    else [node.module or ""]
                    if isinstance(node, ast.ImportFrom) and not node.level
                    else []
                )
            }
            assert roots.isdisjoint({"bench", "tests", "setup"}), path


def test_beside_a_clone_the_package_is_found(tmp_path: Path):
    """The directory of a clone has the package's name and must not hide it."""
    (tmp_path / "pgtable").symlink_to(ROOT, target_is_directory=True)
    found = subprocess.run(
        [sys.executable, "-c", "import pgtable; print(pgtable.__file__); pgtable.native"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(found.stdout.strip()).samefile(Path(pgtable.__file__))


def test_the_architecture_in_the_readme_is_there():
    drawing = (ROOT / "README.md").read_text().split("## Architecture")[1].split("```")[1]
    room, found = ROOT, 0
    for line in drawing.strip().splitlines():
        words = re.split(r" {2,}", line.strip())[0].split()
        if not line.startswith(" "):
            room = ROOT / words[0]
            assert all((ROOT / word).is_dir() for word in words if word.endswith("/")), line
            continue
        directory = (room / words[0]).parent if not words[0].endswith("/") else room
        for word in words:
            path = room / word if "/" in word else directory / word
            assert path.exists(), f"{line.strip()}: there is no {path.relative_to(ROOT)}"
            found += 1
    assert found > 50


def test_every_directory_is_in_the_architecture():
    drawing = (ROOT / "README.md").read_text().split("## Architecture")[1].split("```")[1]
    for room in ("csrc", "pgtable"):
        for path in (ROOT / room).iterdir():
            if path.is_dir() and path.name != "__pycache__" and not path.name.endswith("egg-info"):
                assert f"  {path.name}/" in drawing, path
