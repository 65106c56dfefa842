# SPDX-License-Identifier: GPL-2.0-only
"""Images in file objects, on servers and in a running kernel: only what is asked for is read."""

from __future__ import annotations

import io
import json
import lzma
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

import pgtable
from pgtable.cli import main
from pgtable.images import mapped, range_readers
from pgtable.images.walk import COLUMNS

sys.path.insert(0, str(Path(__file__).parent / "spaces"))
from machines import Machine

DATA = Path(__file__).parents[1] / "data"
DUMP = DATA / "k612-128.vmcore.xz"
PAGE = 4096


class Counting(io.BytesIO):
    """Notes which bytes are read."""

    def __init__(self, content: bytes):
        super().__init__(content)
        self.read_bytes = 0

    def read(self, size: int | None = -1) -> bytes:
        found = super().read(size)
        self.read_bytes += len(found)
        return found


@pytest.fixture(scope="module")
def core() -> bytes:
    return lzma.decompress(DUMP.read_bytes())


def same(one: pgtable.images.Walk, other: pgtable.images.Walk) -> None:
    for name in COLUMNS:
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    for a, b in zip(one.tables, other.tables, strict=True):
        assert np.array_equal(a, b)


def test_of_a_file_object_only_tables_are_read(core: bytes) -> None:
    with pgtable.open_image(DUMP) as image:
        whole = image.walk()
        start = int(image.ranges[0, 0])
        memory = image.read(start + 5, 9)
    file = Counting(core)
    with pgtable.open_image(file) as image:
        walk = image.walk()
        assert image.read(start + 5, 9) == memory
        assert len(image.cpus) == 2
        assert str(image.path) == "<file object>"
    same(walk, whole)
    tables = int(walk.tables.inside.sum())
    # headers, notes and tables, and what tells that they are tables
    assert file.read_bytes < (tables + 20) * PAGE + (1 << 18)


def test_raw_memory_and_lime(tmp_path: Path) -> None:
    machine = Machine(2, levels=5)
    root = machine.process(9)
    content = machine.tobytes()
    path = tmp_path / "ram"
    path.write_bytes(content)
    half = len(content) // 2
    header = struct.Struct("<4sIQQQ")
    lime = b"".join(
        header.pack(b"EMiL", 1, at, at + half - 1, 0) + content[at : at + half] for at in (0, half)
    )
    with pgtable.open_image(path, format="raw") as image:
        whole = image.walk(root, 5)
    for made in (Counting(content), Counting(lime)):
        with pgtable.open_image(made) as image:
            same(image.walk(root, 5), whole)
            assert made.read_bytes < len(content) / 8
            assert image.ranges.tolist() == [[0, len(content)]]
            assert [space.root for space in image.spaces() if space.kind == "process"] == [root]


@pytest.mark.parametrize("how", ["compressed", "records", "kdump", "pipe"])
def test_other_formats_are_read_as_a_whole(how: str, kdump: Path, core: bytes, dump: str) -> None:
    content = {
        "compressed": DUMP.read_bytes,
        "records": lambda: lzma.decompress((DATA / "k612-128.ptpages.bin.xz").read_bytes()),
        "kdump": kdump.read_bytes,
        "pipe": lambda: core,
    }[how]()
    file = io.BytesIO(content)
    if how == "pipe":
        file.seekable = lambda: False  # type: ignore[method-assign]
    with pgtable.open_image(file) as image:
        if how == "records":
            assert image.format == "records"
            return
        walk = image.walk()
    name = dump if how == "kdump" else str(DATA / "k612-128")
    with pgtable.open_image(f"{name}.vmcore.xz") as image:
        same(walk, image.walk())


def test_bad_file_objects(core: bytes) -> None:
    with pytest.raises(ValueError, match="is empty"):
        pgtable.open_image(io.BytesIO())
    with pytest.raises(ValueError, match="<file object>: cut short"):
        pgtable.open_image(io.BytesIO(core[:80]))
    with pgtable.open_image(io.BytesIO(core[: len(core) // 2])) as image:
        assert any("cut short" in note for note in image.notes)
    with pgtable.open_image(io.BytesIO(core)) as image:
        with pytest.raises(ValueError, match="not in the image"):
            image.read(1 << 45, 8)
        with pytest.raises(TypeError, match="a range at a time"):
            image.__reduce__()


def test_an_address_is_read_in_batches(core: bytes, capsys: pytest.CaptureFixture) -> None:
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    system.pipe("/dumps/guest.core", core)
    system.pipe("/dumps/guest.core.xz", DUMP.read_bytes())
    batches = []
    real = type(system).cat_ranges

    def noted(self, paths, starts, ends, **more):
        batches.append(len(paths))
        return real(self, paths, starts, ends, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(system), "cat_ranges", noted)
        with pgtable.open_image("memory://dumps/guest.core") as image:
            walk = image.walk()
    with pgtable.open_image(DUMP) as image:
        same(walk, image.walk())
    assert len(batches) < 30
    assert max(batches) > 20
    assert main(["walk", "memory://dumps/guest.core", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["entries"] == len(walk)
    assert main(["walk", "memory://dumps/guest.core.xz", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["entries"] == len(walk)
    assert main(["walk", "memory://dumps/none"]) == 2
    assert main(["walk", "nosuch://dumps/none"]) == 2


def test_without_fsspec_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(ValueError, match=r"pgtable\[remote\]"):
        pgtable.open_image("s3://bucket/ram.raw")


# ---- a running kernel


def kcore_of(machine: Machine, root: int) -> bytes:
    """Return a file as /proc/kcore: virtual segments, VMCOREINFO, no end of a size."""
    lines = (
        "OSRELEASE=6.12.0\nPAGESIZE=4096\n"
        f"SYMBOL(swapper_pg_dir)={0xFFFF_FFFF_8000_0000 + root:x}\n"
        f"NUMBER(phys_base)=0\nNUMBER(pgtable_l5_enabled)={int(machine.levels == 5)}\n"
        "NUMBER(sme_mask)=0\n"
    ).encode()
    name = b"VMCOREINFO\0\0"
    note = struct.pack("<III", 11, len(lines), 0) + name + lines.ljust(-(-len(lines) // 4) * 4)
    loads = [
        (0xFFFF_C900_0000_0000, (1 << 64) - 1, 1 << 45, 1 << 44),  # vmalloc: no address
        (machine.direct, 0, 8192, len(machine.tobytes())),
        (0xFFFF_FFFF_8000_0000, 0, 8192, 2 << 20),  # the kernel's text lies in it too
    ]
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 4, 62, 1, 0, 64, 0, 0, 64, 56, 4, 0, 0, 0
    )
    headers = struct.pack("<IIQQQQQQ", 4, 0, 1024, 0, 0, len(note), 0, 0)
    for va, pa, at, size in loads:
        headers += struct.pack("<IIQQQQQQ", 1, 7, at, va, pa, size, size, PAGE)
    start = (header + headers).ljust(1024, b"\0") + note
    return start.ljust(8192, b"\0") + machine.tobytes()


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Machine]:
    """Return a file that cannot be mapped, as the memory of a running kernel."""
    machine = Machine(31)
    for pages in (5, 6):
        machine.process(pages)
    path = tmp_path / "kcore"
    path.write_bytes(kcore_of(machine, machine.kernel * PAGE))

    def refuse(*_: object) -> None:
        raise OSError(19, "No such device")

    monkeypatch.setattr(mapped.MappedFile, "of", refuse)
    return path, machine


def test_a_running_kernel_tells_its_tables(running: tuple[Path, Machine]) -> None:
    path, machine = running
    with pgtable.open_image(path) as image:
        walk = image.walk()
        found = image.spaces()
        assert image.kernel.release == "6.12.0"
        assert any("no table changed" in note for note in image.notes)
        assert pgtable.audit(walk, image).rows == len(walk)
    assert (walk.root.pa, walk.root.levels) == (machine.kernel * PAGE, 4)
    assert {s.root for s in found if s.kind == "process"} == set(machine.processes)


def test_what_changes_while_it_is_read_is_said(
    running: tuple[Path, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, machine = running
    root = next(iter(machine.processes))
    place = 8192 + root
    real = range_readers.KernelReader.read
    reads = []

    def changing(self, ranges):
        found = real(self, ranges)
        reads.append(len(ranges))
        if len(ranges) >= 4 and max(reads[:-1], default=0) < 4:
            with path.open("r+b") as file:  # other tables are read: an entry comes
                file.seek(place + 8 * 77)
                file.write(struct.pack("<Q", 0x67))
        return found

    with pgtable.open_image(path) as image:
        monkeypatch.setattr(range_readers.KernelReader, "read", changing)
        image.walk(root, 4)
        (note,) = [note for note in image.notes if "kernel is running" in note]
    assert "1 entries of 1 of" in note
    assert f"{root:#x}" in note


def test_pages_of_a_running_kernel_that_cannot_be_read(
    running: tuple[Path, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, machine = running
    root = next(iter(machine.processes))
    with pgtable.open_image(path) as image:
        whole = image.walk(root, 4)
        gone = int(whole.tables.pa[whole.tables.level == 1][0])
        real = range_readers.KernelReader._one

        def failing(self, offset: int, size: int) -> bytes:
            return b"" if offset == 8192 + gone else real(self, offset, size)

        monkeypatch.setattr(range_readers.KernelReader, "_one", failing)
        walk = image.walk(root, 4)
        assert walk.report_counts["outside"] == 1
        assert any(f"{gone:#x} cannot be read" in note for note in image.notes)
