# SPDX-License-Identifier: GPL-2.0-only
"""A kernel tree's helpers as terms, lifted from the machine code that a compiler made of them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Mapping

import z3

from ..engines.interface import HelperInfo
from ..kernel_trees import cache
from ..kernel_trees import compiler as compilers
from ..kernel_trees.library import LIBRARY
from ..kernel_trees.library_cache import built
from ..kernel_trees.locate import locate
from ..kernel_trees.recipe import Recipe
from .errors import RefusedError
from .lifting import Lifter
from .linked_library import Library
from .machine import HelperMachine

ENTRY, ARGUMENT = z3.BitVecs("entry argument", 64)

#: As kernels are compiled: without the registers that belong to user mode.
FLAGS = "-O2 -mno-mmx -mno-sse -mno-sse2 -mno-avx"

#: What the numbers of gives_<id>() in csrc/kernel_tree/scalars.h are.
_GIVES = ("pte", "pmd", "pud", "p4d", "pgd", "val", "swp", "val", "test")


class LiftedTree:
    """A tree's helpers as terms of ENTRY, ARGUMENT and the machine.

    terms: by name, for helpers that could be lifted.
    refused: why the others could not.
    paths: how many ways there are through all of them.
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
) -> LiftedTree:
    """Compile a tree's helpers, as :func:`pgtable.kernel_tree` does, and read the result.

    Nothing of the tree is loaded or run.  Raises KernelTreeError.
    """
    tree = locate(path, generated)
    recipe = Recipe(
        tree=tree,
        compiler=compilers.find(compiler),
        flags=tuple(shlex.split(FLAGS if flags is None else flags)),
        config=dict(sorted((config or {}).items())),
        shstk=None,
        feature="asm_goto",
        scalar=True,
    )
    place, report = built(recipe)
    signatures = {name: tuple(each) for name, each in report["signatures"].items()}
    text = (tree.generated / "include/generated/autoconf.h").read_text(errors="replace")

    def configured(option: str) -> bool:
        return recipe.config.get(option, f"\n#define {option} 1\n" in text)

    library = Library(cache.read(place, LIBRARY))
    settings = "".join(f", {key}={value}" for key, value in recipe.config.items())
    name = f"kernel_tree({tree.release!r}{settings}), {recipe.compiler.name}"
    if flags is not None:
        name += f" {flags}"
    return LiftedTree(name, library, signatures, configured)
