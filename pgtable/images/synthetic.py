# SPDX-License-Identifier: GPL-2.0-only
"""Synthetic machines: page tables of any size, and the expected result of a walk.

The seed decides everything.  The expected result is noted while the tables are made, and not read
back from them.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..files import replacing
from .segments import PAGE
from .walk import Kind

ENTRIES = 512
_CHUNK_TABLES = 1024
_P, _W, _U, _A, _D, _PSE, _G = 1, 1 << 1, 1 << 2, 1 << 5, 1 << 6, 1 << 7, 1 << 8
_COW, _NX = 1 << 58, 1 << 63
_FRAME = 0x000F_FFFF_FFFF_F000
_OFFSET = ((1 << 50) - 1) << 9
_MARKER_UFFD_WP = 1


class _State(NamedTuple):
    """An entry is ``(frame >> shift ^ ~0 if inverted) & mask | flags``."""

    flags: int
    kind: Kind
    mask: int = _FRAME
    inverted: bool = False
    shift: int = 0
    has_frame: bool = True


#: States of a level-1 entry that can be mixed.
STATES: dict[str, _State] = {
    "hole": _State(0, Kind.LEAF, mask=0),
    "clean": _State(_P | _U | _A | _NX, Kind.LEAF),
    "code": _State(_P | _U | _A, Kind.LEAF),
    "dirty": _State(_P | _W | _U | _A | _D | _NX, Kind.LEAF),
    "cow": _State(_P | _U | _A | _COW | _NX, Kind.LEAF),
    "shadow_stack": _State(_P | _U | _A | _D | _NX, Kind.LEAF),
    "kernel": _State(_P | _W | _A | _D | _G | _NX, Kind.LEAF),
    "prot_none": _State(_U | _A | _G | _NX, Kind.PROT_NONE, inverted=True),
    "swap": _State(3 << 59, Kind.SWAP, _OFFSET, inverted=True, shift=3, has_frame=False),
    "migration": _State(25 << 59, Kind.MIGRATION, _OFFSET, inverted=True, shift=3),
    "marker": _State(
        31 << 59 | ~(_MARKER_UFFD_WP << 9) & _OFFSET, Kind.MARKER, mask=0, has_frame=False
    ),
    "secret": _State(_A | _D | _NX, Kind.OTHER, inverted=True),
}
_USER_ONLY = ("swap", "migration", "marker")

DEFAULT_MIX: Mapping[str, float] = {"clean": 4, "code": 1, "dirty": 6, "cow": 4, "hole": 1}
#: Every state there is.
FULL_MIX: Mapping[str, float] = dict.fromkeys(STATES, 1.0)


@dataclass
class Synthetic:
    """Page tables in memory.

    ``pages`` (uint64, shape (n, 512)) lie one after the other from physical
    address ``base``; ``root`` is the top one.  ``expected`` has the columns of
    a walk (None if not asked for), ``shared``, ``loops`` and ``outside`` how many of
    the oddities there are.
    """

    pages: np.ndarray
    base: int
    root: int
    levels: int
    seed: int
    entries: int
    expected: dict[str, np.ndarray] | None = None
    shared: int = 0
    loops: int = 0
    outside: int = 0

    def write_raw(self, path: str | os.PathLike[str]) -> None:
        """Write raw memory from physical address 0 (sparse below ``base``)."""
        with replacing(path) as file:
            file.seek(self.base)
            self.pages.tofile(file)

    def write_records(self, path: str | os.PathLike[str]) -> None:
        """Write the pages as records of physical address and content."""
        records = np.empty((_CHUNK_TABLES, 1 + ENTRIES), np.uint64)
        with replacing(path) as file:
            for first in range(0, len(self.pages), _CHUNK_TABLES):
                chunk = self.pages[first : first + _CHUNK_TABLES]
                pa = self.base + PAGE * np.arange(first, first + len(chunk), dtype=np.uint64)
                records[: len(chunk), 0] = pa
                records[: len(chunk), 1:] = chunk
                records[: len(chunk)].tofile(file)

    def write_elf(
        self, path: str | os.PathLike[str], *, segments: int = 1, xnum: bool = False
    ) -> None:
        """Write an ELF core with the note that QEMU writes for a processor.

        segments: into how many program headers the pages are split.
        xnum: store the number of program headers where more than 65534 have it.
        """
        with replacing(path) as file:
            file.write(elf_header(self, segments, xnum))
            self.pages.tofile(file)


def elf_header(machine: Synthetic, segments: int = 1, xnum: bool = False) -> bytes:
    """Return everything of an ELF core that comes before its memory."""
    if not 1 <= segments <= len(machine.pages):
        raise ValueError(f"segments is {segments}; there are {len(machine.pages)} pages to split")
    xnum = xnum or segments + 1 >= 0xFFFF
    note = _note(b"QEMU", _qemu_state(machine))
    notes_at = 64 + 56 * (segments + 1) + (64 if xnum else 0)
    memory_at = (notes_at + len(note) + PAGE - 1) & -PAGE
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        4,
        62,
        1,
        0,
        64,
        64 + 56 * (segments + 1) if xnum else 0,
        0,
        64,
        56,
        0xFFFF if xnum else segments + 1,
        64 if xnum else 0,
        1 if xnum else 0,
        0,
    )
    headers = bytearray(struct.pack("<IIQQQQQQ", 4, 0, notes_at, 0, 0, len(note), len(note), 0))
    bounds = np.linspace(0, len(machine.pages), segments + 1).astype(int) * PAGE
    for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        pa, size = machine.base + start, end - start
        headers += struct.pack("<IIQQQQQQ", 1, 0, memory_at + start, 0, pa, size, size, 0)
    if xnum:  # the first section header has the number in sh_info
        headers += bytes(44) + struct.pack("<I", segments + 1) + bytes(16)
    return (header + headers + note).ljust(memory_at, b"\0")


def _note(name: bytes, content: bytes) -> bytes:
    padded = (name + b"\0").ljust((len(name) + 4) & ~3, b"\0")
    return struct.pack("<III", len(name) + 1, len(content), 0) + padded + content


def _qemu_state(machine: Synthetic) -> bytes:
    cr0 = 0x8005_0033
    cr4 = 0x20 | (1 << 12 if machine.levels == 5 else 0)
    control = struct.pack("<5Q", cr0, 0, 0, machine.root, cr4)
    return (struct.pack("<II", 1, 440) + bytes(18 * 8 + 10 * 24) + control).ljust(440, b"\0")


def synthesize(
    entries: int,
    *,
    seed: int = 0,
    levels: int = 4,
    mix: Mapping[str, float] = DEFAULT_MIX,
    user: float = 0.75,
    sparse: bool = False,
    scattered: bool = True,
    large: int = 0,
    shared: int = 0,
    loops: int = 0,
    outside: int = 0,
    restricted: float = 0.0,
    base: int = 1 << 20,
    memory: int = 1 << 36,
    expected: bool = True,
) -> Synthetic:
    """Make page tables.

    entries: of level 1, holes included; rounded up to whole tables.
    mix: weights of :data:`STATES`, as far as they occur in each half.
    user: the part of the tables that is in the user half.
    sparse: tables at random addresses, instead of one after the other in each half.
    scattered: table pages in random order, instead of one after the other.
    large: how many 2 MiB and as many 1 GiB pages, and non-present entries of level 2.
    shared, loops, outside: how many table entries refer to a table of level 1 that
        is used elsewhere, to a table above, to a table that is not there.
    restricted: the part of table entries without Write, User, or with NX.
    base: physical address of the first table page; memory: bytes that frames are in.
    expected: whether to note what a walk gives; takes some 40 bytes an entry.

    Of the oddities there are as many as find room; the result has the numbers.
    """
    if entries < 1 or levels not in (4, 5):
        raise ValueError(f"{entries} entries in {levels} levels: at least 1, in 4 or 5")
    unknown = set(mix) - set(STATES)
    if unknown:
        raise ValueError(f"mix has unknown states {sorted(unknown)}; known: {', '.join(STATES)}")
    maker = _Maker(np.random.default_rng(seed), levels, base, memory, expected)
    maker.place(-(-entries // ENTRIES), user, sparse, scattered)
    maker.link(restricted)
    maker.add_large(large)
    counts = maker.add_oddities(shared, loops, outside)
    maker.fill(mix)
    return maker.result(seed, counts)


class _Maker:
    """Tables of level L are numbered by ``position[L]``, the address over their span."""

    def __init__(
        self, rng: np.random.Generator, levels: int, base: int, memory: int, expected: bool
    ):
        self.rng = rng
        self.levels = levels
        self.base = base
        self.frames = memory // PAGE
        self.expected = expected
        self.plan: list[dict[str, np.ndarray]] = []
        self.position: dict[int, np.ndarray] = {}
        self.row: dict[int, np.ndarray] = {}
        #: What the levels above allow, of each table: writable, user, nx.
        self.rights: dict[int, np.ndarray] = {}
        #: More places of level-1 tables: position, number of the table, rights.
        self.again: list[tuple[int, int, np.ndarray]] = []

    def place(self, tables: int, user: float, sparse: bool, scattered: bool) -> None:
        """Choose where tables are, in virtual and in physical memory."""
        half = 1 << (9 * (self.levels - 1) - 1)
        counts = round(tables * user), tables - round(tables * user)
        if max(counts) > half:
            raise ValueError(
                f"{tables} tables do not fit the address space of {self.levels} levels"
            )
        places = [
            start + (np.unique(self.rng.integers(0, half, n)) if sparse else np.arange(n))
            for start, n in zip((0, half), counts, strict=True)
        ]
        self.position[1] = np.concatenate(places).astype(np.uint64)
        for level in range(2, self.levels + 1):
            self.position[level] = np.unique(self.position[level - 1] >> np.uint64(9))
        total = sum(map(len, self.position.values()))
        rows = self.rng.permutation(total) if scattered else np.arange(total)
        for level in range(self.levels, 0, -1):
            n = len(self.position[level])
            self.row[level], rows = rows[:n], rows[n:]
        self.pages = np.zeros((total, ENTRIES), np.uint64)

    def pa(self, level: int) -> np.ndarray:
        return np.uint64(self.base) + self.row[level].astype(np.uint64) * np.uint64(PAGE)

    def va(self, position: np.ndarray, level: int) -> np.ndarray:
        """Return canonical addresses of what is numbered by its place among entries of a level."""
        unused = np.uint64(64 - (12 + 9 * self.levels))
        shifted = (position << np.uint64(12 + 9 * (level - 1))) << unused
        return (shifted.view(np.int64) >> unused.astype(np.int64)).view(np.uint64)

    def kernel(self, position: np.ndarray, level: int) -> np.ndarray:
        """Tell which positions of tables are in the upper half."""
        return position >> np.uint64(9 * (self.levels - level) - 1) != 0

    def link(self, restricted: float) -> None:
        """Write the table entries from the top down."""
        self.rights[self.levels] = np.array([[True, True, False]])
        for level in range(self.levels, 1, -1):
            below = self.position[level - 1]
            parent = np.searchsorted(self.position[level], below >> np.uint64(9))
            flags = np.full(len(below), _P | _W | _U | _A | _D, np.uint64)
            for bit in (_W, _U, _NX):
                flags[self.rng.random(len(below)) < restricted] ^= np.uint64(bit)
            entry = self.pa(level - 1) | flags
            cell = self.row[level][parent], (below & np.uint64(511)).astype(int)
            self.pages[cell] = entry
            self.rights[level - 1] = _combined(self.rights[level][parent], entry)
            self.note(level, below, entry, Kind.TABLE, self.pa(level - 1), self.rights[level - 1])

    def free_cells(self, level: int, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (number of table, entry in it) of at most n entries that are still zero."""
        flat = np.unique(self.rng.integers(0, len(self.row[level]) * ENTRIES, n))
        table, column = flat // ENTRIES, flat % ENTRIES
        free = self.pages[self.row[level][table], column] == 0
        return table[free], column[free]

    def put(
        self, level: int, cells: tuple[np.ndarray, np.ndarray], entry: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Write entries; return their positions and rights."""
        table, column = cells
        self.pages[self.row[level][table], column] = entry
        position = (self.position[level][table] << np.uint64(9)) | column.astype(np.uint64)
        return position, _combined(self.rights[level][table], entry)

    def add_large(self, n: int) -> None:
        """Add large pages, and entries of level 2 that are not present."""
        for level, align in ((2, 1 << 21), (3, 1 << 30)):
            cells = self.free_cells(level, n)
            frame = self.rng.integers(0, self.frames, len(cells[0]), np.uint64) * np.uint64(PAGE)
            frame &= np.uint64(_FRAME & -align)
            flags = np.uint64(_P | _W | _U | _A | _D | _PSE)
            position, rights = self.put(level, cells, frame | flags)
            self.note(level, position, frame | flags, Kind.LEAF, frame, rights)
        cells = self.free_cells(2, n)
        frame = self.rng.integers(0, self.frames, len(cells[0]), np.uint64) * np.uint64(PAGE)
        frame &= np.uint64(_FRAME & -(1 << 21))
        entry = (~frame & np.uint64(_FRAME & -(1 << 21))) | np.uint64(_U | _PSE | _G)
        position, _ = self.put(2, cells, entry)
        self.note(2, position, entry, Kind.PROT_NONE, frame, None)

    def add_oddities(self, shared: int, loops: int, outside: int) -> tuple[int, int, int]:
        """Add table entries that lead where they should not; return how many found room."""
        flags = np.uint64(_P | _W | _U | _A)
        cells = self.free_cells(2, shared)
        number = self.rng.integers(0, len(self.row[1]), len(cells[0]))
        # only in the same half: entries that are not present mean other things in the other
        alike = self.kernel(self.position[2][cells[0]], 2) == self.kernel(
            self.position[1][number], 1
        )
        cells, number = (cells[0][alike], cells[1][alike]), number[alike]
        position, rights = self.put(2, cells, self.pa(1)[number] | flags)
        self.note(2, position, self.pa(1)[number] | flags, Kind.TABLE, self.pa(1)[number], rights)
        self.again = list(zip(position.tolist(), number.tolist(), rights, strict=True))
        done = []
        for n, above in ((loops, True), (outside, False)):
            count = 0
            end = np.uint64(self.base + PAGE * len(self.pages))
            for level in (2, 3):
                cells = self.free_cells(level, -(-n // 2))
                if above:  # the table itself, or the top one
                    pa = self.pa(level)[cells[0]].copy()
                    pa[::2] = self.pa(self.levels)[0]
                else:
                    missing = np.arange(count, count + len(cells[0]), dtype=np.uint64)
                    pa = end + missing * np.uint64(PAGE)
                position, rights = self.put(level, cells, pa | flags)
                self.note(level, position, pa | flags, Kind.TABLE, pa, rights)
                count += len(pa)
            done.append(count)
        return len(self.again), done[0], done[1]

    def fill(self, mix: Mapping[str, float]) -> None:
        """Write the entries of level 1, some tables at a time."""
        for first in range(0, len(self.row[1]), _CHUNK_TABLES):
            numbers = np.arange(first, min(first + _CHUNK_TABLES, len(self.row[1])))
            kernel = self.kernel(self.position[1][numbers], 1)
            for half in (False, True):
                some = numbers[kernel == half]
                if len(some):
                    self._fill_some(some, _lookup(mix, half))

    def _fill_some(self, numbers: np.ndarray, lookup: dict[str, np.ndarray]) -> None:
        shape = len(numbers), ENTRIES
        state = lookup["state"][self.rng.integers(0, 256, shape, np.uint8)]
        frame = self.rng.integers(0, self.frames, shape, np.uint64) << np.uint64(12)
        entry = frame >> lookup["shift"][state]
        entry ^= lookup["inverted"][state]
        entry &= lookup["mask"][state]
        entry |= lookup["flags"][state]
        self.pages[self.row[1][numbers]] = entry
        if not self.expected:
            return
        frame[~lookup["has_frame"][state]] = 0
        kind = lookup["kind"][state]
        places = [
            (int(self.position[1][number]), i, self.rights[1][number])
            for i, number in enumerate(numbers)
        ]
        number_to_row = {int(number): i for i, number in enumerate(numbers)}
        places += [
            (position, number_to_row[number], rights)
            for position, number, rights in self.again
            if number in number_to_row
        ]
        for position, i, rights in places:
            used = np.flatnonzero(entry[i])
            at = np.uint64(position << 9) + used.astype(np.uint64)
            allowed = _combined(np.broadcast_to(rights, (len(used), 3)), entry[i][used])
            self.note(1, at, entry[i][used], kind[i][used], frame[i][used], allowed)

    def note(
        self,
        level: int,
        position: np.ndarray,
        entry: np.ndarray,
        kind: np.ndarray | Kind,
        pa: np.ndarray,
        rights: np.ndarray | None,
    ) -> None:
        """Write down rows that a walk gives."""
        if not self.expected or not len(entry):
            return
        rows = {
            "va": self.va(position, level),
            "entry": entry,
            "pa": pa,
            "level": np.full(len(entry), level, np.uint8),
            "kind": np.broadcast_to(np.asarray(kind, np.uint8), len(entry)),
        }
        rows["leaf"] = rows["kind"] == Kind.LEAF
        nothing = (entry & np.uint64(_P)) == 0
        if rights is None:
            rights = np.zeros((len(entry), 3), bool)
        for i, name in enumerate(("writable", "user", "nx")):
            rows[name] = np.where(nothing, name == "nx", rights[:, i])
        self.plan.append(rows)

    def result(self, seed: int, counts: tuple[int, int, int]) -> Synthetic:
        columns = None
        if self.expected:
            columns = {
                name: np.concatenate([rows[name] for rows in self.plan]) for name in self.plan[0]
            }
            order = np.lexsort((-columns["level"].astype(np.int8), columns["va"]))
            columns = {name: column[order] for name, column in columns.items()}
        return Synthetic(
            self.pages,
            self.base,
            int(self.pa(self.levels)[0]),
            self.levels,
            seed,
            len(self.row[1]) * ENTRIES,
            columns,
            *counts,
        )


def _combined(above: np.ndarray, entry: np.ndarray) -> np.ndarray:
    return np.stack(
        [
            above[:, 0] & (entry & np.uint64(_W) != 0),
            above[:, 1] & (entry & np.uint64(_U) != 0),
            above[:, 2] | (entry & np.uint64(_NX) != 0),
        ],
        axis=1,
    )


def _lookup(mix: Mapping[str, float], kernel: bool) -> dict[str, np.ndarray]:
    """Return a state for each of 256 equally likely numbers, and the fields of the states."""
    names = list(STATES)
    weights = np.array([mix.get(name, 0) for name in names], float)
    for name in _USER_ONLY if kernel else ("secret",):
        weights[names.index(name)] = 0
    if not weights.sum() > 0 or weights.min() < 0:
        weights[names.index("kernel" if kernel else "clean")] = 1
    bounds = np.cumsum(weights) / weights.sum()
    states = list(STATES.values())
    return {
        "state": np.searchsorted(bounds, (np.arange(256) + 0.5) / 256).astype(np.uint8),
        "flags": np.array([state.flags for state in states], np.uint64),
        "mask": np.array([state.mask for state in states], np.uint64),
        "inverted": np.array([-state.inverted & (2**64 - 1) for state in states], np.uint64),
        "shift": np.array([state.shift for state in states], np.uint64),
        "kind": np.array([state.kind for state in states], np.uint8),
        "has_frame": np.array([state.has_frame for state in states]),
    }


def write(machine: Synthetic, path: str | os.PathLike[str], form: str = "raw") -> Path:
    """Write a machine as "raw", "elf" or "records"; return the path."""
    writers = {"raw": machine.write_raw, "elf": machine.write_elf, "records": machine.write_records}
    if form not in writers:
        raise ValueError(f"form is {form!r}; it is one of {', '.join(writers)}")
    writers[form](path)
    return Path(path)
