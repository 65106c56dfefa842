# SPDX-License-Identifier: GPL-2.0-only
"""Interpreters that pgtable does not run in say so: sub-interpreters, free-threaded builds."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAYS = "an interpreter lock"

SUB_INTERPRETER = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
lines = [
    "import sys, warnings",
    "warnings.simplefilter('ignore')",
    "sys.path[:] = %r" % sys.path,
    "try:",
    "    import pgtable",
    "    print('imported', flush=True)",
    "except ImportError as error:",
    "    print(error, flush=True)",
]
interpreters.run_string(interpreters.create(), chr(10).join(lines))
"""


def have_sub_interpreters() -> bool:
    return any(
        subprocess.run(
            [sys.executable, "-c", f"import {name}"], check=False, capture_output=True
        ).returncode
        == 0
        for name in ("_interpreters", "_xxsubinterpreters")
    )


@pytest.mark.skipif(not have_sub_interpreters(), reason="this Python has no sub-interpreters")
def test_a_sub_interpreter_is_refused(environment) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SUB_INTERPRETER],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    # NumPy may refuse first: it loads once in a process, or once in an interpreter
    assert "imported" not in ended.stdout
    assert "sub-interpreter; use threads or processes" in ended.stdout, ended


def test_a_build_without_the_lock_is_refused_by_setup() -> None:
    program = (
        "import runpy, sysconfig; sysconfig.get_config_vars()['Py_GIL_DISABLED'] = 1;"
        "runpy.run_path('setup.py')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert SAYS in ended.stderr


@pytest.mark.parametrize(("define", "code"), [((), 0), (("-DPy_GIL_DISABLED",), 1)])
def test_a_build_without_the_lock_is_refused_by_the_c(define, code) -> None:
    include = sysconfig.get_path("include")
    command = ["gcc", "-fsyntax-only", "-Icsrc", f"-I{include}", *define, "csrc/python/fastcall.c"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == code, ended.stderr
    assert (SAYS in ended.stderr) == bool(code)
