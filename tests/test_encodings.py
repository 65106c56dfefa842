# SPDX-License-Identifier: GPL-2.0-only
"""What decode calls entries that are not present, kernel by kernel."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgtable import bits, encodings, kernels
from pgtable.cli import main
from pgtable.images.reference_walk import _absent as reference_absent
from pgtable.images.walk import KIND_NAMES


def entry_of(release, name, offset):
    kernel = kernels.find(release)
    (number,) = [n for n, what in kernel.types.items() if what == name]
    return kernel.swap.entry(number, offset), kernel


@pytest.mark.parametrize("release", ["3.10", "4.13", "4.14.63", "5.14", "5.19", "6.2", "6.15"])
def test_every_special_type_has_its_name(release):
    kernel = kernels.find(release)
    for number, name in kernel.types.items():
        found = encodings.absent(kernel.swap.entry(number, 1), "pte", kernel)
        assert found.name == ("uffd_wp" if name == "marker" else name)
        assert found.type == number
        assert found.kind == (bits.MARKER if name == "marker" else bits.MIGRATION)


@pytest.mark.parametrize("release", ["2.6.32", "3.16", "4.1", "4.8", "4.14.63", "6.8", "6.15"])
@given(number=st.integers(0, 21), offset=st.integers(0, 2**40))
def test_swap_areas_keep_type_and_offset(release, number, offset):
    kernel = kernels.find(release)
    entry = kernel.swap.entry(number, offset)
    if not entry & ~0x60:
        return  # is an empty entry
    found = bits.decode(entry, kernel=kernel)
    assert (found.kind, found.swap_type, found.swap_offset) == (bits.SWAP, number, offset)
    assert (found.frame, found.state, found.bits) == (None, None, ())


def test_a_marker_has_one_name_with_and_without_a_kernel():
    for kernel in (None, kernels.find("6.12.117"), kernels.find("6.18")):
        found = bits.decode(0xFFFFFFFFFFFFFC00, kernel=kernel)
        assert (found.kind, found.special) == ("marker", "uffd_wp")
        assert bool(found.notes) == (kernel is None)


def test_markers_that_a_kernel_does_not_have():
    entry, kernel = entry_of("6.12.117", "marker", 4)
    assert encodings.absent(entry, "pte", kernel).name == "unknown 0x4"
    assert encodings.absent(entry, "pte", kernels.find("6.13")).name == "guard"


def test_migration_entries_keep_young_and_dirty_above_the_frame():
    entry, kernel = entry_of("6.12.117", "migration_write", 0x1234 | 1 << 34 | 1 << 35)
    found = bits.decode(entry, kernel=kernel)
    assert (found.frame, found.special) == (0x1234, "migration_write")
    assert found.kind_text.endswith("(young, dirty before)")
    entry, kernel = entry_of("6.12.117", "migration_read", 0xFF_0000_1234 | 1 << 40)
    assert bits.decode(entry, kernel=kernel).frame == 0xFF_0000_1234
    entry, kernel = entry_of("6.0", "migration_write", 0x1234)
    assert bits.decode(entry, kernel=kernel).kind_text == "a page under migration, writable"


@pytest.mark.parametrize("release", [None, "4.15.0-29-generic", "6.8"])
def test_the_kernel_half_has_no_swap(release):
    kernel = None if release is None else kernels.find(release)
    found = bits.decode(0xFFFFFFFFFFFFFC00, kernel=kernel, va=0xFFFF888000000000)
    assert (found.kind, found.swap_type, found.special) == ("other", None, "")
    assert "no swap entries" in found.kind_text


@pytest.mark.parametrize(
    ("entry", "address"), [(0x2E0396009E2, 0x2E039600000), (0x12C4D6001E2, 0x12C4D600000)]
)
def test_frames_of_prot_none_entries_before_the_change(entry, address):
    old, new = kernels.find("4.15.0-29-generic"), kernels.find("4.15.0-32-generic")
    assert bits.decode(entry, "pmd", kernel=old).frame << 12 == address
    inverted = (~entry & bits.LEAF_FRAME["pmd"]) >> 12
    assert bits.decode(entry, "pmd", kernel=new).frame == inverted
    guessed = bits.decode(entry, "pmd")
    assert guessed.frame << 12 == address
    assert "not inverted" in guessed.notes[0]
    kept = inverted << 12 | entry & 0xFFF
    assert bits.decode(kept, "pmd").frame << 12 == address
    assert bits.decode(kept, "pmd").notes == ()


def test_nonlinear_file_pages_are_no_swap_before_4_0():
    found = bits.decode(0x1240, kernel=kernels.find("3.2"))
    assert (found.kind, found.swap_offset) == ("file", 1)
    assert bits.decode(0x40, kernel=kernels.find("3.19")).kind == "file"
    assert bits.decode(0x40, kernel=kernels.find("4.0")).kind == "none"


def test_numa_hints_of_3_16_are_no_swap():
    assert bits.decode(0x12345A64, kernel=kernels.find("3.16")).kind == "protnone"
    assert bits.decode(0x12345A64, kernel=kernels.find("3.16")).frame == 0x12345
    assert bits.decode(0x12345A24, kernel=kernels.find("4.1")).kind == "swap"


def test_bits_without_a_meaning_in_a_kernel():
    entry = 1 << 10 | 1 << 11 | 1 << 57 | 1 << 58 | 1
    named = {b.number: b.name for b in bits.decode(entry, kernel=kernels.find("3.10")).bits}
    assert named == {0: "PRESENT", 10: "SOFTW2", 11: "SOFTW3", 57: "bit 57", 58: "SOFTW5"}
    named = {b.number: b.name for b in bits.decode(entry, kernel=kernels.find("5.10")).bits}
    assert named == {0: "PRESENT", 10: "UFFD_WP", 11: "SOFT_DIRTY", 57: "bit 57", 58: "DEVMAP"}
    named = {b.number: b.name for b in bits.decode(entry, kernel=kernels.find("6.17")).bits}
    assert named[57] == "SOFTW4"


def test_command_line(capsys):
    assert main(["decode", "--kernel", "4.1.0", "fd20b000"]) == 0
    out = capsys.readouterr().out
    assert "swap    type 0, offset 0x7e9058" in out
    assert "rules base, Linux 4.1.0" in out
    assert main(["decode", "--swap-layout", "bit9", "fd20b000"]) == 0
    assert "offset 0x7e9058" in capsys.readouterr().out
    assert main(["decode", "--kernel", "2.4.20", "fd20b000"]) == 2
    assert "before 2.6.32" in capsys.readouterr().err
    assert main(["decode", "--kernel", "6.12.109", "0x867"]) == 0
    assert "6.12.111 has it" in capsys.readouterr().out


RELEASES = ["2.6.32", "3.10", "3.16", "4.1", "4.8", "4.14.63", "5.14", "5.19", "6.2", "6.8", "6.18"]
LEVELS = ("", "pte", "pmd", "pud", "p4d", "pgd")


@pytest.mark.parametrize("release", RELEASES)
def test_arrays_are_named_as_single_entries(release):
    kernel = kernels.find(release)
    rng = np.random.default_rng(12)
    entries = rng.integers(0, 1 << 64, 4000, np.uint64) & ~np.uint64(1)
    some = rng.integers(0, 3, entries.size)
    entries[some == 0] &= ~np.uint64(0x1FF)
    entries[some == 1] |= np.uint64(0x1F << 59)
    entries = entries[entries != 0]
    levels = rng.integers(1, 6, entries.size)
    halves = rng.integers(0, 4, entries.size) == 0
    rows = zip(entries.tolist(), levels.tolist(), halves.tolist(), strict=True)
    expected = [encodings.absent(e, LEVELS[level], kernel, half).kind for e, level, half in rows]
    assert encodings.kinds_of(entries, levels, halves, kernel).tolist() == expected
    assert len(set(expected)) >= 5


def test_without_a_kernel_the_kinds_are_those_of_a_walk():
    rng = np.random.default_rng(7)
    words = rng.integers(0, 1 << 64, 512, np.uint64) & ~np.uint64(0x181)
    words[::2] &= ~np.uint64(0xF0)
    words[::3] = ~np.uint64(0) << np.uint64(59) | np.uint64((1 << 59) - (8 << 9))
    words[1::3] |= np.uint64(0xB << 60)
    for level in (1, 2, 3):
        for word in words.tolist():
            kind, _ = reference_absent(0, word, level)
            found = encodings.absent(word, LEVELS[level])
            assert found.kind == KIND_NAMES[kind], (hex(word), level)


def test_no_kernel_no_certainty():
    newest = kernels.of_rules("saved_dirty")
    found = encodings.absent(newest.swap.entry(22, 0x1234), "pte")
    assert (found.kind, found.name) == ("migration", "")
    assert found.text.endswith("or in swap area 22")
    assert "--kernel" in found.assumed
    known = encodings.absent(newest.swap.entry(22, 0x1234), "pte", kernels.find("6.15"))
    assert (known.kind, known.assumed) == ("swap", "")
    known = encodings.absent(newest.swap.entry(22, 0x1234), "pte", kernels.find("5.19"))
    assert (known.kind, known.name, known.frame) == ("migration", "hwpoison", 0x1234)


def test_swap_areas_are_of_small_pages_alone():
    kernel = kernels.find("6.8")
    entry = kernel.swap.entry(0, 0x1234)
    assert encodings.absent(entry, "pte", kernel).kind == "swap"
    assert encodings.absent(entry, "pmd", kernel).kind == "other"
    assert encodings.absent(entry | 1 << 5, "pte", kernel).kind == "other"
