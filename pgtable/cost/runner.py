# SPDX-License-Identifier: GPL-2.0-only
"""Processes that time: runs csrc/cost/runner.c, writes its input and reads its output."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..kernel_trees import compile_own, csrc_directory
from .checking import WrongResultError, wrong_entry
from .entries import TABLE
from .helper_sources import Compiler

#: How many entries each array in a pool has.  A branch predictor learns one table that comes
#: again and again.  It does not learn so many tables in random order.
POOL_ENTRIES = 1 << 16

_FLAGS = ("-std=gnu11", "-O2", "-fno-tree-vectorize", "-g0", "-w")
_HEADER = 6
_COUNTERS = ("cycles", "instructions", "branches", "mispredictions")
_WRONG = re.compile(r"^wrong (\d+) (\d+) (\S+) (\S+)$", re.MULTILINE)


class RunnerError(ValueError):
    """A process that times or counts failed.  The message says why, in one line."""


class Task(NamedTuple):
    """One loop over one mix of entries."""

    library: Path
    symbol: str
    source: int  #: number of the array that is read
    expected: int  #: number of the array that is the expected result
    argument: int
    in_memory: bool
    simulated: bool  #: a simulator can run it
    name: str  #: the name in error messages


@dataclass
class Job:
    """Tasks, and the arrays that they use.  An array that is used twice is stored once."""

    memory_entries: int = 0
    tasks: list[Task] = field(default_factory=list)
    arrays: list[np.ndarray] = field(default_factory=list)
    _numbers: dict[bytes, int] = field(default_factory=dict)

    def array(self, entries: np.ndarray) -> int:
        """Return the number of an array of POOL_ENTRIES uint64."""
        if entries.dtype != np.uint64 or entries.shape != (POOL_ENTRIES,):
            raise ValueError(f"{entries.dtype} x {entries.shape} is no array of the pool")
        content = entries.tobytes()
        if content not in self._numbers:
            self._numbers[content] = len(self.arrays)
            self.arrays.append(entries)
        return self._numbers[content]

    @contextmanager
    def written(self) -> Iterator[tuple[Path, Path]]:
        """Give the job and the pool as temporary files."""
        with tempfile.TemporaryDirectory(prefix="pgtable-") as scratch:
            job, pool = Path(scratch, "job"), Path(scratch, "pool")
            self.write(job, self.tasks)
            with pool.open("wb") as file:
                for entries in self.arrays:
                    entries.tofile(file)
            yield job, pool

    def write(self, path: Path, tasks: Sequence[Task]) -> None:
        """Write a job of some of the tasks, with the same pool."""
        path.write_text("".join(f"{line}\n" for line in self._lines(tasks)))

    def _lines(self, tasks: Sequence[Task]) -> Iterator[str]:
        yield f"pool {POOL_ENTRIES} {self.memory_entries}"
        paths = dict.fromkeys(task.library for task in tasks)
        libraries = {path: number for number, path in enumerate(paths)}
        for path in libraries:
            yield f"library {path}"
        for task in tasks:
            yield (
                f"task {libraries[task.library]} {task.source} {task.expected} {task.argument}"
                f" {int(task.in_memory)} {task.symbol}"
            )


@dataclass
class TaskTimes:
    """What one process measured.  Arrays have a row for each round and a column for each task."""

    ns: np.ndarray  #: of an entry; the timer's own share is subtracted
    cycles: np.ndarray  #: of the core, likewise
    clock: np.ndarray  #: core cycles in a tick at that moment
    width: np.ndarray  #: independent additions per cycle at that moment
    ns_step: np.ndarray  #: the resolution of the clock for each task, in the same units
    cycles_step: np.ndarray
    counts: np.ndarray  #: instructions, branches, mispredictions of an entry, for each task
    counted: bool  #: cycles and counts come from the processor's counters
    reason: str  #: why not, if they are not


def runner(cc: Compiler) -> Path:
    """Return the compiled program."""
    csrc = csrc_directory()
    sources = [csrc / "cost" / name for name in ("runner.c", "job.c", "counters.c")]
    return compile_own(cc.path, csrc, sources, _FLAGS, "runner")


def time_job(
    program: Path,
    job: Job,
    files: tuple[Path, Path],
    seconds: float,
    rounds: int,
    progress: Callable[[], None],
) -> TaskTimes:
    """Run one process; progress is called a hundred times.

    Raises WrongResultError if a loop gave another result than expected, RunnerError
    if the process could not do its work.
    """
    output = files[0].with_name("output")
    command: list[str | Path] = [program, "time", *files, output, str(seconds), str(rounds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            said = b""
            while character := process.stdout.read(1):
                said += character
                if character == b".":
                    progress()
            errors = process.communicate()[1]
        except BaseException:
            process.kill()
            raise
    require_success(job.tasks, process.returncode, said.decode(), errors.decode(errors="replace"))
    return _read(job, np.fromfile(output, np.float64))


def require_success(tasks: Sequence[Task], code: int, said: str, errors: str) -> None:
    """Raise an error if a process of these tasks ended with another code than 0."""
    if wrong := _WRONG.search(said):
        number, at, got, expected = (int(text, 0) for text in wrong.groups())
        raise WrongResultError(wrong_entry(tasks[number].name, at, got, expected))
    if code:
        what = " ".join(errors.split())
        if not what:
            what = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise RunnerError(f"the timing process failed: {what}")


def _read(job: Job, words: np.ndarray) -> TaskTimes:
    rounds, tick_ns, timer, step, counted, error = words[:_HEADER]
    n = len(job.tasks)
    samples = words[_HEADER : _HEADER + int(rounds) * n * 3].reshape(int(rounds), n, 3)
    counts = words[_HEADER + samples.size :].reshape(n, len(_COUNTERS))
    sizes = np.array([job.memory_entries if task.in_memory else TABLE for task in job.tasks])
    ticks = (samples[:, :, 0] - timer) / sizes
    return TaskTimes(
        ns=ticks * tick_ns,
        cycles=ticks * samples[:, :, 1],
        clock=samples[:, :, 1],
        width=samples[:, :, 2] / samples[:, :, 1],
        ns_step=step * tick_ns / sizes,
        cycles_step=step * np.median(samples[:, :, 1], axis=0) / sizes,
        counts=counts[:, 1:] / TABLE,
        counted=bool(counted),
        reason=_why_not_counted(int(error)),
    )


def _why_not_counted(error: int) -> str:
    if error in (errno.EACCES, errno.EPERM):
        return "perf events are not permitted (see /proc/sys/kernel/perf_event_paranoid)"
    if error in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV):
        return "this machine has no perf events"
    if error == errno.EBUSY:
        return "all perf events are in use"
    if error:
        return f"perf events cannot be had ({os.strerror(error)})"
    return ""
