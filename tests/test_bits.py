# SPDX-License-Identifier: GPL-2.0-only
"""The bits of an entry, checked against helpers and against entries told by hand."""

import numpy as np
import pytest

import pgtable
from pgtable import bits

RULES = ("cow", "base", "saved_dirty")
RANDOM = np.random.default_rng(58).integers(0, 2**64, 4000, dtype=np.uint64)


def names(entry, level="pte", rules="cow", config=None):
    return {bit.number: bit.name for bit in bits.named_bits(entry, level, rules, config)}


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (0, "(Write=0,Dirty=0,Cow=0)"),
        (1 << 1, "(Write=1,Dirty=0,Cow=0)"),
        (1 << 6, "(Write=0,Dirty=1,Cow=0)"),
        (1 << 58, "(Write=0,Dirty=0,Cow=1)"),
        (2**64 - 1, "(Write=1,Dirty=1,Cow=1)"),
        (2**64 - 1 - (1 << 58 | 1 << 6 | 1 << 1), "(Write=0,Dirty=0,Cow=0)"),
    ],
)
def test_state(entry, text):
    assert bits.state(entry) == text
    assert bits.state(entry, "saved_dirty") == text


def test_state_without_cow_bit():
    assert bits.state(1 << 58 | 1 << 6, "base") == "(Write=0,Dirty=1,Cow=0)"
    assert bits.state(1 << 58, "cow", config=False) == "(Write=0,Dirty=0,Cow=0)"


@pytest.mark.parametrize("rules", RULES)
def test_state_code_of_arrays_is_that_of_ints(rules):
    codes = bits.state_code(RANDOM, rules)
    assert [bits.STATES[c] for c in codes] == [bits.state(int(v), rules) for v in RANDOM]
    assert len(set(codes.tolist())) == (4 if rules == "base" else 8)


@pytest.mark.parametrize("level", ["pte", "pmd", "pud"])
def test_frame_is_that_of_the_helper(level):
    expected = pgtable.reference().helper(f"{level}_pfn")(RANDOM)
    np.testing.assert_array_equal(bits.frame(RANDOM, level), expected)
    assert [bits.frame(int(v), level) for v in RANDOM] == expected.tolist()
    assert bits.frame(0, level) == 0
    assert bits.frame(np.zeros(1, np.uint64), level)[0] == 0


@pytest.mark.parametrize("level", ["p4d", "pgd"])
def test_frame_of_upper_tables_is_small(level):
    assert bits.frame(0x8000_0001_2345_60E7, level) == 0x123456


@pytest.mark.parametrize("level", ["pte", "pmd", "pud"])
def test_named_bits_and_frame_cover_the_flags(level):
    flags = pgtable.reference().helper(f"{level}_flags")
    for value in map(int, RANDOM[:500]):
        entry = value | bits.PRESENT
        found = sum(1 << number for number in names(entry, level))
        assert found == flags(entry)


def test_every_bit_by_name():
    entry = 2**64 - 1
    assert names(entry) == {
        0: "PRESENT", 1: "RW", 2: "USER", 3: "PWT", 4: "PCD", 5: "ACCESSED", 6: "DIRTY",
        7: "PAT", 8: "GLOBAL", 9: "SPECIAL", 10: "UFFD_WP", 11: "SOFT_DIRTY",
        52: "bit 52", 53: "bit 53", 54: "bit 54", 55: "bit 55", 56: "bit 56",
        57: "DEVMAP", 58: "COW", 59: "PKEY_BIT0", 60: "PKEY_BIT1", 61: "PKEY_BIT2",
        62: "PKEY_BIT3", 63: "NX",
    }  # fmt: skip
    assert names(entry, "pmd")[7] == "PSE"
    assert names(entry, "pmd")[12] == "PAT_LARGE"
    assert names(entry, "pmd")[20] == "bit 20"
    assert 21 not in names(entry, "pmd")
    assert names(entry, "pud")[29] == "bit 29"
    assert 30 not in names(entry, "pud")
    assert 12 not in names(entry ^ bits.PSE, "pmd")


def test_names_by_rules():
    high = 1 << 57 | 1 << 58 | 1
    assert names(high, rules="saved_dirty") == {0: "PRESENT", 57: "DEVMAP", 58: "SAVED_DIRTY"}
    assert names(high, rules="base") == {0: "PRESENT", 57: "bit 57", 58: "DEVMAP"}
    assert names(high, config=False) == {0: "PRESENT", 57: "DEVMAP", 58: "SOFTW5"}


def test_bit_8_depends_on_present():
    assert names(1 << 8 | 1)[8] == "GLOBAL"
    assert names(1 << 8)[8] == "PROTNONE"


def test_swap_entry():
    offset, swap_type = 0x1234, 5
    entry = (swap_type << 59) | ((~offset & (2**50 - 1)) << 9) | 1 << 1 | 1 << 3
    decoded = bits.decode(entry)
    assert decoded.kind == bits.SWAP
    assert (decoded.swap_type, decoded.swap_offset) == (swap_type, offset)
    assert [bit.name for bit in decoded.bits] == ["SWP_SOFT_DIRTY", "SWP_EXCLUSIVE"]
    assert (decoded.state, decoded.frame, decoded.pkey) == (None, None, None)
    assert decoded.state_class.letters == ""


@pytest.mark.parametrize(
    ("entry", "level", "kind"),
    [
        (0, "pte", bits.NONE),
        (1 << 5 | 1 << 6, "pte", bits.NONE),
        (1, "pte", bits.LEAF),
        (1, "pmd", bits.TABLE),
        (1 | 1 << 7, "pmd", bits.LEAF),
        (1 | 1 << 7, "pud", bits.LEAF),
        (1 | 1 << 7, "pgd", bits.TABLE),
        (1 << 8, "pte", bits.NUMA),
        (1 << 8 | 1 << 7, "pmd", bits.NUMA),
        (1 << 7, "pmd", bits.INVALID),
        (1 << 7, "pte", bits.SWAP),
        (1 << 58, "pte", bits.SWAP),
    ],
)
def test_kind(entry, level, kind):
    assert bits.kind(entry, level) == kind
    assert bits.decode(entry, level).kind == kind


COW = 1 << 58


@pytest.mark.parametrize(
    ("flags", "switches", "letters"),
    [
        (COW, ("cow", True, True), "abd"),
        (COW, ("cow", False, True), "ab"),
        (COW, ("cow", False, False), ""),
        (COW, ("base", False, False), ""),
        (COW, ("saved_dirty", True, True), "abd"),
        (1 << 6, ("cow", True, True), "c"),
        (1 << 6, ("cow", False, True), "e"),
        (1 << 6, ("base", None, None), "e"),
        (1 << 6 | COW, ("base", None, None), "e"),
        (1 << 6 | COW, ("cow", True, True), ""),
        (1 << 1 | 1 << 6, ("cow", True, True), ""),
        (1 << 1 | COW, ("cow", True, True), ""),
        (0, ("cow", True, True), ""),
    ],
)
def test_states(flags, switches, letters):
    rules, shstk, config = switches
    found = bits.classify(flags | 1, "pte", rules, shstk, config)
    assert found.letters == letters
    assert all(f"({letter})" in found.text for letter in letters)
    assert bool(found.unknown) == bool(letters)


def test_states_are_those_of_present_leaves_only():
    assert bits.classify(1 | COW, "pmd").letters == ""
    assert bits.classify(1 | COW | 1 << 7, "pmd").letters == "abd"
    assert bits.classify(COW, "pte").letters == ""


def test_decode_as_dict():
    value = bits.decode(0x8C00_0001_2345_6025, "pte").as_dict()
    assert value["entry"] == "0x8c00000123456025"
    assert value["frame"] == 0x123456
    assert value["address"] == 0x123456000
    assert value["state"] == "(Write=0,Dirty=0,Cow=1)"
    assert value["may_be"] == ["a", "b", "d"]
    assert value["pkey"] == 1
    assert [bit["name"] for bit in value["bits"]] == [
        "PRESENT", "USER", "ACCESSED", "COW", "PKEY_BIT0", "NX",
    ]  # fmt: skip


def test_describe_bits():
    assert bits.describe_bits(0x63) == "PRESENT|RW|ACCESSED|DIRTY"
    assert bits.describe_bits(0) == "0"


def test_unknown_level_and_rules():
    with pytest.raises(ValueError, match="no such level: 'ptd'"):
        bits.decode(1, "ptd")
    with pytest.raises(ValueError, match="no such rules: 'cows'"):
        bits.decode(1, "pte", "cows")
