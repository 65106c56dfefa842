# SPDX-License-Identifier: GPL-2.0-only
"""Headers of NumPy's ``.npy``, which may be hostile.

NumPy's own reader evaluates a header before it checks it, and some of the errors escape.  This
reader never unpickles anything.  Source: numpy/lib/format.py.
"""

from __future__ import annotations

import ast
import io
import math
import re
import struct
from typing import NamedTuple

import numpy as np

MAGIC = b"\x93NUMPY"
#: (bytes of the length, its format) by version.
_LENGTHS = {(1, 0): "<H", (2, 0): "<I", (3, 0): "<I"}
#: NumPy's own limit for a header, in bytes; ours have 118.
_MAX_HEADER = 10_000
#: Dimensions that an array can have, and bytes.
_MAX_DIMENSIONS = 64 if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else 32
_MAX_BYTES = (1 << 63) - 1
_KEYS = {"descr", "fortran_order", "shape"}
_ENTRIES = ("<u8", "<i8")


class NpyHeader(NamedTuple):
    """What the header of a file of entries says."""

    shape: tuple[int, ...]
    fortran_order: bool

    @property
    def entries(self) -> int:
        """How many entries the file should hold."""
        return math.prod(self.shape)


def npy_header(shape: tuple[int, ...], fortran_order: bool = False) -> bytes:
    """Return the header of an ``.npy`` of entries."""
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        out, {"descr": "<u8", "fortran_order": fortran_order, "shape": shape}
    )
    return out.getvalue()


def read_npy_header(file: io.RawIOBase, name: str) -> NpyHeader:
    """Read the header of an ``.npy`` of entries, which the file begins with.

    Raises ValueError where it is damaged, of an unknown version, or of something else
    than 64-bit little-endian integers.
    """
    start = _read(file, len(MAGIC) + 2, name)
    version = (start[-2], start[-1])
    if version not in _LENGTHS:
        raise ValueError(
            f"{name}: is an .npy of version {version[0]}.{version[1]}; versions 1.0 to 3.0 are read"
        )
    length = _LENGTHS[version]
    (size,) = struct.unpack(length, _read(file, struct.calcsize(length), name))
    if size > _MAX_HEADER:
        raise _damaged(name, f"it says that it is {size} bytes long")
    text = _read(file, size, name).decode("utf8" if version == (3, 0) else "latin1", "replace")
    return _checked(_evaluated(text, name), name)


def _read(file: io.RawIOBase, n: int, name: str) -> bytes:
    content = b""
    while len(content) < n:
        piece = file.read(n - len(content))
        if not piece:
            raise _damaged(name, "the file ends within it")
        content += piece
    return content


def _damaged(name: str, why: str) -> ValueError:
    return ValueError(f"{name}: damaged .npy header ({why})")


def _evaluated(text: str, name: str) -> dict[str, object]:
    try:
        # Python 2 wrote long integers as 4L
        value = ast.literal_eval(re.sub(r"(?<=\d)L\b", "", text.strip(" \n\0")))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise _damaged(name, "it is no dictionary") from None
    if not isinstance(value, dict) or {*value} != _KEYS:
        raise _damaged(name, "it is no dictionary of descr, fortran_order and shape")
    return value


def _checked(header: dict[str, object], name: str) -> NpyHeader:
    descr, order, shape = header["descr"], header["fortran_order"], header["shape"]
    if not isinstance(order, bool):
        raise _damaged(name, "its fortran_order is not True or False")
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise _damaged(name, "its shape is no tuple of sizes")
    if len(shape) > _MAX_DIMENSIONS:
        raise _damaged(name, f"{len(shape)} dimensions; an array has {_MAX_DIMENSIONS} at most")
    if math.prod(n for n in shape if n) > _MAX_BYTES // 8:
        raise _damaged(name, "its shape is larger than any file")
    if descr not in _ENTRIES:
        raise ValueError(
            f"{name}: is an .npy of {_type_name(descr)}; entries are '<u8', convert it with .astype"
        )
    return NpyHeader(shape, order)


def _type_name(descr: object) -> str:
    if isinstance(descr, list):
        return "records: take the field that has the entries, such as array['entry']"
    if isinstance(descr, str) and descr.lstrip("|<>=").startswith("O"):
        return "Python objects, which are never unpickled"
    return descr[:40] if isinstance(descr, str) else "an unknown type"
