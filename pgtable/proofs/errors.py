# SPDX-License-Identifier: GPL-2.0-only
"""Errors of proofs."""

from __future__ import annotations


class RefusedError(Exception):
    """Something that cannot become a term, or cannot be decided.  It never counts as proved."""


class ProveUnavailableError(ImportError):
    """The packages of the extra ``prove`` are not installed.  The message says how to get them."""
