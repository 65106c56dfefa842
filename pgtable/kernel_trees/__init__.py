# SPDX-License-Identifier: GPL-2.0-only
"""The real helpers of any Linux x86-64 tree, compiled from its headers in user space."""

from .cache import cache_directory, clear_cache
from .cache import size as cache_size
from .errors import HelperEndedError, KernelTreeError
from .isolation.isolated_engine import SECONDS
from .loaded_engine import kernel_tree
from .tree_engine import KernelTreeEngine

__all__ = [
    "SECONDS",
    "HelperEndedError",
    "KernelTreeEngine",
    "KernelTreeError",
    "cache_directory",
    "cache_size",
    "clear_cache",
    "kernel_tree",
]
