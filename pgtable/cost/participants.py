# SPDX-License-Identifier: GPL-2.0-only
"""The participants of a plan: each helper of each source, compiled in each way, on each mix."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..engines.interface import Engine, HelperInfo
from ..kernel_trees import KernelTreeError
from .entries import from_file
from .helper_sources import (
    Compiler,
    LibraryRequest,
    MeasuredTree,
    OurRules,
    TimedLibrary,
    build,
    find_compiler,
)
from .mixes import FILE, MIXES, SAVED, entries_of
from .plan import SHAPES, Plan, PlanPart
from .runner import POOL_ENTRIES
from .ways import Way, way_of

#: a protection that mprotect() gives a page: user mode may read it, and not execute it
_NEWPROT = 1 << 63 | 1 << 5 | 1 << 2 | 1 << 0
#: Name of a second argument -> its value.  Other arguments are 1.
_ARGUMENTS = {"newprot": _NEWPROT, "prot": _NEWPROT, "vma": 0, "mask": 1 << 5, "other": 0}

#: A function that gets a line for each thing that is not measured, and why.
Note = Callable[[str], None]


class Participant(NamedTuple):
    """What one row of the result is about."""

    subject: OurRules | MeasuredTree
    helper: str
    way: Way
    compiler: Compiler
    mix: str
    shape: str

    @property
    def params(self) -> dict[str, Any]:
        """Return what identifies the row."""
        return {
            "helper": self.helper,
            **self.subject.params,
            "way": self.way.name,
            "compiler": self.compiler.name,
            "mix": self.mix,
            "shape": self.shape,
        }

    @property
    def name(self) -> str:
        """Return its name in error messages."""
        params = self.params
        return f"{params.pop('helper')} ({', '.join(map(str, params.values()))})"


class Participants:
    """All participants of a plan, compiled, with their entries and the expected results."""

    def __init__(self, plan: Plan, note: Note, compiled: Callable[[float], None]):
        self.plan = plan
        self._note = note
        self._noted: set[str] = set()
        self._compiled = compiled
        self._compilers: dict[str, Compiler | None] = {}
        self._files: dict[str, np.ndarray] = {}
        self._paths: dict[str, str] = {}
        self._oracles: dict[OurRules | MeasuredTree, Engine] = {}
        helpers = tuple(dict.fromkeys(name for part in plan.parts for name in part.helpers))
        self._helpers = helpers
        for part in plan.parts:
            _require_something(part)
        self.first_compiler = self._first_compiler()
        candidates = [one for part in plan.parts for one in self._expand(part)]
        self._require_known(candidates)
        self.contenders = list(dict.fromkeys(one for one in candidates if self._has(one)))
        self._require_distinct()
        self.libraries = self._build()

    def note(self, text: str) -> None:
        """Report a note, but only once."""
        if text not in self._noted:
            self._noted.add(text)
            self._note(text)

    def compiler(self, name: str) -> Compiler | None:
        """Return a compiler; None, with a note, if it is not installed."""
        if name not in self._compilers:
            try:
                self._compilers[name] = find_compiler(name)
            except KernelTreeError as error:
                self._compilers[name] = None
                self.note(f"not measured with {name}: {error}")
        return self._compilers[name]

    def _first_compiler(self) -> Compiler:
        """Return the first compiler of the plan that is installed; raises an error if none is."""
        names = dict.fromkeys(name for part in self.plan.parts for name in part.compilers)
        for name in names:
            if compiler := self.compiler(name):
                return compiler
        return find_compiler(next(iter(names)))

    def _expand(self, part: PlanPart) -> Iterator[Participant]:
        shapes = [_known("shape", shape, SHAPES) for shape in part.shapes]
        subjects: list[OurRules | MeasuredTree] = [OurRules(switches) for switches in part.rules]
        subjects += [MeasuredTree(one, self.first_compiler, self._helpers) for one in part.kernels]
        mixes = [_known("mix", mix, MIXES) for mix in part.mixes]
        mixes += [self._file(path) for path in part.files]
        ways = [way_of(name, self.plan.isa) for name in part.ways]
        compilers = [one for one in map(self.compiler, part.compilers) if one]
        for helper in part.helpers:
            for mix in mixes:
                for shape in shapes:
                    for way in ways:
                        # a chain of results cannot be vector code
                        if way.name == "vector" and shape == "latency":
                            continue
                        for compiler in compilers:
                            for subject in subjects:
                                yield Participant(subject, helper, way, compiler, mix, shape)

    def _file(self, path: str | os.PathLike[str]) -> str:
        name = FILE + Path(path).name
        if self._paths.setdefault(name, os.path.abspath(path)) != os.path.abspath(path):
            raise ValueError(f"{path}: another file is called so too; rename one of them")
        if name not in self._files:
            self._files[name] = from_file(path, POOL_ENTRIES)
        return name

    def oracle(self, subject: OurRules | MeasuredTree) -> Engine:
        """Return the engine that says what a subject's helpers must compute."""
        if subject not in self._oracles:
            self._oracles[subject] = subject.oracle(self._helpers)
        return self._oracles[subject]

    def _has(self, contender: Participant) -> bool:
        return contender.helper in self.oracle(contender.subject).helpers

    def _require_known(self, contenders: list[Participant]) -> None:
        """Raise an error for a helper that no source has; note which sources lack which helpers."""
        subjects = dict.fromkeys(one.subject for one in contenders)
        for helper in dict.fromkeys(one.helper for one in contenders):
            owners = [one for one in subjects if helper in self.oracle(one).helpers]
            if not owners:
                reasons = [one.why_missing(helper) for one in subjects]
                if reason := next(filter(None, reasons), None):
                    raise ValueError(reason)
                self.oracle(next(iter(subjects))).helper(helper)  # raises with similar names
            for subject in subjects:
                if subject not in owners and (reason := subject.why_missing(helper)):
                    self.note(f"not measured: {reason}")

    def _require_distinct(self) -> None:
        """Raise an error if two participants have the same parameters in results."""
        names: set[str] = set()
        for one in self.contenders:
            if one.name in names:
                raise ValueError(
                    f"there are two of {one.name}; measure trees of one release, or one compiler"
                    " by two names, one after the other"
                )
            names.add(one.name)

    def _build(self) -> dict[LibraryRequest, TimedLibrary]:
        """Compile everything, on all processors."""
        requests = list(dict.fromkeys(self.request(one) for one in self.contenders))

        def compile_one(one: LibraryRequest) -> TimedLibrary | None:
            try:
                library = build(one)
            except KernelTreeError as error:
                self.note(f"not measured: {error}")
                library = None
            self._compiled(1 / len(requests))
            return library

        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            done = list(pool.map(compile_one, requests))
        found = {one: library for one, library in zip(requests, done, strict=True) if library}
        if not found:
            raise ValueError("nothing could be compiled; the notes above say why")
        self.contenders = [
            one
            for one in self.contenders
            if (library := found.get(self.request(one))) and one.helper in library.sizes
        ]
        return found

    def request(self, contender: Participant) -> LibraryRequest:
        """Return the library of a participant."""
        helpers = tuple(
            name for name in self._helpers if name in self.oracle(contender.subject).helpers
        )
        return LibraryRequest(contender.subject, contender.way, contender.compiler, helpers)

    def entries(self, contender: Participant) -> tuple[np.ndarray, np.ndarray]:
        """Return the entries of a participant's mix, for one pool, and the expected results."""
        oracle = self.oracle(contender.subject)
        helper = oracle.helper(contender.helper)
        entries = self._files.get(contender.mix)
        if entries is None:
            saved = _keeps_saved(oracle, helper.level)
            entries = entries_of(contender.mix, helper.info, POOL_ENTRIES, saved)
        arguments = () if helper.argument is None else (argument_of(helper.info),)
        return entries, np.asarray(helper(entries, *arguments)).astype(np.uint64)


def _require_something(part: PlanPart) -> None:
    """Raise an error for a part that is empty."""
    for what, there in {
        "helper": part.helpers,
        "rules or kernel tree": (*part.rules, *part.kernels),
        "way": part.ways,
        "compiler": part.compilers,
        "mix or file": (*part.mixes, *part.files),
        "shape": part.shapes,
    }.items():
        if not there:
            raise ValueError(f"nothing to measure: no {what} is named")
    if set(part.ways) == {"vector"} and set(part.shapes) == {"latency"}:
        raise ValueError("nothing to measure: a chain of results is no vector code")


def _known(what: str, name: str, names: tuple[str, ...]) -> str:
    if name not in names:
        raise ValueError(f"{what} is {name!r}; it must be one of {', '.join(names)}")
    return name


def _keeps_saved(oracle: Engine, level: str) -> bool:
    """Tell whether rules keep dirtiness in bit 58, from whether they read it there."""
    dirty = oracle.helpers.get(f"{level}_dirty") or oracle.helpers.get("pte_dirty")
    return dirty is not None and bool(dirty(SAVED | 1))


def argument_of(info: HelperInfo) -> int:
    """Return the second argument of a helper in all timed loops."""
    return 0 if info.argument is None else _ARGUMENTS.get(info.argument, 1)
