# SPDX-License-Identifier: GPL-2.0-only
"""Text that kernels and tools print, and the entries in it."""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgtable import bits
from pgtable.images.text import Record, Text, parse

DATA = Path(__file__).parents[2] / "data"

VTOP = """
crash> vtop ffffffffc1234bd0
VIRTUAL           PHYSICAL
ffffffffc1234bd0  12345bd0

PML4 DIRECTORY: ffffffff8e80e000
PAGE DIRECTORY: 3ba12067
   PUD: 3ba12ff8 => 3ba14067
   PMD: 3ba14048 => 106067
   PTE: 1061a0 => 8000000012345063
  PAGE: 12345000

      PTE         PHYSICAL   FLAGS
8000000012345063  12345000   (PRESENT|RW|ACCESSED|DIRTY|NX)

      PAGE        PHYSICAL      MAPPING       INDEX CNT FLAGS
ffffd76693ebcc80  12345000                0        0  1 6fffff00000000
"""
VTOP_FIVE_LEVELS = """
VIRTUAL     PHYSICAL
7f1234567000  3f200000

   PGD: 3ba12000 => 3ba13067
   P4D: 3ba137f8 => 3ba14067
   PUD: 3ba14240 => 3ba15067
   PMD: 3ba15d10 => 800000003f2008e7
  PAGE: 3f200000  (2MB)

      PTE         PHYSICAL  FLAGS
800000003f2008e7  3f200000  (PRESENT|RW|USER|ACCESSED|DIRTY|PSE|NX)
"""
VTOP_NOT_MAPPED = """
VIRTUAL           PHYSICAL
ffffffffc1f67bd0  (not mapped)

PGD DIRECTORY: ffffffff8e80e000
PAGE DIRECTORY: 3ba12067
   PUD: 3ba12ff8 => 3ba14067
   PMD: 3ba14078 => 106067
   PTE: 106b38 => 0
"""
VTOP_32_BIT = """
VIRTUAL   PHYSICAL
80b4000   660f000

PAGE DIRECTORY: c37f0000
  PGD: c37f0080 => e0d067
  PMD: c37f0080 => e0d067
  PTE: c0e0d2d0 => 660f067
 PAGE: 660f000
"""
PTE = """
crash> pte d8e067
 PTE    PHYSICAL  FLAGS
d8e067   d8e000   (PRESENT|RW|USER|ACCESSED|DIRTY)

crash> pte 13f600
 PTE      SWAP     OFFSET
13f600  /dev/vda2    5104

crash> pte 1e3
PTE  PHYSICAL  FLAGS
1e3         0  (PRESENT|RW|ACCESSED|DIRTY|PSE|GLOBAL)
"""
PTDUMP = """
---[ User Space ]---
0x0000000000000000-0xffff800000000000   17179737600G                               pgd
---[ Low Kernel Mapping ]---
0xffff999900000000-0xffff999900200000           2M     RW                 GLB NX pte
0xffff999900200000-0xffff999909c00000         154M     ro PWT PCD PSE PAT GLB x  pmd
0xffff99990a000000-0xffff99990a001000           4K USR RW             PAT     NX pte
---[ Fixmap Area ]---
0xffffffffff5fc000-0x0000000000000000        2576K     RW PWT PCD         GLB NX pte
"""
OOPS = """
BUG: unable to handle page fault for address: ffffc90000123456
#PF: supervisor write access in kernel mode
#PF: error_code(0x0003) - permissions violation
PGD 100000067 P4D 100000067 PUD 1001da067 PMD 10a0d3067 PTE 80000001234b4061
Oops: 0003 [#1] PREEMPT SMP NOPTI
CR2: 0000000000000666 CR3: 0000000102a0a000 CR4: 0000000000750ef0
"""
OOPS_FIVE_LEVELS = """
BUG: kernel NULL pointer dereference, address: 0000000000000010
PGD 100001067 P4D 100000067 PUD 0
"""
OOPS_OLD = """
BUG: unable to handle kernel NULL pointer dereference at           (null)
IP: [<ffffffffa0001234>] broken+0x4/0x10 [module]
PGD 1b2f067 PUD 1b30067 PMD 0
"""
OOPS_ADDRESS_LATER = """
PGD 0 P4D 0
Oops: 0002 [#1] SMP
CR2: 00007f0012345678 CR3: 0000000102a0a000 CR4: 0000000000750ef0
"""
BAD_PAGE_MAP = """
BUG: Bad page map in process a b c  pte:8000000071c00227 pmd:74b30067
page:ffffea0001c70000 refcount:1 mapcount:-1
addr:0000000020563000 vm_flags:08100077 anon_vma:ffff8880547d2200 mapping:0 index:20563
"""
BAD_PAGE_MAP_NEW = """
BUG: Bad page map in process thing  pmd:80000001233f58e7
addr:00007fd84bb1c000 vm_flags:08100071 anon_vma:0000000000000000 mapping:0 index:0
pgd:10a89f067 p4d:10a89f067 pud:10e5a2067 pmd:80000001233f58e7
"""
BAD_PMD = "mm/pgtable-generic.c:43: bad pmd 00000000abcd1234(8000000012345063)"


def text(sample: str, prefix: str = "") -> Text:
    return parse(prefix + line for line in sample.splitlines())


def rows(sample: str, prefix: str = "") -> list[tuple[int, int | None, int]]:
    return [(record.level, record.va, record.entry) for record in text(sample, prefix).records]


SAMPLES = {
    "vtop": (
        VTOP,
        [
            (4, 0xFFFFFF8000000000, 0x3BA12067),
            (3, 0xFFFFFFFFC0000000, 0x3BA14067),
            (2, 0xFFFFFFFFC1200000, 0x106067),
            (1, 0xFFFFFFFFC1234000, 0x8000000012345063),
        ],
    ),
    "vtop, five levels": (
        VTOP_FIVE_LEVELS,
        [
            (5, 0, 0x3BA13067),
            (4, 0x7F0000000000, 0x3BA14067),
            (3, 0x7F1200000000, 0x3BA15067),
            (2, 0x7F1234400000, 0x800000003F2008E7),
        ],
    ),
    "vtop, not mapped": (
        VTOP_NOT_MAPPED,
        [
            (4, 0xFFFFFF8000000000, 0x3BA12067),
            (3, 0xFFFFFFFFC0000000, 0x3BA14067),
            (2, 0xFFFFFFFFC1E00000, 0x106067),
            (1, 0xFFFFFFFFC1F67000, 0),
        ],
    ),
    "pte": (PTE, [(0, None, 0xD8E067), (0, None, 0x13F600), (0, None, 0x1E3)]),
    "oops": (
        OOPS,
        [
            (4, 0xFFFFC90000000000 >> 39 << 39, 0x100000067),
            (3, 0xFFFFC90000000000, 0x1001DA067),
            (2, 0xFFFFC90000000000, 0x10A0D3067),
            (1, 0xFFFFC90000123000, 0x80000001234B4061),
        ],
    ),
    "oops, five levels": (
        OOPS_FIVE_LEVELS,
        [(5, 0, 0x100001067), (4, 0, 0x100000067), (3, 0, 0)],
    ),
    "oops, old": (OOPS_OLD, [(4, 0, 0x1B2F067), (3, 0, 0x1B30067), (2, 0, 0)]),
    "oops, address later": (OOPS_ADDRESS_LATER, [(4, 0x7F0000000000, 0)]),
    "bad page map": (
        BAD_PAGE_MAP,
        [(1, 0x20563000, 0x8000000071C00227), (2, 0x20400000, 0x74B30067)],
    ),
    "bad page map, new": (
        BAD_PAGE_MAP_NEW,
        [
            (2, 0x7FD84BA00000, 0x80000001233F58E7),
            (4, 0x7F8000000000, 0x10A89F067),
            (3, 0x7FD840000000, 0x10E5A2067),
        ],
    ),
    "bad pmd": (BAD_PMD, [(2, None, 0x8000000012345063)]),
    "numbers": (
        "0x8000000000000867\n 0x0\nabcdef\n8000000000000025\n0x12345678123456789\n",
        [(0, None, 0x8000000000000867), (0, None, 0), (0, None, 0x8000000000000025)],
    ),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_every_entry_of_a_format_is_found(name: str) -> None:
    sample, expected = SAMPLES[name]
    assert rows(sample) == expected


@pytest.mark.parametrize(
    "prefix", ["[   77.943408] ", "<1>[    9.1] ", "Jun  1 12:00:00 host kernel: [ 9.1] ", "> "]
)
@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "numbers"])
def test_prefixes_of_logs_and_quotes_do_not_matter(name: str, prefix: str) -> None:
    sample, expected = SAMPLES[name]
    assert rows(sample, prefix) == expected


def test_formats_may_be_mixed() -> None:
    mixed = "\n".join(sample for sample, _ in SAMPLES.values())
    assert rows(mixed) == [row for _, expected in SAMPLES.values() for row in expected]


def test_lines_are_numbered_from_one() -> None:
    assert [record.line for record in text(BAD_PAGE_MAP).records] == [2, 2]


def test_an_address_belongs_to_its_own_report() -> None:
    assert rows(BAD_PAGE_MAP + BAD_PAGE_MAP_NEW) == rows(BAD_PAGE_MAP) + rows(BAD_PAGE_MAP_NEW)
    twice = rows(OOPS + OOPS_ADDRESS_LATER)
    assert twice == rows(OOPS) + rows(OOPS_ADDRESS_LATER)


FAULTS = {
    "BUG: unable to handle page fault for address: ffffc90000123456": 0xFFFFC90000123000,
    "BUG: unable to handle kernel paging request at ffffc90000123456": 0xFFFFC90000123000,
    "BUG: unable to handle kernel paging request at virtual address 00001234": 0x1000,
    "BUG: kernel NULL pointer dereference, address: 0000000000002010": 0x2000,
    "BUG: unable to handle kernel NULL pointer dereference at 0000000000000010": 0,
    "BUG: unable to handle kernel NULL pointer dereference at           (null)": 0,
    "thing: Corrupted page table at address 7f0012345678": 0x7F0012345000,
}


@pytest.mark.parametrize("line", FAULTS)
def test_every_way_to_report_a_fault(line: str) -> None:
    found = parse([line, "PGD 1 P4D 1 PUD 1 PMD 1 PTE 25"])
    assert (found.records[-1].level, found.records[-1].va) == (1, FAULTS[line])
    assert found.ignored == 0


def test_a_pgd_alone_may_be_of_either_level() -> None:
    (record,) = text("PGD 0").records
    assert (record.level, record.entry) == (4, 0)
    assert "5" in record.note


def test_pte_shows_neither_level_nor_address_and_says_so() -> None:
    plain, swapped, large = text(PTE).records
    assert (plain.note, swapped.note) == ("", "")
    assert "PAT" in large.note


def test_an_address_far_above_is_not_taken() -> None:
    fault, _, _, tables, *_ = OOPS.strip().splitlines()
    near = [fault, *["other text"] * 39, tables]
    far = [fault, *["other text"] * 210, tables]
    assert parse(near).records[-1].va == 0xFFFFC90000123000
    assert parse(far).records[-1].va is None


def test_ptdump_gives_runs_of_leaves() -> None:
    found = text(PTDUMP)
    assert [(r.level, r.va, r.entry, r.count) for r in found.records] == [
        (1, 0xFFFF999900000000, bits.PRESENT | bits.RW | bits.GLOBAL | bits.NX, 512),
        (
            2,
            0xFFFF999900200000,
            bits.PRESENT | bits.PWT | bits.PCD | bits.PSE | bits.PAT_LARGE | bits.GLOBAL,
            77,
        ),
        (1, 0xFFFF99990A000000, bits.PRESENT | bits.RW | bits.USER | bits.PAT | bits.NX, 1),
        (
            1,
            0xFFFFFFFFFF5FC000,
            bits.PRESENT | bits.RW | bits.PWT | bits.PCD | bits.GLOBAL | bits.NX,
            0xA04,
        ),
    ]
    assert found.notes == ["ptdump: 1 ranges where nothing is present passed over"]
    assert found.ignored == 0


def test_what_ptdump_does_not_say_is_not_known() -> None:
    small, large, *_ = text(PTDUMP).records
    for record in (small, large):
        assert record.known & (bits.DIRTY | bits.ACCESSED | bits.BIT58 | bits.SOFT_DIRTY) == 0
        assert record.known & bits.RW
        assert record.entry & ~record.known == 0
    assert small.known & bits.PAT_LARGE == 0
    assert large.known & bits.PAT_LARGE


TLB = """
0000000000400000: 0000000003d6e000 X---A--U-
ffff888000000000: 0000000000000000 XGPDA---W
ffff888000200000: 0000000000200000 XGPDA---W
ffff888040000000: 0000000040000000 XGPDA---W
ffff888080000000: 0000000080000000 XGP-A---W
ffffffffff5fd000: 00000000fee00000 XG-DACT-W
"""


def test_info_tlb_flags_and_sizes() -> None:
    found = text(TLB)
    kernel = bits.PRESENT | bits.RW | bits.ACCESSED | bits.GLOBAL | bits.NX
    large = kernel | bits.DIRTY | bits.PSE
    assert [(r.level, r.va, r.entry) for r in found.records] == [
        (1, 0x400000, 0x3D6E000 | bits.PRESENT | bits.ACCESSED | bits.USER | bits.NX),
        (2, 0xFFFF888000000000, large),
        (2, 0xFFFF888000200000, 0x200000 | large),
        (3, 0xFFFF888040000000, 0x40000000 | large),
        (3, 0xFFFF888080000000, 0x80000000 | kernel | bits.PSE),
        (
            1,
            0xFFFFFFFFFF5FD000,
            0xFEE00000 | kernel | bits.DIRTY | bits.PCD | bits.PWT,
        ),
    ]
    assert [bool(record.note) for record in found.records] == [False] * 3 + [True] * 2 + [False]
    assert found.notes == ["info tlb: 2 large leaves taken for 1 GiB by their place alone"]


def test_what_info_tlb_does_not_say_is_not_known() -> None:
    small, *_, gigantic, _ = text(TLB).records
    assert small.known & bits.PAT == 0
    assert gigantic.known & bits.PSE
    for record in (small, gigantic):
        unknown = bits.SPECIAL | bits.UFFD_WP | bits.SOFT_DIRTY | bits.BIT58 | bits.PKEY
        assert record.known & unknown == 0
        assert record.known & (bits.NX | bits.PRESENT) == bits.NX | bits.PRESENT
        assert record.entry & ~record.known == 0


@pytest.mark.parametrize("name", ["k612-128.tlb.cpu0", "k61-256.tlb.cpu1"])
def test_real_info_tlb_is_read_whole_and_to_the_letter(name: str) -> None:
    with lzma.open(DATA / f"{name}.txt.xz", "rt") as file:
        lines = file.read().splitlines()
    found = parse(lines)
    assert found.ignored == 0
    assert [info_tlb_line(record) for record in found.records] == lines


def info_tlb_line(record: Record) -> str:
    flags = zip("XGPDACTUW", (63, 8, 7, 6, 5, 4, 3, 2, 1), strict=True)
    letters = "".join(letter if record.entry >> bit & 1 else "-" for letter, bit in flags)
    return f"{record.va:016x}: {record.entry & bits.SMALL_FRAME:016x} {letters}"


def test_columns() -> None:
    found = text(VTOP + PTE + PTDUMP)
    assert found.entry.dtype == found.va.dtype == found.known.dtype == np.uint64
    assert found.level.tolist() == [4, 3, 2, 1, 0, 0, 0, 1, 2, 1, 1]
    assert found.va_known.tolist() == [True] * 4 + [False] * 3 + [True] * 4
    assert found.va[3] == 0xFFFFFFFFC1234000
    assert found.entry[3] == 0x8000000012345063
    assert found.count.tolist() == [1] * 7 + [512, 77, 1, 0xA04]
    assert found.known[0] == bits.ALL


def test_what_is_lost_is_said_for_the_formats_that_occur() -> None:
    assert list(text(VTOP + OOPS).lost) == ["crash", "oops"]
    assert "SOFT_DIRTY" in text(TLB).lost["info tlb"]
    assert "Dirty and Cow are not" in text(PTDUMP).lost["ptdump"]


def test_other_lines_are_counted() -> None:
    found = text("hello\n\nworld\n0x25\n")
    assert (len(found.records), found.ignored) == (1, 2)


def test_nothing_is_nothing() -> None:
    found = parse([])
    assert found.records == []
    assert found.entry.dtype == np.uint64
    assert not found.lost


@settings(deadline=None)
@given(st.lists(st.text(max_size=80), max_size=30))
def test_any_text_is_taken(lines: list[str]) -> None:
    parse(lines)


@settings(deadline=None)
@given(st.data())
def test_broken_samples_are_taken(data: st.DataObject) -> None:
    lines = "\n".join(sample for sample, _ in SAMPLES.values()).splitlines()
    kept = data.draw(st.lists(st.sampled_from(lines), max_size=30))
    cut = data.draw(st.integers(0, 80))
    for record in parse(line[:cut] for line in kept).records:
        assert 0 <= record.entry <= bits.ALL
