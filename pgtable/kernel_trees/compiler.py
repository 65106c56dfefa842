# SPDX-License-Identifier: GPL-2.0-only
"""The user's C compiler: finds it, runs it, and reads its error messages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

from .errors import KernelTreeError

#: Variables that make a compiler search other directories before the tree's headers.
_FOREIGN = ("CPATH", "C_INCLUDE_PATH", "LIBRARY_PATH", "DEPENDENCIES_OUTPUT", "SUNPRO_DEPENDENCIES")

#: ``#line`` in front of each helper's text: the file name of errors in it.
HELPER_FILE = "pgtable-helper"

_ERROR = re.compile(r"^(?P<file>[^\n:]+):(?P<line>\d+):(?:\d+:)? (?:fatal )?error: (?P<what>.*)$")
_HELPER = re.compile(rf"{HELPER_FILE}/(\w+)|'(?:apply|map|test|part|count|helper)_t_(\w+)'")
_BARE_ERROR = re.compile(r"^[^\n:]+: (?:fatal )?error: .*$", re.MULTILINE)
_LINK_ERROR = re.compile(r"undefined reference to \S+|multiple definition of [^\s;]+")


#: A program and its arguments.
Command = list[str | Path]


class CommandResult(NamedTuple):
    """What a command gave: its exit code, output and errors."""

    code: int
    output: str
    errors: str


def find(name: str) -> Path:
    """Return where the compiler is; raises KernelTreeError if it is nowhere."""
    found = shutil.which(name)
    if found is None:
        raise KernelTreeError(
            f"compiler {name!r} was not found; install it (Debian: apt install gcc) or name"
            " another with compiler="
        )
    return Path(found)


def is_clang(path: Path) -> bool:
    """Tell whether a compiler takes clang's options rather than gcc's."""
    try:
        said = subprocess.run(
            [path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, check=False
        ).stdout
    except OSError:  # the build will report what is wrong with it
        return False
    return b"clang" in said


def run(commands: Sequence[Command], directory: Path) -> list[CommandResult]:
    """Run commands side by side in a directory; none is left running on an error."""
    environment = {key: value for key, value in os.environ.items() if key not in _FOREIGN}
    environment["LC_ALL"] = "C"
    running: list[tuple[subprocess.Popen, IO[str], IO[str]]] = []
    try:
        for command in commands:
            # into files: a pipe would have to be read while the other commands run
            output, errors = _scratch(directory), _scratch(directory)
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                cwd=directory,
                env=environment,
            )
            running.append((process, output, errors))
        return [
            CommandResult(process.wait(), _text(output), _text(errors))
            for process, output, errors in running
        ]
    finally:
        for process, output, errors in running:
            if process.poll() is None:
                process.kill()
                process.wait()
            output.close()
            errors.close()


def _scratch(directory: Path) -> IO[str]:
    return tempfile.TemporaryFile("w+", errors="replace", dir=directory)


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def first_error(errors: str) -> str:
    """Return the first error with its file and line, in one line."""
    for line in errors.splitlines():
        if found := _ERROR.match(line):
            return f"{found['file']}:{found['line']}: {found['what']}"
    bare = _LINK_ERROR.search(errors) or _BARE_ERROR.search(errors)
    return bare[0] if bare else " ".join(errors.split()[:30]) or "no message"


def errors_by_helper(errors: str) -> dict[str, str]:
    """Return the first error of each helper whose text causes one.

    For an error inside a macro or inline function of a header, the lines around it name the helper.
    """
    found: dict[str, str] = {}
    pending: str | None = None
    context: str | None = None
    for line in errors.splitlines():
        named = _HELPER.search(line)
        helper = named and (named[1] or named[2])
        error = _ERROR.match(line)
        if error:
            pending = error["what"]
            blamed = helper or context
            if blamed:
                found.setdefault(blamed, pending)
                pending = None
        elif ": In function" in line or "At top level" in line:
            pending, context = None, helper
        elif helper and "inlined from" in line:
            context = helper
        elif helper and pending:
            found.setdefault(helper, pending)
            pending = None
    return found
