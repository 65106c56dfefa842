# SPDX-License-Identifier: GPL-2.0-only
"""Nothing is skipped in silence where all must be there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

def test_what_can_be_installed():
    pytest.skip("there is no valgrind")

@pytest.mark.skipif(True, reason="clang is not installed")
def test_marked():
    pass

def test_import():
    pytest.importorskip("no_such_module")

def test_what_cannot():
    pytest.skip("this processor has no avx1024")

@pytest.mark.xfail(reason="not yet")
def test_expected_to_fail():
    assert False
"""


FILE = """
import pytest

pytest.importorskip("no_such_module")

def test_nothing():
    pass
"""


@pytest.mark.parametrize(
    ("required", "options", "outcome"),
    [
        ("", [], "5 skipped, 1 xfailed"),
        ("1", ["--ignore-glob=*file*"], "2 failed, 1 skipped, 1 xfailed, 1 error"),
        ("1", ["--ignore-glob=*some*"], "1 error"),
    ],
)
def test_skips_fail_where_all_is_required(
    tmp_path: Path, required: str, options: list[str], outcome: str
) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_file.py").write_text(FILE)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, tmp_path],
        env=os.environ | {"PGTABLE_REQUIRE_ALL": required},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome in done.stdout
    assert (done.returncode != 0) == bool(required)
    assert required == "" or "may not be skipped" in done.stdout
