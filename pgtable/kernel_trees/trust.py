# SPDX-License-Identifier: GPL-2.0-only
"""Whether only this user can have put a file into a directory.

What is read from the cache is executed.  So a directory or file that another user owns or can write
to is refused.  Symbolic links to our files are refused as well.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

#: The mode bits that let others write: everybody, and a group.
_OTHERS = stat.S_IWOTH | stat.S_IWGRP


class UntrustedError(OSError):
    """Another user owns something, or can write to it.  The message names it and what mends it."""


def require_own_place(directory: Path) -> None:
    """Raise UntrustedError where another user could put something in place of ``directory``.

    All directories above it are checked.  Each must belong to root or to this user.  Others may
    write to one only if they cannot replace files of other users there (as in /tmp).
    """
    for path in _above(directory):
        try:
            status = path.lstat()
        except FileNotFoundError:
            return
        _require_owner(path, status, or_root=True)
        if not stat.S_ISLNK(status.st_mode) and not status.st_mode & stat.S_ISVTX:
            _require_not_writable(path, status)


def require_own(path: Path, status: os.stat_result) -> None:
    """Raise UntrustedError if another user owns a file or directory or can write to it.

    status: that of the opened file; the name may stand for another file by now.
    """
    _require_owner(path, status)
    _require_not_writable(path, status)


def open_directory(path: Path) -> int:
    """Open a directory of our own, not through a link; returns a descriptor.

    Raises UntrustedError; FileNotFoundError if there is none.
    """
    descriptor = _open(path, os.O_RDONLY | os.O_DIRECTORY)
    return _owned(path, descriptor)


def open_file(path: Path, flags: int = os.O_RDONLY, at: int | None = None) -> int:
    """Open a regular file of our own, not through a link; returns a descriptor.

    at: the directory that holds it, opened.  Raises UntrustedError.
    """
    descriptor = _open(path, flags | os.O_NONBLOCK, at)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UntrustedError(f"{path} is no regular file; remove it")
    return _owned(path, descriptor)


def _open(path: Path, flags: int, at: int | None = None) -> int:
    try:
        name = path if at is None else path.name
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=at)
    except OSError:
        if path.is_symlink():
            raise UntrustedError(f"{path} is a symbolic link; remove it") from None
        raise


def _owned(path: Path, descriptor: int) -> int:
    try:
        require_own(path, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _above(directory: Path) -> list[Path]:
    """Return all directories above one, from the root on, and those that links lead through."""
    parent = directory.parent
    named = [parent, *parent.parents][::-1]
    real = Path(os.path.realpath(parent))
    return list(dict.fromkeys([*named, *[real, *real.parents][::-1]]))


def _require_owner(path: Path, status: os.stat_result, or_root: bool = False) -> None:
    if status.st_uid == os.geteuid() or (or_root and status.st_uid == 0):
        return
    raise UntrustedError(f"{path} belongs to {_user(status.st_uid)}")


def _require_not_writable(path: Path, status: os.stat_result) -> None:
    writable = status.st_mode & _OTHERS
    if writable == stat.S_IWGRP and _is_private(status.st_gid):
        return
    if writable:
        raise UntrustedError(f"others can write to {path}: run 'chmod go-w {path}'")


def _user(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"


def _is_private(gid: int) -> bool:
    """Tell whether a group is a user's own: named as the user, with nobody else in it."""
    try:
        group = grp.getgrgid(gid)
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return False
    return group.gr_name == name and set(group.gr_mem) <= {name}
