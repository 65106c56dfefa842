# SPDX-License-Identifier: GPL-2.0-only
"""Proofs about helpers, for every input, out of the machine code that a compiler made."""

from __future__ import annotations

try:
    import elftools  # noqa: F401
    import pyvex  # noqa: F401
    import z3  # noqa: F401
except ImportError as error:
    from .errors import ProveUnavailableError

    raise ProveUnavailableError(
        f"proofs need the packages of the extra 'prove' ({error}): run pip install 'pgtable[prove]'"
    ) from error

from .proving import Proof, Proofs, prove

__all__ = ["Proof", "Proofs", "prove"]
