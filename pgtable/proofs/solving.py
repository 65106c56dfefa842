# SPDX-License-Identifier: GPL-2.0-only
"""Asks a solver whether something is true for every input, and for which it is not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple, TypeAlias

import z3

from .errors import RefusedError

Bits: TypeAlias = z3.BitVecRef
Truth: TypeAlias = z3.BoolRef

#: With more cases, nobody would read the condition.
MOST_CASES = 6


class Literal(NamedTuple):
    """One bit of an input that is fixed."""

    variable: str
    bit: int
    value: int


class DifferenceCondition(NamedTuple):
    """When two results differ: in any of these cases.  Each case fixes some bits."""

    cases: tuple[tuple[Literal, ...], ...]
    exact: bool  #: the cases are all there are; else some of them
    always: tuple[Literal, ...]  #: bits that every input that differs has


class Question:
    """Whether there is an input with ``goal``, under assumptions.

    seconds: how long one answer may take.
    """

    def __init__(self, goal: Truth, assumptions: Sequence[Truth], seconds: float):
        self.goal = goal
        self._solver = z3.SolverFor("QF_BV")
        self._solver.set("timeout", int(seconds * 1000))
        self._solver.add(*assumptions)
        self._assumptions = list(assumptions)
        self._seconds = seconds
        self._counted: set[str] = set()
        self._solver.add(goal)

    def has_answer(self, *more: Truth) -> z3.ModelRef | None:
        """Return an input, None if there is none; raises RefusedError if time is up."""
        answer = self._solver.check(*more)
        if answer == z3.unknown:
            raise RefusedError(f"not decided in {self._seconds:g} s")
        return self._solver.model() if answer == z3.sat else None

    def smt2(self) -> str:
        """Return the question as SMT-LIB 2: ``unsat`` is the proof that no input has the goal."""
        plain = z3.Solver()  # a solver that has solved a question writes its own version of it
        plain.add(*self._assumptions, self.goal)
        return f"(set-logic QF_BV)\n{plain.to_smt2()}"

    def smallest(self, variables: Sequence[Bits]) -> dict[str, int]:
        """Return the input with the fewest bits set in the first variable, then in the next.

        Of those the lowest.  There must be one.
        """
        fixed: list[Truth] = []
        for variable in variables:
            # the lowest input with this number of bits is found bit by bit, from the highest
            fixed.append(self._count(variable) == self._fewest(variable, fixed))
            model = self._known_answer(fixed)
            for bit in reversed(range(variable.size())):
                clear = z3.Extract(bit, bit, variable) == 0
                if model.eval(variable, True).as_long() >> bit & 1:
                    found = self.has_answer(*fixed, clear)
                    model, clear = (model, z3.Not(clear)) if found is None else (found, clear)
                fixed.append(clear)
        model = self._known_answer(fixed)
        return {str(each): model.eval(each, True).as_long() for each in variables}

    def _known_answer(self, more: Sequence[Truth]) -> z3.ModelRef:
        model = self.has_answer(*more)
        assert model is not None
        return model

    def _fewest(self, variable: Bits, fixed: list[Truth]) -> int:
        for most in range(variable.size() + 1):
            if self.has_answer(*fixed, z3.ULE(self._count(variable), most)) is not None:
                return most
        raise RefusedError("has no smallest input")

    def _count(self, variable: Bits) -> Bits:
        """Return how many bits are set, as a variable of the solver's."""
        count = z3.BitVec(f"bits_of_{variable}", 8)
        if str(variable) not in self._counted:
            self._counted.add(str(variable))
            bits = [z3.Extract(i, i, variable) for i in range(variable.size())]
            self._solver.add(count == z3.Sum([z3.ZeroExt(7, bit) for bit in bits]))
        return count

    def condition(self, variables: Sequence[Bits]) -> DifferenceCondition:
        """Return for which inputs the goal holds, in bits of the variables."""
        always = self._always(variables)
        other = Question(z3.Not(self.goal), self._assumptions, self._seconds)
        cases: list[tuple[Literal, ...]] = []
        seen: list[Truth] = []
        while len(cases) < MOST_CASES:
            model = self.has_answer(*seen)
            if model is None:
                return DifferenceCondition(tuple(cases), True, always)
            case = other.excluded_by(_literals(model, variables), variables)
            if case is None:
                break
            cases.append(case)
            seen.append(z3.Not(z3.And(*(_term(each, variables) for each in case))))
        return DifferenceCondition(tuple(cases), False, always)

    def excluded_by(
        self, literals: list[Literal], variables: Sequence[Bits]
    ) -> tuple[Literal, ...] | None:
        """Return a few of these bits that leave no answer; None if all of them leave one."""
        if self.has_answer(*(_term(each, variables) for each in literals)) is not None:
            return None
        core = {each.get_id() for each in self._solver.unsat_core()}
        kept = [each for each in literals if _term(each, variables).get_id() in core] or literals
        for each in list(kept):
            rest = [other for other in kept if other != each]
            if self.has_answer(*(_term(one, variables) for one in rest)) is None:
                kept = rest
        return tuple(kept)

    def _always(self, variables: Sequence[Bits]) -> tuple[Literal, ...]:
        """Return the bits that every answer has."""
        return tuple(self._of_every_answer(_literals(self._known_answer(()), variables), variables))

    def _of_every_answer(
        self, literals: list[Literal], variables: Sequence[Bits]
    ) -> Iterator[Literal]:
        """Yield those of an answer's bits that every answer has.  Most bits say nothing."""
        if self.has_answer(*(z3.Not(_term(each, variables)) for each in literals)) is not None:
            return
        if len(literals) == 1:
            yield literals[0]
            return
        middle = len(literals) // 2
        yield from self._of_every_answer(literals[:middle], variables)
        yield from self._of_every_answer(literals[middle:], variables)


def _literals(model: z3.ModelRef, variables: Sequence[Bits]) -> list[Literal]:
    found = []
    for variable in variables:
        value = model.eval(variable, True).as_long()
        found += [Literal(str(variable), i, value >> i & 1) for i in range(variable.size())]
    return found


def _term(literal: Literal, variables: Sequence[Bits]) -> Truth:
    variable = next(each for each in variables if each.decl().name() == literal.variable)
    return _bit(variable.decl().name(), variable.size(), literal.bit, literal.value)


@cache
def _bit(name: str, size: int, bit: int, value: int) -> Truth:
    return z3.Extract(bit, bit, z3.BitVec(name, size)) == value
