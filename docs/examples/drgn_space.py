# SPDX-License-Identifier: GPL-2.0-only
"""A drgn program that reads the memory of one address space, PROT_NONE pages too.

python drgn_space.py ram.raw 3
"""

from __future__ import annotations

import sys

import drgn

import pgtable
from pgtable.images import Image, Kind
from pgtable.images.regions import SIZES


def program_of(image: Image, name: str) -> drgn.Program:
    """Return a program over the pages of a space that the image holds."""
    space = image.spaces().find(name)
    walk = image.walk(space.root, space.levels)
    program = drgn.Program(drgn.Platform(drgn.Architecture.X86_64))
    for row in range(len(walk)):
        if walk.kind[row] not in (Kind.LEAF, Kind.PROT_NONE):
            continue
        va, pa = int(walk.va[row]), int(walk.pa[row])
        size = int(SIZES[walk.level[row]])

        def read(address: int, count: int, offset: int, physical: bool, at: int = pa) -> bytes:
            return image.read(at + offset, count)

        if image.holds(pa):
            program.add_memory_segment(va, size, read)
    return program


if __name__ == "__main__":
    with pgtable.open_image(sys.argv[1]) as opened:
        made = program_of(opened, sys.argv[2])
        print(made)
