# SPDX-License-Identifier: GPL-2.0-only
"""A recipe's library: out of the cache, or compiled now."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from . import cache
from .build import LIBRARY, REPORT, Recipe, build, prepare, shim_digest


def built(recipe: Recipe) -> tuple[Path, dict[str, Any]]:
    """Return where the library is, and its report; build them if need be."""
    asked = _key_of(recipe)
    found = cache.find(asked)
    if found is None:
        found = _build(recipe, asked)
    return found, json.loads((found / REPORT).read_text())


def _build(recipe: Recipe, asked: str) -> Path:
    with cache.unfinished() as directory:
        # somebody may have built it while we waited for our turn
        found = cache.find(asked)
        if found is not None:
            return found
        prepared = prepare(recipe, directory)
        found = cache.find_content(prepared.key)
        if found is None:
            build(recipe, prepared, directory)
            found = cache.keep(prepared.key, directory, [LIBRARY, REPORT])
        cache.remember(asked, prepared.key, prepared.files, directory)
        return found


def _key_of(recipe: Recipe) -> str:
    """Return what is asked for, without a look into the headers."""
    status = recipe.compiler.stat()
    asked = (
        *map(str, recipe[:2]),
        (status.st_size, status.st_mtime_ns),
        recipe.flags,
        sorted(recipe.config.items()),
        (recipe.shstk, *recipe[-3:]),
        shim_digest(),
    )
    return sha256(repr(asked).encode()).hexdigest()
