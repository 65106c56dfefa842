# SPDX-License-Identifier: GPL-2.0-only
"""Levels that do not fit are refused by every command that walks, with the mend."""

import pytest

from pgtable.cli import main


@pytest.mark.parametrize("command", ["walk", "audit", "diff", "census"])
@pytest.mark.parametrize("dump", ["k612-128", "k61-256"])
def test_five_levels_of_a_four_level_image(command, dump, capsys):
    image = f"tests/data/{dump}.vmcore.xz"
    images = [image, image] if command == "diff" else [image]
    assert main([command, *images, "--levels", "5"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    error = said.err.strip()
    assert "\n" not in error
    assert "5 levels were asked for, but the tables have 4" in error
    assert error.endswith("pass --levels 4")
