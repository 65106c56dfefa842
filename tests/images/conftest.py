# SPDX-License-Identifier: GPL-2.0-only
"""The shipped dumps, and files of formats that nothing else here writes."""

from __future__ import annotations

import json
import lzma
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import pgtable

DATA = Path(__file__).parents[1] / "data"
PAGE = 4096


@pytest.fixture(scope="session", params=["k612-128", "k61-256"])
def dump(request: pytest.FixtureRequest) -> str:
    """Path of a shipped dump without its endings."""
    return str(DATA / request.param)


@pytest.fixture(scope="session")
def dump_text() -> Callable[[str], str]:
    return lambda path: lzma.decompress(Path(path).read_bytes()).decode()


@pytest.fixture(scope="session")
def dump_json() -> Callable[[str], dict]:
    return lambda path: json.loads(Path(path).read_text())


def _kdump(path: Path, pages: dict[int, bytes], notes: bytes, vmcoreinfo: bytes) -> None:
    """Write a kdump-compressed file, zlib, header version 6."""
    count = max(pages) // PAGE + 1
    half = -(-count // (8 * PAGE))
    header = bytearray(PAGE)
    header[:12] = b"KDUMP   " + struct.pack("<i", 6)
    for i, name in enumerate((b"Linux", b"test", b"6.1.0", b"#1", b"x86_64", b"")):
        header[12 + 65 * i : 12 + 65 * i + len(name)] = name
    struct.pack_into("<IiiIIIIIii", header, 424, 1, PAGE, 1, 2 * half, count, 0, 0, 0, 0, 1)
    sub = bytearray(PAGE)
    data_at = (2 + 2 * half) * PAGE
    notes_at = data_at + 24 * len(pages)
    struct.pack_into("<QQQQ", sub, 32, notes_at + notes.index(vmcoreinfo), len(vmcoreinfo),
                     notes_at, len(notes))  # fmt: skip
    struct.pack_into("<QQQ", sub, 80, 0, count, count)
    bitmap = np.zeros(half * PAGE * 8, np.uint8)
    bitmap[[pa // PAGE for pa in pages]] = 1
    packed = np.packbits(bitmap, bitorder="little").tobytes()
    at = notes_at + len(notes)
    descriptors, contents = b"", b""
    for pa in sorted(pages):
        content = zlib.compress(pages[pa])
        descriptors += struct.pack("<QIIQ", at + len(contents), len(content), 1, 0)
        contents += content
    path.write_bytes(bytes(header) + bytes(sub) + packed * 2 + descriptors + notes + contents)


@pytest.fixture
def kdump(dump: str, tmp_path: Path) -> Path:
    """The shipped dump as a kdump-compressed file."""
    core = lzma.decompress(Path(f"{dump}.vmcore.xz").read_bytes())
    offset, size = struct.unpack_from("<Q16xQ", core, 64 + 8)
    notes = core[offset : offset + size]
    start = notes.index(b"OSRELEASE=")
    vmcoreinfo = notes[start : notes.rindex(b"\n") + 1]
    with pgtable.open_image(f"{dump}.vmcore.xz") as image:
        pages = {
            pa: image.read(pa, PAGE)
            for first, end in image.ranges.tolist()
            for pa in range(first, end, PAGE)
        }
    path = tmp_path / "dump.kdump"
    _kdump(path, pages, notes, vmcoreinfo)
    return path
