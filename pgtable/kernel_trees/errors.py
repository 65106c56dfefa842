# SPDX-License-Identifier: GPL-2.0-only
"""What goes wrong with a kernel tree."""

from __future__ import annotations


class KernelTreeError(ValueError):
    """A tree that cannot be used; says in one line what is wrong and what mends it."""


class HelperEndedError(KernelTreeError):
    """A tree's code ended its process, or did not end; says which helper, on what, and how."""
