# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable audit``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pgtable.cli import main

DATA = Path(__file__).parents[1] / "data"
NEW, OLD = str(DATA / "k612-128.vmcore.xz"), str(DATA / "k61-256.vmcore.xz")
FULL_MEMORY = ["--memory", "0-0x10000000"]


def test_a_clean_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", NEW]) == 0
    out = capsys.readouterr().out
    assert "rules saved_dirty" in out
    assert "0 findings, 1 note\n" in out
    assert "not applied: outside-memory" in out
    assert max(map(len, out.splitlines()[1:])) <= 80


def test_old_kernels_are_recognised(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", OLD, *FULL_MEMORY]) == 0
    out = capsys.readouterr().out
    assert "rules base" in out
    assert "2,956 (Write=0,Dirty=1,Cow=0)" in out
    assert "not applied: user-shadow-stack: rules base allow it" in out
    assert "0 findings, 2 notes" in out


def test_findings_are_shown_with_ranges_and_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", OLD, "--rules", "saved_dirty", "--ranges", "2", *FULL_MEMORY]) == 1
    out = capsys.readouterr().out
    assert "rules saved_dirty, as asked for" in out
    assert "HIGH  kernel-shadow-stack" in out
    assert "1,152 entries, 48.41 MiB in 19 ranges:" in out
    assert "ffff8a7480098000-ffff8a748009afff       3 pte (Write=0,Dirty=1,Cow=0)" in out
    assert "0x8000000000098161 PRESENT|ACCESSED|DIRTY|GLOBAL|NX" in out
    assert "... 17 more ranges" in out
    assert out.index("HIGH") < out.index("MEDIUM") < out.index("NOTE")
    assert max(map(len, out.splitlines()[1:])) <= 80


def test_json_has_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", OLD, "--rules", "cow", "--json", "--cpu", "1", *FULL_MEMORY]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["rules"] == "cow"
    assert report["rules_given"] is True
    assert report["walk"]["root"] == "0x29ac000"
    by_rule = {finding["rule"]: finding for finding in report["findings"]}
    kernel = by_rule["kernel-shadow-stack"]
    assert kernel["severity"] == "high"
    assert sum(found["entries"] for found in kernel["ranges"]) == kernel["entries"] == 1152
    assert all(int(found["entry"], 16) & 0x43 == 0x41 for found in kernel["ranges"])
    assert report["not_applied"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([str(DATA / "k612-128.json")], "is text; decode --from"),
        ([NEW, "--memory", "12"], "--memory: '12' is not START-END"),
        ([NEW, "--memory", "0-0x20000000000000"], "physical addresses have 52 bits"),
        ([NEW, "--memory", "2-1"], "ends before it starts"),
        ([NEW, "--memory", "0-x"], "--memory: 'x' is no number"),
        ([NEW, "--physical-bits", "99"], "32 to 52"),
        ([NEW, "--cpu", "7"], "no processor 7"),
        ([NEW, "--root", "0x123000"], "not in the image"),
        (["/nonexistent"], "nonexistent"),
    ],
)
def test_bad_input(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("pgtable: error: ")
    assert err.count("\n") == 1
    assert any(part in err for part in message.split("|"))
