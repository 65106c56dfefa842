# SPDX-License-Identifier: GPL-2.0-only
"""Locks that a forked child does not find taken by a thread that it does not have."""

from __future__ import annotations

import os
import threading
from typing import Any


def lock_across_forks() -> Any:
    """Return a lock (an RLock) for the life of the process; a fork waits until it is free."""
    lock = threading.RLock()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
        )
    return lock
