# SPDX-License-Identifier: GPL-2.0-only
"""What a rule looks at: some rows of a walk, and what is known of the machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import NamedTuple, cast

import numpy as np

from ... import bits
from ...kernels import Kernel
from ..regions import SIZES, Intervals, in_kernel_half
from ..walk import Walk, Walked

#: Rows looked at together: small enough for the caches, so that a rule costs no memory.
CHUNK = 1 << 17


def any_of(entries: np.ndarray, mask: int) -> np.ndarray:
    """Tell for each entry whether one of these bits is set."""
    return (entries & np.uint64(mask)) != 0


class Rows:
    """Consecutive rows of a walk; what several rules ask for is computed once."""

    def __init__(self, walk: Walk, first: int, last: int):
        rows = slice(first, last)
        self.first = first
        self.va: np.ndarray = walk.va[rows]
        self.entry: np.ndarray = walk.entry[rows]
        self.level: np.ndarray = walk.level[rows]
        self.pa: np.ndarray = walk.pa[rows]
        self.kind: np.ndarray = walk.kind[rows]
        self.writable: np.ndarray = walk.writable[rows]
        self.user: np.ndarray = walk.user[rows]
        self.nx: np.ndarray = walk.nx[rows]
        self._leaf: np.ndarray = walk.leaf[rows]

    @cached_property
    def present(self) -> np.ndarray:
        """What the processor uses."""
        return any_of(self.entry, bits.PRESENT)

    @cached_property
    def leaf(self) -> np.ndarray:
        """What maps a page that can be accessed."""
        return self._leaf & self.present

    @cached_property
    def table(self) -> np.ndarray:
        """What points to a table."""
        return self.present & ~self._leaf

    @cached_property
    def kernel(self) -> np.ndarray:
        """What is in the kernel half."""
        return in_kernel_half(self.va)

    @cached_property
    def size(self) -> np.ndarray:
        """Bytes that each entry covers."""
        return SIZES[self.level]

    @cached_property
    def write_bit(self) -> np.ndarray:
        """The entry's own Write."""
        return any_of(self.entry, bits.RW)

    @cached_property
    def dirty_bit(self) -> np.ndarray:
        """The entry's own Dirty."""
        return any_of(self.entry, bits.DIRTY)

    @cached_property
    def bit58(self) -> np.ndarray:
        """Bit 58: Cow, SavedDirty."""
        return any_of(self.entry, bits.BIT58)

    def large_outside(self, memory: Intervals) -> bool:
        """Tell whether a large page of the kernel's own is all outside of memory."""
        large = self.leaf & self.kernel & ~self.user & self.writable & (self.level > 1)
        large &= ~any_of(self.entry, bits.PCD | bits.PWT)
        return bool(np.any(~memory.touch(self.pa[large], self.size[large])))

    def only(self, mask: np.ndarray, where: np.ndarray) -> np.ndarray:
        """Spread a mask over the rows that are true in ``where`` to all rows."""
        spread = np.zeros(len(self.va), bool)
        spread[where] = mask
        return spread


def chunks(walk: Walk) -> Iterator[Rows]:
    """Cut a walk into rows that fit the caches."""
    for first in range(0, len(walk.va), CHUNK):
        yield Rows(walk, first, min(first + CHUNK, len(walk.va)))


class Memory(NamedTuple):
    """The machine's memory, as far as it is known."""

    ranges: Intervals | None  #: None: not known, see ``why``
    why: str = ""  #: why not, and the mend
    incomplete: str = ""  #: why the image may lack tables that the machine had; "" if it may not


@dataclass(frozen=True)
class Machine:
    """What is known beside the rows; None: not known."""

    memory: Intervals | None  #: physical memory
    memory_why: str  #: why that is not known
    incomplete: str  #: why the image may lack tables that the machine had; "" if it may not
    physical_bits: int | None  #: width of physical addresses
    nxe: bool  #: EFER.NXE: bit 63 means no execution
    tables: Intervals  #: pages that hold page tables
    missing_tables: Intervals  #: pages of tables that the image lacks
    tops: tuple[int, ...]  #: the top table; with page-table isolation, both copies
    levels: int  #: of tables
    encryption: int  #: the bit that says "encrypted" (SME, SEV); no part of a frame
    cow: int  #: bit 58 where it keeps dirtiness, else 0
    loops: np.ndarray  #: va | level of entries that refer to a table above them, ascending
    user_code: Intervals  #: pages that user mode may execute
    kernel_code: Intervals  #: pages that the kernel may execute
    kernel: Kernel | None = None  #: who made the entries
    every_user_code: Intervals | None = None  #: the same of all spaces, where all were walked


class Shared(NamedTuple):
    """What is asked of all spaces where an audit is of more than one."""

    tables: Intervals  #: pages that hold page tables
    user_code: Intervals  #: pages that user mode may execute in any
    kernel_code: Intervals  #: pages that the kernel may execute


def find_shared(walks: Sequence[Walk]) -> Shared:
    """Collect what several walks of one machine have together."""
    user_code, kernel_code = _code_of(walks)
    nothing = np.empty(0, np.uint64)
    return Shared(
        _pages(np.concatenate([nothing, *(walk.tables.pa for walk in walks)])),
        user_code,
        kernel_code,
    )


def _code_of(walks: Sequence[Walk]) -> tuple[Intervals, Intervals]:
    """Return the pages that user mode may execute, and those that the kernel may."""
    user_code, kernel_code = IntervalCollector(), IntervalCollector()
    for rows in chain.from_iterable(map(chunks, walks)):
        code = rows.leaf & ~rows.nx
        for collector, mask in ((user_code, code & rows.user), (kernel_code, code & ~rows.user)):
            collector.add(rows.pa[mask], rows.size[mask])
    return user_code.intervals(), kernel_code.intervals()


def find_machine(
    walk: Walked,
    memory: Memory,
    physical_bits: int | None,
    rules: str,
    shared: Shared | None = None,
    code: tuple[Intervals, Intervals] | None = None,
) -> Machine:
    """Collect what rules ask of other rows: tables, code.

    code: what user mode may execute and what the kernel may, where that is known; shared:
    what all spaces have, where the audit is of more than this walk.
    """
    user_code, kernel_code = code or _code_of([cast("Walk", walk)])
    loops = [report.va | report.level + 1 for report in walk.reports if report.kind == "loop"]
    root = walk.root
    return Machine(
        memory=memory.ranges,
        memory_why=memory.why,
        incomplete=memory.incomplete,
        physical_bits=physical_bits,
        nxe=root.nxe,
        tables=_pages(walk.tables.pa) if shared is None else shared.tables,
        missing_tables=_pages(walk.tables.pa[~walk.tables.inside]),
        tops=(root.pa,) if root.user_pa is None else (root.pa, root.user_pa),
        levels=root.levels,
        encryption=root.encryption,
        cow=bits.cow_bit(rules),
        loops=np.array(sorted(loops), np.uint64),
        user_code=user_code,
        kernel_code=kernel_code if shared is None else shared.kernel_code,
        kernel=walk.kernel,
        every_user_code=None if shared is None else shared.user_code,
    )


def _pages(pa: np.ndarray) -> Intervals:
    return Intervals(pa, np.full(len(pa), 4096, np.uint64))


class IntervalCollector:
    """Collects addresses; gives them as one set."""

    def __init__(self) -> None:
        self._parts: list[Intervals] = []

    @classmethod
    def joined(cls, collectors: Sequence[IntervalCollector]) -> Intervals:
        """Return what several have collected."""
        whole = cls()
        whole._parts = [part for one in collectors for part in one._parts]
        return whole.intervals()

    def add_intervals(self, part: Intervals) -> None:
        """Add a set."""
        self._parts.append(part)

    def add(self, start: np.ndarray, size: np.ndarray) -> None:
        """Add pages."""
        if len(start):
            self._parts.append(Intervals(start, size))

    def intervals(self) -> Intervals:
        """Return all as one set."""
        nothing = np.empty(0, np.uint64)
        start = np.concatenate([nothing, *(part.start for part in self._parts)])
        end = np.concatenate([nothing, *(part.end for part in self._parts)])
        return Intervals(start, end - start)
