# SPDX-License-Identifier: GPL-2.0-only
"""The ways in which helpers are compiled to be timed."""

from __future__ import annotations

import platform
from typing import NamedTuple

from ..engines.isas import ISAS
from ..engines.native import native

IS_X86 = platform.machine().lower() in ("x86_64", "amd64")

#: Loops and functions are aligned, since their place is no property of the helper.
_ALIGNED = ("-falign-functions=64", "-falign-loops=64")

#: Flags of arch/x86/Makefile and of the top Makefile of a kernel that change code.  Left out are
#: flags that a library cannot have (-mcmodel=kernel, -fno-PIE) and those about calls and stacks.
_KERNEL = (
    "-O2",
    "-fno-strict-aliasing",
    "-fno-strict-overflow",
    "-fno-delete-null-pointer-checks",
    # no vector code: a kernel has none, since it does not use SSE
    "-fno-tree-vectorize",
    "-fno-tree-slp-vectorize",
    # gcc does not unroll at -O2; clang would unroll the loop around the helper
    "-fno-unroll-loops",
    "-DPGTABLE_SCALAR",
)
_KERNEL_X86 = (
    "-mno-mmx",
    "-mno-sse",
    "-mno-sse2",
    "-mno-avx",
    "-mno-80387",
    "-mno-red-zone",
    "-mtune=generic",
)


class Way(NamedTuple):
    """One way of compiling."""

    name: str
    flags: tuple[str, ...]
    patched: bool  #: the feature is tested as in a booted kernel; else it is a constant

    @property
    def simulated(self) -> bool:
        """Tell whether a simulator can run it.  None can run AVX-512."""
        return not any("avx512" in flag for flag in self.flags)


#: Names, in the order of tables.
WAYS = ("kernel", "constant", "vector")


def way_of(name: str, isa: str | None = None) -> Way:
    """Return a way of ``WAYS``.

    isa: the instruction set of "vector"; None: the one in force.
    Raises ValueError for another name, and for an instruction set that this processor does not
    have.
    """
    if name not in WAYS:
        raise ValueError(f"way is {name!r}; it must be one of {', '.join(WAYS)}")
    if name == "vector":
        chosen = native(isa=isa).isa
        flags = next(known.flags for known in ISAS if known.name == chosen)
        return Way(name, ("-O3", *_ALIGNED, *flags, "-UPGTABLE_NO_UNROLL"), False)
    flags = (*_KERNEL, *_ALIGNED, *(_KERNEL_X86 if IS_X86 else ()))
    return Way(name, flags, name == "kernel")
