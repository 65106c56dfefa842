# SPDX-License-Identifier: GPL-2.0-only
"""Measures a plan: times all participants in several processes, and makes rows of the times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import simulated
from .helper_sources import IDENTITY
from .participants import Note, Participant, Participants, argument_of
from .plan import DEFAULT, Plan
from .result_files import Row
from .runner import POOL_ENTRIES, Job, RunnerError, Task, TaskTimes, runner, time_job
from .statistics import summarise

#: A function that gets the part of the work that is done, 0 to 1, and the name of the next step.
Progress = Callable[[float, str], None]


def measure(
    plan: Plan = DEFAULT, *, note: Note | None = None, progress: Progress | None = None
) -> list[Row]:
    """Measure everything that a plan names; returns a row for each.

    note: called with a line for each thing that could not be measured, and why.
    progress: called with the part of the work that is done, 0 to 1, and the name of the next step.

    Raises UnknownHelperError for a helper that no source has, ValueError for a bad plan or if
    nothing can be compiled, OSError for a file or tree that cannot be read, and WrongResultError if
    a timed loop gave a wrong result.
    """
    note, progress = note or _ignore, progress or _ignore
    steps = _Steps(progress)
    field = Participants(plan, note, lambda part: steps.add(_Steps.COMPILING * part, "compile"))
    # loops over the large array run in processes of their own
    groups: dict[bool, list[Participant]] = {}
    for one in field.contenders:
        groups.setdefault(one.shape == "memory", []).append(one)
    rows: dict[Participant, Row] = {}
    for group in groups.values():
        rows |= _Measured(field, group, steps).rows()
    return [rows[contender] for contender in field.contenders]


def _ignore(*_: object) -> None:
    return None


class _Steps:
    """Progress: compiling is a tenth of the work, counting a tenth, timing the rest."""

    COMPILING, TIMING, COUNTING = 0.1, 0.8, 0.1

    def __init__(self, progress: Progress):
        self._progress = progress
        self._done = 0.0

    def add(self, part: float, what: str) -> None:
        """Report that another part of the work, 0 to 1, is done, and the name of the next step."""
        self._done += part
        self._progress(min(self._done, 1.0), what)


@dataclass
class _Measured:
    """A job: participants, and the identity loops whose times are subtracted."""

    field: Participants
    contenders: list[Participant]
    steps: _Steps

    @property
    def _weight(self) -> float:
        """Return this job's share of all the work."""
        return len(self.contenders) / len(self.field.contenders)

    def rows(self) -> dict[Participant, Row]:
        """Run the job in every process; return the rows."""
        plan = self.field.plan
        job, identities = self._job()
        program = runner(self.field.first_compiler)
        with job.written() as files:
            runs = [self._time(program, job, files) for _ in range(plan.processes)]
            undisturbed = undisturbed_samples(runs)
            counts, counted_by = self._counts(program, job, files, runs)
        return {
            contender: self._row(
                contender, column, identities[column], runs, undisturbed, counts, counted_by
            )
            for column, contender in enumerate(self.contenders)
        }

    def _job(self) -> tuple[Job, list[int]]:
        """Return the job, and for each participant the column of its identity."""
        plan = self.field.plan
        job = Job(max(plan.memory_entries // POOL_ENTRIES, 1) * POOL_ENTRIES)
        made: dict[tuple, tuple[int, int]] = {}
        for one in self.contenders:
            key = (one.subject, one.helper, one.mix)
            if key not in made:
                entries, expected = self.field.entries(one)
                made[key] = job.array(entries), job.array(expected)
            job.tasks.append(self._task(one, one.helper, *made[key]))
        columns: dict[tuple, int] = {}
        identities = []
        for one, task in zip(self.contenders, list(job.tasks), strict=True):
            beside = (task.library, one.shape)
            if beside not in columns:
                columns[beside] = len(job.tasks)
                job.tasks.append(self._task(one, IDENTITY, task.source, task.source))
            identities.append(columns[beside])
        return job, identities

    def _task(self, one: Participant, helper: str, source: int, expected: int) -> Task:
        library = self.field.libraries[self.field.request(one)]
        info = self.field.oracle(one.subject).helper(one.helper).info
        return Task(
            library=library.path,
            symbol=library.symbol("latency" if one.shape == "latency" else "table", helper),
            source=source,
            expected=expected,
            argument=0 if helper == IDENTITY else argument_of(info),
            in_memory=one.shape == "memory",
            simulated=one.way.simulated,
            name=one.name if helper == one.helper else f"identity beside {one.name}",
        )

    def _time(self, program: Path, job: Job, files: tuple[Path, Path]) -> TaskTimes:
        plan = self.field.plan
        in_memory = self.contenders[0].shape == "memory"
        share = _Steps.TIMING * self._weight / plan.processes / 100
        return time_job(
            program,
            job,
            files,
            seconds=float("inf") if in_memory else plan.seconds,
            rounds=plan.memory_rounds if in_memory else plan.rounds,
            progress=lambda: self.steps.add(share, "time"),
        )

    def _counts(
        self, program: Path, job: Job, files: tuple[Path, Path], runs: list[TaskTimes]
    ) -> tuple[np.ndarray, str | None]:
        """Return the counts of each task, NaN if unknown, and what counted them."""
        if runs[0].counted:
            return np.median([run.counts for run in runs], axis=0), "perf"
        self.steps.add(0, "count")
        reason = simulated.missing()
        if reason is None:
            try:
                counts = simulated.count(program, job, files)
            except RunnerError as error:
                reason = str(error)
        self.steps.add(_Steps.COUNTING * self._weight, "count")
        clock = f"{runs[0].reason}: core cycles are timed against a chain of additions"
        if reason is None:
            self.field.note(f"{clock}, instructions are counted by callgrind")
            return counts, "callgrind"
        self.field.note(f"{clock}; instructions are not counted: {reason}")
        return np.full((len(job.tasks), 3), np.nan), None

    def _row(
        self,
        contender: Participant,
        column: int,
        identity: int,
        runs: list[TaskTimes],
        undisturbed: list[np.ndarray],
        counts: np.ndarray,
        counted_by: str | None,
    ) -> Row:
        """Return the row.  The time of the same loop without a helper is subtracted."""
        kept = list(zip(runs, undisturbed, strict=True))
        ns = [_above(run.ns, where, column, identity) for run, where in kept]
        alone = [np.median(run.ns[where[:, identity], identity]) for run, where in kept]
        overhead = float(np.median(alone))
        in_cycles = [_above(run.cycles, where, column, identity) for run, where in kept]
        cycles = summarise(in_cycles, float(runs[0].cycles_step[column]))
        more = [None if np.isnan(n) else float(n) for n in counts[column] - counts[identity]]
        extra = {
            "cycles": cycles.median,
            "cycles_low": cycles.low,
            "cycles_high": cycles.high,
            "cycles_by": "perf" if runs[0].counted else "chain",
            "overhead_ns": overhead,
            "disturbed": sum(int((~where[:, column]).sum()) for where in undisturbed),
            "instructions": more[0],
            "branches": more[1],
            "mispredictions": more[2],
            "counted_by": counted_by,
            "code_bytes": self._code_bytes(contender),
        }
        moved = clock_spread(runs) * abs(float(np.median(np.concatenate(ns))))
        step = max(float(runs[0].ns_step[column]), moved)
        return Row(contender.params, summarise(ns, step, overhead), extra)

    def _code_bytes(self, contender: Participant) -> int | None:
        # in a vector loop a helper has no code of its own
        if contender.way.name == "vector":
            return None
        return self.field.libraries[self.field.request(contender)].sizes[contender.helper]


#: If a core does a smaller share of its most additions per cycle, another thread shares it.
_ROOM = 0.9
#: A smaller share of a process's samples would not represent the process.
_ENOUGH = 0.2


def undisturbed_samples(runs: Sequence[TaskTimes]) -> list[np.ndarray]:
    """Return for each process which samples were taken while nobody shared the core.

    Another thread on the same core, also in another guest, makes times up to half longer, for
    moments.  A task that was disturbed nearly all the time keeps all its samples.
    """
    best = max(float(np.quantile(run.width, 0.9)) for run in runs)
    found = []
    for run in runs:
        kept = run.width >= _ROOM * best
        kept[:, kept.mean(axis=0) < _ENOUGH] = True
        found.append(kept)
    return found


def clock_spread(runs: Sequence[TaskTimes]) -> float:
    """Return by which part the core's clock changed during the measurement.

    The clock depends on all that the machine does.  It may be steady in one run and have another
    rate in the next.  So a time in nanoseconds is uncertain by at least this part.
    """
    clocks = np.concatenate([run.clock.ravel() for run in runs])
    slow, usual, fast = np.quantile(clocks, [0.05, 0.5, 0.95])
    return float(max(fast - usual, usual - slow) / usual)


def _above(values: np.ndarray, kept: np.ndarray, column: int, identity: int) -> list[float]:
    """Return the kept samples of a task minus the median of the identity in the same process."""
    around = np.median(values[kept[:, identity], identity])
    return (values[kept[:, column], column] - around).tolist()
