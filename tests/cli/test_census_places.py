# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable census`` of images and texts, and ``pgtable decode --from``."""

from __future__ import annotations

import json
import lzma
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pgtable.cli import main

DATA = Path(__file__).parents[1] / "data"
NEW, OLD = DATA / "k612-128.vmcore.xz", DATA / "k61-256.vmcore.xz"
OOPS = """\
[ 1.0] BUG: unable to handle page fault for address: ffffc90000123456
[ 1.1] PGD 100000067 P4D 100000067 PUD 1001da067 PMD 10a0d3067 PTE 80000001234b4061
other words
0xffff999900200000-0xffff999909c00000         154M     RW         PSE     GLB NX pmd
"""


@pytest.fixture
def give() -> Iterator[Callable[[str], None]]:
    """Put a text on standard input."""
    kept = os.dup(0)

    def put(text: str) -> None:
        with tempfile.TemporaryFile() as file:
            file.write(text.encode())
            file.seek(0)
            os.dup2(file.fileno(), 0)

    yield put
    os.dup2(kept, 0)
    os.close(kept)


# ---- images


@pytest.mark.parametrize(("image", "rules"), [(NEW, "saved_dirty"), (OLD, "base")])
def test_census_of_an_image(image: Path, rules: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["census", str(image), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["rules"], report["rules_given"]) == (rules, False)
    counts = json.loads((DATA / f"{image.name.split('.')[0]}.json").read_text())["cpus"][0]
    user = report["regions"][0]
    assert (user["half"], user["level"]) == ("user", "pte")
    assert user["kinds"]["leaf"] == counts["hist"]["user leaf level1"]["n"]
    assert sum(region["kinds"].get("table", 0) for region in report["regions"]) == sum(
        n for name, n in counts["counts"].items() if name.startswith("table")
    )


def test_census_of_an_image_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["census", str(NEW), "--cpu", "1"]) == 0
    out = capsys.readouterr().out
    assert "rules saved_dirty" in out
    assert "(a) or (b) or (d)" in out
    assert "cannot be known" in out
    assert max(len(line) for line in out.splitlines()[1:]) <= 80


def test_rules_may_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["census", str(NEW), "--rules", "base", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["rules"], report["rules_given"]) == ("base", True)
    assert "(Write=0,Dirty=0,Cow=1)" not in report["regions"][0]["states"]


def test_records_are_an_image_when_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    records = str(DATA / "k612-128.ptpages.bin.xz")
    kernel = ["--kernel", "6.12.117+deb12-cloud-amd64"]  # VMCOREINFO of the other says it
    assert main(["census", records, "--root", "0x544e000", "--json", *kernel]) == 0
    of_records = json.loads(capsys.readouterr().out)["regions"]
    assert main(["census", str(NEW), "--image", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["regions"] == of_records


def test_a_file_of_entries_is_still_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["census", str(DATA / "k612-128.ptes.bin.xz"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["rules"] == "cow"
    assert report["entries"] == 70 * 512


# ---- texts


def test_census_of_a_text_says_what_it_does_not_know(
    capsys: pytest.CaptureFixture[str], give: Callable[[str], None]
) -> None:
    with lzma.open(DATA / "k612-128.tlb.cpu0.txt.xz", "rt") as file:
        give(file.read())
    assert main(["census", "--text", "-"]) == 0
    out = capsys.readouterr().out
    assert "12,034 entries" in out
    assert "info tlb does not print" in out
    assert "(Write=0,Dirty=0,Cow=?)" in out


def test_census_of_a_text_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "dmesg"
    path.write_text(OOPS)
    assert main(["census", "--text", str(path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ignored_lines"] == 1
    assert {(r["half"], r["level"]): r["entries"] for r in report["regions"]} == {
        ("kernel", "pte"): 1,
        ("kernel", "pmd"): 1 + 77,
        ("kernel", "pud"): 1,
        ("kernel", "p4d"): 1,
    }
    assert set(report["lost"]) == {"oops", "ptdump"}


def test_decode_of_a_text(capsys: pytest.CaptureFixture[str], give: Callable[[str], None]) -> None:
    give(OOPS)
    assert main(["decode", "--from", "-"]) == 0
    blocks = capsys.readouterr().out.split("\n\n")
    assert [block.splitlines()[0] for block in blocks[:5]] == [
        "line 2, oops: p4d at ffffc90000000000",
        "line 2, oops: pud at ffffc90000000000",
        "line 2, oops: pmd at ffffc90000000000",
        "line 2, oops: pte at ffffc90000123000",
        "line 4, ptdump: pmd at ffff999900200000 and 76 more like it",
    ]
    assert "(Write=0,Dirty=1,Cow=0)" in blocks[3]
    assert "physical address 0x1234b4000" in blocks[3]
    assert "(Write=1,Dirty=?,Cow=?)" in blocks[4]
    assert "frame" not in blocks[4]
    assert "ptdump does not print: the frame" in blocks[5]
    assert "1 lines without entries" in blocks[5]


def test_decode_of_a_text_as_json(
    capsys: pytest.CaptureFixture[str], give: Callable[[str], None]
) -> None:
    give(OOPS + "0x8000000000000867\n")
    assert main(["decode", "--from", "-", "--json", "--level", "pmd"]) == 0
    report = json.loads(capsys.readouterr().out)
    last = report["entries"][-1]
    assert (last["level"], last["level_known"], last["va"]) == ("pmd", False, None)
    pte, large = report["entries"][3:5]
    assert (pte["va"], pte["entry"]) == ("0xffffc90000123000", "0x80000001234b4061")
    assert pte["known"] == "0xffffffffffffffff"
    assert (large["count"], large["state"], large["frame"]) == (77, "(Write=1,Dirty=?,Cow=?)", None)


@pytest.mark.parametrize("command", [["decode", "--from"], ["census", "--text"]])
def test_text_without_entries(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"\xff\x00nothing here" * 20000)
    assert main([*command, str(path)]) == 2
    assert "no page-table entries" in capsys.readouterr().err
    assert main([*command, "/nonexistent"]) == 2
    assert "/nonexistent: No such file" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--from", "-", "0x25"]])
def test_decode_wants_entries_or_a_text(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["decode", *arguments]) == 2
    assert "--from" in capsys.readouterr().err
