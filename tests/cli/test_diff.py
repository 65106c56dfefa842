# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable diff``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import pgtable
from pgtable.cli import main
from pgtable.images.synthetic import Synthetic, synthesize

DATA = Path(__file__).parents[1] / "data"
NEW = str(DATA / "k612-128.vmcore.xz")


@pytest.fixture(scope="module")
def machine() -> Synthetic:
    return synthesize(8 * 512, mix={"dirty": 1}, expected=False)


@pytest.fixture
def images(machine: Synthetic, tmp_path: Path) -> list[str]:
    """Return the options and two images: in the second, level-1 user pages are write-protected."""
    before, after = tmp_path / "before", tmp_path / "after"
    machine.write_records(before)
    pages = machine.pages.copy()
    dirty = (machine.pages & np.uint64(0x47)) == np.uint64(0x47)
    leaf = dirty & (machine.pages >> np.uint64(63) == 1)
    machine.pages[leaf] = pgtable.native("saved_dirty").pte_wrprotect(machine.pages[leaf])
    machine.write_records(after)
    machine.pages[:] = pages
    return [str(before), str(after), "--root", hex(machine.root)]


def test_the_same_image(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", NEW, NEW]) == 0
    assert "12,379 the same, 0 changed, 0 appeared, 0 vanished" in capsys.readouterr().out


def test_write_protection_is_named(images: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", *images, "--rules", "saved_dirty", "--ranges", "1"]) == 1
    out = capsys.readouterr().out
    assert "(Write=1,Dirty=1,Cow=0) -> (Write=0,Dirty=0,Cow=1)" in out
    assert "as by pte_wrprotect\n" in out
    assert "cleared RW|DIRTY; set SAVED_DIRTY" in out
    assert "written since: 0 B" in out
    assert max(len(line) for line in out.splitlines()[2:]) <= 80


def test_json(images: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", *images, "--rules", "saved_dirty", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    changes = report["transitions"]
    assert {change["kernel"] for change in changes} == {False, True}
    assert all(change["explanations"][0] == "pte_wrprotect" for change in changes)
    entries = sum(change["entries"] for change in changes)
    assert entries == report["changed"] == report["states"][0]["entries"] > 1000
    assert sum(found["entries"] for found in report["ranges"]) == report["changed"]
    assert {found["transition"] for found in report["ranges"]} == {0, 1}
    assert report["written"]["entries"] == 0
    assert report["appeared"] == report["vanished"] == []


def test_two_processors_of_one_image(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", NEW, NEW, "--cpu-after", "1", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["before"]["root"] == "0x544e000"
    assert report["after"]["root"] == "0x54f2000"
    assert report["transitions"][0]["explanations"] == ["pte_mkold"]
    assert {side["kind"] for side in report["vanished"]} == {
        "leaf",
        "prot_none",
        "marker",
        "table",
    }


def test_the_root_of_the_second_may_be_another(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", NEW, NEW, "--root-after", "0x54f2000", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["after"]["root"] == "0x54f2000"


def test_missing_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", NEW, "/nonexistent"]) == 2
    assert "nonexistent" in capsys.readouterr().err


OLD = str(DATA / "k61-256.vmcore.xz")


def test_two_machines_are_warned_about_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", NEW, OLD]) == 1
    out = capsys.readouterr().out
    assert out.count("warning: ") == 4
    assert out.index("warning: another kernel (OSRELEASE") < out.index("the same,")
    assert main(["diff", NEW, OLD, "--json"]) == 1
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    assert [text.partition(" (")[0] for text in warnings] == [
        "another kernel",
        "another build of the kernel",
        "another boot",
        "another top table",
    ]


def test_no_warning_for_two_processors_and_roots(capsys: pytest.CaptureFixture[str]) -> None:
    for more in (["--cpu-after", "1"], ["--root-after", "0x54f2000"]):
        assert main(["diff", NEW, NEW, "--json", *more]) == 1
        assert json.loads(capsys.readouterr().out)["warnings"] == []
