# SPDX-License-Identifier: GPL-2.0-only
"""Whose helpers are measured: our rules, and kernel trees.  How their timed loops are built."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ..engines.interface import Engine
from ..engines.reference import reference
from ..engines.switches import Switches
from ..kernel_trees import KernelTreeEngine, KernelTreeError, cache, compiler
from ..kernel_trees.isolation.isolated_engine import IsolatedTreeEngine
from ..kernel_trees.library import LIBRARY
from ..kernel_trees.library_cache import built
from ..kernel_trees.locate import locate
from ..kernel_trees.objects import read_objdump
from ..kernel_trees.recipe import Recipe, shim_directory
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
#: What the oracle of a tree is compiled with: it is not timed.
_ORACLE_FLAGS = ("-O1",)


class Compiler(NamedTuple):
    """A C compiler that is there."""

    path: Path
    name: str  #: with its version, as results name it


class TimedLibrary(NamedTuple):
    """Timed loops that were compiled."""

    path: Path
    prefix: str  #: of helpers in symbols
    sizes: dict[str, int]  #: bytes of code, by helper; what is not here could not be had

    def symbol(self, loop: str, helper: str) -> str:
        """Return the symbol of a "table" or "latency" loop."""
        return f"cost_{loop}_{'' if helper == IDENTITY else self.prefix}{helper}"


class HelperSource(Protocol):
    """Whose helpers are measured."""

    @property
    def params(self) -> dict[str, Any]:
        """Return engine, shstk and config, as results name them."""

    def oracle(self, helpers: Sequence[str]) -> Engine:
        """Return an engine that says what these helpers must compute."""

    def why_missing(self, helper: str) -> str | None:
        """Say why there is no such helper; None where that is as it should be."""


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
        """Rules that have a helper and rules that have not are what is compared."""
        return None

    def flags(self, way: Way) -> list[str]:
        """Return what tells the compiler the rules."""
        rules, shstk, config = self.switches
        flags = [f"-DPGTABLE_RULES_{rules.upper()}", f"-DPGTABLE_SHSTK={int(shstk)}"]
        if config:
            flags.append("-DCONFIG_X86_SHADOW_STACK")
        # before the patch nobody asked, and what is compiled out is not asked for either
        if way.patched and (shstk or config):
            flags.append("-DPGTABLE_PATCHED")
        return flags


@dataclass(frozen=True)
class MeasuredTree:
    """A kernel tree; its oracle is its own text, compiled as an engine."""

    kernel: TreeSettings
    compiler: Compiler  #: of the oracle
    helpers: tuple[str, ...]  #: that will be asked for

    @cached_property
    def _engine(self) -> KernelTreeEngine:
        return self._oracle_and_report[0]

    @cached_property
    def _oracle_and_report(self) -> tuple[KernelTreeEngine, dict[str, Any]]:
        recipe = self.recipe(self.compiler, _ORACLE_FLAGS, "constant")
        # whether it reads dirtiness in bit 58 decides what its mixes are
        only = tuple(dict.fromkeys([*self.helpers, "pte_dirty"]))
        recipe = recipe._replace(only=only)
        place, report = built(recipe)
        engine = IsolatedTreeEngine(recipe, "baseline", place, report)
        return engine, report

    def recipe(
        self, cc: Compiler, flags: Sequence[str], feature: str, timed: bool = False
    ) -> Recipe:
        """Return how some of the tree's helpers are to be compiled."""
        return Recipe(
            tree=locate(self.kernel.path, self.kernel.generated),
            compiler=cc.path,
            flags=tuple(flags),
            config=dict(self.kernel.config),
            shstk=self.kernel.shstk,
            feature=feature,
            only=self.helpers,
            timed=timed,
        )

    @property
    def params(self) -> dict[str, Any]:
        """Return the release and, where the tree knows it, the feature."""
        engine, report = self._oracle_and_report
        shstk = engine.shstk if report["knows_shstk"] else None
        overrides = "".join(f",{name}={'y' if on else 'n'}" for name, on in engine_config(engine))
        return {"engine": engine.release + overrides, "shstk": shstk, "config": None}

    def oracle(self, helpers: Sequence[str]) -> Engine:
        """Return the tree's own engine."""
        return self._engine

    def why_missing(self, helper: str) -> str | None:
        """Say why the tree's helper cannot be had."""
        reason = self._engine.unavailable.get(helper)
        return f"{self._engine.release}: {helper} {reason}" if reason else None


def engine_config(engine: KernelTreeEngine) -> Iterable[tuple[str, bool]]:
    """Return the build options that were overridden."""
    return sorted(engine.config_overrides.items())


def find_compiler(name: str) -> Compiler:
    """Return a compiler and its version; raises KernelTreeError if it is nowhere."""
    path = compiler.find(name)
    version = re.search(r"\b\d+\.\d+(?:\.\d+)?\b", _output([path, "--version"]).partition("\n")[0])
    return Compiler(path, f"{path.name} {version[0]}" if version else path.name)


def _output(command: compiler.Command) -> str:
    return compiler.run([command], Path(tempfile.gettempdir()))[0].output


class LibraryRequest(NamedTuple):
    """One library: these helpers of a subject, compiled in one way."""

    subject: OurRules | MeasuredTree
    way: Way
    compiler: Compiler
    helpers: tuple[str, ...]


def build(wanted: LibraryRequest) -> TimedLibrary:
    """Return the timed loops; compiled now, or before.

    Raises KernelTreeError (a ValueError), in one line, where they cannot be compiled.
    """
    subject = wanted.subject
    if isinstance(subject, OurRules):
        path, prefix = _build_rules(subject, wanted), ""
    else:
        feature = "patched" if wanted.way.patched else "constant"
        recipe = subject.recipe(wanted.compiler, wanted.way.flags, feature, timed=True)
        path, prefix = built(recipe)[0] / LIBRARY, "t_"
    return TimedLibrary(path, prefix, _sizes(path, prefix, wanted.compiler))


def _build_rules(subject: OurRules, wanted: LibraryRequest) -> Path:
    csrc = shim_directory()
    names = set(wanted.helpers)
    lines = [
        one[0]
        for one in _LINE.finditer((csrc / "helpers" / "helpers.def").read_text())
        if one[1] in names
    ]
    flags = [*_FLAGS, *wanted.way.flags, *subject.flags(wanted.way)]
    sources = [csrc / "cost" / "our_rules.c"]
    return compiled(
        wanted.compiler, sources, flags, LIBRARY, {"cost_helpers.def": "\n".join(lines)}
    )


def compiled(
    cc: Compiler,
    sources: Sequence[Path],
    flags: Sequence[str],
    name: str,
    texts: dict[str, str] | None = None,
) -> Path:
    """Return what C of ours compiles to, out of the cache if it is there.

    texts: more files that the sources include.
    """
    csrc = shim_directory()
    texts = texts or {}
    digest = sha256(repr((cc.path, cc.path.stat().st_mtime_ns, flags, name, texts)).encode())
    rooms = ("helpers", "bulk", "cost")
    for path in sorted(path for room in rooms for path in (csrc / room).iterdir()):
        digest.update(path.read_bytes())
    key = digest.hexdigest()
    found = cache.find_content(key, [name])
    if found is None:
        # several at a time: only what has become of it needs the cache's lock
        with tempfile.TemporaryDirectory(prefix="pgtable-") as place:
            _compile(cc, sources, flags, name, texts, Path(place))
            with cache.unfinished() as directory:
                shutil.move(Path(place, name), directory / name)
                found = cache.find_content(key, [name]) or cache.keep(key, directory, [name])
    return found / name


def _compile(
    cc: Compiler,
    sources: Sequence[Path],
    flags: Sequence[str],
    name: str,
    texts: dict[str, str],
    directory: Path,
) -> None:
    for file, text in texts.items():
        (directory / file).write_text(text)
    include = [f"-I{directory}", f"-I{shim_directory()}"]
    command: compiler.Command = [cc.path, *flags, *include, *sources, "-o", name, "-ldl", "-lm"]
    result = compiler.run([command], directory)[0]
    if result.code:
        raise KernelTreeError(
            f"{cc.path} cannot compile {sources[0].name}: {compiler.first_error(result.errors)}"
        )


_ALONE = "cost_alone_"
IDENTITY = "identity"


def _sizes(path: Path, prefix: str, cc: Compiler) -> dict[str, int]:
    """Return bytes of code of each helper, inlined: without what calling it takes."""
    objdump = _output([cc.path, "-print-prog-name=objdump"]).strip() or "objdump"
    sizes: dict[str, int] = {}
    for symbol, size in read_objdump(_output([objdump, "-t", path])).sizes.items():
        # what is unlikely may stand apart, as name.cold
        name = symbol.partition(".")[0]
        if name.startswith(_ALONE):
            helper = name.removeprefix(_ALONE)
            sizes[helper] = sizes.get(helper, 0) + size
    around = sizes.pop(IDENTITY, 0)
    return {name.removeprefix(prefix): size - around for name, size in sizes.items()}
