# SPDX-License-Identifier: GPL-2.0-only
"""Finds the entries that map a frame, in every address space of a machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .segments import PAGE, PHYSICAL_END
from .spaces.model import Space, roots_text
from .walk import KIND_NAMES, Kind, Walk

#: Levels whose entries have frames.
_LEVELS = (1, 2, 3)
#: Kinds that have a frame of their own, present or not.
_WITH_FRAME = (Kind.LEAF, Kind.PROT_NONE, Kind.MIGRATION)


@dataclass(frozen=True)
class Mapping:
    """One entry that maps a frame.

    va: the address of this frame, within a large page too; entry, level, kind: of the entry;
    writable, user, nx: what all levels allow (an entry that is not present allows nothing);
    spaces: whose it is; half: "user" or "kernel".
    """

    va: int
    entry: int
    level: int
    kind: str
    writable: bool
    user: bool
    nx: bool
    spaces: tuple[Space, ...]
    half: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {
            "va": f"{self.va:#018x}",
            "entry": f"{self.entry:#018x}",
            "level": self.level,
            "kind": self.kind,
            "writable": self.writable,
            "user": self.user,
            "nx": self.nx,
            "half": self.half,
            "spaces": roots_text(self.spaces),
        }


@dataclass(frozen=True)
class TableUse:
    """A page table that lies in a frame: its level, lowest address, and spaces."""

    level: int
    va: int
    spaces: tuple[Space, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        spaces = roots_text(self.spaces)
        return {"level": self.level, "va": f"{self.va:#018x}", "spaces": spaces}


class _FrameRows(NamedTuple):
    """Entries of one level, by frame: number of the walk, and row in it."""

    frame: np.ndarray
    walk: np.ndarray
    row: np.ndarray


class ReverseMap:
    """Which entries of some walks map a frame; in order of the walks and of addresses.

    walks: of one machine, as ``Image.walk_all`` gives them; they are kept.
    pfns: frame numbers that will be asked for, which saves memory; None: any.
    """

    def __init__(self, walks: Iterable[Walk], pfns: Sequence[int] | None = None):
        self._asked = None if pfns is None else np.unique(np.array(checked_frames(pfns), np.uint64))
        parts: dict[int, list[_FrameRows]] = {level: [] for level in _LEVELS}
        self._walks: list[Walk] = []
        for number, walk in enumerate(walks):
            self._walks.append(walk)
            has_frame = np.isin(walk.kind, _WITH_FRAME)
            for level in _LEVELS:
                rows = np.flatnonzero(has_frame & (walk.level == level))
                frame = walk.pa[rows] // np.uint64(PAGE)
                if self._asked is not None:
                    kept = np.isin(frame, _first_frame(self._asked, level))
                    rows, frame = rows[kept], frame[kept]
                parts[level].append(_FrameRows(frame, np.full(len(rows), number, np.intp), rows))
        self._by_level = {level: _sorted(found) for level, found in parts.items()}

    def of(self, pfn: int) -> list[Mapping]:
        """Return every entry that maps this frame (physical address // 4096).

        Raises ValueError for a number that is no frame, or was not named at first.
        """
        (pfn,) = checked_frames([pfn])
        if self._asked is not None and not np.any(self._asked == np.uint64(pfn)):
            raise ValueError(f"frame {pfn:#x} is none of those that the map was made for")
        found = []
        for level, rows in self._by_level.items():
            first = _first_frame(np.array([pfn], np.uint64), level)
            low, high = (int(np.searchsorted(rows.frame, first, side)[0]) for side in _SIDES)
            offset = (pfn - int(first[0])) * PAGE
            for at in range(low, high):
                found.append((int(rows.walk[at]), int(rows.row[at]), offset))
        return [self._mapping(*place) for place in sorted(found)]

    def tables(self, pfn: int) -> list[TableUse]:
        """Return which page tables lie in a frame."""
        pa = np.uint64(checked_frames([pfn])[0] * PAGE)
        return [
            TableUse(int(walk.tables.level[i]), int(walk.tables.va[i]), walk.spaces)
            for walk in self._walks
            for i in np.flatnonzero(walk.tables.pa == pa)
        ]

    def _mapping(self, number: int, row: int, offset: int) -> Mapping:
        walk = self._walks[number]
        va = int(walk.va[row])
        return Mapping(
            va + offset,
            int(walk.entry[row]),
            int(walk.level[row]),
            KIND_NAMES[walk.kind[row]],
            bool(walk.writable[row]),
            bool(walk.user[row]),
            bool(walk.nx[row]),
            walk.spaces,
            "kernel" if va >> 63 else "user",
        )


_SIDES: tuple[Any, Any] = ("left", "right")


def checked_frames(pfns: Sequence[int]) -> list[int]:
    """Return frame numbers as ints; ValueError for what cannot be one."""
    for pfn in pfns:
        if not 0 <= pfn < PHYSICAL_END // PAGE:
            raise ValueError(f"{pfn:#x} is no frame number: those have 40 bits")
    return [int(pfn) for pfn in pfns]


def _first_frame(pfns: np.ndarray, level: int) -> np.ndarray:
    """Return the first frame of the page of a level in which each frame lies."""
    shift = np.uint64(9 * (level - 1))
    return (pfns >> shift) << shift


def _sorted(parts: list[_FrameRows]) -> _FrameRows:
    if not parts:
        return _FrameRows(np.empty(0, np.uint64), np.empty(0, np.intp), np.empty(0, np.intp))
    frame, walk, row = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(frame, kind="stable")
    return _FrameRows(frame[order], walk[order], row[order])
