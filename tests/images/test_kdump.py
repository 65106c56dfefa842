# SPDX-License-Identifier: GPL-2.0-only
"""kdump-compressed files give what the ELF core of the same machine gives."""

from __future__ import annotations

import itertools
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import pgtable
from pgtable.images import kdump as kdump_module

PAGE = 4096
DATA = Path(__file__).parents[1] / "data"
#: Where the kdump fixture's descriptors are found, and how each is packed.
DESCRIPTOR = struct.Struct("<QIIQ")


def test_walk_equals_the_elf_cores(dump: str, kdump: Path) -> None:
    with pgtable.open_image(kdump) as image, pgtable.open_image(f"{dump}.vmcore.xz") as core:
        assert image.format == "kdump"
        assert image.cpus == core.cpus
        assert image.vmcoreinfo == core.vmcoreinfo
        assert image.kernel == core.kernel
        assert np.array_equal(image.ranges, core.ranges)
        assert np.array_equal(image.memory_map, core.ranges)
        for cpu in (0, 1):
            walk, expected = image.walk(cpu=cpu), core.walk(cpu=cpu)
            for name, column in expected.columns.items():
                assert np.array_equal(getattr(walk, name), column), name
            assert walk.reports == expected.reports
            assert {k: v.as_dict() for k, v in image.census(cpu=cpu).items()} == {
                k: v.as_dict() for k, v in core.census(cpu=cpu).items()
            }
        first = int(core.ranges[0, 0])
        assert np.array_equal(image.pages([first]), core.pages([first]))
        assert image.read(first + 5, 9) == core.read(first + 5, 9)
        with pytest.raises(ValueError, match="is not in the image"):
            image.read(int(core.ranges[0, 1]), 8)
        with pytest.raises(ValueError, match="not in the image"):
            image.walk(root=int(core.ranges[0, 1]))
    with pytest.raises(ValueError, match="was closed"):
        image.read(first, 8)


def test_drgn_reads_the_same_pages(kdump: Path) -> None:
    drgn = pytest.importorskip("drgn")
    program = drgn.Program()
    program.set_core_dump(kdump)
    with pgtable.open_image(kdump) as image:
        for start, end in image.ranges.tolist():
            assert image.read(start, end - start) == program.read(start, end - start, True)


def _recompressed(data: bytes, flag: int, compress: Callable[[bytes], bytes]) -> bytes:
    """Return the fixture's file with every page compressed some other way."""
    half = struct.unpack_from("<I", data, 436)[0] // 2
    at = (2 + 2 * half) * PAGE
    count = int.from_bytes(data[2 * PAGE : (2 + half) * PAGE], "little").bit_count()
    out = bytearray(data)
    for number in range(count):
        offset, size, _, _ = DESCRIPTOR.unpack_from(data, at + number * DESCRIPTOR.size)
        content = compress(zlib.decompress(data[offset : offset + size]))
        stored = (content, flag) if len(content) < PAGE else (zlib.decompress(
            data[offset : offset + size]), 0)  # fmt: skip
        DESCRIPTOR.pack_into(
            out, at + number * DESCRIPTOR.size, len(out), len(stored[0]), stored[1], 0
        )
        out += stored[0]
    struct.pack_into("<I", out, 424, flag)
    return bytes(out)


def _zstd(data: bytes) -> bytes:
    return pytest.importorskip("zstandard").compress(data)


def _snappy(data: bytes) -> bytes:
    return bytes(pytest.importorskip("cramjam").snappy.compress_raw(data))


def _lzo(data: bytes) -> bytes:
    return pytest.importorskip("lzallright").LZOCompressor().compress(data)


CODECS: list = [(0x2, _lzo, "lzallright"), (0x4, _snappy, "cramjam"), (0x20, _zstd, "zstandard")]


@pytest.mark.parametrize(("flag", "compress", "package"), [*CODECS, (0, bytes, "")])
def test_every_way_of_compression(
    dump: str, kdump: Path, flag: int, compress: Callable[[bytes], bytes], package: str
) -> None:
    kdump.write_bytes(_recompressed(kdump.read_bytes(), flag, compress))
    with pgtable.open_image(kdump) as image, pgtable.open_image(f"{dump}.vmcore.xz") as core:
        assert np.array_equal(image.walk().entry, core.walk().entry)
        assert image.notes == []


@pytest.mark.parametrize(("flag", "compress", "package"), CODECS)
def test_the_package_that_is_missing_is_named(
    kdump: Path,
    monkeypatch: pytest.MonkeyPatch,
    flag: int,
    compress: Callable[[bytes], bytes],
    package: str,
) -> None:
    kdump.write_bytes(_recompressed(kdump.read_bytes(), flag, compress))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf"{package}: pip install 'pgtable\[kdump\]'"):
        pgtable.open_image(kdump)


@pytest.mark.parametrize("size", [16, 4096, 8192, 12288])
def test_cut_short(kdump: Path, size: int) -> None:
    kdump.write_bytes(kdump.read_bytes()[:size])
    with pytest.raises(ValueError, match="cut short"):
        pgtable.open_image(kdump)


@pytest.mark.parametrize("percent", [10, 50, 90, 99])
def test_cut_short_within_pages_is_a_note(dump: str, kdump: Path, percent: int) -> None:
    whole = kdump.read_bytes()
    kdump.write_bytes(whole[: max(7 * PAGE, len(whole) * percent // 100)])
    with pgtable.open_image(kdump) as image:
        assert any("cut short" in note for note in image.notes)
        with pgtable.open_image(f"{dump}.vmcore.xz") as core:
            root = core.cpus[0].root
            whole_walk = set(core.walk().entry.tolist())
        try:
            walk = image.walk(root)
        except ValueError as error:
            assert "not in the image" in str(error)  # noqa: PT017
        else:
            assert set(walk.entry.tolist()) <= whole_walk


def _split(data: bytes, parts: int) -> list[bytes]:
    """Return the fixture's file as makedumpfile --split writes it."""
    half = struct.unpack_from("<I", data, 436)[0] // 2
    at = (2 + 2 * half) * PAGE
    bits = np.unpackbits(np.frombuffer(data[2 * PAGE : (2 + half) * PAGE], np.uint8),
                         bitorder="little")  # fmt: skip
    pages = struct.unpack_from("<Q", data, PAGE + 96)[0]
    edges = [pages * i // parts for i in range(parts + 1)]
    found = []
    for first, end in itertools.pairwise(edges):
        out = bytearray(data[:at])
        struct.pack_into("<iQQ", out, PAGE + 12, 1, first, end)
        struct.pack_into("<QQ", out, PAGE + 80, first, end)
        skip, count = int(bits[:first].sum()), int(bits[first:end].sum())
        rows = b"".join(
            DESCRIPTOR.pack(*_moved(data, at, skip + i, at + 24 * count)) for i in range(count)
        )
        notes_at, _ = struct.unpack_from("<QQ", data, PAGE + 48)
        out += rows + data[at + 24 * int(bits.sum()) :]
        moved = at + 24 * count - (at + 24 * int(bits.sum()))
        info_at, _ = struct.unpack_from("<QQ", data, PAGE + 32)
        struct.pack_into("<Q", out, PAGE + 32, info_at + moved)
        struct.pack_into("<Q", out, PAGE + 48, notes_at + moved)
        found.append(bytes(out))
    return found


def _moved(data: bytes, at: int, number: int, rest_at: int) -> tuple[int, int, int, int]:
    half = struct.unpack_from("<I", data, 436)[0] // 2
    total = int.from_bytes(data[2 * PAGE : (2 + half) * PAGE], "little").bit_count()
    offset, size, flags, page_flags = DESCRIPTOR.unpack_from(data, at + 24 * number)
    return offset - (at + 24 * total) + rest_at, size, flags, page_flags


def test_parts_of_a_split_dump(dump: str, kdump: Path, tmp_path: Path) -> None:
    paths = []
    for i, part in enumerate(_split(kdump.read_bytes(), 3)):
        paths.append(tmp_path / f"part{i}")
        paths[-1].write_bytes(part)
    with pgtable.open_image(f"{dump}.vmcore.xz") as core:
        expected = core.walk()
    for first, *others in (paths, paths[::-1]):
        with pgtable.open_image(first, parts=others) as image:
            assert np.array_equal(image.walk().entry, expected.entry)
            assert len(image.cpus) == 2
    for some in ([paths[0]], [paths[1]], paths[:2], paths[1:], [paths[0], paths[2]]):
        with pytest.raises(ValueError, match=r"part of a split dump, the part .* is missing"):
            pgtable.open_image(some[0], parts=some[1:])
    with pytest.raises(ValueError, match="name each part once"):
        pgtable.open_image(paths[0], parts=[paths[0], *paths[1:]])
    with pytest.raises(ValueError, match="is no part of a split dump"):
        pgtable.open_image(paths[0], parts=[kdump])
    with pytest.raises(ValueError, match="parts are of split kdump files, and this one is elf"):
        pgtable.open_image(f"{dump}.vmcore.xz", parts=[kdump])


@pytest.mark.parametrize("machine", [b"aarch64", b"i686", b"ppc64le", b"s390x"])
def test_another_machine_is_named(kdump: Path, machine: bytes) -> None:
    data = bytearray(kdump.read_bytes())
    data[272:280] = machine.ljust(8, b"\0")
    kdump.write_bytes(data)
    with pytest.raises(ValueError, match=f"a kdump file of {machine.decode()}"):
        pgtable.open_image(kdump)


def test_names_may_be_empty_as_of_qemu(kdump: Path) -> None:
    data = bytearray(kdump.read_bytes())
    data[12 : 12 + 390] = bytes(390)
    kdump.write_bytes(data)
    with pgtable.open_image(kdump) as image:
        assert len(image.walk()) > 10000


def _flattened(data: bytes, piece: int) -> bytes:
    out = b"makedumpfile\0\0\0\0" + struct.pack(">qq", 1, 1)
    out = bytearray(out.ljust(PAGE, b"\0"))
    for at in range(0, len(data), piece):
        part = data[at : at + piece]
        out += struct.pack(">qq", at, len(part)) + part
    return bytes(out + struct.pack(">qq", -1, -1))


@pytest.mark.parametrize("form", ["kdump", "elf"])
def test_flattened(dump: str, kdump: Path, tmp_path: Path, form: str) -> None:
    import lzma  # noqa: PLC0415

    whole = kdump.read_bytes()
    if form == "elf":
        whole = lzma.decompress(Path(f"{dump}.vmcore.xz").read_bytes())
    flat = _flattened(whole, 70001)
    path = tmp_path / "flat"
    path.write_bytes(flat)
    with pgtable.open_image(path) as image, pgtable.open_image(f"{dump}.vmcore.xz") as core:
        assert image.format == form
        assert np.array_equal(image.walk().entry, core.walk().entry)
    for size in (100, PAGE, PAGE + 8, len(flat) // 2, len(flat) - 1, len(flat) - 16):
        path.write_bytes(flat[:size])
        with pytest.raises(ValueError, match="cut short"):
            pgtable.open_image(path)


def test_flattened_that_cannot_be(tmp_path: Path) -> None:
    path = tmp_path / "flat"
    for content, message in (
        (b"makedumpfile\0".ljust(4096, b"\0"), "flattened dump of type 0, version 0"),
        (_flattened(b"", 1), "without anything in it"),
        (_flattened(b"x", 1)[:PAGE] + struct.pack(">qq", 1 << 60, 1), "damaged: a piece"),
        (_flattened(b"x", 1)[:PAGE] + struct.pack(">qq", 0, -5), "damaged: a piece"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            pgtable.open_image(path)


def test_a_damaged_page_is_noted_not_walked(dump: str, kdump: Path) -> None:
    with pgtable.open_image(f"{dump}.vmcore.xz") as core:
        walk = core.walk()
        ranges = core.ranges
    below = int(walk.pa[(walk.level == 3) & (walk.kind == 1)][0])
    data = bytearray(kdump.read_bytes())
    number = sum(
        max(0, min(end, below) - start) // PAGE for start, end in ranges.tolist() if start <= below
    )
    half = struct.unpack_from("<I", data, 436)[0] // 2
    offset, size, _, _ = DESCRIPTOR.unpack_from(data, (2 + 2 * half) * PAGE + 24 * number)
    data[offset : offset + size] = bytes(size)
    kdump.write_bytes(data)
    with pgtable.open_image(kdump) as image:
        found = image.walk()
        assert any(f"page at {below:#x} cannot be decompressed" in note for note in image.notes)
        assert any(report.pa == below for report in found.reports if report.kind == "outside")


def test_rank_counts_as_the_bitmap_has_it(kdump: Path) -> None:
    memory = memoryview(kdump.read_bytes())
    part = kdump_module.KdumpPart(kdump, memory)
    bits = np.unpackbits(np.frombuffer(part.bitmap, np.uint8), bitorder="little")
    before = np.concatenate([[0], np.cumsum(bits)])
    for pfn in [*range(0, part.pages, 37), part.pages]:
        assert part._rank(pfn) == before[pfn]
