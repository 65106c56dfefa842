# SPDX-License-Identifier: GPL-2.0-only
"""Known differences of trees from our rules, decided by what a tree has and lacks.

Each of our rule sets is that of one kernel, and there are kernels before and after it.  A variant
says exactly what a helper gives in a tree that lacks something: it is what ours gives for other
inputs.  A helper that gives anything else still differs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from .. import bits
from ..engines.interface import Engine, Helper
from .report import call
from .subject import has, stem_of

_DEVMAP = re.compile(r"_(?:mk)?devmap$")
NONLEAF_YOUNG = "CONFIG_ARCH_HAS_NONLEAF_PMD_YOUNG"


@dataclass(frozen=True)
class Variant:
    """Helpers that are known to differ in trees that lack something."""

    stems: tuple[str, ...]  #: helpers, without their level
    levels: tuple[str, ...]
    when: Callable[[Engine], bool] = field(repr=False)
    as_if: Callable[[Any, Any, str], tuple[Any, Any]] = field(repr=False)
    inputs: str  #: what differs, in words
    reason: str
    result: Callable[[Any, Any], Any] | None = field(default=None, repr=False)  #: (entries, ours)

    def covers(self, helper: Helper) -> bool:
        """Tell whether this variant is about a tree's helper."""
        return (
            stem_of(helper) in self.stems
            and helper.level in self.levels
            and self.when(helper.engine)
        )

    def differ(self, helper: Helper, ours: Helper) -> Callable[[Any, Any], np.ndarray]:
        """Return for which inputs a tree's helper differs from this variant of ours."""
        expected = self.expected(ours)
        return lambda entries, arguments: (
            call(helper, entries, arguments) != expected(entries, arguments)
        )

    def expected(self, ours: Helper) -> Callable[[Any, Any], Any]:
        """Return the result of this variant of our helper."""
        rules = getattr(ours.engine, "rules", "base")

        def expected(entries: Any, arguments: Any) -> Any:
            found = call(ours, *self.as_if(entries, arguments, rules))
            return found if self.result is None else self.result(entries, found)

        return expected


def lacks_devmap(engine: Engine) -> bool:
    """Tell whether a tree has no devmap helper, not even an empty one."""
    names = [*engine.helpers, *getattr(engine, "unavailable", ())]
    return not any(map(_DEVMAP.search, names))


def wants_young_tables(engine: Engine) -> bool:
    """Tell whether a tree never clears ACCESSED of an entry that points to a table."""
    configured = getattr(engine, "configured", None)
    return configured is not None and not configured(NONLEAF_YOUNG)


def _without_devmap(entries: Any, arguments: Any, rules: str) -> tuple[Any, Any]:
    return entries & ~np.uint64(bits.devmap_bit(rules)), arguments


def lacks_soft_dirty(engine: Engine) -> bool:
    """Tell whether a tree is configured without soft-dirty tracking."""
    return _is_off(engine, "CONFIG_MEM_SOFT_DIRTY", "pte_soft_dirty", bits.SOFT_DIRTY)


def lacks_uffd_wp(engine: Engine) -> bool:
    """Tell whether a tree is configured without write protection by userfaultfd."""
    return _is_off(engine, "CONFIG_HAVE_ARCH_USERFAULTFD_WP", "pte_uffd_wp", bits.UFFD_WP)


def _is_off(engine: Engine, option: str, test: str, bit: int) -> bool:
    """Tell whether an option is off, and its test is never true."""
    configured = getattr(engine, "configured", None)
    if configured is None or configured(option):
        return False
    helper = engine.helpers.get(test)
    return helper is not None and not helper(bit | bits.PRESENT)


#: Bits that modify keeps if the tree has them: the name, and a function that tells who lacks it.
_KEPT_IF_THERE: dict[str, tuple[Callable[[str], int], Callable[[Engine], bool]]] = {
    "DEVMAP": (bits.devmap_bit, lacks_devmap),
    "SOFT_DIRTY": (lambda _: bits.SOFT_DIRTY, lacks_soft_dirty),
    "UFFD_WP": (lambda _: bits.UFFD_WP, lacks_uffd_wp),
}


def _taken_from_newprot(names: tuple[str, ...]) -> Variant:
    """Return the modify of a tree that lacks exactly these bits."""

    def when(engine: Engine) -> bool:
        return all(lacks(engine) == (name in names) for name, (_, lacks) in _KEPT_IF_THERE.items())

    def as_if(entries: Any, arguments: Any, rules: str) -> tuple[Any, Any]:
        taken = np.uint64(sum(_KEPT_IF_THERE[name][0](rules) for name in names))
        # these bits are not kept, so whether the entry's frame is inverted stays the same
        stays = np.where(entries == 0, np.uint64(bits.PRESENT), np.uint64(bits.USER))
        return (entries & ~taken) | (arguments & taken) | stays, arguments

    words = ", ".join(names)
    verb, like = ("is", "a bit") if len(names) == 1 else ("are", "bits")
    return Variant(
        ("modify",), ("pte", "pmd", "pud"), when, as_if,
        f"{words} {verb} taken from newprot, not kept",
        f"the tree has no {words.lower()} helpers: {words} {verb} {like} like any other",
    )  # fmt: skip


def _unchanged(entries: Any, arguments: Any, _: str) -> tuple[Any, Any]:
    return entries, arguments


def _soft_dirty_as_it_was(entries: Any, found: Any) -> Any:
    soft_dirty = np.uint64(bits.SOFT_DIRTY)
    return (found & ~soft_dirty) | (entries & soft_dirty)


def _bad_unless_young(entries: Any, arguments: Any, _: str) -> tuple[Any, Any]:
    return np.where(has(entries, bits.ACCESSED), entries, np.uint64(0)), arguments


_NO_DEVMAP = "the tree has no devmap helpers: DEVMAP is a bit like any other"

VARIANTS = (
    Variant(
        ("trans_huge",), ("pmd", "pud"), lacks_devmap, _without_devmap,
        "PSE=1,DEVMAP=1 is a huge page", _NO_DEVMAP,
    ),
    *(
        _taken_from_newprot(names)
        for count in range(1, len(_KEPT_IF_THERE) + 1)
        for names in combinations(_KEPT_IF_THERE, count)
    ),
    Variant(
        ("mkdirty",), ("pte", "pmd", "pud"), lacks_soft_dirty, _unchanged,
        "SOFT_DIRTY is not set", "the tree is configured without CONFIG_MEM_SOFT_DIRTY",
        _soft_dirty_as_it_was,
    ),
    Variant(
        ("bad",), ("pmd",), wants_young_tables, _bad_unless_young,
        "a table's entry with ACCESSED=0 is bad",
        f"without {NONLEAF_YOUNG} no table's ACCESSED is ever cleared",
    ),
)  # fmt: skip


def is_ours(engine: Engine) -> bool:
    """Tell whether an engine follows rules because it was made from them."""
    return getattr(engine, "switches", None) is not None


def variants_of(helper: Helper, ours: Helper) -> list[Variant]:
    """Return the variants of a tree's helper, if it is compared with one of our rules."""
    if is_ours(helper.engine) or not is_ours(ours.engine):
        return []
    return [variant for variant in VARIANTS if variant.covers(helper)]
