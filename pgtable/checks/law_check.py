# SPDX-License-Identifier: GPL-2.0-only
"""Tries the laws on an engine.  Results are findings, known exceptions, and what was not tried."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, overload

import numpy as np

from ..engines.interface import Engine
from ..engines.native import native
from ..engines.switches import Switches
from . import inputs
from .differential import comparable, differ, inputs_for
from .followed_rules import Recognition, recognise
from .known import KNOWN, Known
from .laws import LAWS, Case, Law, Outcome, law
from .report import Report, Value, aligned, counted, wrap
from .search import Fails, Input, Search, blocks, fails_anywhere, search
from .subject import Subject

#: A function of a helper's name and the rows of an example: lines that say where the helper is.
Where = Callable[[str, tuple[tuple[str, Value], ...]], list[str]]

#: Called as progress(done, total), in laws.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class LawFinding:
    """A helper that breaks a law, or is a known exception."""

    law: str
    number: int
    sentence: str
    meaning: str
    helper: str
    stem: str  #: the helper without its level
    level: str
    with_: str | None  #: the other helper that the case is about
    failures: int
    tried: int
    rows: tuple[tuple[str, Value], ...]  #: the smallest counterexample, before and after
    inputs: str = ""  #: of a known exception: the inputs that it is limited to
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        found = {
            "law": self.law,
            "number": self.number,
            "sentence": self.sentence,
            "meaning": self.meaning,
            "helper": self.helper,
            "level": self.level,
            "with": self.with_,
            "failures": self.failures,
            "tried": self.tried,
            "smallest": {label: value.as_dict() for label, value in self.rows},
        }
        if self.reason:
            found |= {"inputs": self.inputs, "reason": self.reason}
        return found

    def __str__(self) -> str:
        with_ = f" (with {self.with_})" if self.with_ else ""
        head = f"{self.helper}{with_}: {self.failures:,} of {self.tried:,} inputs; smallest:"
        return "\n".join([wrap(head, hang="  "), *aligned(self.rows, indent="    ")])


@dataclass(frozen=True)
class LawReport(Report, Sequence[LawFinding]):
    """What :func:`check_laws` found: a sequence of findings, and what was checked."""

    engine: str
    rules: Switches  #: the rules whose known exceptions were excused
    recognised: Recognition | None  #: how the rules were recognised; None: the engine says them
    findings: tuple[LawFinding, ...]
    exceptions: tuple[LawFinding, ...]
    tried: dict[str, int]  #: how many helpers were tried under each law
    inputs: int
    compiled_out: tuple[str, ...] = field(default=())  #: pairs that do nothing in this engine
    held: frozenset[str] = field(default=frozenset())  #: helpers that some law is about

    @overload
    def __getitem__(self, index: int) -> LawFinding: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[LawFinding]: ...
    def __getitem__(self, index: int | slice) -> LawFinding | Sequence[LawFinding]:
        return self.findings[index]

    def __len__(self) -> int:
        return len(self.findings)

    @property
    def clean(self) -> bool:
        """Whether nothing was found but known exceptions."""
        return not self.findings

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "engine": self.engine,
            "rules": self.rules._asdict(),
            "recognised": self.recognised.as_dict() if self.recognised else None,
            "clean": self.clean,
            "findings": [finding.as_dict() for finding in self.findings],
            "known_exceptions": [finding.as_dict() for finding in self.exceptions],
            "helpers_tried": self.tried,
            "inputs": self.inputs,
            "compiled_out": list(self.compiled_out),
        }

    def __str__(self) -> str:
        lines = [*self.head_lines(), *self.finding_lines(), *self.known_lines()]
        return "\n".join([*lines, self.summary_line()])

    def head_lines(self) -> list[str]:
        """Return lines on what was checked, and by which rules."""
        return [wrap(f"laws of {self.engine}", hang="  "), wrap(f"rules: {self.rules}", hang="  ")]

    def finding_lines(
        self, where: Where | None = None, only: Iterable[LawFinding] | None = None
    ) -> Iterator[str]:
        """Yield the findings by law.  ``where`` gives lines that say where a helper is."""
        return _by_law(self.findings if only is None else only, where)

    def known_lines(self, whole: bool = False) -> Iterator[str]:
        """Yield the known exceptions: a summary of each, or each in full."""
        if self.exceptions:
            yield "\nknown exceptions, no findings:"
            yield from _whole(self.exceptions) if whole else _summary(self.exceptions)
        if self.compiled_out:
            yield "\n" + wrap(f"not built in: {', '.join(self.compiled_out)}", hang="  ")

    def summary_line(self) -> str:
        """Return how much was tried, and how many findings there are."""
        helpers = sum(self.tried.values())
        return (
            f"\n{counted(len(self.tried), 'law')}, {counted(helpers, 'case')},"
            f" {self.inputs:,} inputs: {counted(len(self), 'finding')}"
        )


def _by_law(findings: Iterable[LawFinding], where: Where | None = None) -> Iterator[str]:
    """Yield each broken law.  Levels that break it in the same way are shown together."""
    groups: dict[Any, list[LawFinding]] = {}
    for finding in findings:
        values = tuple(value.value for _, value in finding.rows)
        groups.setdefault((finding.law, finding.stem, values), []).append(finding)
    shown = None
    for same in groups.values():
        finding = same[0]
        if finding.law != shown:
            shown = finding.law
            yield "\n" + wrap(f"{finding.number}. {finding.law}: {finding.sentence}", "", "   ")
            yield wrap(f"which means: {finding.meaning}", "   ")
        yield f"\n{finding}"
        if where is not None:
            yield from where(finding.helper, finding.rows)
        others = ", ".join(each.helper for each in same[1:])
        if others:
            yield wrap(f"the same in {others}", "    ")


def _summary(exceptions: Iterable[LawFinding]) -> Iterator[str]:
    """Yield each exception once, with all its helpers."""
    groups: dict[tuple[str, str, str], list[LawFinding]] = {}
    for finding in exceptions:
        groups.setdefault((finding.law, finding.inputs, finding.reason), []).append(finding)
    for (name, limited_to, reason), same in groups.items():
        helpers = ", ".join(map(_pair, same))
        yield wrap(f"{name}: {helpers}: {limited_to}", "  ", "    ")
        yield wrap(f"({reason})", "    ", "     ")
        smallest = (f"{label} {_short(value)}" for label, value in same[0].rows)
        yield wrap(f"smallest: {', '.join(smallest)}", "    ", "     ")


def _short(value: Value) -> str:
    return str(bool(value.value)) if value.kind == "test" else f"{value.value:#x}"


def _pair(finding: LawFinding) -> str:
    return f"{finding.with_}/{finding.helper}" if finding.with_ else finding.helper


def _whole(exceptions: Iterable[LawFinding]) -> Iterator[str]:
    """Yield every exception in full, with the reason why it is no finding."""
    for finding in exceptions:
        yield "\n" + wrap(f"{finding.number}. {finding.law}: {finding.inputs}", "", "   ")
        yield str(finding)
        yield wrap(f"({finding.reason})", "    ", "     ")


def check_laws(
    engine: Engine,
    *,
    rules: Switches | None = None,
    laws: Iterable[str] | None = None,
    progress: Progress | None = None,
) -> LawReport:
    """Try every law on every helper that it is about, over all bits that matter.

    rules: the rules whose known exceptions are excused.  None: the engine's own rules; for a
        kernel tree, those that it follows most closely.
    laws: names of the laws to try; None: all.
    progress: called as ``progress(done, total)`` after each law.

    Returns a sequence of findings, empty for an engine without fault; known
    exceptions of the rules are in ``.exceptions``.  Raises ValueError for a law
    that does not exist.
    """
    recognised = None
    if rules is None:
        rules = getattr(engine, "switches", None)
    if rules is None:
        recognised = recognise(engine)
        rules = recognised.switches
    subject = Subject(engine, rules)
    trial = _Trial(subject)
    chosen = LAWS if laws is None else [law(name) for name in laws]
    for done, each in enumerate(chosen):
        for case in each.cases(subject):
            trial.try_case(each, case)
        if progress is not None:
            progress(done + 1, len(chosen))
    return LawReport(
        engine=engine.name,
        rules=rules,
        recognised=recognised,
        findings=tuple(_blame_one_level(trial.findings, subject)),
        exceptions=tuple(trial.exceptions),
        tried=trial.tried,
        inputs=trial.inputs,
        compiled_out=tuple(dict.fromkeys(trial.compiled_out)),
        held=frozenset(trial.held),
    )


class _Trial:
    """Tries cases and collects the results."""

    def __init__(self, subject: Subject):
        self.subject = subject
        self.findings: list[LawFinding] = []
        self.exceptions: list[LawFinding] = []
        self.compiled_out: list[str] = []
        self.tried: dict[str, int] = {}
        self.held: set[str] = set()
        self.inputs = 0

    def try_case(self, law: Law, case: Case) -> None:
        """Try one case.  Broken inputs that no known exception excuses are a finding."""
        given = inputs.paired(0) if case.two_words else inputs.single(0)
        self.held |= {each.name for each in (case.helper, case.with_) if each is not None}
        self.tried[law.name] = self.tried.get(law.name, 0) + 1
        self.inputs += given.entries.size
        if not fails_anywhere(_breaks(case), given):
            return
        if law.name == "set_and_clear" and _is_compiled_out(case, given):
            self.compiled_out.append(case.helper.name)
            return
        tried = _count_applicable(case, given)
        stem = self.subject.meanings[case.helper.name]
        known = [each for each in KNOWN if each.covers(law, stem, case, self.subject.switches)]
        for each in known:
            excused = search(_breaks(case, only=(each,)), given)
            if excused.smallest is not None:
                self.exceptions.append(self._finding(law, case, excused, tried, each))
        rest = search(_breaks(case, but=tuple(known)), given)
        if rest.smallest is not None:
            self.findings.append(self._finding(law, case, rest, tried))

    def _finding(
        self, law: Law, case: Case, found: Search, tried: int, known: Known | None = None
    ) -> LawFinding:
        assert found.smallest is not None
        return LawFinding(
            law=law.name,
            number=law.number,
            sentence=law.sentence,
            meaning=law.meaning,
            helper=case.helper.name,
            stem=self.subject.stems[case.helper.name],
            level=case.helper.level,
            with_=case.with_.name if case.with_ else None,
            failures=found.failures,
            tried=tried,
            rows=tuple(self._rows(case, found.smallest)),
            inputs=known.inputs if known else "",
            reason=known.reason if known else "",
        )

    def _rows(self, case: Case, found: Input) -> Iterator[tuple[str, Value]]:
        info, rules = case.helper.info, self.subject.switches.rules
        outcome = case.outcome(*_arrays(found))
        # a case may change a word into one that its helper accepts
        yield "entry", Value(outcome.entries[0].item(), info.takes, rules)
        if found.argument is not None:
            of_entry = info.argument in ("newprot", "prot", "other")
            kind = case.helper.level if of_entry else "val"
            yield info.argument or "argument", Value(found.argument, kind, rules)
        yield case.labels[0], Value(outcome.one[0].item(), case.kinds[0] or info.gives, rules)
        if outcome.other is not None:
            kind = case.kinds[1] or info.gives
            yield case.labels[1], Value(outcome.other[0].item(), kind, rules)


def _arrays(found: Input) -> tuple[np.ndarray, np.ndarray | None]:
    argument = None if found.argument is None else np.array([found.argument], np.uint64)
    return np.array([found.entry], np.uint64), argument


def _breaks(
    case: Case, only: tuple[Known, ...] | None = None, but: tuple[Known, ...] = ()
) -> Fails:
    """Return the inputs for which a case breaks its law: those of these exceptions, or of none."""

    def fails(entries: Any, arguments: Any) -> Any:
        outcome = case.outcome(entries, arguments)
        broken = case.breaks(outcome)
        if case.applies is not None:
            broken = broken & case.applies(entries, arguments)
        excusable = _complete(outcome)
        for known in but:
            broken = broken & ~known.where(excusable)
        for known in only or ():
            broken = broken & known.where(excusable)
        return broken

    return fails


def _complete(outcome: Outcome) -> Outcome:
    """Return an outcome with an argument of 0 and a second result, if a tree's helper has none."""
    arguments, other = outcome.arguments, outcome.other
    if arguments is None:
        arguments = np.zeros_like(outcome.entries)
    return outcome._replace(arguments=arguments, other=outcome.one if other is None else other)


def _count_applicable(case: Case, given: inputs.Inputs) -> int:
    if case.applies is None:
        return given.entries.size
    return sum(int(np.count_nonzero(case.applies(*block))) for block in blocks(given))


def _is_compiled_out(case: Case, given: inputs.Inputs) -> bool:
    """Tell whether a helper gives what it got and its test says no to everything."""

    def alive(entries: Any, arguments: Any) -> Any:
        outcome: Outcome = case.outcome(entries, arguments)
        return (outcome.one != entries) | outcome.other

    return not fails_anywhere(alive, given)


def _blame_one_level(findings: list[LawFinding], subject: Subject) -> Iterator[LawFinding]:
    """Merge findings of two pairs of levels if the third pair agrees: one level is odd."""
    pairs: dict[str, list[LawFinding]] = {}
    for finding in findings:
        if finding.law == "levels_agree":
            pairs.setdefault(subject.stems[finding.helper], []).append(finding)
    for finding in findings:
        found = pairs.get(subject.stems[finding.helper], [])
        if finding.law != "levels_agree":
            yield finding
        elif len(found) != 2:
            yield _blamed(finding, subject)
        elif finding is found[0]:
            yield _odd_one(*found)


def _blamed(finding: LawFinding, subject: Subject) -> LawFinding:
    """Make the finding about the one of two helpers that is not as in the rules."""
    if (
        finding.with_
        and _is_wrong(finding.with_, subject)
        and not _is_wrong(finding.helper, subject)
    ):
        return _turned(finding)
    return finding


def _is_wrong(name: str, subject: Subject) -> bool:
    """Tell whether a helper differs from the rules that are followed."""
    ours = native(*subject.switches).helpers.get(name)
    helper = subject.engine.helpers[name]
    if ours is None or not comparable(helper, ours):
        return False
    return fails_anywhere(differ(helper, ours), inputs_for(helper, 0))


def _turned(finding: LawFinding) -> LawFinding:
    """Return a finding of two levels that is about the lower one."""
    odd = finding.with_ or finding.helper
    rows = (*finding.rows[:-2], finding.rows[-1], finding.rows[-2])
    return replace(finding, helper=odd, level=odd[:3], with_=finding.helper, rows=rows)


def _odd_one(one: LawFinding, other: LawFinding) -> LawFinding:
    names = {one.helper, one.with_} & {other.helper, other.with_}
    if one.helper in names:
        return one
    if other.helper in names:
        return other
    # it is the lower one of both pairs, so the finding is about it
    return _turned(one)
