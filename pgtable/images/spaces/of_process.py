# SPDX-License-Identifier: GPL-2.0-only
"""Which address space is that of a process that runs, told by its pagemap.

/proc/PID/pagemap has the frame of each page of a process (root rights); the space that maps
the same frames at the same addresses is its own.
"""

from __future__ import annotations

import operator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..segments import PAGE
from ..walking import run_walk
from .model import Space, Spaces
from .parts import user_root

if TYPE_CHECKING:
    from ..image import Image

_PRESENT = np.uint64(1 << 63)
_FRAME = np.uint64((1 << 55) - 1)
#: Pages that are compared, and bytes of a mapping's pagemap that are read for them.
_ASKED = 4096
_AT_ONCE = 1 << 15
_USER_END = 1 << 56
#: What has to agree: the process runs on while its tables are read.
_SHARE = 0.5
#: More agree with one space than with any other, but for a fork a moment ago.
_AHEAD = 0.9


def find_process(image: Image, found: Spaces, pid: int, proc: Path = Path("/proc")) -> Space:
    """Return the space of a process of the machine that runs this.

    Raises ValueError where the pagemap tells no frames or no space has them; OSError for a
    process that there is not, and without the right to read its pagemap.
    """
    pid = operator.index(pid)
    va, pfn = _pages_of(proc / str(pid))
    if not len(va):
        raise ValueError(f"process {pid} has no page in memory: a thread of the kernel, or ending")
    if not pfn.any():
        raise ValueError(
            f"/proc/{pid}/pagemap does not tell frames: that takes root rights (CAP_SYS_ADMIN)"
        )
    agreeing = [(_agreement(image, found, space, va, pfn), space) for space in found]
    agreeing.sort(key=lambda pair: -pair[0])
    best, space = agreeing[0]
    if best < _SHARE * len(va):
        raise ValueError(
            f"no space in {image.path} maps what process {pid} maps ({best} of {len(va)} pages at"
            " most): is this the memory of the machine that runs now?"
        )
    if len(agreeing) > 1 and agreeing[1][0] > _AHEAD * best:
        raise ValueError(
            f"two spaces map what process {pid} maps, {space.root:#x} and"
            f" {agreeing[1][1].root:#x}: it forked a moment ago; name one with --space"
        )
    return space


def _pages_of(process: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return addresses and frame numbers of some pages that are in memory."""
    addresses, frames, left = [], [], _ASKED
    with (process / "pagemap").open("rb", buffering=0) as pagemap:
        for start, end in _mappings(process / "maps"):
            pagemap.seek(start // PAGE * 8)
            content = pagemap.read(min((end - start) // PAGE * 8, _AT_ONCE))
            words = np.frombuffer(content[: len(content) // 8 * 8], np.uint64)
            there = np.flatnonzero(words & _PRESENT)[: min(left, 256)]
            addresses.append(np.uint64(start) + there.astype(np.uint64) * np.uint64(PAGE))
            frames.append(words[there] & _FRAME)
            left -= len(there)
            if left <= 0:
                break
    nothing = np.empty(0, np.uint64)
    return np.concatenate([nothing, *addresses]), np.concatenate([nothing, *frames])


def _mappings(path: Path) -> list[tuple[int, int]]:
    """Return [start, end) of each mapping of the user half."""
    found = []
    for line in path.read_text().splitlines():
        start, _, end = line.split(maxsplit=1)[0].partition("-")
        if int(end, 16) <= _USER_END:
            found.append((int(start, 16), int(end, 16)))
    return found


def _agreement(image: Image, found: Spaces, space: Space, va: np.ndarray, pfn: np.ndarray) -> int:
    """Count the pages that a space maps to the same frames."""
    root = user_root(found, space)
    walk = run_walk(image.tables(root), root, None)
    agree = np.zeros(len(va), bool)
    for level in (1, 2, 3):
        rows = np.flatnonzero(walk.leaf & (walk.level == level))
        if not len(rows):
            continue
        size = np.uint64(1 << (12 + 9 * (level - 1)))
        first = va - va % size
        at = np.minimum(np.searchsorted(walk.va[rows], first), len(rows) - 1)
        frame = (walk.pa[rows[at]] + (va - first)) // np.uint64(PAGE)
        agree |= (walk.va[rows[at]] == first) & (frame == pfn)
    return int(np.count_nonzero(agree))
