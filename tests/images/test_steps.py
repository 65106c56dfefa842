# SPDX-License-Identifier: GPL-2.0-only
"""Long work in steps: results in order, progress, errors, and an end when told."""

from __future__ import annotations

import threading
import time

import pytest

from pgtable.images.steps import Task, run_task, run_tasks


def counting(n: int, result: str) -> Task[str]:
    for _ in range(n):
        yield 2
    return result


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_results_come_in_order(threads: int) -> None:
    tasks = [counting(5 - i, str(i)) for i in range(5)]
    told: list[int] = []
    assert run_tasks(tasks, threads, told.append) == list("01234")
    assert told == sorted(told)
    assert told[-1] == 2 * (5 + 4 + 3 + 2 + 1)


def test_one_task_tells_every_step() -> None:
    told: list[int] = []
    assert run_task(counting(3, "x"), told.append) == "x"
    assert told == [2, 4, 6]


def failing(after: int) -> Task[str]:
    for _ in range(after):
        yield 1
    raise ValueError("damaged")


def endless(ended: threading.Event) -> Task[str]:
    try:
        while True:
            time.sleep(0.001)
            yield 1
    finally:
        ended.set()


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_ends_the_others(threads: int) -> None:
    ended = threading.Event()
    tasks = [failing(3), endless(ended)]
    began = time.monotonic()
    with pytest.raises(ValueError, match="damaged"):
        run_tasks(tasks, threads)
    assert time.monotonic() - began < 5


def test_what_progress_raises_ends_all() -> None:
    def stop(done: int) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        run_tasks([endless(threading.Event()) for _ in range(3)], 3, stop)
    assert threading.active_count() == before
