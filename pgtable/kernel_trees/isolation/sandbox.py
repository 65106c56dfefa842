# SPDX-License-Identifier: GPL-2.0-only
"""Give up what a process need not be able to do.

Read by a program that imports nothing else of ours (child.py).
"""

from __future__ import annotations

import os
import resource
from typing import Any

#: What neither a helper nor a constructor needs: talking to others, starting programs,
#: looking into other processes.
_REFUSED = (
    *("socket", "socketpair", "io_uring_setup", "bpf", "keyctl"),
    *("fork", "vfork", "clone", "clone3", "execve", "execveat"),
    *("ptrace", "process_vm_readv", "process_vm_writev", "kill", "unshare", "mount"),
)
_EPERM = 1


def limit(name: str, value: int) -> None:
    """Set a limit, hard and soft; a lower one that is there stays."""
    kind = getattr(resource, f"RLIMIT_{name}")
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def restrict_files(
    read: list[str], execute: list[str], write: list[str], devices: list[str]
) -> list[str]:
    """Allow these directories and files, no other and no network; returns what holds now.

    execute: what may be read and run.  devices: files that may be read and written.
    """
    try:
        from py_landlock import AccessFs, Landlock  # noqa: PLC0415

        rules: Any = Landlock(strict=False)
        version = int(rules.abi_version)
        file = AccessFs.READ_FILE
        for paths, on_file, on_directory in (
            (read, file, file | AccessFs.READ_DIR),
            (execute, file | AccessFs.EXECUTE, file | AccessFs.EXECUTE | AccessFs.READ_DIR),
            (devices, file | AccessFs.WRITE_FILE, file | AccessFs.WRITE_FILE),
        ):
            for path in paths:
                if os.path.exists(path):
                    access = on_directory if os.path.isdir(path) else on_file
                    rules.add_path_rule(path, access=access)
        for path in write:
            if os.path.isdir(path):
                rules.allow_read_write(path)
        rules.apply()
    except (ImportError, OSError, RuntimeError, ValueError, _landlock_error()):
        return []
    return [f"Landlock {version}"]


def _landlock_error() -> type[Exception]:
    """Return what the library raises where the kernel has no Landlock."""
    try:
        from py_landlock import LandlockError  # noqa: PLC0415
    except ImportError:
        return ImportError
    return LandlockError


def restrict_calls() -> list[str]:
    """Refuse the system calls that no helper needs; returns what holds now."""
    try:
        import pyseccomp  # noqa: PLC0415

        rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
        for name in _REFUSED:
            try:
                rules.add_rule(pyseccomp.ERRNO(_EPERM), name)
            except (OSError, ValueError):
                continue  # a call that this kernel or architecture has not
        rules.load()
    except (ImportError, OSError, RuntimeError):
        return []
    return ["seccomp"]
