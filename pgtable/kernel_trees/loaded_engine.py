# SPDX-License-Identifier: GPL-2.0-only
"""The engine whose helpers are a kernel tree's own, compiled from its headers."""

from __future__ import annotations

import ctypes
import os
import re
import shlex
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..engines._native import ffi
from ..engines.forms import Condition, Form, found_condition, found_form
from ..engines.interface import HelperInfo
from ..engines.isas import ISAS
from ..engines.loop_engine import CompiledEngine, CompiledHelper, as_info_fields
from ..engines.native import native
from . import cache, compiler
from .errors import KernelTreeError
from .form_proofs import Proved
from .isolation.isolated_engine import SECONDS, IsolatedTreeEngine
from .library import LIBRARY
from .library_cache import compiled_library, proved
from .locate import locate
from .recipe import FEATURES, Recipe
from .tree_engine import KernelTreeEngine

#: The parts of -O3 that make loops faster.  All of -O3 would take a third longer to compile.
#: With value ranges, a test of bit 0 becomes a truncation, of which gcc makes no vector code.
_GCC_FLAGS = (
    *("-O2", "-ftree-vectorize", "-fvect-cost-model=dynamic", "-funswitch-loops"),
    *("-fno-thread-jumps", "-fno-ssa-phiopt"),
)
_CLANG_FLAGS = ("-O3",)
#: A loop that crosses a cache line of code takes up to twice as long.
_ALIGNED = "-falign-loops=64"

_OPTION = re.compile(r"CONFIG_[A-Z0-9_a-z]+")


class LoadedTreeEngine(KernelTreeEngine, CompiledEngine):
    """The helpers of one kernel tree, loaded into this process."""

    def __init__(
        self,
        recipe: Recipe,
        isa: str,
        library_dir: Path,
        report: dict[str, Any],
        forms: bool = False,
    ):
        KernelTreeEngine.__init__(self, recipe, isa, report)
        CompiledEngine.__init__(self, self.name, native(isa=isa).loops)
        # one path is loaded once, and every engine has a processor of its own
        self._library = _load_copy(cache.read(library_dir, LIBRARY))
        self._library.pgtable_tree_set_feature(int(self.shstk))
        self.feature_is_constant = bool(self._library.pgtable_tree_feature_is_constant())
        handles = {HelperInfo(*as_info_fields(handle)): handle for handle in self._handles()}
        proofs = proved(recipe, library_dir, report, lambda: _seen(handles)) if forms else _NOTHING
        self.forms = MappingProxyType(dict(proofs.forms))
        self.bitwise = proofs.bitwise
        self._set_helpers(CompiledHelper(self, info, handle) for info, handle in handles.items())

    def form_of(self, helper: CompiledHelper, argument: int) -> Form | None:
        """Return the form that the compiler has proved of the text."""
        if helper.name in self.bitwise:
            return found_form(helper.handle, argument)
        form = self.forms.get(helper.name)
        return form if isinstance(form, Form) else None

    def condition_of(self, helper: CompiledHelper) -> Condition | None:
        """Return the same of a test."""
        form = self.forms.get(helper.name)
        return form if isinstance(form, Condition) else None

    def _handles(self) -> list[Any]:
        count = self._library.pgtable_tree_nhelpers
        count.restype = ctypes.c_size_t
        helper = self._library.pgtable_tree_helper
        helper.argtypes, helper.restype = [ctypes.c_size_t], ctypes.c_void_p
        return [ffi.cast("struct pgtable_helper *", helper(i)) for i in range(count())]


def kernel_tree(
    path: str | os.PathLike[str],
    *,
    generated: str | os.PathLike[str] | None = None,
    shstk: bool | None = None,
    config: Mapping[str, bool] | None = None,
    compiler: str = "gcc",
    flags: str | Sequence[str] | None = None,
    isa: str | None = None,
    feature: str = "constant",
    forms: bool = True,
    isolated: bool = False,
    timeout: float = SECONDS,
) -> KernelTreeEngine:
    """Return the engine of a kernel tree's own helpers, compiled from its headers.

    A kernel tree is a program.  Unless ``isolated``, its code is loaded into this
    process and can do all that the process can: its constructors run, and a helper
    that divides by zero, loops without end or calls exit() ends the process, or hangs
    it.  Do that with trees that you trust; it is what makes helpers as quick as ours.

    path: a configured kernel source tree, a distribution's unpacked or installed
        header package (of two halves, either), or a bare header tree.
    generated: the directory with the generated headers (``include/generated``),
        where they cannot be found from ``path``.
    shstk: the run-time switch ``cpu_feature_enabled(X86_FEATURE_SHSTK)``;
        None: on where the tree knows it.
    config: build options to override, e.g. ``{"CONFIG_X86_USER_SHADOW_STACK": False}``.
        One that no header asks for gives a UserWarning.
    compiler: name or path of the C compiler.
    flags: compiler flags instead of optimisation and those of ``isa``.
    isa: the instruction set of :func:`pgtable.isas` to compile for; None: the one
        in force.
    feature: "constant": ``shstk`` is a constant to the compiler, as if patched at
        boot; "patched": the nop or jump that booting leaves; "asm_goto": the
        kernel's own unpatched code tests it for each entry.
    forms: True runs the closed form of a helper over arrays, if it has one and the compiler
        proves it from the tree's text.  False always runs the loop that was compiled from the text.

    isolated: run the helpers in a process of their own, which may use no files, no
        network and no other programs where the system can keep it from them
        (``engine.active`` says what does).  One that ends that process is a
        HelperEndedError with its name, the entry and the reason.  Results are the
        same; a call takes some 50 us longer, in one thread, and ``forms`` are not used.
    timeout: seconds that a helper may take over half a million entries, if isolated.

    The compiler runs with limits (600 s, 6 GiB of memory) and, where the system has
    Landlock, may read the tree, its own files and what PGTABLE_COMPILER_PATHS names
    (separated by colons), and nothing else.
    Compiling takes a few seconds once; the result is kept in the platform's cache
    directory, or in PGTABLE_CACHE_DIR.  Value helpers that cannot be had are in
    ``engine.unavailable`` with the reason.

    Raises KernelTreeError (a ValueError), which says what mends it: for what is no
    x86-64 kernel tree, lacks generated headers, or does not compile; without a
    compiler; for a cache that cannot be written or trusted.  OSError for an unreadable
    path.
    """
    isa = native(isa=isa).isa
    tree, found = locate(path, generated), _compiler(compiler)
    recipe = Recipe(
        tree=tree,
        compiler=found,
        flags=_flags(flags, isa, found),
        config=_checked_config(config or {}),
        shstk=_checked_shstk(shstk),
        feature=_checked_feature(feature),
    )
    library_dir, report = compiled_library(recipe)
    for name in report["unused_config"]:
        warnings.warn(f"{name}: no header of {recipe.tree.sources} asks for it", stacklevel=2)
    engine: KernelTreeEngine
    if isolated:
        engine = IsolatedTreeEngine(recipe, isa, library_dir, report, timeout)
    else:
        engine = LoadedTreeEngine(recipe, isa, library_dir, report, forms)
    if feature == "constant" and not engine.feature_is_constant:
        raise KernelTreeError(
            f"{recipe.tree.sources}: cpu_feature_enabled() cannot be made a constant; use"
            " feature='asm_goto'"
        )
    return engine


def _seen(handles: Mapping[HelperInfo, Any]) -> Proved:
    """Return the forms that the helpers have for all entries that form.c tries."""
    forms: dict[str, Form | Condition] = {}
    bitwise = set()
    for info, handle in handles.items():
        if info.argument is not None:
            if info.gives != "test" and all(found_form(handle, word) for word in _ARGUMENTS):
                bitwise.add(info.name)
        elif form := found_condition(handle) if info.gives == "test" else found_form(handle):
            forms[info.name] = form
    return Proved(forms, frozenset(bitwise))


#: Arguments in which each bit is set and clear, beside neighbours that are set and clear.
_ARGUMENTS = (0, 2**64 - 1, 0x5555555555555555, 0x3333333333333333)
_NOTHING = Proved({}, frozenset())


def _load_copy(library: bytes) -> ctypes.CDLL:
    handle, name = tempfile.mkstemp(prefix="pgtable-", suffix=".so")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(library)
        return ctypes.CDLL(name)
    finally:
        Path(name).unlink()


def _compiler(name: str) -> Path:
    return compiler.find(name)


def _flags(flags: str | Sequence[str] | None, isa: str, found: Path) -> tuple[str, ...]:
    if flags is not None:
        return tuple(shlex.split(flags) if isinstance(flags, str) else flags)
    optimisation = _CLANG_FLAGS if compiler.is_clang(found) else _GCC_FLAGS
    vector = next(known.flags for known in ISAS if known.name == isa)
    return (*optimisation, _ALIGNED, *vector)


def _checked_config(config: Mapping[str, bool]) -> dict[str, bool]:
    for name, value in config.items():
        if not _OPTION.fullmatch(name):
            raise ValueError(f"config: {name!r} is no build option; they are called CONFIG_...")
        if not isinstance(value, bool):
            raise TypeError(f"config: {name} is {value!r}; it must be True or False")
    return dict(sorted(config.items()))


def _checked_shstk(shstk: bool | None) -> bool | None:
    if shstk is None or isinstance(shstk, bool):
        return shstk
    raise TypeError(f"shstk is {shstk!r}; it must be True, False or None")


def _checked_feature(feature: str) -> str:
    if feature not in FEATURES:
        raise ValueError(f"feature is {feature!r}; it must be one of {', '.join(FEATURES)}")
    return feature
