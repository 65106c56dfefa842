# SPDX-License-Identifier: GPL-2.0-only
"""Images as other programs write them: read with the right entries, or refused by name."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import pgtable
from pgtable.cli import main

DATA = Path(__file__).parents[1] / "data"
CASES = DATA / "cases"
PAGE = 4096
ROOT = 0x544E000
ENTRIES = 12379


def content(name: str) -> bytes:
    return lzma.decompress((CASES / f"{name}.xz").read_bytes())


@pytest.fixture(scope="session")
def expected() -> np.ndarray:
    with pgtable.open_image(DATA / "k612-128.vmcore.xz") as core:
        return core.walk(ROOT).entry


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("limefull.lime", "lime"),
        ("k612.avml", "avml"),
        ("flat.kdump", "kdump"),
        ("prstatus.elf", "elf"),
        ("vbox.elf", "elf"),
    ],
)
def test_every_entry_is_read(name: str, form: str, expected: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "image"  # a name that gives nothing away
    path.write_bytes((CASES / f"{name}.xz").read_bytes())
    with pgtable.open_image(path) as image:
        walk = image.walk(ROOT)
        assert image.format == form
        assert image.notes == []
        assert len(walk) == ENTRIES
        assert len(walk.tables.pa) == 156
        assert np.array_equal(walk.entry, expected)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("xen.core", "Xen guest .*; dump inside the guest"),
        ("vm.vmsn", "VMware .* vmss2core"),
        ("libvirt.save", "libvirt .* virsh dump --memory-only"),
        ("swsusp.img", "hibernation image"),
        ("win.dmp", "64-bit Windows"),
        ("kcore_nopaddr.elf", "no segment has a physical address .*p_paddr is 0xf"),
    ],
)
def test_refused_by_name(
    name: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "image"
    path.write_bytes(content(name))
    with pytest.raises(ValueError, match=words):
        pgtable.open_image(path)
    for command in ("walk", "audit"):
        assert main([command, str(path), "--root", hex(ROOT)]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"pgtable: error: {path}: ")
        assert error.count("\n") == 1


def test_virtualbox_registers_are_used(tmp_path: Path) -> None:
    with pgtable.open_image(CASES / "vbox.elf.xz") as image:
        assert len(image.cpus) == 1
        assert image.cpus[0].cr3 == ROOT
        assert image.cpus[0].levels == 4
        assert len(image.walk()) == ENTRIES
    data = bytearray(content("vbox.elf"))
    note = data.index(b"VBCPU") + 8
    struct.pack_into("<Q", data, note + 488, 0xD01)  # EFER: SCE, LME, LMA, NXE
    path = tmp_path / "core"
    path.write_bytes(data)
    with pgtable.open_image(path) as image:
        assert image.cpus[0].efer == 0xD01
        assert image.walk().notes == []


def test_what_is_missing_for_the_root_is_said() -> None:
    with (
        pgtable.open_image(CASES / "prstatus.elf.xz") as image,
        pytest.raises(ValueError, match=r"no NUMBER\(phys_base\) .*--root CR3"),
    ):
        image.walk()


def test_phys_base_of_the_program_header(tmp_path: Path) -> None:
    """The segment that maps the kernel's code tells where the kernel's tables are."""
    data = bytearray(content("prstatus.elf"))
    (count,) = struct.unpack_from("<H", data, 56)
    wanted = ROOT  # as if it were the kernel's own
    for at in range(64, 64 + 56 * count, 56):
        kind, _, _, _, pa = struct.unpack_from("<IIQQQ", data, at)
        if kind == 1 and pa == wanted:
            struct.pack_into("<Q", data, at + 16, 0xFFFFFFFF82A10000)
    path = tmp_path / "core"
    path.write_bytes(data)
    with pgtable.open_image(path) as image:
        assert image.kernel.phys_base == wanted - 0x2A10000
        assert len(image.walk()) == ENTRIES


def _kcore(base: int, zero: bool) -> bytes:
    """Return the case with a direct map at ``base``, as /proc/kcore of older kernels has it."""
    data = bytearray(content("prstatus.elf"))
    (count,) = struct.unpack_from("<H", data, 56)
    for at in range(64, 64 + 56 * count, 56):
        kind, _, _, _, pa = struct.unpack_from("<IIQQQ", data, at)
        if kind == 1:
            struct.pack_into("<QQ", data, at + 16, base + pa, 0 if zero else (1 << 64) - 1)
    vmalloc = struct.pack("<IIQQQQQQ", 1, 7, len(data), 0xFFFFC90000000000, 0, 1 << 45, 1 << 45, 0)
    (kind, *_) = struct.unpack_from("<I", data, 64)
    assert kind == 4  # the note's place is given to the segment of vmalloc
    data[64 : 64 + 56] = vmalloc
    return bytes(data)


@pytest.mark.parametrize("base", [0xFFFF888000000000, 0xFFFF880000000000, 0xFFFF8B5F40000000])
@pytest.mark.parametrize("zero", [True, False])
def test_kcore_without_physical_addresses(
    base: int, zero: bool, expected: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "kcore"
    path.write_bytes(_kcore(base, zero))
    with pgtable.open_image(path) as image:
        assert f"assumed to begin at {base:#x}" in image.notes[0]
        assert np.array_equal(image.walk(ROOT).entry, expected)


def _lime(ranges: list[tuple[int, bytes]]) -> bytes:
    return b"".join(
        struct.pack("<4sIQQQ", b"EMiL", 1, pa, pa + len(data) - 1, 0) + data for pa, data in ranges
    )


@pytest.fixture(scope="session")
def lime(expected: np.ndarray) -> bytes:
    """The memory of the shipped core as LiME writes it: many ranges with gaps."""
    with pgtable.open_image(DATA / "k612-128.vmcore.xz") as core:
        return _lime([(a, core.read(a, b - a)) for a, b in core.ranges.tolist()])


def test_lime_of_many_ranges(lime: bytes, expected: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(lime)
    with pgtable.open_image(path) as image, pgtable.open_image(DATA / "k612-128.vmcore.xz") as core:
        assert np.array_equal(image.ranges, core.ranges)
        assert len(image.ranges) > 20
        assert np.array_equal(image.walk(ROOT).entry, expected)


def test_lime_padded_is_raw(expected: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "image"
    with pgtable.open_image(DATA / "k612-128.vmcore.xz") as core, path.open("wb") as file:
        for start, end in core.ranges.tolist():
            file.seek(start)
            file.write(core.read(start, end - start))
    with pgtable.open_image(path) as image:
        assert image.format == "raw"
        assert np.array_equal(image.walk(ROOT).entry, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:4] + b"\x02" + data[5:], "EMiL|LiME|LIME version 2"),
        (lambda data: data[:16] + bytes(8) + data[24:], "damaged: range 0 .* from 0x"),
        (lambda data: data + b"x" * 40, "damaged: no .* header at offset"),
        (lambda data: data[:32], "without any memory"),
    ],
)
def test_damaged_lime(
    lime: bytes, change: Callable[[bytes], bytes], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "image"
    path.write_bytes(change(lime))
    with pytest.raises(ValueError, match=message):
        pgtable.open_image(path)


def test_avml_in_every_part(tmp_path: Path) -> None:
    with (
        pgtable.open_image(CASES / "k612.avml.xz") as image,
        pgtable.open_image(DATA / "k612-128.vmcore.xz") as core,
    ):
        assert np.array_equal(image.ranges, core.ranges)
        for start, end in core.ranges.tolist():
            assert image.read(start, end - start) == core.read(start, end - start)
            assert image.read(start + 4000, 90) == core.read(start + 4000, 90)
            with pytest.raises(ValueError, match="not in the image"):
                image.read(end, 1)
        with pytest.raises(ValueError, match="not in the image"):
            image.read(0, 1)
    with pytest.raises(ValueError, match="was closed"):
        image.read(start, 8)


def test_avml_that_is_damaged_or_another_version(tmp_path: Path) -> None:
    path = tmp_path / "image"
    data = bytearray(content("k612.avml"))
    path.write_bytes(data[:4] + b"\x07" + data[5:])
    with pytest.raises(ValueError, match="AVML version 7"):
        pgtable.open_image(path)
    broken = bytearray(data)
    broken[60:70] = bytes(10)  # in the first frame: its checksum no longer fits
    path.write_bytes(broken)
    with pgtable.open_image(path) as image, pytest.raises(ValueError, match="damaged"):
        image.read(int(image.ranges[0, 0]), 8)


def test_avml_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cramjam", None)
    with pytest.raises(ValueError, match=r"pip install 'pgtable\[snappy\]', or .*avml-convert"):
        pgtable.open_image(CASES / "k612.avml.xz")


def _zstd(data: bytes) -> bytes:
    return pytest.importorskip("zstandard").compress(data)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
    "zstd": _zstd,
}


@pytest.mark.parametrize("outer", PACKERS)
@pytest.mark.parametrize("inner", ["", "gzip", "zstd"])
def test_compressed_once_or_twice(
    outer: str, inner: str, lime: bytes, expected: np.ndarray, tmp_path: Path
) -> None:
    data = PACKERS[inner](lime) if inner else lime
    data = PACKERS[outer](data)
    path = tmp_path / "image"
    path.write_bytes(data)
    with pgtable.open_image(path) as image:
        assert image.format == "lime"
        assert np.array_equal(image.walk(ROOT).entry, expected)
    for size in (20, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(ValueError, match=r"damaged .* file"):
            pgtable.open_image(path)


def test_compressed_three_times_is_refused(lime: bytes, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(gzip.compress(gzip.compress(gzip.compress(lime, 1), 1), 1))
    with pytest.raises(ValueError, match="is a gzip file; decompress it first"):
        pgtable.open_image(path)


@pytest.mark.parametrize("name", PACKERS)
def test_a_limit_with_its_option(name: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(PACKERS[name](bytes(3 << 20)))
    with pytest.raises(ValueError, match=r"the limit is .* GiB; .* or raise --max-decompressed"):
        pgtable.open_image(path, max_decompressed=1 << 20)
    with pgtable.open_image(path, max_decompressed=3 << 20) as image:
        assert image.ranges.tolist() == [[0, 3 << 20]]


@pytest.mark.parametrize("name", ["xz", "zstd"])
def test_the_limit_is_said_before_anything_is_decompressed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "image"
    path.write_bytes(PACKERS[name](bytes(3 << 20)))

    def fails(*args: object) -> None:
        raise AssertionError("decompressed")

    monkeypatch.setattr("pgtable.images.compressed.Unpacked", fails)
    with pytest.raises(ValueError, match="raise --max-decompressed"):
        pgtable.open_image(path, max_decompressed=1 << 20)


def test_overlapping_segments_are_said(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(_lime([(0, b"a" * 3 * PAGE), (2 * PAGE, b"b" * 2 * PAGE)]))
    with pgtable.open_image(path) as image:
        assert image.notes == [
            "1 segment overlaps another: where two do, the one that begins lower counts"
        ]
        assert image.read(2 * PAGE, 2 * PAGE) == b"a" * PAGE + b"b" * PAGE


@pytest.mark.parametrize(
    ("machine", "order", "bits", "name"),
    [
        (3, "<", 1, "i386"), (183, "<", 2, "arm64"), (243, "<", 2, "RISC-V"),
        (21, ">", 2, "PowerPC 64"), (22, ">", 2, "s390"), (40, "<", 1, "32-bit ARM"),
        (8, ">", 1, "MIPS"), (258, "<", 2, "LoongArch"), (999, "<", 2, "machine type 999"),
        (62, "<", 1, "32-bit ELF file"), (62, ">", 2, "not a 64-bit little-endian"),
    ],
)  # fmt: skip
def test_elf_of_another_machine(
    machine: int, order: str, bits: int, name: str, tmp_path: Path
) -> None:
    ident = b"\x7fELF" + bytes([bits, 1 if order == "<" else 2, 1])
    path = tmp_path / "core"
    path.write_bytes(struct.pack(f"{order}16sHH", ident, 4, machine).ljust(PAGE, b"\0"))
    with pytest.raises(ValueError, match=name):
        pgtable.open_image(path)


@pytest.mark.parametrize(("kind", "name"), [(1, "kernel module"), (2, "vmlinux"), (3, "library")])
def test_elf_that_is_no_core(kind: int, name: str, tmp_path: Path) -> None:
    path = tmp_path / "core"
    path.write_bytes(struct.pack("<16sHH", b"\x7fELF\x02\x01\x01", kind, 62).ljust(PAGE, b"\0"))
    with pytest.raises(ValueError, match=f"{name}.*not a core"):
        pgtable.open_image(path)


def test_the_core_of_a_process(tmp_path: Path) -> None:
    data = bytearray(content("prstatus.elf"))
    (count,) = struct.unpack_from("<H", data, 56)
    for i, at in enumerate(range(64, 64 + 56 * count, 56)):
        struct.pack_into("<QQ", data, at + 16, 0x400000 + i * PAGE, 0)
    path = tmp_path / "core"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="core of one process, not of a machine"):
        pgtable.open_image(path)


def test_a_format_may_be_forced(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"QEVM".ljust(2 * PAGE, b"\0"))
    with pytest.raises(ValueError, match="migration stream of QEMU"):
        pgtable.open_image(path)
    with pgtable.open_image(path, format="raw") as image:
        assert image.read(0, 4) == b"QEVM"


def test_a_disk_whose_mark_is_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "disk.vhd"
    path.write_bytes(bytes(1 << 20) + b"conectix".ljust(512, b"\0"))
    with pytest.raises(ValueError, match=r"a virtual hard disk \(VHD\)"):
        pgtable.open_image(path)


def test_records_that_are_cut_short_are_no_raw_memory(expected: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(lzma.decompress((DATA / "k612-128.ptpages.bin.xz").read_bytes())[:-8])
    with pgtable.open_image(path) as image:
        assert image.format == "records"
        assert "cut short" in image.notes[0]
        assert set(image.walk(ROOT).entry) < set(expected)


def test_the_hole_of_a_vmem_is_said(tmp_path: Path) -> None:
    path = tmp_path / "guest.vmem"
    with path.open("wb") as file:
        file.truncate(0x1_0000_0000)
    with pgtable.open_image(path) as image:
        assert "--segment 0x100000000,0xc0000000,0x40000000" in image.notes[0]


def test_a_log_is_no_image(tmp_path: Path) -> None:
    path = tmp_path / "dmesg"
    path.write_text("BUG: unable to handle page fault for address: ffffc9000c6ff000\n" * 200)
    with pytest.raises(ValueError, match="is text; decode --from"):
        pgtable.open_image(path)
