# SPDX-License-Identifier: GPL-2.0-only
"""Measure a plan: build what it names, time it in several processes, make rows of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..engines.interface import Engine, HelperInfo
from ..engines.kernel_tree import KernelTreeError
from . import simulated
from .entries import from_file
from .mixes import FILE, MIXES, SAVED, entries_of
from .plan import DEFAULT, SHAPES, Part, Plan
from .results import Row
from .runner import POOL_ENTRIES, Job, Task, Timed, runner, time_job
from .statistics import summarise
from .subjects import (
    IDENTITY,
    Compiler,
    Library,
    Rules,
    Tree,
    Wanted,
    build,
    find_compiler,
)
from .ways import Way, way_of

#: readable by the user, not executable: what mprotect() makes of a page
_NEWPROT = 1 << 63 | 1 << 5 | 1 << 2 | 1 << 0
#: What a helper with a second argument is given, by the argument's name; others get 1.
_ARGUMENTS = {"newprot": _NEWPROT, "prot": _NEWPROT, "vma": 0, "mask": 1 << 5, "other": 0}

#: Told of everything that is not measured, and why, in one line.
Note = Callable[[str], None]
#: Told which part of the work is done, 0 to 1, and what is being done.
Progress = Callable[[float, str], None]


class Contender(NamedTuple):
    """One row to be."""

    subject: Rules | Tree
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
        """Return how errors call it."""
        params = self.params
        return f"{params.pop('helper')} ({', '.join(map(str, params.values()))})"


def measure(
    plan: Plan = DEFAULT, *, note: Note | None = None, progress: Progress | None = None
) -> list[Row]:
    """Measure everything that a plan names; returns a row for each.

    note: told, in one line each, what could not be measured and why.
    progress: told the part of the work that is done, 0 to 1, and what is being done.

    Raises UnknownHelperError for a helper that nobody has, ValueError for what
    is no plan or cannot be compiled at all, OSError for a file or tree that cannot be
    read, WrongResultError if a timed loop gave another result than it must.
    """
    note, progress = note or _ignore, progress or _ignore
    steps = _Steps(plan, progress)
    session = _Session(plan, note, steps)
    jobs = session.jobs()
    results: dict[Contender, Row] = {}
    for job in jobs:
        results |= job.rows()
    return [results[contender] for contender in session.contenders if contender in results]


def _ignore(*_: object) -> None:
    return None


class _Steps:
    """How far the work is: compiling a tenth, counting a tenth, timing the rest."""

    COMPILING, TIMING, COUNTING = 0.1, 0.8, 0.1

    def __init__(self, plan: Plan, progress: Progress):
        self._progress = progress
        self._done = 0.0

    def add(self, part: float, what: str) -> None:
        self._done += part
        self._progress(min(self._done, 1.0), what)


class _Session:
    """A plan being measured: who takes part, what was compiled, and in which jobs."""

    def __init__(self, plan: Plan, note: Note, steps: _Steps):
        self.plan = plan
        self._note = note
        self._noted: set[str] = set()
        self.steps = steps
        self._compilers: dict[str, Compiler | None] = {}
        self._files: dict[str, np.ndarray] = {}
        self._oracles: dict[Rules | Tree, Engine] = {}
        helpers = tuple(dict.fromkeys(name for part in plan.parts for name in part.helpers))
        self._helpers = helpers
        asked = [one for part in plan.parts for one in self._expand(part)]
        self._require_known(asked)
        self.contenders = list(dict.fromkeys(one for one in asked if self._has(one)))
        self.libraries = self._build()

    def note(self, text: str) -> None:
        """Tell once what is not measured, or how."""
        if text not in self._noted:
            self._noted.add(text)
            self._note(text)

    def compiler(self, name: str) -> Compiler | None:
        """Return a compiler, None if it is not there, which is said once."""
        if name not in self._compilers:
            try:
                self._compilers[name] = find_compiler(name)
            except KernelTreeError as error:
                self._compilers[name] = None
                self.note(f"not measured with {name}: {error}")
        return self._compilers[name]

    @cached_property
    def first_compiler(self) -> Compiler:
        """Return the first compiler of the plan that is there; raises if none is."""
        names = dict.fromkeys(name for part in self.plan.parts for name in part.compilers)
        for name in names:
            if compiler := self.compiler(name):
                return compiler
        return find_compiler(next(iter(names)))

    def _expand(self, part: Part) -> Iterator[Contender]:
        for shape in part.shapes:
            if shape not in SHAPES:
                raise ValueError(f"shape is {shape!r}; it must be one of {', '.join(SHAPES)}")
        subjects: list[Rules | Tree] = [Rules(switches) for switches in part.rules]
        subjects += [Tree(one, self.first_compiler, self._helpers) for one in part.kernels]
        mixes = [self._checked(mix) for mix in part.mixes]
        mixes += [self._file(path) for path in part.files]
        ways = [way_of(name, self.plan.isa) for name in part.ways]
        compilers = [one for one in map(self.compiler, part.compilers) if one]
        assert self.first_compiler
        for helper in part.helpers:
            for mix in mixes:
                for shape in part.shapes:
                    for way in ways:
                        # a chain of results is no vector code
                        if way.name == "vector" and shape == "latency":
                            continue
                        for compiler in compilers:
                            for subject in subjects:
                                yield Contender(subject, helper, way, compiler, mix, shape)

    @staticmethod
    def _checked(mix: str) -> str:
        if mix not in MIXES:
            raise ValueError(f"mix is {mix!r}; it must be one of {', '.join(MIXES)}")
        return mix

    def _file(self, path: str | os.PathLike[str]) -> str:
        name = FILE + Path(path).name
        if name not in self._files:
            self._files[name] = from_file(path, POOL_ENTRIES)
        return name

    def oracle(self, subject: Rules | Tree) -> Engine:
        """Return the engine that says what a subject's helpers must compute."""
        if subject not in self._oracles:
            self._oracles[subject] = subject.oracle(self._helpers)
        return self._oracles[subject]

    def _has(self, contender: Contender) -> bool:
        return contender.helper in self.oracle(contender.subject).helpers

    def _require_known(self, contenders: list[Contender]) -> None:
        """Refuse helpers that nobody has; say which are missing where."""
        subjects = dict.fromkeys(one.subject for one in contenders)
        for helper in dict.fromkeys(one.helper for one in contenders):
            owners = [one for one in subjects if helper in self.oracle(one).helpers]
            if not owners:
                reasons = [one.why_missing(helper) for one in subjects]
                if reason := next(filter(None, reasons), None):
                    raise ValueError(reason)
                self.oracle(next(iter(subjects))).helper(helper)  # raises what is near
            for subject in subjects:
                if subject not in owners and (reason := subject.why_missing(helper)):
                    self.note(f"not measured: {reason}")

    def _build(self) -> dict[Wanted, Library]:
        """Compile everything, as many at a time as there are processors."""
        wanted = list(dict.fromkeys(self.wanted(one) for one in self.contenders))
        share = _Steps.COMPILING / max(len(wanted), 1)

        def compile_one(one: Wanted) -> Library | None:
            try:
                library = build(one)
            except KernelTreeError as error:
                self.note(f"not measured: {error}")
                library = None
            self.steps.add(share, "compile")
            return library

        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            done = list(pool.map(compile_one, wanted))
        found = {one: library for one, library in zip(wanted, done, strict=True) if library}
        if not found:
            raise ValueError("nothing could be compiled; the notes above say why")
        self.contenders = [
            one
            for one in self.contenders
            if (library := found.get(self.wanted(one))) and one.helper in library.sizes
        ]
        return found

    def wanted(self, contender: Contender) -> Wanted:
        """Return the library that a contender is in."""
        helpers = tuple(
            name for name in self._helpers if name in self.oracle(contender.subject).helpers
        )
        return Wanted(contender.subject, contender.way, contender.compiler, helpers)

    def entries(self, contender: Contender) -> np.ndarray:
        """Return the entries of the contender's mix, one pool of them."""
        if contender.mix in self._files:
            return self._files[contender.mix]
        oracle = self.oracle(contender.subject)
        info = oracle.helper(contender.helper).info
        return entries_of(contender.mix, info, POOL_ENTRIES, _keeps_saved(oracle, info.level))

    def jobs(self) -> list[_Measured]:
        """Return the jobs, not yet run: the large array has processes of its own."""
        in_memory = [one for one in self.contenders if one.shape == "memory"]
        others = [one for one in self.contenders if one.shape != "memory"]
        return [_Measured(self, group) for group in (others, in_memory) if group]


def _keeps_saved(oracle: Engine, level: str) -> bool:
    """Tell whether rules keep dirtiness in bit 58: whether they read it there."""
    dirty = oracle.helpers.get(f"{level}_dirty") or oracle.helpers.get("pte_dirty")
    return dirty is not None and bool(dirty(SAVED | 1))


def argument_of(info: HelperInfo) -> int:
    """Return what a helper's second argument is in all timed loops."""
    return 0 if info.argument is None else _ARGUMENTS.get(info.argument, 1)


@dataclass
class _Measured:
    """One job of contenders and the identities that they are compared with."""

    session: _Session
    contenders: list[Contender]

    def rows(self) -> dict[Contender, Row]:
        """Run the job in every process; return the rows."""
        plan = self.session.plan
        job, identities = self._job()
        program = runner(self.session.first_compiler)
        with ExitStack() as stack:
            files = stack.enter_context(job.written())
            runs = [self._time(program, job, files) for _ in range(plan.processes)]
            counts, counted_by = self._counts(program, job, files, runs)
        return {
            contender: self._row(contender, column, identities[column], runs, counts, counted_by)
            for column, contender in enumerate(self.contenders)
        }

    def _job(self) -> tuple[Job, list[int]]:
        """Return the job, and for each contender's column that of its identity."""
        plan = self.session.plan
        job = Job(plan.memory_entries // POOL_ENTRIES * POOL_ENTRIES)
        made: dict[tuple, tuple[int, int]] = {}
        for one in self.contenders:
            key = (one.subject, one.helper, one.mix)
            if key not in made:
                made[key] = self._arrays(job, one)
            job.tasks.append(self._task(one, one.helper, *made[key]))
        columns: dict[tuple, int] = {}
        identities = []
        for one, task in zip(self.contenders, list(job.tasks), strict=True):
            key = (task.library, one.shape)
            if key not in columns:
                columns[key] = len(job.tasks)
                job.tasks.append(self._task(one, IDENTITY, task.source, task.source))
            identities.append(columns[key])
        return job, identities

    def _arrays(self, job: Job, contender: Contender) -> tuple[int, int]:
        helper = self.session.oracle(contender.subject).helper(contender.helper)
        entries = self.session.entries(contender)
        arguments = () if helper.argument is None else (argument_of(helper.info),)
        expected = np.asarray(helper(entries, *arguments)).astype(np.uint64)
        return job.array(entries), job.array(expected)

    def _task(self, one: Contender, helper: str, source: int, expected: int) -> Task:
        library = self.session.libraries[self.session.wanted(one)]
        info = self.session.oracle(one.subject).helper(one.helper).info
        return Task(
            library=library.path,
            symbol=library.symbol("latency" if one.shape == "latency" else "table", helper),
            source=source,
            expected=expected,
            argument=0 if helper == IDENTITY else argument_of(info),
            in_memory=one.shape == "memory",
            name=one.name if helper == one.helper else f"identity beside {one.name}",
        )

    def _time(self, program: Path, job: Job, files: tuple[Path, Path]) -> Timed:
        plan, steps = self.session.plan, self.session.steps
        in_memory = self.contenders[0].shape == "memory"
        share = _Steps.TIMING / plan.processes / 100
        share *= len(self.contenders) / len(self.session.contenders)
        return time_job(
            program,
            job,
            files,
            seconds=float("inf") if in_memory else plan.seconds,
            rounds=plan.memory_rounds if in_memory else plan.rounds,
            progress=lambda: steps.add(share, "time"),
        )

    def _counts(
        self, program: Path, job: Job, files: tuple[Path, Path], runs: list[Timed]
    ) -> tuple[np.ndarray, str | None]:
        """Return what was counted for each task, NaN where it was not, and by whom."""
        steps = self.session.steps
        if runs[0].counted:
            return np.median([run.counts for run in runs], axis=0), "perf"
        steps.add(0, "count")
        reason = simulated.missing()
        if reason is None:
            try:
                counts = simulated.count(program, job, files)
            except RuntimeError as error:
                reason = str(error)
        steps.add(_Steps.COUNTING * len(self.contenders) / len(self.session.contenders), "count")
        clock = f"{runs[0].reason}: core cycles are timed against a chain of additions"
        if reason is None:
            self.session.note(f"{clock}, instructions are counted by callgrind")
            return counts, "callgrind"
        self.session.note(f"{clock}; instructions are not counted: {reason}")
        return np.full((len(job.tasks), 3), np.nan), None

    def _row(
        self,
        contender: Contender,
        column: int,
        identity: int,
        runs: list[Timed],
        counts: np.ndarray,
        counted_by: str | None,
    ) -> Row:
        """Return the row: what the same loop takes around nothing is taken off."""
        ns = [_above(run.ns, column, identity) for run in runs]
        overhead = float(np.median([np.median(run.ns[:, identity]) for run in runs]))
        cycles = summarise(
            [_above(run.cycles, column, identity) for run in runs],
            float(runs[0].cycles_step[column]),
        )
        more = [None if np.isnan(n) else float(n) for n in counts[column] - counts[identity]]
        extra = {
            "cycles": cycles.median,
            "cycles_low": cycles.low,
            "cycles_high": cycles.high,
            "cycles_by": "perf" if runs[0].counted else "chain",
            "overhead_ns": overhead,
            "instructions": more[0],
            "branches": more[1],
            "mispredictions": more[2],
            "counted_by": counted_by,
            "code_bytes": self._code_bytes(contender),
        }
        summary = summarise(ns, float(runs[0].ns_step[column]), overhead)
        return Row(contender.params, summary, extra)

    def _code_bytes(self, contender: Contender) -> int | None:
        # inlined into a vector loop a helper is no code of its own
        if contender.way.name == "vector":
            return None
        return self.session.libraries[self.session.wanted(contender)].sizes[contender.helper]


def _above(values: np.ndarray, column: int, identity: int) -> list[float]:
    """Return the samples of a task less the identity's median in the same process."""
    return (values[:, column] - np.median(values[:, identity])).tolist()
