# SPDX-License-Identifier: GPL-2.0-only
"""Makes an exception of signals that end a program, so that everything is cleaned up."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from .._early import end_at_once

#: Signals that end a process by default and can be caught.  SIGQUIT is left out: its sender
#: wants a core dump of the process as it is.
FATAL = tuple(
    getattr(signal, name)
    for name in (
        "SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF",
        "SIGXCPU", "SIGIO", "SIGPWR", "SIGSTKFLT",
    )
    if hasattr(signal, name)
)  # fmt: skip


class Stopped(KeyboardInterrupt):
    """A signal has come; ``number`` says which."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


class Stopping:
    """While entered, a fatal signal raises Stopped, once; handlers are then as they were before.

    Handlers of whoever called us, and what is ignored, stay.  Python allows this in the
    main thread only; in others nothing is changed.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._stopped = False

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            ours = (signal.SIG_DFL, signal.default_int_handler, end_at_once)
            for number in FATAL:
                if (before := signal.getsignal(number)) in ours:
                    self._before[number] = before
                    signal.signal(number, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        for number, before in self._before.items():
            signal.signal(number, before)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if not self._stopped:  # a second signal must not interrupt the clean-up
            self._stopped = True
            raise Stopped(number)
