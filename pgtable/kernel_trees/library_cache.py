# SPDX-License-Identifier: GPL-2.0-only
"""What is made of a recipe: out of the cache, or compiled now."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..engines.forms import Condition, Form
from . import cache
from .errors import KernelTreeError
from .form_proofs import Proved, prove
from .library import LIBRARY, REPORT, build
from .recipe import Recipe, prepare, shim_digest

FORMS = "forms.json"
_FILES = [LIBRARY, REPORT]


def compiled_library(recipe: Recipe) -> tuple[Path, dict[str, Any]]:
    """Return where the library is, and its report; build them if need be."""
    request = _key_of(recipe)
    found = cache.find(request, _FILES)
    if found is None:
        found = _build(recipe, request)
    return found, json.loads(cache.read(found, REPORT))


def _build(recipe: Recipe, request: str) -> Path:
    with cache.unfinished() as directory:
        # somebody may have built it while we waited for our turn
        found = cache.find(request, _FILES)
        if found is not None:
            return found
        prepared = prepare(recipe, directory)
        headers = cache.stamps(prepared.files)
        found = cache.find_content(prepared.key, _FILES)
        if found is None:
            build(recipe, prepared, directory)
            if cache.stamps(prepared.files) != headers:
                raise _changed(recipe)
            found = cache.keep(prepared.key, directory, _FILES)
        cache.remember(request, prepared.key, headers, directory)
        return found


def _changed(recipe: Recipe) -> KernelTreeError:
    """Return the error for a text that is not the one which was read before."""
    return KernelTreeError(
        f"{recipe.tree.sources}: headers changed while they were compiled; do it again"
    )


def proved(
    recipe: Recipe, library_dir: Path, report: Mapping[str, Any], seen: Callable[[], Proved]
) -> Proved:
    """Return what is proved of a library's helpers.

    library_dir, report: as of :func:`compiled_library`.
    seen: returns what seems to be so; called if the proofs are still to be made.
    """
    found = _proved_before(library_dir)
    if found is None:
        found = _prove(recipe, library_dir, report, seen)
    forms = {name: _form(*words) for name, words in found["forms"].items()}
    return Proved(forms, frozenset(found["bitwise"]))


def _proved_before(library_dir: Path) -> dict[str, Any] | None:
    """Return what was written down of proofs; None: nothing, or what is damaged."""
    if not (library_dir / FORMS).exists():
        return None
    try:
        return json.loads(cache.read(library_dir, FORMS))
    except cache.DamagedError as error:
        cache.say(f"{error}; it is proved again")
    except OSError:
        cache.say(f"a file of {library_dir} is missing; it is proved again")
    return None


def _prove(
    recipe: Recipe, library_dir: Path, report: Mapping[str, Any], seen: Callable[[], Proved]
) -> dict[str, Any]:
    with cache.unfinished() as directory:
        # somebody may have done it while we waited for our turn
        if before := _proved_before(library_dir):
            return before
        forms, bitwise = prove(recipe, report, seen(), directory)
        if cache.find(_key_of(recipe), _FILES) != library_dir:
            raise _changed(recipe)
        found = {"forms": forms, "bitwise": sorted(bitwise)}
        (directory / FORMS).write_text(json.dumps(found))
        cache.add(library_dir, directory / FORMS)
        return found


def _form(*words: int) -> Form | Condition:
    if len(words) == len(Form._fields):
        return Form(*words)
    mask, value, or_mask, or_value, either, negate = words
    return Condition(mask, value, or_mask, or_value, bool(either), bool(negate))


def _key_of(recipe: Recipe) -> str:
    """Return what is asked for, without a look into the headers."""
    status = recipe.compiler.stat()
    request = (
        *map(str, recipe[:2]),
        (status.st_size, status.st_mtime_ns),
        recipe.flags,
        sorted(recipe.config.items()),
        (recipe.shstk, *recipe[-4:]),
        shim_digest(),
    )
    return sha256(repr(request).encode()).hexdigest()
