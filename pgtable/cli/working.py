# SPDX-License-Identifier: GPL-2.0-only
"""What a command says on a terminal while it works: what it does, how far it is, how long."""

from __future__ import annotations

import sys
import threading

from .common import progress

#: Seconds after which something is said, and between two sayings.
_AFTER = 0.3
_AGAIN = 0.2


class Working:
    """While entered, and from 0.3 s on, a line on a terminal shows that work goes on.

    ``progress`` takes how many entries are done, and may be called by any thread.
    """

    def __init__(self, what: str):
        self.what = what
        self._done = 0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def progress(self, done: int) -> None:
        """Note how many entries are done."""
        self._done = done

    def __enter__(self) -> Working:
        if sys.stderr is not None and sys.stderr.isatty():
            self._thread = threading.Thread(target=self._show, name="progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _show(self) -> None:
        if self._ended.wait(_AFTER):
            return
        with progress(None, " entries", self.what) as bar:
            while True:
                bar.n = self._done
                bar.refresh()
                if self._ended.wait(_AGAIN):
                    return
