# SPDX-License-Identifier: GPL-2.0-only
"""Any container's header before any image, and any truncation of any image: never a wrong walk."""

from __future__ import annotations

import bz2
import gzip
import importlib.util
import lzma
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pgtable
from pgtable import containers

DATA = Path(__file__).parents[1] / "data"
CASES = DATA / "cases"
PAGE = 4096
ROOT = 0x544E000
BOUNDED = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@cache
def content(name: str) -> bytes:
    """Return an image of the shipped 6.12 machine in a format."""
    if name == "lime":
        with pgtable.open_image(DATA / "k612-128.vmcore.xz") as core:
            return b"".join(
                struct.pack("<4sIQQQ", b"EMiL", 1, a, b - 1, 0) + core.read(a, b - a)
                for a, b in core.ranges.tolist()
            )
    if name == "elf":
        return lzma.decompress((DATA / "k612-128.vmcore.xz").read_bytes())
    if name == "records":
        return lzma.decompress((DATA / "k612-128.ptpages.bin.xz").read_bytes())
    if name == "kdump":
        return _rearranged(lzma.decompress((CASES / "flat.kdump.xz").read_bytes()))
    return lzma.decompress((CASES / f"{name}.xz").read_bytes())


def _rearranged(flat: bytes) -> bytes:
    out, at = bytearray(), PAGE
    while True:
        offset, size = struct.unpack_from(">qq", flat, at)
        if offset < 0:
            return bytes(out)
        out[offset : offset + size] = flat[at + 16 : at + 16 + size]
        at += 16 + size


@cache
def expected() -> frozenset[int]:
    with pgtable.open_image(DATA / "k612-128.vmcore.xz") as core:
        return frozenset(core.walk(ROOT).entry.tolist())


IMAGES = ("lime", "elf", "records", "kdump", "k612.avml", "flat.kdump", "vbox.elf")
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gzip": lambda data: gzip.compress(data, 1),
    "bzip2": lambda data: bz2.compress(data, 1),
    "xz": lambda data: lzma.compress(data, preset=0),
    "zstd": lambda data: pytest.importorskip("zstandard").compress(data),
}


def one_line(error: ValueError, path: Path, notes: list[str]) -> list[str]:
    """Check that a message is one line that names the file; return the notes."""
    assert "\n" not in str(error)
    assert str(error).startswith(f"{path}: ")
    return notes


def outcome(path: Path) -> tuple[str, list[str]]:
    """Return what became of a file, and its notes; fails for entries that are not there."""
    try:
        with pgtable.open_image(path) as image:
            try:
                walk = image.walk(ROOT)
            except ValueError as error:
                return "no root", one_line(error, path, image.notes)
            assert set(walk.entry.tolist()) <= expected()
            whole = len(walk) == 12379 and len(walk.tables.pa) == 156
            assert whole or "outside" in walk.report_counts
            return "walked" if whole else "walked in part", image.notes
    except ValueError as error:
        return "refused", one_line(error, path, [])


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize("name", IMAGES)
def test_whole_images_are_walked(name: str, packing: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(PACKERS[packing](content(name)))
    assert outcome(path) == ("walked", [])


@BOUNDED
@given(name=st.sampled_from(IMAGES), packing=st.sampled_from(list(PACKERS)), part=st.floats(0, 1))
def test_any_truncation_is_said(name: str, packing: str, part: float, tmp_path: Path) -> None:
    data = PACKERS[packing](content(name))
    size = min(int(part * len(data)), len(data) - 1)
    path = tmp_path / "image"
    path.write_bytes(data[:size])
    what, notes = outcome(path)
    if packing:
        assert what == "refused"
    elif what == "walked":
        # what is missing is no page table of this machine: the end of notes, a footer
        assert notes or name in ("k612.avml", "kdump", "elf", "vbox.elf")
    elif what == "walked in part":
        # LiME, AVML and records may end anywhere between two ranges without a sign of it
        assert notes or name in ("lime", "k612.avml", "records")


HEADERS = [
    (magic, container)
    for magic, container in containers._AT_START
    if container.group != containers.IMAGE
]


@BOUNDED
@given(
    header=st.sampled_from(HEADERS),
    name=st.sampled_from(IMAGES),
    packing=st.sampled_from(["", "gzip", "xz"]),
    fill=st.binary(max_size=64),
    size=st.sampled_from([0, 8, 16, 512, PAGE]),
)
def test_any_container_before_any_image_is_refused_by_name(
    header: tuple, name: str, packing: str, fill: bytes, size: int, tmp_path: Path
) -> None:
    magic, container = header
    path = tmp_path / "image"
    path.write_bytes(PACKERS[packing]((magic + fill).ljust(size, b"\0") + content(name)))
    with pytest.raises(ValueError, match=r"\A[^\n]*\Z") as caught:
        pgtable.open_image(path)
    if container.group == containers.OTHER:
        assert container.what in str(caught.value)
    elif container.name == "zstd" and importlib.util.find_spec("zstandard") is None:
        assert "pip install 'pgtable[zstd]'" in str(caught.value)
    else:
        assert "damaged" in str(caught.value)


@BOUNDED
@given(
    magic=st.sampled_from([b"EMiL", b"AVML", b"KDUMP   ", b"\x7fELF", b"makedumpfile\0"]),
    fill=st.binary(max_size=500),
    name=st.sampled_from(IMAGES),
)
def test_a_wrong_header_before_an_image_is_never_walked_wrongly(
    magic: bytes, fill: bytes, name: str, tmp_path: Path
) -> None:
    path = tmp_path / "image"
    path.write_bytes(magic + fill + content(name))
    assert outcome(path)[0] in ("refused", "no root")


@BOUNDED
@given(name=st.sampled_from(IMAGES), at=st.integers(0, 5000), value=st.integers(0, 255))
def test_a_changed_byte_of_a_header_gives_a_walk_or_a_message(
    name: str, at: int, value: int, tmp_path: Path
) -> None:
    data = bytearray(content(name))
    data[at] = value
    path = tmp_path / "image"
    path.write_bytes(data)
    try:
        with pgtable.open_image(path) as image:
            assert np.all(image.walk(ROOT).pa < 1 << 52)
    except ValueError as error:
        one_line(error, path, [])
