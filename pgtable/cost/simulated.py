# SPDX-License-Identifier: GPL-2.0-only
"""Instructions, branches and mispredictions counted by valgrind's callgrind.

This is used if the processor's own counters are not available.  Only conditional branches count.
Mispredictions are those of the simulator's predictor, which is simple and the same everywhere.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from .entries import TABLE
from .runner import POOL_ENTRIES, Job, RunnerError, require_success

#: As in csrc/cost/runner.c.
_TABLES = 16
_FUNCTION = "cost_count_one"
_PART = re.compile(r"^part: (\d+)$", re.MULTILINE)
_EVENTS = re.compile(r"^events: (.*)$", re.MULTILINE)
_TRIGGER = "desc: Trigger: --dump-after=" + _FUNCTION
_TOTALS = re.compile(r"^(?:totals|summary): ([\d ]+)$", re.MULTILINE)


def missing() -> str | None:
    """Return why there is no simulator, None if there is one."""
    if shutil.which("valgrind") is None:
        return "valgrind was not found (Debian: apt install valgrind)"
    return None


def count(program: Path, job: Job, files: tuple[Path, Path]) -> np.ndarray:
    """Return instructions, branches and mispredictions of an entry, a row for each task.

    Tasks that no simulator can run have NaN.

    Raises RunnerError where the simulator cannot run the loops.
    """
    counts = np.full((len(job.tasks), 3), np.nan)
    which = [number for number, task in enumerate(job.tasks) if task.simulated]
    processes = len(os.sched_getaffinity(0))
    parts = [part for part in (which[i::processes] for i in range(processes)) if part]
    with ThreadPoolExecutor(len(parts) or 1) as pool:
        done = pool.map(lambda part: _count(program, job, files, part), parts)
        for part, counted in zip(parts, done, strict=True):
            counts[part] = counted
    return counts


def _count(program: Path, job: Job, files: tuple[Path, Path], which: Sequence[int]) -> np.ndarray:
    tasks = [job.tasks[number] for number in which]
    part, output = (files[0].with_name(f"{name}-{which[0]}") for name in ("count", "callgrind"))
    job.write(part, tasks)
    command: list[str | Path] = [
        "valgrind",
        "--tool=callgrind",
        "--branch-sim=yes",
        f"--toggle-collect={_FUNCTION}",
        f"--dump-after={_FUNCTION}",
        "--combine-dumps=yes",
        f"--callgrind-out-file={output}",
        program,
        "count",
        part,
        files[1],
    ]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    require_success(tasks, done.returncode, done.stdout, done.stderr)
    return parse(output.read_text(), len(tasks))


def parse(text: str, tasks: int) -> np.ndarray:
    """Return the counts in the profiles: one profile for each task."""
    events = _EVENTS.search(text)
    parts = [part for part in _PART.split(text)[1:] if _TRIGGER in part]
    if events is None or len(parts) != tasks:
        raise RunnerError(f"callgrind gave {len(parts)} profiles of {tasks}")
    names = events[1].split()
    counts = np.zeros((tasks, 3))
    for row, part in zip(counts, parts, strict=True):
        totals = _TOTALS.search(part)
        if totals is None:
            raise RunnerError("callgrind gave a profile without totals")
        found = dict(zip(names, map(int, totals[1].split()), strict=False))
        row[:] = found.get("Ir", 0), found.get("Bc", 0), found.get("Bcm", 0)
    return counts / min(_TABLES * TABLE, POOL_ENTRIES)
