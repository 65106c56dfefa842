# SPDX-License-Identifier: GPL-2.0-only
"""Writes a walk to a file: NumPy, Parquet, or the lines of QEMU's ``info tlb``."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from ..files import replacing

if TYPE_CHECKING:
    from .walk import Walk

#: Rows that are worked on at once.
CHUNK = 1 << 16

_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_DIGIT_SHIFTS = np.arange(60, -4, -4, dtype=np.uint64)
#: Letters of ``info tlb`` and the bits that they stand for.
_FLAGS = np.frombuffer(b"XGPDACTUW", np.uint8)
_FLAG_SHIFTS = np.array([63, 8, 7, 6, 5, 4, 3, 2, 1], np.uint64)
_PSE = np.uint64(1 << 7)
_LINE = 16 + 2 + 16 + 1 + 9 + 1


def info_tlb_lines(
    va: np.ndarray, pa: np.ndarray, entry: np.ndarray, level: np.ndarray
) -> np.ndarray:
    """Return lines of ``info tlb`` for present leaves: uint8, shape (n, 45)."""
    lines = np.full((len(va), _LINE), ord(" "), np.uint8)
    lines[:, :16] = _hex(va)
    lines[:, 16] = ord(":")
    lines[:, 18:34] = _hex(pa)
    # bit 7 of a 4 KiB leaf is PAT, and not shown
    shown = np.where(level == 1, entry & ~_PSE, entry)
    is_set = (shown[:, None] >> _FLAG_SHIFTS) & np.uint64(1) != 0
    lines[:, 35:44] = np.where(is_set, _FLAGS, np.uint8(ord("-")))
    lines[:, 44] = ord("\n")
    return lines


def _hex(numbers: np.ndarray) -> np.ndarray:
    return _HEX[(numbers[:, None] >> _DIGIT_SHIFTS & np.uint64(15)).astype(np.uint8)]


def chunks(walk: Walk, size: int = CHUNK) -> Iterator[Walk]:
    """Yield walks of some rows each, which together are all."""
    for first in range(0, len(walk), size):
        yield walk.part(slice(first, first + size))


def write_info_tlb(walk: Walk, file: BinaryIO | io.RawIOBase) -> None:
    """Write the leaves of a walk as QEMU's ``info tlb`` prints them."""
    for part in chunks(walk):
        leaf = part.leaf
        columns = (column[leaf] for column in (part.va, part.pa, part.entry, part.level))
        file.write(info_tlb_lines(*columns).tobytes())


def write_npy(walk: Walk, path: str | os.PathLike[str]) -> None:
    """Write all columns as one ``.npy`` of records, which ``numpy.load`` can also map.

    Raises OSError where it cannot be written; the file is replaced only when complete.
    """
    columns = walk.part(slice(0)).columns
    dtype = np.dtype([(name, column.dtype) for name, column in columns.items()])
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": (len(walk),),
    }
    with replacing(path) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in chunks(walk):
            records = np.empty(len(part), dtype)
            for name, column in part.columns.items():
                records[name] = column
            file.write(records.tobytes())


def write_parquet(walk: Walk, path: str | os.PathLike[str]) -> None:
    """Write all columns as Parquet.

    Raises ValueError where the extra is missing, OSError where it cannot be
    written; the file is replaced only when complete.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError:
        raise ValueError(
            "Parquet needs the package pyarrow: pip install 'pgtable[parquet]'"
        ) from None
    columns = walk.part(slice(0)).columns
    schema = pa.schema([(name, pa.from_numpy_dtype(c.dtype)) for name, c in columns.items()])
    with replacing(path) as file, pq.ParquetWriter(file, schema) as writer:
        for part in chunks(walk, 16 * CHUNK):
            arrays = [pa.array(column) for column in part.columns.values()]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
