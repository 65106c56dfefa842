# SPDX-License-Identifier: GPL-2.0-only
"""What has to be walked so that all of a machine is seen, and what spaces share once.

The kernel half of all top tables is the same, but for entries that one space has alone (a
local descriptor table, or what somebody put there): those are walked for their spaces.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...census import Census
from ..mapped import all_there
from ..walk import Maker, Root, Walk
from ..walking import run_census, run_walk
from .model import Space, Spaces

if TYPE_CHECKING:
    from ..image import Image

_HALF = 256
#: Accessed and Dirty of a table entry come and go by themselves.
_STEADY = np.uint64(~0x60 & (1 << 64) - 1)


class Part(NamedTuple):
    """A part of the machine's address spaces that is walked once.

    half: "user" or "kernel"; spaces: whose it is; root: where it begins.
    """

    half: str
    spaces: tuple[Space, ...]
    root: Root


def parts_of(image: Image, found: Spaces) -> list[Part]:
    """Return the shared kernel half, what kernel halves have of their own, and all user halves."""
    parts = _kernel_parts(image, found)
    for space in found:
        root = user_root(found, space)
        table = image.entries_at(root.pa)
        if space.counted and table is not None and table[:_HALF].any():
            parts.append(Part("user", (space,), root))
    return parts


def user_root(found: Spaces, space: Space) -> Root:
    """Return where the user half of a space is walked from: with isolation, its user copy."""
    top = space.root if space.user_root is None else space.user_root
    return _root(found, space, top)._replace(half="user")


def own_root(found: Spaces, space: Space, slots: tuple[int, ...]) -> Root:
    """Return where some entries of the top table of a space are walked from."""
    return _root(found, space, space.root)._replace(slots=slots)


def own_slots(image: Image, found: Spaces, space: Space) -> tuple[int, ...]:
    """Return which entries of the kernel half a space has that are not the shared ones."""
    reference = found.kernel_root
    table = image.entries_at(space.root)
    shared = None if reference is None else image.entries_at(reference.pa)
    if table is None or shared is None:
        return ()
    differs = ((table ^ shared) & _STEADY)[_HALF:] != 0
    return tuple((np.flatnonzero(differs & (table[_HALF:] != 0)) + _HALF).tolist())


def _kernel_parts(image: Image, found: Spaces) -> list[Part]:
    reference = found.kernel_root
    if reference is None:
        return []
    parts = [Part("kernel", tuple(found), reference)]
    own: dict[tuple[tuple[int, ...], bytes], list[Space]] = {}
    for space in found:
        slots = own_slots(image, found, space)
        table = image.entries_at(space.root)
        if slots and table is not None:
            key = slots, (table[list(slots)] & _STEADY).tobytes()
            own.setdefault(key, []).append(space)
    for (slots, _), spaces in own.items():
        parts.append(Part("kernel", tuple(spaces), own_root(found, spaces[0], slots)))
    return parts


def _root(found: Spaces, space: Space, pa: int) -> Root:
    return Root(
        pa,
        space.levels,
        found.nxe,
        encryption=found.encryption,
        origin=f"the space at {space.root:#x}",
    )


def walk_part(image: Image, root: Root, maker: Maker) -> Walk:
    """Walk one part; ``maker`` is what ``Image.made_by`` returned."""
    with all_there(image._files):
        walk = run_walk(image.tables(root), root, None)
    walk.set_maker(maker)
    return walk


def walk_parts(image: Image, found: Spaces, maker: Maker) -> Iterator[Walk]:
    """Yield a walk of each part; ``maker`` is what ``Image.made_by`` returned."""
    for part in parts_of(image, found):
        walk = walk_part(image, part.root, maker)
        walk.spaces = part.spaces
        yield walk


def census_parts(
    image: Image, found: Spaces
) -> Iterator[tuple[Part, dict[tuple[str, int], Census]]]:
    """Yield a census of each part, by half and level."""
    for part in parts_of(image, found):
        with all_there(image._files):
            yield part, run_census(image.tables(part.root), part.root)
