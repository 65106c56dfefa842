# SPDX-License-Identifier: GPL-2.0-only
"""Keeps the files that patches change beside a tree, which stays as it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..kernel_trees import Tree, read_text
from .applying import apply, is_applied
from .diffs import FileDiff
from .errors import PatchError
from .mails import Patch
from .not_concerned import BODIES, concerns_helpers

_FEATURES = "arch/x86/include/asm/cpufeatures.h"


class PatchedTree:
    """The text of a tree's files after some patches.

    files: what patches changed, by path; None: deleted.
    notes: what was not as the patches say: offsets, fuzz, files that were left out.
    """

    def __init__(self, tree: Tree, files: Mapping[str, str | None] | None = None):
        self.tree = tree
        self.files = dict(files or {})
        self.notes: list[str] = []

    def text(self, path: str) -> str | None:
        """Return a file's text; None: there is no such file."""
        if path in self.files:
            return self.files[path]
        found = self.tree.source(path)
        return None if found is None else read_text(found)

    def patched(self, patch: Patch) -> PatchedTree:
        """Return the tree with one more patch.  Raises PatchError where it does not apply."""
        after = PatchedTree(self.tree, self.files)
        for diff in patch.files:
            if concerns_helpers(diff.path) or concerns_helpers(diff.renamed_from or ""):
                after._apply(diff)
        return after

    def _apply(self, diff: FileDiff) -> None:
        if diff.binary:
            raise PatchError(f"{diff.path}: the diff has no text")
        if diff.renamed_from is not None:
            self.files[diff.path], self.files[diff.renamed_from] = self._old(diff), None
        old = "" if diff.kind == "new" else self._old(diff)
        if old is None:
            return
        try:
            applied = apply(diff, old)
        except PatchError as error:
            if is_applied(diff, old):
                raise PatchError(
                    f"{diff.path}: the tree has this patch already; give the tree before it"
                ) from None
            raise error
        self.notes += applied.notes
        self.files[diff.path] = None if diff.kind == "deleted" else applied.text

    def _old(self, diff: FileDiff) -> str | None:
        path = diff.renamed_from or diff.path
        text = self.text(path)
        if text is None and path == BODIES:
            self.notes.append(f"{path} is not in the tree: what the patch does there is left out")
        elif text is None:
            raise PatchError(
                f"{path}: the patch changes it, and the tree has no such file; give the tree that"
                " it was made for, or the patch that adds the file with --with"
            )
        return text

    def define(self, lines: Iterable[str]) -> None:
        """Add lines to the header that has the processor's features."""
        text = self.text(_FEATURES)
        if text is None:
            raise PatchError(f"{self.tree.sources} has no {_FEATURES}")
        head, guard, tail = text.rpartition("#endif")
        self.files[_FEATURES] = "\n".join([head, *lines, guard + tail])

    def write(self, directory: Path) -> Path:
        """Write the changed files to a directory, with links to their neighbours; return it.

        A header that another one names relative to itself is found among the links.
        """
        for path, text in self.files.items():
            place = directory / path
            if not place.parent.is_dir():
                place.parent.mkdir(parents=True)
                self._link_neighbours(Path(path).parent, place.parent)
            place.unlink(missing_ok=True)
            # a deleted file must not be found in the tree either
            place.write_text(f'#error "{path} is deleted"\n' if text is None else text)
        return directory

    def _link_neighbours(self, name: Path, place: Path) -> None:
        original = self.tree.sources / name
        if original.is_dir():
            for neighbour in original.iterdir():
                if neighbour.is_file() and not (place / neighbour.name).exists():
                    (place / neighbour.name).symlink_to(neighbour)


def free_features(text: str, names: Iterable[str]) -> list[str]:
    """Return definitions of features that a header lacks, each with a bit that none has."""
    taken = {
        (int(word), int(bit))
        for word, bit in re.findall(r"\(\s*(\d+)\s*\*\s*32\s*\+\s*(\d+)\s*\)", text)
    }
    words = max((word for word, _ in taken), default=-1)
    free = (
        (word, bit)
        for word in range(words, -1, -1)
        for bit in range(31, -1, -1)
        if (word, bit) not in taken
    )
    return [
        f"#define {name} ({word}*32+{bit})" for name, (word, bit) in zip(names, free, strict=False)
    ]


def known_features(text: str) -> set[str]:
    """Return the features that a header defines."""
    return set(re.findall(r"^#define\s+(X86_(?:FEATURE|BUG)_\w+)", text, re.MULTILINE))
