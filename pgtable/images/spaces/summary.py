# SPDX-License-Identifier: GPL-2.0-only
"""What spaces map: leaves, bytes, and which frames others map too."""

from __future__ import annotations

from collections import Counter

import numpy as np

from ..image import Image
from ..regions import SIZES
from ..segments import PAGE
from ..walk import Root
from ..walking import run_walk
from .model import Space

_MOST_ENTRIES = 1 << 26
_PAGE = np.uint64(PAGE)
#: Frames of large pages of one space that are told apart: 256 GiB.
_MOST_FRAMES = 1 << 26


def count_kernel(image: Image, root: Root) -> int:
    """Return how many leaves the kernel half has."""
    return int(np.count_nonzero(run_walk(image.tables(root), root, _MOST_ENTRIES).leaf))


def count_user(image: Image, root: Root, space: Space, notes: list[str]) -> np.ndarray:
    """Count the user half of a space; return the 4 KiB frames that it maps, each once (uint64)."""
    walk = run_walk(image.tables(root), root, _MOST_ENTRIES)
    leaf = walk.leaf & walk.user
    size = SIZES[walk.level]
    space.user_leaves = int(np.count_nonzero(leaf))
    space.resident = int(size[leaf].sum())
    space.writable = int(size[leaf & walk.writable].sum())
    space.executable = int(size[leaf & ~walk.nx].sum())
    if int(size[leaf & (walk.level > 1)].sum()) > _MOST_FRAMES * PAGE:
        notes.append(
            f"the space at {space.root:#x} maps more with large pages than is compared: frames"
            " that it shares in them are counted by their first 4 KiB alone"
        )
        return np.unique(walk.pa[leaf] // _PAGE)
    return _frames(walk.pa[leaf], size[leaf])


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
