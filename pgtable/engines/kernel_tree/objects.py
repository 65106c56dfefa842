# SPDX-License-Identifier: GPL-2.0-only
"""What compiled helpers need, read from ``objdump -tr``."""

from __future__ import annotations

import re
from typing import NamedTuple

_SYMBOL = re.compile(r"^[0-9a-f]{8,} .{7} (\S+)\t[0-9a-f]+ (?:\.\w+ )?(\S+)$")
_SECTION = re.compile(r"^RELOCATION RECORDS FOR \[(.*)\]:")
_RELOCATION = re.compile(r"^[0-9a-f]{8,} R_\S+\s+(\S+?)(?:[-+]0x[0-9a-f]+)?$")

#: Other sections are notes for the kernel about its code, such as where to patch it.
_RUN = (".text", ".data", ".rodata", ".bss")


class Object(NamedTuple):
    """Symbols and references of an object file."""

    sections: dict[str, str]  #: by defined symbol
    references: dict[str, set[str]]  #: symbols or sections, by the section that refers to them

    def needs(self, symbol: str) -> set[str]:
        """Return the undefined symbols that one reaches from this symbol."""
        undefined: set[str] = set()
        seen: set[str] = set()
        todo = [symbol]
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            section = name if name.startswith(".") else self.sections.get(name)
            if section is None:
                undefined.add(name)
            elif section.startswith(_RUN):
                todo += self.references.get(section, ())
        return undefined


def read_objdump(text: str) -> Object:
    """Read the symbol table and the relocations of one object."""
    sections: dict[str, str] = {}
    references: dict[str, set[str]] = {}
    current: set[str] = set()
    for line in text.splitlines():
        if found := _RELOCATION.match(line):
            current.add(found[1])
        elif found := _SYMBOL.match(line):
            if found[1] != "*UND*":
                sections[found[2]] = found[1]
        elif found := _SECTION.match(line):
            current = references.setdefault(found[1], set())
    return Object(sections, references)
