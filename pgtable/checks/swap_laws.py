# SPDX-License-Identifier: GPL-2.0-only
"""Laws about swap entries, flags in one word, and protections.

A swap entry (``swp_entry_t``) is a type and an offset.  A page-table entry that is not present
stores both, and flags.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import numpy as np

from .. import bits
from ..engines.interface import Helper
from .law_case import Case, Outcome
from .subject import LEVELS, Subject

#: The number of types of swap entries, and the bits of an offset that are in use: a frame number
#: has 40, and the young and dirty bits of migration entries lie above.
_TYPES = 32
_OFFSET_BITS = 42
_TYPE_SHIFT = 58  # of swp_entry_t: an XArray's value has 63 bits, a type 5

_CACHE = bits.PWT | bits.PCD


def swap_word(words: Any) -> Any:
    """Make a valid ``swp_entry_t``, with a type and an offset, of any word."""
    offset = words & np.uint64((1 << _OFFSET_BITS) - 1)
    return offset | (words >> np.uint64(_TYPE_SHIFT)) % np.uint64(_TYPES) << np.uint64(_TYPE_SHIFT)


def _helper(subject: Subject, name: str) -> Helper | None:
    return subject.engine.helpers.get(name)


def _case(
    helper: Helper,
    other: Helper | None,
    function: Callable[[Any, Any], tuple[Any, Any]],
    labels: tuple[str, str],
    *,
    kinds: tuple[str, str] = ("", "val"),
    two_words: bool = False,
    prepare: Callable[[Any], Any] = swap_word,
) -> Case:
    """Return the case in which both results of ``function`` must be the same.

    prepare: makes a word that the helper accepts of any word.
    """

    def outcome(v: Any, arg: Any) -> Outcome:
        v = prepare(v)
        one, expected = function(v, arg)
        return Outcome(v, arg, one, expected)

    return Case(
        helper,
        outcome,
        breaks=lambda outcome: outcome.one != outcome.other,
        labels=labels,
        kinds=kinds,
        with_=other,
        two_words=two_words,
    )


def round_trips(subject: Subject) -> Iterator[Case]:
    """A swap entry that is put into an entry comes out of it unchanged, at each level."""
    for level in LEVELS:
        put = _helper(subject, f"swp_entry_to_{level}")
        get = _helper(subject, f"{level}_to_swp_entry")
        if put and get:
            yield _case(
                put,
                get,
                lambda v, _, put=put, get=get: (get(put(v)), v),  # type: ignore[misc]
                (f"{get.name} gives", "was put in"),
                kinds=("val", "val"),
            )
    yield from _parts(subject)


def _parts(subject: Subject) -> Iterator[Case]:
    """A swap entry that is made of a type and an offset gives both back."""
    make = _helper(subject, "swp_entry")
    for name, first in (("swp_type", True), ("swp_offset", False)):
        part = _helper(subject, name)
        if make is None or part is None or make.argument is None:
            continue

        def function(
            v: Any, arg: Any, part: Helper = part, first: bool = first, make: Helper = make
        ) -> tuple[Any, Any]:
            offset = arg & np.uint64((1 << _OFFSET_BITS) - 1)
            return part(make(v, offset)), v if first else offset

        yield _case(
            part,
            make,
            function,
            (f"{name} gives", "was put in"),
            kinds=("val", "val"),
            two_words=True,
            prepare=lambda words: words % np.uint64(_TYPES),
        )
    pfn, offset = _helper(subject, "swp_offset_pfn"), _helper(subject, "swp_offset")
    if pfn and offset:
        frame = np.uint64(_frame_mask(pfn))
        yield _case(
            pfn,
            offset,
            lambda v, _: (pfn(v), offset(v) & frame),
            (f"{pfn.name} gives", "frame in the offset"),
            kinds=("val", "val"),
        )


def _frame_mask(pfn: Helper) -> int:
    """Return the bits that frame numbers of a tree can have: 34; 40 with five levels."""
    width = int(pfn((1 << _OFFSET_BITS) - 1)).bit_length()
    return (1 << min(max(width, 34), 40)) - 1


def not_present(subject: Subject) -> Iterator[Case]:
    """An entry with a swap entry is neither present nor none."""
    for level in LEVELS:
        put = _helper(subject, f"swp_entry_to_{level}")
        for stem in ("present", "none"):
            test = subject.get(stem, level)
            if put and test:
                yield _case(
                    put,
                    test,
                    lambda v, _, put=put, test=test: (test(put(v)), np.zeros(v.shape, bool)),  # type: ignore[misc]
                    (f"{test.name} says", "should say"),
                    kinds=("test", "test"),
                )


def flags_beside(subject: Subject) -> Iterator[Case]:
    """A flag of a swap entry changes neither type nor offset, and clearing the flags clears it."""
    for level in LEVELS:
        put = _helper(subject, f"swp_entry_to_{level}")
        get = _helper(subject, f"{level}_to_swp_entry")
        clear = _helper(subject, f"{level}_swp_clear_flags")
        for name, flag in subject.engine.helpers.items():
            if not (put and get) or not name.startswith((f"{level}_swp_mk",)):
                continue

            def kept(
                v: Any, _: Any, put: Helper = put, get: Helper = get, flag: Helper = flag
            ) -> tuple[Any, Any]:
                return get(flag(put(v))), v

            yield _case(flag, get, kept, (f"{get.name} gives", "was put in"), kinds=("val", "val"))
            yield _free_bit(put, flag, level)
            if clear:
                yield _case(
                    clear,
                    flag,
                    lambda v, _, put=put, flag=flag, clear=clear: (clear(flag(put(v))), put(v)),  # type: ignore[misc]
                    (f"{clear.name} gives", "without flags"),
                    kinds=("val", "val"),
                )


#: Bits that no flag of a swap entry may be: those that make it present, and those that a
#: processor may set in an entry that is not (an erratum of Xeon Phi).
_TAKEN = bits.PRESENT | bits.PROTNONE | bits.PSE | bits.ACCESSED | bits.DIRTY


def _free_bit(put: Helper, flag: Helper, level: str) -> Case:
    taken = np.uint64(_TAKEN)
    return _case(
        flag,
        put,
        lambda v, _: (flag(put(v)) & taken, put(v) & taken),
        ("sets of PRESENT, ACCESSED, DIRTY, PSE, PROTNONE", "had"),
        kinds=(level, level),
    )


def _frame_number(words: Any) -> Any:
    """Make a frame number that every processor can have, of 46 address bits, of any word."""
    return words & np.uint64((1 << 34) - 1)


def migration(subject: Subject) -> Iterator[Case]:
    """Young, dirty and the frame of a migration entry do not affect each other."""
    make = _helper(subject, "make_readable_migration_entry")
    is_one = _helper(subject, "is_migration_entry")
    if make and is_one and not is_one(make(0)) and not subject.configured("CONFIG_MIGRATION"):
        return  # without migration these helpers are stubs
    frame = _helper(subject, "swp_offset_pfn")
    tests = {state: _helper(subject, f"is_migration_entry_{state}") for state in ("young", "dirty")}
    for state, test in tests.items():
        mark = _helper(subject, f"make_migration_entry_{state}")
        if not (make and mark and test):
            continue

        def marked(v: Any, _: Any, mark: Helper = mark, test: Helper = test) -> tuple[Any, Any]:
            return test(mark(make(v))), np.ones(v.shape, bool)

        says = (f"{test.name} says", "should say")
        yield _case(mark, test, marked, says, kinds=("test", "test"), prepare=_frame_number)
        other = tests["dirty" if state == "young" else "young"]
        if other:
            yield _case(
                mark,
                other,
                lambda v, _, mark=mark, other=other: (other(mark(make(v))), other(make(v))),  # type: ignore[misc]
                (f"{other.name} says", "said before"),
                kinds=("test", "test"),
                prepare=_frame_number,
            )
        if frame:
            yield _case(
                mark,
                frame,
                lambda v, _, mark=mark: (frame(mark(make(v))), v),  # type: ignore[misc]
                (f"{frame.name} gives", "was put in"),
                kinds=("val", "val"),
                prepare=_frame_number,
            )


#: Without an option, kinds of swap entries with these words in their names are stubs.
_KIND_OPTIONS = {"migration": "CONFIG_MIGRATION", "device": "CONFIG_DEVICE_PRIVATE"}


def kinds(subject: Subject) -> Iterator[Case]:
    """Each kind of swap entry is distinct from all others, and keeps its offset."""
    helpers = subject.engine.helpers
    made = {_kind(name, "make_"): helper for name, helper in helpers.items()}
    tests = {_kind(name, "is_"): helper for name, helper in helpers.items()}
    offset = _helper(subject, "swp_offset")
    for kind, make in made.items():
        if not kind or make.argument is not None or make.info.gives != "swp":
            continue
        if _is_stub(subject, kind, make, tests):
            continue
        if offset:
            yield _case(
                make,
                offset,
                lambda v, _, make=make: (offset(make(v)), v),  # type: ignore[misc]
                (f"{offset.name} gives", "was put in"),
                kinds=("val", "val"),
                prepare=_frame_number,
            )
        for of, test in tests.items():
            if test.info.takes == "swp" and any(_is_of(other, of) for other in made):
                yield _told(make, test, _is_of(kind, of))
    yield from _by_type(subject)
    yield from _marks_keep_kind(subject)


#: Kinds that exclude each other.  No swap file has a type of one of these.
_KINDS = (
    *("is_migration_entry", "is_device_private_entry", "is_device_exclusive_entry"),
    *("is_hwpoison_entry", "is_pte_marker_entry", "is_swapin_error_entry"),
)


def _by_type(subject: Subject) -> Iterator[Case]:
    """The type alone decides the kind of an entry, and the type of a swap file has no kind."""
    helpers = subject.engine.helpers
    kinds = [helpers[name] for name in _KINDS if name in helpers]
    special = _helper(subject, "non_swap_entry")
    offset = np.uint64((1 << _TYPE_SHIFT) - 1)
    for kind in kinds:
        yield _case(
            kind,
            None,
            lambda v, _, kind=kind: (kind(v), kind(v & ~offset)),  # type: ignore[misc]
            ("says", "says with offset 0"),
            kinds=("test", "test"),
        )
        others = [other for other in kinds if other is not kind]
        if special is not None:
            yield _case(
                kind,
                special,
                lambda v, _, kind=kind, others=others: (  # type: ignore[misc]
                    kind(v),
                    kind(v) & special(v) & ~_or(others, v),
                ),
                ("says", "is of no other kind, and no swap file's"),
                kinds=("test", "test"),
            )
    if special is not None and kinds:
        yield _case(
            special,
            None,
            # a type above those of files that has no kind would have no meaning
            lambda v, _: (special(v), _or(kinds, v) | _is_spare(special, kinds, v)),
            ("says", "is of some kind"),
            kinds=("test", "test"),
        )


def _or(tests: list[Helper], v: Any) -> Any:
    result = np.zeros(v.shape, bool)
    for test in tests:
        result |= test(v)
    return result


def _is_spare(special: Helper, kinds: list[Helper], v: Any) -> Any:
    """Return which types lie above the lowest one with a kind: they may be reserved for a stub."""
    types = np.arange(_TYPES, dtype=np.uint64) << np.uint64(_TYPE_SHIFT)
    of_kind = types[_or(kinds, types)]
    if not of_kind.size:
        return special(v)
    return v >= of_kind.min()


def _marks_keep_kind(subject: Subject) -> Iterator[Case]:
    """Marking a migration entry young or dirty does not change its kind."""
    type_ = _helper(subject, "swp_type")
    for state in ("young", "dirty"):
        mark = _helper(subject, f"make_migration_entry_{state}")
        if mark and type_:
            yield _case(
                mark,
                type_,
                lambda v, _, mark=mark: (type_(mark(v)), type_(v)),  # type: ignore[misc]
                (f"{type_.name} gives", "gave before"),
                kinds=("val", "val"),
            )


def _kind(name: str, verb: str) -> str:
    """Return "writable_migration" of make_writable_migration_entry; "" for other names."""
    return name[len(verb) : -len("_entry")] if re.fullmatch(rf"{verb}\w+_entry", name) else ""


def _is_of(kind: str, of: str) -> bool:
    return bool(of) and (kind == of or kind.endswith(f"_{of}"))


def _is_stub(subject: Subject, kind: str, make: Helper, tests: dict[str, Helper]) -> bool:
    options = [option for word, option in _KIND_OPTIONS.items() if word in kind]
    off = any(not subject.configured(option) for option in options)
    return off and not any(test(make(0)) for of, test in tests.items() if _is_of(kind, of))


def _told(make: Helper, test: Helper, expected: bool) -> Case:
    return _case(
        make,
        test,
        lambda v, _: (test(make(v)), np.full(v.shape, expected)),
        (f"{test.name} says", "should say"),
        kinds=("test", "test"),
        prepare=_frame_number,
    )


#: The flags of an entry that maps a page, and of one that is swapped out.
_FLAGS = {
    "": ("young", "dirty", "special", "soft_dirty", "uffd_wp", "devmap"),
    "swp_": ("swp_soft_dirty", "swp_uffd_wp", "swp_exclusive"),
}


def flags_apart(subject: Subject) -> Iterator[Case]:
    """Two flags of one kind of entry are never the same bit."""
    for level in LEVELS:
        for kind, stems in _FLAGS.items():
            found = [test for stem in stems if (test := subject.get(stem, level))]
            base = np.uint64(0 if kind else bits.PRESENT)
            for one, other in combinations(found, 2):
                yield _share(one, other, base)


def _share(one: Helper, other: Helper, base: np.uint64) -> Case:
    def outcome(v: Any, arg: Any) -> Outcome:
        return Outcome(v, arg, one(v | base), other(v | base))

    return Case(
        one,
        outcome,
        breaks=lambda outcome: outcome.one & outcome.other,
        labels=(f"{one.name} says", f"{other.name} says"),
        kinds=("test", "test"),
        with_=other,
        applies=lambda v, _: ((v & ~base) & ((v & ~base) - np.uint64(1)) == 0) & (v & ~base != 0),
    )


def protections(subject: Subject) -> Iterator[Case]:
    """The key is bits 59 to 62.  pgprot_modify takes each bit from one of its arguments."""
    key = _helper(subject, "pte_flags_pkey")
    if key and key.argument is None:
        shift = np.uint64(59)
        yield _case(
            key,
            None,
            lambda v, _: (key(v), (v & bits.PKEY) >> shift),
            ("gives", "bits 59 to 62 are"),
            kinds=("val", "val"),
            prepare=lambda words: words,
        )
    modify = _helper(subject, "pgprot_modify")
    if modify and modify.argument is not None:
        rights = bits.PRESENT | bits.RW | bits.USER | bits.NX | bits.PKEY

        def of_one(v: Any, arg: Any) -> tuple[Any, Any]:
            mask = rights | _CACHE
            return modify(v, arg) & mask, (arg & rights) | (v & _CACHE)

        yield _case(
            modify,
            None,
            of_one,
            ("gives", "new rights, old caching"),
            kinds=("val", "val"),
            two_words=True,
            prepare=lambda words: words,
        )
