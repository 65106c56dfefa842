# SPDX-License-Identifier: GPL-2.0-only
"""What is measured: plans are data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..engines.switches import COMBINATIONS, Switches
from .mixes import MIXES
from .ways import WAYS

SHAPES = ("table", "latency", "memory")

BASE = Switches("base", False, False)
COW = Switches("cow", True, True)
SAVED_DIRTY = Switches("saved_dirty", True, True)

HELPERS = (
    "pte_wrprotect",
    "pte_mkdirty",
    "pte_mkwrite",
    "pte_mkclean",
    "pte_modify",
    "pte_dirty",
    "pte_write",
)
#: Helpers of large pages that some rules treat differently from those of a pte.
LARGE_HELPERS = (
    "pmd_wrprotect",
    "pmd_mkdirty",
    "pmd_write",
    "pmd_modify",
    "pud_wrprotect",
    "pud_mkdirty",
    "pud_write",
)


@dataclass(frozen=True)
class TreeSettings:
    """A kernel tree to be measured.

    path, generated: as :func:`pgtable.kernel_tree` takes them.
    shstk: None: on where the tree knows shadow stacks.
    config: build options that are overridden.
    """

    path: str
    generated: str | None = None
    shstk: bool | None = None
    config: Mapping[str, bool] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class PlanPart:
    """A part of a plan: all combinations of these."""

    helpers: tuple[str, ...] = HELPERS
    rules: tuple[Switches, ...] = (BASE, COW, SAVED_DIRTY)
    kernels: tuple[TreeSettings, ...] = ()
    ways: tuple[str, ...] = ("kernel",)
    compilers: tuple[str, ...] = ("gcc",)
    #: of ``MIXES``, or files
    mixes: tuple[str, ...] = ("clean", "dirty", "half")
    files: tuple[str | os.PathLike[str], ...] = ()
    shapes: tuple[str, ...] = ("table",)


@dataclass(frozen=True)
class Plan:
    """A plan: its parts, and how long they are measured.

    processes: how many.  Each measures everything, and is one repetition.
    seconds: for the tables and latencies of one process; rounds go on until then.
    rounds: at most so many; memory_rounds: of the large array.
    memory_entries: how large that is.
    isa: the instruction set of the way "vector"; None: the one in force.
    """

    parts: tuple[PlanPart, ...]
    processes: int = 5
    seconds: float = 4.0
    rounds: int = 200
    memory_entries: int = 16 << 20
    memory_rounds: int = 5
    isa: str | None = None

    def with_kernels(self, *kernels: TreeSettings) -> Plan:
        """Return the plan with these trees in every part as well."""
        parts = tuple(replace(part, kernels=(*part.kernels, *kernels)) for part in self.parts)
        return replace(self, parts=parts)

    def with_files(self, *files: str | os.PathLike[str]) -> Plan:
        """Return the plan with the entries of these files as mixes of every part as well."""
        parts = tuple(replace(part, files=(*part.files, *files)) for part in self.parts)
        return replace(self, parts=parts)


#: What ``pgtable bench`` shows: before the patch, the patch, as merged.
DEFAULT = Plan((PlanPart(),))
QUICK = replace(DEFAULT, processes=3, seconds=0.5, memory_entries=1 << 20, memory_rounds=3)

_COMPILERS = ("gcc", "clang")
#: What the report shows.  It takes less than five minutes on two processors.
FULL = Plan(
    (
        PlanPart(
            helpers=HELPERS,
            rules=COMBINATIONS,
            ways=WAYS,
            compilers=_COMPILERS,
            mixes=MIXES,
        ),
        PlanPart(
            helpers=LARGE_HELPERS,
            rules=COMBINATIONS,
            compilers=_COMPILERS,
            mixes=("clean", "dirty", "half"),
        ),
        PlanPart(
            helpers=HELPERS,
            ways=("kernel", "constant"),
            compilers=_COMPILERS,
            mixes=("clean", "half"),
            shapes=("latency",),
        ),
        PlanPart(
            helpers=("pte_wrprotect", "pte_modify"),
            ways=("kernel", "vector"),
            mixes=("half",),
            shapes=("memory",),
        ),
    ),
    seconds=12.0,
    memory_rounds=3,
)
