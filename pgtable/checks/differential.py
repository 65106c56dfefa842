# SPDX-License-Identifier: GPL-2.0-only
"""The differential test: two engines on the same entries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np

from ..engines.interface import Engine, Helper
from ..engines.reference import reference
from . import inputs
from .report import Report, Value, aligned, bit_names, call, counted, differing, rules_of, wrap
from .search import Input, search, size

#: How many inputs of a helper are also passed as ints: both, and the argument alone.
INTS = 64

#: Called as progress(done, total), in helpers.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Example:
    """One input, and the results of the two engines."""

    entry: Value
    argument: Value | None
    argument_name: str | None
    results: tuple[Value, Value]
    level: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "entry": self.entry.as_dict(),
            "argument": self.argument.as_dict() if self.argument else None,
            "engine": self.results[0].as_dict(),
            "against": self.results[1].as_dict(),
        }

    def rows(self) -> list[tuple[str, Value]]:
        """Return what the helper was called with."""
        rows = [("entry", self.entry)]
        if self.argument:
            rows.append((self.argument_name or "argument", self.argument))
        return rows

    def lines(self) -> list[str]:
        """Return it as lines of text."""
        rows: list[tuple[str, object]] = list(self.rows())
        rows += [("A gives", self.results[0]), ("B gives", self.results[1])]
        one, other = self.results
        if one.kind not in ("test", "val", "swp"):
            differing = int(one.value) ^ int(other.value)
            rows.append(("differing", bit_names(differing, self.level, one.rules)))
        return aligned(rows, indent="    ")


@dataclass(frozen=True)
class Difference:
    """A helper that two engines compute differently."""

    helper: str
    level: str
    tried: int
    differ: int  #: how many of the tried inputs
    example: Example  #: the input with the fewest bits set, of these the lowest
    how: str = "arrays"  #: "arrays"; "ints" if only calls with an int differ

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "helper": self.helper,
            "level": self.level,
            "tried": self.tried,
            "differ": self.differ,
            "called_with": self.how,
            "smallest": self.example.as_dict(),
        }

    def __str__(self) -> str:
        only = "" if self.how == "arrays" else f" (called with {self.how})"
        head = f"{self.helper}: {self.differ:,} of {self.tried:,} inputs differ{only}; smallest:"
        return "\n".join([head, *self.example.lines()])


@dataclass(frozen=True)
class CheckResult(Report, Sequence[Difference]):
    """What :func:`check` found: a sequence of differences, and what was compared."""

    engine: str
    against: str
    differences: tuple[Difference, ...]
    helpers: int  #: how many helpers both have; these were compared
    inputs: int  #: how many inputs they were compared on, altogether
    only_in_engine: tuple[str, ...]
    only_in_against: tuple[str, ...]
    incomparable: tuple[str, ...]  #: same name, but other parameters or another result

    @overload
    def __getitem__(self, index: int) -> Difference: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Difference]: ...
    def __getitem__(self, index: int | slice) -> Difference | Sequence[Difference]:
        return self.differences[index]

    def __len__(self) -> int:
        return len(self.differences)

    @property
    def clean(self) -> bool:
        """Whether both engines have the same helpers and compute the same."""
        return not (
            self.differences or self.only_in_engine or self.only_in_against or self.incomparable
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "engine": self.engine,
            "against": self.against,
            "clean": self.clean,
            "helpers": self.helpers,
            "inputs": self.inputs,
            "only_in_engine": list(self.only_in_engine),
            "only_in_against": list(self.only_in_against),
            "incomparable": list(self.incomparable),
            "differences": [difference.as_dict() for difference in self.differences],
        }

    def __str__(self) -> str:
        lines = [wrap(f"A: {self.engine}", hang="   "), wrap(f"B: {self.against}", hang="   ")]
        for what, names in (
            ("only in A", self.only_in_engine),
            ("only in B", self.only_in_against),
            ("other parameters or results", self.incomparable),
        ):
            if names:
                lines.append(wrap(f"{what}: {', '.join(names)}", hang="  "))
        lines += [f"\n{difference}" for difference in self.differences]
        verdict = "no difference" if not self.differences else differing(len(self))
        spacer = "\n" if self.differences else ""
        helpers = counted(self.helpers, "helper")
        lines.append(f"{spacer}{helpers}, {self.inputs:,} inputs: {verdict}")
        return "\n".join(lines)


def check(
    engine: Engine,
    against: Engine | Callable[..., Engine] | None = None,
    *,
    random_entries: int = 1_000_000,
    seed: int = inputs.SEED,
    progress: Progress | None = None,
) -> CheckResult:
    """Compare two engines bit for bit, on every helper that both have.

    against: another engine, or a function that makes one out of switches; None:
        the reference with the engine's own switches.
    random_entries: how many random inputs each helper gets besides every
        combination of the bits that helpers look at (:mod:`.inputs`).
    progress: called as ``progress(done, total)`` after each helper.

    Each helper is called with arrays, and on a sample with ints.  The result is
    a sequence of :class:`Difference`, empty if there are none.  Raises ValueError
    if ``against`` is None and the engine has no switches.
    """
    against = _other(engine, against)
    shared = [name for name in engine.helpers if name in against.helpers]
    found: list[Difference] = []
    incomparable: list[str] = []
    tried = 0
    for done, name in enumerate(shared):
        helper, other = engine.helpers[name], against.helpers[name]
        if comparable(helper, other):
            given = inputs_for(helper, random_entries, seed)
            tried += given.entries.size
            found += _compare(helper, other, given)
        else:
            incomparable.append(name)
        if progress is not None:
            progress(done + 1, len(shared))
    return CheckResult(
        engine=engine.name,
        against=against.name,
        differences=tuple(found),
        helpers=len(shared) - len(incomparable),
        inputs=tried,
        only_in_engine=tuple(name for name in engine.helpers if name not in against.helpers),
        only_in_against=tuple(name for name in against.helpers if name not in engine.helpers),
        incomparable=tuple(incomparable),
    )


def comparable(helper: Helper, other: Helper) -> bool:
    """Tell whether two helpers of one name take and give the same kinds of words."""
    return helper.kind == other.kind and (helper.argument is None) == (other.argument is None)


def inputs_for(helper: Helper, random_entries: int, seed: int = inputs.SEED) -> inputs.Inputs:
    """Return the inputs for a helper."""
    make = inputs.single if helper.argument is None else inputs.paired
    return make(random_entries, seed)


def differ(helper: Helper, other: Helper) -> Callable[[Any, Any], np.ndarray]:
    """Return the function that tells for which inputs two helpers give different results."""
    return lambda entries, arguments: (
        call(helper, entries, arguments) != call(other, entries, arguments)
    )


#: What a helper should give, as a function of entries and arguments; None: what it gives.
Expected = Callable[[Any, Any], Any] | None


def example(
    helper: Helper, other: Helper, found: Input, expected: Sequence[Expected] = (None, None)
) -> Example:
    """Return an input with the results of two helpers, or with the expected one."""
    info = helper.info
    rules = common_rules(helper, other)
    one, two = (
        _result(each, found, should) for each, should in zip((helper, other), expected, strict=True)
    )
    argument = None if found.argument is None else Value(found.argument, "val", rules)
    if argument is not None and info.argument in ("newprot", "prot", "other"):
        argument = Value(argument.value, helper.level, rules)
    return Example(
        entry=Value(found.entry, info.takes, rules),
        argument=argument,
        argument_name=info.argument,
        results=(Value(one, info.gives, rules), Value(two, info.gives, rules)),
        level=helper.level,
    )


def common_rules(helper: Helper, other: Helper) -> str:
    """Return the rules whose bit names both results use: those of the side that has Cow."""
    rules = [rules_of(each.engine) for each in (helper, other)]
    return next((each for each in rules if each != "base"), "base")


def _result(helper: Helper, found: Input, expected: Expected) -> int | bool:
    entries = np.array([found.entry], np.uint64)
    arguments = None if found.argument is None else np.array([found.argument], np.uint64)
    if expected is not None:
        return expected(entries, arguments)[0].item()
    return call(helper, entries, arguments)[0].item()


def _other(engine: Engine, against: Engine | Callable[..., Engine] | None) -> Engine:
    if isinstance(against, Engine):
        return against
    switches = getattr(engine, "switches", None)
    if switches is None:
        raise ValueError(f"{engine.name} has no switches of its own; say what to check it against")
    kernel = getattr(engine, "kernel", None)
    named = {} if kernel is None else {"kernel": kernel}
    return (against or reference)(*switches, **named)


def _compare(helper: Helper, other: Helper, given: inputs.Inputs) -> Iterator[Difference]:
    result = search(differ(helper, other), given)
    if result.smallest is not None:
        shown = example(helper, other, result.smallest)
        yield Difference(helper.name, helper.level, result.tried, result.failures, shown)
        return
    yield from _compare_ints(helper, other, given)


def _compare_ints(helper: Helper, other: Helper, given: inputs.Inputs) -> Iterator[Difference]:
    """Compare calls with ints, which may take another path through an engine."""
    tried, wrong = 0, []
    for found, entries in _int_inputs(given):
        one, two = call(helper, entries, found.argument), call(other, entries, found.argument)
        tried += 1
        if type(one) is not type(two) or not np.array_equal(one, two):
            wrong.append(_first_wrong(found, entries, one, two))
    if wrong:
        found, one, two = min(wrong, key=lambda each: size(each[0]))
        shown = example(helper, other, found)
        results = [replace(shown.results[i], value=value) for i, value in enumerate((one, two))]
        shown = replace(shown, results=(results[0], results[1]))
        yield Difference(helper.name, helper.level, tried, len(wrong), shown, how="ints")


def _int_inputs(given: inputs.Inputs) -> Iterator[tuple[Input, Any]]:
    """Yield single entries, and one argument with many entries."""
    chosen = np.linspace(0, given.entries.size - 1, INTS).astype(np.intp)
    for i in chosen:
        entry = int(given.entries[i])
        argument = None if given.arguments is None else int(given.arguments[i])
        yield Input(entry, argument), entry
        if argument is not None:
            yield Input(entry, argument), given.entries[chosen]


def _first_wrong(found: Input, entries: Any, one: Any, two: Any) -> tuple[Input, Any, Any]:
    if isinstance(entries, int):
        return found, one, two
    i = np.flatnonzero(one != two)[0]
    return Input(int(entries[i]), found.argument), one[i].item(), two[i].item()
