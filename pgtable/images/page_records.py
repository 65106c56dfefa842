# SPDX-License-Identifier: GPL-2.0-only
"""Page-table pages as records: an 8-byte physical address, then the page's 4096 bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .image import MappedImage
from .segments import PAGE, PHYSICAL_END, Segments

RECORD = 8 + PAGE
_SAMPLES = 64
#: Records from which on a length that does not fit says "cut short".
_SURE = 4


def _addresses(memory: memoryview) -> np.ndarray:
    count = len(memory) // RECORD
    records = np.frombuffer(memory, np.uint8, count * RECORD).reshape(count, RECORD)
    return records[:, :8].view("<u8")[:, 0]


def _plausible(pa: np.ndarray) -> np.ndarray:
    return (pa % PAGE == 0) & (pa < PHYSICAL_END)


def looks_like_records(memory: memoryview) -> bool:
    """Tell from a few records whether this is a file of them, and no raw memory.

    Raw memory would need a page address, each another one, at every place where a
    record begins.  A file that ends within a record is still one, if there are many.
    """
    whole = len(memory) // RECORD
    if not whole or (len(memory) % RECORD and whole < _SURE):
        return False
    pa = _addresses(memory)
    sample = pa[np.linspace(0, len(pa) - 1, min(len(pa), _SAMPLES), dtype=np.intp)]
    return bool(_plausible(sample).all()) and len(np.unique(sample)) == len(sample)


def open_records(path: Path, memory: memoryview) -> MappedImage:
    """Return the image in a file of records, in any order; of two of one page the first counts.

    Raises ValueError for a file without one record and for addresses that are
    no page's.
    """
    if len(memory) < RECORD:
        raise ValueError(f"{path}: shorter than one record of {RECORD} bytes")
    pa = _addresses(memory)
    if not _plausible(pa).all():
        bad = int(np.argmin(_plausible(pa)))
        raise ValueError(f"{path}: record {bad} has {int(pa[bad]):#x}, no page's physical address")
    remarks = []
    if len(memory) % RECORD:
        remarks.append(f"the file is cut short: it ends {len(memory) % RECORD} bytes into a record")
    offset = np.arange(len(pa), dtype=np.uint64) * np.uint64(RECORD) + np.uint64(8)
    segments = Segments(memory, pa, offset, np.full(len(pa), PAGE, np.uint64))
    if len(segments.table) < len(pa):
        remarks.append(f"{len(pa) - len(segments.table)} records of a page that was there before")
    return MappedImage(path, "records", segments, [], remarks)
