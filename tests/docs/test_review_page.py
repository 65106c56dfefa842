# SPDX-License-Identifier: GPL-2.0-only
"""docs/review.md shows what its command prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pgtable.cli import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "review.md").read_text()


def test_the_review_is_what_is_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("z3", reason="the extra prove is not installed")
    pytest.importorskip("pyvex", reason="the extra prove is not installed")
    found = re.search(
        r"```sh\npgtable (review docs/\S+ --tree \S+)\n```\n```\n(.*?)```", PAGE, re.S
    )
    assert found is not None
    monkeypatch.chdir(ROOT)
    assert main(found[1].split()) == 1
    printed = capsys.readouterr().out.replace(f"{ROOT}/", "")
    # where lines break depends on where the tree lies
    assert printed.split() == found[2].split()
