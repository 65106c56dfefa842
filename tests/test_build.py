# SPDX-License-Identifier: GPL-2.0-only
"""What an edit of csrc/ compiles again: all that includes it, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[1] / "csrc"
SOME = ("RULES=base", "ISA=scalar")

#: Of one rule set, also with the frames and swap types of older kernels.
INSTANCES = {
    f"instance_scalar_base_shstk0_config0{variant}.o"
    for variant in ("", "_plain_frames", "_plain_frames_swp7")
}
#: What is edited, and the objects that must be made again of it.
EDITS = {
    "walk/walk.c": {"walk/walk.o"},
    "census/census.h": {"census/census.o", "census/census_loops_scalar.o", "walk/walk.o"},
    "helpers/pgtable_saved_dirty.h": set(),  # of base: nothing
    "bulk/parallel.h": {"bulk/bulk.o", "bulk/parallel.o", "census/census.o"},
    "walk/walk_order.h": {"walk/walk.o", "walk/walk_order.o"},
    "walk/walk_loops.c": {"walk/walk_loops_scalar.o"},
    "form/form_loops.c": {"form/form_loops_scalar.o"},
    "bulk/step.h": {"bulk/bulk.o"},
    "helpers/pgtable_common.h": INSTANCES,
    "helpers/helpers.def": INSTANCES,
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("build")
    shutil.copytree(CSRC, place / "csrc")
    make(place)
    return place


def make(place: Path, *settings: str) -> dict[str, int]:
    """Build; return when each object was made."""
    subprocess.run(
        ["make", "-s", "-C", place / "csrc", "objects", f"BUILD={place}/out", *SOME, *settings],
        check=True,
        env={key: value for key, value in os.environ.items() if key != "MAKEFLAGS"},
    )
    objects = (place / "out" / "objects.txt").read_text().split()
    return {
        str(Path(name).relative_to(place / "out")): Path(name).stat().st_mtime_ns
        for name in objects
    }


@pytest.mark.parametrize("edited", EDITS)
def test_an_edit_compiles_what_includes_it(built, edited) -> None:
    before = make(built)
    source = built / "csrc" / edited
    source.write_text(source.read_text() + "\n/* edited */\n")
    after = make(built)
    assert {name for name in after if after[name] != before[name]} == EDITS[edited]


def test_nothing_edited_compiles_nothing(built) -> None:
    assert make(built) == make(built)


def test_other_flags_compile_everything(built) -> None:
    before = make(built)
    after = make(built, "CFLAGS=-g1")
    assert all(after[name] != before[name] for name in before)
