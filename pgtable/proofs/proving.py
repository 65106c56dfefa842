# SPDX-License-Identifier: GPL-2.0-only
"""Proves helpers equal to others for every input, or refutes it with the smallest input."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import z3

from ..checks.report import Value as ShownValue
from ..checks.report import bit_names
from ..engines.interface import HelperInfo
from ..engines.switches import COMBINATIONS, RULES
from . import terms
from .errors import RefusedError
from .law_proofs import BOTH, prove_laws, settings_of, told_once
from .lifted_tree import ARGUMENT, ENTRY, LiftedTree, tree_subject
from .lifting import variables
from .machine import ENCRYPTION, PHYSICAL_MASK, PLAIN, PLAIN_SAID, SHSTK
from .results import Proof, Proofs, in_words
from .solving import Question

#: Called as progress(done, total), in helpers.
Progress = Callable[[int, int], None]

#: Helpers that only these rules have.
_OWN = {"cow": ("_mkcow", "_clear_cow"), "saved_dirty": ("_mksaveddirty", "_clear_saveddirty")}


class Expected(NamedTuple):
    """What a helper is compared with."""

    term: z3.BitVecRef
    info: HelperInfo


def prove_helpers(
    tree: str | os.PathLike[str] | LiftedTree,
    against: str | os.PathLike[str] | LiftedTree | None,
    options: Mapping[str, Any],
    helpers: Sequence[str],
    laws: bool,
    certificates: str | os.PathLike[str] | None,
    seconds: float,
    progress: Progress | None,
) -> Proofs:
    """Do what :func:`pgtable.prove` says.

    options: generated, config, compiler and flags, as for :func:`pgtable.kernel_tree`.
    """
    subject = tree if isinstance(tree, LiftedTree) else tree_subject(tree, **options)
    expected, name, others = _expectations(subject, against, options)
    names = _chosen(subject, helpers)
    shared = [each for each in names if each in expected or each in others]
    found = []
    for done, each in enumerate(shared):
        found.append(_proof(subject, each, expected, others, seconds))
        if progress is not None:
            progress(done + 1, len(shared))
    about_laws = _laws(subject, against, names, seconds) if laws else ()
    if certificates is not None:
        _write(Path(certificates), [*found, *about_laws])
    said = dict(subject.machine.read)
    if isinstance(against, LiftedTree):
        said |= against.machine.read
    without = tuple(each for each in names if each not in shared)
    return Proofs(
        subject.name, name, tuple(found), without, tuple(said.values()), subject.paths, about_laws
    )


def _laws(
    subject: LiftedTree, against: object, names: Sequence[str], seconds: float
) -> tuple[Proof, ...]:
    """Return the proofs of all laws."""
    subject.lift(name for name in names if name not in subject.terms | subject.refused)
    rules = against if isinstance(against, str) and against in RULES else rules_of(subject)
    config = subject.shadow_stack_option if rules == "cow" else rules != "base"
    settings = settings_of(str(rules), config, subject.machine.feature is not None)
    return tuple(told_once(prove_laws(subject, settings, seconds)))


def _chosen(subject: LiftedTree, helpers: Sequence[str]) -> list[str]:
    for each in helpers:
        if each not in subject.names:
            raise ValueError(f"{subject.name} has no helper {each}; kernel list shows those it has")
    return [each for each in subject.names if not helpers or each in helpers]


_Expectations = tuple[dict[str, Callable[[], Expected]], str, Mapping[str, str]]


def _expectations(
    subject: LiftedTree,
    against: str | os.PathLike[str] | LiftedTree | None,
    options: Mapping[str, Any],
) -> _Expectations:
    """Return what each helper is compared with, the name of that, and what is refused."""
    if against is None or (against in RULES and not Path(str(against)).is_dir()):
        rules = rules_of(subject) if against is None else str(against)
        return _of_reference(rules, subject)
    other = against if isinstance(against, LiftedTree) else tree_subject(against, **options)
    return _of_tree(other, subject), other.name, {}


def _of_tree(other: LiftedTree, subject: LiftedTree) -> dict[str, Callable[[], Expected]]:
    def of(name: str) -> Expected:
        if name not in other.terms:
            other.lift([name])
        if name in other.refused:
            raise RefusedError(f"of the other tree {other.refused[name]}")
        subject.machine.read.update(other.machine.read)
        return Expected(other.terms[name], other.infos[name])

    return {name: lambda name=name: of(name) for name in other.names}  # type: ignore[misc]


def rules_of(subject: LiftedTree) -> str:
    """Return the rules whose own helpers a tree has."""
    for rules, endings in _OWN.items():
        if any(name.endswith(endings) for name in subject.names):
            return rules
    return "base"


def _of_reference(rules: str, subject: LiftedTree) -> _Expectations:
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
    subject: LiftedTree,
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


def _decided(subject: LiftedTree, name: str, wanted: Expected, seconds: float) -> Proof:
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
        condition=in_words(condition, info),
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


def _write(directory: Path, found: Sequence[Proof]) -> None:
    """Write what is proved as SMT-LIB 2, one file for each helper."""
    directory.mkdir(parents=True, exist_ok=True)
    for each in found:
        if each.status == "proved" and each.question is not None:
            about = f"{each.helper}, law {each.law}" if each.law else each.helper
            head = f"; {about}: no input is otherwise; unsat is the proof\n"
            (directory / f"{_file_name(each)}.smt2").write_text(head + each.question.smt2())


def _file_name(proof: Proof) -> str:
    setting = proof.assuming.split(" ")[-1] if proof.law and proof.assuming != BOTH else ""
    return "-".join(filter(None, (proof.helper, proof.law, proof.with_, setting)))
