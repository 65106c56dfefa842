# SPDX-License-Identifier: GPL-2.0-only
"""Source texts that have a piece of C for each helper, compiled until only bad helpers are left
out."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from . import compiler
from .compiler import HELPER_FILE, Command, errors_by_helper, first_error
from .errors import KernelTreeError
from .locate import PGTABLE_C
from .objects import Object, read_objdump
from .recipe import Recipe, broken_headers

#: More rounds than are ever needed: two, or three if code generation fails.
_MOST_ROUNDS = 8


class Unit(NamedTuple):
    """One source text and the helpers in it."""

    name: str
    header: str
    helpers: dict[str, str]  #: helper -> its piece of C
    before: str = ""
    after: str = ""
    optional: bool = False

    @property
    def object(self) -> str:
        """The file that it is compiled to."""
        return f"{self.name}.o"

    def text(self) -> str:
        """Return the whole text."""
        helpers = [f'#line 1 "{HELPER_FILE}/{name}"\n{text}' for name, text in self.helpers.items()]
        return "\n".join([f'#include "{self.header}"', self.before, *helpers, self.after, ""])


def split(name: str, header: str, helpers: dict[str, str], most: int = 4) -> list[Unit]:
    """Divide helpers into units, so that every processor has one to compile."""
    parts = min(len(os.sched_getaffinity(0)), most)
    names = list(helpers)
    return [
        Unit(f"{name}{part}", header, {each: helpers[each] for each in names[part::parts]})
        for part in range(parts)
    ]


def compile_units(
    recipe: Recipe,
    flags: list[str],
    units: list[Unit],
    directory: Path,
    unavailable: dict[str, str],
) -> None:
    """Compile all units.  Helpers that do not compile are removed, and the reason is noted."""
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
                del unit.helpers[name]
        todo = [unit for unit, _ in failed if unit.helpers or not unit.optional]
        for unit in {unit.name: unit for unit, _ in failed}.values():
            if unit not in todo:
                units.remove(unit)
        if not todo:
            return
    raise broken_headers(recipe, failed[0][1])


def _reasons(recipe: Recipe, unit: Unit, errors: str) -> dict[str, str]:
    """Return why helpers of a unit do not compile; raise an error if the headers are the cause."""
    blamed = {
        name: _reason(what)
        for name, what in errors_by_helper(errors).items()
        if name in unit.helpers
    }
    if blamed:
        return blamed
    if unit.optional:
        return dict.fromkeys(unit.helpers, f"{PGTABLE_C}: {first_error(errors)}")
    raise broken_headers(recipe, errors)


def _reason(what: str) -> str:
    gives = re.search(r"(?:selector of|controlling expression) type '([^']*)'", what)
    return f"gives {gives[1]}" if gives else f"does not compile: {what}"


def objects_of(recipe: Recipe, objects: list[Path], directory: Path) -> list[Object]:
    """Return which symbols compiled objects define, and which they refer to."""
    objdump = _program(recipe, "objdump", directory)
    commands: list[Command] = [[objdump, "-tr", one] for one in objects]
    results = compiler.run(commands, directory)
    require_success(results)
    return [read_objdump(result.output) for result in results]


def _program(recipe: Recipe, name: str, directory: Path) -> str:
    """Return the compiler's own tool of that name."""
    command: Command = [recipe.compiler, f"-print-prog-name={name}"]
    return compiler.run([command], directory)[0].output.strip() or name


def require_success(results: list[compiler.CommandResult]) -> None:
    """Raise KernelTreeError with the first error there is."""
    for result in results:
        if result.code:
            raise KernelTreeError(f"cannot build the helpers: {first_error(result.errors)}")
