# SPDX-License-Identifier: GPL-2.0-only
"""Compile a tree's helpers into a library that the C driver can run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from . import compiler
from .compiler import Command
from .discover import Candidate, Discovery
from .errors import KernelTreeError
from .locate import PGTABLE_C
from .objects import lacking
from .recipe import CPU_DATA_SIZE, SHADOW_STACK, Prepared, Recipe, compile_flags, csrc_directory
from .translation_units import Unit, compile_units, objects_of, require_success, split

LIBRARY = "helpers.so"
REPORT = "report.json"

_PLAIN_FLAGS = [
    "-std=gnu11",
    "-O2",
    "-fPIC",
    "-fvisibility=hidden",
    "-ffunction-sections",
    "-fdata-sections",
]
_LINK_FLAGS = [
    "-shared",
    "-nostartfiles",
    "-Wl,--gc-sections",
    "-Wl,-z,defs",
    "-Wl,-z,noexecstack",
    "-Wl,--build-id=none",
]
#: What compilers call without being asked.
_LIBC = frozenset({"memcpy", "memset", "memmove", "memcmp", "_GLOBAL_OFFSET_TABLE_"})

#: What BUG() calls, see customised_bug.h.
_BUG = "pgtable_tree_bug"

#: What stands for symbols that only helpers need which are not offered, see stubs.c.
_TRAP = "BUG_func"


def build(recipe: Recipe, prepared: Prepared, directory: Path) -> None:
    """Compile into the directory: the library, and a report of what it lacks and why."""
    loops = _SCALARS if recipe.scalar else _TIMED_LOOPS if recipe.timed else _ENGINE_LOOPS
    unavailable = dict(prepared.discovery.unavailable)
    units = _units(recipe, loops, prepared.discovery, unavailable)
    stubs = _compile_stubs(recipe, directory)
    flags = compile_flags(recipe, prepared.shstk, prepared.discovery.has, directory)
    compile_units(recipe, flags, units, directory, unavailable)
    without = _lacking(recipe, loops, units, stubs, directory)
    for name, symbols in without.items():
        unavailable[name] = (
            "can end in BUG(), which would kill the process"
            if _BUG in symbols
            else f"needs {min(symbols)}, which is in no header"
        )
    compiled = set().union(*(unit.helpers for unit in units)) - without.keys()
    kept = [name for name in prepared.discovery.candidates if name in compiled]
    if not kept:
        raise KernelTreeError(f"{recipe.tree.sources}: no helper of it could be compiled")
    objects = [*(directory / unit.object for unit in units), *stubs]
    if loops is _ENGINE_LOOPS:
        objects.append(_compile_table(recipe, kept, directory))
    _link(recipe, objects, set().union(*without.values()), directory)
    report = {
        "shstk": prepared.shstk,
        "knows_shstk": SHADOW_STACK in prepared.discovery.macros,
        "has": sorted(prepared.discovery.has),
        "signatures": {
            one.name: [one.level, one.takes, one.argument]
            for one in map(prepared.discovery.candidates.__getitem__, kept)
        },
        "calls": {name: prepared.discovery.candidates[name].call for name in kept},
        "unavailable": dict(sorted(unavailable.items())),
        "unused_config": prepared.unused_config,
    }
    (directory / REPORT).write_text(json.dumps(report, indent=1))


class _Loops(NamedTuple):
    """What is made of every helper."""

    header: str
    helper: str  #: C of one helper, to be filled in
    needs: str  #: the symbol that needs whatever the helper does
    once: str = ""  #: C that stands beside them, in one unit


_ENGINE_LOOPS = _Loops(
    header="wrappers.h",
    helper='TREE_HELPER(t_{name}, "{name}", "{level}", "{takes}", {argument}, {body}, {call})',
    needs="helper_t_{}",
    once='#line 1 "feature.c"\n#include "feature.c"',
)
_TIMED_LOOPS = _Loops(
    header="cost/tree.h",
    helper="COST_TREE_HELPER(t_{name}, {call})",
    needs="cost_alone_t_{}",
    once="COST_LOOPS(identity)",
)
_SCALARS = _Loops(
    header="scalars.h",
    helper="TREE_SCALAR(t_{name}, {call})",
    needs="scalar_t_{}",
    once="TREE_SCALAR_FEATURE",
)


def _units(
    recipe: Recipe, loops: _Loops, discovery: Discovery, unavailable: dict[str, str]
) -> list[Unit]:
    """Return the texts of all that is to be tried."""
    candidates = [
        one for one in discovery.candidates.values() if not recipe.only or one.name in recipe.only
    ]
    bodies = {one.name: _text(loops, one) for one in candidates if not one.declared}
    declared = {one.name: _text(loops, one) for one in candidates if one.declared}
    # what takes long is reading the headers, unless there are many helpers
    units = split("unit", loops.header, bodies, 1 if recipe.only else 4)
    units[0] = units[0]._replace(after=loops.once)
    if recipe.tree.source(PGTABLE_C) is not None:
        before = f"#include <{PGTABLE_C}>"
        units.append(Unit("source", loops.header, declared, before=before, optional=True))
    else:
        for name in declared:
            unavailable[name] = (
                f"is only declared; its body is in a source file, and {PGTABLE_C} is not in"
                " the tree"
            )
    return units


def _text(loops: _Loops, one: Candidate) -> str:
    return loops.helper.format(
        name=one.name,
        level=one.level,
        takes=one.takes,
        argument=f'"{one.argument}"' if one.argument else "NULL",
        body="PGTABLE_BODY_2" if one.argument else "PGTABLE_BODY_1",
        call=one.call,
    )


def _compile_stubs(recipe: Recipe, directory: Path) -> list[Path]:
    shim = csrc_directory() / "kernel_tree"
    objects = [directory / "stubs.o", directory / "copies.o"]
    commands: list[Command] = [
        [
            recipe.compiler,
            *_PLAIN_FLAGS,
            f"-DTREE_CPU_DATA_SIZE={CPU_DATA_SIZE}",
            "-c",
            shim / f"{one.stem}.c",
            "-o",
            one,
        ]
        for one in objects
    ]
    require_success(compiler.run(commands, directory))
    return objects


def _lacking(
    recipe: Recipe, loops: _Loops, units: list[Unit], stubs: list[Path], directory: Path
) -> dict[str, set[str]]:
    """Return the helpers that need symbols nobody provides, and these symbols."""
    compiled = objects_of(recipe, [*(directory / unit.object for unit in units), *stubs], directory)
    found = {}
    for unit, one in zip(units, compiled, strict=False):
        for name in unit.helpers:
            missing = lacking(loops.needs.format(name), one, compiled) - _LIBC
            if missing:
                found[name] = missing
    return found


def _compile_table(recipe: Recipe, kept: list[str], directory: Path) -> Path:
    """Compile the list through which an engine finds its helpers, and which keeps them."""
    table = "".join(f"TREE_TABLE(t_{name})\n" for name in kept)
    (directory / "table.def").write_text(table)
    csrc = csrc_directory()
    source, object_ = csrc / "kernel_tree" / "table.c", directory / "table.o"
    include = [f"-I{csrc}", f"-I{directory}"]
    command: Command = [recipe.compiler, *_PLAIN_FLAGS, *include, "-c", source, "-o", object_]
    require_success(compiler.run([command], directory))
    return object_


def _link(recipe: Recipe, objects: list[Path], absent: set[str], directory: Path) -> None:
    """Link what is kept; ``absent`` are the symbols that nobody provides."""
    # code aside, which all helpers of a unit share, may hold one that is not offered:
    # it is linked, and not run
    command: Command = [
        recipe.compiler,
        *_PLAIN_FLAGS,
        *_LINK_FLAGS,
        *(f"-Wl,--defsym={symbol}={_TRAP}" for symbol in sorted(absent)),
        *objects,
        "-o",
        directory / LIBRARY,
    ]
    require_success(compiler.run([command], directory))
