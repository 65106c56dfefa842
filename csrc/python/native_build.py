# SPDX-License-Identifier: GPL-2.0-only
"""The cffi module ``pgtable.engines._native``: the declarations of csrc as Python takes them."""

from __future__ import annotations

import re
from pathlib import Path

from cffi import FFI

CSRC = Path(__file__).resolve().parents[1]
HEADERS = (
    "bulk/bulk.h",
    "census/census.h",
    "form/form.h",
    "guard/guard.h",
    "walk/walk.h",
    "walk/sieve.h",
    "python/operation.h",
)


def _declarations(header: str) -> str:
    """Return a header of ours as cffi takes it: without preprocessor and comments."""
    text = (CSRC / header).read_text()
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    return re.sub(r"^#.*$", "", text, flags=re.MULTILINE)


def make_ffi() -> FFI:
    """Return the builder; setup.py adds the objects that csrc/Makefile makes."""
    ffi = FFI()
    for header in HEADERS:
        ffi.cdef(_declarations(header))
    ffi.set_source(
        "pgtable.engines._native",
        "".join(f'#include "{header}"\n' for header in HEADERS),
        include_dirs=["csrc"],
        depends=[f"csrc/{name}" for name in HEADERS],
        extra_link_args=["-pthread"],
        py_limited_api=True,
    )
    return ffi


ffibuilder = make_ffi()
