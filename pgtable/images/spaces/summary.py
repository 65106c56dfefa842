# SPDX-License-Identifier: GPL-2.0-only
"""What spaces map: leaves, bytes, and which frames others map too."""

from __future__ import annotations

from collections import Counter

import numpy as np

from ..image import Image
from ..regions import SIZES
from ..segments import PAGE
from ..steps import run_task
from ..walk import Root, Tables, Walk
from ..walking import ALWAYS_VISITED, EXPANSION, NativeWalk, run_walk, streamed_columns
from .model import Space

_MOST_ENTRIES = 1 << 26
_PAGE = np.uint64(PAGE)
#: Frames of large pages that are told apart, of all spaces together: 256 GiB.
_MOST_FRAMES = 1 << 26
_NO_TABLES = Tables(*[np.empty(0, np.uint64)] * 6)


def count_kernel(image: Image, root: Root) -> int:
    """Return how many leaves the kernel half has."""
    return int(np.count_nonzero(run_walk(image.tables(root), root, _MOST_ENTRIES).leaf))


class SpacesBudget:
    """How many tables may be visited for all spaces, and how many frames told apart.

    Of a machine, each table is of one space, or of few: an image in which spaces have many
    times more tables than it has pages is made to keep who reads it busy.
    """

    def __init__(self, image: Image):
        ranges = image.ranges
        pages = int((ranges[:, 1] - ranges[:, 0]).sum()) // PAGE if len(ranges) else 0
        self.tables = EXPANSION * pages + ALWAYS_VISITED
        self.frames = _MOST_FRAMES


def count_user(
    image: Image, root: Root, space: Space, notes: list[str], budget: SpacesBudget
) -> np.ndarray:
    """Count the user half of a space; return the 4 KiB frames that it maps, each once (uint64).

    Where the budget is used up, the space is marked as not counted.
    """
    walk = NativeWalk(image.tables(root), root)
    space.counted = budget.tables > 0
    if not space.counted:
        return np.empty(0, np.uint64)
    run_task(walk.discover())
    once = walk.excessive
    budget.tables -= int(len(walk.all_tables()) if once else walk.bounds.tables)
    parts = [_count(space, rows, root) for rows in walk.stream(once, streamed_columns())]
    pa = np.concatenate([np.empty(0, np.uint64), *(part[0] for part in parts)])
    size = np.concatenate([np.empty(0, np.uint64), *(part[1] for part in parts)])
    large = int(size[size > _PAGE].sum()) // PAGE
    budget.frames -= large
    if budget.frames < 0:
        budget.frames += large
        notes.append(
            f"the space at {space.root:#x} maps more with large pages than is compared: frames"
            " that it shares in them are counted by their first 4 KiB alone"
        )
        return np.unique(pa // _PAGE)
    return _frames(pa, size)


def _count(
    space: Space, columns: dict[str, np.ndarray], root: Root
) -> tuple[np.ndarray, np.ndarray]:
    """Add some rows to what a space maps; return frames and sizes of its user leaves."""
    walk = Walk(root, tables=_NO_TABLES, **columns)
    leaf = walk.leaf & walk.user
    size = SIZES[walk.level]
    space.user_leaves += int(np.count_nonzero(leaf))
    space.resident += int(size[leaf].sum())
    space.writable += int(size[leaf & walk.writable].sum())
    space.executable += int(size[leaf & ~walk.nx].sum())
    return walk.pa[leaf], size[leaf]


def _frames(pa: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return the numbers of all 4 KiB frames of leaves, each once."""
    parts = [pa[size == _PAGE] // _PAGE]
    for large in SIZES[2:4]:
        first = np.unique(pa[size == large]) // _PAGE
        within = np.arange(int(large) // PAGE, dtype=np.uint64)
        parts.append((first[:, None] + within).ravel())
    return np.unique(np.concatenate(parts))


def share(spaces: list[Space], frames: list[np.ndarray]) -> None:
    """Note for each space which others map frames of it.

    Frames that the same set of spaces maps are counted together.
    """
    if not spaces:
        return
    every = np.concatenate(frames)
    which = np.repeat(np.arange(len(spaces)), [len(part) for part in frames])
    marks = np.random.default_rng(0).integers(1, 1 << 63, len(spaces), np.uint64)
    frame, place = np.unique(every, return_inverse=True)
    signature = np.zeros(len(frame), np.uint64)
    np.add.at(signature, place, marks[which])
    sets, first, number = np.unique(signature, return_index=True, return_inverse=True)
    members: list[list[int]] = [[] for _ in sets]
    rows = np.flatnonzero(np.isin(place, first))
    of_frame = {int(f): i for i, f in enumerate(first)}
    for row in rows.tolist():
        members[of_frame[int(place[row])]].append(int(which[row]))
    counts = np.bincount(number, minlength=len(sets))
    shared: list[Counter[int]] = [Counter() for _ in spaces]
    for group, pages in zip(members, counts.tolist(), strict=True):
        if len(group) < 2:
            continue
        for one in group:
            spaces[one].shared_bytes += pages * PAGE
            shared[one].update(
                {spaces[other].root: pages * PAGE for other in group if other != one}
            )
    for space, found in zip(spaces, shared, strict=True):
        space.shared = dict(found.most_common())
