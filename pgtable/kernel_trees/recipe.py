# SPDX-License-Identifier: GPL-2.0-only
"""What has to be compiled, with which flags, and the key under which the cache has it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from . import compiler
from .compiler import Command, first_error
from .discover import Discovery, discover
from .errors import KernelTreeError
from .locate import AUTOCONF_H, PGTABLE_C, Tree
from .reading import read_text

#: Flags that kernel code of every version needs.
_KERNEL_FLAGS = [
    "-nostdinc",
    "-D__KERNEL__",
    "-DPGTABLE_NO_UNROLL",
    "-std=gnu11",
    "-fPIC",
    "-fshort-wchar",
    "-funsigned-char",
    "-fno-strict-aliasing",
    "-fms-extensions",
    "-fno-stack-protector",
    "-fcf-protection=none",
    "-fno-asynchronous-unwind-tables",
    "-ffunction-sections",
    "-fdata-sections",
    "-w",
    '-DKBUILD_MODNAME="pgtable"',
    '-DKBUILD_BASENAME="pgtable"',
    '-DKBUILD_MODFILE="pgtable"',
]
SHADOW_STACK = "X86_FEATURE_SHSTK"

#: Bytes for struct cpuinfo_x86: more than twice as many as any version needs.
CPU_DATA_SIZE = 8192

#: How cpu_feature_enabled() decides (see customised_feature.h) -> the compiler's flags for it.
FEATURES = {
    "constant": ("-DTREE_SHSTK={}",),
    "patched": ("-DTREE_SHSTK={}", "-DTREE_PATCHED"),
    "asm_goto": (),
}


class Recipe(NamedTuple):
    """Everything that a build depends on, apart from the tree's text."""

    tree: Tree
    compiler: Path
    flags: tuple[str, ...]  #: optimisation and instruction set
    config: Mapping[str, bool]
    shstk: bool | None  #: None: on where the tree knows the feature
    feature: str  #: how the feature is tested: one of FEATURES
    only: tuple[str, ...] = ()  #: helpers to build; none named: all
    timed: bool = False  #: build the loops that pgtable.cost times, not an engine's loops
    scalar: bool = False  #: build functions of one word, not loops: pgtable.proofs reads them

    def configured(self, option: str) -> bool:
        """Tell whether a build option (``CONFIG_...``) holds in what is compiled."""
        if option in self.config:
            return self.config[option]
        text = read_text(self.tree.generated / AUTOCONF_H)
        return re.search(rf"^#define {re.escape(option)} 1$", text, re.MULTILINE) is not None


class Prepared(NamedTuple):
    """What was read from a tree's headers.  Nothing is compiled yet."""

    discovery: Discovery
    shstk: bool
    key: str  #: a digest of everything that would be compiled
    files: list[str]  #: every header that was read
    unused_config: list[str]


def flags_of_loops(optimisation: Sequence[str]) -> list[str]:
    """Return the flags of a tree's loops, without those that only kernel headers need."""
    about_headers = ("-nostdinc", "-D__KERNEL__", "-DKBUILD")
    return [*(flag for flag in _KERNEL_FLAGS if not flag.startswith(about_headers)), *optimisation]


def csrc_directory() -> Path:
    """Return where our C is: in the package, or in the source tree it is run from."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "csrc"
    return installed if installed.is_dir() else package.parent / "csrc"


def shim_files() -> list[Path]:
    """Return our own files that are compiled with a tree."""
    csrc = csrc_directory()
    shim = [csrc / "bulk" / "bulk.h", csrc / "bulk" / "bulk_loops.h"]
    for part in ("cost", "kernel_tree"):
        shim += sorted((csrc / part).rglob("*.[ch]"))
    return shim


def prepare(recipe: Recipe, directory: Path) -> Prepared:
    """Read the headers; raises KernelTreeError with the first error if they cannot be."""
    write_config(recipe, directory)
    flags = [*_kernel_flags(recipe, directory), *_shstk_flags(recipe, False)]
    sources = [csrc_directory() / "kernel_tree" / "headers.h"]
    if (bodies := recipe.tree.source(PGTABLE_C)) is not None:
        sources.append(bodies)
    commands: list[Command] = [
        [recipe.compiler, *flags, "-E", "-dD", "-x", "c", source] for source in sources
    ]
    commands.append([recipe.compiler, "--version"])
    results = compiler.run(commands, directory)
    if results[0].code:
        raise broken_headers(recipe, results[0].errors)
    texts = [result.output for result in results]
    discovery = discover(texts[0])
    shstk = _resolved_shstk(recipe, discovery)
    files = _files_read(texts, directory)
    return Prepared(
        discovery=discovery,
        shstk=shstk,
        key=_content_key(recipe, shstk, texts),
        files=files,
        unused_config=_unused_config(recipe, files),
    )


def broken_headers(recipe: Recipe, errors: str) -> KernelTreeError:
    """Return the error for headers that cannot be compiled, whatever the helper."""
    return KernelTreeError(
        f"headers do not compile: {first_error(errors)} (with {recipe.compiler}; are the headers"
        " complete, and is the compiler as new as the one they were configured for?)"
    )


def compile_flags(recipe: Recipe, shstk: bool, has: Iterable[str], directory: Path) -> list[str]:
    """Return the compiler flags for helpers.

    has: as in Discovery.has.
    directory: the one that :func:`write_config` wrote to.
    """
    return [
        *_kernel_flags(recipe, directory),
        *_shstk_flags(recipe, shstk),
        *(f"-DTREE_HAS_{have}" for have in sorted(has)),
    ]


def _kernel_flags(recipe: Recipe, directory: Path) -> list[str]:
    sources, generated = recipe.tree.sources, recipe.tree.generated
    csrc = csrc_directory()
    include = [
        *_of_overlay(recipe.tree),
        sources / "arch/x86/include",
        generated / "arch/x86/include/generated",
        sources / "include",
        generated / "include",
        sources / "arch/x86/include/uapi",
        generated / "arch/x86/include/generated/uapi",
        sources / "include/uapi",
        generated / "include/generated/uapi",
        csrc,
        csrc / "kernel_tree",
        csrc / "kernel_tree/include",
        sources,
    ]
    first = [
        recipe.tree.source("include/linux/compiler-version.h"),
        recipe.tree.source("include/linux/kconfig.h"),
        directory / _CONFIG_H,
        recipe.tree.source("include/linux/compiler_types.h"),
    ]
    return [
        *_KERNEL_FLAGS,
        *recipe.flags,
        f"-DTREE_CPU_DATA_SIZE={CPU_DATA_SIZE}",
        *(f"-I{path}" for path in dict.fromkeys(include)),
        # kernels before 5.16 include the compiler's stdarg.h
        *("-isystem", _compiler_headers(recipe, directory)),
        *(word for path in first if path is not None for word in ("-include", str(path))),
    ]


def _of_overlay(tree: Tree) -> list[Path]:
    """Return the overlay's directories of headers, and itself for its C."""
    if tree.overlay is None:
        return []
    inside = ("arch/x86/include", "include", "arch/x86/include/uapi", "include/uapi", "")
    return [tree.overlay / place for place in inside]


def _compiler_headers(recipe: Recipe, directory: Path) -> str:
    command: Command = [recipe.compiler, "-print-file-name=include"]
    return compiler.run([command], directory)[0].output.strip()


def _shstk_flags(recipe: Recipe, shstk: bool) -> list[str]:
    return [flag.format(int(shstk)) for flag in FEATURES[recipe.feature]]


def write_config(recipe: Recipe, directory: Path) -> None:
    """Write the file that is read before all headers of the tree."""
    lines = ['#include "customised_config.h"']
    if not (recipe.timed or recipe.scalar):
        lines += [f"#undef {option}" for option in _NEEDLESS_VARIABLES]
        lines.append("#define TREE_CONSTANTS 1")
    for name, value in sorted(recipe.config.items()):
        lines += [f"#undef {name}", *([f"#define {name} 1"] if value else [])]
    (directory / _CONFIG_H).write_text("\n".join([*lines, ""]))


def _unused_config(recipe: Recipe, files: list[str]) -> list[str]:
    """Return the overrides that no header asks for."""
    unused = set(recipe.config)
    for file in files if unused else ():
        # the generated configuration names all options, so it does not count
        if not file.endswith("autoconf.h"):
            unused -= set(_CONFIG.findall(read_text(Path(file))))
    return sorted(unused)


#: Options that turn a constant of copies.c into a variable.  A helper that branches on a
#: variable cannot become vector code.  When helpers are timed, the kernel's own loads stay.
_NEEDLESS_VARIABLES = ("CONFIG_DYNAMIC_PHYSICAL_MASK",)

_CONFIG_H = "config.h"
_CONFIG = re.compile(r"\bCONFIG_\w+")


def _resolved_shstk(recipe: Recipe, discovery: Discovery) -> bool:
    known = SHADOW_STACK in discovery.macros
    if recipe.shstk and not known:
        raise KernelTreeError(
            f"{recipe.tree.sources} knows no shadow stacks (no {SHADOW_STACK}); leave shstk out"
        )
    return known if recipe.shstk is None else recipe.shstk


def shim_digest() -> str:
    """Return a digest of our own files that are compiled, and of the modules that write the
    rest."""
    here = Path(__file__).parent
    digest = sha256()
    for path in [*shim_files(), *sorted(here.glob("*.py")), here.parent / "engines" / "forms.py"]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _content_key(recipe: Recipe, shstk: bool, texts: list[str]) -> str:
    digest = sha256()
    switches = [*recipe.flags, *recipe[-4:], shstk]
    digest.update(repr(switches).encode())
    digest.update(shim_digest().encode())
    for text in texts:
        # the same headers in another directory are the same
        digest.update(_MARKER.sub("", text).encode())
    return digest.hexdigest()


_MARKER = re.compile(r"^# \d+ \"((?:[^\"\\]|\\.)*)\".*$", re.MULTILINE)


def _files_read(texts: list[str], directory: Path) -> list[str]:
    """Return every header that the preprocessor read."""
    names = {name for text in texts for name in set(_MARKER.findall(text))}
    files = {_unquoted(name) for name in names if not name.startswith("<")}
    ours = (str(directory), str(csrc_directory()))
    return sorted(file for file in files if file.startswith("/") and not file.startswith(ours))


def _unquoted(name: str) -> str:
    """Return a file name without the preprocessor's escapes."""

    def character(escape: re.Match[str]) -> str:
        return chr(int(escape[1], 8)) if len(escape[1]) == 3 else escape[1]

    if "\\" not in name:
        return name
    return os.fsdecode(re.sub(r"\\([0-7]{3}|.)", character, name).encode("latin-1"))
