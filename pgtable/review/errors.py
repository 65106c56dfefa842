# SPDX-License-Identifier: GPL-2.0-only
"""Errors of patches."""

from __future__ import annotations


class PatchError(ValueError):
    """A patch that cannot be read or applied.  The message names the file and the hunk."""
