# SPDX-License-Identifier: GPL-2.0-only
"""Which kernel: every date, every layout."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgtable import kernels


@pytest.mark.parametrize(
    ("release", "layout", "inverted"),
    [
        ("2.6.32-431.el6.x86_64", "bit9", False),
        ("3.10.0-862.9.1.el7.x86_64", "bit9", False),
        ("3.10.0-862.11.6.el7.x86_64", "inverted", True),
        ("3.13.0-154-generic", "bit9", False),
        ("3.15.10", "bit9", False),
        ("3.16.57", "bit10", False),
        ("3.16.58", "inverted", True),
        ("3.19.0", "bit10", False),
        ("4.0.0", "bit9", False),
        ("4.1.0-generic", "bit9", False),
        ("4.4.147", "bit9", False),
        ("4.4.148", "inverted", True),
        ("4.7.10", "bit9", False),
        ("4.8-rc1", "bit14", False),
        ("4.9.119", "bit14", False),
        ("4.9.120", "inverted", True),
        ("4.9.0-7-amd64", "bit14", False),
        ("4.9.0-8-amd64", "inverted", True),
        ("4.14.62", "bit14", False),
        ("4.14.63", "inverted", True),
        ("4.15.0-29-generic", "bit14", False),
        ("4.15.0-32-generic", "inverted", True),
        ("4.17.14", "bit14", False),
        ("4.17.15", "inverted", True),
        ("4.18.0", "bit14", False),
        ("4.18.1", "inverted", True),
        ("4.19-rc1", "inverted", True),
        ("7.2.0", "inverted", True),
    ],
)
def test_swap_layout_and_inversion_by_release(release, layout, inverted):
    kernel = kernels.find(release)
    assert (kernel.swap.name, kernel.inverted) == (layout, inverted)


@pytest.mark.parametrize(
    ("release", "rules", "drops"),
    [
        ("6.5.13", "base", False),
        ("6.6-rc1", "saved_dirty", True),
        ("6.8", "saved_dirty", True),
        ("6.12.107+deb13-amd64", "saved_dirty", True),
        ("6.12.111+deb13-amd64", "saved_dirty", False),
        ("6.6.158", "saved_dirty", False),
        ("7.3.0-rc2", "saved_dirty", True),
        ("7.3.0-rc3", "saved_dirty", False),
        ("7.3", "saved_dirty", False),
    ],
)
def test_rules_and_pmd_modify_by_release(release, rules, drops):
    kernel = kernels.find(release)
    assert (kernel.rules, kernel.pmd_modify_drops_dirty) == (rules, drops)


@pytest.mark.parametrize(
    ("release", "lowest", "names"),
    [
        ("3.10", 29, "hwpoison migration_read migration_write"),
        ("4.14", 27, "hwpoison migration_read migration_write device_write device_read"),
        (
            "5.14",
            25,
            "hwpoison migration_read migration_write device_write device_read"
            " device_exclusive_write device_exclusive_read",
        ),
        (
            "5.19",
            22,
            "hwpoison migration_read migration_read_exclusive migration_write device_write"
            " device_read device_exclusive_write device_exclusive_read marker swapin_error",
        ),
        (
            "6.2",
            23,
            "hwpoison migration_read migration_read_exclusive migration_write device_write"
            " device_read device_exclusive_write device_exclusive_read marker",
        ),
        (
            "6.15",
            24,
            "hwpoison migration_read migration_read_exclusive migration_write device_write"
            " device_read device_exclusive marker",
        ),
    ],
)
def test_swap_types_by_release(release, lowest, names):
    assert kernels.find(release).types == dict(enumerate(names.split(), lowest))


@pytest.mark.parametrize(
    ("release", "bits"),
    [
        ("3.10", {}),
        ("3.11", {7: "SWP_SOFT_DIRTY"}),
        ("4.13", {7: "SWP_SOFT_DIRTY"}),
        ("4.14", {1: "SWP_SOFT_DIRTY"}),
        ("4.9.120", {1: "SWP_SOFT_DIRTY"}),
        ("5.7", {1: "SWP_SOFT_DIRTY", 2: "SWP_UFFD_WP"}),
        ("5.19", {1: "SWP_SOFT_DIRTY", 2: "SWP_UFFD_WP", 3: "SWP_EXCLUSIVE"}),
    ],
)
def test_flags_of_swap_entries_by_release(release, bits):
    assert kernels.find(release).swap_bits == bits


@pytest.mark.parametrize(
    ("release", "bit"), [("4.4", None), ("4.5", 58), ("6.5", 58), ("6.6", 57), ("6.17", None)]
)
def test_devmap_by_release(release, bit):
    assert kernels.find(release).devmap == bit


@pytest.mark.parametrize(
    ("release", "markers"),
    [
        ("5.18", {}),
        ("6.1", {0: "uffd_wp"}),
        ("6.2", {0: "uffd_wp", 1: "poisoned"}),
        ("6.13", {0: "uffd_wp", 1: "poisoned", 2: "guard"}),
    ],
)
def test_markers_by_release(release, markers):
    assert kernels.find(release).markers == markers


@pytest.mark.parametrize(
    "text",
    [
        "4.15.0-29-generic",
        "Linux version 4.15.0-29-generic (buildd@lgw01) (gcc version 7.3.0) #31-Ubuntu SMP",
        "[    0.000000] Linux version 4.15.0-29-generic (buildd@10.2.0)",
        "OSRELEASE=4.15.0-29-generic",
        "     RELEASE: 4.15.0-29-generic",
        "Linux host 4.15.0-29-generic #31-Ubuntu SMP x86_64 GNU/Linux",
    ],
)
def test_a_release_is_found_in_any_text(text):
    kernel = kernels.find(text)
    assert (kernel.release, kernel.series, kernel.stable) == ("4.15.0-29-generic", (4, 15), 0)


@pytest.mark.parametrize("text", ["", "linux", "generic", "7", "2.6.31", "2.4.20", "x6.8"])
def test_what_is_no_release_is_refused(text):
    with pytest.raises(ValueError, match=r"release|2\.6\.32"):
        kernels.find(text)


@pytest.mark.parametrize(
    ("release", "said"),
    [
        ("4.15.0-29-generic", ("is like Linux 4.15; distributions",)),
        ("6.12.107", ()),
        ("6.12.111", ()),
        ("6.12.109", ("6.12.111 has it",)),
        ("4.14", ("4.14.63 has it",)),
        ("4.4.0-1044-aws", ("distributions",)),
        ("3.19.8", ("CONFIG_NUMA_BALANCING",)),
    ],
)
def test_what_is_assumed_is_said(release, said):
    assumed = kernels.find(release).assumed
    assert len(assumed) == len(said)
    for text, part in zip(assumed, said, strict=True):
        assert text.startswith("assumed: ")
        assert part in text


def test_arguments_override_the_version():
    kernel = kernels.find("4.15.0-29-generic", rules="saved_dirty", swap_layout="inverted")
    assert (kernel.rules, kernel.swap.name) == ("saved_dirty", "inverted")
    with pytest.raises(ValueError, match="these exist: bit9"):
        kernels.find("6.8", swap_layout="other")


@given(st.sampled_from(list(kernels.SWAP_LAYOUTS)), st.integers(0, 31), st.integers(0, 2**55 - 1))
def test_type_and_offset_round_trip(name, number, offset):
    layout = kernels.SWAP_LAYOUTS[name]
    offset &= (1 << layout.offset_bits) - 1
    entry = layout.entry(number, offset)
    assert 0 <= entry < 2**64
    assert not entry & 1, "a swap entry is not present"
    assert (layout.type(entry), layout.offset(entry)) == (number, offset)
    array = np.array([entry], np.uint64)
    assert (int(layout.type(array)[0]), int(layout.offset(array)[0])) == (number, offset)


@pytest.mark.parametrize("name", kernels.SWAP_LAYOUTS)
def test_every_type_and_every_bit_of_the_offset(name):
    layout = kernels.SWAP_LAYOUTS[name]
    for number in range(32):
        for bit in range(layout.offset_bits):
            entry = layout.entry(number, 1 << bit)
            assert (layout.type(entry), layout.offset(entry)) == (number, 1 << bit)
            assert not entry & 0x101, "neither PRESENT nor PROTNONE"
    with pytest.raises(ValueError, match="offsets of"):
        layout.entry(0, 1 << layout.offset_bits)


def test_entries_of_real_logs():
    """Celery's of 4.1.0, whose log says ``Bad swap file entry 007e9058``."""
    kernel = kernels.find("4.1.0-generic")
    assert kernel.swap.offset(0xFD20B000) == 0x7E9058
    assert kernel.swap.type(0xFD20B000) == 0
    marker = kernels.find("6.12.117")
    assert marker.types[marker.swap.type(0xFFFFFFFFFFFFFC00)] == "marker"
    assert marker.markers[marker.swap.offset(0xFFFFFFFFFFFFFC00).bit_length() - 1] == "uffd_wp"


def test_rules_without_a_version_stand_for_the_newest_kernel():
    assert kernels.of_rules("base").types[31] == "marker"
    assert not kernels.of_rules("saved_dirty").pmd_modify_drops_dirty
    assert kernels.of_rules("cow").swap.name == "inverted"


def test_the_documentation_has_every_change_and_its_source():
    page = Path("docs/kernels.md").read_text()
    for name, change in kernels.CHANGES.items():
        (row,) = [line for line in page.splitlines() if f"| {change.text} |" in line]
        assert change.source in row, name
        assert row.startswith("| " + ".".join(map(str, change.since))), name
        for series, first in change.stable.items():
            assert f"{'.'.join(map(str, series))}.{first}" in row, name
        for _, first_package, source in change.distributions:
            assert f"| {'.'.join(map(str, first_package))} | {source} |" in page
