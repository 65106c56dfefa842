# SPDX-License-Identifier: GPL-2.0-only
"""What a review says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .helper_changes import HelperChanges
    from .law_changes import LawChanges


@dataclass
class SettingReview:
    """What a patch does in one configuration.

    config: options that were set for it; label: the same in words, "" for the tree's own.
    matches: how many helpers are those of the rules that the tree follows after the patch.
    """

    label: str
    config: dict[str, bool]
    helpers: HelperChanges
    laws: LawChanges
    rules: str
    matches: tuple[int, int]
    levels: list[str]
    assumptions: tuple[str, ...] = ()


@dataclass
class PatchReview:
    """What one patch, or a whole series, does; the first setting is the one asked for."""

    title: str
    concerned: bool
    settings: list[SettingReview] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def main(self) -> SettingReview:
        """The review in the configuration that was asked for."""
        return self.settings[0]

    @property
    def breaks(self) -> bool:
        """Whether a law breaks, in any setting."""
        return any(each.laws.broken for each in self.settings)

    @property
    def changes(self) -> bool:
        """Whether a helper came, went or changed, or may have, in any setting."""
        return any(each.helpers.any or each.helpers.refused for each in self.settings)


@dataclass
class Review:
    """The reviews of the patches of a series, and of the whole where it has several."""

    tree: str
    release: str
    patches: list[PatchReview]
    whole: PatchReview | None = None

    @property
    def all(self) -> list[PatchReview]:
        """Every review: the whole series first."""
        return [*([self.whole] if self.whole else []), *self.patches]
