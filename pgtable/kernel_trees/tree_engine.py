# SPDX-License-Identifier: GPL-2.0-only
"""The base class of engines of kernel trees, whichever process their helpers run in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ..engines.forms import Condition, Form
from ..engines.interface import Engine
from .recipe import Recipe


class KernelTreeEngine(Engine):
    """The helpers of one kernel tree.

    release: what ``uname -r`` says of a kernel built from the tree.
    shstk: whether the processor has shadow stacks, as the helpers see it.
    isa, flags: what the loops were compiled for, and with.
    forms: the closed forms that run instead of the helpers' text, over arrays.
    bitwise: helpers with an argument whose every form that trying finds is proved.
    unavailable: value helpers of the headers that this engine does not have, with the reason.
    """

    release: str
    shstk: bool
    unavailable: Mapping[str, str]
    forms: Mapping[str, Form | Condition] = MappingProxyType({})
    bitwise: frozenset[str] = frozenset()
    feature_is_constant: bool
    #: what keeps the tree's code from doing anything but computing; empty: nothing does
    active: Sequence[str] = ()

    def __init__(self, recipe: Recipe, isa: str, report: dict[str, Any]):
        self._recipe = recipe
        self.tree = recipe.tree
        self.release = recipe.tree.release
        self.shstk = report["shstk"]
        self.isa = isa
        self.flags = recipe.flags
        self.config_overrides = MappingProxyType(dict(recipe.config))
        self.unavailable = MappingProxyType(report["unavailable"])
        self.name = self._full_name()

    @property
    def kept_from_harm(self) -> bool:
        """Whether something keeps the tree's code from files and network.  Limits alone do not."""
        return any(one != "limits" for one in self.active)

    def configured(self, option: str) -> bool:
        """Tell whether a build option (``CONFIG_...``) holds in what was compiled."""
        return self._recipe.configured(option)

    def _full_name(self) -> str:
        overrides = "".join(f", {name}={value}" for name, value in self.config_overrides.items())
        return f"kernel_tree({self.release!r}, shstk={self.shstk}{overrides})"

    def _why_missing(self, name: str) -> str:
        if reason := self.unavailable.get(name):
            return f"{self.name} has no {name}: it {reason}"
        return super()._why_missing(name)
