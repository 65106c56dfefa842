# SPDX-License-Identifier: GPL-2.0-only
"""Becomes the compiler, with limits: ``python -I -S compiling.py JSON COMMAND...``.

What is compiled is foreign text: it can name any file, and be without end.
"""

from __future__ import annotations

import json
import os
import signal
import sys

#: What a script's shell gives for a program that cannot be run.
_CANNOT_RUN = 126


def main() -> None:
    """Give up what compiling does not need, and run the command."""
    settings, command = json.loads(sys.argv[1]), sys.argv[2:]
    sys.path += [*settings["libraries"], os.path.dirname(os.path.abspath(__file__))]
    import sandbox  # type: ignore # noqa: PLC0415 - found only now

    sandbox.limit("CORE", 0)
    for name, value in settings["limits"].items():
        sandbox.limit(name, value)
    sandbox.restrict_files(
        settings["read"], settings["execute"], settings["write"], settings["devices"], scoped=False
    )
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and programs inherit it
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]}: error: cannot be run: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(_CANNOT_RUN)


if __name__ == "__main__":
    main()
