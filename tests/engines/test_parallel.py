# SPDX-License-Identifier: GPL-2.0-only
"""How the C driver splits work between threads, seen from inside: csrc/bulk/parallel.c alone."""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import sysconfig
import threading
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[2] / "csrc"
PART = 128 * 1024
GRAIN = 512
MOST = 256

RUN = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint, ctypes.c_size_t, ctypes.c_size_t)


@pytest.fixture(scope="module")
def parallel(tmp_path_factory) -> ctypes.CDLL:
    cc = shlex.split(sysconfig.get_config_var("CC") or "cc")
    if not shutil.which(cc[0]):
        assert "CI" not in os.environ, f"no compiler {cc[0]}"
        pytest.skip(f"no compiler {cc[0]}")
    library = tmp_path_factory.mktemp("parallel") / "parallel.so"
    subprocess.run(
        [
            *cc,
            "-std=gnu11",
            "-O1",
            "-shared",
            "-fPIC",
            "-pthread",
            f"-I{CSRC}",
            "-o",
            library,
            CSRC / "bulk" / "parallel.c",
        ],
        check=True,
    )
    loaded = ctypes.CDLL(str(library))
    loaded.pgtable_parts.argtypes = (ctypes.c_size_t, ctypes.c_uint)
    loaded.pgtable_parallel.argtypes = (RUN, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint)
    loaded.pgtable_parallel.restype = None
    return loaded


@pytest.mark.parametrize(
    ("n", "wanted", "parts"),
    [
        (0, 4, 1),
        (1, 4, 1),
        (PART, 4, 1),
        (2 * PART - 1, 4, 1),
        (2 * PART, 4, 2),
        (3 * PART - 1, 4, 2),
        (100 * PART, 1, 1),
        (100 * PART, 0, 1),
        (100 * PART, 7, 7),
        (1000 * PART, 255, 255),
        (1000 * PART, 256, MOST),
        (1000 * PART, 257, MOST),
        (1 << 60, 2**32 - 1, MOST),
    ],
)
def test_parts_are_worth_a_thread_each(parallel, n, wanted, parts) -> None:
    assert parallel.pgtable_parts(n, wanted) == parts


def _ran(parallel, n, parts) -> list[tuple[int, int, int, int]]:
    """Run it; return index, first entry, number of entries and thread of each run, in order."""
    ran = []

    def run(context, index, first, length):
        assert context == 0x58
        ran.append((first, length, index, threading.get_ident()))

    parallel.pgtable_parallel(RUN(run), 0x58, n, parts)
    return sorted(ran)


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 255, 256])
@pytest.mark.parametrize(
    "n", [0, 1, 511, 512, 513, 7 * 512, 7 * 512 + 1, 8 * 512 - 1, 300 * 512 + 5, 1 << 20, 3 << 20]
)
def test_the_runs_are_the_whole_once_and_begin_with_tables(parallel, n, parts) -> None:
    ran = _ran(parallel, n, parts)
    at = 0
    for first, length, index, _ in ran:
        assert first == at
        assert first % GRAIN == 0
        assert index < parts
        at += length
    assert at == n
    # an index is that of one thread
    assert len({(index, thread) for *_, index, thread in ran}) == len({each[2] for each in ran})


def test_every_part_can_have_a_thread_of_its_own(parallel) -> None:
    """Five runs that wait for each other come through only if five threads take one each."""
    together = threading.Barrier(5)

    def run(context, index, first, length):
        if together.n_waiting or not done:
            together.wait(timeout=30)
            done.append(index)

    done: list[int] = []
    parallel.pgtable_parallel(RUN(run), None, 20 * PART, 5)
    assert not together.broken
    assert sorted(done)[:5] == [0, 1, 2, 3, 4]


def test_the_threads_stay_and_are_the_same(parallel) -> None:
    def threads() -> set[int]:
        together = threading.Barrier(3)
        seen: set[int] = set()

        def run(context, index, first, length):
            if threading.get_ident() not in seen:
                seen.add(threading.get_ident())
                together.wait(timeout=30)

        parallel.pgtable_parallel(RUN(run), None, 20 * PART, 3)
        return seen

    first = threads()
    assert len(first) == 3
    before = len(os.listdir("/proc/self/task"))
    for _ in range(5):
        assert len(threads()) == 3
    assert len(os.listdir("/proc/self/task")) == before


def test_calls_of_many_threads_at_once(parallel) -> None:
    wrong = []

    def call() -> None:
        for parts in (2, 3, 8):
            ran = _ran(parallel, 20 * PART + 7, parts)
            if sum(length for _, length, *_ in ran) != 20 * PART + 7:
                wrong.append(ran)

    callers = [threading.Thread(target=call) for _ in range(6)]
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    assert not wrong


def test_a_forked_child_has_threads_of_its_own(parallel) -> None:
    _ran(parallel, 20 * PART, 4)
    child = os.fork()
    if not child:
        code = 1
        try:
            ran = _ran(parallel, 20 * PART, 4)
            code = int(sum(length for _, length, *_ in ran) != 20 * PART)
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status == 0


def test_signals_are_not_for_the_threads(parallel) -> None:
    """What is sent to the process must come to a thread that Python has."""
    _ran(parallel, 20 * PART, 4)
    blocked = []
    for task in Path("/proc/self/task").iterdir():
        status = (task / "status").read_text()
        mask = int(next(line for line in status.splitlines() if line.startswith("SigBlk"))[7:], 16)
        blocked.append(mask >> (signal.SIGINT - 1) & 1)
    assert blocked.count(1) >= 3
