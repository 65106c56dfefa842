# SPDX-License-Identifier: GPL-2.0-only
"""Which rows of a walk rules have to be asked of: those that could break one.

Rows of level 1 that are alike in all but their frame are judged once, by the rules
themselves; where the answer hangs on the frame, a map of memory tells.  What passes is a
superset of what breaks a rule: the rules are asked again, of the row itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ... import bits
from ...engines._native import ffi, lib
from ...memory import empty
from ..regions import Intervals
from ..walk import Root, Tables, Walk, pointer
from .row_streams import Columns
from .rows import Machine, Rows

#: What may be said of a frame: which set of the machine it touches; OUTSIDE: no memory.
_TABLES, _KERNEL_CODE, _USER_CODE, _EVERY_CODE, _OUTSIDE = 1, 2, 4, 8, 16
_FRAME_BITS = (_TABLES, _KERNEL_CODE, _USER_CODE, _EVERY_CODE, _OUTSIDE)
#: Cells are 2**24 at most; so many make a block.
_CELLS, _BLOCK = 24, 512
#: Rows that are looked at together: as many new classes there can be.
_FRESH = 1 << 15
#: Rows that pass are looked at when there are so many, as that costs some time however few.
_TOGETHER = 1 << 15
_HALVES = np.array([0, 0xFFFF_8000_0000_0000], np.uint64)
_NOTHING = np.empty(0, np.uint64)
_NO_TABLES = Tables(*[_NOTHING] * 6)


class _Answer:
    """Stands for a set of addresses in which everything is, or nothing."""

    def __init__(self, touched: bool):
        self.touched = touched

    def __len__(self) -> int:
        return 1

    def touch(self, start: np.ndarray, _: np.ndarray) -> np.ndarray:
        return np.full(len(start), self.touched)

    contain = touch


class Cells:
    """A map of memory: what is said of each piece of it, by bits."""

    def __init__(self, machine: Machine):
        sets = (
            (_TABLES, machine.tables),
            (_KERNEL_CODE, machine.kernel_code),
            (_USER_CODE, machine.user_code),
            (_EVERY_CODE, machine.every_user_code),
        )
        ends = [int(one.end[-1]) for one in (*dict(sets).values(), machine.memory) if one]
        end = max(ends, default=0)
        self.shift = max(12, end.bit_length() - _CELLS)
        outside = 0 if machine.memory is None else _OUTSIDE
        self.beyond = outside
        cells = -(-end >> self.shift) + 1
        self.bits = empty(-(-cells // _BLOCK) * _BLOCK, np.uint8)
        self.bits[:] = outside
        if machine.memory is not None:
            self._clear(machine.memory)
        for bit, found in sets:
            if found is not None:
                self._add(bit, found)
        self.blocks = np.bitwise_or.reduce(self.bits.reshape(-1, _BLOCK), axis=1)

    def _add(self, bit: int, found: Intervals) -> None:
        first = (found.start >> np.uint64(self.shift)).astype(np.intp)
        last = (found.end - np.uint64(1) >> np.uint64(self.shift)).astype(np.intp)
        self.bits[first] |= np.uint8(bit)
        for i in np.flatnonzero(first != last).tolist():
            self.bits[first[i] : last[i] + 1] |= np.uint8(bit)

    def _clear(self, memory: Intervals) -> None:
        """What lies in memory as a whole is not outside."""
        cell = 1 << self.shift
        for start, end in zip(memory.start.tolist(), memory.end.tolist(), strict=True):
            self.bits[-(-start // cell) : end // cell] = 0


class Sieve:
    """Finds the rows that may break one of some rules."""

    def __init__(
        self, rules: Sequence[Any], machine: Machine, cells: Cells, *, counting: bool = False
    ):
        """Take what has a ``predicate`` as rules have; counting: count rows by class."""
        self._rules = rules
        self._machines = _machines(machine)
        self._root = Root(0, machine.levels, machine.nxe)
        self._cells = cells
        self.classes = np.zeros(lib.PGTABLE_CLASSES, np.uint8)
        self.counts = np.zeros(lib.PGTABLE_CLASSES if counting else 0, np.uint64)
        self._fresh = np.empty(_FRESH, np.uint32)
        self._met: list[np.ndarray] = []
        width = machine.physical_bits
        too_high = 0 if width is None else bits.SMALL_FRAME & ~((1 << width) - 1)
        sieve = ffi.new("struct pgtable_sieve *")
        sieve.classes = pointer(self.classes)
        sieve.counts = pointer(self.counts) if counting else ffi.NULL
        sieve.cells, sieve.ncells = pointer(cells.bits), len(cells.bits)
        sieve.blocks = pointer(cells.blocks)
        sieve.shift, sieve.beyond = cells.shift, cells.beyond
        sieve.outside_bit = 0 if machine.memory is None else _OUTSIDE
        sieve.frame_mask = bits.SMALL_FRAME & ~machine.encryption
        sieve.always = too_high & ~machine.encryption
        sieve.fresh, sieve.room = ffi.from_buffer("uint32_t[]", self._fresh), _FRESH
        self._sieve = sieve

    def passing(self, stream: Iterator[Columns]) -> Iterator[tuple[int, Columns | None]]:
        """Yield how many rows were looked at, and now and then those that may break a rule."""
        parts: list[Columns] = []
        waiting = 0
        for columns in stream:
            passed = self.rows(columns)
            if len(passed):
                parts.append({name: column[passed] for name, column in columns.items()})
                waiting += len(passed)
            ready = None
            if waiting >= _TOGETHER:
                ready, parts, waiting = _joined(parts), [], 0
            yield len(columns["va"]), ready
        if waiting:
            yield 0, _joined(parts)

    def rows(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        """Return the numbers of rows (of va, entry, traits) that may break a rule."""
        n = len(columns["va"])
        assert n <= _FRESH
        out = np.empty(n, np.uint32)
        names = (pointer(columns[name]) for name in ("va", "entry", "traits"))
        room = ffi.from_buffer("uint32_t[]", out)
        found = lib.pgtable_sieve_rows(self._sieve, *names, n, room)
        if self._sieve.nfresh:
            fresh = self._fresh[: self._sieve.nfresh].copy()
            self._sieve.nfresh = 0
            self.classes[fresh] = self._judge(fresh)
            self._met.append(fresh)
        return out[:found]

    @property
    def outside(self) -> int:
        """How many rows of level 1 lie in no memory, to the size of a cell; if counting."""
        return int(self._sieve.outside)

    @property
    def met(self) -> np.ndarray:
        """Every class that was met (uint32)."""
        return np.concatenate([np.empty(0, np.uint32), *self._met])

    def _judge(self, classes: np.ndarray) -> np.ndarray:
        """Return the verdicts of some classes."""
        rows = class_rows(classes, self._root)
        verdict = np.full(len(classes), lib.PGTABLE_JUDGED, np.uint8)
        for bit, machine in self._machines:
            for rule in self._rules:
                verdict[rule.predicate(rows, machine)] |= np.uint8(bit)
        return verdict


def _joined(parts: list[Columns]) -> Columns:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def class_rows(classes: np.ndarray, root: Root) -> Rows:
    """Return a row that stands for each class: its frame is 0."""
    number = classes.astype(np.uint64)
    entry = (number & np.uint64(0xFFF)) | (number >> np.uint64(12) & np.uint64(0x7F)) << np.uint64(
        57
    )
    rights = (number >> np.uint64(19) & np.uint64(7)).astype(np.uint8)
    va = _HALVES[(number >> np.uint64(22)).astype(np.intp)]
    traits = rights | np.uint8(lib.PGTABLE_LEVEL)
    return Rows(Walk(root, va, entry, traits, _NO_TABLES), 0, len(va))


def _machines(machine: Machine) -> list[tuple[int, Machine]]:
    """Return machines of which one answer about a frame each is yes, and one where none is."""
    found = []
    for bit in (lib.PGTABLE_ALWAYS, *_FRAME_BITS):
        yes = {name: _Answer(bit == own) for name, own in _ASKED.items()}
        if machine.every_user_code is None:
            del yes["every_user_code"]
        if machine.memory is not None:
            yes["memory"] = _Answer(bit != _OUTSIDE)
        found.append((bit, replace(machine, **yes)))  # type: ignore[arg-type]
    return found


_ASKED = {
    "tables": _TABLES,
    "kernel_code": _KERNEL_CODE,
    "user_code": _USER_CODE,
    "every_user_code": _EVERY_CODE,
}
