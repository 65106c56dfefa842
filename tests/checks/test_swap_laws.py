# SPDX-License-Identifier: GPL-2.0-only
"""Swap entries, keys and protections: single faults in a tree, each found and named."""

import shutil
from pathlib import Path

import pytest

import pgtable

from ..conftest import sample

DATA = Path(__file__).parents[1] / "data"
LAWS = (
    *("swap_round_trip", "swap_not_present", "swap_flags_beside"),
    *("migration_flags", "swap_kinds", "flags_apart", "protections"),
    *("as_the_processor_reads", "names_agree", "flushed_when_needed"),
)

#: What is wrong -> (text of swapops.h, what stands there instead, (law, helper) that are found).
FAULTS = {
    "offset taken out one bit off": (
        "<< 5 >> 5 + FIRST_BIT", "<< 5 >> 6 + FIRST_BIT",
        {("swap_round_trip", "swp_entry_to_pte")},
    ),
    "offset not inverted on the way out": (
        "~pte_val(pte) << 5", "pte_val(pte) << 5",
        {("swap_round_trip", "swp_entry_to_pte")},
    ),
    "type cut to four bits": (
        "swp_type(entry) << 59", "(swp_type(entry) & 15) << 59",
        {("swap_round_trip", "swp_entry_to_pte")},
    ),
    "offset begins in PROTNONE": (
        "#define FIRST_BIT	9", "#define FIRST_BIT	8",
        {("swap_not_present", "swp_entry_to_pte")},
    ),
    "type and offset overlap": (
        "return entry.val >> TYPE_AT;", "return entry.val >> TYPE_AT - 1;",
        {("swap_round_trip", "swp_type")},
    ),
    "frame is wider than it is": (
        "#define FRAME_BITS	40", "#define FRAME_BITS	42",
        {("swap_round_trip", "swp_offset_pfn")},
    ),
    "two flags share a bit": (
        "#define FLAG_UFFD_WP	(1UL << 2)", "#define FLAG_UFFD_WP	(1UL << 3)",
        {("flags_apart", "pte_swp_uffd_wp")},
    ),
    "a flag lies in the offset": (
        "#define FLAG_EXCLUSIVE	(1UL << 3)", "#define FLAG_EXCLUSIVE	(1UL << 9)",
        {("swap_flags_beside", "pte_swp_mkexclusive")},
    ),
    "clear_flags forgets one": (
        "~(FLAG_SOFT_DIRTY | FLAG_UFFD_WP |", "~(FLAG_SOFT_DIRTY |",
        {("swap_flags_beside", "pte_swp_clear_flags")},
    ),
    "young and dirty are one bit": (
        "#define MIGRATION_DIRTY	(1UL << 41)", "#define MIGRATION_DIRTY	(1UL << 40)",
        {("migration_flags", "make_migration_entry_young")},
    ),
    "young lies in the frame": (
        "#define YOUNG		(1UL << 40)", "#define YOUNG		(1UL << 33)",
        {("migration_flags", "make_migration_entry_young")},
    ),
    "writable is made readable": (
        "return swp_entry(31, offset);", "return swp_entry(30, offset);",
        {("swap_kinds", "make_writable_migration_entry")},
    ),
    "a kind is forgotten": (
        "is_readable_migration_entry(entry) ||", "",
        {("swap_kinds", "make_readable_migration_entry")},
    ),
    "key of three bits": (
        "pte_flags >> 59 & 15", "pte_flags >> 59 & 7",
        {("protections", "pte_flags_pkey")},
    ),
    "key read one bit off": (
        "pte_flags >> 59", "pte_flags >> 58",
        {("protections", "pte_flags_pkey")},
    ),
    "old rights survive": (
        "(pgprot_val(oldprot) & CACHING)", "(pgprot_val(oldprot) & (CACHING | 2))",
        {("protections", "pgprot_modify")},
    ),
    "a flag lies on Dirty": (
        "#define FLAG_SOFT_DIRTY	(1UL << 1)", "#define FLAG_SOFT_DIRTY	(1UL << 6)",
        {("swap_flags_beside", "pte_swp_mksoft_dirty")},
    ),
    "young loses the type": (
        "swp_entry(swp_type(entry), swp_offset(entry) | YOUNG)",
        "swp_entry(0, swp_offset(entry) | YOUNG)",
        {("swap_kinds", "make_migration_entry_young")},
    ),
    "a marker is of a migration's type": (
        "return swp_type(entry) == 29;", "return swp_type(entry) == 30;",
        {("swap_kinds", "is_pte_marker_entry"), ("swap_kinds", "is_migration_entry")},
    ),
    "a file's type is special": (
        "swp_type(entry) >= 29", "swp_type(entry) >= 28",
        {("swap_kinds", "non_swap_entry")},
    ),
    "a special type is a file's": (
        "swp_type(entry) >= 29", "swp_type(entry) > 29",
        {("swap_kinds", "is_pte_marker_entry")},
    ),
    "a marker loses a bit": (
        "return swp_offset(entry) & 3;", "return swp_offset(entry) & 1;",
        {("names_agree", "is_poisoned_swp_entry")},
    ),
    "none is no none": (
        "return pte_none(pte) || is_pte_marker(pte);", "return is_pte_marker(pte);",
        {("names_agree", "pte_none_mostly")},
    ),
    "every swap entry is a marker": (
        "return is_swap_pte(pte) && is_pte_marker_entry(pte_to_swp_entry(pte));",
        "return is_swap_pte(pte);",
        {("names_agree", "is_pte_marker")},
    ),
    "a huge page's name does another thing": (
        "return pte_mkdirty(pte);", "return pte_mkyoung(pte);",
        {("names_agree", "huge_pte_mkdirty")},
    ),
    "a number that tells something else": (
        "return pte_write(pte);", "return pte_dirty(pte);",
        {("names_agree", "huge_pte_write")},
    ),
    "private mappings are writable": (
        "#define PAGE_COPY		__pgprot(READ_EXEC", "#define PAGE_COPY		__pgprot(READ_EXEC | 2",
        {("protections", "PAGE_COPY")},
    ),
    "shared mappings execute": (
        "READ_EXEC | 1UL << 1 | NO_EXEC", "READ_EXEC | 1UL << 1",
        {("protections", "PAGE_SHARED")},
    ),
    "nothing is something": (
        "PAGE_NONE		__pgprot(1UL << 8", "PAGE_NONE		__pgprot(1UL << 8 | 1UL",
        {("protections", "PAGE_NONE")},
    ),
    "what is read-only is a shadow stack": (
        "__pgprot(1UL << 0 | 1UL << 5 | NO_EXEC)", "__pgprot(1UL << 0 | 1UL << 6 | NO_EXEC)",
        {("protections", "PAGE_KERNEL_RO")},
    ),
    "a frame of another place": (
        ">> 12;", ">> 13;", {("as_the_processor_reads", "p4d_pfn")},
    ),
    "stray bits are an entry": (
        "~(1UL << 5 | 1UL << 6)) == 0", "~(1UL << 6)) == 0",
        {("as_the_processor_reads", "p4d_none")},
    ),
    "a user's table is bad": (
        "~(_KERNPG_TABLE | 1UL << 2)", "~(_KERNPG_TABLE)",
        {("as_the_processor_reads", "p4d_bad")},
    ),
    "a level that is not there is bad": (
        "pgd_bad(pgd_t pgd)\n{\n	return 0;", "pgd_bad(pgd_t pgd)\n{\n	return 1;",
        {("as_the_processor_reads", "pgd_bad")},
    ),
    "NX is a key's bit": (
        "pgprot_val(prot) | NO_EXEC", "pgprot_val(prot) | 1UL << 62",
        {("as_the_processor_reads", "pgprot_nx")},
    ),
    "Write goes without a flush": (
        "taken = 1UL << 0 | 1UL << 1 |", "taken = 1UL << 0 |",
        {("flushed_when_needed", "pte_needs_flush")},
    ),
    "another frame without a flush": (
        "31UL << 59 | PTE_PFN_MASK", "31UL << 59",
        {("flushed_when_needed", "pte_needs_flush")},
    ),
    "a flush of what was not there": (
        "if (!(pte_val(old) & 1))", "if (0)",
        {("flushed_when_needed", "pte_needs_flush")},
    ),
}  # fmt: skip


def tree_with(tmp_path, old="", new=""):
    tree = tmp_path / "tree"
    shutil.copytree(DATA / "mini_tree", tree)
    shutil.copytree(DATA / "mini_swap", tree, dirs_exist_ok=True)
    if old:
        headers = [
            tree / f"include/linux/{name}.h" for name in ("swapops", "pgtable_key", "pgtable_names")
        ]
        (header,) = [one for one in headers if old in one.read_text()]
        header.write_text(header.read_text().replace(old, new, 1))
    return pgtable.kernel_tree(tree, flags="-O1", forms=False)


def broken(engine):
    report = pgtable.check_laws(engine, rules=pgtable.native("saved_dirty").switches, laws=LAWS)
    return {(finding.law, finding.helper) for finding in report}, report


def test_sound_swap_entries_are_held_and_clean(tmp_path):
    engine = tree_with(tmp_path)
    found, report = broken(engine)
    assert not found, str(report)
    assert set(report.tried) == set(LAWS)
    info = engine.helper("pte_to_swp_entry").info
    assert (info.level, info.takes, info.gives) == ("pte", "pte", "swp")
    info = engine.helper("swp_entry_to_pte").info
    assert (info.level, info.takes, info.gives) == ("swp", "swp", "pte")
    # type 1, offset 2: the offset lies inverted in bits 9 to 58
    assert engine.swp_entry(1, 2) == 1 << 58 | 2
    assert engine.swp_entry_to_pte(1 << 58 | 2) == 1 << 59 | (2**50 - 1 ^ 2) << 9


@pytest.mark.parametrize("fault", sample(FAULTS, list(FAULTS)[::6]))
def test_single_faults_are_found_and_named(fault, tmp_path):
    old, new, expected = FAULTS[fault]
    found, report = broken(tree_with(tmp_path, old, new))
    assert expected <= found, str(report)
