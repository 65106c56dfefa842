# SPDX-License-Identifier: GPL-2.0-only
"""The operations in NumPy, as fast as it can do them: temporaries are allocated beforehand.

Each function takes the entries, an array for results, and a workspace.  None uses ``where=`` of a
ufunc, whose time depends on the data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .timed_operations import CONSTANTS

#: Constants as arrays without dimensions, which are faster for NumPy than its scalars.
K = {name: np.array(value, np.uint64) for name, value in CONSTANTS.items()}

#: A part of an array that stays in the caches while NumPy makes several passes.
BLOCK = 1 << 14


class Workspace(NamedTuple):
    """Temporary arrays as long as the entries, and the mask of ``where=``."""

    t: np.ndarray
    u: np.ndarray
    b: np.ndarray
    mask: np.ndarray | None

    def part(self, first: int, end: int) -> Workspace:
        """Return views for the entries from first to end.  The temporaries are used again."""
        n = end - first
        mask = None if self.mask is None else self.mask[first:end]
        return Workspace(self.t[:n], self.u[:n], self.b[:n], mask)


def wrprotect(a: np.ndarray, out: np.ndarray, work: Workspace) -> None:
    """Move D to C, clear W: four passes."""
    np.bitwise_and(a, K["D"], work.t)
    np.left_shift(work.t, K["SHIFT"], work.t)
    np.bitwise_and(a, K["NOT_WD"], out)
    np.bitwise_or(out, work.t, out)


def mkclean(a: np.ndarray, out: np.ndarray, work: Workspace) -> None:
    """Clear D and C: one pass."""
    np.bitwise_and(a, K["NOT_DC"], out)


def mkdirty(a: np.ndarray, out: np.ndarray, work: Workspace) -> None:
    """Set SD, and D or C: nine passes, since selecting is slow in NumPy."""
    np.bitwise_and(a, K["WD"], work.t)
    np.equal(work.t, K["ZERO"], work.b)
    np.multiply(work.b, K["C"], work.t)
    np.bitwise_or(work.t, a, work.t)
    # and set D, unless C was set just now
    np.logical_not(work.b, work.b)
    np.multiply(work.b, K["D"], work.u)
    np.bitwise_or(work.t, work.u, out)
    np.bitwise_or(out, K["SD"], out)


def mkwrite(a: np.ndarray, out: np.ndarray, work: Workspace) -> None:
    """Set W, move C to D: five passes."""
    np.bitwise_and(a, K["C"], work.t)
    np.right_shift(work.t, K["SHIFT"], work.t)
    np.bitwise_or(work.t, K["W"], work.t)
    np.bitwise_and(a, K["NOT_C"], out)
    np.bitwise_or(out, work.t, out)


def modify(a: np.ndarray, out: np.ndarray, work: Workspace) -> None:
    """Keep some bits, take the others from newprot, and invert the frame if necessary."""
    np.bitwise_and(a, K["P"], work.t)
    np.bitwise_xor(work.t, K["P"], work.t)
    np.not_equal(a, K["ZERO"], work.b)
    np.multiply(work.t, work.b, work.t)
    np.multiply(work.t, K["FRAME"], work.t)
    np.bitwise_and(a, K["CHG"], out)
    np.bitwise_or(out, K["NEW"], out)
    np.bitwise_xor(out, work.t, out)


def chain(a: np.ndarray, out: np.ndarray, work: Workspace) -> None:
    """Do the four helpers of the chain at once, as a programmer would write it."""
    np.bitwise_and(a, K["D"], work.t)
    np.left_shift(work.t, K["SHIFT"], work.t)
    np.bitwise_and(a, K["CHAIN_KEEP"], out)
    np.bitwise_or(out, work.t, out)


def dirty(a: np.ndarray, out: np.ndarray, work: Workspace) -> None:
    """Write whether D or C is set."""
    np.bitwise_and(a, K["DC"], work.t)
    np.not_equal(work.t, K["ZERO"], out)


def count_dirty(a: np.ndarray, out: np.ndarray, work: Workspace) -> int:
    """Count where D or C is set."""
    np.bitwise_and(a, K["DC"], work.t)
    np.not_equal(work.t, K["ZERO"], work.b)
    return int(np.count_nonzero(work.b))


def where_array(a: np.ndarray, out: np.ndarray, work: Workspace) -> None:
    """Write-protect the entries that the mask chooses."""
    assert work.mask is not None
    wrprotect(a, work.u, work)
    np.copyto(out, work.u, where=work.mask)


def where_helper(a: np.ndarray, out: np.ndarray, work: Workspace) -> None:
    """Write-protect what is present."""
    np.bitwise_and(a, K["PP"], work.t)
    np.not_equal(work.t, K["ZERO"], work.b)
    wrprotect(a, work.u, work)
    np.copyto(out, work.u, where=work.b)


def blocked(form: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that works block by block, so that only the first pass reads memory."""

    def run(a: np.ndarray, out: np.ndarray, work: Workspace) -> Any:
        total = 0
        for first in range(0, a.size, BLOCK):
            end = min(first + BLOCK, a.size)
            got = form(a[first:end], out[first:end], work.part(first, end))
            total += got or 0
        return total

    return run


FORMS: dict[str, Callable[..., Any]] = {
    "wrprotect": wrprotect,
    "copy": wrprotect,
    "mkclean": mkclean,
    "mkdirty": mkdirty,
    "mkwrite": mkwrite,
    "modify": modify,
    "chain": chain,
    "dirty": dirty,
    "dirty.count": count_dirty,
    "where-array": where_array,
    "where-helper": where_helper,
}
