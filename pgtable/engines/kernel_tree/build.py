# SPDX-License-Identifier: GPL-2.0-only
"""Compile a tree's helpers into a library that the C driver can run."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from . import compiler
from .compiler import HELPER_FILE, Command, Result, errors_by_helper, first_error
from .discover import Candidate, Discovery, discover
from .errors import KernelTreeError
from .locate import PGTABLE_C, Tree
from .objects import lacking, read_objdump

LIBRARY = "helpers.so"
REPORT = "report.json"

#: What kernel code needs to be told, whatever the version.
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
_SHADOW_STACK = "X86_FEATURE_SHSTK"

#: Room for struct cpuinfo_x86, which no version fills by half.
_CPU_DATA_SIZE = 8192

#: What compilers call without being asked.
_LIBC = frozenset({"memcpy", "memset", "memmove", "memcmp", "_GLOBAL_OFFSET_TABLE_"})

#: What BUG() calls, see customised_bug.h.
_BUG = "pgtable_tree_bug"

#: What stands for symbols that only helpers need which are not offered, see stubs.c.
_TRAP = "BUG_func"

#: More rounds than ever seen: two, a third where code generation complains.
_MOST_ROUNDS = 8


#: How cpu_feature_enabled() decides, see customised_feature.h -> what tells the compiler.
FEATURES = {
    "constant": ("-DTREE_SHSTK={}",),
    "patched": ("-DTREE_SHSTK={}", "-DTREE_PATCHED"),
    "asm_goto": (),
}


class Recipe(NamedTuple):
    """Everything that a build depends on but the tree's text."""

    tree: Tree
    compiler: Path
    flags: tuple[str, ...]  #: optimisation and instruction set
    config: Mapping[str, bool]
    shstk: bool | None  #: None: on where the tree knows the feature
    feature: str  #: how it is tested: one of FEATURES
    only: tuple[str, ...] = ()  #: helpers to build; none named: all there are
    timed: bool = False  #: not an engine's loops, but those that pgtable.bench times


class Prepared(NamedTuple):
    """A tree's headers read, nothing compiled yet."""

    discovery: Discovery
    shstk: bool
    key: str  #: the content of everything that would be compiled
    files: list[str]  #: every header that was read
    unused_config: list[str]


def flags_of_loops(optimisation: Sequence[str]) -> list[str]:
    """Return what a tree's loops are compiled with, but for what is about kernel headers."""
    about_headers = ("-nostdinc", "-D__KERNEL__", "-DKBUILD")
    return [*(flag for flag in _KERNEL_FLAGS if not flag.startswith(about_headers)), *optimisation]


def shim_directory() -> Path:
    """Return where our C is: in the package, or in the source tree it is run from."""
    package = Path(__file__).resolve().parents[2]
    installed = package / "csrc"
    return installed if installed.is_dir() else package.parent / "csrc"


def shim_files() -> list[Path]:
    """Return our part of what is compiled."""
    csrc = shim_directory()
    shim = [csrc / "bulk.h", csrc / "bulk_loops.h"]
    for part in ("cost", "kernel_tree"):
        shim += sorted((csrc / part).rglob("*.[ch]"))
    return shim


def prepare(recipe: Recipe, directory: Path) -> Prepared:
    """Read the headers; raises KernelTreeError with the first error if they cannot be."""
    _write_config(recipe, directory)
    flags = [*_kernel_flags(recipe, directory), *_shstk_flags(recipe, False)]
    sources = [shim_directory() / "kernel_tree" / "headers.h"]
    if (recipe.tree.sources / PGTABLE_C).is_file():
        sources.append(recipe.tree.sources / PGTABLE_C)
    commands: list[Command] = [
        [recipe.compiler, *flags, "-E", "-dD", "-x", "c", source] for source in sources
    ]
    commands.append([recipe.compiler, "--version"])
    results = compiler.run(commands, directory)
    if results[0].code:
        raise _broken_headers(recipe, results[0].errors)
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


def build(recipe: Recipe, prepared: Prepared, directory: Path) -> None:
    """Compile into the directory: the library, and a report of what it lacks and why."""
    unavailable = dict(prepared.discovery.unavailable)
    units = _units(recipe, prepared.discovery, unavailable)
    stubs = _compile_stubs(recipe, directory)
    flags = [
        *_kernel_flags(recipe, directory),
        *_shstk_flags(recipe, prepared.shstk),
        *(f"-DTREE_HAS_{have}" for have in sorted(prepared.discovery.has)),
    ]
    _compile_units(recipe, flags, units, directory, unavailable)
    without = _lacking(recipe, units, stubs, directory)
    for name, symbols in without.items():
        unavailable[name] = (
            "can end in BUG(), which would kill the process"
            if _BUG in symbols
            else f"needs {min(symbols)}, which is in no header"
        )
    for unit in units:
        for name in without.keys() & unit.candidates.keys():
            del unit.candidates[name]
    kept = [
        name
        for name in prepared.discovery.candidates
        if any(name in unit.candidates for unit in units)
    ]
    if not kept:
        raise KernelTreeError(f"{recipe.tree.sources}: no helper of it could be compiled")
    objects = [*(directory / unit.object for unit in units), *stubs]
    if not recipe.timed:
        objects.append(_compile_table(recipe, kept, directory))
    _link(recipe, objects, set().union(*without.values()), directory)
    report = {
        "shstk": prepared.shstk,
        "knows_shstk": _SHADOW_STACK in prepared.discovery.macros,
        "helpers": kept,
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


def _loops(recipe: Recipe) -> _Loops:
    return _TIMED_LOOPS if recipe.timed else _ENGINE_LOOPS


class _Unit(NamedTuple):
    """One source text and the helpers in it."""

    name: str
    loops: _Loops
    candidates: dict[str, Candidate]
    before: str = ""
    after: str = ""
    optional: bool = False

    @property
    def object(self) -> str:
        return f"{self.name}.o"

    def text(self) -> str:
        helpers = [
            f'#line 1 "{HELPER_FILE}/{one.name}"\n{self._wrapper(one)}'
            for one in self.candidates.values()
        ]
        header = f'#include "{self.loops.header}"'
        return "\n".join([header, self.before, *helpers, self.after, ""])

    def _wrapper(self, one: Candidate) -> str:
        return self.loops.helper.format(
            name=one.name,
            level=one.level,
            takes=one.takes,
            argument=f'"{one.argument}"' if one.argument else "NULL",
            body="PGTABLE_BODY_2" if one.argument else "PGTABLE_BODY_1",
            call=one.call,
        )


def _units(recipe: Recipe, discovery: Discovery, unavailable: dict[str, str]) -> list[_Unit]:
    """Split what is to be tried, so that every processor has something to compile."""
    wanted = [
        one for one in discovery.candidates.values() if not recipe.only or one.name in recipe.only
    ]
    loops = _loops(recipe)
    bodies = [one for one in wanted if not one.declared]
    declared = {one.name: one for one in wanted if one.declared}
    # what takes long is reading the headers, unless there are many helpers
    parts = 1 if recipe.only else min(len(os.sched_getaffinity(0)), 4)
    units = [
        _Unit(f"unit{part}", loops, {one.name: one for one in bodies[part::parts]})
        for part in range(parts)
    ]
    units[0] = units[0]._replace(after=loops.once)
    if (recipe.tree.sources / PGTABLE_C).is_file():
        before = f"#include <{PGTABLE_C}>"
        units.append(_Unit("source", loops, declared, before=before, optional=True))
    else:
        for name in declared:
            unavailable[name] = (
                f"is only declared; its body is in a source file, and {PGTABLE_C} is not in"
                " the tree"
            )
    return units


def _compile_units(
    recipe: Recipe,
    flags: list[str],
    units: list[_Unit],
    directory: Path,
    unavailable: dict[str, str],
) -> None:
    """Compile all units; helpers that do not compile are taken out, with the reason."""
    todo = list(units)
    for _ in range(_MOST_ROUNDS):
        for unit in todo:
            (directory / f"{unit.name}.c").write_text(unit.text())
        commands: list[Command] = [
            [recipe.compiler, *flags, "-c", f"{unit.name}.c", "-o", unit.object] for unit in todo
        ]
        results = compiler.run(commands, directory)
        failed = [(unit, one.errors) for unit, one in zip(todo, results, strict=True) if one.code]
        for unit, errors in failed:
            reasons = _reasons(recipe, unit, errors)
            for name, reason in reasons.items():
                unavailable[name] = reason
                del unit.candidates[name]
        todo = [unit for unit, _ in failed if unit.candidates or not unit.optional]
        for unit in {unit.name: unit for unit, _ in failed}.values():
            if unit not in todo:
                units.remove(unit)
        if not todo:
            return
    raise _broken_headers(recipe, failed[0][1])


def _reasons(recipe: Recipe, unit: _Unit, errors: str) -> dict[str, str]:
    """Say why which helpers of a unit do not compile; raise if it is the headers' fault."""
    blamed = {
        name: _reason(what)
        for name, what in errors_by_helper(errors).items()
        if name in unit.candidates
    }
    if blamed:
        return blamed
    if unit.optional:
        return dict.fromkeys(unit.candidates, f"{PGTABLE_C}: {first_error(errors)}")
    raise _broken_headers(recipe, errors)


def _reason(what: str) -> str:
    gives = re.search(r"(?:selector of|controlling expression) type '([^']*)'", what)
    return f"gives {gives[1]}" if gives else f"does not compile: {what}"


def _broken_headers(recipe: Recipe, errors: str) -> KernelTreeError:
    return KernelTreeError(
        f"headers do not compile: {first_error(errors)} (with {recipe.compiler}; are the headers"
        " complete, and is the compiler as new as the one they were configured for?)"
    )


def _compile_stubs(recipe: Recipe, directory: Path) -> list[Path]:
    shim = shim_directory() / "kernel_tree"
    objects = [directory / "stubs.o", directory / "copies.o"]
    commands: list[Command] = [
        [
            recipe.compiler,
            *_PLAIN_FLAGS,
            f"-DTREE_CPU_DATA_SIZE={_CPU_DATA_SIZE}",
            "-c",
            shim / f"{one.stem}.c",
            "-o",
            one,
        ]
        for one in objects
    ]
    _require_success(compiler.run(commands, directory))
    return objects


def _lacking(
    recipe: Recipe, units: list[_Unit], stubs: list[Path], directory: Path
) -> dict[str, set[str]]:
    """Return the helpers that need symbols nobody provides, and these symbols."""
    objdump = _program(recipe, "objdump", directory)
    objects = [*(directory / unit.object for unit in units), *stubs]
    commands: list[Command] = [[objdump, "-tr", one] for one in objects]
    results = compiler.run(commands, directory)
    _require_success(results)
    compiled = [read_objdump(result.output) for result in results]
    found = {}
    for unit, one in zip(units, compiled, strict=False):
        for name in unit.candidates:
            missing = lacking(unit.loops.needs.format(name), one, compiled) - _LIBC
            if missing:
                found[name] = missing
    return found


def _program(recipe: Recipe, name: str, directory: Path) -> str:
    """Return the compiler's own tool of that name."""
    command: Command = [recipe.compiler, f"-print-prog-name={name}"]
    return compiler.run([command], directory)[0].output.strip() or name


def _compile_table(recipe: Recipe, kept: list[str], directory: Path) -> Path:
    """Compile the list through which an engine finds its helpers, and which keeps them."""
    table = "".join(f"TREE_TABLE(t_{name})\n" for name in kept)
    (directory / "table.def").write_text(table)
    csrc = shim_directory()
    source, object_ = csrc / "kernel_tree" / "table.c", directory / "table.o"
    include = [f"-I{csrc}", f"-I{directory}"]
    command: Command = [recipe.compiler, *_PLAIN_FLAGS, *include, "-c", source, "-o", object_]
    _require_success(compiler.run([command], directory))
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
    _require_success(compiler.run([command], directory))


def _require_success(results: list[Result]) -> None:
    for result in results:
        if result.code:
            raise KernelTreeError(f"cannot build the helpers: {first_error(result.errors)}")


def _kernel_flags(recipe: Recipe, directory: Path) -> list[str]:
    sources, generated = recipe.tree.sources, recipe.tree.generated
    csrc = shim_directory()
    include = [
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
        sources / "include/linux/compiler-version.h",
        sources / "include/linux/kconfig.h",
        directory / _CONFIG_H,
        sources / "include/linux/compiler_types.h",
    ]
    return [
        *_KERNEL_FLAGS,
        *recipe.flags,
        f"-DTREE_CPU_DATA_SIZE={_CPU_DATA_SIZE}",
        *(f"-I{path}" for path in dict.fromkeys(include)),
        # the kernel took stdarg.h from there before 5.16
        *("-isystem", _compiler_headers(recipe, directory)),
        *(word for path in first if path.is_file() for word in ("-include", str(path))),
    ]


def _compiler_headers(recipe: Recipe, directory: Path) -> str:
    command: Command = [recipe.compiler, "-print-file-name=include"]
    return compiler.run([command], directory)[0].output.strip()


def _shstk_flags(recipe: Recipe, shstk: bool) -> list[str]:
    return [flag.format(int(shstk)) for flag in FEATURES[recipe.feature]]


def _write_config(recipe: Recipe, directory: Path) -> None:
    lines = ['#include "customised_config.h"']
    if not recipe.timed:
        lines += [f"#undef {option}" for option in _NEEDLESS_VARIABLES]
    for name, value in sorted(recipe.config.items()):
        lines += [f"#undef {name}", *([f"#define {name} 1"] if value else [])]
    (directory / _CONFIG_H).write_text("\n".join([*lines, ""]))


def _unused_config(recipe: Recipe, files: list[str]) -> list[str]:
    """Return the overrides that no header asks for."""
    unused = set(recipe.config)
    for file in files if unused else ():
        # the generated configuration names every option there is
        if not file.endswith("autoconf.h"):
            unused -= set(_CONFIG.findall(Path(file).read_text(errors="replace")))
    return sorted(unused)


#: Options that make a variable of what copies.c holds as a constant: a helper that reads it
#: in a branch is no vector code.  Where helpers are timed, the kernel's loads are part of it.
_NEEDLESS_VARIABLES = ("CONFIG_DYNAMIC_PHYSICAL_MASK",)

_CONFIG_H = "config.h"
_CONFIG = re.compile(r"\bCONFIG_\w+")


def _resolved_shstk(recipe: Recipe, discovery: Discovery) -> bool:
    known = _SHADOW_STACK in discovery.macros
    if recipe.shstk and not known:
        raise KernelTreeError(
            f"{recipe.tree.sources} knows no shadow stacks (no {_SHADOW_STACK}); leave shstk out"
        )
    return known if recipe.shstk is None else recipe.shstk


def shim_digest() -> str:
    """Return a digest of our part of what is compiled."""
    digest = sha256()
    for path in [*shim_files(), *sorted(Path(__file__).parent.glob("*.py"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _content_key(recipe: Recipe, shstk: bool, texts: list[str]) -> str:
    digest = sha256()
    switches = [*recipe.flags, *recipe[-3:], shstk]
    digest.update(repr(switches).encode())
    digest.update(shim_digest().encode())
    for text in texts:
        # where headers lie is not what they say
        digest.update(_MARKER.sub("", text).encode())
    return digest.hexdigest()


_MARKER = re.compile(r"^# \d+ \"((?:[^\"\\]|\\.)*)\".*$", re.MULTILINE)


def _files_read(texts: list[str], directory: Path) -> list[str]:
    """Return every header that the preprocessor read."""
    names = {name for text in texts for name in set(_MARKER.findall(text))}
    files = {_unquoted(name) for name in names if not name.startswith("<")}
    ours = (str(directory), str(shim_directory()))
    return sorted(file for file in files if file.startswith("/") and not file.startswith(ours))


def _unquoted(name: str) -> str:
    """Return a file name as it is, of one as the preprocessor writes it."""

    def character(escape: re.Match[str]) -> str:
        return chr(int(escape[1], 8)) if len(escape[1]) == 3 else escape[1]

    if "\\" not in name:
        return name
    return os.fsdecode(re.sub(r"\\([0-7]{3}|.)", character, name).encode("latin-1"))
