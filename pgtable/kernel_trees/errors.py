# SPDX-License-Identifier: GPL-2.0-only
"""Errors about kernel trees."""

from __future__ import annotations


class KernelTreeError(ValueError):
    """A tree cannot be used.  The message has one line: what is wrong, and what mends it."""


class HelperEndedError(KernelTreeError):
    """A tree's code ended its process, or ran too long; says which helper, which entry, and how."""
