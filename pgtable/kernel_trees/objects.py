# SPDX-License-Identifier: GPL-2.0-only
"""Which symbols compiled helpers need, read from the output of ``objdump -tr``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_SYMBOL = re.compile(r"^[0-9a-f]{8,} .{7} (\S+)\t([0-9a-f]+) +(?:\.\w+ +)?(\S+)$")
_SECTION = re.compile(r"^RELOCATION RECORDS FOR \[(.*)\]:")
_RELOCATION = re.compile(r"^[0-9a-f]{8,} R_\S+\s+(\S+?)(?:[-+]0x[0-9a-f]+)?$")

#: Sections that are executed or read.  Others are notes for the kernel, such as where to patch.
_RUN = (".text", ".data", ".rodata", ".bss")


class Object(NamedTuple):
    """Symbols and references of an object file."""

    sections: dict[str, str]  #: by defined symbol
    references: dict[str, set[str]]  #: symbols or sections, by the section that refers to them
    sizes: dict[str, int]  #: bytes, by defined symbol


def read_objdump(text: str) -> Object:
    """Read the symbol table and the relocations of one object."""
    sections: dict[str, str] = {}
    sizes: dict[str, int] = {}
    references: dict[str, set[str]] = {}
    current: set[str] = set()
    for line in text.splitlines():
        if found := _RELOCATION.match(line):
            current.add(found[1])
        elif found := _SYMBOL.match(line):
            if found[1] != "*UND*":
                sections[found[3]] = found[1]
                sizes[found[3]] = int(found[2], 16)
        elif found := _SECTION.match(line):
            current = references.setdefault(found[1], set())
    return Object(sections, references, sizes)


def lacking(symbol: str, first: Object, others: Sequence[Object]) -> set[str]:
    """Return the symbols that a symbol of the first object needs and that no object defines.

    What it needs includes what the code that it calls needs.
    """
    undefined: set[str] = set()
    seen: set[tuple[int, str]] = set()
    objects = [first, *others]
    todo = [(0, symbol)]
    while todo:
        reached = todo.pop()
        if reached in seen:
            continue
        seen.add(reached)
        where, name = reached
        section = name if name.startswith(".") else objects[where].sections.get(name)
        if section is None:
            owners = [i for i, other in enumerate(objects) if name in other.sections]
            todo += [(owner, name) for owner in owners[:1]]
            undefined |= set() if owners else {name}
        elif section.startswith(_RUN):
            todo += [(where, needed) for needed in objects[where].references.get(section, ())]
    return undefined
