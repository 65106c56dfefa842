# SPDX-License-Identifier: GPL-2.0-only
"""Reviews patches: applies them to a tree's headers, and proves what they change."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..kernel_trees import KernelTreeError, find_tree
from ..proofs.lifted_tree import LiftedTree, tree_subject
from ..proofs.proving import prove_helpers, rules_of
from .helper_changes import helper_changes, uneven_levels
from .law_changes import law_changes
from .mails import Patch, joined
from .not_concerned import concerns, concerns_helpers
from .overlay import PatchedTree, free_features, known_features
from .review_results import PatchReview, Review, SettingReview

#: More options are not tried both ways.
MOST_OPTIONS = 4

_OPTION = re.compile(r"\bCONFIG_[A-Z0-9_]+\b")
_FEATURE = re.compile(r"\bX86_(?:FEATURE|BUG)_[A-Z0-9_]+\b")
_CPU_FEATURES = "arch/x86/include/asm/cpufeatures.h"

#: Called as progress(what): what is being done.
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """How to review.

    before: patches that the tree gets first.  config: options, as for kernel_tree.
    defined: lines of C that name what the tree lacks.
    """

    generated: str | os.PathLike[str] | None = None
    before: Sequence[Patch] = ()
    config: Mapping[str, bool] = field(default_factory=dict)
    defined: Sequence[str] = ()
    compiler: str = "gcc"
    flags: str | None = None
    seconds: float = 20.0


def review_patches(
    patches: Sequence[Patch],
    tree: str | os.PathLike[str],
    options: Options | None = None,
    progress: Progress | None = None,
) -> Review:
    """Review patches on a tree, in order: each one, and all together.

    tree: a kernel tree or header package, as :func:`pgtable.kernel_tree` takes it.  It is
        not changed, and none of its code is run.

    Raises PatchError for a patch that does not apply, KernelTreeError for a tree that does
    not compile, before or after a patch.
    """
    options = options or Options()
    located = find_tree(tree, options.generated)
    say = progress or (lambda what: None)
    with tempfile.TemporaryDirectory(prefix="pgtable-review-") as place:
        reviewer = _Reviewer(options, tree, Path(place), say)
        start = PatchedTree(located)
        for patch in options.before:
            start = start.patched(patch)
        states = [start]
        for patch in patches:
            states.append(states[-1].patched(patch) if concerns(patch) else states[-1])
        reviewer.define(states, patches)
        single = [
            reviewer.review(patch, before, after)
            for patch, before, after in zip(patches, states, states[1:], strict=False)
        ]
        whole = None
        if len(patches) > 1:
            whole = reviewer.review(joined(patches), states[0], states[-1])
    return Review(str(located.sources), located.release, single, whole)


class _Reviewer:
    def __init__(self, options: Options, tree: Any, place: Path, say: Progress):
        self.options, self.tree, self.place, self.say = options, tree, place, say
        self._written: dict[int, Path | None] = {}
        self._lifted: dict[tuple[int, tuple[tuple[str, bool], ...]], LiftedTree] = {}
        self._features: list[str] = []

    def define(self, states: Sequence[PatchedTree], patches: Iterable[Patch]) -> None:
        """Give features that no text defines a bit that is free, in all states."""
        named = {
            name
            for patch in patches
            for line in _lines(patch)[1]
            for name in _FEATURE.findall(line)
        }
        text = states[0].text(_CPU_FEATURES) or ""
        defined = known_features("\n".join([text, *self.options.defined]))
        last = states[-1].text(_CPU_FEATURES)
        self._features = sorted(named - defined - known_features(last or ""))
        lines = [*self.options.defined, *free_features(text, self._features)]
        if lines:
            for state in {id(each): each for each in states}.values():
                state.define(lines)

    def review(self, patch: Patch, before: PatchedTree, after: PatchedTree) -> PatchReview:
        """Review one step."""
        found = PatchReview(patch.title, concerns(patch), notes=list(after.notes))
        if not found.concerned:
            return found
        gone, come = _lines(patch)
        mine = {name for line in come for name in _FEATURE.findall(line)}
        for name in self._features:
            if name in mine:
                found.notes.append(
                    f"{name} is in no header here: it gets a bit that is free; --define names one"
                )
        asked = sorted({name for line in (*gone, *come) for name in _OPTION.findall(line)})
        main = dict(self.options.config)
        found.settings.append(self._setting("", main, before, after))
        configured = self._lift(before, main).configured
        for name in asked[:MOST_OPTIONS]:
            other = {**main, name: not configured(name)}
            label = f"{name}={'y' if other[name] else 'n'}"
            try:
                found.settings.append(self._setting(label, other, before, after))
            except KernelTreeError as error:
                found.notes.append(f"with {label} the tree does not compile: {error}")
        if asked[MOST_OPTIONS:]:
            left = ", ".join(asked[MOST_OPTIONS:])
            found.notes.append(f"not tried both ways: {left}; --config sets one")
        return found

    def _setting(
        self, label: str, config: dict[str, bool], before: PatchedTree, after: PatchedTree
    ) -> SettingReview:
        old, new = self._lift(before, config), self._lift(after, config)
        self.say("proving")
        helpers = helper_changes(old, new, self.options.seconds)
        laws = law_changes(old, new, self.options.seconds)
        rules = rules_of(new)
        against = prove_helpers(new, rules, {}, (), False, None, self.options.seconds, None)
        matches = len(against.proved), len(against)
        assumptions = tuple(({**old.machine.read, **new.machine.read}).values())
        return SettingReview(
            label, config, helpers, laws, rules, matches, uneven_levels(helpers, new), assumptions
        )

    def _lift(self, state: PatchedTree, config: Mapping[str, bool]) -> LiftedTree:
        key = id(state), tuple(sorted(config.items()))
        if key not in self._lifted:
            self.say("compiling")
            self._lifted[key] = tree_subject(
                self.tree,
                generated=self.options.generated,
                config=config,
                compiler=self.options.compiler,
                flags=self.options.flags,
                overlay=self._overlay(state),
            )
        return self._lifted[key]

    def _overlay(self, state: PatchedTree) -> Path | None:
        if id(state) not in self._written:
            directory = self.place / str(len(self._written))
            self._written[id(state)] = state.write(directory) if state.files else None
        return self._written[id(state)]


def _lines(patch: Patch) -> tuple[list[str], list[str]]:
    """Return the lines that go and come in files that helpers could come from."""
    gone: list[str] = []
    come: list[str] = []
    for diff in _concerned(patch):
        one, other = diff.changed_lines
        gone += one
        come += other
    return gone, come


def _concerned(patch: Patch) -> Iterator[Any]:
    return (diff for diff in patch.files if concerns_helpers(diff.path))
