# SPDX-License-Identifier: GPL-2.0-only
"""The process that runs a tree's helpers: ``python -I -S child.py JSON``.

It gives up all that it does not need, and loads the library.  Then it serves requests: each runs
one helper's loop over entries in shared memory.  It writes no files.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import mmap
import os
import resource
import struct
import sys
from typing import Any

#: helper's number, what to run, n entries, argument, one argument for each entry?
REQUEST = struct.Struct("=IIQQ?")
#: A word that says what kind of answer this is, and a count.
ANSWER = struct.Struct("=QQ")
MAP, TEST, COUNT = range(3)
#: How many entries one request has at most: the shared memory has room for so many.
BLOCK = 1 << 19
WORD = 8
ARENA = 3 * WORD * BLOCK


class _Helper(ctypes.Structure):
    """``struct pgtable_helper`` of csrc/bulk/bulk.h."""

    _fields_ = (
        *((name, ctypes.c_char_p) for name in ("name", "level", "takes", "gives", "argument")),
        *((name, ctypes.c_void_p) for name in ("map", "test", "count")),
    )


_POINTERS = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64)
_LOOP = ctypes.CFUNCTYPE(ctypes.c_int, *_POINTERS, ctypes.c_void_p, ctypes.c_size_t)
_COUNT_LOOP = ctypes.CFUNCTYPE(ctypes.c_uint64, *_POINTERS, ctypes.c_size_t)


def main() -> None:
    """Serve requests until the other side closes the pipe."""
    settings = json.loads(sys.argv[1])
    sys.path += [*settings["libraries"], os.path.dirname(os.path.abspath(__file__))]
    memory = mmap.mmap(settings["memory"], ARENA)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    active = _give_up(settings["room"])
    library = ctypes.CDLL(f"/proc/self/fd/{settings['library']}")
    library.pgtable_tree_set_feature(settings["shstk"])
    helpers = _helpers(library)
    about = {
        "active": active,
        "constant": bool(library.pgtable_tree_feature_is_constant()),
        "helpers": [
            [word and word.decode() for word in (h.name, h.level, h.takes, h.gives, h.argument)]
            for h in helpers
        ],
    }
    text = json.dumps(about).encode()
    _write(settings["answers"], struct.pack("=Q", len(text)) + text)
    _serve(settings, helpers, base)


def _give_up(room: int) -> list[str]:
    """Give up what is not needed.  room: how many bytes may still be allocated."""
    import sandbox  # type: ignore # noqa: PLC0415 - found only now

    with contextlib.suppress(ImportError, OSError, RuntimeError):
        import pyseccomp  # noqa: F401, PLC0415 - looks for a library, which it can now
    sandbox.limit("CORE", 0)
    sandbox.limit("FSIZE", 0)
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[0])
    sandbox.limit("AS", pages * mmap.PAGESIZE + room)
    return [*sandbox.restrict_files([], [], [], []), *sandbox.restrict_calls(), "limits"]


def _helpers(library: Any) -> list[_Helper]:
    helper = library.pgtable_tree_helper
    helper.argtypes, helper.restype = [ctypes.c_size_t], ctypes.POINTER(_Helper)
    library.pgtable_tree_nhelpers.restype = ctypes.c_size_t
    return [helper(number).contents for number in range(library.pgtable_tree_nhelpers())]


def _serve(settings: Any, helpers: list[_Helper], base: int) -> None:
    source, arguments, target = (base + part * WORD * BLOCK for part in range(3))
    loops: dict[tuple[int, int], Any] = {}
    answered = 0
    while len(request := os.read(settings["requests"], REQUEST.size)) == REQUEST.size:
        number, what, n, argument, each = REQUEST.unpack(request)
        # the parent ends this process in time; this limit is for a parent that was killed
        spent = math.ceil(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
        resource.setrlimit(resource.RLIMIT_CPU, (spent + settings["seconds"] + 1, -1))
        if (number, what) not in loops:
            loops[number, what] = _loop(helpers[number], what)
        given = (source, arguments if each else None, argument)
        if what == COUNT:
            count = loops[number, what](*given, n)
        else:
            loops[number, what](*given, source if what == MAP else target, n)
            count = 0
        answered += 1
        _write(settings["answers"], ANSWER.pack(answered, count))


def _loop(helper: _Helper, what: int) -> Any:
    if what == COUNT:
        return _COUNT_LOOP(helper.count)
    return _LOOP(helper.map if what == MAP else helper.test)


def _write(descriptor: int, text: bytes) -> None:
    while text:
        text = text[os.write(descriptor, text) :]


if __name__ == "__main__":
    main()
