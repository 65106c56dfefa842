# SPDX-License-Identifier: GPL-2.0-only
"""What an image does not hold is the kernel's fault only where the image can tell."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pgtable import bits
from pgtable.images import open_image
from pgtable.images.audit import Audit, audit

from ..conftest import _kdump

PAGE = 4096
TABLE = bits.PRESENT | bits.RW | bits.USER
KERNEL = bits.PRESENT | bits.RW | bits.ACCESSED | bits.DIRTY | bits.NX
USER = bits.PRESENT | bits.USER | bits.ACCESSED | bits.NX
PTE = 3 * PAGE
MISSING = 0x7_0000


def machine(leaves: dict[int, int], pages: int = 64) -> np.ndarray:
    """Return memory from 0 whose tables are pages 0 to 3; leaves: entry number -> pte."""
    memory = np.zeros((pages, 512), np.uint64)
    memory[0, 0], memory[1, 0], memory[2, 0] = PAGE | TABLE, 2 * PAGE | TABLE, PTE | TABLE
    memory[3, 10:14] = [n * PAGE | USER for n in range(10, 14)]
    for number, entry in leaves.items():
        memory[3, number] = entry
    return memory


def elf(path: Path, memory: np.ndarray, segments: list[tuple[int, int, int]]) -> Path:
    """Write a core with (physical address, bytes in the file, bytes in memory) of each segment."""
    head = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 4, 62, 1, 0, 64, 0, 0, 64, 56,
        len(segments), 64, 0, 0,
    )  # fmt: skip
    data, headers = b"", b""
    for pa, held, size in segments:
        at = PAGE + len(data)
        headers += struct.pack("<IIQQQQQQ", 1, 7, at, 0xFFFF888000000000 + pa, pa, held, size, 0)
        data += memory.tobytes()[pa : pa + held]
    path.write_bytes((head + headers).ljust(PAGE, b"\0") + data)
    return path


def lime(path: Path, memory: np.ndarray, ranges: list[tuple[int, int]]) -> Path:
    raw = memory.tobytes()
    with path.open("wb") as file:
        for start, end in ranges:
            file.write(struct.pack("<4sIQQQ", b"EMiL", 1, start, end - 1, 0) + raw[start:end])
    return path


def look(path: Path, **how: Any) -> Audit:
    with open_image(path) as image:
        return audit(image.walk(0, 4), image, **how)


def found(result: Audit) -> dict[str, list[int]]:
    return {finding.rule.id: finding.va.tolist() for finding in result.findings}


def skipped(result: Audit) -> dict[str, str]:
    return {rule.id: why for rule, why in result.skipped}


HOLE = {100: 40 * PAGE | USER}  # frame 40 lies in the hole of each image below


def written(kind: str, path: Path, memory: np.ndarray) -> Path:
    if kind == "vmcore with a hole":
        return elf(path, memory, [(0, 32 * PAGE, 32 * PAGE), (48 * PAGE, 16 * PAGE, 16 * PAGE)])
    if kind == "elf with excluded pages":
        return elf(path, memory, [(0, 32 * PAGE, 64 * PAGE)])
    if kind == "lime":
        return lime(path, memory, [(0, 32 * PAGE), (48 * PAGE, 64 * PAGE)])
    pages = {n * PAGE: memory[n].tobytes() for n in [*range(32), *range(48, 64)]}
    _kdump(path, pages, b"OSRELEASE=6.1.0\n", b"OSRELEASE=6.1.0\n")
    return path


KINDS = ["vmcore with a hole", "elf with excluded pages", "lime", "kdump"]


@pytest.mark.parametrize("kind", KINDS)
def test_frames_in_holes_are_no_fault_unless_memory_is_given(kind: str, tmp_path: Path) -> None:
    path = written(kind, tmp_path / "image", machine(HOLE))
    result = look(path)
    assert found(result) == {}
    why = skipped(result)
    # the notes of the kdump name a kernel without shadow stacks
    of_rules = {rule: text for rule, text in why.items() if text == "rules base allow it"}
    assert len(of_rules) == (3 if kind == "kdump" else 0)
    why = {rule: text for rule, text in why.items() if rule not in of_rules}
    assert set(why) == {"outside-memory", "device-memory"}
    assert all("--memory START-END" in text for text in why.values())
    assert found(look(path, memory=[(0, 64 * PAGE)])) == {}
    given = look(path, memory=[(0, 32 * PAGE), (48 * PAGE, 64 * PAGE)])
    assert found(given) == {"outside-memory": [100 * PAGE]}
    assert skipped(given) == of_rules


def test_a_whole_image_tells_what_is_memory(tmp_path: Path) -> None:
    path = tmp_path / "raw"
    memory = machine({100: 64 * PAGE | USER, 101: 65 * PAGE | USER | bits.PCD})
    path.write_bytes(memory.tobytes())
    assert found(look(path)) == {
        "outside-memory": [100 * PAGE],
        "device-memory": [101 * PAGE],
    }


def test_large_pages_of_the_kernel_show_that_an_image_is_not_whole(tmp_path: Path) -> None:
    path = tmp_path / "raw"
    memory = machine({100: 64 * PAGE | USER})
    memory[0, 273], memory[4, 0], memory[5, 1] = 4 * PAGE | TABLE, 5 * PAGE | TABLE, 1 << 21
    memory[5, 1] |= np.uint64(KERNEL | bits.PSE)
    path.write_bytes(memory.tobytes())
    result = look(path)
    assert found(result) == {}
    assert "maps memory with large pages" in skipped(result)["outside-memory"]


def test_tables_that_a_filtered_image_lacks_are_a_note(tmp_path: Path) -> None:
    memory = machine({})
    memory[2, 1] = 40 * PAGE | TABLE
    path = elf(tmp_path / "image", memory, [(0, 32 * PAGE, 64 * PAGE)])
    result = look(path)
    assert found(result) == {"table-left-out": [1 << 21]}
    assert result.faults == 0
    assert "pages were left out" in skipped(result)["table-missing"]
    inside = look(path, memory=[(0, 64 * PAGE)])
    assert (found(inside), inside.faults) == ({"table-left-out": [1 << 21]}, 0)
    beyond = look(path, memory=[(0, 32 * PAGE)])
    assert (found(beyond), beyond.faults) == ({"table-missing": [1 << 21]}, 1)


def test_a_table_that_a_whole_image_lacks_is_a_fault(tmp_path: Path) -> None:
    memory = machine({})
    memory[2, 1] = MISSING | TABLE
    path = tmp_path / "raw"
    path.write_bytes(memory.tobytes())
    assert found(look(path)) == {"table-missing": [1 << 21]}


@pytest.mark.parametrize("pages", [5, 12, 40, 63])
def test_truncated_images_have_no_findings(pages: int, tmp_path: Path) -> None:
    memory = machine({n: n * PAGE | USER for n in range(10, 64)})
    memory[2, 1] = 60 * PAGE | TABLE
    whole = elf(tmp_path / "whole", memory, [(0, 64 * PAGE, 64 * PAGE)])
    path = tmp_path / "cut"
    path.write_bytes(whole.read_bytes()[: (1 + pages) * PAGE - 100])
    result = look(path)
    assert result.faults == 0
    assert set(found(result)) <= {"table-left-out"}


def test_200_missing_tables_apart_from_each_other(tmp_path: Path) -> None:
    memory = machine({})
    memory[2, 100:300] = [(1 << 30) + n * 8 * PAGE | TABLE for n in range(200)]
    path = tmp_path / "raw"
    path.write_bytes(memory.tobytes())
    assert found(look(path)) == {"table-missing": [n << 21 for n in range(100, 300)]}


# ---- the top table in itself


@pytest.mark.parametrize(
    ("entry", "rule", "faults"),
    [(KERNEL & ~bits.NX, "self-map", 0), (TABLE, "self-map-user", 1)],
)
def test_a_self_map_is_named_with_its_range(
    entry: int, rule: str, faults: int, tmp_path: Path
) -> None:
    memory = machine({})
    memory[0, 0x1ED] = entry
    path = tmp_path / "raw"
    path.write_bytes(memory.tobytes())
    result = look(path)
    assert result.faults == faults
    (finding,) = result.findings
    assert finding.rule.id == rule
    start = 0xFFFF_F680_0000_0000
    assert list(finding.ranges.rows()) == [(start, start + (1 << 39), 0, 1)]


def test_a_loop_below_the_top_is_no_self_map(tmp_path: Path) -> None:
    memory = machine({})
    memory[1, 5] = 0 | TABLE
    path = tmp_path / "raw"
    path.write_bytes(memory.tobytes())
    assert found(look(path)) == {"table-loop": [5 << 30]}


# ---- userfaultfd, dirty code

PROT_NONE = (~(20 << 12) & bits.SMALL_FRAME) | 1 << 8 | bits.ACCESSED


def migration(kind: int, flags: int = 0) -> int:
    return kind << 59 | (~20 & (1 << 50) - 1) << 9 | flags


CASES = {
    "protected and writable": (20 << 12 | USER | bits.RW | bits.UFFD_WP, "uffd-wp-writable"),
    "protected": (20 << 12 | USER | bits.UFFD_WP, None),
    "writable": (20 << 12 | USER | bits.RW, None),
    "no access, protected and writable": (PROT_NONE | bits.RW | bits.UFFD_WP, "uffd-wp-writable"),
    "no access, protected": (PROT_NONE | bits.UFFD_WP, None),
    "of a type that may be writable": (migration(26, 4), "uffd-wp-migration"),
    "of that type, without the bit": (migration(26), None),
    "of hardware poison or swap": (migration(22, 4), None),
    "swapped out": (migration(3, 4), None),
    "dirty code": (20 << 12 | USER & ~bits.NX | bits.DIRTY, "user-dirty-executable"),
    "saved dirty code": (20 << 12 | USER & ~bits.NX | bits.BIT58, "user-dirty-executable"),
    "clean code": (20 << 12 | USER & ~bits.NX, None),
    "dirty data": (20 << 12 | USER | bits.BIT58, None),
}
NEW_RULES = {"uffd-wp-writable", "uffd-wp-migration", "user-dirty-executable"}


@pytest.mark.parametrize("name", CASES)
def test_new_rules(name: str, tmp_path: Path) -> None:
    entry, rule = CASES[name]
    path = tmp_path / "raw"
    path.write_bytes(machine({100: entry}).tobytes())
    result = found(look(path, rules="saved_dirty"))
    assert {key: va for key, va in result.items() if key in NEW_RULES} == (
        {} if rule is None else {rule: [100 * PAGE]}
    )


def test_bit_58_of_base_is_not_dirty(tmp_path: Path) -> None:
    path = tmp_path / "raw"
    path.write_bytes(machine({100: CASES["saved dirty code"][0]}).tobytes())
    assert found(look(path, rules="base")) == {}


def test_large_pages_are_protected_too(tmp_path: Path) -> None:
    memory = machine({})
    memory[2, 7] = USER | bits.PSE | bits.RW | bits.UFFD_WP
    path = tmp_path / "raw"
    path.write_bytes(memory.tobytes())
    result = look(path, memory=[(0, 1 << 30)])
    assert found(result)["uffd-wp-writable"] == [7 << 21]


DATA = Path(__file__).parents[2] / "data"


@pytest.mark.parametrize(
    ("name", "cpu", "code"),
    [
        ("k612-128", 0, 0x7F8E082D4000),
        ("k612-128", 1, 0x7F8E082D4000),
        ("k61-256", 0, 0x7F3A7623E000),
        ("k61-256", 1, 0x7F3A7623E000),
    ],
)
def test_healthy_machines_have_a_note_of_24_pages(name: str, cpu: int, code: int) -> None:
    with open_image(DATA / f"{name}.vmcore.xz") as image:
        result = audit(image.walk(cpu=cpu), image)
    assert found(result) == {"user-dirty-executable": [code + n * PAGE for n in range(24)]}
    assert result.faults == 0


# ---- odd images


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("levels", [4, 5])
def test_random_tables_do_not_stop_an_audit(seed: int, levels: int, tmp_path: Path) -> None:
    random = np.random.default_rng(seed)
    memory = random.integers(0, 1 << 64, (48, 512), np.uint64)
    frames = random.integers(0, 64, memory.shape, np.uint64) << np.uint64(12)
    memory = memory & np.uint64(~bits.SMALL_FRAME & bits.ALL & ~bits.PSE) | frames
    memory |= np.where(random.random(memory.shape) < 0.8, 1, 0).astype(np.uint64)
    memory = np.where(random.random(memory.shape) < 0.5, memory, 0)
    path = tmp_path / "raw"
    path.write_bytes(memory.tobytes())
    with open_image(path) as image:
        walk = image.walk(0, levels, limit=200_000)
        result = audit(walk, image)
    assert result.rows == len(walk)
    assert sum(finding.entries for finding in result.findings) > 0
