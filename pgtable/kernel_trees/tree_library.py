# SPDX-License-Identifier: GPL-2.0-only
"""A tree's helpers as a compiled library, for those who read or time it instead of calling it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from . import cache
from .isolation.isolated_engine import IsolatedTreeEngine
from .library import LIBRARY
from .library_cache import compiled_library
from .locate import locate
from .recipe import Recipe

#: What a library has of each helper: the loops of an engine, loops that pgtable.cost times, or
#: functions of one word, which pgtable.proofs reads.
CONTENTS = ("loops", "timed loops", "functions")


class TreeLibrary(NamedTuple):
    """A compiled library of a tree's helpers.

    report: what the headers have: "signatures" (level, what it takes, name of the second
        argument), "unavailable" (the reason), "knows_shstk" and more.
    """

    recipe: Recipe
    directory: Path
    report: dict[str, Any]

    @property
    def path(self) -> Path:
        """The shared library."""
        return self.directory / LIBRARY

    @property
    def release(self) -> str:
        """What ``uname -r`` says of a kernel built from the tree."""
        return self.recipe.tree.release

    def read(self) -> bytes:
        """Return the library's bytes.  Raises an OSError if they are not what was compiled."""
        return cache.read(self.directory, LIBRARY)

    def configured(self, option: str) -> bool:
        """Tell whether a build option (``CONFIG_...``) holds in what was compiled."""
        return self.recipe.configured(option)

    def engine(self) -> IsolatedTreeEngine:
        """Return an engine that runs this library in a process of its own."""
        return IsolatedTreeEngine(self.recipe, "baseline", self.directory, self.report)


def tree_library(
    path: str | os.PathLike[str],
    generated: str | os.PathLike[str] | None = None,
    *,
    compiler: Path,
    flags: Sequence[str],
    config: Mapping[str, bool],
    feature: str,
    shstk: bool | None = None,
    only: Sequence[str] = (),
    contents: str = "loops",
    overlay: Path | None = None,
) -> TreeLibrary:
    """Return a library of a tree's helpers: compiled now, or taken out of the cache.

    path, generated, config, shstk, feature: as :func:`pgtable.kernel_tree` takes them.
    compiler: as :func:`find_compiler` gives it; flags: its options.
    only: the helpers; none named: all.
    contents: one of :data:`CONTENTS`.
    overlay: a directory with some of the tree's files, which stand for the tree's own.

    Raises KernelTreeError if no helper can be compiled, ValueError for other contents.
    """
    if contents not in CONTENTS:
        raise ValueError(f"contents is {contents!r}; it must be one of {', '.join(CONTENTS)}")
    recipe = Recipe(
        tree=locate(path, generated)._replace(overlay=overlay),
        compiler=compiler,
        flags=tuple(flags),
        config=dict(sorted(config.items())),
        shstk=shstk,
        feature=feature,
        only=tuple(only),
        timed=contents == "timed loops",
        scalar=contents == "functions",
    )
    return TreeLibrary(recipe, *compiled_library(recipe))
