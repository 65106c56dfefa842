# SPDX-License-Identifier: GPL-2.0-only
"""How the C driver splits work between threads, seen from inside: csrc/bulk/parallel.c alone."""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
import sysconfig
import threading
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[2] / "csrc"
PART = 64 * 1024
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


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 255, 256])
@pytest.mark.parametrize(
    "n", [0, 1, 511, 512, 513, 7 * 512, 7 * 512 + 1, 8 * 512 - 1, 300 * 512 + 5]
)
def test_the_parts_are_the_whole_in_even_runs_of_tables(parallel, n, parts) -> None:
    ran = []
    threads = set()

    def run(context, index, first, length):
        ran.append((index, first, length, context))
        threads.add(threading.get_ident())

    parallel.pgtable_parallel(RUN(run), 0x58, n, parts)
    ran.sort()
    assert [index for index, *_ in ran] == list(range(parts))
    assert {context for *_, context in ran} == {0x58}
    at = 0
    for _, first, length, _ in ran:
        assert first == at
        assert first % GRAIN == 0
        at += length
    assert at == n
    whole = [length // GRAIN for _, _, length, _ in ran]
    assert max(whole) - min(whole) <= 1
    assert all(length % GRAIN == 0 for _, _, length, _ in ran[:-1])
    assert threading.get_ident() in threads
    assert parts == 1 or len(threads) > 1


def test_each_part_has_a_thread_of_its_own(parallel) -> None:
    """Five parts that wait for each other come through only if all of them run at once."""
    together = threading.Barrier(5)

    def run(context, index, first, length):
        together.wait(timeout=30)

    parallel.pgtable_parallel(RUN(run), None, 5 * PART, 5)
    assert not together.broken
