# SPDX-License-Identifier: GPL-2.0-only
"""Compares two walks of one machine: what changed, how, and which helpers make such a change.

Entries are aligned by address and level.  A *transition* is what happened to a
group of entries: flags before, flags after, and whether the frame is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from .. import bits
from ..engines.interface import Engine
from ..engines.native import native
from ..kernels import SWAP_LAYOUTS, Kernel
from .audit.recognise import Recognised, recognise
from .audit.rows import CHUNK
from .explain import explain
from .image import Image
from .regions import SIZES, Runs, in_kernel_half, runs
from .same_machine import doubts
from .walk import KIND_NAMES, Kind, Walk

LEVEL_NAMES = ("", "pte", "pmd", "pud", "p4d", "pgd")

#: Kinds without a frame: they have offset and type in its place.
_SWAPPED = (Kind.SWAP, Kind.MIGRATION, Kind.MARKER)

_SWAPPED_NAMES = tuple(KIND_NAMES[kind] for kind in _SWAPPED)

#: Stands for every frame when helpers are tried; aligned to 1 GiB.
_SOME_FRAME = 0x0000_5A5A_4000_0000


@dataclass(frozen=True)
class Transition:
    """A transition: one way in which entries changed."""

    level: int
    kernel: bool  #: in the kernel half
    kind_before: str
    kind_after: str
    before: int  #: an entry like those before, its frame 0
    after: int
    same_frame: bool  #: the frame (of a swap entry: offset and type) did not change
    entries: int
    size: int  #: bytes they cover
    example: int  #: the lowest address
    explanations: Sequence[str] = ()  #: chains of helpers that explain it; empty if none was found


@dataclass(frozen=True)
class OneSided:
    """Entries of one kind that only one of the walks has."""

    level: int
    kernel: bool
    kind: str
    entries: int
    size: int  #: bytes they cover
    ranges: Runs


@dataclass(frozen=True)
class Dirtied:
    """Leaves that are marked as written in the second walk and not in the first.

    Counts are of entries; one may count under several.
    """

    soft_dirty: int  #: SOFT_DIRTY was set
    dirty: int  #: was clean (neither Dirty nor Cow), Dirty was set
    cow: int  #: was clean, Cow (SavedDirty) was set
    appeared: int  #: a new leaf, or another frame, that is dirty in any of the three
    entries: int  #: any of these
    size: int  #: bytes of any of these
    ranges: Runs


@dataclass(frozen=True)
class Diff:
    """Everything that differs between two walks."""

    recognised: Recognised
    engine: str  #: the engine that explained the transitions
    same: int  #: entries that did not change
    changed: int
    transitions: Sequence[Transition]  #: most entries first
    ranges: Runs  #: runs of neighbours with the same transition, in address order
    ranges_transition: np.ndarray  #: index into ``transitions`` for each of them
    appeared: Sequence[OneSided]
    vanished: Sequence[OneSided]
    dirtied: Dirtied
    warnings: Sequence[str] = ()  #: why the two may not be of one boot, or of one process

    @property
    def differs(self) -> bool:
        """Whether there is any difference."""
        return bool(self.changed or self.appeared or self.vanished)

    @property
    def states(self) -> dict[tuple[str, str], int]:
        """How many leaves went from which state to which, most first."""
        rules = self.recognised.rules or "cow"
        counts: dict[tuple[str, str], int] = {}
        for change in self.transitions:
            if change.kind_before == change.kind_after == "leaf":
                pair = bits.state(change.before, rules), bits.state(change.after, rules)
                counts[pair] = counts.get(pair, 0) + change.entries
        return dict(sorted(counts.items(), key=lambda item: -item[1]))

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {
            "warnings": list(self.warnings),
            "states": [
                {"before": before, "after": after, "entries": entries}
                for (before, after), entries in self.states.items()
            ],
            "rules": self.recognised.rules,
            "rules_given": self.recognised.given,
            "engine": self.engine,
            "same": self.same,
            "changed": self.changed,
            "transitions": [_transition_dict(change) for change in self.transitions],
            "ranges": [
                {**range_, "transition": number}
                for range_, number in zip(
                    _range_dicts(self.ranges), self.ranges_transition.tolist(), strict=True
                )
            ],
            "appeared": [_one_sided_dict(side) for side in self.appeared],
            "vanished": [_one_sided_dict(side) for side in self.vanished],
            "written": {**vars(self.dirtied), "ranges": _range_dicts(self.dirtied.ranges)},
        }


def _transition_dict(change: Transition) -> dict[str, Any]:
    hexadecimal = {name: f"{getattr(change, name):#x}" for name in ("before", "after", "example")}
    return {**vars(change), **hexadecimal, "explanations": list(change.explanations)}


def _one_sided_dict(side: OneSided) -> dict[str, Any]:
    return {**vars(side), "ranges": _range_dicts(side.ranges)}


def _range_dicts(ranges: Runs) -> list[dict[str, Any]]:
    return [
        {"start": f"{start:#x}", "end": f"{end or 1 << 64:#x}", "entries": members}
        for start, end, _, members in ranges.rows()
    ]


def diff(
    before: Walk,
    after: Walk,
    *,
    rules: str | None = None,
    engine: Engine | None = None,
    longest: int = 2,
    images: tuple[Image, Image] | None = None,
) -> Diff:
    """Compare two walks.

    rules: the rule set of the kernel; None: recognised from the second walk.
    engine: the engine that explains; None: the native engine of the rules.  If the rules are
        not known, these are the default rules, cow.
    longest: how many helpers an explanation may have in a row.
    images: where the walks come from; if they are of two boots, ``warnings`` says so.
    """
    recognised = recognise(after, rules)
    if engine is None:
        engine = _engine(recognised.rules or "cow", after.kernel)
    inverted = after.kernel is None or after.kernel.inverted
    rows = _align(before, after)
    old, new = _Side.of(before, rows.changed_before), _Side.of(after, rows.changed_after)
    transitions, index = _transitions(old, new)
    explained = _explained(transitions, engine, longest, inverted)
    order = np.argsort([-transition.entries for transition in explained], kind="stable")
    rank = np.empty(len(order), np.intp)
    rank[order] = np.arange(len(order))
    ranges, ranges_transition = _ranges(new, rank[index])
    cow = bits.cow_bit(recognised.rules or "cow")
    return Diff(
        recognised=recognised,
        engine=engine.name,
        same=rows.same,
        changed=len(rows.changed_after),
        transitions=[explained[i] for i in order],
        ranges=ranges,
        ranges_transition=ranges_transition,
        appeared=_one_sided(_Side.of(after, rows.only_after)),
        vanished=_one_sided(_Side.of(before, rows.only_before)),
        dirtied=_dirtied(old, new, _Side.of(after, rows.only_after), cow),
        warnings=doubts(before, after, images),
    )


def _engine(rules: str, kernel: Kernel | None) -> Engine:
    """Return the engine that explains: the helpers of that kernel, with these rules."""
    if kernel is not None and (rules == "base" or kernel.inverted):
        return native(rules, kernel=kernel)
    return native(rules)


# ---- which entry is which


class _Rows(NamedTuple):
    """Rows of two walks, by what became of them."""

    same: int
    changed_before: np.ndarray
    changed_after: np.ndarray  #: of the same addresses and levels, one by one
    only_before: np.ndarray
    only_after: np.ndarray


def _align(before: Walk, after: Walk) -> _Rows:
    """Pair entries of the same address and level, and find those that differ.

    Both walks are gone through side by side, a cacheful at a time: what
    is kept is proportional to the differences.
    """
    old, new = _Ordered(before), _Ordered(after)
    same = at_old = at_new = 0
    parts: list[tuple[np.ndarray, ...]] = []
    while at_old < len(before) or at_new < len(after):
        old_key, new_key = old.keys(at_old), new.keys(at_new)
        if len(old_key) and len(new_key):
            # later entries cannot pair with these
            end = min(old_key[-1], new_key[-1])
            old_key = old_key[: np.searchsorted(old_key, end, side="right")]
            new_key = new_key[: np.searchsorted(new_key, end, side="right")]
        found = _pair(old_key, new_key)
        old_rows, new_rows = old.rows(at_old, found[0]), new.rows(at_new, found[1])
        differs = before.entry[old_rows] != after.entry[new_rows]
        same += len(differs) - int(np.count_nonzero(differs))
        parts.append(
            (
                old_rows[differs],
                new_rows[differs],
                old.rows(at_old, found[2]),
                new.rows(at_new, found[3]),
            )
        )
        at_old, at_new = at_old + len(old_key), at_new + len(new_key)
    nothing = np.empty(0, np.intp)
    columns = [np.concatenate([nothing, *column]) for column in zip(*parts, strict=True)]
    return _Rows(same, *(columns or [nothing] * 4))


def _pair(old: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the positions of pairs in both, and of entries that only one of them has."""
    nothing = np.empty(0, np.intp)
    if len(old) == len(new) and np.array_equal(old, new):
        everything = np.arange(len(old))
        return everything, everything, nothing, nothing
    if not len(old) or not len(new):
        return nothing, nothing, np.arange(len(old)), np.arange(len(new))
    place = np.minimum(np.searchsorted(old, new), len(old) - 1)
    found = old[place] == new
    only_old = np.ones(len(old), bool)
    only_old[place[found]] = False
    return place[found], np.flatnonzero(found), np.flatnonzero(only_old), np.flatnonzero(~found)


class _Ordered:
    """A walk in the order of addresses, with tables before their entries."""

    def __init__(self, walk: Walk):
        self.walk = walk
        self.order: np.ndarray | None = None
        last = -1
        for first in range(0, len(walk), CHUNK):
            keys = self.keys(first)
            if int(keys[0]) <= last or np.any(keys[:-1] >= keys[1:]):
                self.order = np.argsort(self._keys(slice(None)), kind="stable")
                break
            last = int(keys[-1])

    def keys(self, first: int) -> np.ndarray:
        """Return numbers for a part of the entries, in the same order as the entries."""
        rows = slice(first, first + CHUNK)
        return self._keys(rows if self.order is None else self.order[rows])

    def _keys(self, rows: slice | np.ndarray) -> np.ndarray:
        # addresses of entries are multiples of 4096: the low bits are free
        return self.walk.va[rows] | (np.uint8(7) - self.walk.level[rows])

    def rows(self, first: int, places: np.ndarray) -> np.ndarray:
        """Return the rows of the walk at these places from ``first`` on."""
        return first + places if self.order is None else self.order[first + places]


# ---- what an entry says, apart from its frame


@dataclass(frozen=True)
class _Side:
    """Rows of one walk, taken apart."""

    va: np.ndarray
    level: np.ndarray
    kind: np.ndarray  #: a Kind
    swapped: np.ndarray  #: has no frame of its own
    flags: np.ndarray  #: without the frame
    frame: np.ndarray  #: what is comparable of the rest

    @classmethod
    def of(cls, walk: Walk, index: np.ndarray) -> _Side:
        entry, level, kind = walk.entry[index], walk.level[index], walk.kind[index]
        swapped = np.isin(kind, _SWAPPED)
        mask = _frame_masks(entry, level, kind)
        layout = SWAP_LAYOUTS["inverted"] if walk.kernel is None else walk.kernel.swap
        mask[swapped] = layout.mask
        frame = np.where(swapped, entry & mask, walk.pa[index])
        return cls(walk.va[index], level, kind, swapped, entry & ~mask, frame)

    @property
    def size(self) -> np.ndarray:
        return SIZES[self.level]

    @property
    def kernel(self) -> np.ndarray:
        return in_kernel_half(self.va)

    @property
    def leaf(self) -> np.ndarray:
        return self.kind == Kind.LEAF


def _has(entry: np.ndarray, mask: int) -> np.ndarray:
    return (entry & np.uint64(mask)) != 0


def _frame_masks(entry: np.ndarray, level: np.ndarray, kind: np.ndarray) -> np.ndarray:
    mask = np.full(len(entry), bits.SMALL_FRAME, np.uint64)
    large = (kind != Kind.TABLE) & _has(entry, bits.PSE)
    for number, name in ((2, "pmd"), (3, "pud")):
        mask[large & (level == number)] = bits.LEAF_FRAME[name]
    return mask


# ---- transitions


def _transitions(old: _Side, new: _Side) -> tuple[list[Transition], np.ndarray]:
    """Group pairs that changed alike; also return the group of each."""
    same_frame = (old.frame == new.frame) & (old.swapped == new.swapped)
    group, first = _groups(
        old.flags, new.flags, old.kind, new.kind, new.level, new.kernel, same_frame
    )
    entries = np.bincount(group, minlength=len(first))
    size = np.zeros(len(first), np.uint64)
    np.add.at(size, group, new.size)
    return [
        Transition(
            level=int(new.level[row]),
            kernel=bool(new.kernel[row]),
            kind_before=KIND_NAMES[old.kind[row]],
            kind_after=KIND_NAMES[new.kind[row]],
            before=int(old.flags[row]),
            after=int(new.flags[row]),
            same_frame=bool(same_frame[row]),
            entries=int(entries[number]),
            size=int(size[number]),
            example=int(new.va[row]),
        )
        for number, row in enumerate(first)
    ], group


def _groups(*columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the distinct rows of some columns; return all numbers, and the first rows."""
    code = np.zeros(len(columns[0]), np.intp)
    for column in columns:
        values, number = np.unique(column, return_inverse=True)
        # numbers stay small: renumbered after each column
        _, code = np.unique(code * len(values) + number, return_inverse=True)
    _, first = np.unique(code, return_index=True)
    return code, first


def _explained(
    transitions: Sequence[Transition], engine: Engine, longest: int, inverted: bool
) -> list[Transition]:
    """Add to each transition the helpers that make it."""
    result = list(transitions)
    for level in (1, 2, 3):
        rows = [
            i for i, change in enumerate(transitions) if change.level == level and _same(change)
        ]
        before = np.array(
            [
                _whole(transitions[i].before, transitions[i].kind_before, level, inverted)
                for i in rows
            ],
            np.uint64,
        )
        after = np.array(
            [
                _whole(transitions[i].after, transitions[i].kind_after, level, inverted)
                for i in rows
            ],
            np.uint64,
        )
        chains = explain(engine, LEVEL_NAMES[level], before, after, longest)
        for i, explanations in zip(rows, chains, strict=True):
            result[i] = replace(transitions[i], explanations=explanations)
    return result


def _same(transition: Transition) -> bool:
    """Tell whether helpers can make this change: no helper gives a frame or makes a table."""
    tables = [kind == "table" for kind in (transition.kind_before, transition.kind_after)]
    return transition.same_frame and tables[0] == tables[1]


def _whole(flags: int, kind: str, level: int, inverted: bool) -> int:
    """Return a whole entry with some frame, inverted where the kernel inverts it."""
    if kind in _SWAPPED_NAMES:
        return flags
    mask = bits.frame_mask(flags, LEVEL_NAMES[level])
    frame = _SOME_FRAME if flags & bits.PRESENT or not inverted else ~_SOME_FRAME
    return flags | frame & mask


def _ranges(side: _Side, transition: np.ndarray) -> tuple[Runs, np.ndarray]:
    """Join neighbours that changed alike; in address order."""
    order = np.argsort(transition, kind="stable")
    found = runs(side.va[order], side.size[order], transition[order])
    of = transition[order][found.first]
    by_address = np.argsort(found.start, kind="stable")
    return Runs(*(column[by_address] for column in found)), of[by_address]


# ---- what only one walk has; what was written


def _one_sided(side: _Side) -> list[OneSided]:
    group, first = _groups(side.level, side.kernel, side.kind)
    result = []
    for number, row in enumerate(first):
        mask = group == number
        va, size = side.va[mask], side.size[mask]
        result.append(
            OneSided(
                int(side.level[row]),
                bool(side.kernel[row]),
                KIND_NAMES[side.kind[row]],
                len(va),
                int(size.sum()),
                runs(va, size),
            )
        )
    return result


def _dirtied(old: _Side, new: _Side, appeared: _Side, cow: int) -> Dirtied:
    moved = (old.frame != new.frame) | ~old.leaf
    any_dirty = bits.SOFT_DIRTY | bits.DIRTY | cow
    stayed = new.leaf & ~moved
    # if Dirty moves to Cow or back, that is no new write
    was_clean = stayed & ~_has(old.flags, bits.DIRTY | cow)
    soft_dirty = stayed & _has(new.flags & ~old.flags, bits.SOFT_DIRTY)
    dirty = was_clean & _has(new.flags, bits.DIRTY)
    saved = was_clean & _has(new.flags, cow)
    other = new.leaf & moved & _has(new.flags, any_dirty)
    fresh = appeared.leaf & _has(appeared.flags, any_dirty)
    here = soft_dirty | dirty | saved | other
    va = np.concatenate((new.va[here], appeared.va[fresh]))
    size = np.concatenate((new.size[here], appeared.size[fresh]))
    order = np.argsort(va, kind="stable")
    return Dirtied(
        soft_dirty=int(soft_dirty.sum()),
        dirty=int(dirty.sum()),
        cow=int(saved.sum()),
        appeared=int(other.sum()) + int(fresh.sum()),
        entries=len(va),
        size=int(size.sum()),
        ranges=runs(va[order], size[order]),
    )
