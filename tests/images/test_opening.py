# SPDX-License-Identifier: GPL-2.0-only
"""Which file is what, and what is said of those that are damaged."""

from __future__ import annotations

import lzma
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

import pgtable
from pgtable.images import compressed
from pgtable.images.synthetic import Synthetic, synthesize, write

PAGE = 4096
FORMS = ("raw", "elf", "records")


@pytest.fixture(scope="module")
def machine() -> Synthetic:
    return synthesize(5000, seed=1)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("packing", ["plain", "xz", "zst"])
def test_format_is_told_from_the_content(
    machine: Synthetic, tmp_path: Path, form: str, packing: str
) -> None:
    path = write(machine, tmp_path / "image.bin", form)
    if packing == "xz":
        path.write_bytes(lzma.compress(path.read_bytes(), preset=0))
    elif packing == "zst":
        zstandard = pytest.importorskip("zstandard")
        path.write_bytes(zstandard.compress(path.read_bytes()))
    with pgtable.open_image(str(path)) as image:
        assert image.format == form
        assert image.notes == []
        assert len(image.walk(machine.root)) == len(machine.expected["va"])  # type: ignore[index]
        assert image.read(machine.root, 16) == machine.pages[
            (machine.root - machine.base) // PAGE
        ].tobytes()[:16]  # fmt: skip


def test_segments_of_raw_memory(machine: Synthetic, tmp_path: Path) -> None:
    # the file has the upper half of the pages first
    middle = len(machine.pages) // 2
    path = tmp_path / "raw"
    path.write_bytes(machine.pages[middle:].tobytes() + machine.pages[:middle].tobytes())
    rest = len(machine.pages) - middle
    segments = [
        (machine.base + middle * PAGE, 0, rest * PAGE),
        (machine.base, rest * PAGE, middle * PAGE),
    ]
    with pgtable.open_image(path, segments=segments) as image:
        assert image.ranges.tolist() == [[machine.base, machine.base + len(machine.pages) * PAGE]]
        assert np.array_equal(image.walk(machine.root).entry, machine.expected["entry"])  # type: ignore[index]
        # a read across two segments
        at = machine.base + middle * PAGE - 8
        assert image.read(at, 16) == machine.pages.tobytes()[middle * PAGE - 8 : middle * PAGE + 8]


def test_of_overlapping_segments_the_lower_one_counts(tmp_path: Path) -> None:
    path = tmp_path / "raw"
    path.write_bytes(b"a" * PAGE * 4 + b"b" * PAGE * 4)
    segments = [(PAGE, 4 * PAGE, 4 * PAGE), (0, 0, 3 * PAGE), (PAGE, PAGE, PAGE)]
    with pgtable.open_image(path, segments=segments) as image:
        assert image.ranges.tolist() == [[0, 5 * PAGE]]
        assert image.read(0, 5 * PAGE) == b"a" * 3 * PAGE + b"b" * 2 * PAGE
        with pytest.raises(ValueError, match="0x5000 is not in the image"):
            image.read(4 * PAGE, PAGE + 1)


def test_pages(machine: Synthetic, tmp_path: Path) -> None:
    with pgtable.open_image(write(machine, tmp_path / "image", "records")) as image:
        wanted = [machine.base + 2 * PAGE, machine.base]
        assert np.array_equal(image.pages(wanted), machine.pages[[2, 0]])
        with pytest.raises(ValueError, match="no multiple of 4096"):
            image.pages([machine.base + 8])
        with pytest.raises(ValueError, match="not in the image"):
            image.pages([0])
        with pytest.raises(ValueError, match="no physical memory"):
            image.read(1 << 52, 1)
    with pytest.raises(ValueError, match="was closed"):
        image.read(machine.base, 8)


def test_records_in_any_order_and_twice(machine: Synthetic, tmp_path: Path) -> None:
    path = write(machine, tmp_path / "image", "records")
    records = np.fromfile(path, np.uint64).reshape(-1, 513)
    shuffled = np.random.default_rng(0).permutation(records)
    again = shuffled[:1].copy()
    again[:, 1:] = 0
    np.concatenate([shuffled, again]).tofile(path)
    with pgtable.open_image(path, format="records") as image:
        assert image.notes == ["1 records of a page that was there before"]
        assert np.array_equal(image.walk(machine.root).entry, machine.expected["entry"])  # type: ignore[index]


def test_raw_memory_of_a_length_that_fits_records(tmp_path: Path) -> None:
    path = tmp_path / "raw"
    path.write_bytes(bytes(4104 * 512))
    with pgtable.open_image(path) as image:
        assert image.format == "raw"


def _message_or_notes(path: Path, form: str, root: int) -> str:
    try:
        with pgtable.open_image(path, format=form) as image:
            notes = "; ".join(image.notes)
            image.walk(root)
    except ValueError as error:
        return notes if "not in the image" in str(error) else str(error)
    return notes


@pytest.mark.parametrize("form", FORMS)
def test_every_truncation_is_a_message_or_a_note(
    machine: Synthetic, tmp_path: Path, form: str
) -> None:
    path = write(machine, tmp_path / "image", form)
    whole = path.read_bytes()
    for size in [*range(13, 260, 13), 4095, 4096, 4104, 6000, len(whole) - 1]:
        path.write_bytes(whole[:size])
        message = _message_or_notes(path, form, machine.root)
        if size % {"raw": PAGE, "records": PAGE + 8}.get(form, size + 1):
            assert (
                "cut short" in message
                or "shorter than" in message
                or "no memory" in message
                or "any memory" in message
            )
        assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello", "5 bytes are no memory image"),
        (b"\x7fELF\x01" + bytes(100), "32-bit ELF"),
        (b"\x7fELF\x02\x01\x01", "cut short within its ELF header"),
        (Path(sys.executable).resolve().read_bytes()[:4096], "not a core"),
        (b"\xfd7zXZ\0" + bytes(50), "damaged xz file"),
        (lzma.compress(bytes(9999))[:-20], "damaged xz file"),
        (b"KDUMP   " + bytes(50), "cut short|need the package drgn"),
    ],
)
def test_what_is_no_image(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "image"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        pgtable.open_image(path)
    assert str(path) in str(caught.value)


def _core(**changes: int) -> bytes:
    """Return an ELF core of one page at 0 with fields of its headers changed."""
    header = {"kind": 4, "machine": 62, "phoff": 64, "shoff": 0, "size": 56, "count": 1}
    load = {"type": 1, "offset": PAGE, "pa": 0, "filesz": PAGE}
    for name, value in changes.items():
        (header if name in header else load)[name] = value
    data = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", header["kind"], header["machine"], 1, 0,
        header["phoff"], header["shoff"], 0, 64, header["size"], header["count"], 0, 0, 0,
    )  # fmt: skip
    data += struct.pack("<IIQQQQQQ", load["type"], 0, load["offset"], 0, load["pa"],
                        load["filesz"], load["filesz"], 0)  # fmt: skip
    return data.ljust(PAGE, b"\0") + b"\x01" * PAGE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": 2}, "not a core"),
        ({"machine": 183}, "not a core"),
        ({"size": 32}, "program headers of 32 bytes"),
        ({"count": 1000}, "cut short within its 1000 program headers"),
        ({"phoff": 1 << 63}, "cut short within its 1 program headers"),
        ({"count": 0}, "without any memory"),
        ({"count": 0xFFFF, "shoff": 1 << 40}, "number of program headers is missing"),
        ({"type": 4}, "without any memory"),
        ({"filesz": 0}, "without any memory"),
        ({"offset": (1 << 64) - 1}, "without any memory"),
        ({"pa": 1 << 52}, "without any memory below 2"),
        ({"pa": (1 << 64) - 1}, "no segment has a physical address"),
        ({"filesz": (1 << 64) - 1}, "without any memory below 2"),
    ],
)
def test_damaged_elf_headers(tmp_path: Path, changes: dict, message: str) -> None:
    path = tmp_path / "core"
    path.write_bytes(_core(**changes))
    with pytest.raises(ValueError, match=message):
        pgtable.open_image(path)


def test_elf_core_without_registers(tmp_path: Path) -> None:
    path = tmp_path / "core"
    path.write_bytes(_core(pa=0x5000, filesz=1 << 40))
    with pgtable.open_image(path) as image:
        assert image.ranges.tolist() == [[0x5000, 0x6000]]
        assert "cut short" in image.notes[0]
        with pytest.raises(ValueError, match="has no processor registers"):
            image.walk()
        walk = image.walk(0x5FFF)  # the low bits of CR3 are no address
        assert walk.root.pa == 0x5000
        assert "four levels assumed" in walk.notes[0]
        with pytest.raises(ValueError, match=r"0x6000 is not in the image .*0x5000 to 0x6000"):
            image.walk(0x6000)
        with pytest.raises(ValueError, match="levels is 3"):
            image.walk(0x5000, 3)
        with pytest.raises(ValueError, match="limit is -1"):
            image.walk(0x5000, limit=-1)
        with pytest.raises(ValueError, match="root is -"):
            image.walk(-1)


def test_kernel_root_of_vmcoreinfo(tmp_path: Path) -> None:
    text = (
        "OSRELEASE=6.1\nSYMBOL(swapper_pg_dir)=ffffffff82a10000\nNUMBER(phys_base)=-33554432\n"
        "NUMBER(pgtable_l5_enabled)=1\n"
    )
    note = struct.pack("<III", 11, len(text), 0) + b"VMCOREINFO\0\0" + text.encode()
    notes = bytearray(_core(count=2, pa=0xA10000))
    struct.pack_into("<IIQQQQQQ", notes, 120, 4, 0, 512, 0, 0, len(note), 0, 0)
    notes[512 : 512 + len(note)] = note
    path = tmp_path / "core"
    path.write_bytes(notes)
    with pgtable.open_image(path) as image:
        assert image.vmcoreinfo["OSRELEASE"] == "6.1"
        root = image.walk().root
        assert (root.pa, root.levels) == (0xA10000, 5)


def test_processors(machine: Synthetic, tmp_path: Path) -> None:
    path = write(machine, tmp_path / "core", "elf")
    with pgtable.open_image(path) as image:
        for cpu in (1, -1):
            with pytest.raises(ValueError, match=f"has no processor {cpu}, only 0 to 0"):
                image.walk(cpu=cpu)
    data = bytearray(path.read_bytes())
    at = data.index(struct.pack("<Q", 0x80050033))
    data[at : at + 8] = struct.pack("<Q", 0x50033)
    path.write_bytes(data)
    with pgtable.open_image(path) as image, pytest.raises(ValueError, match="did not use 64-bit"):
        image.walk()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "vmss"}, "one of raw, elf, kdump, lime, avml, records"),
        ({"format": "elf", "segments": [(0, 0, 1)]}, "segments are for raw memory"),
        ({"format": "elf"}, "ELF"),
        ({"segments": [(0, 0, 2 * PAGE + 1)]}, "ends at offset 0x2001, the file at 0x2000"),
        ({"segments": [(-1, 0, 1)]}, "negative number"),
        ({"segments": [(1 << 52, 0, 1)]}, "52 bits"),
        ({"format": "records"}, "no page's physical address"),
    ],
)
def test_bad_arguments(tmp_path: Path, arguments: dict, message: str) -> None:
    path = tmp_path / "raw"
    path.write_bytes(b"\x01" * PAGE * 2)
    with pytest.raises(ValueError, match=message):
        pgtable.open_image(path, **arguments)


def test_decompression_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressed, "MAX_DECOMPRESSED", 1 << 20)
    path = tmp_path / "bomb.xz"
    path.write_bytes(lzma.compress(bytes(3 << 20), preset=0))
    with pytest.raises(ValueError, match="decompress it to a file"):
        pgtable.open_image(path)


def test_without_zstandard_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    path = tmp_path / "image.zst"
    path.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(20))
    with pytest.raises(ValueError, match=r"pip install 'pgtable\[zstd\]'"):
        pgtable.open_image(path)


def test_missing_file_and_directory(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        pgtable.open_image(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        pgtable.open_image(tmp_path)


def test_opening_reads_almost_nothing(tmp_path: Path) -> None:
    """A file of a size that no memory holds is opened and walked: nothing scans it."""
    machine = synthesize(512, seed=2)
    path = write(machine, tmp_path / "image")
    with path.open("r+b") as file:
        file.truncate(1 << 43)
    with pgtable.open_image(path) as image:
        assert image.ranges.tolist() == [[0, 1 << 43]]
        assert np.array_equal(image.walk(machine.root).entry, machine.expected["entry"])  # type: ignore[index]


@pytest.mark.parametrize("memsz", [1 << 57, (1 << 52) + 1, (1 << 64) - 1])
def test_an_elf_segment_that_says_that_it_is_larger_than_memory(machine, tmp_path, memsz) -> None:
    """The memory map is not known; what the file holds is walked."""
    path = write(machine, tmp_path / "core", "elf")
    core = bytearray(path.read_bytes())
    for number in range(2):
        at = 64 + 56 * number
        if struct.unpack_from("<I", core, at) == (1,):
            struct.pack_into("<Q", core, at + 40, memsz)
    path.write_bytes(core)
    with pgtable.open_image(path) as image:
        assert image.memory_map is None
        assert len(image.walk(machine.root)) == len(machine.expected["va"])
