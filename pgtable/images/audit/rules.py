# SPDX-License-Identifier: GPL-2.0-only
"""What an audit looks for: one rule after the other, as data.

Each predicate takes rows and the machine and tells which rows break the rule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np

from ... import bits
from ..regions import SIZES
from ..walk import Kind
from .rows import Machine, Rows, any_of

#: Worst first.  "note" is worth knowing and no fault.
SEVERITIES = ("high", "medium", "low", "note")

SHADOW_STACK_RULES = ("cow", "saved_dirty")
ALL_RULES = ("base", "cow", "saved_dirty")

#: ``_PAGE_SWP_UFFD_WP``
_SWP_UFFD_WP = 1 << 2

Predicate = Callable[[Rows, Machine], np.ndarray]


@dataclass(frozen=True)
class Rule:
    """One thing that should not be there."""

    id: str
    sentence: str  #: what a row that breaks it is
    follows: str  #: whose rule it is
    severity: str
    predicate: Predicate
    applies: tuple[str, ...] = ALL_RULES  #: rule sets
    kernels: str = "all kernels"
    needs: str = ""  #: a change of :data:`pgtable.kernels.CHANGES` without which it means nothing
    partner: Callable[[Rows, bool], np.ndarray] | None = None  #: what else makes it one
    why_not: Callable[[Machine], str | None] = lambda _: None  #: why it cannot be applied
    #: "": another rule stands in its place, which is not worth a word


# ---- where dirtiness is kept


def _shadow_stack(rows: Rows) -> np.ndarray:
    return rows.leaf & rows.dirty_bit & ~rows.write_bit


def _cow_in_kernel(rows: Rows, _: Machine) -> np.ndarray:
    return rows.leaf & rows.kernel & rows.bit58


# ---- who may do what


def _user_wx(rows: Rows, _: Machine) -> np.ndarray:
    return rows.leaf & rows.user & rows.writable & ~rows.nx


def _kernel_wx(rows: Rows, _: Machine) -> np.ndarray:
    return rows.leaf & ~rows.user & rows.writable & ~rows.nx


#: The one page of the kernel half that user mode may see: the legacy vsyscall page.
_VSYSCALL = np.uint64(0xFFFF_FFFF_FF60_0000)


def _is_vsyscall(rows: Rows) -> np.ndarray:
    return (rows.va == _VSYSCALL) & (rows.level == 1) & ~rows.writable


def _user_in_kernel_half(rows: Rows, _: Machine) -> np.ndarray:
    return rows.leaf & rows.kernel & rows.user & ~_is_vsyscall(rows)


def _vsyscall(rows: Rows, _: Machine) -> np.ndarray:
    return rows.leaf & rows.kernel & rows.user & _is_vsyscall(rows)


def _table_writable(rows: Rows, machine: Machine) -> np.ndarray:
    return _among(rows, rows.leaf & rows.user & rows.writable, machine.tables.touch)


def _alias(rows: Rows, machine: Machine) -> np.ndarray:
    # a mapping that is itself executable has a rule of its own
    writable = rows.leaf & rows.writable & rows.nx
    code = _among(rows, writable, machine.kernel_code.touch)
    return code | _among(rows, writable & rows.user, machine.user_code.touch)


def _alias_elsewhere(rows: Rows, machine: Machine) -> np.ndarray:
    assert machine.every_user_code is not None
    writable = rows.leaf & rows.user & rows.writable
    elsewhere = _among(rows, writable, machine.every_user_code.touch)
    return elsewhere & ~_among(rows, elsewhere, machine.user_code.touch)


def _needs_all_spaces(machine: Machine) -> str | None:
    return "" if machine.every_user_code is None else None


def _user_code(rows: Rows, _: bool) -> np.ndarray:
    return rows.leaf & ~rows.nx & rows.user


def _code(rows: Rows, writer_is_user: bool) -> np.ndarray:
    return rows.leaf & ~rows.nx & (~rows.user | writer_is_user)


def _among(
    rows: Rows, where: np.ndarray, test: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Ask a question of frames only where it matters."""
    return rows.only(test(rows.pa[where], rows.size[where]), where)


# ---- what userfaultfd protects, what was written and is executed


def _uffd_wp_writable(rows: Rows, _: Machine) -> np.ndarray:
    mapped = (rows.leaf | (rows.kind == Kind.PROT_NONE)) & ~rows.kernel & (rows.level <= 2)
    return mapped & any_of(rows.entry, bits.UFFD_WP) & rows.write_bit


def _writable_types() -> frozenset[int]:
    """Return the swap types that say "writable" in some configuration of some kernel.

    The special types are numbered upwards so that the last is 31: hwpoison, migration
    (read, read exclusive since 5.19, write), device memory (write, read, exclusive
    ones), marker.  Each may be configured out.  Source: include/linux/swap.h.
    """
    migrations = (["read", "write"], ["read", "read", "write"])
    devices: tuple[list[str], ...] = (
        [],
        ["write", "read"],
        ["write", "read", "read"],
        ["write", "read", "write", "read"],
    )
    found = set()
    for migration, device, marker in product(migrations, devices, ([], ["marker"])):
        names = [*migration, *device, *marker]
        found |= {32 - len(names) + i for i, name in enumerate(names) if name == "write"}
    return frozenset(found)


_WRITABLE_TYPES = np.array(sorted(_writable_types()), np.uint64)


def _uffd_wp_migration(rows: Rows, machine: Machine) -> np.ndarray:
    migration = (rows.kind == Kind.MIGRATION) & ~rows.kernel & (rows.level <= 2)
    if machine.kernel is None:
        writable = np.isin(rows.entry >> np.uint64(59), _WRITABLE_TYPES)
    else:
        types = [number for number, name in machine.kernel.types.items() if name.endswith("_write")]
        writable = np.isin(machine.kernel.swap.type(rows.entry), np.array(types, np.uint64))
    return migration & writable & any_of(rows.entry, _SWP_UFFD_WP)


def _user_dirty_code(rows: Rows, machine: Machine) -> np.ndarray:
    dirty = any_of(rows.entry, bits.DIRTY | machine.cow)
    return rows.leaf & rows.user & ~rows.kernel & ~rows.nx & dirty


# ---- what the processor and the machine allow

_SMALL_LOW = {2: bits.SMALL_FRAME & ~bits.LEAF_FRAME["pmd"] & ~bits.PAT_LARGE}
_SMALL_LOW[3] = bits.SMALL_FRAME & ~bits.LEAF_FRAME["pud"] & ~bits.PAT_LARGE


def _reserved(rows: Rows, machine: Machine) -> np.ndarray:
    top = rows.present & (rows.level >= 4) & any_of(rows.entry, bits.PSE)
    for level, below_frame in _SMALL_LOW.items():
        low = below_frame & ~machine.encryption
        top |= rows.leaf & (rows.level == level) & any_of(rows.entry, low)
    if not machine.nxe:
        top |= rows.present & any_of(rows.entry, bits.NX)
    if machine.physical_bits is not None:
        too_high = bits.SMALL_FRAME & ~((1 << machine.physical_bits) - 1) & ~machine.encryption
        top |= rows.present & any_of(rows.entry, too_high)
    return top


def _cached(rows: Rows) -> np.ndarray:
    return ~any_of(rows.entry, bits.PCD | bits.PWT)


def _outside(rows: Rows, machine: Machine) -> np.ndarray:
    assert machine.memory is not None
    return rows.leaf & ~machine.memory.contain(rows.pa, rows.size)


def _outside_cached(rows: Rows, machine: Machine) -> np.ndarray:
    return _outside(rows, machine) & _cached(rows)


def _outside_uncached(rows: Rows, machine: Machine) -> np.ndarray:
    return _outside(rows, machine) & ~_cached(rows)


def _without_table(rows: Rows, machine: Machine) -> np.ndarray:
    missing = machine.missing_tables
    page = SIZES[1:2]  # a table is one page, whatever its entries cover
    return _among(rows, rows.table, lambda pa, _: missing.touch(pa, page))


def _may_be_left_out(rows: Rows, machine: Machine) -> np.ndarray:
    if not machine.incomplete:
        return np.zeros(len(rows.va), bool)
    if machine.memory is None:
        return np.ones(len(rows.va), bool)
    return machine.memory.contain(rows.pa, np.full(len(rows.pa), SIZES[1]))


def _table_missing(rows: Rows, machine: Machine) -> np.ndarray:
    return _without_table(rows, machine) & ~_may_be_left_out(rows, machine)


def _table_left_out(rows: Rows, machine: Machine) -> np.ndarray:
    return _without_table(rows, machine) & _may_be_left_out(rows, machine)


def _self_map(rows: Rows, machine: Machine) -> np.ndarray:
    top = rows.table & (rows.level == machine.levels)
    return top & np.isin(rows.pa, np.array(machine.tops, np.uint64))


def _loop(rows: Rows, machine: Machine) -> np.ndarray:
    if not len(machine.loops):
        return np.zeros(len(rows.va), bool)
    loops = np.isin(rows.va | rows.level.astype(np.uint64), machine.loops)
    return rows.table & loops & ~_self_map(rows, machine)


def _needs_memory(machine: Machine) -> str | None:
    return machine.memory_why if machine.memory is None else None


def _needs_all_tables(machine: Machine) -> str | None:
    if not machine.incomplete or machine.memory is not None or not len(machine.missing_tables):
        return None
    return f"tables are missing because the image is not complete: {machine.incomplete}"


def _needs_gaps(machine: Machine) -> str | None:
    return None if machine.incomplete else ""


_NO_STATE = "only mkwrite_shstk and clear_cow make Write=0,Dirty=1 of anything else"

RULES = (
    Rule(
        "kernel-shadow-stack",
        "Write=0,Dirty=1 in the kernel half: hardware takes it for a shadow stack",
        f"law 1, no accidental shadow stack: {_NO_STATE}; the kernel has none of its own",
        "high",
        lambda rows, _: _shadow_stack(rows) & rows.kernel,
        SHADOW_STACK_RULES,
        "Linux 6.6 and later, and kernels with the cow patch",
    ),
    Rule(
        "user-shadow-stack",
        "Write=0,Dirty=1 in the user half: an accidental shadow stack, or a real one if the"
        " process has one (the entry cannot tell)",
        f"law 1, no accidental shadow stack: {_NO_STATE}",
        "medium",
        lambda rows, _: _shadow_stack(rows) & ~rows.kernel,
        SHADOW_STACK_RULES,
        "Linux 6.6 and later, and kernels with the cow patch",
    ),
    Rule(
        "cow-in-kernel",
        "bit 58 (Cow, SavedDirty) in a leaf of the kernel half, where nothing is copied on write",
        "bit 58 keeps the dirtiness of write-protected user pages",
        "medium",
        _cow_in_kernel,
        SHADOW_STACK_RULES,
        "Linux 6.6 and later, and kernels with the cow patch",
    ),
    Rule(
        "kernel-writable-executable",
        "kernel code that can be written: executable and writable, not for user mode (without"
        " symbols, what the kernel may execute is its text)",
        "W^X: what is executed in kernel mode is not written",
        "high",
        _kernel_wx,
    ),
    Rule(
        "user-writable-executable",
        "user memory that is writable and executable at once",
        "W^X; just-in-time compilers may ask for it",
        "medium",
        _user_wx,
    ),
    Rule(
        "user-dirty-executable",
        "user memory that may be executed and was written to (Dirty, or bit 58 where that keeps"
        " dirtiness): code made at run time, relocated or patched; the entry cannot tell which,"
        " nor whether a file is behind it",
        "code of a file is not written to; just-in-time compilers and debuggers do it",
        "note",
        _user_dirty_code,
    ),
    Rule(
        "uffd-wp-writable",
        "UFFD_WP and Write both set: userfaultfd protects the page from writes that the"
        " processor allows",
        "mm/page_table_check.c warns about it: mkuffd_wp goes with wrprotect",
        "medium",
        _uffd_wp_writable,
        kernels="Linux 5.7 and later",
        needs="uffd_wp",
    ),
    Rule(
        "uffd-wp-migration",
        "a migration or device-memory entry with its uffd-wp bit, of a type that means writable"
        " in some configurations; the entry alone cannot tell whether it does here",
        "mm/page_table_check.c warns about uffd-wp in a writable migration entry",
        "note",
        _uffd_wp_migration,
        kernels="Linux 5.7 and later",
        needs="uffd_wp",
    ),
    Rule(
        "user-accessible-kernel",
        "a leaf of the kernel half that user mode may access",
        "the kernel half is the kernel's",
        "high",
        _user_in_kernel_half,
    ),
    Rule(
        "vsyscall",
        "the vsyscall page is mapped for user mode",
        "a legacy interface at a fixed address, off in most kernels",
        "note",
        _vsyscall,
    ),
    Rule(
        "table-writable-by-user",
        "user mode may write to a page that holds a page table of what was walked",
        "page tables are the kernel's",
        "high",
        _table_writable,
    ),
    Rule(
        "writable-alias-of-code",
        "a writable mapping of a frame that is executable at another address (kernel code by"
        " any mapping; user code by a user mapping, the kernel maps all memory)",
        "W^X, through two addresses",
        "high",
        _alias,
        partner=_code,
    ),
    Rule(
        "writable-here-executable-there",
        "user memory that one space may write to and another space executes",
        "W^X, through two address spaces; a debugger or a shared just-in-time compiler may do it",
        "high",
        _alias_elsewhere,
        partner=_user_code,
        why_not=_needs_all_spaces,
    ),
    Rule(
        "reserved-bits",
        "bits that the processor wants to be 0: the access faults",
        "Intel SDM volume 3A, paging: reserved bits",
        "high",
        _reserved,
    ),
    Rule(
        "outside-memory",
        "a cached mapping of a frame that is not in the machine's memory",
        "only memory is mapped cached; devices are mapped uncached",
        "medium",
        _outside_cached,
        why_not=_needs_memory,
    ),
    Rule(
        "table-missing",
        "an entry that refers to a table that the image does not hold",
        "page tables are in memory; or the image is not complete",
        "medium",
        _table_missing,
        why_not=_needs_all_tables,
    ),
    Rule(
        "table-left-out",
        "an entry that refers to a table that the image does not hold, as it lacks memory that"
        " the machine had: what is below cannot be seen",
        "not the kernel's fault as far as the image tells: dump again with all of its memory",
        "note",
        _table_left_out,
        why_not=_needs_gaps,
    ),
    Rule(
        "self-map-user",
        "the top table refers to itself, and user mode may use that entry: it reaches all page"
        " tables, which appear in this range",
        "page tables are the kernel's",
        "high",
        lambda rows, machine: _self_map(rows, machine) & rows.user,
    ),
    Rule(
        "self-map",
        "the top table refers to itself: all page tables appear in this range",
        "Windows maps its own tables so; Linux has no such entry",
        "note",
        lambda rows, machine: _self_map(rows, machine) & ~rows.user,
    ),
    Rule(
        "table-loop",
        "an entry that refers to a table above it (not followed)",
        "page tables are a tree",
        "medium",
        _loop,
    ),
    Rule(
        "device-memory",
        "an uncached mapping of a frame that is not in the machine's memory",
        "devices are mapped so",
        "note",
        _outside_uncached,
        why_not=_needs_memory,
    ),
)
