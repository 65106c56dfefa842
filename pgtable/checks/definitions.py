# SPDX-License-Identifier: GPL-2.0-only
"""What single helpers must give, according to the processor's format or to other helpers.

The format is that of the Intel SDM, volume 3, chapter 4.  Two helpers that are two names of one
thing (``huge_pte_dirty``, ``pte_dirty``) must give the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from .. import bits
from ..engines.interface import Helper
from .law_case import Case, Outcome
from .subject import LEVELS, Subject, run

#: A function of entries and arguments: what a helper must give.
Expected = Callable[[Any, Any], Any]

_FRAME = np.uint64(bits.SMALL_FRAME)
_FLAGS = np.uint64(bits.ALL ^ bits.SMALL_FRAME)
_SHIFT = np.uint64(12)
#: Bits that a processor sets by itself, sometimes in empty entries.
_STRAY = np.uint64(bits.ALL ^ (bits.DIRTY | bits.ACCESSED))
_TABLE = bits.PRESENT | bits.RW | bits.ACCESSED | bits.DIRTY
_PTI = ("CONFIG_MITIGATION_PAGE_TABLE_ISOLATION", "CONFIG_PAGE_TABLE_ISOLATION")


def case(
    helper: Helper,
    expected: Expected,
    *,
    with_: Helper | None = None,
    applies: Expected | None = None,
    one_sided: bool = False,
    label: str = "",
) -> Case:
    """Return the case in which a helper must give what ``expected`` says.

    one_sided: the test may also be true for other entries.
    """

    def outcome(v: Any, arg: Any) -> Outcome:
        return Outcome(v, arg, run(helper, v, arg), expected(v, arg))

    def breaks(outcome: Outcome) -> Any:
        if one_sided:
            return outcome.other & ~outcome.one
        return outcome.one != outcome.other

    label = label or (f"{with_.name} gives" if with_ else "should give")
    return Case(
        helper,
        outcome,
        breaks,
        labels=("gives", label),
        kinds=("", helper.info.gives),
        with_=with_,
        two_words=helper.argument is not None,
        applies=applies,
    )


# ---- by the format


def _same(v: Any, _: Any) -> Any:
    return v


def _never(v: Any, _: Any) -> Any:
    return np.zeros(v.shape, bool)


def _inverted(v: Any) -> Any:
    return (v != 0) & (v & np.uint64(bits.PRESENT) == 0)


def _constant(value: int) -> Expected:
    return lambda v, _: np.full(v.shape, np.uint64(value))


_BY_FORMAT: dict[str, Expected] = {
    **{f"native_make_{level}": _same for level in bits.LEVELS},
    **{f"native_{level}_val": _same for level in bits.LEVELS},
    **{f"{level}_val": _same for level in bits.LEVELS},
    **dict.fromkeys(("pgprot_val", "pgprot_mhp", "massage_pgprot", "check_pgprot"), _same),
    **dict.fromkeys(
        ("p4d_leaf", "p4d_large", "p4d_huge", "pgd_leaf", "pgd_large", "pgd_huge"), _never
    ),
    **dict.fromkeys(("pgd_devmap", "pte_unused", "is_huge_zero_pud"), _never),
    **dict.fromkeys(("p4d_flags", "p4d_pgprot", "pgd_flags"), lambda v, _: v & _FLAGS),
    **dict.fromkeys(("p4d_pfn", "pgd_pfn"), lambda v, _: (v & _FRAME) >> _SHIFT),
    "p4d_pfn_mask": _constant(bits.SMALL_FRAME),
    "p4d_flags_mask": _constant(int(_FLAGS)),
    "p4d_none": lambda v, _: v & _STRAY == 0,
    "p4d_present": lambda v, _: v & np.uint64(bits.PRESENT) != 0,
    **dict.fromkeys(
        ("pte_same", "pmd_same", "pud_same", "p4d_same", "pgd_same"), lambda v, arg: v == arg
    ),
    "pgprot_nx": lambda v, _: v | np.uint64(bits.NX),
    "__pte_needs_invert": lambda v, _: _inverted(v),
    "protnone_mask": lambda v, _: np.where(_inverted(v), np.uint64(bits.ALL), np.uint64(0)),
    **dict.fromkeys(("pte_leaf_size", "__pte_leaf_size"), _constant(1 << 12)),
    "pmd_leaf_size": _constant(1 << 21),
    "pud_leaf_size": _constant(1 << 30),
    "p4d_leaf_size": _constant(1 << 39),
}  # fmt: skip


def by_format(subject: Subject) -> Iterator[Case]:
    """A helper that reads or makes a part of an entry does it as the processor does."""
    helpers = subject.engine.helpers
    for name, expected in {**_BY_FORMAT, **_of_top_tables(subject)}.items():
        if name in helpers:
            yield case(helpers[name], expected)
    for level, mask in (("pmd", helpers.get("pmd_pfn_mask")), ("pgd", None)):
        address = helpers.get(f"{level}_page_vaddr")
        if address is not None:
            yield case(address, _mapped(address, mask))


def _mapped(address: Helper, mask: Helper | None) -> Expected:
    """Return the address of a table, which is its frame's in the map of all memory."""

    def expected(v: Any, _: Any) -> Any:
        return (v & (_FRAME if mask is None else mask(v))) + address(np.zeros(1, np.uint64))

    return expected


def _of_top_tables(subject: Subject) -> dict[str, Expected]:
    """Return what p4d_bad and pgd_* must give, which do nothing if there are four levels."""
    nx = np.uint64(bits.NX if any(subject.configured(option) for option in _PTI) else 0)
    user = np.uint64(bits.USER)
    allowed = ~(np.uint64(_TABLE) | user | nx)
    none = subject.engine.helpers.get("pgd_none")
    found: dict[str, Expected] = {"p4d_bad": lambda v, _: v & _FLAGS & allowed != 0}
    if none is None:
        return found
    if not none(0):  # with four levels the kernel never looks into a pgd
        yes: Expected = lambda v, _: np.ones(v.shape, bool)  # noqa: E731
        return found | {
            "pgd_none": _never, "pgd_bad": _never, "pgd_present": yes,
            "pgd_leaf_size": _constant(1 << 39),
        }  # fmt: skip
    return found | {
        "pgd_none": lambda v, _: v == 0,
        "pgd_bad": lambda v, _: v & _FLAGS & ~(user | nx) != np.uint64(_TABLE),
        "pgd_present": lambda v, _: v & np.uint64(bits.PRESENT) != 0,
        "pgd_leaf_size": _constant(1 << 48),
    }


# ---- by other helpers

#: A helper -> helpers: it must give the same as the first of these that the engine has.
_TWINS = {
    "mksaveddirty_shift": ("pte_mksaveddirty",),
    "clear_saveddirty_shift": ("pte_clear_saveddirty",),
    "pgprot_4k_2_large": ("protval_4k_2_large",),
    "pgprot_large_2_4k": ("protval_large_2_4k",),
    "__pte_access_permitted": ("pte_access_permitted",),
    **{f"{level}_pgprot": (f"{level}_flags",) for level in LEVELS},
    "huge_pte_mkwrite": ("pte_mkwrite_novma", "pte_mkwrite"),
    "huge_pte_none_mostly": ("pte_none_mostly",),
    **{
        f"huge_pte_{stem}": (f"pte_{stem}",)
        for stem in (
            *("write", "dirty", "mkdirty", "wrprotect", "modify", "none"),
            *("uffd_wp", "mkuffd_wp", "clear_uffd_wp"),
        )
    },
}

_Helpers = Mapping[str, Helper]


def _all(helpers: _Helpers, v: Any, *names: str) -> Any:
    """Return for which entries all of these tests are true; "!" before a name means false."""
    result = np.ones(v.shape, bool)
    for name in names:
        result &= ~helpers[name[1:]](v) if name.startswith("!") else helpers[name](v)
    return result


def _any(helpers: _Helpers, v: Any, *names: str) -> Any:
    result = np.zeros(v.shape, bool)
    for name in names:
        if name in helpers:  # kinds that the tree does not have are left out
            result |= helpers[name](v)
    return result


def _twin(helper: Helper, twin: Helper) -> Case:
    """Return the case of two names.  If one gives a bool, a number of the other is one, too."""
    made = case(helper, lambda v, arg: run(twin, v, arg), with_=twin)
    if helper.kind == twin.kind:
        return made
    return replace(
        made,
        breaks=lambda outcome: (outcome.one != 0) != (outcome.other != 0),
        kinds=(helper.info.gives, twin.info.gives),
    )


def _marked(helpers: _Helpers, v: Any, bit: int) -> Any:
    marker = helpers["is_pte_marker_entry"](v)
    return marker & (helpers["swp_offset"](v) & np.uint64(bit) != 0)


_PFN_KINDS = (
    *("is_migration_entry", "is_device_private_entry", "is_device_exclusive_entry"),
    "is_hwpoison_entry",
)
_UFFD_MARKERS = "CONFIG_PTE_MARKER_UFFD_WP"

#: A helper -> (what it is made of, how, the option without which it is empty).
_MADE_OF: dict[str, tuple[tuple[str, ...], Callable[[_Helpers, Any], Any], str]] = {
    "is_swap_pte": (
        ("pte_none", "pte_present"),
        lambda h, v: _all(h, v, "!pte_none", "!pte_present"), "",
    ),
    "is_swap_pmd": (
        ("pmd_none", "pmd_present"),
        lambda h, v: _all(h, v, "!pmd_none", "!pmd_present"), "",
    ),
    "is_pte_marker": (
        ("is_swap_pte", "is_pte_marker_entry", "pte_to_swp_entry"),
        lambda h, v: h["is_swap_pte"](v) & h["is_pte_marker_entry"](h["pte_to_swp_entry"](v)), "",
    ),
    "pte_none_mostly": (
        ("pte_none", "is_pte_marker"), lambda h, v: _any(h, v, "pte_none", "is_pte_marker"), "",
    ),
    "is_pmd_migration_entry": (
        ("pmd_none", "pmd_present", "is_migration_entry", "pmd_to_swp_entry"),
        lambda h, v: (
            _all(h, v, "!pmd_none", "!pmd_present")
            & h["is_migration_entry"](h["pmd_to_swp_entry"](v))
        ), "CONFIG_ARCH_ENABLE_THP_MIGRATION",
    ),
    "is_pfn_swap_entry": (
        ("is_migration_entry",), lambda h, v: _any(h, v, *_PFN_KINDS), "",
    ),
    "is_poisoned_swp_entry": (
        ("is_pte_marker_entry", "swp_offset"), lambda h, v: _marked(h, v, 2), "",
    ),
    "pte_marker_entry_uffd_wp": (
        ("is_pte_marker_entry", "swp_offset"), lambda h, v: _marked(h, v, 1), _UFFD_MARKERS,
    ),
    "pte_marker_uffd_wp": (
        ("is_swap_pte", "pte_to_swp_entry", "pte_marker_entry_uffd_wp"),
        lambda h, v: (
            h["is_swap_pte"](v) & h["pte_marker_entry_uffd_wp"](h["pte_to_swp_entry"](v))
        ), _UFFD_MARKERS,
    ),
    "pte_swp_uffd_wp_any": (
        ("is_swap_pte", "pte_swp_uffd_wp", "pte_marker_uffd_wp"),
        lambda h, v: h["is_swap_pte"](v) & _any(h, v, "pte_swp_uffd_wp", "pte_marker_uffd_wp"),
        _UFFD_MARKERS,
    ),
}  # fmt: skip


def _markers(helpers: _Helpers) -> Iterator[Case]:
    """What is put into a marker comes out of it; it is the entry of a page table that holds it."""
    get, offset = helpers.get("pte_marker_get"), helpers.get("swp_offset")
    if get and offset:
        # markers use bits from 0 upwards; their number depends on the tree
        mask = (1 << int(get(2**32 - 1)).bit_length()) - 1 or 1
        kept = np.uint64(mask)
        yield case(get, lambda v, _: offset(v) & kept, with_=offset)
    make, entry = helpers.get("make_pte_marker"), helpers.get("make_pte_marker_entry")
    put = helpers.get("swp_entry_to_pte")
    if make and entry and put:
        yield case(make, lambda v, _: put(entry(v)), with_=entry)


def by_others(subject: Subject) -> Iterator[Case]:
    """A helper gives what the helpers that it is another name or a sum of give."""
    helpers = subject.engine.helpers
    yield from _markers(helpers)
    for name, twins in _TWINS.items():
        twin = next((helpers[each] for each in twins if each in helpers), None)
        helper = helpers.get(name)
        if helper and twin and helper.argument == twin.argument:
            yield _twin(helper, twin)
    for name, (parts, made, option) in _MADE_OF.items():
        if name not in helpers or not all(part in helpers for part in parts):
            continue
        if option and not subject.configured(option):
            continue
        yield case(
            helpers[name],
            lambda v, _, made=made: made(helpers, v),  # type: ignore[misc]
            label=f"{', '.join(parts)} say",
        )


# ---- flushes

#: Bits of an entry that a processor may have cached: clearing one needs a flush.
_TAKEN = bits.PRESENT | bits.RW | bits.USER | bits.DIRTY
_CHANGED = bits.NX | bits.PWT | bits.PCD | bits.GLOBAL

_FLUSHES = {"pte_needs_flush": "pte", "huge_pmd_needs_flush": "pmd"}


def flushes(subject: Subject) -> Iterator[Case]:
    """A change that takes something away needs a flush; a change that does not needs none."""
    for name, level in _FLUSHES.items():
        helper = subject.engine.helpers.get(name)
        if helper is not None and helper.argument is not None:
            yield _must_flush(helper, subject, level)
            yield _need_not_flush(helper)


def _must_flush(helper: Helper, subject: Subject, level: str) -> Case:
    """Return the case of a present entry that loses one bit, or gets another frame."""
    key = bits.PKEY if subject.configured("CONFIG_X86_INTEL_MEMORY_PROTECTION_KEYS") else 0
    changed = np.uint64(_CHANGED | key)

    def expected(v: Any, arg: Any) -> Any:
        gone = v & ~arg & np.uint64(_TAKEN) != 0
        other = (v ^ arg) & changed != 0
        moved = subject.frame(level, v) != subject.frame(level, arg)
        return (v & np.uint64(bits.PRESENT) != 0) & (gone | other | moved)

    made = case(helper, expected, one_sided=True)
    return _with_one_difference(made)


def _with_one_difference(made: Case) -> Case:
    """Return a case whose second entry is the first with the argument's bits changed."""

    def outcome(v: Any, arg: Any) -> Outcome:
        v = v | np.uint64(bits.PRESENT)
        return made.outcome(v, v ^ arg)._replace(arguments=arg)

    return replace(
        made,
        outcome=outcome,
        applies=lambda v, _: v & np.uint64(bits.PRESENT) != 0,
    )


def _need_not_flush(helper: Helper) -> Case:
    def expected(v: Any, arg: Any) -> Any:
        return ~((v & np.uint64(bits.PRESENT) == 0) | (v == arg))

    made = case(helper, expected)
    return replace(made, breaks=lambda outcome: outcome.one & ~outcome.other)


# ---- constants of protection

_W, _U, _X = bits.RW, bits.USER, bits.NX
#: A constant -> its rights: Write, User, and NX for what must not be executed.
CONSTANTS = {
    "PAGE_SHARED": _W | _U | _X, "PAGE_SHARED_EXEC": _W | _U,
    "PAGE_COPY": _U | _X, "PAGE_COPY_NOEXEC": _U | _X, "PAGE_COPY_EXEC": _U,
    "PAGE_READONLY": _U | _X, "PAGE_READONLY_EXEC": _U,
    "PAGE_KERNEL": _W | _X, "PAGE_KERNEL_NOENC": _W | _X, "PAGE_KERNEL_LARGE": _W | _X,
    "PAGE_KERNEL_EXEC": _W, "PAGE_KERNEL_EXEC_NOENC": _W, "PAGE_KERNEL_LARGE_EXEC": _W,
    "PAGE_KERNEL_RO": _X, "PAGE_KERNEL_ROX": 0, "PAGE_KERNEL_VVAR": _U | _X,
    "_KERNPG_TABLE": _W, "_KERNPG_TABLE_NOENC": _W,
    "_PAGE_TABLE": _W | _U, "_PAGE_TABLE_NOENC": _W | _U,
}  # fmt: skip


def constants(subject: Subject) -> Iterator[Case]:
    """A constant of protection has the rights that its name says."""
    for name, helper in subject.engine.helpers.items():
        if name != "PAGE_NONE" and name not in CONSTANTS:
            continue
        must, must_not = _rights(name)
        if subject.switches.rules == "base":
            must_not &= ~bits.DIRTY  # Write=0,Dirty=1 means nothing before shadow stacks

        def expected(
            v: Any, _: Any, helper: Helper = helper, must: int = must, must_not: int = must_not
        ) -> Any:
            return (helper(v) | np.uint64(must)) & ~np.uint64(must_not)

        yield case(helper, expected)


def _rights(name: str) -> tuple[int, int]:
    """Return the bits that a constant must have, and those that it must not have."""
    if name == "PAGE_NONE":
        return bits.PROTNONE, bits.PRESENT | bits.RW | bits.DIRTY
    rights = CONSTANTS[name]
    forbidden = (_W | _U | _X) ^ rights
    # a page that nobody may write is no shadow stack
    return bits.PRESENT | rights, forbidden | (0 if rights & _W else bits.DIRTY)
