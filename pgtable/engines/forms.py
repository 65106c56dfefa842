# SPDX-License-Identifier: GPL-2.0-only
"""Closed forms of compiled helpers: csrc/form.h finds them, by trying."""

from __future__ import annotations

from typing import Any

from ._native import ffi, lib


def found_form(handle: Any, argument: int = 0) -> Any:
    """Return the ``struct pgtable_form *`` of a map, its argument fixed, or None."""
    form = ffi.new("struct pgtable_form *")
    return form if lib.pgtable_form_of_map(handle, argument, form) else None


def found_condition(handle: Any) -> Any:
    """Return the ``struct pgtable_condition *`` of a test without an argument, or None."""
    condition = ffi.new("struct pgtable_condition *")
    return condition if lib.pgtable_form_of_test(handle, condition) else None
