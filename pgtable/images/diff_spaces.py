# SPDX-License-Identifier: GPL-2.0-only
"""Compares every address space of a machine at two moments.

Spaces are paired by where their top table lies, which a process keeps as long as it lives,
and by the mm that holds it, where both images tell that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..kernels import Kernel
from .audit.recognise import recognise
from .diff import Diff, diff
from .image import Image
from .spaces.model import Space, Spaces
from .spaces.parts import own_root, own_slots, user_root, walk_part
from .walk import Walk


@dataclass(frozen=True)
class SpaceDiff:
    """What differs in one half of a pair of spaces.

    space: as it was before; None: the kernel half that all share.
    """

    half: str
    space: Space | None
    diff: Diff

    @property
    def name(self) -> str:
        """Say whose it is."""
        return "kernel half" if self.space is None else f"{self.space.root:#x}"

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        root = None if self.space is None else f"{self.space.root:#x}"
        return {"half": self.half, "space": root, **self.diff.as_dict()}


@dataclass(frozen=True)
class SpacesDiff:
    """All pairs, the kernel half first, and the spaces that only one moment has."""

    pairs: list[SpaceDiff]
    appeared: list[Space]
    vanished: list[Space]
    notes: list[str]

    @property
    def differs(self) -> bool:
        """Whether there is any difference."""
        return bool(self.appeared or self.vanished or any(pair.diff.differs for pair in self.pairs))

    @property
    def warnings(self) -> list[str]:
        """Why the two may not be of one boot, each reason once."""
        return list(dict.fromkeys(text for pair in self.pairs for text in pair.diff.warnings))

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {
            "warnings": self.warnings,
            "pairs": [pair.as_dict() for pair in self.pairs],
            "appeared": [space.as_dict() for space in self.appeared],
            "vanished": [space.as_dict() for space in self.vanished],
            "notes": self.notes,
        }


def diff_spaces(
    before: Image,
    after: Image,
    *,
    rules: str | None = None,
    longest: int = 2,
    kernel: Kernel | None = None,
    c_bit: int | None = None,
) -> SpacesDiff:
    """Compare all address spaces of two images; arguments and errors as of :func:`.diff.diff`."""
    old, new = before.spaces(c_bit=c_bit), after.spaces(c_bit=c_bit)
    later = {(space.root, space.levels): space for space in new}
    pairs, vanished = [], []
    for space in old:
        other = later.get((space.root, space.levels))
        if other is None or not _same(space, other):
            vanished.append(space)
        else:
            del later[space.root, space.levels]
            pairs.append((space, other))
    walks = list(_walks(before, after, old, new, pairs, kernel))
    if rules is None:
        rules = recognise([second for _, _, _, second in walks]).rules
    found = [
        SpaceDiff(half, space, diff(*both, rules=rules, longest=longest, images=(before, after)))
        for half, space, *both in walks
    ]
    return SpacesDiff(found, list(later.values()), vanished, [*old.notes, *new.notes])


def _same(before: Space, after: Space) -> bool:
    """Tell whether two spaces with one top table can be those of one process."""
    return before.mm is None or after.mm is None or before.mm == after.mm


def _walks(
    before: Image,
    after: Image,
    old: Spaces,
    new: Spaces,
    pairs: list[tuple[Space, Space]],
    kernel: Kernel | None,
) -> Iterator[tuple[str, Space | None, Walk, Walk]]:
    """Yield half, space and the walks of both moments of everything that is compared."""

    def both(*roots: Any) -> tuple[Walk, Walk]:
        return (
            walk_part(before, roots[0], before.made_by(kernel)),
            walk_part(after, roots[1], after.made_by(kernel)),
        )

    if old.kernel_root is not None and new.kernel_root is not None:
        yield "kernel", None, *both(old.kernel_root, new.kernel_root)
    for space, other in pairs:
        slots = {*own_slots(before, old, space), *own_slots(after, new, other)}
        if slots:
            chosen = tuple(sorted(slots))
            yield "kernel", space, *both(own_root(old, space, chosen), own_root(new, other, chosen))
        yield "user", space, *both(user_root(old, space), user_root(new, other))
