# SPDX-License-Identifier: GPL-2.0-only
"""Which limits a compiler is given, and which files it may read: see compiling.py."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from .worker import library_paths

#: What else a compiler may read, run and write, separated by colons: for compilers
#: that need files elsewhere, and for what stands in front of one and keeps files.
PATHS = "PGTABLE_COMPILER_PATHS"
#: Said of a file that a compiler asked for, and may not read.
MEND = f"the compiler may read the tree, its own files and what {PATHS} names"

#: Seconds that one command may take, by the clock.
SECONDS = 600.0
#: Of each process: seconds of a processor, and bytes of memory and of a file.
LIMITS = {"CPU": 300, "AS": 6 << 30, "FSIZE": 512 << 20}

#: Where programs and their libraries are installed.
_INSTALLED = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt")
_STORES = ("/nix/store", "/gnu/store")
_READ = ("/etc/alternatives", "/etc/ld.so.cache", "/proc/cpuinfo", "/proc/meminfo", "/dev/urandom")
_LAUNCHER = Path(__file__).with_name("compiling.py")
_PATH_IN_OPTION = re.compile(r"-{1,2}[A-Za-z][A-Za-z-]*=?(/.*)")


def confined(command: Sequence[str], directory: Path) -> list[str]:
    """Return the command that runs another one with limits.

    It may read what the command names, and write in the directory.
    """
    more = [path for path in os.environ.get(PATHS, "").split(":") if path]
    settings = {
        "libraries": library_paths(),
        "limits": LIMITS,
        "read": [*_READ, *_named(command[1:])],
        "execute": [*_INSTALLED, *_STORES, *_beside(command[0]), *more],
        "write": [str(directory), *more],
        "devices": ["/dev/null"],
    }
    return [sys.executable, "-I", "-S", str(_LAUNCHER), json.dumps(settings), *command]


def environment(directory: Path) -> dict[str, str]:
    """Return the environment of a confined compiler.

    Temporary files go into the directory.  A ccache could not keep its files, so it
    only passes the command on.
    """
    return {
        **os.environ,
        "LC_ALL": "C",
        "TMPDIR": str(directory),
        "CCACHE_DISABLE": "1",
        "CCACHE_DIR": str(directory),
    }


def _named(words: Iterable[str]) -> list[str]:
    """Return the absolute paths in the words of a command, options' values too."""
    found = []
    for word in words:
        option = _PATH_IN_OPTION.fullmatch(word)
        if path := word if word.startswith("/") else option and option[1]:
            found.append(path)
    return list(dict.fromkeys(found))


def _beside(program: str) -> list[str]:
    """Return where a program's own files are: its directory; where that is bin, the one above."""
    found = []
    for path in (Path(program), Path(os.path.realpath(program))):
        if path.is_absolute():
            above = path.parent.parent
            prefix = path.parent.name == "bin" and above not in (Path("/"), Path.home())
            found += [str(path), str(above if prefix else path.parent)]
    return found


def never_ends(places: Iterable[str]) -> str | None:
    """Return a file below these directories that a compiler can wait for without end."""
    for place in places:
        for directory, _, names in os.walk(place):
            for name in names:
                path = Path(directory, name)
                try:
                    odd = path.exists() and not path.is_file()
                except OSError:
                    continue
                if odd:
                    return str(path)
    return None
