# SPDX-License-Identifier: GPL-2.0-only
"""Which helpers a patch changes, for which entries: proofs of one tree against the other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import z3

from .. import bits
from ..checks.report import bit_names
from ..checks.subject import LEVELS, name_of
from ..engines.interface import HelperInfo
from ..proofs.lifted_tree import ARGUMENT, ENTRY, LiftedTree
from ..proofs.proving import prove_helpers
from ..proofs.results import Proof


@dataclass(frozen=True)
class Moved:
    """A flag that lies at another bit after the patch."""

    flag: str
    before: int
    after: int

    def __str__(self) -> str:
        return f"{self.flag} moves from bit {self.before} to bit {self.after}"


@dataclass
class HelperChanges:
    """The helpers of a tree before and after a patch.

    new, gone: only after, only before.  changed: proofs of a difference, "A" is before.
    equal: proved equal, same of them have the same term at once.
    refused: of which neither is proved, with the reason.
    moved: flags that moved, with the helpers that nothing else changes.
    """

    total: int = 0
    new: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    changed: list[Proof] = field(default_factory=list)
    equal: list[str] = field(default_factory=list)
    same: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    moved: dict[Moved, list[str]] = field(default_factory=dict)

    @property
    def any(self) -> bool:
        """Whether a helper came, went or changed."""
        return bool(self.new or self.gone or self.changed)

    @property
    def unexplained(self) -> list[Proof]:
        """The changed helpers that no moved flag explains."""
        explained = {name for names in self.moved.values() for name in names}
        return [each for each in self.changed if each.helper not in explained]


def helper_changes(before: LiftedTree, after: LiftedTree, seconds: float) -> HelperChanges:
    """Compare every helper of two trees for every input."""
    here, there = set(before.names), set(after.names)
    found = HelperChanges(
        total=len(here & there),
        new=[name for name in after.names if name not in here],
        gone=[name for name in before.names if name not in there],
    )
    before.lift(name for name in before.names if name not in before.terms | before.refused)
    after.lift(name for name in after.names if name not in after.terms | after.refused)
    different = []
    for name in before.names:
        if name not in there:
            continue
        if name in before.terms and name in after.terms and _alike(before, after, name):
            found.equal.append(name)
            found.same += 1
        else:
            different.append(name)
    proofs = prove_helpers(before, after, {}, different, False, None, seconds, None)
    for proof in proofs if different else ():
        if proof.status == "proved":
            found.equal.append(proof.helper)
        elif proof.status == "refuted":
            found.changed.append(proof)
        else:
            found.refused[proof.helper] = proof.reason
    found.moved = _moved(before, after, found.changed)
    return found


def _alike(before: LiftedTree, after: LiftedTree, name: str) -> bool:
    return before.terms[name].eq(after.terms[name]) and before.infos[name] == after.infos[name]


# ---- flags that moved


def _moved(
    before: LiftedTree, after: LiftedTree, changed: Sequence[Proof]
) -> dict[Moved, list[str]]:
    found: dict[Moved, list[str]] = {}
    for one in _candidates(before, after, changed):
        names = [each.helper for each in changed if _is_explained(before, after, each.helper, one)]
        if names:
            found[one] = names
    return found


def _candidates(
    before: LiftedTree, after: LiftedTree, changed: Sequence[Proof]
) -> dict[Moved, None]:
    """Return flags that some helper sets at one bit before, and at another after the patch."""
    found: dict[Moved, None] = {}
    for each in changed:
        info = before.infos[each.helper]
        if info.kind != "map" or info.argument is not None or info.level not in LEVELS:
            continue
        one, other = (_at_zero(tree.terms[each.helper]) for tree in (before, after))
        if one is None or other is None:
            continue
        gone, come = one & ~other, other & ~one
        if gone.bit_count() == come.bit_count() == 1:
            flag = re.sub(r"^(?:pte|pmd|pud)_(?:mk|set_)?", "", each.helper).upper()
            numbers = gone.bit_length() - 1, come.bit_length() - 1
            if not any((seen.before, seen.after) == numbers for seen in found):
                found[Moved(flag, *numbers)] = None
    return found


def _at_zero(term: Any) -> int | None:
    value = z3.simplify(z3.substitute(term, (ENTRY, z3.BitVecVal(0, 64))))
    return value.as_long() if z3.is_bv_value(value) else None


def _is_explained(before: LiftedTree, after: LiftedTree, name: str, moved: Moved) -> bool:
    """Tell whether a helper does the same with the two bits exchanged."""
    info = before.infos[name]
    inputs = [(each, _exchanged(each, moved)) for each in (ENTRY, ARGUMENT)]
    expected = z3.substitute(before.terms[name], *inputs)
    if info.gives in bits.LEVELS:
        expected = _exchanged(expected, moved)
    solver = z3.SolverFor("QF_BV")
    solver.set("timeout", 5000)
    solver.add(expected != after.terms[name])
    return solver.check() == z3.unsat


def _exchanged(term: Any, moved: Moved) -> Any:
    one, other = (z3.BitVecVal(1 << bit, 64) for bit in (moved.before, moved.after))
    rest = term & ~(one | other)
    up = z3.If(term & one != 0, other, z3.BitVecVal(0, 64))
    down = z3.If(term & other != 0, one, z3.BitVecVal(0, 64))
    return rest | up | down


# ---- levels


def uneven_levels(changes: HelperChanges, after: LiftedTree) -> list[str]:
    """Return sentences on helpers that are new or changed at some levels, and not at others."""
    changed = {each.helper for each in changes.changed}
    said = []
    for what, names in (("new", set(changes.new)), ("changed", changed)):
        for stem in sorted({_stem(name) for name in names} - {""}):
            at = [level for level in LEVELS if name_of(stem, level) in names]
            others = [level for level in LEVELS if name_of(stem, level) not in names]
            if what == "changed":
                others = [each for each in others if name_of(stem, each) in after.names]
            elif len(at) < 2:
                continue
            if at and others:
                verb = "there is none for" if what == "new" else "unchanged for"
                said.append(f"{stem}: {what} for {' and '.join(at)}, {verb} {' and '.join(others)}")
    return said


def _stem(name: str) -> str:
    level, _, stem = name.partition("_")
    return stem if level in LEVELS else ""


def known_as(flag: int, info: HelperInfo) -> str:
    """Return the name of a bit."""
    return bit_names(1 << flag, info.level, "saved_dirty")
