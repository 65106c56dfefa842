# SPDX-License-Identifier: GPL-2.0-only
"""What more than one test file needs: memory with guard pages, sample entries, profiles."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

import pgtable

# Derandomized: a run that fails is a run that fails again.
settings.register_profile("pgtable", deadline=None, derandomize=True, database=None)
settings.load_profile("pgtable")

PROT_NONE = 0


class GuardedMemory:
    """Writable pages between two that nothing may touch."""

    def __init__(self, nbytes: int):
        page = mmap.PAGESIZE
        self.size = -(-nbytes // page) * page
        self._map = mmap.mmap(-1, self.size + 2 * page)
        whole = np.frombuffer(self._map, np.uint8)
        self.bytes = whole[page : page + self.size]
        base = whole.ctypes.data
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        for guard in (base, base + page + self.size):
            if protect(guard, page, PROT_NONE):
                raise OSError(ctypes.get_errno(), "mprotect")

    def place(self, dtype: type, n: int, at: str, shift: int = 0) -> np.ndarray:
        """Return n elements flush against the guard at "start" or "end", or shift bytes off it."""
        nbytes = n * np.dtype(dtype).itemsize
        first = shift if at == "start" else self.size - nbytes - shift
        return self.bytes[first : first + nbytes].view(dtype)


@pytest.fixture(scope="session")
def guarded() -> Callable[[int], GuardedMemory]:
    """Make guarded memory of at least so many bytes."""
    return GuardedMemory


LOW_BITS = 1 << 12
HIGH_BITS = (12, 57, 58, 63)


@pytest.fixture(scope="session")
def low_bit_entries() -> np.ndarray:
    """Every combination of bits 0 to 12, 57, 58 and 63, on three kinds of background."""
    low = np.arange(LOW_BITS, dtype=np.uint64)
    high = np.zeros(1, np.uint64)
    for bit in HIGH_BITS:
        high = np.concatenate([high, high | np.uint64(1 << bit)])
    read = np.uint64(LOW_BITS - 1 | sum(1 << bit for bit in HIGH_BITS))
    combinations = (high[:, None] | low).ravel()
    rng = np.random.default_rng(58)
    noise = rng.integers(0, 2**64, combinations.size, np.uint64) & ~read
    return np.concatenate([combinations, combinations | ~read, combinations | noise])


@pytest.fixture(scope="session")
def random_entries() -> np.ndarray:
    """A million random entries, one in seven of them zero."""
    rng = np.random.default_rng(2022)
    entries = rng.integers(0, 2**64, 1 << 20, np.uint64)
    entries[::7] = 0
    entries.flags.writeable = False
    return entries


@pytest.fixture(params=pgtable.isas())
def usable_isa(request: pytest.FixtureRequest) -> str:
    """Every instruction set that was compiled in and runs here."""
    if not pgtable.isas()[request.param]:
        pytest.skip(f"this processor has no {request.param}")
    return request.param


@pytest.fixture(autouse=True)
def _same_isa_afterwards() -> Iterator[None]:
    before = pgtable.isa().name
    yield
    pgtable.isa(before)


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """The environment for a Python started by a test: it imports what the test does."""
    root = Path(pgtable.__file__).parents[1]
    return {**os.environ, "PYTHONPATH": str(root), "PYTHONSAFEPATH": "1"}
