# SPDX-License-Identifier: GPL-2.0-only
"""Some rounds of the fuzzer, always the same."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

FUZZER = Path(__file__).parents[1] / "fuzz" / "fuzz_images.py"


@pytest.fixture(scope="module")
def fuzzer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_images", FUZZER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed", range(3))
def test_damaged_images_are_refused_or_walked(
    fuzzer: ModuleType, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcomes = fuzzer.run(rounds=80, seconds=0, seed=seed)
    assert outcomes["walked"] > 20
    assert outcomes["refused"] > 5
