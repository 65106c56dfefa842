# SPDX-License-Identifier: GPL-2.0-only
"""The user's C compiler: finds it, runs it, and reads its error messages."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

from .errors import KernelTreeError
from .isolation import confined

#: Variables that make a compiler search other directories before the tree's headers.
_FOREIGN = ("CPATH", "C_INCLUDE_PATH", "LIBRARY_PATH", "DEPENDENCIES_OUTPUT", "SUNPRO_DEPENDENCIES")

#: ``#line`` in front of each helper's text: the file name of errors in it.
HELPER_FILE = "pgtable-helper"

_ERROR = re.compile(
    r"^(?P<file>[^\n:]+):(?P<line>\d+):(?:\d+:)? (?:[Ff]atal )?[Ee]rror: (?P<what>.*)$"
)
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
    """Run commands side by side in a directory; none is left running on an error.

    They are given limits, and no files but those that they name, their own, and the directory.
    Raises KernelTreeError if one does not end in time.
    """
    places = confined.environment(directory)
    environment = {key: value for key, value in places.items() if key not in _FOREIGN}
    running: list[tuple[subprocess.Popen, IO[str], IO[str]]] = []
    until = time.monotonic() + confined.SECONDS
    try:
        for command in commands:
            # into files: a pipe would have to be read while the other commands run
            output, errors = _scratch(directory), _scratch(directory)
            process = subprocess.Popen(
                confined.confined([str(word) for word in command], directory),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                cwd=directory,
                env=environment,
                start_new_session=True,  # to end all that it starts
            )
            running.append((process, output, errors))
        return [
            CommandResult(_waited(process, command, until), _text(output), _text(errors))
            for command, (process, output, errors) in zip(commands, running, strict=True)
        ]
    finally:
        for process, output, errors in running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            output.close()
            errors.close()


def _waited(process: subprocess.Popen, command: Command, until: float) -> int:
    """Return the exit code of a command."""
    try:
        return process.wait(max(0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        named = [word[2:] for word in map(str, command) if word.startswith("-I")]
        odd = confined.never_ends(named)
        why = f": {odd} is no file" if odd else ""
        raise KernelTreeError(
            f"{command[0]} did not end within {confined.SECONDS:g} s{why}"
        ) from None


def _scratch(directory: Path) -> IO[str]:
    return tempfile.TemporaryFile("w+", errors="replace", dir=directory)


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def first_error(errors: str) -> str:
    """Return the first error with its file and line, in one line."""
    for line in errors.splitlines():
        if found := _ERROR.match(line):
            said = f"{found['file']}:{found['line']}: {found['what']}"
            return f"{said} ({confined.MEND})" if "Permission denied" in line else said
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
