# SPDX-License-Identifier: GPL-2.0-only
"""The laws of pgtable.checks, proved of a tree's helpers for every input.

The text of the laws runs on terms.  Known exceptions are excused here, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import z3

from ..checks import subject as checks
from ..checks.known import KNOWN, Known
from ..checks.law_case import Case, Outcome
from ..checks.laws import LAWS, Law
from ..checks.report import Value
from ..engines.interface import MISSING, Engine, Helper, HelperInfo
from ..engines.switches import COMBINATIONS, Switches
from . import terms
from .errors import RefusedError
from .lifted_tree import ARGUMENT, ENTRY, LiftedTree
from .machine import PLAIN, SHSTK
from .results import Proof, in_words
from .solving import Question

#: The setting of a result that does not depend on the processor.
BOTH = "shadow stacks on or off"


class TermHelper(Helper):
    """A helper that takes and gives terms."""

    def __init__(self, engine: TermEngine, info: HelperInfo, term: Any):
        super().__init__(engine, info, term)

    def __call__(self, entries: Any, argument: Any = MISSING, /, **_: Any) -> Any:
        """Return what the helper gives: a word or a truth; of numbers alone, a number."""
        values = [(ENTRY, terms.word(entries))]
        if argument is not MISSING:
            values.append((ARGUMENT, terms.word(argument)))
        term = z3.simplify(z3.substitute(self.handle, *values))
        if isinstance(entries, int) and z3.is_bv_value(term):
            number = term.as_long()
            return bool(number) if self.kind == "test" else number
        return terms.Truth(term != 0) if self.kind == "test" else terms.Word(term)


class TermEngine(Engine):
    """A tree's helpers in one setting of the processor, on the plain machine."""

    def __init__(self, subject: LiftedTree, switches: Switches, shstk: bool):
        self.name = subject.name
        self.switches = switches
        self.configured = subject.configured
        values = [(SHSTK, z3.BitVecVal(int(shstk), 1))]
        values += [(each.arg(0), each.arg(1)) for each in PLAIN]
        self._set_helpers(
            TermHelper(self, subject.infos[name], z3.simplify(z3.substitute(term, *values)))
            for name, term in subject.terms.items()
        )

    def _run_one(self, *_: Any) -> Any:
        raise TypeError("a helper of terms runs on no entries")

    def _run(self, *_: Any) -> Any:
        raise TypeError("a helper of terms runs on no entries")


def settings_of(rules: str, config: bool, feature: bool) -> list[tuple[Switches, bool]]:
    """Return the switches under which laws are proved, and whether shadow stacks are on."""
    found = [each for each in COMBINATIONS if (each.rules, each.config) == (rules, config)]
    if len(found) == 1 and feature:
        return [(found[0], True), (found[0], False)]
    return [(each, each.shstk) for each in found]


def prove_laws(
    subject: LiftedTree,
    settings: Sequence[tuple[Switches, bool]],
    seconds: float,
    decided: dict[int, Question] | None = None,
    exceptions: bool = False,
) -> Iterator[Proof]:
    """Prove every law of every helper that was lifted, in each setting.

    decided: answers to former questions, also about another tree.
    exceptions: yield a known exception as a proof with the status "excused".  Then proofs
        have no inputs: ``detailed()`` of a proof finds them.
    """
    decided = {} if decided is None else decided
    for switches, shstk in settings:
        engine = TermEngine(subject, switches, shstk)
        held_to = checks.Subject(engine, switches)
        for law in LAWS:
            for case in law.cases(held_to):
                one = _LawProof(law, case, held_to, shstk, seconds)
                found = one.proof(decided, details=not exceptions)
                yield found
                if exceptions and found.status == "proved":
                    yield from one.exceptions()


def told_once(found: Iterable[Proof]) -> Iterator[Proof]:
    """Yield proofs once if they are the same in both settings of the processor."""
    groups: dict[Any, list[Proof]] = {}
    for each in found:
        what = (each.law, each.helper, each.with_, each.status, each.reason, each.inputs)
        groups.setdefault(what, []).append(each)
    for one, *others in groups.values():
        yield replace(one, assuming=BOTH) if others else one


class _LawProof:
    """One helper under one law, in one setting."""

    def __init__(self, law: Law, case: Case, subject: checks.Subject, shstk: bool, seconds: float):
        self.law, self.case, self.subject = law, case, subject
        self.setting = f"shadow stacks are {'on' if shstk else 'off'}"
        self.seconds = seconds
        self.inputs = [ENTRY, *([ARGUMENT] if case.two_words else [])]

    def proof(self, decided: dict[int, Question], details: bool = True) -> Proof:
        """Return the proof.  ``decided`` has the answers to former questions."""
        try:
            goal, outcome = self._goal()
            if goal.get_id() in decided:
                return self._made("proved", question=decided[goal.get_id()])
            question = Question(goal, (), self.seconds)
            if question.has_answer() is not None:
                if self._does_nothing(outcome):
                    return self._made("refused", reason="does nothing in this tree: not built in")
                if not details:
                    return self._made("refuted", find=self._finder(question, outcome))
                return self._refuted(question, outcome)
            decided[goal.get_id()] = question  # which keeps the goal, and with it its number
            return self._made("proved", question=question)
        except (RefusedError, TypeError, AttributeError, ValueError) as error:
            return self._made("refused", reason=f"the law cannot be asked on terms: {error}")

    def exceptions(self) -> Iterator[Proof]:
        """Yield the known exceptions, each with its smallest input."""
        broken, outcome, complete = self._broken()
        for known in self._known():
            excused = terms.Truth(broken) & terms.Truth(terms.truth(known.where(complete)))
            question = Question(z3.simplify(terms.truth(excused)), (), self.seconds)
            if question.has_answer() is not None:
                excuse = {"excuse": known.reason, "is_defect": known.defect}
                yield self._made("excused", find=self._finder(question, outcome), **excuse)

    def _finder(self, question: Question, outcome: Outcome) -> Callable[[], Proof]:
        return lambda: self._refuted(question, outcome, with_condition=False)

    def _goal(self) -> tuple[Any, Outcome]:
        """Return the term that is true where the law is broken, and no exception excuses it."""
        broken, outcome, complete = self._broken()
        for known in self._known():
            excused = terms.truth(known.where(complete))
            broken = terms.truth(terms.Truth(broken) & terms.Truth(z3.Not(excused)))
        return z3.simplify(broken), outcome

    def _known(self) -> list[Known]:
        stem = self.subject.meanings[self.case.helper.name]
        switches = self.subject.switches
        return [each for each in KNOWN if each.covers(self.law, stem, self.case, switches)]

    def _broken(self) -> tuple[Any, Outcome, Outcome]:
        """Return the term that is true where the law is broken; results, and with no gaps."""
        entry = terms.Word(ENTRY)
        argument = terms.Word(ARGUMENT) if self.case.two_words else None
        outcome = self.case.outcome(entry, argument)
        broken = self.case.breaks(outcome)
        if self.case.applies is not None:
            broken = broken & self.case.applies(entry, argument)
        complete = outcome._replace(
            arguments=terms.Word(z3.BitVecVal(0, 64))
            if outcome.arguments is None
            else outcome.arguments,
            other=outcome.one if outcome.other is None else outcome.other,
        )
        return terms.truth(broken), outcome, complete

    def _does_nothing(self, outcome: Outcome) -> bool:
        """Tell whether a helper gives what it got and its test says no to everything."""
        if self.law.name != "set_and_clear":
            return False
        alive = z3.Or(terms.word(outcome.one) != ENTRY, terms.truth(outcome.other))
        return Question(alive, (), self.seconds).has_answer() is None

    def _refuted(self, question: Question, outcome: Outcome, with_condition: bool = True) -> Proof:
        smallest = question.smallest(self.inputs)
        values = [(each, z3.BitVecVal(smallest[str(each)], 64)) for each in self.inputs]
        info, rules = self.case.helper.info, self.subject.switches.rules
        shown = [("entry", Value(smallest["entry"], info.takes, rules))]
        if self.case.two_words:
            of_entry = info.argument in ("newprot", "prot", "other")
            kind = self.case.helper.level if of_entry else "val"
            name = info.argument or "argument"
            shown.append((name, Value(smallest["argument"], kind, rules)))
        results = []
        for label, kind, each in zip(
            self.case.labels, self.case.kinds, (outcome.one, outcome.other), strict=True
        ):
            if each is not None:
                kind = kind or info.gives  # noqa: PLW2901
                number = z3.simplify(z3.substitute(terms.word(each), *values)).as_long()
                value: int | bool = bool(number) if kind == "test" else number
                results.append((label, Value(value, kind, rules)))
        condition = ""
        if with_condition:
            condition = in_words(question.condition(self.inputs), info, "is broken", "breaks it")
        return self._made(
            "refuted", inputs=tuple(shown), results=tuple(results), condition=condition
        )

    def _made(self, status: str, **more: Any) -> Proof:
        helper, with_ = self.case.helper, self.case.with_
        return Proof(
            helper.name, helper.level, status, law=self.law.name, meaning=self.law.meaning,
            with_=with_.name if with_ else "", assuming=self.setting, **more,
        )  # fmt: skip
