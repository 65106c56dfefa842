# SPDX-License-Identifier: GPL-2.0-only
"""What an audit looks for: one rule after the other, as data.

Each predicate takes rows and the machine and tells which rows break the rule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ... import bits
from ..regions import SIZES
from .rows import Machine, Rows, any_of

#: Worst first.  "note" is worth knowing and no fault.
SEVERITIES = ("high", "medium", "low", "note")

SHADOW_STACK_RULES = ("cow", "saved_dirty")
ALL_RULES = ("base", "cow", "saved_dirty")

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
    partner: Callable[[Rows, bool], np.ndarray] | None = None  #: what else makes it one
    why_not: Callable[[Machine], str | None] = lambda _: None  #: why it cannot be applied


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


def _code(rows: Rows, writer_is_user: bool) -> np.ndarray:
    return rows.leaf & ~rows.nx & (~rows.user | writer_is_user)


def _among(
    rows: Rows, where: np.ndarray, test: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Ask a question of frames only where it matters."""
    return rows.only(test(rows.pa[where], rows.size[where]), where)


# ---- what the processor and the machine allow

_SMALL_LOW = {2: bits.SMALL_FRAME & ~bits.LEAF_FRAME["pmd"] & ~bits.PAT_LARGE}
_SMALL_LOW[3] = bits.SMALL_FRAME & ~bits.LEAF_FRAME["pud"] & ~bits.PAT_LARGE


def _reserved(rows: Rows, machine: Machine) -> np.ndarray:
    top = rows.present & (rows.level >= 4) & any_of(rows.entry, bits.PSE)
    for level, below_frame in _SMALL_LOW.items():
        top |= rows.leaf & (rows.level == level) & any_of(rows.entry, below_frame)
    if not machine.nxe:
        top |= rows.present & any_of(rows.entry, bits.NX)
    if machine.physical_bits is not None:
        too_high = bits.SMALL_FRAME & ~((1 << machine.physical_bits) - 1)
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


def _table_missing(rows: Rows, machine: Machine) -> np.ndarray:
    missing = machine.missing_tables
    page = SIZES[1:2]  # a table is one page, whatever its entries cover
    return _among(rows, rows.table, lambda pa, _: missing.touch(pa, page))


def _loop(rows: Rows, machine: Machine) -> np.ndarray:
    if not len(machine.loops):
        return np.zeros(len(rows.va), bool)
    return rows.table & np.isin(rows.va | rows.level.astype(np.uint64), machine.loops)


def _needs_memory(machine: Machine) -> str | None:
    if machine.memory is None:
        return "the machine's memory ranges are not known: a reduced image holds table pages only"
    return None


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
        "user mode may write to a page that holds a page table of this address space",
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
    ),
    Rule(
        "table-loop",
        "an entry that refers to a table above it (not followed)",
        "page tables are a tree; some systems map their own tables so, Linux does not",
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
