# SPDX-License-Identifier: GPL-2.0-only
"""Page tables of other processors: named, and never decoded as x86-64's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pgtable.cli import main
from pgtable.images.text import parse

_ARM64 = (
    "pgd=00000000bfff8003, p4d=00000000bfff8003, pud=00000000bfff7003, pmd=00000000bfff6003,"
    " pte=0068000041dd7707"
)
_MAP = "BUG: Bad page map in process foo  pte:{} pmd:812345003\naddr:{} vm_flags:00100073\n"
TEXTS = {
    "arm64, an oops": (
        "arm64",
        f"swapper pgtable: 4k pages, 48-bit VAs\n[ffff800011223344] {_ARM64}",
    ),
    "arm64, the line alone": ("arm64 or riscv", f"[ffff800011223344] {_ARM64}"),
    "arm64, older": ("arm64", "[ffffff8000a3c000] *pgd=00000000bfffe003, *pud=00000000bfffd003"),
    "arm64, bad page map": (
        "arm64",
        _MAP.format("e8000123456f43", "0000ffff91234000") + "Tainted: G    B  6.1.0-13-arm64 #1",
    ),
    "arm64, page_tables": (
        "arm64",
        "0xffff800008000000-0xffff800008010000  64K PTE  ro x  SHD AF     UXN    MEM/NORMAL",
    ),
    "ARM LPAE": ("32-bit ARM", "pgd = c0003000\n[c5e3f000] *pgd=80000000007003, *pmd=00000000"),
    "ARM": ("32-bit ARM", "[c5e3f000] *pgd=15c11811, *pte=00000000, *ppte=00000000"),
    "s390x": ("s390x", "AS:00000000a2f64007 R3:00000001ffff4007 S:00000001fff9c001"),
    "s390x, bad page map": (
        "s390x",
        _MAP.format("000000012345673f", "000003ff91234000") + "Krnl PSW : 0704",
    ),
    "s390x, page_tables": ("s390x", "0x0000000000100000-0x0000000000200000  1M PTE RW NX"),
    "riscv": ("riscv", "Current foo pgtable: 4K pagesize, 39-bit VAs, pgdp=0x0000000081234000"),
    "riscv, page_tables": (
        "riscv",
        "0xffffffc800000000-0xffffffc800001000  0x0000000080a00000  4K PTE  D A G . . W R V",
    ),
    "powerpc": ("powerpc", "Faulting instruction address: 0xc000000000123456"),
    "powerpc, bad page map": (
        "powerpc",
        _MAP.format("c000000123456387", "00007fff91234000") + "NIP [c000000000123456] foo",
    ),
    "32-bit x86": ("32-bit x86", "BUG: unable to handle page fault for address: f75fe000"),
    "32-bit x86, one level printed": ("32-bit x86", "*pde = 00000000 "),
    "32-bit x86, PAE": ("32-bit x86 (PAE)", "*pdpt = 0000000000a2f001 *pde = 000000003712c067"),
    "32-bit x86, bad page map": ("32-bit x86", _MAP.format("12345067", "b7500000")),
    "32 bits, page_tables": ("32-bit", "0xc0000000-0xc0100000  1M     RW   GLB NX pte"),
    "32-bit x86, info tlb": ("32-bit x86", "c0000000: 0000000000000000 -------UWP"),
}


@pytest.mark.parametrize("prefix", ["", "[   12.345678] ", "> Nov 26 10:10:10 host kernel: "])
@pytest.mark.parametrize("case", TEXTS)
def test_other_page_tables_are_named_and_refused(
    case: str, prefix: str, tmp_path: Path, capsys: Any
) -> None:
    whose, text = TEXTS[case]
    path = tmp_path / "log"
    path.write_text("".join(f"{prefix}{line}\n" for line in text.splitlines()))
    assert main(["decode", "--from", str(path)]) == 2
    message = capsys.readouterr().err
    assert whose in message
    assert "not covered" in message
    assert message.count("\n") == 1


def test_a_word_for_another_processor_takes_nothing_away() -> None:
    text = parse("PGD a1dc01067 P4D a1dc01067 PUD 101967063 PMD 0\nalso seen on aarch64\n")
    assert [(record.level, record.entry) for record in text.records] == [
        (4, 0xA1DC01067),
        (3, 0x101967063),
        (2, 0),
    ]
    assert not text.foreign


def test_entries_of_two_processors_in_one_text_are_kept_apart(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "log"
    path.write_text(f"[ffff800011223344] {_ARM64}\n\nPGD a1dc01067 P4D a1dc01067 PUD 0\n")
    assert main(["decode", "--from", str(path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [entry["entry"] for entry in result["entries"]] == [f"{0xA1DC01067:#018x}", f"{0:#018x}"]
    assert "arm64" in result["foreign"][0]


def test_addresses_below_4_gib_may_be_a_32_bit_guest() -> None:
    text = parse("00000000c0000000: 0000000000000000 X-------W\n")
    assert "32-bit guest" in text.notes[0]
