# SPDX-License-Identifier: GPL-2.0-only
"""Takes away from this process what it does not need.

child.py, which imports nothing else of the package, imports this.
"""

from __future__ import annotations

import os
import resource
from typing import Any

#: System calls that no helper and no constructor needs: communication, starting programs, and
#: access to other processes.
_REFUSED = (
    *("socket", "socketpair", "io_uring_setup", "bpf", "keyctl"),
    *("fork", "vfork", "clone", "clone3", "execve", "execveat"),
    *("ptrace", "process_vm_readv", "process_vm_writev", "kill", "unshare", "mount"),
)
_EPERM = 1


def limit(name: str, value: int) -> None:
    """Set a limit, hard and soft.  A lower limit stays."""
    kind = getattr(resource, f"RLIMIT_{name}")
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def restrict_files(
    read: list[str],
    execute: list[str],
    write: list[str],
    devices: list[str],
    scoped: bool = True,
) -> list[str]:
    """Allow only these directories and files, and no network; return the names of what is in force.

    execute: what may be read and run.  devices: files that may be read and written.
    scoped: send no signals to processes outside, either.
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
        if not scoped:
            rules.allow_all_scope()
        rules.apply()
    except (ImportError, OSError, RuntimeError, ValueError, _landlock_error()):
        return []
    return [f"Landlock {version}"]


def _landlock_error() -> type[Exception]:
    """Return the errors that the library raises if the kernel has no Landlock."""
    try:
        from py_landlock import LandlockError  # noqa: PLC0415
    except ImportError:
        return ImportError
    return LandlockError


def restrict_calls() -> list[str]:
    """Refuse the system calls that no helper needs; return the names of what is in force."""
    try:
        import pyseccomp  # noqa: PLC0415

        rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
        for name in _REFUSED:
            try:
                rules.add_rule(pyseccomp.ERRNO(_EPERM), name)
            except (OSError, ValueError):
                continue  # this kernel or architecture does not have the call
        rules.load()
    except (ImportError, OSError, RuntimeError):
        return []
    return ["seccomp"]
