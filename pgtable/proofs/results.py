# SPDX-License-Identifier: GPL-2.0-only
"""Results of proofs: proved, refuted with the smallest input, or refused with the reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..checks.report import Report, aligned, bit_names, counted, wrap
from ..checks.report import Value as ShownValue
from ..engines.interface import HelperInfo
from .machine import PLAIN_SAID
from .solving import DifferenceCondition, Literal, Question

#: The possible results of a proof.  Of laws there is "excused", too, where it is asked for.
STATUSES = ("proved", "refuted", "refused")


@dataclass(frozen=True)
class Proof:
    """The result for one helper.

    status: "proved" (equal for every input), "refuted" or "refused".
    reason: why it is refused; assuming: what else was assumed of the machine.
    inputs, results: the smallest input that differs, and both results.
    condition: for which inputs they differ, in words; bits: where results can differ.
    question: the question to the solver, whether an input differs.
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
    law: str = ""
    meaning: str = ""  #: what breaking the law means for a user
    with_: str = ""  #: the other helper that a law is about
    excuse: str = ""  #: the reason of the known exception that a refuted law is
    is_defect: bool = False  #: that exception is a defect of the rules
    question: Question | None = field(default=None, repr=False, compare=False)
    find: Callable[[], Proof] | None = field(default=None, repr=False, compare=False)

    def detailed(self) -> Proof:
        """Return this with the smallest input, which takes the solver a moment."""
        if self.find is None:
            return self
        found = self.find()
        return replace(self, find=None, inputs=found.inputs, results=found.results)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        found: dict[str, Any] = {"helper": self.helper, "level": self.level, "status": self.status}
        if self.law:
            found |= {"law": self.law, "meaning": self.meaning, "with": self.with_ or None}
        if self.reason:
            found["reason"] = self.reason
        if self.assuming:
            found["assuming"] = self.assuming
        if self.inputs:
            found["smallest"] = {name: value.as_dict() for name, value in self.inputs}
            found["results"] = {name: value.as_dict() for name, value in self.results}
            found |= {"condition": self.condition, "bits": self.bits}
        return found

    def refusal(self) -> str:
        """Return what was refused, and why."""
        of_law = f"{self.law}, {self.assuming}: " if self.law else ""
        return f"{of_law}{self.helper}: {self.reason}"

    def __str__(self) -> str:
        name = f"{self.helper} (with {self.with_})" if self.with_ else self.helper
        if self.law:
            name = f"{self.law}: {name}, {self.assuming}"
        head = f"{name}: {self.condition}; smallest:"
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
    paths: int  #: the number of paths through the lifted helpers
    laws: tuple[Proof, ...] = ()  #: of every law, helper and setting, where they were asked for

    def __getitem__(self, index: Any) -> Any:
        return self.found[index]

    def __len__(self) -> int:
        return len(self.found)

    def _with(self, status: str) -> tuple[Proof, ...]:
        return tuple(each for each in (*self.found, *self.laws) if each.status == status)

    @property
    def proved(self) -> tuple[Proof, ...]:
        """Helpers that are equal for every input; laws that hold for every input."""
        return self._with("proved")

    @property
    def refuted(self) -> tuple[Proof, ...]:
        """Helpers that differ and laws that are broken, with the smallest input."""
        return self._with("refuted")

    @property
    def refused(self) -> tuple[Proof, ...]:
        """Helpers and laws of which nothing is proved, with the reason."""
        return self._with("refused")

    @property
    def clean(self) -> bool:
        """Whether no helper differs.  Refused helpers do not count."""
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
            lines.append(f"\nrefused, not proved: {len(self.refused)}")
            lines += [wrap(each.refusal(), "  ", "    ") for each in self.refused]
        if self.without:
            lines.append("\n" + wrap(f"B has no: {', '.join(self.without)}", hang="  "))
        lines += ["", *self._assumption_lines(), "", self._verdict(self.found, "helper", "differ")]
        if self.laws:
            lines.append(self._verdict(self.laws, "case of a law", "are broken", "cases of laws"))
        return "\n".join(lines)

    def _assumption_lines(self) -> list[str]:
        lines = ["for every machine of which this holds:"]
        lines += [wrap(each, "  ", "    ") for each in self.assumptions]
        plain = [each.helper for each in self.proved if each.assuming == PLAIN_SAID]
        if plain:
            text = f"and {PLAIN_SAID}, for {', '.join(plain)}"
            lines.append(wrap(text, "  ", "    "))
        if self.laws:
            lines.append(wrap(f"and {PLAIN_SAID}, for the laws", "  ", "    "))
        return lines

    @staticmethod
    def _verdict(proofs: Sequence[Proof], what: str, wrong: str, many: str | None = None) -> str:
        numbers = {one: sum(each.status == one for each in proofs) for one in STATUSES}
        how_many = f"{len(proofs):,} {many}" if many else counted(len(proofs), what)
        proved = "proved for every input" if many else "proved equal for every input"
        return (
            f"{how_many}: {numbers['proved']:,} {proved}, {numbers['refuted']} {wrong},"
            f" {numbers['refused']} refused"
        )


def in_words(
    condition: DifferenceCondition, info: HelperInfo, differs: str = "differs", who: str = "differs"
) -> str:
    """Return for which inputs a helper differs (or whatever ``differs`` says), by names of bits."""
    cases = [_named(case, info) or "every entry" for case in condition.cases]
    if condition.exact:
        return f"{differs} exactly where {'; or where '.join(cases)}"
    some = f"{differs} among others where {cases[0]}" if cases else differs
    if condition.always:
        return f"{some}; every entry that {who} has {_named(condition.always, info)}"
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
