# SPDX-License-Identifier: GPL-2.0-only
"""The helpers that are measured, of our rules and of kernel trees, and how their loops are
built."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ..engines.interface import Engine
from ..engines.reference import reference
from ..engines.switches import Switches
from ..kernel_trees import (
    KernelTreeEngine,
    TreeLibrary,
    code_sizes,
    compile_own,
    compiler_version,
    csrc_directory,
    tree_library,
)
from ..kernel_trees import find_compiler as compiler_path
from .plan import TreeSettings
from .ways import IS_X86, Way

_FLAGS = (
    "-std=gnu11",
    "-fPIC",
    "-shared",
    "-fvisibility=hidden",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-g0",
    "-w",
    *(("-fcf-protection=none",) if IS_X86 else ()),
)
_LINE = re.compile(r"^HELPER2?\(\w+, \w+, (\w+),.*\)$", re.MULTILINE)
#: Flags for the oracle of a tree.  The oracle is not timed.
_ORACLE_FLAGS = ("-O1",)


class Compiler(NamedTuple):
    """A C compiler that is there."""

    path: Path
    name: str  #: with its version, as in results


class TimedLibrary(NamedTuple):
    """Timed loops that were compiled."""

    path: Path
    prefix: str  #: of helpers in symbols
    sizes: dict[str, int]  #: bytes of code, by helper that could be compiled

    def symbol(self, loop: str, helper: str) -> str:
        """Return the symbol of a "table" or "latency" loop."""
        return f"cost_{loop}_{'' if helper == IDENTITY else self.prefix}{helper}"


class HelperSource(Protocol):
    """A set of helpers that can be measured."""

    @property
    def params(self) -> dict[str, Any]:
        """Return engine, shstk and config, as results name them."""

    def oracle(self, helpers: Sequence[str]) -> Engine:
        """Return an engine that says what these helpers must compute."""

    def why_missing(self, helper: str) -> str | None:
        """Return why this has no such helper; None if there is nothing to report."""


@dataclass(frozen=True)
class OurRules:
    """Our rules with their switches."""

    switches: Switches

    @property
    def params(self) -> dict[str, Any]:
        """Return engine, shstk and config; before the patch there were no switches."""
        rules, shstk, config = self.switches
        if rules == "base":
            return {"engine": rules, "shstk": None, "config": None}
        return {"engine": rules, "shstk": shstk, "config": config}

    def oracle(self, helpers: Sequence[str]) -> Engine:
        """Return the reference engine of the rules."""
        return reference(*self.switches)

    def why_missing(self, helper: str) -> str | None:
        """Return None: rules differ in which helpers they have, and that is no fault."""
        return None

    def flags(self, way: Way) -> list[str]:
        """Return the compiler flags for the rules."""
        rules, shstk, config = self.switches
        flags = [f"-DPGTABLE_RULES_{rules.upper()}", f"-DPGTABLE_SHSTK={int(shstk)}"]
        if config:
            flags.append("-DCONFIG_X86_SHADOW_STACK")
        # before the patch there was no test, and there is none if the feature is compiled out
        if way.patched and (shstk or config):
            flags.append("-DPGTABLE_PATCHED")
        return flags


@dataclass(frozen=True)
class MeasuredTree:
    """A kernel tree.  Its oracle is an engine that is compiled from the tree's own text."""

    kernel: TreeSettings
    compiler: Compiler  #: of the oracle
    helpers: tuple[str, ...]  #: that are measured

    @cached_property
    def _oracle(self) -> tuple[KernelTreeEngine, bool]:
        """Return the tree's own engine, and whether the tree knows shadow stacks."""
        # pte_dirty shows whether the tree reads bit 58, which decides the mixes
        only = tuple(dict.fromkeys([*self.helpers, "pte_dirty"]))
        library = self.library(self.compiler, _ORACLE_FLAGS, "constant", only=only)
        return library.engine(), library.report["knows_shstk"]

    def library(self, cc: Compiler, flags: Sequence[str], feature: str, **more: Any) -> TreeLibrary:
        """Return the tree's helpers, compiled; ``more`` as for :func:`tree_library`."""
        return tree_library(
            self.kernel.path,
            self.kernel.generated,
            compiler=cc.path,
            flags=flags,
            config=dict(self.kernel.config),
            shstk=self.kernel.shstk,
            feature=feature,
            **{"only": self.helpers, **more},
        )

    @property
    def params(self) -> dict[str, Any]:
        """Return the release and, if the tree knows it, whether the feature is on."""
        engine, knows_shstk = self._oracle
        shstk = engine.shstk if knows_shstk else None
        overrides = "".join(f",{name}={'y' if on else 'n'}" for name, on in engine_config(engine))
        return {"engine": engine.release + overrides, "shstk": shstk, "config": None}

    def oracle(self, helpers: Sequence[str]) -> Engine:
        """Return the tree's own engine."""
        return self._oracle[0]

    def why_missing(self, helper: str) -> str | None:
        """Return why the tree's helper is not available."""
        engine = self._oracle[0]
        reason = engine.unavailable.get(helper)
        return f"{engine.release}: {helper} {reason}" if reason else None


def engine_config(engine: KernelTreeEngine) -> Iterable[tuple[str, bool]]:
    """Return the build options that were overridden."""
    return sorted(engine.config_overrides.items())


def find_compiler(name: str) -> Compiler:
    """Return a compiler and its version; raises KernelTreeError if it is nowhere."""
    path = compiler_path(name)
    version = compiler_version(path)
    return Compiler(path, f"{path.name} {version}" if version else path.name)


class LibraryRequest(NamedTuple):
    """A library to build: some helpers of a source, compiled in one way."""

    subject: OurRules | MeasuredTree
    way: Way
    compiler: Compiler
    helpers: tuple[str, ...]


def build(request: LibraryRequest) -> TimedLibrary:
    """Return the timed loops: compiled now, or taken out of the cache.

    Raises KernelTreeError (a ValueError), in one line, where they cannot be compiled.
    """
    subject = request.subject
    if isinstance(subject, OurRules):
        path, prefix = _build_rules(subject, request), ""
    else:
        feature = "patched" if request.way.patched else "constant"
        library = subject.library(
            request.compiler, request.way.flags, feature, contents="timed loops"
        )
        path, prefix = library.path, "t_"
    return TimedLibrary(path, prefix, _sizes(path, prefix, request.compiler))


def _build_rules(subject: OurRules, request: LibraryRequest) -> Path:
    csrc = csrc_directory()
    names = set(request.helpers)
    lines = [
        one[0]
        for one in _LINE.finditer((csrc / "helpers" / "helpers.def").read_text())
        if one[1] in names
    ]
    flags = [*_FLAGS, *request.way.flags, *subject.flags(request.way)]
    sources = [csrc / "cost" / "our_rules.c"]
    texts = {"cost_helpers.def": "\n".join(lines)}
    return compile_own(request.compiler.path, csrc, sources, flags, "helpers.so", texts)


_ALONE = "cost_alone_"
IDENTITY = "identity"


def _sizes(path: Path, prefix: str, cc: Compiler) -> dict[str, int]:
    """Return how many bytes of code each helper has when it is inlined, without call and return."""
    sizes: dict[str, int] = {}
    for symbol, size in code_sizes(path, cc.path).items():
        # unlikely code may be a symbol of its own, name.cold
        name = symbol.partition(".")[0]
        if name.startswith(_ALONE):
            helper = name.removeprefix(_ALONE)
            sizes[helper] = sizes.get(helper, 0) + size
    around = sizes.pop(IDENTITY, 0)
    return {name.removeprefix(prefix): size - around for name, size in sizes.items()}
