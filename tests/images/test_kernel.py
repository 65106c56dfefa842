# SPDX-License-Identifier: GPL-2.0-only
"""Which kernel made an image: kinds and frames of what is not present follow it."""

from __future__ import annotations

import numpy as np
import pytest

import pgtable
from pgtable import bits, encodings, kernels
from pgtable.images.walk import KIND_NAMES, Kind

ROOT, PAGE = 0x1000, 0x1000
TABLE = 0x67
LEVELS = ("", "pte", "pmd", "pud", "p4d", "pgd")
PROT_NONE = 0x2_E039_6160


def entries_of(kernel) -> list[int]:
    """One entry of every type, a marker of each kind, and a page without access."""
    found = [kernel.swap.entry(number, 0x1234) for number in range(1, 32)]
    found += [kernel.swap.entry(31, bit) for bit in (1, 2, 4)]
    return [*found, PROT_NONE]


@pytest.fixture
def image(tmp_path):
    def make(entries):
        memory = np.zeros((8, 512), np.uint64)
        for page, below in ((1, 2), (2, 3), (3, 4)):
            memory[page, 0] = below * PAGE | TABLE
        memory[1, 511], memory[5, 511], memory[6, 511] = (
            5 * PAGE | TABLE, 6 * PAGE | TABLE, 4 * PAGE | TABLE,
        )  # fmt: skip
        memory[4, : len(entries)] = entries
        memory[4, 511] = 0x7000 | 0x67
        memory.tofile(tmp_path / "memory")
        return pgtable.open_image(tmp_path / "memory", format="raw")

    return make


RELEASES = ["3.10", "4.1", "4.8", "4.15.0-29-generic", "5.14", "5.19", "6.2", "6.8", "6.18"]


@pytest.mark.parametrize("release", RELEASES)
def test_kinds_and_frames_are_those_of_decode(image, release):
    kernel = kernels.find(release)
    with image(entries_of(kernel)) as opened:
        walk = opened.walk(ROOT, 4, kernel=release)
    assert walk.kernel == kernel
    assert walk.kernel_given
    absent = np.flatnonzero(walk.entry & np.uint64(1) == 0)
    assert len(absent) == 2 * len(entries_of(kernel))
    for row in absent.tolist():
        entry, va = int(walk.entry[row]), int(walk.va[row])
        decoded = bits.decode(entry, "pte", kernel=kernel, va=va)
        kind = KIND_NAMES[walk.kind[row]]
        assert kind.replace("prot_none", "protnone") == decoded.kind
        if decoded.kind in (bits.MIGRATION, bits.NUMA):
            assert int(walk.pa[row]) == decoded.frame << 12
        if decoded.swap_type is not None:
            assert int(walk.swap_type[row]) == decoded.swap_type
            assert int(walk.swap_offset[row]) == decoded.swap_offset
    kernel_half = walk.va[absent] >> np.uint64(63) != 0
    assert set(walk.kind[absent][kernel_half].tolist()) == {Kind.OTHER, Kind.PROT_NONE}
    assert not walk.leaf[absent].any()


def test_types_that_changed(image):
    entry = kernels.find("6.18").swap.entry(24, 0x1234)
    expected = {
        "5.14": Kind.SWAP,
        "5.19": Kind.MIGRATION,
        "6.8": Kind.MIGRATION,
        None: Kind.MIGRATION,
    }
    with image([entry]) as opened:
        for release, kind in expected.items():
            assert opened.walk(ROOT, 4, kernel=release).kind[3] == kind
        assert opened.walk(ROOT, 4).kernel is None


def test_frames_of_pages_without_access(image):
    with image([PROT_NONE]) as opened:
        before = opened.walk(ROOT, 4, kernel="4.15.0-29-generic")
        after = opened.walk(ROOT, 4, kernel="4.15.0-32-generic")
        unknown = opened.walk(ROOT, 4)
    row = int(np.flatnonzero(before.entry == PROT_NONE)[0])
    assert before.pa[row] == 0x2_E039_6000
    assert after.pa[row] == unknown.pa[row] == ~0x2_E039_6000 & bits.SMALL_FRAME


@pytest.mark.parametrize(
    ("dump", "release"),
    [("k612-128", "6.12.117+deb12-cloud-amd64"), ("k61-256", "6.1.0-56-cloud-amd64")],
)
def test_vmcoreinfo_names_the_kernel(dump, release):
    with pgtable.open_image(f"tests/data/{dump}.vmcore.xz") as opened:
        walk = opened.walk()
        other = opened.walk(kernel="6.8")
    assert (walk.kernel.release, walk.kernel.origin) == (release, "OSRELEASE of VMCOREINFO")
    assert not walk.kernel_given
    assert (other.kernel.release, other.kernel_given) == ("6.8", True)
    absent = walk.entry & np.uint64(1) == 0
    for row in np.flatnonzero(absent).tolist():
        level, va = LEVELS[walk.level[row]], int(walk.va[row])
        found = encodings.absent(int(walk.entry[row]), level, walk.kernel, va >> 63 == 1)
        kind = KIND_NAMES[walk.kind[row]].replace("prot_none", "protnone")
        assert kind == ("other" if found.kind == "invalid" else found.kind)


def test_a_kernel_that_cannot_be_read_is_refused(image):
    with image([]) as opened, pytest.raises(ValueError, match="write one as uname -r prints it"):
        opened.walk(ROOT, 4, kernel="soon")
