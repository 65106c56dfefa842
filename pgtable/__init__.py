# SPDX-License-Identifier: GPL-2.0-only
"""The x86-64 page-table helpers of the Linux kernel, from Python, in bulk.

``pgtable.pte_wrprotect`` and its siblings are the helpers of the default
engine: our C, rules ``cow``, shadow stacks on.  :func:`native` and
:func:`reference` give the engines of the other rules, :func:`kernel_tree` that of
the real helpers of a Linux tree.
"""

from __future__ import annotations

from . import _early

if _early.is_program():
    _early.prepare()  # before NumPy is imported

import importlib.util
from typing import TYPE_CHECKING, Any

from .census import Census, Counter, census
from .engines.interface import Chain, Engine, Helper, StepLike, UnknownHelperError
from .engines.native import isa, isas, native
from .engines.reference import reference

if TYPE_CHECKING:
    from .checks.compare import compare, compare_levels
    from .checks.differential import check
    from .checks.followed_rules import recognise
    from .checks.law_check import check_laws
    from .checks.laws import LAWS as laws  # noqa: N811
    from .images import open_image
    from .images.audit import audit
    from .images.diff import diff
    from .kernel_trees import KernelTreeError, kernel_tree
    from .proofs import prove

#: Imported on first use, so that a program that needs only helpers starts quickly.
_LATER = {
    "KernelTreeError": ("kernel_trees", "KernelTreeError"),
    "audit": ("images.audit", "audit"),
    "check": ("checks.differential", "check"),
    "check_laws": ("checks.law_check", "check_laws"),
    "compare": ("checks.compare", "compare"),
    "compare_levels": ("checks.compare", "compare_levels"),
    "diff": ("images.diff", "diff"),
    "kernel_tree": ("kernel_trees", "kernel_tree"),
    "laws": ("checks.laws", "LAWS"),
    "open_image": ("images", "open_image"),
    "prove": ("proofs", "prove"),
    "recognise": ("checks.followed_rules", "recognise"),
}

__version__ = "0.1.0"

__all__ = [
    "Census",
    "Chain",
    "Counter",
    "Engine",
    "Helper",
    "KernelTreeError",
    "UnknownHelperError",
    "audit",
    "census",
    "chain",
    "check",
    "check_laws",
    "compare",
    "compare_levels",
    "diff",
    "isa",
    "isas",
    "kernel_tree",
    "laws",
    "native",
    "recognise",
    "open_image",
    "prove",
    "reference",
]


def chain(*steps: StepLike) -> Chain:
    """Make one operation out of helpers of one engine, run in one pass over memory.

    steps: helpers, and ``(helper, argument)`` for those with a second argument
        (an int, or an array of the shape of the entries); only the last may be
        a test.  The result is called like a helper.

    Raises TypeError for what is no helper or lacks its argument, ValueError for
    helpers of different engines and for a test that is not the last.
    """
    first = Chain(steps)  # checks them
    return first.engine.chain(*steps)


def __getattr__(name: str) -> Any:
    if name in _LATER:
        module, attribute = _LATER[name]
        value = getattr(importlib.import_module(f".{module}", __name__), attribute)
    elif name.startswith("_") or importlib.util.find_spec(f"{__name__}.{name}"):
        raise AttributeError(f"module 'pgtable' has no attribute {name!r}")
    else:
        value = native().helper(name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER, *native().helpers})
