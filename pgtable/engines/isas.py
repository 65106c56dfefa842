# SPDX-License-Identifier: GPL-2.0-only
"""The instruction sets that loops are compiled for, and the compiler flags of each."""

from __future__ import annotations

import platform
from typing import NamedTuple


class Isa(NamedTuple):
    """One instruction set that every loop is compiled for."""

    name: str
    flags: tuple[str, ...]


ISAS = [
    # the other loops are compared with it, so it must not become vector code
    Isa("scalar", ("-DPGTABLE_SCALAR", "-fno-tree-vectorize", "-fno-tree-slp-vectorize")),
    Isa("baseline", ()),
]
if platform.machine().lower() in ("x86_64", "amd64"):
    ISAS += [
        Isa("avx2", ("-mavx2",)),
        Isa(
            "avx512",
            ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512"),
        ),
    ]
