# SPDX-License-Identifier: GPL-2.0-only
"""What an edit of csrc/ compiles again: all that includes it, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pgtable.engines.isas import ISAS
from pgtable.engines.switches import COMBINATIONS, VARIANTS, Switches

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
    "census/census.h": {"census/census.o", "census/census_loops_scalar.o", "walk/walk_census.o"},
    "helpers/pgtable_saved_dirty.h": set(),  # of base: nothing
    "bulk/parallel.h": {"bulk/bulk.o", "bulk/parallel.o", "census/census.o"},
    "walk/walk_order.h": {"walk/walk_census.o", "walk/walk_order.o"},
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


def variables(*names: str) -> list[str]:
    """Return what csrc/Makefile has in variables."""
    lines = "; ".join(f'echo "$({name})"' for name in names)
    done = subprocess.run(
        ["make", "-s", "-C", CSRC, "--eval", f"show: ; @{lines}", "show"],
        check=True,
        capture_output=True,
        text=True,
        env={key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "ISA")},
    )
    return done.stdout.split("\n")[: len(names)]


def test_python_and_the_makefile_have_the_same_rules() -> None:
    def as_made(switches: Switches, *variant: str) -> str:
        return ":".join([switches.rules, *(f"{int(one)}" for one in switches[1:]), *variant])

    made = variables("COMBINATIONS")[0].split()
    ours = [as_made(one) for one in COMBINATIONS]
    assert sorted(made) == sorted(ours + [as_made(*one) for one in VARIANTS])
    assert len(set(made)) == len(made)
    assert all(variables(*{f"flags_{variant}" for _, variant in VARIANTS}))


def test_python_and_the_makefile_have_the_same_instruction_sets() -> None:
    assert variables("ISAS")[0].split() == [isa.name for isa in ISAS]
    flags = variables(*(f"flags_{isa.name}" for isa in ISAS))
    assert [tuple(one.split()) for one in flags] == [isa.flags for isa in ISAS]
