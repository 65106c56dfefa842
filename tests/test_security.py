# SPDX-License-Identifier: GPL-2.0-only
"""SECURITY.md promises what tests keep: each promise names them, and they exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SECURITY = (ROOT / "SECURITY.md").read_text()
#: Rows of the tables: what is promised, and what keeps it.
ROWS = [
    tuple(cell.strip() for cell in line.strip().strip("|").rsplit("|", 1))
    for line in SECURITY.splitlines()
    if line.startswith("| ") and not line.startswith("| promise")
]
_NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def functions_of(path: Path) -> set[str]:
    """Return the names of a file's test functions."""
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_there_are_promises_under_every_heading() -> None:
    headings = SECURITY.partition("## What is promised")[2].split("\n### ")[1:]
    assert len(headings) >= 5
    for part in headings:
        assert "| promise | kept by |" in part, part.partition("\n")[0]
    assert len(ROWS) >= 25


@pytest.mark.parametrize(("promise", "kept_by"), ROWS, ids=[row[0][:40] for row in ROWS])
def test_each_promise_names_tests_that_exist(promise: str, kept_by: str) -> None:
    named = _NAMED.findall(kept_by)
    assert named, f"no test keeps: {promise}"
    assert not re.sub(r"\(`make \w+`\)|[,\s]", "", _NAMED.sub("", kept_by)), kept_by
    for file, test in named:
        path = ROOT / file
        assert path.is_file(), file
        if path.name.startswith("test_"):
            assert test, f"{file}: name the test"
            assert test in functions_of(path), f"{file} has no {test}"
        else:
            assert not test
