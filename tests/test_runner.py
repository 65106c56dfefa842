# SPDX-License-Identifier: GPL-2.0-only
"""The tests come out the same however they are started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TEST = """
import os, signal, subprocess, sys
import pytest

ASK = "import signal; print([signal.getsignal(n) is signal.SIG_IGN for n in (1, 2, 3, 15)])"

def test_a_child_takes_all_signals():
    told = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True).stdout
    assert told == "[False, False, False, False]\\n"

def test_and_this_process_goes_on_without():
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        os.kill(os.getpid(), number)
"""


@pytest.mark.parametrize("start", ["trap '' HUP INT QUIT", "nohup true; trap '' HUP INT QUIT TERM"])
def test_signals_that_are_ignored_around_the_tests(tmp_path: Path, start: str) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_some.py").write_text(TEST)
    command = f"{start}; exec '{sys.executable}' -m pytest -q -p no:cacheprovider ."
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=tmp_path,
        env=os.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
