# SPDX-License-Identifier: GPL-2.0-only
"""A kernel tree's helpers as terms, lifted from the machine code that a compiler made of them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import z3

from ..engines.interface import HelperInfo
from ..kernel_trees import find_compiler, tree_library
from .errors import RefusedError
from .lifting import Lifter
from .linked_library import Library
from .machine import HelperMachine

ENTRY, ARGUMENT = z3.BitVecs("entry argument", 64)

#: Flags as for kernels: without the registers that belong to user mode.
FLAGS = "-O2 -mno-mmx -mno-sse -mno-sse2 -mno-avx"

#: The types behind the numbers of gives_<id>() in csrc/kernel_tree/scalars.h.
_GIVES = ("pte", "pmd", "pud", "p4d", "pgd", "val", "swp", "val", "test")


class LiftedTree:
    """A tree's helpers as terms of ENTRY, ARGUMENT and the machine.

    terms: by name, for helpers that could be lifted.
    refused: why the others could not.
    paths: the number of paths through all of them.
    """

    def __init__(
        self,
        name: str,
        library: Library,
        signatures: Mapping[str, tuple[str, str, str | None]],
        configured: Callable[[str], bool],
    ):
        self.name = name
        self.configured = configured
        self.shadow_stack_option = configured("CONFIG_X86_SHADOW_STACK")
        self.terms: dict[str, z3.BitVecRef] = {}
        self.infos: dict[str, HelperInfo] = {}
        self.refused: dict[str, str] = {}
        self.paths = 0
        self._signatures = signatures
        lifter = Lifter(library, HelperMachine())
        self.machine = HelperMachine(_feature(lifter))
        self._lifter = Lifter(library, self.machine)

    def lift(self, names: Iterable[str]) -> None:
        """Make terms of these helpers."""
        for name in names:
            try:
                self._lift(name)
            except RefusedError as error:
                self.refused[name] = str(error)

    def _lift(self, name: str) -> None:
        level, takes, argument = self._signatures[name]
        inputs = [ENTRY, ARGUMENT]
        number, _ = self._lifter.word(f"gives_t_{name}", inputs)
        gives = _GIVES[number.as_long()]
        term, paths = self._lifter.word(f"scalar_t_{name}", inputs)
        self.infos[name] = HelperInfo(name, level, takes, gives, argument)
        self.terms[name] = term
        self.paths += paths

    @property
    def names(self) -> list[str]:
        """Every helper that was compiled."""
        return list(self._signatures)


def _feature(lifter: Lifter) -> int | None:
    place, _ = lifter.word("tree_feature_place", [])
    number = place.as_long()
    return None if number == 2**64 - 1 else number


def tree_subject(
    path: str | os.PathLike[str],
    *,
    generated: str | os.PathLike[str] | None = None,
    config: Mapping[str, bool] | None = None,
    compiler: str = "gcc",
    flags: str | None = None,
    overlay: Path | None = None,
) -> LiftedTree:
    """Compile a tree's helpers, as :func:`pgtable.kernel_tree` does, and read the result.

    overlay: a directory with some of the tree's files, which stand for the tree's own.

    Nothing of the tree is loaded or run.  Raises KernelTreeError.
    """
    compiled = tree_library(
        path,
        generated,
        compiler=find_compiler(compiler),
        flags=shlex.split(FLAGS if flags is None else flags),
        config=config or {},
        feature="asm_goto",
        contents="functions",
        overlay=overlay,
    )
    signatures = {name: tuple(each) for name, each in compiled.report["signatures"].items()}
    settings = "".join(f", {key}={value}" for key, value in compiled.recipe.config.items())
    name = f"kernel_tree({compiled.release!r}{settings}), {compiled.recipe.compiler.name}"
    if flags is not None:
        name += f" {flags}"
    return LiftedTree(name, Library(compiled.read()), signatures, compiled.configured)
