# SPDX-License-Identifier: GPL-2.0-only
"""Long work in short steps: by any number of threads, with progress, and stopped at once.

A task is a generator that yields how much it did since it last yielded, and returns its
result.  Between two steps signals are seen, and progress is told.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")
Task = Generator[int, None, T]
#: Called with how much is done so far; the unit is that of the tasks.
Progress = Callable[[int], None]

#: Seconds between two looks at what threads have done.
_LOOK = 0.05


def run_task(task: Task[T], progress: Progress | None = None) -> T:
    """Run one task to its end; return its result."""
    done = 0
    while True:
        try:
            done += next(task)
        except StopIteration as end:
            return end.value
        if progress is not None:
            progress(done)


def run_tasks(tasks: Sequence[Task[T]], threads: int, progress: Progress | None = None) -> list[T]:
    """Run tasks, so many at once; return their results in order.

    What one raises is raised when the others have ended, which they do after their next step.
    """
    if threads <= 1 or len(tasks) <= 1:
        found: list[T] = []
        before = 0
        for task in tasks:
            steps = _Stoppable(task, [0])
            found.append(run_task(steps.run(), _from(progress, before)))
            before += steps.done[0]
        return found
    return _run_threads(tasks, threads, progress)


def _from(progress: Progress | None, before: int) -> Progress | None:
    return None if progress is None else lambda done: progress(before + done)


class _Stoppable:
    """A task whose steps are added up, and that ends when it is told to."""

    def __init__(self, task: Task[T], done: list[int]):
        self.task = task
        self.done = done
        self.stopped = False

    def run(self) -> Task[T]:
        """Run it; raises _StoppedError where it was told to end."""
        while not self.stopped:
            try:
                step = next(self.task)
            except StopIteration as end:
                return end.value
            self.done[0] += step
            yield step
        raise _StoppedError


class _StoppedError(Exception):
    """Another task failed, or a signal came."""


def _run_threads(tasks: Sequence[Task[T]], threads: int, progress: Progress | None) -> list[T]:
    counted = [_Stoppable(task, [0]) for task in tasks]
    futures: list[Future[T]]
    with ThreadPoolExecutor(min(threads, len(tasks)), "pgtable") as pool:
        futures = [pool.submit(run_task, one.run()) for one in counted]
        try:
            left = set(futures)
            while left:
                ended, left = wait(left, _LOOK, FIRST_EXCEPTION)
                if any(future.exception() for future in ended):
                    break
                if progress is not None:
                    progress(sum(one.done[0] for one in counted))
        finally:
            for one in counted:
                one.stopped = True
    failed = [error for future in futures if (error := future.exception())]
    for error in failed:
        if not isinstance(error, _StoppedError):
            raise error
    return [future.result() for future in futures]
