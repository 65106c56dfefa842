# SPDX-License-Identifier: GPL-2.0-only
"""Dumps of real machines: what the emulator and the guest said of them is what a walk gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

import pgtable
from pgtable.images import Kind

CPUS = (0, 1)
#: Memory of devices: /proc/PID/pagemap says nothing of it.
DEVICE_REGIONS = ("devmem_hpet_uc", "devmem_vga_hole", "devmem_bios_ro", "pci_bar_uc", "pci_bar_wc")


@pytest.mark.parametrize("cpu", CPUS)
def test_leaves_are_info_tlb_line_by_line(
    dump: str, dump_text: Callable[[str], str], cpu: int
) -> None:
    with pgtable.open_image(f"{dump}.vmcore.xz") as image:
        walk = image.walk(cpu=cpu)
    expected = dump_text(f"{dump}.tlb.cpu{cpu}.txt.xz")
    assert len(expected) > 10000
    assert walk.to_info_tlb() == expected


@pytest.mark.parametrize("cpu", CPUS)
def test_counts_and_registers(dump: str, dump_json: Callable[[str], dict], cpu: int) -> None:
    said = dump_json(f"{dump}.json")["cpus"][cpu]
    with pgtable.open_image(f"{dump}.vmcore.xz") as image:
        registers = image.cpus[cpu]
        walk = image.walk(cpu=cpu)
        census = image.census(cpu=cpu)
    assert len(image.cpus) == 2
    for name in ("CR0", "CR2", "CR3", "CR4", "RIP"):
        assert getattr(registers, name.lower()) == int(said[name], 16)
    assert (registers.cpl, registers.levels) == (said["cpl"], said["levels"])
    assert registers.root == int(said["CR3"], 16) & ~0xFFF
    names = {Kind.LEAF: "leaf", Kind.TABLE: "table"}
    found = Counter(
        f"{names.get(Kind(kind), 'np')} level{level}"
        for kind, level in zip(walk.kind.tolist(), walk.level.tolist(), strict=True)
    )
    assert dict(found) == said["counts"]
    tables = Counter(f"level{level}" for level in walk.tables.level.tolist())
    assert dict(tables) == said["table_pages"]
    assert walk.report_counts == {}
    assert int(walk.tables.entries.sum()) == len(walk)
    for half in ("user", "kernel"):
        for level in range(1, 5):
            rows = census[half, level]
            for name, kinds in (("leaf", rows.where(_leaf(rows.entries, level))),
                                ("np", rows.where(rows.entries & np.uint64(1) == 0))):  # fmt: skip
                part = said["hist"].get(f"{half} {name} level{level}", {"n": 0})
                assert kinds.total == part["n"]
                # bits whose meaning is one and the same in every kind of entry
                for bit, flag in ((1, "RW"), (2, "US"), (5, "A"), (6, "D"), (63, "NX")):
                    assert kinds.count_bits(1 << bit, 1 << bit) == part.get(flag, 0)


def _leaf(entries: np.ndarray, level: int) -> np.ndarray:
    present = entries & np.uint64(1) != 0
    if level == 1:
        return present
    return present & (entries & np.uint64(0x80) != 0) & (level <= 3)


@pytest.mark.parametrize(("cpu", "who"), [(0, "parent"), (1, "child")])
def test_pagemap_of_the_guest_agrees(
    dump: str, dump_text: Callable[[str], str], cpu: int, who: str
) -> None:
    lines = [line.split() for line in dump_text(f"{dump}.truth.txt.xz").splitlines()]
    pagemap = {
        int(fields[1], 16) + 4096 * i: int(fields[3], 16) + i
        for fields in lines
        if fields[0] == f"PM.{who}"
        for i in range(int(fields[2]))
    }
    devices = [
        range(int(fields[2], 16), int(fields[3], 16))
        for fields in lines
        if fields[0] == "REGION" and fields[1] in DEVICE_REGIONS
    ]
    with pgtable.open_image(f"{dump}.vmcore.xz") as image:
        walk = image.walk(cpu=cpu)
    mapped = (walk.va >> np.uint64(63) == 0) & (walk.kind != Kind.TABLE)
    columns = [
        walk.va,
        walk.kind,
        walk.level,
        walk.pa,
        walk.entry,
        walk.swap_type,
        walk.swap_offset,
    ]
    seen = set()
    kinds = Counter()
    for va, kind, level, pa, entry, swap_type, offset in zip(
        *(column[mapped].tolist() for column in columns), strict=True
    ):
        kinds[Kind(kind)] += 1
        for i in range(512 if level == 2 else 1):
            at = va + 4096 * i
            if any(at in region for region in devices):
                assert at not in pagemap
                continue
            said = pagemap[at]
            seen.add(at)
            if kind in (Kind.SWAP, Kind.MARKER):
                assert said >> 62 & 1
                assert (said & 31, said >> 5 & (1 << 50) - 1) == (swap_type, offset)
            else:
                assert said >> 63
                assert said & (1 << 55) - 1 == (pa >> 12) + i
            if kind == Kind.LEAF and level == 1:
                assert said >> 57 & 1 == entry >> 10 & 1  # uffd-wp
    assert seen == pagemap.keys()
    expected = {Kind.LEAF, Kind.PROT_NONE, Kind.SWAP} | ({Kind.MARKER} if cpu == 0 else set())
    assert kinds.keys() == expected


def test_records_give_the_same_entries(dump: str) -> None:
    with (
        pgtable.open_image(f"{dump}.vmcore.xz") as core,
        pgtable.open_image(f"{dump}.ptpages.bin.xz") as image,
    ):
        assert image.format == "records"
        assert image.cpus == []
        assert np.array_equal(image.ranges, core.ranges)
        registers = core.cpus[1]
        expected = core.walk(cpu=1)
        walk = image.walk(registers.cr3, registers.levels)
    for name, column in expected.columns.items():
        assert np.array_equal(getattr(walk, name), column), name


def test_level_1_tables_are_those_that_were_dumped_apart(dump: str) -> None:
    import lzma  # noqa: PLC0415
    from pathlib import Path  # noqa: PLC0415

    tables = np.frombuffer(lzma.decompress(Path(f"{dump}.ptes.bin.xz").read_bytes()), np.uint64)
    with pgtable.open_image(f"{dump}.vmcore.xz") as image:
        walk = image.walk()
        level_1 = walk.tables.pa[walk.tables.level == 1]
        assert np.array_equal(np.sort(image.pages(level_1), axis=0).ravel(),
                              np.sort(tables.reshape(-1, 512), axis=0).ravel())  # fmt: skip


def test_secret_memory_is_told_apart(dump: str) -> None:
    with pgtable.open_image(f"{dump}.vmcore.xz") as image:
        walk = image.walk()
    other = walk.kind == Kind.OTHER
    assert np.count_nonzero(other) == 8
    assert np.all(walk.va[other] >> np.uint64(63) == 1)
    # the direct map: frames follow addresses, un-inverted ones only
    offset = walk.va[other] - walk.pa[other]
    assert len(set(offset.tolist())) == 1
    leaves = walk.leaf & (walk.va - walk.pa == offset[0])
    assert np.count_nonzero(leaves) > 1000
