# SPDX-License-Identifier: GPL-2.0-only
"""The cache of compiled trees.

    builds/KEY/      a library, its report and, after they are proved, the forms of
                     its helpers; KEY is a digest of all that was compiled.  NAME.sum has the size
                     and digest of the file NAME
    known/KEY.json   for a request, whose digest is KEY: the key of its build, and the headers
                     that were read

A build appears when its finished directory gets its name, so there is never half a build. A process
that builds holds the lock.  So if a process gets the lock and finds unfinished directories, they
are left from processes that were killed.

What is read from here is executed.  So only the user may write to the directory (trust.py), and a
file that does not have its size and digest is not used, but built again.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

import platformdirs

from .errors import KernelTreeError
from .reading import read_bytes
from .trust import UntrustedError, open_directory, open_file, require_own_place

PLACE = "PGTABLE_CACHE_DIR"
_UNFINISHED = "unfinished-"
_SUM = ".sum"
_KEY = re.compile(r"[0-9a-f]{64}")


class DamagedError(ValueError):
    """A file that is not as it was written.  The message names it."""


def cache_directory() -> Path:
    """Return where compiled helpers are kept: in PGTABLE_CACHE_DIR, or the platform's cache."""
    root = os.environ.get(PLACE) or platformdirs.user_cache_dir("pgtable")
    return Path(root).absolute() / "kernel_tree"


def clear_cache() -> int:
    """Remove every compiled tree; returns how many bytes that freed.

    Raises KernelTreeError for a directory that cannot be trusted.
    """
    if not _is_there():
        return 0
    with _lock():
        freed = size()
        for child in cache_directory().iterdir():
            if child.is_dir() and not child.is_symlink():
                shutil.rmtree(child)
    return freed


def size() -> int:
    """Return how many bytes the cache has; raises KernelTreeError as :func:`clear_cache` does."""
    if not _is_there():
        return 0
    kept = 0
    for directory, _, names in os.walk(cache_directory()):
        for name in names:
            kept += os.lstat(os.path.join(directory, name)).st_size
    return kept


def find(request: str, files: Sequence[str]) -> Path | None:
    """Return the finished build of a request, if no header has changed since; else None.

    files: files that the build must have, undamaged.
    Raises KernelTreeError for a directory that cannot be trusted.
    """
    if not _is_there():
        return None
    known = _known_file(request)
    try:
        key, headers = _note(_read(known))
    except UntrustedError as error:
        raise _untrusted(error) from None
    except OSError:
        return None  # no such request was made
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        say(f"{known} is not as it was written; it is made again")
        return None
    try:
        changed = {name: seen for name, seen in headers.items() if _stamp(name) != seen[:2]}
        if any(_content(name) != seen[2] for name, seen in changed.items()):
            return None
    except OSError:
        return None  # a header is gone
    return find_content(key, files)


@contextmanager
def unfinished() -> Iterator[Path]:
    """Give a directory to build in, while no other process builds.  It is removed at the end."""
    with _lock():
        root = cache_directory()
        for left_over in root.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(left_over, ignore_errors=True)
        with tempfile.TemporaryDirectory(
            prefix=_UNFINISHED, dir=root, ignore_cleanup_errors=True
        ) as directory:
            yield Path(directory)


def find_content(key: str, files: Sequence[str]) -> Path | None:
    """Return the finished build with this key, if these files of it are undamaged; else None."""
    if not _is_there():
        return None
    build = _builds() / key
    try:
        os.close(open_directory(build))
        for name in files:
            read(build, name)
    except UntrustedError as error:
        raise _untrusted(error) from None
    except FileNotFoundError:
        if build.is_dir():
            say(f"a file of {build} is missing; it is built again")
        return None
    except (OSError, DamagedError) as error:
        say(f"{error}; it is built again")
        return None
    return build


def read(build: Path, name: str) -> bytes:
    """Return the bytes of a file of a build; raises DamagedError if they are not as written."""
    try:
        content = _read(build / name)
        if _read(build / f"{name}{_SUM}") != _sum(content):
            raise DamagedError(f"{build / name} is damaged")
    except UntrustedError as error:
        raise _untrusted(error) from None
    return content


def keep(key: str, directory: Path, files: list[str]) -> Path:
    """Make the build with this key from the files of an unfinished directory."""
    _make(_builds())
    finished = directory / "finished"
    finished.mkdir(0o700)
    for name in files:
        _move(directory / name, finished)
    build = _builds() / key
    if build.is_symlink():
        build.unlink()
    elif build.exists():  # a build that is there is damaged, else this one would not have been made
        build.rename(directory / "damaged")
    finished.rename(build)
    _said.clear()
    return build


def add(build: Path, file: Path) -> None:
    """Move a file of an unfinished directory into a build.  It replaces a damaged file."""
    _move(file, build)


def stamps(headers: list[str]) -> dict[str, list[int]]:
    """Return size and times of each header: they change when somebody writes to it."""
    return {name: _stamp(name) for name in headers}


def remember(request: str, key: str, headers: dict[str, list[int]], directory: Path) -> None:
    """Write down which build answers a request, as long as these headers stay the same.

    headers: as :func:`stamps` gives them.
    """
    files = {name: [*stamp, _content(name)] for name, stamp in headers.items()}
    written = directory / "known.json"
    written.write_text(json.dumps({"build": key, "files": files}))
    written.chmod(0o600)
    _make(_known_file(request).parent)
    written.rename(_known_file(request))
    _said.clear()


def _note(text: bytes) -> tuple[str, dict[str, list]]:
    """Return the key and the headers of a note; raises an error if it is not ours."""
    found = json.loads(text)
    key, files = found["build"], found["files"]
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key} is no key")
    return key, {
        str(name): [size, time, str(content)] for name, (size, time, content) in files.items()
    }


def _builds() -> Path:
    return cache_directory() / "builds"


def _known_file(request: str) -> Path:
    return cache_directory() / "known" / f"{request}.json"


def _stamp(name: str) -> list[int]:
    status = os.stat(name)
    return [status.st_size, status.st_mtime_ns]


def _content(name: str) -> str:
    return sha256(read_bytes(name)).hexdigest()


def _sum(content: bytes) -> bytes:
    return f"{len(content)} {sha256(content).hexdigest()}\n".encode()


def _move(file: Path, directory: Path) -> None:
    """Move a file and its sum.  The sum comes first: a file without its sum counts as damaged."""
    beside = file.with_name(f"{file.name}{_SUM}")
    beside.write_bytes(_sum(file.read_bytes()))
    for one in (beside, file):
        one.chmod(one.stat().st_mode & 0o100 | 0o600)  # some files are programs
        one.rename(directory / one.name)


def _read(file: Path) -> bytes:
    """Return the bytes of one of our files."""
    directory = open_directory(file.parent)
    try:
        with open(open_file(file, at=directory), "rb") as opened:
            return opened.read()
    finally:
        os.close(directory)


def _is_there() -> bool:
    """Tell whether there is a cache; raises KernelTreeError if it cannot be trusted."""
    root = cache_directory()
    try:
        require_own_place(root)
        os.close(open_directory(root))
        for part in (_builds(), root / "known"):
            with suppress(FileNotFoundError):
                os.close(open_directory(part))
    except UntrustedError as error:
        raise _untrusted(error) from None
    except OSError:
        return False
    return True


def _make(directory: Path) -> None:
    """Make a directory that only the user can write to.  An existing one must be the user's own."""
    for path in (*reversed(directory.parents), directory):
        if path == directory or not path.exists():
            with suppress(FileExistsError):
                path.mkdir(0o700)
    try:
        os.close(open_directory(directory))
    except UntrustedError as error:
        raise _untrusted(error) from None


@contextmanager
def _lock() -> Iterator[None]:
    root = cache_directory()
    try:
        require_own_place(root)
        _make(root)
        root.chmod(0o700)
        lock = open_file(root / "lock", os.O_RDWR | os.O_CREAT)
    except UntrustedError as error:
        raise _untrusted(error) from None
    except OSError as error:
        raise KernelTreeError(
            f"the cache {root} cannot be written ({error.strerror}); name another directory in"
            f" the environment variable {PLACE}"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _untrusted(error: UntrustedError) -> KernelTreeError:
    return KernelTreeError(
        f"the cache {cache_directory()} cannot be trusted: {error}; or name a directory of your"
        f" own in the environment variable {PLACE}"
    )


#: Warnings that were given already: several steps look at a damaged file before it is replaced.
_said: set[str] = set()


def say(what: str) -> None:
    """Warn once that something is damaged."""
    if what not in _said:
        _said.add(what)
        warnings.warn(f"the cache is damaged: {what}", stacklevel=2)
