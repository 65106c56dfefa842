# SPDX-License-Identifier: GPL-2.0-only
"""The operations that are timed, their closed forms, and the arrays that they work on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

import pgtable
from pgtable.cost import checking, entries

from .blocks import block_for

_ALL = 2**64 - 1
_P, _W, _A, _D = 1 << 0, 1 << 1, 1 << 5, 1 << 6
_PROTNONE, _SD, _C, _NX = 1 << 8, 1 << 11, 1 << 58, 1 << 63
_FRAME = 0x000F_FFFF_FFFF_F000
#: frame, PCD, PWT, SPECIAL, ACCESSED, DIRTY, SOFT_DIRTY, DEVMAP, UFFD_WP, PAT
_CHG = _FRAME | 1 << 3 | 1 << 4 | 1 << 9 | _A | _D | _SD | 1 << 57 | 1 << 10 | 1 << 7
#: the argument of pte_modify(): user mode may read the page, and not execute it
NEWPROT = _NX | _A | 1 << 2 | _P

#: The names that closed forms use.
CONSTANTS = {
    "ZERO": 0,
    "P": _P,
    "D": _D,
    "C": _C,
    "W": _W,
    "SHIFT": 52,
    "WD": _W | _D,
    "DC": _D | _C,
    "PP": _P | _PROTNONE,
    "SD": _SD,
    "SD_D": _SD | _D,
    "SD_C": _SD | _C,
    "NOT_C": _ALL ^ _C,
    "NOT_WD": _ALL ^ (_W | _D),
    "NOT_DC": _ALL ^ (_D | _C),
    "CHG": _CHG,
    "NEW": NEWPROT & ~_CHG,
    "FRAME": _FRAME,
    "CHAIN_KEEP": _ALL ^ (_W | _D | _A | _SD | _NX),
}


@dataclass(frozen=True)
class OperationForm:
    """A closed form of an entry ``v``, in Python (also for Numba) and for numexpr."""

    python: str
    numexpr: str


def _both(text: str) -> OperationForm:
    return OperationForm(text, text)


WRPROTECT = _both("v & NOT_WD | (v & D) << SHIFT")
PRESENT = _both("(v & PP) != ZERO")


@dataclass(frozen=True)
class TimedOperation:
    """An operation on all entries.

    shape: "in place", "out of place", "count" (a test, counted), "bools" (a
        test, to a bool array) or "census".
    where: None, "array" or "helper".
    """

    name: str
    title: str
    shape: str
    steps: tuple[str | tuple[str, int], ...]
    form: OperationForm | None
    where: str | None = None
    data: str = "real"

    @property
    def bytes_per_entry(self) -> int:
        """Bytes that the limit's loop reads and writes."""
        moved = {"in place": 16, "out of place": 16, "count": 8, "bools": 9, "census": 8}
        return moved[self.shape] + (self.where == "array")

    def operation_of(self, engine: Any) -> Any:
        """Return the engine's helper, or its chain of several."""
        steps = [
            engine.helper(step) if isinstance(step, str) else (engine.helper(step[0]), step[1])
            for step in self.steps
        ]
        if len(steps) == 1 and not isinstance(steps[0], tuple):
            return steps[0]
        return engine.chain(*steps)


OPERATIONS = (
    TimedOperation(
        "wrprotect", "pte_wrprotect in place", "in place", ("pte_wrprotect",), WRPROTECT
    ),
    TimedOperation(
        "mkclean", "pte_mkclean in place", "in place", ("pte_mkclean",), _both("v & NOT_DC")
    ),
    TimedOperation(
        "mkdirty",
        "pte_mkdirty in place",
        "in place",
        ("pte_mkdirty",),
        OperationForm(
            "v | (SD_D if (v & WD) != ZERO else SD_C)", "v | where((v & WD) != ZERO, SD_D, SD_C)"
        ),
    ),
    TimedOperation(
        "mkwrite",
        "pte_mkwrite in place",
        "in place",
        ("pte_mkwrite",),
        _both("(v | W) & NOT_C | (v & C) >> SHIFT"),
    ),
    TimedOperation(
        "modify",
        "pte_modify in place",
        "in place",
        (("pte_modify", NEWPROT),),
        OperationForm(
            "(v & CHG | NEW) ^ (FRAME if v != ZERO and (v & P) == ZERO else ZERO)",
            "(v & CHG | NEW) ^ where((v != ZERO) & ((v & P) == ZERO), FRAME, ZERO)",
        ),
    ),
    TimedOperation(
        "copy", "pte_wrprotect out of place", "out of place", ("pte_wrprotect",), WRPROTECT
    ),
    TimedOperation(
        "dirty.count", "pte_dirty.count", "count", ("pte_dirty",), _both("(v & DC) != ZERO")
    ),
    TimedOperation(
        "dirty", "pte_dirty to a bool array", "bools", ("pte_dirty",), _both("(v & DC) != ZERO")
    ),
    TimedOperation("census", "census", "census", (), None),
    TimedOperation("census-random", "census of random entries", "census", (), None, data="random"),
    TimedOperation(
        "chain",
        "chain of four helpers in place",
        "in place",
        ("pte_wrprotect", "pte_mkold", "pte_clear_soft_dirty", "pte_mkexec"),
        _both("v & CHAIN_KEEP | (v & D) << SHIFT"),
    ),
    TimedOperation(
        "where-array",
        "pte_wrprotect in place, where= a bool array",
        "in place",
        ("pte_wrprotect",),
        WRPROTECT,
        where="array",
    ),
    TimedOperation(
        "where-helper",
        "pte_wrprotect in place, where=pte_present",
        "in place",
        ("pte_wrprotect",),
        WRPROTECT,
        where="helper",
    ),
)
BY_NAME = {operation.name: operation for operation in OPERATIONS}


class BenchCase:
    """One operation on n entries: arrays that all contenders share, and the expected result."""

    def __init__(self, operation: TimedOperation, n: int, array: np.ndarray | None = None):
        self.operation = operation
        self.n = n
        self.block = block_for(operation.data, n)
        self.array = entries.aligned(n) if array is None else array
        entries.fill(self.array, self.block)

    @cached_property
    def out(self) -> np.ndarray:
        """Return the array for results that are not written in place."""
        bools = self.operation.shape == "bools"
        return entries.aligned(self.n, bool if bools else np.uint64)

    @cached_property
    def temporary(self) -> np.ndarray:
        """Return the temporary arrays of contenders that work in several passes."""
        return entries.aligned(self.n)

    @cached_property
    def bools(self) -> np.ndarray:
        """Return an array with a bool for each entry, for these."""
        return entries.aligned(self.n, bool)

    @cached_property
    def mask(self) -> np.ndarray:
        """Return which entries are present: the mask for ``where=``."""
        mask = entries.aligned(self.n, bool)
        entries.fill(mask, self.mask_block)
        return mask

    @cached_property
    def mask_block(self) -> np.ndarray:
        """Return the block that the mask repeats."""
        return pgtable.reference().pte_present(self.block)

    @cached_property
    def expected(self) -> Any:
        """Return the result of the reference engine for the block, or the count of all entries."""
        operation = self.operation
        if operation.shape == "census":
            return self._expected_census()
        reference = operation.operation_of(pgtable.reference())
        if operation.shape == "count":
            return reference.count(self.block) * (self.n // max(self.block.size, 1))
        where = None if operation.where is None else self.mask_block
        return reference(self.block, where=where)

    def _expected_census(self) -> dict[str, int]:
        """Return the count of each test that takes the entry alone."""
        times = self.n // max(self.block.size, 1)
        return {
            helper.name: helper.count(self.block) * times
            for helper in pgtable.reference().helpers.values()
            if helper.kind == "test" and not helper.argument
        }

    def block_repeated(self) -> np.ndarray:
        """Return a copy of the entries, for contenders that cannot work on the array itself."""
        return np.tile(self.block, self.n // max(self.block.size, 1))

    @property
    def in_place(self) -> bool:
        """Tell whether results overwrite the entries."""
        return self.operation.shape == "in place"

    def restore(self) -> None:
        """Write the entries again, after another contender."""
        if self.in_place:
            entries.fill(self.array, self.block)
        elif "out" in self.__dict__:
            self.out.view(np.uint8).fill(0xFF if self.out.dtype != bool else 0)

    def checker(self, who: str, result: Callable[[], Any]) -> Callable[[int], None]:
        """Return a function that checks ``result``, for any number of runs of the operation."""
        expected = self.expected

        def check(calls: int) -> None:
            checking.require_equal(who, result(), expected)

        return check
