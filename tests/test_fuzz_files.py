# SPDX-License-Identifier: GPL-2.0-only
"""Some rounds of the fuzzer of files of entries and text, always the same."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "fuzz"))
import fuzz_files


@pytest.mark.parametrize("seed", range(2))
def test_damaged_files_are_refused_in_one_line_or_read(seed, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)  # where it leaves what fails
    outcomes = fuzz_files.run(rounds=150, seconds=0, seed=seed)
    assert {"entries refused", "entries read", "text refused", "text read"} <= {*outcomes}
    assert sum(outcomes.values()) == 150
