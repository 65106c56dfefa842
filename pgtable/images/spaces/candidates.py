# SPDX-License-Identifier: GPL-2.0-only
"""Pages that can be top tables: their kernel half is well formed.

Most pages are told apart by their last entry, which maps the kernel's text: one line of
memory of each is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice

import numpy as np

from ..image import Image, MappedImage
from ..segments import PAGE
from ..steps import Progress, Task, run_tasks

_ENTRIES = 512
_HALF = 256
#: Bytes looked at together, and pages of which the whole is looked at together.
_CHUNK = 16 << 20
#: Such blocks that each thread has before what was found is counted.
_BLOCKS = 4
_ROWS = 4096
#: More tops than any machine has processes: an image with more is hostile.
MOST = 1 << 16

#: Of a kernel entry: PRESENT, RW and ACCESSED are set; PWT, PCD, PSE, GLOBAL, 52 to 63 are not.
_KERNEL_MASK, _KERNEL = np.uint64(0xFFF0_0000_0000_01BB), np.uint64(0x23)
#: Of a user entry: PRESENT and RW are set; PSE, GLOBAL, 52 to 62 are not (isolation sets NX).
_USER_MASK, _USER = np.uint64(0x7FF0_0000_0000_0183), np.uint64(0x3)
#: Frames below the bits that can say "encrypted" (SME, SEV, TDX: 43 and up).
_FRAME = np.uint64(0x0000_07FF_FFFF_F000)


def find_tops(
    image: Image, encryption: int = 0, threads: int = 1, progress: Progress | None = None
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return addresses (uint64) and content (shape (n, 512)) of pages that can be top tables.

    encryption: a bit of entries that is no part of a frame, below those that never are;
    threads: how many may work; progress: is told how many words were looked at.
    The third says whether there are more than were looked at.
    """
    ranges = image.ranges
    end = ranges[:, 1].max() if len(ranges) else np.uint64(0)
    frame = _FRAME & ~np.uint64(encryption)
    nothing = np.empty((0, _ENTRIES), np.uint64)
    found_pa, found, total, done = [nothing.ravel()], [nothing], 0, 0
    blocks = _blocks(image)
    # some at once, so that an image with more than can be has an end
    while together := list(islice(blocks, threads * _BLOCKS)):
        tasks = [_look(pa, read, end, frame) for pa, read in together]
        for pas, tables in run_tasks(tasks, threads):
            found_pa.append(pas)
            found.append(tables)
            total += len(pas)
        if total > MOST:
            return np.concatenate(found_pa)[:MOST], np.concatenate(found)[:MOST], True
        done += len(together) * (_CHUNK // 8)
        if progress is not None:
            progress(done)
    return np.concatenate(found_pa), np.concatenate(found), False


def _look(
    pa: int, read: Callable[[], np.ndarray], end: np.uint64, frame: np.uint64
) -> Task[tuple[np.ndarray, np.ndarray]]:
    """Return addresses and content of what can be a top table in one block."""
    pages = read()
    likely = np.flatnonzero(_like_kernel(pages[:, -1], end, frame))
    yield 0
    found_pa, found = [], []
    for first in range(0, len(likely), _ROWS):
        rows = likely[first : first + _ROWS]
        tables = pages[rows]
        good = _like_top(tables, end, frame)
        found_pa.append(np.uint64(pa) + rows[good].astype(np.uint64) * np.uint64(PAGE))
        found.append(tables[good])
        yield 0
    nothing = np.empty((0, _ENTRIES), np.uint64)
    return np.concatenate([nothing.ravel(), *found_pa]), np.concatenate([nothing, *found])


def _blocks(image: Image) -> Iterator[tuple[int, Callable[[], np.ndarray]]]:
    """Yield physical address of a block of whole pages, and what gives it: shape (n, 512)."""
    if isinstance(image, MappedImage):
        for pa, memory in image.segments.pieces():
            skipped = -pa % PAGE
            for first in range(skipped, len(memory) - PAGE + 1, _CHUNK):
                part = memory[first : first + _CHUNK]
                yield pa + first, partial(_as_pages, part)
        return
    size = _CHUNK // 16
    for start, end in image.ranges.tolist():
        for first in range(start, end, size):
            yield first, partial(_read_pages, image, first, min(end - first, size))


def _read_pages(image: Image, pa: int, size: int) -> np.ndarray:
    return _as_pages(_read(image, pa, size))


def _read(image: Image, pa: int, size: int) -> np.ndarray:
    """Return memory of an image whose pages have to be fetched; what cannot be read is zero."""
    try:
        return np.frombuffer(image.read(pa, size), np.uint8)
    except ValueError:
        memory = np.zeros(size, np.uint8)
        for at in range(0, size, PAGE):
            page = image.entries_at(pa + at)
            if page is not None:
                memory[at : at + PAGE] = page.view(np.uint8)
        return memory


def _as_pages(memory: np.ndarray) -> np.ndarray:
    pages = len(memory) // PAGE
    return np.ndarray((pages, _ENTRIES), "<u8", memory)


def _like_kernel(entries: np.ndarray, end: np.uint64, frame: np.uint64) -> np.ndarray:
    return ((entries & _KERNEL_MASK) == _KERNEL) & (entries & frame < end)


def _like_top(tables: np.ndarray, end: np.uint64, frame: np.uint64) -> np.ndarray:
    user, kernel = tables[:, :_HALF], tables[:, _HALF:]
    used = kernel != 0
    good = (~used | _like_kernel(kernel, end, frame)).all(axis=1) & (used.sum(axis=1) >= 2)
    fits = ((user & _USER_MASK) == _USER) & (user & frame < end)
    return good & ((user == 0) | fits).all(axis=1)
