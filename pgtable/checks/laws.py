# SPDX-License-Identifier: GPL-2.0-only
"""The laws of a sound set of helpers, as data.

A law has a name, a sentence, what breaking it means for a user, and the helpers that it is about.
It makes the cases that :mod:`.law_check` tries.  Laws about every helper also cover helpers that
are not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, combinations
from typing import Any

import numpy as np

from .. import bits
from ..engines.interface import Helper
from ..engines.native import native
from . import definitions, swap_laws
from .law_case import Case, Outcome
from .subject import (
    LEVELS,
    Subject,
    has,
    keeps_frame_inverted,
    lacks,
    looks_like_shadow_stack,
    run,
)


@dataclass(frozen=True)
class Law:
    """One law."""

    name: str
    number: int
    sentence: str
    meaning: str  #: what breaking it means for a user
    helpers: str  #: which helpers it is about, in words
    cases: Callable[[Subject], Iterator[Case]] = field(repr=False)


# ---- what arguments make sense

#: Bits of an argument that could ask for what a law forbids.
_LOADED = bits.RW | bits.DIRTY | bits.BIT58
_SMALL_NUMBER = 1 << 20


def _advance_stays_in_frame(entries: Any, number: Any) -> Any:
    """Return for which inputs the frame number stays within its 40 bits."""
    frame = (entries & bits.SMALL_FRAME) >> np.uint64(12)
    room = np.where(keeps_frame_inverted(entries), frame, np.uint64(2**40 - 1) - frame)
    return number <= room


def _plain_argument(entries: Any, arguments: Any) -> Any:
    """Return for which inputs an unknown helper's argument cannot ask for what is forbidden."""
    return lacks(arguments, _LOADED) & (arguments < _SMALL_NUMBER)


#: Helpers whose second argument may be any word.
_ANY_ARGUMENT = frozenset(("set_flags", "clear_flags", "modify", "mkwrite", "pfn_*"))


def _sensible(stem: str, helper: Helper) -> Callable[[Any, Any], Any] | None:
    if stem == "next_pfn":
        return lambda entries, _: _advance_stays_in_frame(entries, np.uint64(1))
    if stem == "advance_pfn":
        return _advance_stays_in_frame
    if helper.argument is None or stem in _ANY_ARGUMENT:
        return None
    return _plain_argument


def _plain(helper: Helper, breaks: Callable[[Outcome], Any], stem: str) -> Case:
    """Return the case of one call that changes an entry."""
    return Case(
        helper,
        outcome=lambda v, arg: Outcome(v, arg, run(helper, v, arg), None),
        breaks=breaks,
        two_words=helper.argument is not None,
        applies=_sensible(stem, helper),
    )


def _before(helper: Helper, outcome: Outcome) -> Any:
    """Return the entry to compare a result with.  pfn_pte() and similar helpers start from prot."""
    return outcome.arguments if helper.name.startswith("pfn_") else outcome.entries


# ---- 1. no accidental shadow stack

MAKES_SHADOW_STACKS = frozenset(("mkwrite_shstk", "clear_cow"))


def _is_swap(stem: str) -> bool:
    """Bits 1 and 2 of a swap entry are not Write and User, and it has no dirtiness."""
    return stem.startswith("swp_")


def _shadow_stacks(subject: Subject) -> Iterator[Case]:
    for stem, helper in subject.maps():
        if stem in MAKES_SHADOW_STACKS or _is_swap(stem):
            continue

        def breaks(outcome: Outcome, helper: Helper = helper) -> Any:
            before = _before(helper, outcome)
            return looks_like_shadow_stack(outcome.one) & ~looks_like_shadow_stack(before)

        yield _plain(helper, breaks, stem)


# ---- 2. dirtiness is kept

MAY_LOSE_DIRTINESS = frozenset(("mkclean",))
MAY_GAIN_DIRTINESS = frozenset(("mkdirty", "mkcow", "clear_cow", "mkwrite_shstk"))


def _dirtiness(subject: Subject, lost: bool) -> Iterator[Case]:
    exempt = MAY_LOSE_DIRTINESS if lost else MAY_GAIN_DIRTINESS
    for stem, helper in subject.maps():
        if stem in exempt or _is_swap(stem):
            continue

        def breaks(outcome: Outcome, helper: Helper = helper) -> Any:
            before = subject.dirty(helper.level, _before(helper, outcome))
            after = subject.dirty(helper.level, outcome.one)
            return before & ~after if lost else after & ~before

        yield _plain(helper, breaks, stem)


# ---- 3. and 4. what is set is set, what is cleared is cleared, once is enough

#: Maps whose names follow no pattern -> the test that they make true (or false).
_IRREGULAR = {
    "wrprotect": ("write", False),
    "mkclean": ("dirty", False),
    "mkold": ("young", False),
    "mkwrite_novma": ("write", True),
    "mk_savedwrite": ("savedwrite", True),
}
_PATTERNS = (("mk", True), ("clear_", False), ("clr", False))

#: Maps without a test.  Calling one again must change nothing.
IDEMPOTENT = frozenset(
    (
        *("mkcow", "clear_cow", "mksaveddirty", "clear_saveddirty", "mkwrite_shstk"),
        *("set_flags", "clear_flags", "modify"),
    )
)


def pairs(subject: Subject) -> Iterator[tuple[Helper, Helper, bool]]:
    """Yield (map, test, what the test must give) for every set/clear pair of an engine."""
    for stem, helper in subject.maps():
        if helper.level not in LEVELS:
            continue
        swap = "swp_" if _is_swap(stem) else ""
        bare = stem.removeprefix("swp_")
        guesses = [_IRREGULAR[bare]] if bare in _IRREGULAR else []
        guesses += [(bare.removeprefix(p), sets) for p, sets in _PATTERNS if bare.startswith(p)]
        for of, sets in guesses:
            test = subject.get(swap + of, helper.level)
            if test is not None and test.kind == "test" and test.argument is None:
                yield helper, test, sets
                break


def _set_and_clear(subject: Subject) -> Iterator[Case]:
    for helper, test, sets in pairs(subject):

        def outcome(v: Any, arg: Any, helper: Helper = helper, test: Helper = test) -> Outcome:
            result = run(helper, v, arg)
            return Outcome(v, arg, result, test(result))

        yield Case(
            helper,
            outcome,
            breaks=lambda outcome, sets=sets: outcome.other != sets,  # type: ignore[misc]
            labels=("gives", f"{test.name} says"),
            kinds=("", "test"),
            with_=test,
            two_words=helper.argument is not None,
        )


def _idempotent(subject: Subject) -> Iterator[Case]:
    paired = {helper.name for helper, _, _ in pairs(subject)}
    for stem, helper in subject.maps():
        if helper.name not in paired and stem not in IDEMPOTENT:
            continue

        def outcome(v: Any, arg: Any, helper: Helper = helper) -> Outcome:
            once = run(helper, v, arg)
            return Outcome(v, arg, once, run(helper, once, arg))

        yield Case(
            helper,
            outcome,
            breaks=lambda outcome: outcome.one != outcome.other,
            labels=("once gives", "twice gives"),
            two_words=helper.argument is not None,
        )


# ---- 5. frame, protection key and NX


def _is_about(stem: str) -> int:
    """Return which of frame, key and NX a helper of that name changes."""
    about = 0
    if "pfn" in stem or stem.startswith("protval_"):
        about |= bits.SMALL_FRAME
    if "exec" in stem or "nx" in stem:
        about |= bits.NX
    if "pkey" in stem:
        about |= bits.PKEY
    return about


#: The new protection has key and NX; the frame may be kept inverted, see below.
CHANGES_PRESENCE = frozenset(("modify", "mkinvalid"))


def _untouched(subject: Subject) -> Iterator[Case]:
    for stem, helper in subject.maps():
        if stem == "pfn_*":
            continue
        watched = (bits.SMALL_FRAME | bits.PKEY | bits.NX) ^ _is_about(stem)
        if stem in CHANGES_PRESENCE:
            watched = 0 if stem == "modify" else bits.PKEY | bits.NX
        if watched:
            yield _plain(helper, _touches(subject, helper, watched), stem)


def _touches(subject: Subject, helper: Helper, watched: int) -> Callable[[Outcome], Any]:
    def breaks(outcome: Outcome) -> Any:
        changed = (outcome.one ^ outcome.entries) & watched
        frame = changed & bits.SMALL_FRAME
        if helper.level not in LEVELS or not frame.any():
            return changed != 0
        # a helper that changes PRESENT may store the frame inverted, or no longer inverted
        other_form = (outcome.one ^ outcome.entries) & bits.PRESENT != 0
        same = subject.frame(helper.level, outcome.one) == subject.frame(
            helper.level, outcome.entries
        )
        return (changed ^ frame != 0) | ((frame != 0) & ~(other_form & same))

    return breaks


def _frame_number(subject: Subject) -> Iterator[Case]:
    for stem, helper in subject.maps():
        if stem not in CHANGES_PRESENCE:
            continue
        level = helper.level

        def applies(v: Any, arg: Any, level: str = level) -> Any:
            """Only frames that exist: a frame of all ones, inverted, would be an empty entry."""
            large = level == "pte" or has(v, bits.PSE)
            frame = bits.frame(v, level) << np.uint64(12)
            return large & (frame != bits.LEAF_FRAME[level])

        yield Case(
            helper,
            outcome=lambda v, arg, helper=helper: Outcome(v, arg, run(helper, v, arg), None),  # type: ignore[misc]
            breaks=lambda outcome, level=level: (  # type: ignore[misc]
                subject.frame(level, outcome.one) != subject.frame(level, outcome.entries)
            ),
            two_words=helper.argument is not None,
            applies=applies,
        )


# ---- 6. write-protect and back


def _and_back(subject: Subject) -> Iterator[Case]:
    for level in LEVELS:
        protect, steps = subject.get("wrprotect", level), _way_back(subject, level)
        if protect is None or not steps:
            continue

        def outcome(
            v: Any, arg: Any, protect: Helper = protect, steps: list[Helper] = steps
        ) -> Outcome:
            result = protected = run(protect, v, None)
            for step in steps:
                result = run(step, result, None)
            return Outcome(v, None, protected, result)

        yield Case(
            steps[0],
            outcome,
            breaks=lambda outcome: outcome.other != outcome.entries,
            labels=(f"{protect.name} gives", f"then {steps[0].name}"),
            with_=protect,
            applies=lambda v, _: has(v, bits.RW) & lacks(v, bits.BIT58),
        )


def _way_back(subject: Subject, level: str) -> list[Helper]:
    """Return mkwrite; if the headers have only its two halves, those."""
    whole = subject.get("mkwrite", level)
    if whole is not None:
        return [whole]
    halves = [subject.get(stem, level) for stem in ("mkwrite_novma", "clear_saveddirty")]
    return [half for half in halves if half is not None] if all(halves) else []


# ---- 7. levels agree


def _levels(subject: Subject) -> Iterator[Case]:
    stems = dict.fromkeys(
        subject.stems[name]
        for name, helper in subject.engine.helpers.items()
        if helper.level in LEVELS
    )
    for stem in stems:
        found = [helper for level in LEVELS if (helper := subject.get(stem, level))]
        for lower, upper in combinations(found, 2):
            if _same_shape(lower, upper):
                yield level_case(lower, upper)


def _same_shape(lower: Helper, upper: Helper) -> bool:
    if lower.kind != upper.kind or (lower.info.gives == "val") != (upper.info.gives == "val"):
        return False
    return lower.argument == upper.argument or "mkwrite" in lower.name


def level_case(lower: Helper, upper: Helper) -> Case:
    """Return the comparison of two helpers that should compute the same."""
    both = lower.argument is not None and upper.argument is not None

    def outcome(v: Any, arg: Any) -> Outcome:
        return Outcome(v, arg, run(upper, v, arg), run(lower, v, arg))

    return Case(
        upper,
        outcome,
        breaks=lambda outcome: outcome.one != outcome.other,
        labels=(f"{upper.name} gives", f"{lower.name} gives"),
        kinds=("", lower.info.gives),
        with_=lower,
        two_words=both,
    )


# ---- 8. compiled out

ONLY_COW = frozenset(("shstk", "mkcow", "clear_cow", "mkwrite_shstk"))


def _swap_devmap(words: Any) -> Any:
    """Exchange bits 57 and 58: DEVMAP is bit 57 under cow and bit 58 under base."""
    if words is None:
        return None
    moved = (words ^ (words >> np.uint64(1))) & np.uint64(bits.BIT57)
    return words ^ (moved | moved << np.uint64(1))


def _compiled_out(subject: Subject) -> Iterator[Case]:
    if subject.switches.rules != "cow" or subject.switches.config:
        return
    base = native("base")
    for name, helper in subject.engine.helpers.items():
        stem = subject.stems[name]
        if name in base.helpers:
            yield _like_base(stem, helper, base.helpers[name])
        elif stem in ONLY_COW and helper.kind == "map":
            yield Case(
                helper,
                outcome=lambda v, arg, helper=helper: Outcome(v, arg, run(helper, v, arg), None),  # type: ignore[misc]
                breaks=lambda outcome: outcome.one != outcome.entries,
            )


def _like_base(stem: str, helper: Helper, before: Helper) -> Case:
    gives_flags = helper.kind == "map" and stem != "pfn"

    def outcome(v: Any, arg: Any) -> Outcome:
        old = run(before, v if stem == "pfn_*" else _swap_devmap(v), _swap_devmap(arg))
        return Outcome(v, arg, run(helper, v, arg), _swap_devmap(old) if gives_flags else old)

    return Case(
        helper,
        outcome,
        breaks=lambda outcome: outcome.one != outcome.other,
        labels=("gives", "before the patch"),
        kinds=("", before.info.gives),
        two_words=helper.argument is not None,
    )


LAWS = (
    Law(
        "no_accidental_shadow_stack",
        1,
        "no helper but mkwrite_shstk and clear_cow turns an entry that is not"
        " (Write=0,Dirty=1) into one",
        "a processor with shadow stacks takes an ordinary page for a shadow stack",
        "every helper that makes an entry, but mkwrite_shstk and clear_cow",
        _shadow_stacks,
    ),
    Law(
        "dirtiness_not_lost",
        2,
        "what was dirty stays dirty; for modify, whatever newprot is",
        "a dirty page is dropped as clean: what was written to it is lost",
        "every helper that makes an entry, but mkclean",
        lambda subject: _dirtiness(subject, lost=True),
    ),
    Law(
        "dirtiness_not_made_up",
        2,
        "what was clean stays clean; for modify, whatever newprot is",
        "a clean page is taken for dirty: it is written back, or copied, for nothing",
        "every helper that makes an entry, but mkdirty, mkcow, clear_cow, mkwrite_shstk",
        lambda subject: _dirtiness(subject, lost=False),
    ),
    Law(
        "set_and_clear",
        3,
        "what a helper sets, its test finds set; what it clears, its test finds clear",
        "a state that was just set or cleared does not show",
        "every helper that has a test: mkwrite and write, mkold and young, clear_* ...",
        _set_and_clear,
    ),
    Law(
        "idempotent",
        4,
        "doing it twice is doing it once",
        "the outcome hangs on how often the kernel passes by",
        "every helper that has a test, and mkcow, clear_cow, modify and their like",
        _idempotent,
    ),
    Law(
        "frame_key_nx_untouched",
        5,
        "frame, protection key and NX are untouched by every helper that is not about them",
        "the entry maps another page, or one that is protected otherwise",
        "every helper that makes an entry, as far as its name says nothing of them",
        _untouched,
    ),
    Law(
        "frame_number_kept",
        5,
        "the frame number is the same after the protection was changed",
        "the entry maps another page",
        "modify and mkinvalid of pages (pte; pmd and pud with PSE=1)",
        _frame_number,
    ),
    Law(
        "write_protect_and_back",
        6,
        "mkwrite(wrprotect(v)) == v for a v with Write=1 and Cow=0",
        "a page that is made writable again after fork is not what it was",
        "wrprotect and mkwrite",
        _and_back,
    ),
    Law(
        "levels_agree",
        7,
        "helpers of one name compute the same function on pte, pmd and pud",
        "a huge page is treated otherwise than a small one",
        "every helper that two levels have",
        _levels,
    ),
    Law(
        "compiled_out",
        8,
        "without the config option helpers are what they were before the patch",
        "the feature costs and changes something where nobody asked for it",
        "every helper, where the rules are cow with config off",
        _compiled_out,
    ),
    Law(
        "swap_round_trip",
        9,
        "what is put into a swap entry comes out of it: type, offset and frame",
        "a page is read back from another place in swap, or another page is mapped",
        "swp_entry, swp_type, swp_offset, swp_offset_pfn, swp_entry_to_*, *_to_swp_entry",
        swap_laws.round_trips,
    ),
    Law(
        "swap_not_present",
        9,
        "an entry that holds a swap entry is neither present nor none",
        "a page that is swapped out is lost, or swap is taken for memory",
        "swp_entry_to_pte and swp_entry_to_pmd",
        swap_laws.not_present,
    ),
    Law(
        "swap_flags_beside",
        9,
        "a flag of a swap entry leaves type and offset alone, and swp_clear_flags clears it",
        "a page is read back from another place in swap",
        "swp_mksoft_dirty, swp_mkuffd_wp, swp_mkexclusive, swp_clear_flags",
        swap_laws.flags_beside,
    ),
    Law(
        "migration_flags",
        9,
        "young, dirty and frame of a migration entry are told from each other",
        "a page is dropped as clean, or another one is mapped, when migration ends",
        "make_migration_entry_young, make_migration_entry_dirty and their tests",
        swap_laws.migration,
    ),
    Law(
        "swap_kinds",
        9,
        "each kind of swap entry is told from all others, and keeps its offset",
        "a page that is being moved is taken for one in swap, or for one of another right",
        "make_*_entry and is_*_entry: migration, device memory, markers",
        swap_laws.kinds,
    ),
    Law(
        "flags_apart",
        10,
        "two flags of one kind of entry never share a bit",
        "what sets one flag sets the other",
        "young, dirty, special, soft_dirty, uffd_wp, devmap; the flags of swap entries",
        swap_laws.flags_apart,
    ),
    Law(
        "protections",
        11,
        "the key is bits 59 to 62; pgprot_modify gives new rights, old caching; constants have"
        " the rights of their names: private mappings are never writable",
        "memory is protected by another key, or cached otherwise, than was asked for",
        "pte_flags_pkey, pgprot_modify; PAGE_SHARED, PAGE_COPY, PAGE_KERNEL and their like",
        lambda subject: chain(swap_laws.protections(subject), definitions.constants(subject)),
    ),
    Law(
        "as_the_processor_reads",
        12,
        "what reads or makes a part of an entry does it by the processor's format",
        "the kernel sees another entry than the processor does",
        "*_val, *_make_*, *_leaf_size, *_same, what is about p4d and pgd, pgprot_nx, inversion",
        definitions.by_format,
    ),
    Law(
        "names_agree",
        12,
        "a helper gives what the helpers give that it is another name or a sum of",
        "the answer hangs on who asks",
        "huge_pte_*, pgprot_4k_2_large, *_shift; is_swap_*, markers, kinds with a frame",
        definitions.by_others,
    ),
    Law(
        "flushed_when_needed",
        13,
        "who takes a right, a frame or dirtiness from a present entry must flush; nobody else",
        "a processor goes on with an entry that is gone, or flushes for nothing",
        "pte_needs_flush and huge_pmd_needs_flush",
        definitions.flushes,
    ),
)  # fmt: skip


def law(name: str) -> Law:
    """Return the law of that name; raises ValueError."""
    for each in LAWS:
        if each.name == name:
            return each
    raise ValueError(f"no such law: {name!r}; these exist: {', '.join(e.name for e in LAWS)}")
