# SPDX-License-Identifier: GPL-2.0-only
"""The first moment of the program ``pgtable``, before anything that takes long is imported.

NumPy's import takes a good part of a second.  Who presses Ctrl-C meanwhile shall see one line and
no traceback.
"""

import itertools
import os
import signal
import sys

#: What ends the program before it has begun: nothing is written yet, nothing to be cleaned up.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def is_program() -> bool:
    """Tell whether this process was started as ``pgtable`` or ``python -m pgtable``."""
    argv = getattr(sys, "argv", None) or [""]
    if argv[0] == "-m":  # while Python looks for the module
        given = sys.orig_argv
        return "-mpgtable" in given or ("-m", "pgtable") in itertools.pairwise(given)
    return os.path.basename(argv[0]) == "pgtable"


def prepare() -> None:
    """End at once, and quietly, on a signal; what is ignored stays ignored (nohup)."""
    for number in _SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, end_at_once)


def end_at_once(number: int, frame: object) -> None:
    """End the process with the exit code that shells give to a signal."""
    try:
        os.write(2, b"pgtable: interrupted\n")
    finally:
        os._exit(128 + number)
