# SPDX-License-Identifier: GPL-2.0-only
"""Closed forms of compiled helpers.  csrc/form/form.h says what they are and how they are found."""

from __future__ import annotations

from typing import Any, NamedTuple

from ._native import ffi, lib


class Form(NamedTuple):
    """``(entry & keep) | set``, and what moves between Dirty and Cow."""

    keep: int
    set: int
    to_cow: int
    to_dirty: int

    def moves(self) -> dict[int, int]:
        """Return the bits that move: from -> to."""
        moves = {self.to_cow: self.to_cow << _SHIFT, self.to_dirty: self.to_dirty >> _SHIFT}
        moves.pop(0, None)
        return moves

    def in_c(self) -> Any:
        """Return it as a C structure."""
        return ffi.new("struct pgtable_form *", self)


class Condition(NamedTuple):
    """True where ``(entry & mask) == value`` or, if either, the same of the ``or`` pair.

    negate: where not.
    """

    mask: int
    value: int
    or_mask: int = 0
    or_value: int = 0
    either: bool = False
    negate: bool = False

    def values(self) -> list[tuple[int, int]]:
        """Return each mask and value."""
        return [(self.mask, self.value), (self.or_mask, self.or_value)][: 1 + self.either]

    def in_c(self) -> Any:
        """Return it as a C structure."""
        return ffi.new("struct pgtable_condition *", self)


_SHIFT = lib.PGTABLE_FORM_SHIFT


def found_form(handle: Any, argument: int = 0) -> Form | None:
    """Return the form that a map has for all entries that form.c tries, or None."""
    form = ffi.new("struct pgtable_form *")
    if not lib.pgtable_form_of_map(handle, argument, form):
        return None
    return Form(form.keep, form.set, form.to_cow, form.to_dirty)


def found_condition(handle: Any) -> Condition | None:
    """Return the condition of a test without an argument: likewise, or None."""
    condition = ffi.new("struct pgtable_condition *")
    if not lib.pgtable_form_of_test(handle, condition):
        return None
    return Condition(
        condition.mask,
        condition.value,
        condition.or_mask,
        condition.or_value,
        bool(condition.either),
        bool(condition.negate),
    )
