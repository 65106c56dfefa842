# SPDX-License-Identifier: GPL-2.0-only
"""Locks that are safe across forks: a child never finds one held by a thread of its parent."""

from __future__ import annotations

import os
import threading
from typing import Any


def lock_across_forks() -> Any:
    """Return an RLock for the life of the process.  A fork waits until it is free."""
    lock = threading.RLock()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
        )
    return lock
