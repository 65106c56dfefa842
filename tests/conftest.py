# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures that tests of several parts need."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import pgtable
from pgtable.engines.kernel_tree import KernelTreeEngine

DATA = Path(__file__).parent / "data"

#: Compiling a test's tree at full optimisation would take the most of the test.
QUICK = "-O1"

#: Series of header packages that the tests of real trees want.
SERIES = ("6.1", "6.12")


class Fault(NamedTuple):
    """One thing that is wrong in a copy of the tree in miniature."""

    edits: dict[str, str]  #: text of asm/pgtable.h -> what stands there instead
    helpers: tuple[str, ...]  #: which helpers go wrong by it


#: A fault of every kind.  Each is one mistake that compiles.
FAULTS = {
    "lost_dirty": Fault(
        {
            "const pmdval_t kept = PTE_PFN_MASK | _PAGE_CHG_KEPT;": (
                "const pmdval_t kept = (PTE_PFN_MASK | _PAGE_CHG_KEPT) & ~_PAGE_SAVED_DIRTY;"
            )
        },
        ("pmd_modify",),
    ),
    "accidental_shadow_stack": Fault(
        {
            "pte = pte_clear_flags(pte, _PAGE_RW);\n\treturn pte_mksaveddirty(pte);": (
                "return pte_clear_flags(pte, _PAGE_RW);"
            )
        },
        ("pte_wrprotect", "ptep_set_wrprotect"),
    ),
    "swapped_mask": Fault(
        {
            "return pud_clear_flags(pud, _PAGE_ACCESSED);": (
                "return pud_clear_flags(pud, _PAGE_DIRTY);"
            )
        },
        ("pud_mkold",),
    ),
    "forgotten_level": Fault(
        {
            "pud = pud_set_flags(pud, _PAGE_DIRTY | _PAGE_SOFT_DIRTY);\n"
            "\treturn pud_mksaveddirty(pud);": (
                "return pud_set_flags(pud, _PAGE_DIRTY | _PAGE_SOFT_DIRTY);"
            )
        },
        ("pud_mkdirty",),
    ),
    "dirty_made_up": Fault(
        {
            "return pmd_set_flags(pmd, _PAGE_ACCESSED);": (
                "return pmd_set_flags(pmd, _PAGE_ACCESSED | _PAGE_SAVED_DIRTY);"
            )
        },
        ("pmd_mkyoung",),
    ),
    "frame_touched": Fault(
        {
            "return pte_set_flags(pte, _PAGE_ACCESSED);": (
                "return pte_set_flags(pte, _PAGE_ACCESSED | 1UL << 40);"
            )
        },
        ("pte_mkyoung",),
    ),
    "half_clean": Fault(
        {
            "return pud_clear_flags(pud, _PAGE_DIRTY_BITS);": (
                "return pud_clear_flags(pud, _PAGE_DIRTY);"
            )
        },
        ("pud_mkclean",),
    ),
}

MakeMiniTree = Callable[..., Path]


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let no test touch the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGTABLE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def make_mini_tree(tmp_path: Path) -> MakeMiniTree:
    """Make a copy of the tree in miniature: ``make(name, edits)``.

    name: of the directory, below the test's own.
    edits: text of arch/x86/include/asm/pgtable.h -> what stands there instead.
    """

    def make(name: str = "tree", edits: dict[str, str] | None = None) -> Path:
        tree = tmp_path / name
        shutil.copytree(DATA / "mini_tree", tree)
        header = tree / "arch/x86/include/asm/pgtable.h"
        for old, new in (edits or {}).items():
            replace(header, old, new)
        return tree

    return make


def replace(file: Path, old: str, new: str) -> None:
    """Replace the one place of a text in a file; anything else than one is an error."""
    text = file.read_text()
    assert text.count(old) == 1, f"{file} has {text.count(old)} times {old!r}"
    file.write_text(text.replace(old, new))


@pytest.fixture(scope="session")
def mini_engine() -> KernelTreeEngine:
    """Return the engine of the tree in miniature, which has no fault."""
    return pgtable.kernel_tree(DATA / "mini_tree", flags=QUICK)


@pytest.fixture(params=list(FAULTS))
def faulty(request: pytest.FixtureRequest, make_mini_tree: MakeMiniTree) -> tuple[Fault, Path]:
    """Return each fault, and a tree that has it (and no other)."""
    fault = FAULTS[request.param]
    return fault, make_mini_tree(request.param, fault.edits)


@pytest.fixture(scope="session", params=SERIES)
def header_tree(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the generated half of real header packages of each series.

    They are looked for below PGTABLE_TEST_TREES, and fetched into it (or into a
    temporary directory) if they are not there.  Skips where they cannot be had;
    with PGTABLE_REQUIRE_TREES=1 that is a failure.
    """
    place = os.environ.get("PGTABLE_TEST_TREES")
    root = Path(place) if place else tmp_path_factory.mktemp("trees")
    found = _newest_half(root, request.param)
    if found is None:
        why = _fetch(request.param, root)
        found = _newest_half(root, request.param)
        if found is None:
            refuse = pytest.fail if os.environ.get("PGTABLE_REQUIRE_TREES") == "1" else pytest.skip
            refuse(f"no headers of Linux {request.param}: {why}")
    assert found is not None
    return found


def _newest_half(root: Path, series: str) -> Path | None:
    found = [
        half
        for half in root.rglob(f"linux-headers-{series}.*-amd64")
        if (half / "include/generated/autoconf.h").is_file() and _is_plain(half.name)
    ]
    return max(found, key=lambda half: _version(half.name), default=None)


def _is_plain(name: str) -> bool:
    return re.search(r"-(cloud|rt)-", name) is None


def _version(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


def _fetch(series: str, root: Path) -> str:
    """Unpack the newest header packages of a series; return why that failed."""
    for program in ("apt-cache", "apt-get", "dpkg"):
        if shutil.which(program) is None:
            return f"there is no {program}"
    search = ["apt-cache", "search", "--names-only", rf"^linux-headers-{series}\."]
    names = subprocess.run(search, capture_output=True, text=True, check=False).stdout.split("\n")
    halves = [line.split(" ")[0] for line in names if line.split(" ")[0].endswith("-amd64")]
    halves = [name for name in halves if _is_plain(name)]
    if not halves:
        return "apt-cache knows no such package (apt-get update?)"
    newest = max(halves, key=_version)
    packages = [newest, newest.removesuffix("amd64") + "common"]
    place = root / series
    place.mkdir(parents=True, exist_ok=True)
    for command in (
        ["apt-get", "download", *packages],
        *(["dpkg", "-x", f"{name}_*.deb", "."] for name in packages),
    ):
        words = [str(next(place.glob(word), word)) if "*" in word else word for word in command]
        done = subprocess.run(words, cwd=place, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"{' '.join(words)}: {' '.join(done.stderr.split())}"
    return "the packages are not what they seemed"
