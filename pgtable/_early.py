# SPDX-License-Identifier: GPL-2.0-only
"""The start of the program ``pgtable``, before it imports large modules.

Importing NumPy takes a large part of a second.  Ctrl-C in that time gives no traceback.
"""

import itertools
import os
import signal
import sys

#: Signals that end the program.  Nothing is written yet, so there is nothing to clean up.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def is_program() -> bool:
    """Tell whether this process was started as ``pgtable`` or ``python -m pgtable``."""
    argv = getattr(sys, "argv", None) or [""]
    if argv[0] == "-m":  # while Python looks for the module
        given = sys.orig_argv
        return "-mpgtable" in given or ("-m", "pgtable") in itertools.pairwise(given)
    return os.path.basename(argv[0]) == "pgtable"


def prepare() -> None:
    """End at once, and quietly, on a signal.  Signals that are ignored stay ignored (nohup)."""
    for number in _SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, end_at_once)


def end_at_once(number: int, frame: object) -> None:
    """End the process with the exit code that shells give to a signal."""
    try:
        os.write(2, b"pgtable: interrupted\n")
    finally:
        os._exit(128 + number)
