# SPDX-License-Identifier: GPL-2.0-only
"""Finds the helpers that turn one entry into another, by running them.

Every helper of the level is run on all entries at once.  A helper that gives exactly the other
entry explains it.  If no helper does, two in a row are tried, and so on.  The processor itself sets
Accessed and Dirty, and counts as a step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .. import bits
from ..engines.interface import Engine, Helper

#: Helpers that can give any result.  They would explain everything, so they are left out.
_SAY_NOTHING = ("_set_flags", "_clear_flags", "_advance_pfn")

#: The bits that modify takes from a new protection.
_PROTECTION = (
    bits.PRESENT | bits.RW | bits.USER | bits.PROTNONE | bits.ACCESSED | bits.PKEY | bits.NX
)
_VM_SHADOW_STACK = 1 << 37

#: Pairs looked at together: what is kept grows with the helpers to the power of the length.
_TOGETHER = 4096

#: Runs on (values, the entries to be reached).
_Run = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class ExplainingStep:
    """A step that may have happened to an entry."""

    name: str
    run: _Run
    last: bool = False  #: its argument is taken from the result, so only the last step can be one

    def text(self, after: int) -> str:
        """Return the step's name, with the argument that gives this result."""
        return f"{self.name}(newprot={after & _PROTECTION:#x})" if self.last else self.name


def explain(
    engine: Engine, level: str, before: np.ndarray, after: np.ndarray, longest: int = 2
) -> list[list[str]]:
    """Return for each pair of entries every shortest chain that turns one into the other.

    level: "pte", "pmd" or "pud"; before, after: uint64 arrays of the same length,
        the frames of each pair the same.
    longest: how many steps a chain may have.

    A chain is text, ``pte_wrprotect,pte_mkold``; chains come in kernel order, and
    one that only swaps steps of an earlier one is left out.  An empty list: no
    chain of at most ``longest`` steps.
    """
    found: list[list[str]] = [[] for _ in before]
    swapped = _is_swap(before, level)
    for steps, mask in (
        (_swap_steps(engine, level), swapped),
        (_steps(engine, level), ~swapped),
    ):
        rows = np.flatnonzero(mask & (before != after))
        for first in range(0, len(rows), _TOGETHER):
            part = rows[first : first + _TOGETHER]
            chains = _search(steps, before[part], after[part], longest)
            for row, explanations in zip(part, chains, strict=True):
                found[row] = explanations
    return found


def _is_swap(entries: np.ndarray, level: str) -> np.ndarray:
    not_swap = bits.PRESENT | bits.PROTNONE | (bits.PSE if level == "pmd" else 0)
    return (entries & np.uint64(not_swap)) == 0


def _search(
    steps: Sequence[ExplainingStep], before: np.ndarray, after: np.ndarray, longest: int
) -> list[list[str]]:
    """Try all chains, shortest first, for the rows that no shorter chain explained."""
    found: list[list[str]] = [[] for _ in before]
    rows = np.arange(len(before))
    # each: the steps taken, what they made of every row, and where each changed something
    frontier: list[tuple[tuple[int, ...], np.ndarray, np.ndarray]]
    frontier = [((), before, np.ones(len(before), bool))]
    for length in range(1, longest + 1):
        seen: list[set[tuple[int, ...]]] = [set() for _ in before]
        following = []
        for chain, values, alive in frontier:
            for index, step in enumerate(steps):
                result = values.copy()
                result[rows] = step.run(values[rows], after[rows])
                moved = alive & (result != values)
                longer = (*chain, index)
                for row in rows[(moved & (result == after))[rows]]:
                    if tuple(sorted(longer)) not in seen[row]:
                        seen[row].add(tuple(sorted(longer)))
                        names = [steps[i].text(int(after[row])) for i in longer]
                        found[row].append(",".join(names))
                if length < longest and not step.last and moved[rows].any():
                    following.append((longer, result, moved))
        rows = np.array([row for row in rows if not found[row]], np.intp)
        frontier = following
        if not len(rows):
            break
    return found


# ---- the steps there are


def _steps(engine: Engine, level: str) -> list[ExplainingStep]:
    steps = []
    for helper in _maps(engine, level):
        if helper.name.startswith(f"{level}_swp_"):
            continue
        if helper.argument is None:
            steps.append(ExplainingStep(helper.name, _plain(helper)))
        elif helper.argument == "newprot":
            steps.append(ExplainingStep(helper.name, _modify(helper), last=True))
        elif helper.argument == "vm_flags":
            steps.append(ExplainingStep(helper.name, _with(helper, 0)))
            steps.append(
                ExplainingStep(f"{helper.name}(VM_SHADOW_STACK)", _with(helper, _VM_SHADOW_STACK))
            )
    return [
        *steps,
        ExplainingStep("processor:accessed", _accessed),
        ExplainingStep("processor:written", _written),
    ]


def _swap_steps(engine: Engine, level: str) -> list[ExplainingStep]:
    return [
        ExplainingStep(helper.name, _plain(helper))
        for helper in _maps(engine, level)
        if helper.name.startswith(f"{level}_swp_")
    ]


def _maps(engine: Engine, level: str) -> list[Helper]:
    """Return what takes and gives an entry of this level, in kernel order."""
    return [
        helper
        for helper in engine.helpers.values()
        if helper.info.takes == level
        and helper.info.gives == level
        and not helper.name.endswith(_SAY_NOTHING)
    ]


def _plain(helper: Helper) -> _Run:
    return lambda values, _: helper(values)


def _with(helper: Helper, argument: int) -> _Run:
    return lambda values, _: helper(values, argument)


def _modify(helper: Helper) -> _Run:
    return lambda values, after: helper(values, after & np.uint64(_PROTECTION))


def _accessed(values: np.ndarray, _: np.ndarray) -> np.ndarray:
    present = (values & np.uint64(bits.PRESENT)) != 0
    return np.where(present, values | np.uint64(bits.ACCESSED), values)


def _written(values: np.ndarray, _: np.ndarray) -> np.ndarray:
    needed = np.uint64(bits.PRESENT | bits.RW)
    writable = (values & needed) == needed
    return np.where(writable, values | np.uint64(bits.ACCESSED | bits.DIRTY), values)
