# SPDX-License-Identifier: GPL-2.0-only
"""What setup.py compiles: the cffi module, and the helpers' loops for each instruction set."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from cffi import FFI

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"


def _sibling(name: str) -> ModuleType:
    # by path: importing the package would need the module that is to be built
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"pgtable_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


COMBINATIONS = _sibling("switches").COMBINATIONS
ISAS = _sibling("isas").ISAS

#: A loop that crosses a cache line of code runs up to twice as long in the first-level
#: cache.  Debug information of all loops would be larger than the loops.
LOOP_FLAGS = ("-falign-loops=64", "-g0")
COMMON_FLAGS = ("-std=gnu11", "-O3", "-Wall", "-Wextra", "-Wno-unknown-pragmas")
SOURCES = ("bulk.c", "census.c", "dispatch.c", "form.c", "parallel.c", "walk.c", "walk_order.c")


#: What the objects of each instruction set are made from.
LOOP_SOURCES = (
    "apply.h",
    "block_ops.c",
    "bulk.h",
    "bulk_loops.h",
    "census_key.h",
    "census_loop.h",
    "form.h",
    "form_loops.h",
    "helpers.def",
    "instance.c",
    "pgtable.h",
    "pgtable_common.h",
    "pgtable_saved_dirty.h",
    "pgtable_types.h",
    "shim.h",
    "stream.h",
    "walk.h",
    "walk_entry.h",
    "walk_loops.h",
)


class Unit(NamedTuple):
    """One source compiled with flags of its own, into a directory of its own."""

    source: str
    directory: str
    flags: tuple[str, ...]


def units() -> list[Unit]:
    """Return everything that is compiled once for each instruction set."""
    found = []
    for isa in ISAS:
        flags = (*LOOP_FLAGS, *isa.flags, f"-DPGTABLE_BLOCK_OPS={_ops_symbol(isa)}")
        found.append(Unit("block_ops.c", isa.name, flags))
        for combination in COMBINATIONS:
            symbol = _instance_symbol(isa, combination)
            own = [
                f"-DPGTABLE_INSTANCE={symbol}",
                f'-DPGTABLE_ISA_NAME="{isa.name}"',
                f"-DPGTABLE_RULES_{combination.rules.upper()}",
                f"-DPGTABLE_SHSTK={int(combination.shstk)}",
            ]
            if combination.config:
                own.append("-DCONFIG_X86_SHADOW_STACK")
            found.append(Unit("instance.c", symbol, (*flags, *own)))
    return found


def _ops_symbol(isa: Any) -> str:
    return f"pgtable_ops_{isa.name}"


def _instance_symbol(isa: Any, combination: tuple) -> str:
    rules, shstk, config = combination
    return f"pgtable_{isa.name}_{rules}_shstk{int(shstk)}_config{int(config)}"


def _instances_table() -> str:
    symbols = [_instance_symbol(isa, combination) for isa in ISAS for combination in COMBINATIONS]
    externs = "".join(f"extern const struct pgtable_instance {symbol};\n" for symbol in symbols)
    entries = "".join(f"\t&{symbol},\n" for symbol in symbols)
    table = "const struct pgtable_instance *const pgtable_instances[]"
    return f"{externs}{table} = {{\n{entries}\tNULL\n}};\n"


def _declarations(header: str) -> str:
    """Return a header of ours as cffi takes it: without preprocessor and comments."""
    text = (CSRC / header).read_text()
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    return re.sub(r"^#.*$", "", text, flags=re.MULTILINE)


def make_ffi() -> FFI:
    """Return the builder of ``pgtable.engines._native``."""
    ffi = FFI()
    for header in HEADERS:
        ffi.cdef(_declarations(header))
    ffi.set_source(
        "pgtable.engines._native",
        "".join(f'#include "{header}"\n' for header in HEADERS) + _instances_table(),
        sources=[f"csrc/{source}" for source in SOURCES],
        include_dirs=["csrc"],
        depends=[f"csrc/{name}" for name in LOOP_SOURCES],
        extra_link_args=["-pthread"],
        py_limited_api=True,
    )
    return ffi


HEADERS = ("bulk.h", "census.h", "form.h", "walk.h")
ffibuilder = make_ffi()
