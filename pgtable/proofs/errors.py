# SPDX-License-Identifier: GPL-2.0-only
"""What proofs raise."""

from __future__ import annotations


class RefusedError(Exception):
    """What cannot be made a term or be decided; says why, and never counts as proved."""


class ProveUnavailableError(ImportError):
    """The packages of the extra ``prove`` are not installed; says how to get them."""
