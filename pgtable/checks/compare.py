# SPDX-License-Identifier: GPL-2.0-only
"""Compares two engines, or two levels of one: which helpers differ, and for which inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, overload

from ..engines.interface import Engine, Helper
from .classes import InputClass, classify
from .differential import (
    Difference,
    Expected,
    Progress,
    common_rules,
    comparable,
    differ,
    example,
    inputs_for,
)
from .followed_rules import Recognition, recognise
from .report import Report, differing, wrap
from .search import search
from .subject import LEVELS, name_of, stem_of
from .variants import Variant, variants_of


@dataclass(frozen=True)
class ClassifiedDifference:
    """A helper that two engines compute differently, and on which inputs."""

    difference: Difference
    inputs: InputClass

    @property
    def helper(self) -> str:
        """The helper's name; if two levels are compared, both names: ``pte_write/pud_write``."""
        return self.difference.helper

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            **self.difference.as_dict(),
            "inputs": str(self.inputs),
            "inputs_exact": self.inputs.exact,
        }

    def __str__(self) -> str:
        difference = self.difference
        count = f"{difference.differ:,} of {difference.tried:,} inputs differ; smallest:"
        return "\n".join(
            [
                wrap(f"{self.helper}: {self.inputs}", hang="  "),
                f"  {count}",
                *difference.example.lines(),
            ]
        )


@dataclass(frozen=True)
class KnownDifference:
    """A helper that differs from our rules, in the same way in all trees like this one."""

    helper: str
    differ: int  #: how many of the tried inputs
    tried: int
    inputs: str  #: what differs, in words
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Comparison(Report, Sequence[ClassifiedDifference]):
    """What :func:`compare` and :func:`compare_levels` found: a sequence of differences."""

    a: str
    b: str
    recognised: tuple[Recognition | None, Recognition | None]
    differences: tuple[ClassifiedDifference, ...]
    same: tuple[str, ...]  #: helpers that compute the same
    only_in_a: tuple[str, ...]
    only_in_b: tuple[str, ...]
    incomparable: tuple[str, ...]  #: same name, but other parameters or another result
    known: tuple[KnownDifference, ...] = ()  #: of a tree and our rules: no findings

    @overload
    def __getitem__(self, index: int) -> ClassifiedDifference: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ClassifiedDifference]: ...
    def __getitem__(
        self, index: int | slice
    ) -> ClassifiedDifference | Sequence[ClassifiedDifference]:
        return self.differences[index]

    def __len__(self) -> int:
        return len(self.differences)

    @property
    def clean(self) -> bool:
        """Whether all helpers that both have compute the same, apart from known differences."""
        return not (self.differences or self.incomparable)

    @property
    def complete(self) -> bool:
        """Whether both have the same helpers."""
        return not (self.only_in_a or self.only_in_b)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "a": self.a,
            "b": self.b,
            "recognised": [each.as_dict() if each else None for each in self.recognised],
            "clean": self.clean,
            "complete": self.complete,
            "only_in_a": list(self.only_in_a),
            "only_in_b": list(self.only_in_b),
            "incomparable": list(self.incomparable),
            "same": list(self.same),
            "differences": [difference.as_dict() for difference in self.differences],
            "known_differences": [known.as_dict() for known in self.known],
        }

    def __str__(self) -> str:
        lines = []
        for label, name, found in zip("AB", (self.a, self.b), self.recognised, strict=True):
            lines.append(wrap(f"{label}: {name}", hang="   "))
            if found:
                lines.append(wrap(" ".join(str(found).split()), "   ", "     "))
        for what, names in (
            ("only in A", self.only_in_a),
            ("only in B", self.only_in_b),
            ("other parameters or results", self.incomparable),
        ):
            if names:
                lines.append(wrap(f"{what}: {', '.join(names)}", hang="  "))
        lines += [f"\n{difference}" for difference in self.differences]
        lines += ["", *self.known_lines()] if self.known else []
        but_for = f", {differing(len(self.known))} as is known" if self.known else ""
        lines.append(f"\n{len(self.same)} the same, {differing(len(self))}{but_for}")
        return "\n".join(lines)

    def known_lines(self) -> list[str]:
        """Return the known differences as text, each reason once."""
        groups: dict[tuple[str, str], list[str]] = {}
        for known in self.known:
            groups.setdefault((known.inputs, known.reason), []).append(known.helper)
        lines = ["known differences, no findings:"] if groups else []
        for (inputs, reason), helpers in groups.items():
            lines.append(wrap(f"{', '.join(helpers)}: {inputs}", "  ", "    "))
            lines.append(wrap(f"({reason})", "    ", "     "))
        return lines


def compare(a: Engine, b: Engine, *, progress: Progress | None = None) -> Comparison:
    """Compare any two engines helper by helper, over all bits that matter.

    progress: called as ``progress(done, total)`` after each helper.

    Returns the helpers that only one of them has, and those that differ, each with the class of
    inputs for which it differs (``Write=0,Dirty=1``) and the smallest input.  Known differences of
    trees that lack something are in ``.known``.
    """
    shared = [name for name in a.helpers if name in b.helpers]
    differences, same, incomparable, known = [], [], [], []
    for done, name in enumerate(shared):
        one, other = a.helpers[name], b.helpers[name]
        if not comparable(one, other):
            incomparable.append(name)
        elif isinstance(found := _difference(name, one, other), KnownDifference):
            known.append(found)
        elif found:
            differences.append(found)
        else:
            same.append(name)
        if progress is not None:
            progress(done + 1, len(shared))
    return Comparison(
        a=a.name,
        b=b.name,
        recognised=(_recognised(a), _recognised(b)),
        differences=tuple(differences),
        same=tuple(same),
        only_in_a=tuple(name for name in a.helpers if name not in b.helpers),
        only_in_b=tuple(name for name in b.helpers if name not in a.helpers),
        incomparable=tuple(incomparable),
        known=tuple(known),
    )


def compare_levels(engine: Engine, lower: str = "pte", upper: str = "pmd") -> Comparison:
    """Compare the helpers of one level (A) with their namesakes of another (B).

    Returns what :func:`compare` does; raises ValueError for what is no level.
    """
    for level in (lower, upper):
        if level not in LEVELS:
            raise ValueError(f"no such level: {level!r}; these exist: {', '.join(LEVELS)}")
    helpers = [helper for helper in engine.helpers.values() if helper.level in (lower, upper)]
    stems = dict.fromkeys(stem_of(helper) for helper in helpers)
    differences, same, incomparable = [], [], []
    only: dict[str, list[str]] = {lower: [], upper: []}
    for stem in stems:
        names = [name_of(stem, level) for level in (lower, upper)]
        found = [engine.helpers.get(name) for name in names]
        one, other = found
        if one is None or other is None:
            there = one or other
            assert there is not None
            only[there.level].append(there.name)
        elif not comparable(one, other):
            incomparable.append("/".join(names))
        elif isinstance(
            difference := _difference("/".join(names), one, other), ClassifiedDifference
        ):
            differences.append(difference)
        else:
            same.append("/".join(names))
    return Comparison(
        a=f"{lower} of {engine.name}",
        b=f"{upper} of {engine.name}",
        recognised=(None, None),
        differences=tuple(differences),
        same=tuple(same),
        only_in_a=tuple(only[lower]),
        only_in_b=tuple(only[upper]),
        incomparable=tuple(incomparable),
    )


def level_pairs() -> list[tuple[str, str]]:
    """Return the pairs of levels that :func:`compare_levels` takes."""
    return list(combinations(LEVELS, 2))


def _recognised(engine: Engine) -> Recognition | None:
    """Find out the rules of an engine that does not say them."""
    return None if getattr(engine, "switches", None) else recognise(engine)


def _difference(
    name: str, one: Helper, other: Helper
) -> ClassifiedDifference | KnownDifference | None:
    where = differ(one, other)
    given = inputs_for(one, 0)
    found = search(where, given)
    if found.smallest is None:
        return None
    expected: list[Expected] = [None, None]
    for variant, tree, ours in _variants(one, other):
        odd = search(variant.differ(tree, ours), given)
        if odd.smallest is None:
            return KnownDifference(
                name, found.failures, found.tried, variant.inputs, variant.reason
            )
        if odd.failures < found.failures:
            # this known difference is nearer, so what differs from it is what is wrong
            where, found = variant.differ(tree, ours), odd
            expected = [variant.expected(ours) if side is ours else None for side in (one, other)]
    assert found.smallest is not None
    shown = example(one, other, found.smallest, expected)
    difference = Difference(name, one.level, found.tried, found.failures, shown)
    rules = common_rules(one, other)
    inputs = classify(where, given, level=one.level, rules=rules, argument=one.argument)
    return ClassifiedDifference(difference, inputs)


def _variants(one: Helper, other: Helper) -> Iterator[tuple[Variant, Helper, Helper]]:
    """Yield known differences of the side that is a tree, with (the tree's helper, ours)."""
    for tree, ours in ((one, other), (other, one)):
        for variant in variants_of(tree, ours):
            yield variant, tree, ours
