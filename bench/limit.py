# SPDX-License-Identifier: GPL-2.0-only
"""Builds limit.c for the widest instruction set of this processor and loads it."""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import Any

from cffi import FFI

import pgtable
from pgtable.engines.isas import ISAS

from .paths import BENCH, BUILD, CSRC

DECLARATIONS = """
void limit_xor(void *a, size_t n, unsigned threads);
uint64_t limit_xor_where(void *a, const void *where, size_t n, unsigned threads);
uint64_t limit_sum(const void *a, size_t n, unsigned threads);
uint64_t limit_sum_fill(const void *a, void *out, size_t n, unsigned threads);
void limit_memcpy(void *out, const void *in, size_t n, unsigned threads);
void limit_stream(void *out, const void *in, size_t n, unsigned threads);
void limit_repeat(uintptr_t loop, void *entries, size_t n, uint64_t arg, size_t times);
void limit_repeat_form(uintptr_t loop, void *entries, size_t n, uintptr_t form, size_t times);
uintptr_t limit_xor_address(void);
"""

#: What limit_xor() and limit_xor_where() flip in every entry.
KEY = 0x0123456789ABCDEF


def widest_isa() -> str:
    """Return the widest instruction set that this processor can run."""
    return [name for name, usable in pgtable.isas().items() if usable][-1]


#: The flags of loops in csrc/Makefile.
COMMON_FLAGS = ("-std=gnu11", "-O3", "-Wall", "-Wextra", "-Wno-unknown-pragmas")
#: So that memory is the limit, and not the loop's own counting and branches.
LOOP_FLAGS = ("-falign-loops=64", "-funroll-loops")


@cache
def load() -> tuple[Any, Any]:
    """Return ``(ffi, lib)`` of the compiled limit loops; compiles them if need be."""
    isa = next(isa for isa in ISAS if isa.name == widest_isa())
    name = f"pgtable_limit_{isa.name}"
    ffi = FFI()
    ffi.cdef(DECLARATIONS)
    ffi.set_source(
        name,
        '#include "limit.c"',
        include_dirs=[str(BENCH), str(CSRC)],
        depends=[str(BENCH / "limit.c"), str(CSRC / "bulk/parallel.c"), str(CSRC / "form/form.h")],
        extra_compile_args=[*COMMON_FLAGS, *isa.flags, *LOOP_FLAGS],
        extra_link_args=["-pthread"],
    )
    BUILD.mkdir(parents=True, exist_ok=True)
    path = ffi.compile(tmpdir=str(BUILD), verbose=False)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ffi, module.lib
