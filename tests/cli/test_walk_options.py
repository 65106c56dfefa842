# SPDX-License-Identifier: GPL-2.0-only
"""What the walking commands take: ranges, threads; and what they say on a terminal meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import termios
import time
from pathlib import Path

import pytest

from pgtable.cli import main, working

DUMP = Path(__file__).parents[1] / "data" / "k612-128.vmcore.xz"


def told(capsys: pytest.CaptureFixture, *arguments: str) -> dict:
    assert main([*arguments, "--json"]) in (0, 1)
    return json.loads(capsys.readouterr().out)


def test_a_range_is_a_part(capsys: pytest.CaptureFixture) -> None:
    whole = told(capsys, "walk", str(DUMP))
    user = told(capsys, "walk", str(DUMP), "--range", "0-0x800000000000")
    kernel = told(capsys, "walk", str(DUMP), "--range", "0xffff800000000000-0x10000000000000000")
    assert user["entries"] + kernel["entries"] == whole["entries"]
    assert user["counts"] | kernel["counts"] == whole["counts"]
    for command in ("census", "audit"):
        part = told(capsys, command, str(DUMP), "--range", "0-0x800000000000")
        assert (part.get("rows") or sum(r["entries"] for r in part["regions"])) == user["entries"]
    assert main(["walk", str(DUMP), "--range", "0-0x800000000000", "--format", "json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == user["entries"]
    assert main(["diff", str(DUMP), str(DUMP), "--range", "0-0x1000"]) == 0


@pytest.mark.parametrize(
    ("text", "said"), [("5", "is not FROM-TO"), ("a-b", "is no number"), ("9-5", "is empty")]
)
def test_bad_ranges(text: str, said: str, capsys: pytest.CaptureFixture) -> None:
    try:
        code = main(["walk", str(DUMP), "--range", text])
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert said in capsys.readouterr().err


def test_a_summary_is_what_the_rows_come_to(capsys: pytest.CaptureFixture) -> None:
    whole = told(capsys, "walk", str(DUMP))
    limited = told(capsys, "walk", str(DUMP), "--limit", str(whole["entries"]))
    assert limited == whole
    for threads in ("1", "2"):
        assert told(capsys, "walk", str(DUMP), "--threads", threads) == whole
    assert main(["walk", str(DUMP), "--threads", "-1"]) == 2


def test_work_shows_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (24, 80))
    os.set_blocking(ours, False)
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        with working.Working("walk") as work:
            work.progress(5)
        began = time.monotonic()
        with working.Working("walk") as work:
            work.progress(12_000)
            shown = b""
            while b"12.0k entries" not in shown and time.monotonic() - began < 5:
                time.sleep(0.01)
                with contextlib.suppress(BlockingIOError):
                    shown += os.read(ours, 1000)
            assert time.monotonic() - began < 0.5
            assert b"walk: 12.0k entries" in shown
        # at the end the line is wiped
        assert os.read(ours, 1000).split(b"\r")[-1].strip() == b""
    os.close(ours)


def test_nothing_shows_elsewhere(capfd: pytest.CaptureFixture) -> None:
    with working.Working("walk"):
        time.sleep(0.4)
    assert capfd.readouterr().err == ""
