# SPDX-License-Identifier: GPL-2.0-only
"""What VMCOREINFO says, in the bases in which kernels print it."""

from __future__ import annotations

import pytest

from pgtable.images.vmcoreinfo import KernelNotes, kernel_notes, parse_vmcoreinfo

TEXT = """\
OSRELEASE=6.12.117+deb12-cloud-amd64
BUILD-ID=7f76f39faf07f34cfa9fadd801e131bfa8cb6dc3
SYMBOL(swapper_pg_dir)=ffffffffaf022000
NUMBER(phys_base)=-742391808
NUMBER(pgtable_l5_enabled)=0
KERNELOFFSET=2c400000
NUMBER(sme_mask)=800000000000
"""


def test_all_that_is_noted() -> None:
    notes = kernel_notes(parse_vmcoreinfo(TEXT))
    assert notes == KernelNotes(
        release="6.12.117+deb12-cloud-amd64",
        build_id="7f76f39faf07f34cfa9fadd801e131bfa8cb6dc3",
        offset=0x2C400000,
        phys_base=-742391808,
        levels=4,
        sme_mask=1 << 47,
        top_table=0xFFFFFFFFAF022000,
    )
    assert notes.root == 0x2C22000
    assert notes.missing == ""


@pytest.mark.parametrize("name", ["swapper_pg_dir", "init_top_pgt", "init_level4_pgt"])
def test_every_name_of_the_top_table(name: str) -> None:
    notes = kernel_notes({f"SYMBOL({name})": "ffffffff82a10000", "NUMBER(phys_base)": "0"})
    assert notes.root == 0x2A10000


def test_phys_base_of_elsewhere_and_what_is_missing() -> None:
    lines = parse_vmcoreinfo("OSRELEASE=3.10\nSYMBOL(swapper_pg_dir)=ffffffff82a10000\n")
    assert kernel_notes(lines).root is None
    assert kernel_notes(lines).missing == "NUMBER(phys_base)"
    assert kernel_notes(lines, 0x1000000).root == 0x3A10000
    assert kernel_notes({}).missing == "VMCOREINFO"
    assert kernel_notes({"OSRELEASE": "6.1"}).missing == "SYMBOL(swapper_pg_dir)"


def test_nonsense_is_not_known() -> None:
    lines = {"NUMBER(phys_base)": "?", "SYMBOL(swapper_pg_dir)": "", "NUMBER(sme_mask)": "x"}
    assert kernel_notes(lines) == KernelNotes()
