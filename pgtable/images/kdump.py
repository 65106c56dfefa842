# SPDX-License-Identifier: GPL-2.0-only
"""kdump-compressed files, read through drgn (which has libkdumpfile in it)."""

from __future__ import annotations

from pathlib import Path

from .image import Image

MAGICS = (b"KDUMP   ", b"makedumpfile\0")


def open_kdump(path: Path, memory: memoryview) -> Image:
    """Return the image in a kdump-compressed file."""
    raise ValueError(f"{path}: kdump")
