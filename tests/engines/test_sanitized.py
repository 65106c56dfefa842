# SPDX-License-Identifier: GPL-2.0-only
"""Shows that sanitizers are at work in a build that claims to have them.

Runs only where PGTABLE_SANITIZE is set, as `make sanitize` does for building and testing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pgtable
from pgtable.engines import _native

pytestmark = pytest.mark.skipif(
    not os.environ.get("PGTABLE_SANITIZE"), reason="not a build with sanitizers"
)

OVERRUN = """
import ctypes, sys
import pgtable
from pgtable.engines._native import ffi
malloc = ctypes.CDLL(None).malloc
malloc.restype, malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
entries = ffi.cast("void *", malloc(8 * 100))
engine = pgtable.native(isa=sys.argv[1])
run = engine.pte_mkold.handle.map
run(entries, ffi.NULL, 0, entries, 100)
print("inside is fine", flush=True)
if sys.argv[2] == "map":
    run(entries, ffi.NULL, 0, entries, 101)
elif sys.argv[2] == "count":
    engine.pte_dirty.handle.count(entries, ffi.NULL, 0, 101)
else:
    where = ffi.cast("uint8_t *", entries)
    engine.loops.block.count_both(where, where, 801)
print("nobody noticed")
"""


def test_the_module_calls_both_sanitizers() -> None:
    module = Path(_native.__file__).read_bytes()
    assert b"__asan_report_load8" in module
    assert b"__ubsan_handle_" in module


@pytest.mark.parametrize("what", ["map", "count", "block operation"])
def test_an_overrun_is_caught(usable_isa, what, environment) -> None:
    run = subprocess.run(
        [sys.executable, "-c", OVERRUN, usable_isa, what],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout == "inside is fine\n"
    assert "AddressSanitizer: heap-buffer-overflow" in run.stderr
    assert run.returncode != 0


def test_the_package_under_test_is_the_sanitized_one() -> None:
    assert Path(_native.__file__).parents[1] == Path(pgtable.__file__).parent
