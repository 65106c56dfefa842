# SPDX-License-Identifier: GPL-2.0-only
"""What was compiled once is not compiled again.

    builds/KEY/      a library, its report and, once proved, the forms of its helpers; KEY is
                     the content of all that was compiled
    known/KEY.json   what was asked for -> its build, and the headers that were read then

A build appears by renaming a finished directory, so there is never half of one.
Whoever builds holds the lock, so what unfinished directories there are when the
lock is had are left over from somebody who was killed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import platformdirs

from .errors import KernelTreeError

PLACE = "PGTABLE_CACHE_DIR"
_UNFINISHED = "unfinished-"


def cache_directory() -> Path:
    """Return where compiled helpers are kept: in PGTABLE_CACHE_DIR, or the platform's cache."""
    place = os.environ.get(PLACE) or platformdirs.user_cache_dir("pgtable")
    return Path(place).absolute() / "kernel_tree"


def clear_cache() -> int:
    """Remove every compiled tree; returns how many bytes that freed."""
    place = cache_directory()
    if not place.is_dir():
        return 0
    with _lock():
        freed = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
        for child in place.iterdir():
            if child.is_dir():
                shutil.rmtree(child)
    return freed


def find(asked: str) -> Path | None:
    """Return the finished build of what was asked for, if the headers are as they were then."""
    known = _known_file(asked)
    try:
        found = json.loads(known.read_text())
        build = _builds() / found["build"]
        files: dict[str, list] = found["files"]
        if not build.is_dir():
            return None
        changed = {name: seen for name, seen in files.items() if _stamp(name) != seen[:2]}
        if any(_content(name) != seen[2] for name, seen in changed.items()):
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # nothing there, or nothing that we wrote
    return build


@contextmanager
def unfinished() -> Iterator[Path]:
    """Give a directory to build in, with nobody else building; it is gone afterwards."""
    with _lock():
        place = cache_directory()
        for left_over in place.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(left_over, ignore_errors=True)
        with tempfile.TemporaryDirectory(
            prefix=_UNFINISHED, dir=place, ignore_cleanup_errors=True
        ) as directory:
            yield Path(directory)


def find_content(key: str) -> Path | None:
    """Return the finished build of this content."""
    build = _builds() / key
    return build if build.is_dir() else None


def keep(key: str, directory: Path, files: list[str]) -> Path:
    """Turn the files of an unfinished directory into the build of this content."""
    _builds().mkdir(exist_ok=True)
    finished = directory / "finished"
    finished.mkdir()
    for name in files:
        (directory / name).rename(finished / name)
    finished.rename(_builds() / key)
    return _builds() / key


def stamps(headers: list[str]) -> dict[str, list[int]]:
    """Return what changes when somebody writes to one of the headers."""
    return {name: _stamp(name) for name in headers}


def remember(asked: str, key: str, headers: dict[str, list[int]], directory: Path) -> None:
    """Note which build is what was asked for, for as long as these headers are the same.

    headers: with their stamps.
    """
    files = {name: [*stamp, _content(name)] for name, stamp in headers.items()}
    written = directory / "known.json"
    written.write_text(json.dumps({"build": key, "files": files}))
    _known_file(asked).parent.mkdir(exist_ok=True)
    written.rename(_known_file(asked))


def _builds() -> Path:
    return cache_directory() / "builds"


def _known_file(asked: str) -> Path:
    return cache_directory() / "known" / f"{asked}.json"


def _stamp(name: str) -> list[int]:
    status = os.stat(name)
    return [status.st_size, status.st_mtime_ns]


def _content(name: str) -> str:
    return sha256(Path(name).read_bytes()).hexdigest()


@contextmanager
def _lock() -> Iterator[None]:
    place = cache_directory()
    try:
        place.mkdir(parents=True, exist_ok=True)
        lock: Any = (place / "lock").open("w")
    except OSError as error:
        raise KernelTreeError(
            f"the cache {place} cannot be written ({error.strerror}); name another directory in"
            f" the environment variable {PLACE}"
        ) from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
