# SPDX-License-Identifier: GPL-2.0-only
"""The command line.  Each command is a module, which only has arguments and printing.

A command module has ``HELP`` (one line), ``EXAMPLES`` (shown below its help),
``add_arguments(parser)`` and ``run(args)``, which returns the exit code: 0 done,
1 differences or findings, 2 could not run; 128 and its number after a signal.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from types import ModuleType

from .standard_streams import discard_output, flush_output, prepare_streams
from .stopping import Stopped, Stopping

#: Commands, in the order that help shows them; each is a module beside this one.
COMMANDS = (
    *("decode", "apply", "census", "check", "kernel", "prove", "review"),
    *("walk", "audit", "diff", "spaces", "frames", "bench"),
)

#: Subcommands that have a module of their own.
SUBCOMMANDS: dict[tuple[str, ...], str] = {("bench", "compare"): "bench_compare"}

#: Errors of bad input.  Any other error is a bug and shows its traceback.
USER_ERRORS: tuple[type[Exception], ...] = (OSError, ValueError, MemoryError)

#: Errors of writing if there is no more room.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def build_parser(names: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """Return the parser with these commands."""
    from .. import __version__  # noqa: PLC0415 - the version alone, not at import

    parser = argparse.ArgumentParser(
        prog="pgtable",
        description="The x86-64 page-table helpers of the Linux kernel, in bulk.",
        epilog="exit codes: 0 done, 1 differences or findings, 2 could not run",
    )
    parser.add_argument("--version", action="version", version=f"pgtable {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in names:
        place = SUBCOMMANDS.get(tuple(name.split()), name)
        module = importlib.import_module(f".{place}", __name__)
        add_command(commands, name, module)
    return parser


def add_command(
    commands: argparse._SubParsersAction, name: str, module: ModuleType
) -> argparse.ArgumentParser:
    """Add one command, as its module describes it."""
    parser = commands.add_parser(
        name,
        help=module.HELP,
        description=module.HELP,
        epilog=f"examples:\n{module.EXAMPLES.rstrip()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    parser.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line (argv None: that of this process); returns the exit code.

    Signals that would end the process end the command, with exit code 128 and the signal's
    number; afterwards handlers are what they were.
    """
    if argv is None:
        prepare_streams()
    argv = list(sys.argv[1:] if argv is None else argv)
    # a command needs only its own module; help, and a wrong name, need all
    asked = [name for name in COMMANDS if name in argv[:1]]
    if tuple(argv[:2]) in SUBCOMMANDS:
        asked = [" ".join(argv[:2])]
        argv = [*asked, *argv[2:]]
    args = build_parser(asked or COMMANDS).parse_args(argv)
    try:
        with Stopping():
            return _run(args)
    except KeyboardInterrupt as error:
        print("pgtable: interrupted", file=sys.stderr)
        return 128 + (error.number if isinstance(error, Stopped) else signal.SIGINT)


def _run(args: argparse.Namespace) -> int:
    try:
        if sys.stdout is None:
            # reported before anything is replaced, not when the result is printed
            raise ValueError("standard output is closed; where it is not wanted: > /dev/null")
        code = args.run(args)
    except BrokenPipeError:
        # the reader has closed the pipe, so nothing more may be written to it
        discard_output()
        return 0
    except AttributeError as error:
        from .. import UnknownHelperError  # noqa: PLC0415

        if not isinstance(error, UnknownHelperError):
            raise
        return _failed(error)
    except USER_ERRORS as error:
        return _failed(error)
    return flush_output(code, _failed)


def _failed(error: Exception) -> int:
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        # errors of files have a name; an error without a name is of standard output
        full = "standard output" if error.errno in _FULL else None
        if name := error.filename or full:
            text = f"{os.fsdecode(name)}: {error.strerror}"
    print(f"pgtable: error: {' '.join(text.split())}", file=sys.stderr)
    return 2
