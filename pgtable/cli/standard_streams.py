# SPDX-License-Identifier: GPL-2.0-only
"""Standard input, output and error, which may be closed, full, or without a reader."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable


def prepare_streams() -> None:
    """Make standard streams that were closed safe, and names of any bytes printable.

    A file that is opened would get the number of a closed stream, and what is printed would
    go into it.  So the numbers are taken, opened the wrong way round: whoever uses them gets an
    error.
    """
    for number, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # the lowest number that is free: this one
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flush_output(code: int, failed: Callable[[Exception], int]) -> int:
    """Write out what was printed; return the exit code, or that of an error."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
    except OSError as error:
        discard_output()
        error.filename = error.filename or "standard output"
        return failed(error)
    return code


def discard_output() -> None:
    """Discard all that is still to be printed."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
