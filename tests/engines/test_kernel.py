# SPDX-License-Identifier: GPL-2.0-only
"""Engines of a named kernel: what its version changes of the helpers, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

import pgtable
from pgtable import kernels
from pgtable.engines.switches import COMBINATIONS, VARIANTS

ALL = 2**64 - 1
FRAME = 0x000F_FFFF_FFFF_F000
PROTNONE, PRESENT, DIRTY, PSE = 1 << 8, 1, 1 << 6, 1 << 7
MAKES = [pgtable.native, pgtable.reference]
#: A kernel of each variant and of its switches.
OF_VARIANT = {
    ("base", False, "plain_frames"): "4.15.0-29-generic",
    ("base", False, "plain_frames_swp7"): "3.10.0-862.el7.x86_64",
    ("saved_dirty", True, "drops_dirty"): "6.8",
    ("saved_dirty", False, "drops_dirty"): "6.12.107",
}
#: Helpers that go through a frame: they alone may differ where frames are not inverted.
BY_FRAME = {
    "pte_pfn", "pmd_pfn", "pud_pfn", "pfn_pte", "pfn_pmd", "pfn_pud", "pmd_mkinvalid",
    "pte_modify", "pmd_modify",
}  # fmt: skip


def engines(switches, variant):
    release = OF_VARIANT[switches.rules, switches.shstk, variant]
    return [make(shstk=switches.shstk, kernel=release) for make in MAKES]


@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize(
    ("release", "rules", "variant"),
    [
        ("3.10.0-862.el7.x86_64", "base", "plain_frames_swp7"),
        ("3.10.0-862.11.6.el7.x86_64", "base", ""),
        ("4.13.16", "base", "plain_frames_swp7"),
        ("4.14.62", "base", "plain_frames"),
        ("4.14.63", "base", ""),
        ("4.15.0-29-generic", "base", "plain_frames"),
        ("4.19", "base", ""),
        ("5.14.0-427.el9.x86_64", "base", ""),
        ("6.5", "base", ""),
        ("6.6", "saved_dirty", "drops_dirty"),
        ("6.8.0-45-generic", "saved_dirty", "drops_dirty"),
        ("6.12.107", "saved_dirty", "drops_dirty"),
        ("6.12.111", "saved_dirty", ""),
        ("7.3", "saved_dirty", ""),
        ("9.1", "saved_dirty", ""),
    ],
)
def test_the_version_settles_rules_and_variant(make, release, rules, variant):
    engine = make(kernel=release)
    assert (engine.rules, engine.variant) == (rules, variant)
    assert engine.kernel.release == release
    assert release in engine.name
    assert make(kernel=kernels.find(release)) is engine


@pytest.mark.parametrize("make", MAKES)
def test_pmd_modify_drops_dirty_until_the_fix(make):
    entry, newprot = 0x80000003518008E7, 0x8000000000000025
    for release in ("6.6", "6.8", "6.12.107", "7.3-rc2"):
        assert make(kernel=release).pmd_modify(entry, newprot) == 0x80000003518008A5
    for release in ("6.6.158", "6.12.111", "7.3-rc3", "7.3"):
        kept = make(kernel=release).pmd_modify(entry, newprot)
        assert kept == 0x84000003518008A5  # read-only: in SavedDirty
        assert kept == make("saved_dirty").pmd_modify(entry, newprot)
    # only the pmd is concerned
    assert make(kernel="6.8").pte_modify(0x867, newprot) == make("saved_dirty").pte_modify(
        0x867, newprot
    )


@pytest.mark.parametrize("make", MAKES)
def test_frames_of_protnone_entries_before_l1tf(make):
    old, new = make(kernel="4.15.0-29-generic"), make(kernel="4.15.0-32-generic")
    protnone = 0x8000_0002_E039_6160  # as such a kernel prints it
    assert old.pte_pfn(protnone) == 0x2E0396
    assert new.pte_pfn(protnone) == 0xFFFFD1FC69
    assert old.pte_modify(0x8000_0002_E039_6067, 0x8000_0000_0000_0120) == 0x8000_0002_E039_6160
    assert new.pte_modify(0x2_E039_6067, 0x120) == 0x000F_FFFD_1FC6_9160
    assert old.pfn_pte(0x2E0396, PROTNONE) == 0x2E039_6100
    assert old.pmd_pfn(0x2_E020_01E0) == 0x2E0200
    assert old.pmd_mkinvalid(0x2_E020_00E7) == 0x2_E020_00E6
    assert new.pmd_mkinvalid(0x2_E020_00E7) == 0x000F_FFFD_1FC0_00E6


@pytest.mark.parametrize("make", MAKES)
def test_soft_dirty_bit_of_swap_entries(make):
    assert make(kernel="4.13").pte_swp_mksoft_dirty(0) == 1 << 7
    assert make(kernel="4.14").pte_swp_mksoft_dirty(0) == 1 << 1
    assert make(kernel="6.8").pte_swp_mksoft_dirty(0) == 1 << 1


@pytest.mark.parametrize(("switches", "variant"), VARIANTS, ids=str)
def test_native_equals_reference_over_every_combination(switches, variant, low_bit_entries):
    native, reference = engines(switches, variant)
    assert (native.variant, reference.variant) == (variant, variant)
    usable = [isa for isa, can in pgtable.isas().items() if can]
    rng = np.random.default_rng(4)
    frames = rng.integers(0, 1 << 40, low_bit_entries.size, np.uint64) << np.uint64(12)
    for entries in (low_bit_entries, low_bit_entries | frames):
        others = rng.permutation(entries)
        for isa in usable:
            for forms in (True, False):
                ours = pgtable.native(
                    shstk=switches.shstk, kernel=native.kernel, isa=isa, forms=forms
                )
                _same(ours, reference, entries, others)


def _same(ours, reference, entries, others):
    for name, helper in ours.helpers.items():
        arguments = [()]
        if helper.argument:
            arguments = [(others,), (0x8000000000000025,), (0x100,)]
        for argument in arguments:
            got, expected = helper(entries, *argument), reference.helpers[name](entries, *argument)
            assert np.array_equal(got, expected), (ours.name, ours.isa, name, argument)


@pytest.mark.parametrize(("switches", "variant"), VARIANTS, ids=str)
def test_check_finds_no_difference(switches, variant):
    native, reference = engines(switches, variant)
    assert list(pgtable.check(native, random_entries=10_000)) == []
    assert list(pgtable.check(native, reference, random_entries=10_000)) == []


@pytest.mark.parametrize(("switches", "variant"), VARIANTS, ids=str)
def test_only_the_named_helpers_differ_from_the_newest(switches, variant, low_bit_entries):
    native, _ = engines(switches, variant)
    newest = pgtable.native(*switches)
    assert list(native.helpers) == list(newest.helpers)
    differing = set()
    for name, helper in native.helpers.items():
        for argument in ((0x8000000000000025,), (0x100,)) if helper.argument else ((),):
            same = np.array_equal(
                helper(low_bit_entries, *argument), newest.helpers[name](low_bit_entries, *argument)
            )
            differing |= set() if same else {name}
    swap = {name for name in native.helpers if "_swp_" in name and "soft_dirty" in name}
    expected = {
        "drops_dirty": {"pmd_modify"},
        "plain_frames": BY_FRAME,
        "plain_frames_swp7": BY_FRAME | swap,
    }
    assert differing == expected[variant]


@pytest.mark.parametrize("make", MAKES)
def test_the_fault_is_dirty_alone_and_nothing_else(make, low_bit_entries):
    fixed, faulty = make("saved_dirty"), make(kernel="6.8")
    for newprot in (0, 0x25, 0x8000000000000027, 0x1E7, ALL):
        got = faulty.pmd_modify(low_bit_entries, newprot)
        without = low_bit_entries & np.uint64(ALL ^ DIRTY)
        crosses = (low_bit_entries == DIRTY) & True  # alone: its frame counts as inverted
        assert np.array_equal(got[~crosses], fixed.pmd_modify(without, newprot & ~DIRTY)[~crosses])


@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"kernel": "soon"}, "no kernel release in 'soon'; write one as uname -r prints it"),
        ({"kernel": ""}, "no kernel release in ''"),
        ({"kernel": "2.4.20"}, "kernels before 2.6.32 laid entries out differently; those from"),
        ({"kernel": "4.21"}, "there is no such Linux; 4.20 was the last of 4.x"),
        ({"kernel": "4.15", "rules": "cow"}, "rules cow are not those of Linux 4.15"),
        ({"kernel": "4.15", "rules": "cows"}, "no such rules: 'cows'"),
        ({"kernel": "6.1", "shstk": True}, "no such combination"),
    ],
)
def test_a_kernel_that_cannot_be_is_one_line(make, asked, says):
    with pytest.raises(ValueError, match=says.replace("(", r"\(")) as error:
        make(**asked)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("make", MAKES)
def test_arguments_override_the_version(make):
    assert make("saved_dirty", kernel="5.14.0-427.el9.x86_64").rules == "saved_dirty"
    assert make(rules="cow", kernel="6.1").rules == "cow"
    assert make() is make("cow")
    assert make(kernel=None) is make("cow")


def test_every_variant_is_compiled_for_every_instruction_set():
    for switches, variant in VARIANTS:
        assert switches in COMBINATIONS
        release = OF_VARIANT[switches.rules, switches.shstk, variant]
        for isa, usable in pgtable.isas().items():
            if usable:
                engine = pgtable.native(shstk=switches.shstk, kernel=release, isa=isa)
                assert (engine.variant, engine.isa) == (variant, isa)
