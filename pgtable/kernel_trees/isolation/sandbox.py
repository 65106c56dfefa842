# SPDX-License-Identifier: GPL-2.0-only
"""Takes away from this process what it does not need.

child.py, which imports nothing else of the package, imports this.
"""

from __future__ import annotations

import contextlib
import os
import resource
from typing import Any

#: System calls of a Python that serves requests and loads a library.  None of them reaches
#: another process, the clock, the network, or the rights of a file.
_ALLOWED = (
    *("read", "readv", "pread64", "write", "writev", "close", "lseek", "dup", "dup2", "dup3"),
    *("fstat", "stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2"),
    *("getdents64", "readlink", "readlinkat", "getcwd", "poll", "ppoll", "select", "pselect6"),
    *("mmap", "munmap", "mprotect", "mremap", "madvise", "brk", "mincore", "msync"),
    *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall"),
    *("futex", "set_robust_list", "rseq", "arch_prctl", "set_tid_address", "sched_yield"),
    *("getpid", "getppid", "gettid", "getuid", "geteuid", "getgid", "getegid", "getrandom"),
    *("clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time"),
    *("getrusage", "getrlimit", "setrlimit", "sysinfo", "uname", "sched_getaffinity"),
    *("exit", "exit_group"),
)
#: What fcntl() may be asked for: descriptors' flags.
_FCNTL = range(5)
#: Bits of the flags of open() that write, or make a file.
_WRITES = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC
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

        rules = pyseccomp.SyscallFilter(pyseccomp.ERRNO(_EPERM))
        argument, equal = pyseccomp.Arg, pyseccomp.EQ
        only_read = pyseccomp.MASKED_EQ, _WRITES, os.O_RDONLY
        for name in _ALLOWED:
            _allow(rules, name)
        _allow(rules, "open", argument(1, *only_read))
        _allow(rules, "openat", argument(2, *only_read))
        _allow(rules, "prlimit64", argument(0, equal, 0))  # its own limits alone
        for number in _FCNTL:
            _allow(rules, "fcntl", argument(1, equal, number))
        rules.load()
    except (ImportError, OSError, RuntimeError):
        return []
    return ["seccomp"]


def _allow(rules: Any, name: str, *arguments: Any) -> None:
    import pyseccomp  # noqa: PLC0415

    # ValueError, OSError: this kernel or architecture does not have the call
    with contextlib.suppress(OSError, ValueError):
        rules.add_rule(pyseccomp.ALLOW, name, *arguments)
