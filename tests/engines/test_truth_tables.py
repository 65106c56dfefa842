# SPDX-License-Identifier: GPL-2.0-only
"""What helpers compute, written out by hand once more, as tables of small cases.

Native and reference could be wrong together; these tables come from neither.
A state is (Write, Dirty, Cow); the columns are the eight states an entry can be in.
"""

from __future__ import annotations

import numpy as np
import pytest

import pgtable
from pgtable.engines.switches import COMBINATIONS, Switches

W, D, C = 1 << 1, 1 << 6, 1 << 58
ALL = 2**64 - 1
PRESENT, PSE, UFFD_WP, SOFT_DIRTY, NX = 1 << 0, 1 << 7, 1 << 10, 1 << 11, 1 << 63
VM_SHADOW_STACK = 1 << 37

COW_ON = Switches("cow", True, True)
COW_NO_SHSTK = Switches("cow", False, True)
COW_NO_CONFIG = Switches("cow", True, False)
COW_NEITHER = Switches("cow", False, False)
BASE = Switches("base", False, False)
SAVED_ON = Switches("saved_dirty", True, True)
SAVED_OFF = Switches("saved_dirty", False, True)

TABLES = {
    COW_ON: """
        in                           000 001 010 011 100 101 110 111
        pte,pmd,pud dirty             0   1   1   1   0   1   1   1
        pte,pmd     shstk             0   0   1   1   0   0   0   0
        pte,pmd     write             0   0   1   1   1   1   1   1
        pud         write             0   0   0   0   1   1   1   1
        pte,pmd,pud mkclean          000 000 000 000 100 100 100 100
        pte,pmd,pud wrprotect        000 001 001 001 000 001 001 001
        pte,pmd,pud mkwrite          100 110 110 110 100 110 110 110
        pte,pmd     mkdirty+SD       001 001 010 011 110 111 110 111
        pud         mkdirty+SD       001 001 011 011 110 111 110 111
        pte,pmd,pud mkcow            001 001 001 001 101 101 101 101
        pte,pmd,pud clear_cow        010 010 010 010 110 110 110 110
        pte,pmd     mkwrite_shstk    010 010 010 010 110 110 110 110
        pte,pmd     mkuffd_wp+UFFD   000 001 010 011 100 101 110 111
    """,
    COW_NO_SHSTK: """
        in                           000 001 010 011 100 101 110 111
        pte,pmd,pud dirty             0   1   1   1   0   1   1   1
        pte,pmd     shstk             0   0   0   0   0   0   0   0
        pte,pmd,pud write             0   0   0   0   1   1   1   1
        pte,pmd,pud mkclean          000 000 000 000 100 100 100 100
        pte,pmd,pud wrprotect        000 001 010 011 000 001 010 011
        pte,pmd,pud mkwrite          100 101 110 111 100 101 110 111
        pte,pmd,pud mkdirty+SD       010 011 010 011 110 111 110 111
        pte,pmd,pud mkcow            000 001 010 011 100 101 110 111
        pte,pmd,pud clear_cow        000 001 010 011 100 101 110 111
        pte,pmd     mkwrite_shstk    000 001 010 011 100 101 110 111
        pte,pmd     mkuffd_wp+UFFD   000 001 010 011 100 101 110 111
    """,
    # Cow compiled out, the feature left on: wrprotect and mkcow lose the dirtiness.
    COW_NO_CONFIG: """
        in                           000 001 010 011 100 101 110 111
        pte,pmd,pud dirty             0   0   1   1   0   0   1   1
        pte,pmd     shstk             0   0   1   1   0   0   0   0
        pte,pmd     write             0   0   1   1   1   1   1   1
        pud         write             0   0   0   0   1   1   1   1
        pte,pmd,pud mkclean          000 001 000 001 100 101 100 101
        pte,pmd,pud wrprotect        000 001 000 001 000 001 000 001
        pte,pmd,pud mkwrite          100 101 110 111 100 101 110 111
        pte,pmd,pud mkdirty+SD       000 001 010 011 110 111 110 111
        pte,pmd,pud mkcow            000 001 000 001 100 101 100 101
        pte,pmd,pud clear_cow        010 011 010 011 110 111 110 111
        pte,pmd     mkwrite_shstk    010 011 010 011 110 111 110 111
        pte,pmd     mkuffd_wp+UFFD   000 001 010 011 100 101 110 111
    """,
    COW_NEITHER: """
        in                           000 001 010 011 100 101 110 111
        pte,pmd,pud dirty             0   0   1   1   0   0   1   1
        pte,pmd     shstk             0   0   0   0   0   0   0   0
        pte,pmd,pud write             0   0   0   0   1   1   1   1
        pte,pmd,pud mkclean          000 001 000 001 100 101 100 101
        pte,pmd,pud wrprotect        000 001 010 011 000 001 010 011
        pte,pmd,pud mkwrite          100 101 110 111 100 101 110 111
        pte,pmd,pud mkdirty+SD       010 011 010 011 110 111 110 111
        pte,pmd,pud mkcow            000 001 010 011 100 101 110 111
        pte,pmd,pud clear_cow        000 001 010 011 100 101 110 111
        pte,pmd     mkwrite_shstk    000 001 010 011 100 101 110 111
        pte,pmd     mkuffd_wp+UFFD   000 001 010 011 100 101 110 111
    """,
    BASE: """
        in                           000 001 010 011 100 101 110 111
        pte,pmd,pud dirty             0   0   1   1   0   0   1   1
        pte,pmd,pud write             0   0   0   0   1   1   1   1
        pte,pmd,pud mkclean          000 001 000 001 100 101 100 101
        pte,pmd,pud wrprotect        000 001 010 011 000 001 010 011
        pte,pmd,pud mkwrite          100 101 110 111 100 101 110 111
        pte,pmd,pud mkdirty+SD       010 011 010 011 110 111 110 111
        pte,pmd     mkuffd_wp+UFFD   000 001 010 011 100 101 110 111
    """,
    SAVED_ON: """
        in                           000 001 010 011 100 101 110 111
        pte,pmd,pud dirty             0   1   1   1   0   1   1   1
        pte         shstk             0   0   1   1   0   0   0   0
        pmd,pud     shstk   PSE=0     0   0   0   0   0   0   0   0
        pmd,pud     shstk   PSE=1     0   0   1   1   0   0   0   0
        pte         write             0   0   1   1   1   1   1   1
        pmd         write   PSE=0     0   0   0   0   1   1   1   1
        pmd         write   PSE=1     0   0   1   1   1   1   1   1
        pud         write             0   0   0   0   1   1   1   1
        pte,pmd,pud mkclean          000 000 000 000 100 100 100 100
        pte,pmd,pud wrprotect        000 001 001 001 000 001 001 001
        pte,pmd     mkwrite(plain)   100 110 110 110 100 110 110 110
        pte,pmd     mkwrite(shstk)   010 011 010 011 010 011 010 011
        pud         mkwrite          100 110 110 110 100 110 110 110
        pte,pmd,pud mkdirty+SD       001 001 001 001 110 111 110 111
        pte,pmd     mkwrite_shstk    010 011 010 011 010 011 010 011
        pte,pmd,pud mksaveddirty     000 001 001 001 100 101 110 111
        pte,pmd,pud clear_saveddirty 000 001 010 011 100 110 110 110
        pte,pmd     mkwrite_novma    100 101 110 111 100 101 110 111
        pte,pmd     mkuffd_wp+UFFD   000 001 001 001 000 001 001 001
    """,
    SAVED_OFF: """
        in                           000 001 010 011 100 101 110 111
        pte,pmd,pud dirty             0   1   1   1   0   1   1   1
        pte,pmd,pud shstk             0   0   0   0   0   0   0   0
        pte,pmd,pud write             0   0   0   0   1   1   1   1
        pte,pmd,pud mkclean          000 000 000 000 100 100 100 100
        pte,pmd,pud wrprotect        000 001 001 001 000 001 001 001
        pte,pmd     mkwrite(plain)   100 110 110 110 100 110 110 110
        pte,pmd     mkwrite(shstk)   010 011 010 011 010 011 010 011
        pud         mkwrite          100 110 110 110 100 110 110 110
        pte,pmd,pud mkdirty+SD       001 001 001 001 110 111 110 111
        pte,pmd     mkwrite_shstk    010 011 010 011 010 011 010 011
        pte,pmd,pud mksaveddirty     000 001 001 001 100 101 110 111
        pte,pmd,pud clear_saveddirty 000 001 010 011 100 110 110 110
        pte,pmd     mkwrite_novma    100 101 110 111 100 101 110 111
        pte,pmd     mkuffd_wp+UFFD   000 001 001 001 000 001 001 001
    """,
}

# modify(entry, newprot): both present; the left column is newprot's state.  Under base bit 58 is
# DEVMAP, which modify keeps.
MODIFY = {
    "cow": """
        in       000 001 010 011 100 101 110 111
        000      000 000 010 010 000 000 010 010
        100      100 100 110 110 100 100 110 110
        011      001 001 011 011 001 001 011 011
        111      101 101 111 111 101 101 111 111
    """,
    "base": """
        in       000 001 010 011 100 101 110 111
        000      000 001 010 011 000 001 010 011
        100      100 101 110 111 100 101 110 111
        011      000 001 010 011 000 001 010 011
        111      100 101 110 111 100 101 110 111
    """,
    "saved_dirty": """
        in       000 001 010 011 100 101 110 111
        000      000 001 010 011 000 001 001 001
        100      100 110 110 110 100 101 110 111
        011      000 001 010 011 000 001 001 001
        111      100 110 110 110 100 101 110 111
    """,
}

ADDED = {"SD": SOFT_DIRTY, "UFFD": UFFD_WP}
ARGUMENTS = {"plain": ALL ^ VM_SHADOW_STACK, "shstk": VM_SHADOW_STACK}
STATES = ["000", "001", "010", "011", "100", "101", "110", "111"]

# What else is in the entry, W, D and C aside: none of it may change, and only PSE matters.
REST = (PRESENT, 0x8000_0000_1234_5025, 0x7_8000_0025, 0x200 | PSE, ALL & ~(W | D | C))


def bits(state: str) -> int:
    return W * int(state[0]) | D * int(state[1]) | C * int(state[2])


def rows(table: str) -> list[list[str]]:
    """Return the words of each line below the first, which must name the states in order."""
    lines = [line.split() for line in table.strip().splitlines()]
    assert lines[0][1:] == STATES
    assert all(len(line) in (9, 10, 11) for line in lines[1:])
    return lines[1:]


def cases() -> list:
    return [
        pytest.param(
            switches, level, line[1], line[2:-8], line[-8:], id=f"{switches} {level} {line[1]}"
        )
        for switches, table in TABLES.items()
        for line in rows(table)
        for level in line[0].split(",")
    ]


def test_the_tables_cover_every_combination_and_every_helper_of_theirs() -> None:
    assert tuple(TABLES) == COMBINATIONS
    told: dict[Switches, set[str]] = {}
    for switches, table in TABLES.items():
        told[switches] = {
            f"{level}_{line[1].partition('+')[0].partition('(')[0]}"
            for line in rows(table)
            for level in line[0].split(",")
        }
    anywhere = set().union(*told.values())
    for switches in COMBINATIONS:
        assert anywhere & set(pgtable.reference(*switches).helpers) == told[switches]


@pytest.mark.parametrize("make", [pgtable.native, pgtable.reference])
@pytest.mark.parametrize(("switches", "level", "what", "when", "results"), cases())
def test_where_the_rules_differ(make, switches, level, what, when, results) -> None:
    stem, _, added = what.partition("+")
    stem, _, argument = stem.rstrip(")").partition("(")
    helper = make(*switches).helpers[f"{level}_{stem}"]
    arguments = (ARGUMENTS[argument],) if argument else ()
    backgrounds = {
        "PSE=0": [rest & ~PSE for rest in REST],
        "PSE=1": [rest | PSE for rest in REST],
    }
    for rest in backgrounds[when[0]] if when else REST:
        entries = [rest | bits(state) for state in STATES]
        if helper.kind == "test":
            expected = [result == "1" for result in results]
        else:
            expected = [rest | bits(result) | ADDED.get(added, 0) for result in results]
        assert [helper(entry, *arguments) for entry in entries] == expected
        assert helper(np.array(entries, np.uint64), *arguments).tolist() == expected


@pytest.mark.parametrize("make", [pgtable.native, pgtable.reference])
@pytest.mark.parametrize("switches", COMBINATIONS, ids=str)
def test_modify_moves_write_and_what_becomes_of_dirtiness(make, switches) -> None:
    engine = make(*switches)
    levels = ("pte", "pmd", "pud") if switches.rules == "saved_dirty" else ("pte", "pmd")
    for newprot, *results in rows(MODIFY[switches.rules]):
        for level in levels:
            for rest in (PRESENT, 0x8000_0025, PRESENT | PSE | SOFT_DIRTY):
                entries = [rest | bits(state) for state in STATES]
                prot = rest | bits(newprot)
                modify = engine.helpers[f"{level}_modify"]
                assert [modify(entry, prot) for entry in entries] == [
                    rest | bits(result) for result in results
                ]


def on_rules(table: dict, rules: str) -> dict:
    """Return the rows of a table that are for all rules, or for these."""
    return {
        tuple(key[1:]) if key[0] in ("cow", "base", "saved_dirty") else key: value
        for key, value in table.items()
        if key[0] not in ("cow", "base", "saved_dirty") or key[0] == rules
    }


# (helper, entry[, argument]) -> result; a first word "cow", "base" or "saved_dirty" limits the row.
EXAMPLES = {
    # the frame number: inverted where the entry is non-zero and not present
    ("pte_pfn", 0x8000000012345067): 0x12345,
    ("pte_pfn", 0x000FFFFFEDCBA160): 0x12345,
    ("pte_pfn", 0): 0,
    ("pte_pfn", 0x1): 0,
    ("pte_pfn", 0x2): 0xFFFFFFFFFF,
    ("pte_pfn", 0x00012345000000E7): 0x1234500000,
    ("pmd_pfn", 0x402000E7): 0x40200,
    ("pmd_pfn", 0x402010E7): 0x40200,
    ("pmd_pfn", 0x40201067): 0x40201,
    ("pmd_pfn", 0x000FFFFFBFC001E0): 0x40200,
    ("pud_pfn", 0x1C00000E7): 0x1C0000,
    ("pud_pfn", 0x1C02010E7): 0x1C0000,
    ("pud_pfn", 0x1C0201067): 0x1C0201,
    ("pud_pfn", 0x000FFFFE000001E0): 0x1C0000,
    # the rest
    ("pte_flags", 0x8000000012345067): 0x8000000000000067,
    ("pte_flags", 0x00100000123450E7): 0x00100000000000E7,
    ("pmd_flags", 0x403FF0E7): 0x1FF0E7,
    ("pmd_flags", 0x403FF067): 0x67,
    ("pmd_flags", 0xFFF0000000200080): 0xFFF0000000000080,
    ("pud_flags", 0x1FFFFF0E7): 0x3FFFF0E7,
    ("pud_flags", 0x1FFFFF067): 0x67,
    # entries out of frame numbers: no more of them than the level has
    ("pfn_pte", 0x12345, 0x67): 0x12345067,
    ("pfn_pte", 0x12345, 0): 0x12345000,
    ("pfn_pte", 0x12345, 0x100): 0x000FFFFFEDCBA100,
    ("pfn_pte", 0xFFFFFFFFFFFFF, 0x67): 0x000FFFFFFFFFF067,
    ("pfn_pte", 1 << 40, 0x67): 0x67,
    ("pfn_pte", 0, 0x8000000000001067): 0x8000000000001067,
    ("pfn_pmd", 0x40200, 0xE7): 0x402000E7,
    ("pfn_pmd", 0x40201, 0xE7): 0x402000E7,
    ("pfn_pmd", 0x40200, 0x1E0): 0x000FFFFFBFC001E0,
    ("pfn_pmd", 0x40200, 0x67): 0x40200067,
    ("pfn_pud", 0x1C0000, 0xE7): 0x1C00000E7,
    ("pfn_pud", 0x1C0201, 0xE7): 0x1C00000E7,
    ("pfn_pud", 0x1C0000, 0x1E0): 0x000FFFFE000001E0,
    # invalid, but the frame is kept
    ("pmd_mkinvalid", 0x402000E7): 0x000FFFFFBFC000E6,
    ("pmd_mkinvalid", 0x402001E7): 0x000FFFFFBFC000E6,
    ("pmd_mkinvalid", 0x402010E7): 0x000FFFFFBFC010E6,
    ("pmd_mkinvalid", 0x40201067): 0x000FFFFFBFC00066,
    ("pmd_mkinvalid", 0x000FFFFFBFC000E6): 0x000FFFFFBFC000E6,
    ("pmd_mkinvalid", 0x80000000402000E7): 0x800FFFFFBFC000E6,
    ("pmd_mkinvalid", 0x40000001): 0x40000000,
    ("pmd_mkinvalid", 0): 0,
    ("saved_dirty", "pud_mkinvalid", 0x1C00000E7): 0x000FFFFE000000E6,
    ("saved_dirty", "pud_mkinvalid", 0x1C00011E7): 0x000FFFFE000010E6,
    ("saved_dirty", "pud_mkinvalid", 0): 0,
    # the next frame is one lower where the frame is inverted; zero is not
    ("saved_dirty", "pte_advance_pfn", 0x12345067, 1): 0x12346067,
    ("saved_dirty", "pte_advance_pfn", 0x12345067, 0): 0x12345067,
    ("saved_dirty", "pte_advance_pfn", 0x000FFFFFEDCBA160, 1): 0x000FFFFFEDCB9160,
    ("saved_dirty", "pte_advance_pfn", 0x12345067, 0x10000): 0x22345067,
    ("saved_dirty", "pte_advance_pfn", 0, 1): 0x1000,
    ("saved_dirty", "pte_advance_pfn", 0x100, 1): 0xFFFFFFFFFFFFF100,
    ("saved_dirty", "pte_advance_pfn", 0xFFFFFFFFFFFFF001, 1): 0x1,
    ("saved_dirty", "pte_advance_pfn", 0x1, 1 << 52): 0x1,
    # modify keeps frame, PCD, PWT, ACCESSED, DIRTY, PAT/PSE, bits 9 to 11 and DEVMAP
    ("cow", "pte_modify", ALL, 0x1): 0x020FFFFFFFFFFEF9,
    ("base", "pte_modify", ALL, 0x1): 0x040FFFFFFFFFFEF9,
    ("saved_dirty", "pte_modify", ALL, 0x1): 0x060FFFFFFFFFFEB9,
    ("cow", "pmd_modify", ALL, 0x1): 0x020FFFFFFFFFFEF9,
    ("base", "pmd_modify", ALL, 0x1): 0x040FFFFFFFFFFEF9,
    ("saved_dirty", "pmd_modify", ALL, 0x1): 0x060FFFFFFFFFFEB9,
    ("saved_dirty", "pud_modify", ALL, 0x1): 0x060FFFFFFFFFFEB9,
    ("cow", "pte_modify", 0x1, ALL): 0xFDF0000000000107,
    ("base", "pte_modify", 0x1, ALL): 0xFBF0000000000107,
    ("saved_dirty", "pte_modify", 0x1, ALL): 0xF9F0000000000107,
    ("cow", "pmd_modify", 0x1, ALL): 0xFDF0000000000107,
    ("base", "pmd_modify", 0x1, ALL): 0xFBF0000000000107,
    ("saved_dirty", "pmd_modify", 0x1, ALL): 0xF9F0000000000107,
    ("saved_dirty", "pud_modify", 0x1, ALL): 0xF9F0000000000107,
    # and turns the frame over on the way between present and not: to PROT_NONE ...
    ("cow", "pte_modify", 0x12345067, 0x100): 0x000FFFFFEDCBA160,
    ("base", "pte_modify", 0x12345067, 0x100): 0x000FFFFFEDCBA160,
    ("saved_dirty", "pte_modify", 0x12345067, 0x100): 0x040FFFFFEDCBA120,
    ("cow", "pmd_modify", 0x402000E7, 0x100): 0x000FFFFFBFC001E0,
    ("base", "pmd_modify", 0x402000E7, 0x100): 0x000FFFFFBFC001E0,
    ("saved_dirty", "pmd_modify", 0x402000E7, 0x100): 0x040FFFFFBFC001A0,
    ("cow", "pmd_modify", 0x402010E7, 0x100): 0x000FFFFFBFC011E0,
    ("saved_dirty", "pud_modify", 0x1C00000E7, 0x100): 0x040FFFFE000001A0,
    ("saved_dirty", "pud_modify", 0x1C02010E7, 0x100): 0x040FFFFE002011A0,
    # ... and back
    ("pte_modify", 0x000FFFFFEDCBA160, 0x8000000000000025): 0x8000000012345065,
    ("pmd_modify", 0x000FFFFFBFC001E0, 0x8000000000000025): 0x80000000402000E5,
    ("saved_dirty", "pud_modify", 0x000FFFFE000001E0, 0x25): 0x1C00000E5,
    # from one non-present form to the other, from nothing, to nothing
    ("pte_modify", 0x000FFFFFEDCBA160, 0x8000000000000100): 0x800FFFFFEDCBA160,
    ("pte_modify", 0, 0x25): 0x5,
    ("pte_modify", 0, 0x100): 0x000FFFFFFFFFF100,
    ("pmd_modify", 0, 0x100): 0x000FFFFFFFE00100,
    ("saved_dirty", "pud_modify", 0, 0x100): 0x000FFFFFC0000100,
    ("pte_modify", 0, 0): 0,
    ("pte_modify", 0x100, 0): 0x000FFFFFFFFFF000,
    # the memory type's bit
    ("protval_4k_2_large", 0x80): 0x1000,
    ("protval_4k_2_large", 0x1080): 0x1000,
    ("protval_4k_2_large", 0x1000): 0,
    ("protval_4k_2_large", ALL): 0xFFFFFFFFFFFFFF7F,
    ("protval_large_2_4k", 0x1000): 0x80,
    ("protval_large_2_4k", 0x1080): 0x80,
    ("protval_large_2_4k", 0x80): 0,
    ("protval_large_2_4k", ALL): 0xFFFFFFFFFFFFEFFF,
    # is it there: PRESENT, PROTNONE, and in a pmd PSE
    ("pte_present", 0x1): True,
    ("pte_present", 0x100): True,
    ("pte_present", ALL ^ 0x101): False,
    ("pmd_present", 0x1): True,
    ("pmd_present", 0x100): True,
    ("pmd_present", 0x80): True,
    ("pmd_present", ALL ^ 0x181): False,
    ("pud_present", 0x1): True,
    ("pud_present", ALL ^ 0x1): False,
    ("pte_protnone", 0x100): True,
    ("pte_protnone", 0x101): False,
    ("pte_protnone", ALL ^ 0x1): True,
    ("pte_protnone", ALL ^ 0x100): False,
    ("pte_protnone", 0): False,
    ("pmd_protnone", 0x100): True,
    ("pmd_protnone", 0x101): False,
    ("pmd_protnone", ALL ^ 0x1): True,
    ("pmd_protnone", ALL ^ 0x100): False,
    ("pmd_protnone", 0): False,
    # a table: of a pmd present, writable and dirty, of a pud nothing that does not belong
    ("pmd_bad", 0x40201067): False,
    ("pmd_bad", 0x40201063): False,
    ("pmd_bad", 0x40201043): False,
    ("pmd_bad", 0x40201065): True,
    ("pmd_bad", 0x40201027): True,
    ("pmd_bad", 0x40201066): True,
    ("pmd_bad", 0x402000E7): True,
    ("pmd_bad", 0x402010E7): True,
    ("pmd_bad", 0x8000000040201067): True,
    ("pmd_bad", 0x0400000040201025): True,
    ("pmd_bad", 0): True,
    ("pud_bad", 0x1C0201067): False,
    ("pud_bad", 0x1C0201000): False,
    ("pud_bad", 0): False,
    ("pud_bad", 0x1C02010E7): True,
    ("pud_bad", 0x0400000040201025): True,
    ("pud_bad", 0x8000000040201067): True,
    ("pud_bad", 0x00000001C0201167): True,
    ("pud_bad", 0x00000001C020106F): True,
    ("pud_bad", 0x00000001C0201077): True,
    # a large page
    ("pmd_leaf", 0x80): True,
    ("pmd_leaf", ALL ^ 0x80): False,
    ("base", "pud_leaf", 0x80): False,
    ("cow", "pud_leaf", 0x80): False,
    ("saved_dirty", "pud_leaf", 0x80): True,
    ("pud_leaf", 0x81): True,
    ("pud_leaf", ALL ^ 0x80): False,
    ("pmd_trans_huge", 0x80): True,
    ("pud_trans_huge", 0x80): True,
    ("pmd_trans_huge", 0): False,
    ("pud_trans_huge", 0): False,
    ("base", "pmd_trans_huge", 0x0400000000000080): False,
    ("base", "pud_trans_huge", 0x0400000000000080): False,
    ("base", "pmd_trans_huge", 0x0200000000000080): True,
    ("base", "pud_trans_huge", 0x0200000000000080): True,
    ("cow", "pmd_trans_huge", 0x0400000000000080): True,
    ("cow", "pud_trans_huge", 0x0400000000000080): True,
    ("cow", "pmd_trans_huge", 0x0200000000000080): False,
    ("cow", "pud_trans_huge", 0x0200000000000080): False,
    ("saved_dirty", "pmd_trans_huge", 0x0400000000000080): True,
    ("saved_dirty", "pud_trans_huge", 0x0400000000000080): True,
    ("saved_dirty", "pmd_trans_huge", 0x0200000000000080): False,
    ("saved_dirty", "pud_trans_huge", 0x0200000000000080): False,
    # with a second argument
    ("pte_exec", 0): True,
    ("pte_exec", NX): False,
    ("pte_exec", ALL ^ NX): True,
    ("pte_mkexec", ALL): ALL ^ NX,
    ("pte_mkexec", 0): 0,
}
for _level in ("pte", "pmd", "pud"):
    EXAMPLES |= {
        (f"{_level}_set_flags", 0x8000000000000001, 0x40): 0x8000000000000041,
        (f"{_level}_set_flags", 0x67, ALL): ALL,
        (f"{_level}_set_flags", 0x67, 0): 0x67,
        (f"{_level}_clear_flags", 0x8000000000000067, 0x8000000000000042): 0x25,
        (f"{_level}_clear_flags", ALL, ALL): 0,
        (f"{_level}_clear_flags", 0x67, 0x18): 0x67,
        (f"{_level}_same", 0x67, 0x67): True,
        (f"{_level}_same", 0x67, 0x66): False,
        (f"{_level}_same", ALL, ALL ^ NX): False,
        (f"{_level}_none", 0): True,
        (f"{_level}_none", 0x20): True,
        (f"{_level}_none", 0x40): True,
        (f"{_level}_none", 0x60): True,
        (f"{_level}_none", 0x1): False,
        (f"{_level}_none", C): False,
        (f"{_level}_none", NX): False,
        (f"{_level}_none", ALL ^ 0x60): False,
        # PRESENT and USER, for writing Write too: a shadow stack is not writable
        (f"{_level}_access_permitted", 0x5, False): True,
        (f"{_level}_access_permitted", 0x5, True): False,
        (f"{_level}_access_permitted", 0x7, True): True,
        (f"{_level}_access_permitted", 0x7, 0): True,
        (f"{_level}_access_permitted", 0x7, 1 << 63): True,
        (f"{_level}_access_permitted", 0x45, 2): False,
        (f"{_level}_access_permitted", 0x1, 0): False,
        (f"{_level}_access_permitted", 0x4, 0): False,
        (f"{_level}_access_permitted", ALL ^ 0x1, 0): False,
        (f"{_level}_access_permitted", ALL ^ 0x4, 0): False,
        (f"{_level}_access_permitted", ALL ^ 0x2, 1): False,
    }

# What one bit is to a helper: test it, set it, clear it.
ONE_BIT = {
    "pte pmd pud": {
        5: ("young", "mkyoung", "mkold"),
        7: (None, "mkhuge", None),
        11: ("soft_dirty", "mksoft_dirty", "clear_soft_dirty"),
    },
    "pte pmd": {
        10: ("uffd_wp", None, "clear_uffd_wp"),
        1: ("swp_soft_dirty", "swp_mksoft_dirty", "swp_clear_soft_dirty"),
        2: ("swp_uffd_wp", "swp_mkuffd_wp", "swp_clear_uffd_wp"),
    },
    "pte": {
        3: ("swp_exclusive", "swp_mkexclusive", "swp_clear_exclusive"),
        7: ("huge", None, "clrhuge"),
        8: ("global", "mkglobal", "clrglobal"),
        9: ("special", "mkspecial", None),
    },
}
SPECIAL_PMD_PUD = {"pmd pud": {9: ("special", "mkspecial", None)}}
DEVMAP_BIT = {"base": 58, "cow": 57, "saved_dirty": 57}


def one_bit_helpers(rules: str) -> list[tuple[str, str, int]]:
    """Return (what it does, helper, bit)."""
    found = []
    tables = [ONE_BIT, SPECIAL_PMD_PUD] if rules == "saved_dirty" else [ONE_BIT]
    for levels, by_bit in ((k, v) for table in tables for k, v in table.items()):
        for level in levels.split():
            for bit, stems in by_bit.items():
                pairs = zip(("test", "set", "clear"), stems, strict=True)
                found += [(what, f"{level}_{stem}", bit) for what, stem in pairs if stem]
    bit = DEVMAP_BIT[rules]
    found += [("test", f"{level}_devmap", bit) for level in ("pte", "pmd", "pud")]
    return found + [("set", f"{level}_mkdevmap", bit) for level in ("pmd", "pud")]


@pytest.mark.parametrize("make", [pgtable.native, pgtable.reference])
@pytest.mark.parametrize("switches", COMBINATIONS, ids=str)
def test_examples(make, switches) -> None:
    engine = make(*switches)
    for (name, *given), expected in on_rules(EXAMPLES, switches.rules).items():
        result = engine.helpers[name](*given)
        assert (name, *given, result) == (name, *given, expected)
        assert type(result) is type(expected)


@pytest.mark.parametrize("make", [pgtable.native, pgtable.reference])
@pytest.mark.parametrize("switches", COMBINATIONS, ids=str)
def test_helpers_of_one_bit(make, switches) -> None:
    engine = make(*switches)
    single = [1 << i for i in range(64)]
    entries = [0, ALL, *single, *(ALL ^ one for one in single)]
    for what, name, bit in one_bit_helpers(switches.rules):
        expected = {
            "test": [bool(entry >> bit & 1) for entry in entries],
            "set": [entry | 1 << bit for entry in entries],
            "clear": [entry & ~(1 << bit) for entry in entries],
        }[what]
        helper = engine.helpers[name]
        assert [helper(entry) for entry in entries] == expected, name
        assert helper(np.array(entries, np.uint64)).tolist() == expected, name


@pytest.mark.parametrize("make", [pgtable.native, pgtable.reference])
@pytest.mark.parametrize("switches", COMBINATIONS, ids=str)
def test_a_pte_of_device_memory_is_special_too(make, switches) -> None:
    devmap = 1 << DEVMAP_BIT[switches.rules]
    assert make(*switches).pte_mkdevmap(0x67) == 0x67 | devmap | 0x200


@pytest.mark.parametrize("switches", COMBINATIONS, ids=str)
def test_every_helper_is_in_one_of_the_tables(switches) -> None:
    told = {"pte_mkdevmap", *(name for _, name, _ in one_bit_helpers(switches.rules))}
    told |= {name for name, *_ in on_rules(EXAMPLES, switches.rules)}
    for line in rows(TABLES[switches]):
        stem = line[1].partition("+")[0].partition("(")[0]
        told |= {f"{level}_{stem}" for level in line[0].split(",")}
    assert told == set(pgtable.reference(*switches).helpers)
