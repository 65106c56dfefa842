# SPDX-License-Identifier: GPL-2.0-only
"""Proofs about helpers, for every input, out of the machine code that a compiler made."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from .errors import ProveUnavailableError

if TYPE_CHECKING:
    from .lifted_tree import LiftedTree
    from .results import Proofs

    #: Called as progress(done, total), in helpers.
    Progress = Callable[[int, int], None]

__all__ = ["ProveUnavailableError", "prove", "require_packages"]


def require_packages() -> None:
    """Raise ProveUnavailableError where a package of the extra ``prove`` is not installed."""
    try:
        import elftools  # noqa: F401, PLC0415
        import pyvex  # noqa: F401, PLC0415
        import z3  # noqa: F401, PLC0415
    except ImportError as error:
        raise ProveUnavailableError(
            f"proofs need the packages of the extra 'prove' ({error}):"
            " run pip install 'pgtable[prove]'"
        ) from error


def prove(
    tree: str | os.PathLike[str] | LiftedTree,
    against: str | os.PathLike[str] | LiftedTree | None = None,
    *,
    generated: str | os.PathLike[str] | None = None,
    config: Mapping[str, bool] | None = None,
    compiler: str = "gcc",
    flags: str | None = None,
    helpers: Sequence[str] = (),
    laws: bool = False,
    certificates: str | os.PathLike[str] | None = None,
    seconds: float = 20.0,
    progress: Progress | None = None,
) -> Proofs:
    """Prove a kernel tree's helpers equal to the reference's, or to another tree's.

    The machine code that the compiler makes of a helper becomes a term of the 64 bits of
    its entry and argument and of the machine; a solver then shows that no input gives
    another result, or finds one.  Nothing of the tree is run.

    tree, against: what :func:`pgtable.kernel_tree` takes, or a subject of
        :func:`pgtable.proofs.lifted_tree.tree_subject`.  ``against`` may also name rules
        ("cow", "base", "saved_dirty"); None: the reference with the rules whose helpers
        the tree has.  Shadow stacks are on and off in one proof.
    generated, config, compiler, flags: as for kernel_tree, of both trees.
    helpers: prove only these.
    laws: prove every law of the tree's helpers as well, by the rules it is held to; what a
        known exception excuses is excused.
    certificates: a directory for one SMT-LIB 2 file of each helper that is proved: any
        solver can check that it is ``unsat``.
    seconds: how long one answer of the solver may take.
    progress: called as ``progress(done, total)`` after each helper.

    Raises ProveUnavailableError (an ImportError) where the packages of the extra ``prove`` are
    not installed, KernelTreeError for a tree that cannot be compiled, ValueError for a helper that
    the tree has not, OSError for a directory that cannot be written.
    """
    require_packages()
    from .proving import prove_helpers  # noqa: PLC0415 - it imports those packages

    options = {"generated": generated, "config": config, "compiler": compiler, "flags": flags}
    return prove_helpers(tree, against, options, helpers, laws, certificates, seconds, progress)
