# SPDX-License-Identifier: GPL-2.0-only
"""Helpers proved equal to others for every input, or refuted with the smallest one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import z3

from ..checks.report import Report, aligned, bit_names, counted, wrap
from ..checks.report import Value as ShownValue
from ..engines.interface import HelperInfo
from ..engines.switches import COMBINATIONS, RULES, Switches
from . import terms
from .errors import RefusedError
from .lifting import variables
from .machine import ENCRYPTION, PHYSICAL_MASK, PLAIN, PLAIN_SAID, SHSTK
from .solving import Condition, Literal, Question
from .subjects import ARGUMENT, ENTRY, Subject, tree_subject

#: Called as progress(done, total), in helpers.
Progress = Callable[[int, int], None]

#: Helpers that only these rules have.
_OWN = {"cow": ("_mkcow", "_clear_cow"), "saved_dirty": ("_mksaveddirty", "_clear_saveddirty")}


class Expected(NamedTuple):
    """What a helper is held to."""

    term: z3.BitVecRef
    info: HelperInfo


@dataclass(frozen=True)
class Proof:
    """What was found out of one helper.

    status: "proved" (equal for every input), "refuted" or "refused".
    reason: of what is refused; assuming: what was assumed of the machine besides.
    inputs, results: the smallest input that differs and what both sides make of it.
    condition: for which inputs they differ, in words; bits: where results can differ.
    question: whether an input differs, as the solver was asked.
    """

    helper: str
    level: str
    status: str
    reason: str = ""
    assuming: str = ""
    inputs: tuple[tuple[str, ShownValue], ...] = ()
    results: tuple[tuple[str, ShownValue], ...] = ()
    condition: str = ""
    bits: str = ""
    question: Question | None = field(default=None, repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        found: dict[str, Any] = {"helper": self.helper, "level": self.level, "status": self.status}
        if self.reason:
            found["reason"] = self.reason
        if self.assuming:
            found["assuming"] = self.assuming
        if self.inputs:
            found["smallest"] = {name: value.as_dict() for name, value in self.inputs}
            found["results"] = {name: value.as_dict() for name, value in self.results}
            found |= {"condition": self.condition, "bits": self.bits}
        return found

    def __str__(self) -> str:
        head = f"{self.helper}: {self.condition}; smallest:"
        rows: list[tuple[str, object]] = [*self.inputs, *self.results]
        if self.bits:
            rows.append(("can differ in", self.bits))
        return "\n".join([wrap(head, hang="  "), *aligned(rows, indent="    ")])


@dataclass(frozen=True)
class Proofs(Report, Sequence[Proof]):
    """What :func:`prove` found: a sequence of proofs, helper by helper."""

    subject: str
    against: str
    found: tuple[Proof, ...]
    without: tuple[str, ...]  #: helpers that only the subject has
    assumptions: tuple[str, ...]
    paths: int  #: how many ways there are through the helpers that were lifted

    def __getitem__(self, index: Any) -> Any:
        return self.found[index]

    def __len__(self) -> int:
        return len(self.found)

    def _with(self, status: str) -> tuple[Proof, ...]:
        return tuple(each for each in self.found if each.status == status)

    @property
    def proved(self) -> tuple[Proof, ...]:
        """Helpers that are equal for every input."""
        return self._with("proved")

    @property
    def refuted(self) -> tuple[Proof, ...]:
        """Helpers that differ, with the smallest input."""
        return self._with("refuted")

    @property
    def refused(self) -> tuple[Proof, ...]:
        """Helpers of which nothing is proved, with the reason."""
        return self._with("refused")

    @property
    def clean(self) -> bool:
        """Whether no helper differs; what is refused is no difference."""
        return not self.refuted

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "subject": self.subject,
            "against": self.against,
            "clean": self.clean,
            "proved": [each.as_dict() for each in self.proved],
            "refuted": [each.as_dict() for each in self.refuted],
            "refused": [each.as_dict() for each in self.refused],
            "only_in_subject": list(self.without),
            "assumptions": list(self.assumptions),
            "paths": self.paths,
        }

    def __str__(self) -> str:
        lines = [wrap(f"A: {self.subject}", hang="   "), wrap(f"B: {self.against}", hang="   ")]
        lines += [f"\n{each}" for each in self.refuted]
        if self.refused:
            lines.append(f"\n{counted(len(self.refused), 'helper')} refused, not proved:")
            lines += [wrap(f"{each.helper}: {each.reason}", "  ", "    ") for each in self.refused]
        if self.without:
            lines.append("\n" + wrap(f"B has no: {', '.join(self.without)}", hang="  "))
        lines.append("\nfor every machine of which this holds:")
        lines += [wrap(each, "  ", "    ") for each in self.assumptions]
        plain = [each.helper for each in self.proved if each.assuming]
        if plain:
            text = f"and {PLAIN_SAID}, for {', '.join(plain)}"
            lines.append(wrap(text, "  ", "    "))
        verdict = (
            f"{counted(len(self.found), 'helper')}: {len(self.proved)} proved equal for every"
            f" input, {len(self.refuted)} differ, {len(self.refused)} refused"
        )
        return "\n".join([*lines, "", verdict])


def prove(
    tree: str | os.PathLike[str] | Subject,
    against: str | os.PathLike[str] | Subject | None = None,
    *,
    generated: str | os.PathLike[str] | None = None,
    config: Mapping[str, bool] | None = None,
    compiler: str = "gcc",
    flags: str | None = None,
    helpers: Sequence[str] = (),
    certificates: str | os.PathLike[str] | None = None,
    seconds: float = 20.0,
    progress: Progress | None = None,
) -> Proofs:
    """Prove a kernel tree's helpers equal to the reference's, or to another tree's.

    The machine code that the compiler makes of a helper becomes a term of the 64 bits of
    its entry and argument and of the machine; a solver then shows that no input gives
    another result, or finds one.  Nothing of the tree is run.

    tree, against: what :func:`pgtable.kernel_tree` takes, or a subject of
        :func:`pgtable.proofs.subjects.tree_subject`.  ``against`` may also name rules
        ("cow", "base", "saved_dirty"); None: the reference with the rules whose helpers
        the tree has.  Shadow stacks are on and off in one proof.
    generated, config, compiler, flags: as for kernel_tree, of both trees.
    helpers: prove only these.
    certificates: a directory for one SMT-LIB 2 file of each helper that is proved: any
        solver can check that it is ``unsat``.
    seconds: how long one answer of the solver may take.
    progress: called as ``progress(done, total)`` after each helper.

    Raises KernelTreeError for a tree that cannot be compiled, ValueError for a helper that
    the tree has not, OSError for a directory that cannot be written.
    """
    options = {"generated": generated, "config": config, "compiler": compiler, "flags": flags}
    subject = tree if isinstance(tree, Subject) else tree_subject(tree, **options)  # type: ignore[arg-type]
    expected, name, others = _expectations(subject, against, options)
    names = _chosen(subject, helpers)
    shared = [each for each in names if each in expected or each in others]
    found = []
    for done, each in enumerate(shared):
        found.append(_proof(subject, each, expected, others, seconds))
        if progress is not None:
            progress(done + 1, len(shared))
    if certificates is not None:
        _write(Path(certificates), found)
    said = dict(subject.machine.read)
    if isinstance(against, Subject):
        said |= against.machine.read
    without = tuple(each for each in names if each not in shared)
    return Proofs(subject.name, name, tuple(found), without, tuple(said.values()), subject.paths)


def _chosen(subject: Subject, helpers: Sequence[str]) -> list[str]:
    for each in helpers:
        if each not in subject.names:
            raise ValueError(f"{subject.name} has no helper {each}; kernel list shows those it has")
    return [each for each in subject.names if not helpers or each in helpers]


_Expectations = tuple[dict[str, Callable[[], Expected]], str, Mapping[str, str]]


def _expectations(
    subject: Subject, against: str | os.PathLike[str] | Subject | None, options: dict[str, Any]
) -> _Expectations:
    """Return what each helper is held to, whose that is, and what of it is refused."""
    if against is None or (against in RULES and not Path(str(against)).is_dir()):
        rules = _rules_of(subject) if against is None else str(against)
        return _of_reference(rules, subject)
    other = against if isinstance(against, Subject) else tree_subject(against, **options)
    return _of_tree(other, subject), other.name, {}


def _of_tree(other: Subject, subject: Subject) -> dict[str, Callable[[], Expected]]:
    def of(name: str) -> Expected:
        if name not in other.terms:
            other.lift([name])
        if name in other.refused:
            raise RefusedError(f"of the other tree {other.refused[name]}")
        subject.machine.read.update(other.machine.read)
        return Expected(other.terms[name], other.infos[name])

    return {name: lambda name=name: of(name) for name in other.names}  # type: ignore[misc]


def _rules_of(subject: Subject) -> str:
    """Return the rules whose own helpers a tree has."""
    for rules, endings in _OWN.items():
        if any(name.endswith(endings) for name in subject.names):
            return rules
    return "base"


def _of_reference(rules: str, subject: Subject) -> _Expectations:
    config = subject.shadow_stack_option if rules == "cow" else rules != "base"
    settings = [each for each in COMBINATIONS if (each.rules, each.config) == (rules, config)]
    by_setting = [terms.defined(each) for each in settings]

    def of(name: str) -> Expected:
        info = by_setting[0][name][0]
        results = [_applied(each[name]) for each in by_setting]
        term = results[0] if len(results) == 1 else z3.If(SHSTK == 1, *results)
        return Expected(term, info)

    shared = [name for name in by_setting[0] if all(name in each for each in by_setting)]
    text = f"reference({rules!r}"
    text += f", config={config})" if rules == "cow" else ")"
    return {name: lambda name=name: of(name) for name in shared}, text, {}  # type: ignore[misc]


def _applied(helper: tuple[HelperInfo, Callable[..., Any]]) -> z3.BitVecRef:
    info, function = helper
    inputs = [terms.Word(ENTRY), *([terms.Word(ARGUMENT)] if info.argument else [])]
    return terms.word(function(*inputs))


def _proof(
    subject: Subject,
    name: str,
    expected: Mapping[str, Callable[[], Expected]],
    others: Mapping[str, str],
    seconds: float,
) -> Proof:
    level = name[:3]
    try:
        if name in others:
            raise RefusedError(others[name])
        if name not in subject.terms and name not in subject.refused:
            subject.lift([name])
        if name in subject.refused:
            raise RefusedError(subject.refused[name])
        level = subject.infos[name].level
        return _decided(subject, name, expected[name](), seconds)
    except RefusedError as error:
        return Proof(name, level, "refused", reason=str(error))


def _decided(subject: Subject, name: str, wanted: Expected, seconds: float) -> Proof:
    info, term = subject.infos[name], subject.terms[name]
    if (info.kind, info.argument is None) != (wanted.info.kind, wanted.info.argument is None):
        raise RefusedError("takes or gives something else than the other of that name")
    differs = z3.simplify(term != wanted.term)
    about = {str(each) for each in variables(differs)}
    masks = {str(each) for each in (PHYSICAL_MASK, ENCRYPTION)}
    assumptions = subject.machine.assumptions if about & masks else []
    question = Question(differs, assumptions, seconds)
    if question.has_answer() is None:
        return Proof(name, info.level, "proved", question=question)
    plain = Question(_on_plain_machine(differs), (), seconds)
    if plain.has_answer() is None:
        return Proof(name, info.level, "proved", assuming=PLAIN_SAID, question=plain)
    one, other = map(_on_plain_machine, (term, wanted.term))
    return _refuted(info, one, Expected(other, wanted.info), plain)


def _on_plain_machine(term: Any) -> Any:
    return z3.simplify(z3.substitute(term, *((each.arg(0), each.arg(1)) for each in PLAIN)))


def _refuted(info: HelperInfo, term: z3.BitVecRef, wanted: Expected, question: Question) -> Proof:
    variables = [ENTRY, *([ARGUMENT] if info.argument else [])]
    smallest = question.smallest([*variables, SHSTK])
    values = [(each, z3.BitVecVal(smallest[str(each)], each.size())) for each in variables]
    values += [(SHSTK, z3.BitVecVal(smallest["shstk"], 1))]
    one, other = (
        z3.simplify(z3.substitute(each, *values)).as_long() for each in (term, wanted.term)
    )
    entry = ShownValue(smallest["entry"], info.takes, "saved_dirty")
    inputs = [("entry", entry)]
    if info.argument:
        kind = info.level if info.argument in ("newprot", "prot", "other") else "val"
        inputs.append((info.argument, ShownValue(smallest["argument"], kind, "saved_dirty")))
    shown = [
        (label, ShownValue(bool(each) if info.gives == "test" else each, info.gives, "saved_dirty"))
        for label, each in (("A gives", one), ("B gives", other))
    ]
    condition = question.condition([*variables, SHSTK])
    return Proof(
        info.name,
        info.level,
        "refuted",
        inputs=tuple(inputs),
        results=tuple(shown),
        condition=_in_words(condition, info),
        bits="" if info.gives == "test" else _differing(term, wanted.term, question, info.level),
    )


def _differing(one: z3.BitVecRef, other: z3.BitVecRef, question: Question, level: str) -> str:
    """Return the names of the bits of results that can differ."""
    mask = 0
    for bit in range(64):
        if mask >> bit & 1:
            continue
        model = question.has_answer(z3.Extract(bit, bit, one ^ other) == 1)
        if model is not None:
            mask |= model.eval(one ^ other, True).as_long()
    return bit_names(mask, level, "saved_dirty")


def _in_words(condition: Condition, info: HelperInfo) -> str:
    cases = [_named(case, info) or "every entry" for case in condition.cases]
    if condition.exact:
        return f"differs exactly where {'; or where '.join(cases)}"
    some = f"differs among others where {cases[0]}" if cases else "differs"
    if condition.always:
        return f"{some}; every entry that differs has {_named(condition.always, info)}"
    return some


def _named(case: tuple[Literal, ...], info: HelperInfo) -> str:
    """Return fixed bits by name: "Dirty=1,newprot Write=0"."""
    words = []
    for literal in case:
        if literal.variable == "shstk":
            words.append(f"shadow stacks are {'on' if literal.value else 'off'}")
            continue
        name = bit_names(1 << literal.bit, info.level, "saved_dirty")
        name = _STATE.get(literal.bit) or (f"bit {literal.bit}" if name == "frame" else name)
        where = "" if literal.variable == "entry" else f"{info.argument} "
        words.append(f"{where}{name}={literal.value}")
    return ",".join(words)


#: The bits that are always written like this.
_STATE = {1: "Write", 6: "Dirty", 58: "Cow"}


def _write(directory: Path, found: Sequence[Proof]) -> None:
    """Write what is proved as SMT-LIB 2, one file for each helper."""
    directory.mkdir(parents=True, exist_ok=True)
    for each in found:
        if each.status == "proved" and each.question is not None:
            head = f"; {each.helper}: no input gives another result; unsat is the proof\n"
            (directory / f"{each.helper}.smt2").write_text(head + each.question.smt2())


__all__ = ["Proof", "Proofs", "Switches", "prove"]
