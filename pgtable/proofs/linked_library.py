# SPDX-License-Identifier: GPL-2.0-only
"""A linked library as bytes at addresses.  It is not loaded or run."""

from __future__ import annotations

import io
from bisect import bisect_right
from typing import Any, NamedTuple

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from .errors import RefusedError

#: Relocations of x86-64 that a library which refers only to itself has.
_RELATIVE, _GLOB_DAT, _JUMP_SLOT, _64 = 8, 6, 7, 1
_WRITABLE = 1


class Variable(NamedTuple):
    """A symbol in a section that can be written to."""

    name: str
    address: int
    size: int


class Library:
    """Bytes and symbols of a linked library."""

    def __init__(self, content: bytes):
        try:
            self._read(ELFFile(io.BytesIO(content)))
        except (ELFError, AttributeError, KeyError, ValueError, TypeError) as error:
            raise ValueError(f"the library of the helpers cannot be read: {error}") from error

    def _read(self, file: ELFFile) -> None:
        self._segments = [
            (segment["p_vaddr"], segment["p_memsz"], segment.data())
            for segment in file.iter_segments("PT_LOAD")
        ]
        sections = list(file.iter_sections())
        writable = {i for i, each in enumerate(sections) if each["sh_flags"] & _WRITABLE}
        self.symbols: dict[str, int] = {}
        variables: dict[int, Variable] = {}
        table: Any = file.get_section_by_name(".symtab")
        for symbol in table.iter_symbols():
            address, size, place = symbol["st_value"], symbol["st_size"], symbol["st_shndx"]
            if symbol.name and isinstance(place, int):
                self.symbols.setdefault(symbol.name, address)
                if place in writable and size and symbol["st_info"]["type"] == "STT_OBJECT":
                    variables[address] = Variable(symbol.name, address, size)
        self._variables = [variables[address] for address in sorted(variables)]
        self._starts = sorted(variables)
        self._relocated = _relocations(file)

    def code(self, address: int, size: int) -> bytes:
        """Return up to so many bytes from an address on; raises RefusedError outside."""
        for start, length, data in self._segments:
            if start <= address < start + length:
                return data[address - start : address - start + size]
        raise RefusedError(f"jumps to {address:#x}, where nothing is")

    def byte(self, address: int) -> int:
        """Return one byte as it is after loading; raises RefusedError outside."""
        place = address & ~7
        if place in self._relocated:
            return self._relocated[place] >> 8 * (address - place) & 0xFF
        for start, length, data in self._segments:
            if start <= address < start + length:
                return data[address - start] if address - start < len(data) else 0
        raise RefusedError(f"reads memory at {address:#x}, where nothing is")

    def variable(self, address: int) -> Variable | None:
        """Return the variable that holds this byte; None: the byte never changes."""
        i = bisect_right(self._starts, address) - 1
        if i < 0:
            return None
        found = self._variables[i]
        return found if address < found.address + found.size else None


def _relocations(file: ELFFile) -> dict[int, int]:
    """Return the words that loading changes, for the library at address 0."""
    words = {}
    for name in (".rela.dyn", ".rela.plt"):
        section: Any = file.get_section_by_name(name)
        if section is None:
            continue
        symbols: Any = file.get_section(section["sh_link"])
        for one in section.iter_relocations():
            kind, word = one["r_info_type"], one["r_addend"]
            if kind in (_GLOB_DAT, _JUMP_SLOT, _64):
                word += symbols.get_symbol(one["r_info_sym"])["st_value"]
            elif kind != _RELATIVE:
                raise ValueError(f"relocation of type {kind}")
            words[one["r_offset"]] = word & 2**64 - 1
    return words
