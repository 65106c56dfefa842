# SPDX-License-Identifier: GPL-2.0-only
"""Every command that the README or a help text shows is one that there is."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from pgtable import cli

ROOT = Path(__file__).parents[2]


def commands_in(text):
    """Return the arguments of each line that runs pgtable, also at the end of a pipe."""
    joined = re.sub(r"\\\n *", "", text)
    lines = re.findall(r"^ *(?:\$ )?(?:\S.* \| )?pgtable ([a-z].*)$", joined, re.MULTILINE)
    # what is said of it stands beside it
    return [shlex.split(re.split(r" \| |  +", line)[0], comments=True) for line in lines]


def in_blocks(text):
    """Return the commands in what is fenced; every second fence closes a block."""
    blocks = re.split(r"^```.*$", text, flags=re.MULTILINE)[1::2]
    return [command for block in blocks for command in commands_in(block)]


def examples():
    yield from in_blocks((ROOT / "README.md").read_text())
    for command in cli.COMMANDS:
        module = importlib.import_module(
            f"pgtable.cli.{cli.SUBCOMMANDS.get(tuple(command.split()), command)}"
        )
        yield from commands_in(module.EXAMPLES)


def test_they_are_found():
    found = list(examples())
    assert ["kernel", "compare", "$tree", "$tree,shstk=n"] in found
    assert ["decode", "--from", "-"] in found
    assert len(found) > 40


@pytest.mark.parametrize("argv", list(examples()), ids=" ".join)
def test_it_is_understood(argv, capsys):
    names = [" ".join(argv[:2])] if tuple(argv[:2]) in cli.SUBCOMMANDS else [argv[0]]
    argv = [*names, *argv[2:]] if names[0] != argv[0] else argv
    try:
        cli.build_parser(names).parse_args(argv)
    except SystemExit as stop:
        assert stop.code in (None, 0), capsys.readouterr().err  # noqa: PT017 - not about the exit
