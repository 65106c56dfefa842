# SPDX-License-Identifier: GPL-2.0-only
"""Known exceptions: where a rule set breaks a law, as data, with the reason.

Each exception is as narrow as possible: one law, some helpers, some switches, and one class of
inputs.  Everything else is a finding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import bits
from ..engines.interface import Engine
from ..engines.switches import Switches
from .laws import Case, Law, Outcome
from .subject import has, lacks, looks_like_shadow_stack
from .variants import NONLEAF_YOUNG, wants_young_tables

VM_SHADOW_STACK = 1 << 37

#: Frame bits of a small page that are no frame bits of a large one.
_BELOW_PMD = bits.SMALL_FRAME ^ bits.LEAF_FRAME["pmd"]
_BELOW_PUD = bits.SMALL_FRAME ^ bits.LEAF_FRAME["pud"]


@dataclass(frozen=True)
class Known:
    """One known exception to a law."""

    law: str
    stems: tuple[str, ...]  #: helpers, without their level
    when: Callable[[Switches], bool] = field(repr=False)
    where: Callable[[Outcome], Any] = field(repr=False)  #: tells which inputs it excuses
    inputs: str  #: the same in words
    reason: str
    levels: tuple[str, ...] = ()  #: for levels_agree: pairs like "pte/pmd"; () for all
    tree: Callable[[Engine], bool] | None = field(default=None, repr=False)  #: only of these trees
    defect: bool = False  #: rules have it, and nobody wants it

    def covers(self, law: Law, stem: str, case: Case, switches: Switches) -> bool:
        """Tell whether this is about a case of an engine with these switches."""
        if law.name != self.law or stem not in self.stems or not self.when(switches):
            return False
        if self.tree is not None and not self.tree(case.helper.engine):
            return False
        if not self.levels or case.with_ is None:
            return True
        return f"{case.with_.level}/{case.helper.level}" in self.levels


# ---- switches


def _always(_: Switches) -> bool:
    return True


def _no_shadow_stacks(switches: Switches) -> bool:
    """Tell whether Dirty never moves.  Under saved_dirty it moves on every processor."""
    return not switches.shstk and switches.rules != "saved_dirty"


def _cow_bit(switches: Switches) -> bool:
    return switches.rules == "cow" and switches.config


def _cow_on(switches: Switches) -> bool:
    return switches == ("cow", True, True)


def _cow_shstk(switches: Switches) -> bool:
    return switches.rules == "cow" and switches.shstk


def _saved_dirty(switches: Switches) -> bool:
    return switches.rules == "saved_dirty"


def _saved_dirty_on(switches: Switches) -> bool:
    return switches == ("saved_dirty", True, True)


def _not_saved_dirty(switches: Switches) -> bool:
    return switches.rules != "saved_dirty"


# ---- inputs


def _only_in(outcome: Outcome, mask: int) -> Any:
    """Return for which inputs the two results differ only in these bits."""
    return lacks(outcome.one ^ outcome.other, bits.ALL ^ mask)


def _argument_has(mask: int) -> Callable[[Outcome], Any]:
    return lambda outcome: ~lacks(outcome.arguments, mask)


def _changes_only_what_the_mask_says(outcome: Outcome) -> Any:
    return lacks((outcome.one ^ outcome.entries) & ~outcome.arguments, _KEPT_BITS)


def _anywhere(outcome: Outcome) -> Any:
    return np.full(outcome.entries.shape, True)


def _becomes_read_only(outcome: Outcome) -> Any:
    """Tell where a writable, dirty entry gets a protection without Write."""
    return has(outcome.entries, bits.RW | bits.DIRTY) & lacks(outcome.arguments, bits.RW)


def _crosses_presence(outcome: Outcome) -> Any:
    return lacks(outcome.entries, bits.PRESENT) | lacks(outcome.arguments, bits.PRESENT)


def _large(outcome: Outcome) -> Any:
    return has(outcome.entries, bits.PSE)


_RAW = "sets or clears what its mask says: callers must not name these bits"
_OLD = (
    "Dirty is not moved without shadow stacks: no processor reads Write=0,Dirty=1 in a"
    " special way then"
)
_FRAMES = "the frame of a large page starts at bit 21 (pmd) or 30 (pud), of a small one at 12"
_PUD_WRITE = "pud_write() looks at Write alone: it knows no shadow stacks"

ONE = "no_accidental_shadow_stack"
LOST = "dirtiness_not_lost"
GAINED = "dirtiness_not_made_up"
PAIRS = "set_and_clear"
KEEPS = "frame_key_nx_untouched"
LEVEL = "levels_agree"
_DIRTY_BITS = bits.DIRTY | bits.BIT58
_IN_DIRTY_BITS = "mask has Dirty or Cow"
_TABLE_BITS = bits.PRESENT | bits.RW | bits.USER | bits.ACCESSED | bits.DIRTY
_KEPT_BITS = bits.SMALL_FRAME | bits.PKEY | bits.NX


def _frames(
    stems: tuple[str, ...],
    words: str,
    where: Callable[[Outcome], Any] | None = None,
    shift: int = 0,
) -> list[Known]:
    """Excuse differences that come from the levels' frame bits, and only in those bits."""

    def exception(pair: str, differing: int) -> Known:
        def only_there(outcome: Outcome) -> Any:
            there = _only_in(outcome, differing >> shift)
            return there if where is None else there & where(outcome)

        return Known(LEVEL, stems, _always, only_there, words, _FRAMES, (pair,))

    return [
        exception("pte/pmd", _BELOW_PMD),
        exception("pmd/pud", _BELOW_PUD ^ _BELOW_PMD),
        exception("pte/pud", _BELOW_PUD),
    ]


KNOWN = (
    Known(ONE, ("set_flags",), _always, _argument_has(bits.DIRTY), "mask has Dirty", _RAW),
    Known(ONE, ("clear_flags",), _always, _argument_has(bits.RW), "mask has Write", _RAW),
    Known(LOST, ("clear_flags",), _always, _argument_has(_DIRTY_BITS), _IN_DIRTY_BITS, _RAW),
    Known(GAINED, ("set_flags",), _always, _argument_has(_DIRTY_BITS), _IN_DIRTY_BITS, _RAW),
    Known(
        KEEPS, ("set_flags", "clear_flags"), _always, _changes_only_what_the_mask_says,
        "such bits, as far as mask has them", _RAW,
    ),
    # Dirty stays where it is
    Known(
        ONE, ("wrprotect", "clear_savedwrite"), _no_shadow_stacks,
        lambda outcome: has(outcome.entries, bits.RW | bits.DIRTY), "Write=1,Dirty=1", _OLD,
    ),
    Known(
        ONE, ("mkdirty",), _no_shadow_stacks,
        lambda outcome: lacks(outcome.entries, bits.RW | bits.DIRTY), "Write=0,Dirty=0", _OLD,
    ),
    Known(
        ONE, ("modify",), _no_shadow_stacks, _becomes_read_only,
        "Write=1,Dirty=1, newprot Write=0", _OLD,
    ),
    # the patch left modify alone
    Known(
        ONE, ("modify",), _cow_shstk,
        _becomes_read_only, "Write=1,Dirty=1, newprot Write=0",
        "the patch does not touch modify; another patch of its series moves Dirty to Cow there",
        defect=True,
    ),
    Known(
        LOST, ("modify",), _cow_bit,
        lambda outcome: lacks(outcome.entries, bits.DIRTY)
        & has(outcome.entries, bits.BIT58)
        & lacks(outcome.arguments, bits.BIT58),
        "Dirty=0,Cow=1, newprot Cow=0",
        "Cow is missing in the mask of what modify keeps; another patch of the series adds it",
        defect=True,
    ),
    Known(
        GAINED, ("modify",), _cow_bit,
        lambda outcome: lacks(outcome.entries, _DIRTY_BITS) & has(outcome.arguments, bits.BIT58),
        "Dirty=0,Cow=0, newprot Cow=1",
        "Cow is missing in the mask of what modify keeps: it is taken from newprot",
        defect=True,
    ),
    # mkwrite of a mapping that is a shadow stack
    Known(
        ONE, ("mkwrite",), _saved_dirty, _argument_has(VM_SHADOW_STACK),
        "a mapping with VM_SHADOW_STACK", "mkwrite is mkwrite_shstk there, on purpose",
    ),
    Known(
        GAINED, ("mkwrite",), _saved_dirty, _argument_has(VM_SHADOW_STACK),
        "a mapping with VM_SHADOW_STACK", "mkwrite is mkwrite_shstk there, on purpose",
    ),
    Known(
        PAIRS, ("mkwrite",), _saved_dirty,
        lambda outcome: _argument_has(VM_SHADOW_STACK)(outcome)
        & looks_like_shadow_stack(outcome.one),
        "a mapping with VM_SHADOW_STACK",
        "write sees a shadow stack only on a processor that has them, and in a pmd only if PSE=1",
    ),
    # levels that differ
    Known(
        LEVEL, ("present", "is_swap_*", "softleaf_from_*"), _always,
        lambda outcome: lacks(outcome.entries, bits.PRESENT | bits.PROTNONE) & _large(outcome),
        "PRESENT=0,PROTNONE=0,PSE=1",
        "pmd_present() counts PSE: a huge page that is being split is still there",
        ("pte/pmd",),
    ),
    Known(
        LEVEL, ("user_accessible_page",), _always, lambda outcome: ~_large(outcome),
        "PSE=0", "a pmd or pud without PSE points to a table: it is no page",
        ("pte/pmd", "pte/pud"),
    ),
    Known(
        LEVEL, ("present",), _always,
        lambda outcome: lacks(outcome.entries, bits.PRESENT)
        & ~lacks(outcome.entries, bits.PROTNONE | bits.PSE),
        "PRESENT=0 and PROTNONE=1 or PSE=1", "pud_present() looks at PRESENT alone",
        ("pmd/pud",),
    ),
    Known(
        LEVEL, ("present",), _always,
        lambda outcome: lacks(outcome.entries, bits.PRESENT) & has(outcome.entries, bits.PROTNONE),
        "PRESENT=0,PROTNONE=1", "pud_present() looks at PRESENT alone",
        ("pte/pud",),
    ),
    Known(
        LEVEL, ("is_huge",), _always,
        lambda outcome: lacks(outcome.entries, bits.PRESENT | bits.PSE)
        & has(outcome.entries, bits.PROTNONE),
        "PRESENT=0,PROTNONE=1,PSE=0",
        "pud_present() looks at PRESENT alone, and what is neither present nor none is huge",
        ("pmd/pud",),
    ),
    *_frames(("flags", "pgprot", "flags_mask", "pfn_mask"), "PSE=1", _large),
    *_frames(("pfn",), "PSE=1", _large, shift=12),
    *_frames(("pfn_*", "mkinvalid"), "frame bits below those of the larger page"),
    *_frames(("modify",), "PRESENT=0 before or after", _crosses_presence),
    Known(
        LEVEL, ("leaf_size",), _always, _anywhere, "all",
        "a pud maps more than a pmd, and a pmd more than a pte",
    ),
    Known(
        LEVEL, ("leaf", "large"), _not_saved_dirty,
        lambda outcome: lacks(outcome.entries, bits.PRESENT) & _large(outcome),
        "PRESENT=0,PSE=1", "of a pud PRESENT is wanted as well",
        ("pmd/pud",),
    ),
    Known(
        LEVEL, ("bad",), _always,
        lambda outcome: lacks(
            outcome.entries,
            bits.ALL ^ (bits.SMALL_FRAME | _TABLE_BITS),
        ) & ~has(outcome.entries, bits.PRESENT | bits.RW | bits.DIRTY),
        "PRESENT, Write or Dirty is 0 and no other flag set",
        "pmd_bad() wants PRESENT, Write and Dirty; pud_bad() only forbids all others",
        ("pmd/pud",),
    ),
    Known(
        LEVEL, ("bad",), _always,
        lambda outcome: lacks(
            outcome.entries,
            bits.ALL ^ (bits.SMALL_FRAME | _TABLE_BITS ^ bits.ACCESSED),
        ) & has(outcome.entries, bits.PRESENT | bits.RW | bits.DIRTY),
        "PRESENT=1,Write=1,Dirty=1,ACCESSED=0 and no other flag set",
        f"pmd_bad() wants ACCESSED as well: without {NONLEAF_YOUNG} it is never cleared",
        ("pmd/pud",), wants_young_tables,
    ),
    Known(
        LEVEL, ("write",), _cow_shstk, lambda outcome: looks_like_shadow_stack(outcome.entries),
        "Write=0,Dirty=1", _PUD_WRITE,
        ("pte/pud", "pmd/pud"), defect=True,
    ),
    Known(
        LEVEL, ("mkdirty",), _cow_on, lambda outcome: looks_like_shadow_stack(outcome.entries),
        "Write=0,Dirty=1", _PUD_WRITE + ", so that Cow is set on top of Dirty",
        ("pte/pud", "pmd/pud"), defect=True,
    ),
    Known(
        LEVEL, ("write",), _saved_dirty_on,
        lambda outcome: looks_like_shadow_stack(outcome.entries),
        "Write=0,Dirty=1", _PUD_WRITE,
        ("pte/pud",), defect=True,
    ),
    Known(
        LEVEL, ("write",), _saved_dirty_on,
        lambda outcome: looks_like_shadow_stack(outcome.entries) & _large(outcome),
        "Write=0,Dirty=1,PSE=1", _PUD_WRITE,
        ("pmd/pud",), defect=True,
    ),
    Known(
        LEVEL, ("write", "shstk"), _saved_dirty_on,
        lambda outcome: looks_like_shadow_stack(outcome.entries) & ~_large(outcome),
        "Write=0,Dirty=1,PSE=0",
        "a pmd or pud is a shadow stack only if it is a page (PSE=1)",
        ("pte/pmd",),
    ),
    Known(
        LEVEL, ("shstk",), _saved_dirty_on,
        lambda outcome: looks_like_shadow_stack(outcome.entries) & ~_large(outcome),
        "Write=0,Dirty=1,PSE=0",
        "a pmd or pud is a shadow stack only if it is a page (PSE=1)",
        ("pte/pud",),
    ),
    Known(
        LEVEL, ("mkdevmap",), _always,
        lambda outcome: lacks(outcome.entries, bits.SPECIAL) & _only_in(outcome, bits.SPECIAL),
        "SPECIAL=0", "pte_mkdevmap() sets SPECIAL as well",
        ("pte/pmd", "pte/pud"),
    ),
)  # fmt: skip
