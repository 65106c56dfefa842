# SPDX-License-Identifier: GPL-2.0-only
"""What a rule looks at: some rows of a walk, and what is known of the machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ... import bits
from ..regions import SIZES, Intervals, in_kernel_half

#: Rows looked at together: small enough for the caches, so that a rule costs no memory.
CHUNK = 1 << 17


def any_of(entries: np.ndarray, mask: int) -> np.ndarray:
    """Tell for each entry whether one of these bits is set."""
    return (entries & np.uint64(mask)) != 0


class Rows:
    """Consecutive rows of a walk; what several rules ask for is computed once."""

    def __init__(self, walk: Any, first: int, last: int):
        rows = slice(first, last)
        self.first = first
        self.va: np.ndarray = walk.va[rows]
        self.entry: np.ndarray = walk.entry[rows]
        self.level: np.ndarray = walk.level[rows]
        self.pa: np.ndarray = walk.pa[rows]
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

    def only(self, mask: np.ndarray, where: np.ndarray) -> np.ndarray:
        """Spread a mask over the rows that are true in ``where`` to all rows."""
        spread = np.zeros(len(self.va), bool)
        spread[where] = mask
        return spread


def chunks(walk: Any) -> Iterator[Rows]:
    """Cut a walk into rows that fit the caches."""
    for first in range(0, len(walk.va), CHUNK):
        yield Rows(walk, first, min(first + CHUNK, len(walk.va)))


@dataclass(frozen=True)
class Machine:
    """What is known beside the entries; None: not known."""

    memory: Intervals | None  #: physical memory
    physical_bits: int | None  #: width of physical addresses
    nxe: bool | None  #: EFER.NXE: bit 63 means no execution
    cet: bool | None  #: CR4.CET: the processor may use shadow stacks
    tables: Intervals  #: frames that hold page tables
    user_code: Intervals  #: frames that user mode may execute
    kernel_code: Intervals  #: frames that the kernel may execute


def find_machine(
    walk: Any,
    root: int | None,
    memory: Intervals | None,
    physical_bits: int | None,
    nxe: bool | None,
    cet: bool | None,
) -> Machine:
    """Collect from all rows what rules ask of other rows: tables, code."""
    tables, user_code, kernel_code = _Collector(), _Collector(), _Collector()
    if root is not None:
        tables.add(np.array([root], np.uint64), SIZES[[1]])
    for rows in chunks(walk):
        tables.add(rows.pa[rows.table], np.broadcast_to(SIZES[1], rows.table.sum()))
        code = rows.leaf & ~rows.nx
        for collector, mask in ((user_code, code & rows.user), (kernel_code, code & ~rows.user)):
            collector.add(rows.pa[mask], rows.size[mask])
    return Machine(
        memory,
        physical_bits,
        nxe,
        cet,
        tables.intervals(),
        user_code.intervals(),
        kernel_code.intervals(),
    )


class _Collector:
    def __init__(self) -> None:
        self._parts: list[Intervals] = []

    def add(self, start: np.ndarray, size: np.ndarray) -> None:
        if len(start):
            self._parts.append(Intervals(start, size))

    def intervals(self) -> Intervals:
        nothing = np.empty(0, np.uint64)
        start = np.concatenate([nothing, *(part.start for part in self._parts)])
        end = np.concatenate([nothing, *(part.end for part in self._parts)])
        return Intervals(start, end - start)
