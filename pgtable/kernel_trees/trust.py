# SPDX-License-Identifier: GPL-2.0-only
"""Whether what lies in a directory can only have been put there by us.

What is read here is run: a directory or file that another user can write to, or
owns, is refused.  Nothing of ours is reached through a symbolic link.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

#: Who may write beside the owner: everybody, and a group.
_OTHERS = stat.S_IWOTH | stat.S_IWGRP


class UntrustedError(OSError):
    """What another user can write to, or owns; says which, and what mends it."""


def require_own_place(directory: Path) -> None:
    """Raise UntrustedError where another user could put something in place of ``directory``.

    Every directory above it, as far as there is one, is looked at: each must be root's
    or ours, and others may write there only where they cannot replace what is not
    theirs (as in /tmp).
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
    """Raise UntrustedError for a file or directory of somebody else, or one others can write to.

    status: of what was opened, not of what the name stands for by now.
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
    """Return every directory above one, those that links lead to as well, the first first."""
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
