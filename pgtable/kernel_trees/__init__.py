# SPDX-License-Identifier: GPL-2.0-only
"""The real helpers of any Linux x86-64 tree, compiled from its headers in user space.

The rest of the package imports only the names that are listed here.
"""

from .cache import cache_directory, clear_cache
from .cache import size as cache_size
from .compiler import find as find_compiler
from .errors import HelperEndedError, KernelTreeError
from .isolation.isolated_engine import SECONDS
from .loaded_engine import kernel_tree
from .locate import Tree
from .locate import locate as find_tree
from .own_code import code_sizes, compile_own, compiler_version
from .reading import read_text
from .recipe import csrc_directory, flags_of_loops
from .tree_engine import KernelTreeEngine
from .tree_library import TreeLibrary, tree_library

__all__ = [
    "SECONDS",
    "Tree",
    "HelperEndedError",
    "KernelTreeEngine",
    "KernelTreeError",
    "TreeLibrary",
    "cache_directory",
    "cache_size",
    "clear_cache",
    "code_sizes",
    "compile_own",
    "compiler_version",
    "csrc_directory",
    "find_compiler",
    "flags_of_loops",
    "kernel_tree",
    "find_tree",
    "read_text",
    "tree_library",
]
