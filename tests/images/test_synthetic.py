# SPDX-License-Identifier: GPL-2.0-only
"""Tables that were made up: what was written down while making them is what a walk gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pgtable
from pgtable.images.synthetic import FULL_MIX, STATES, Synthetic, elf_header, synthesize, write

MACHINES = st.fixed_dictionaries(
    {
        "entries": st.integers(1, 6000),
        "seed": st.integers(0, 2**32),
        "levels": st.sampled_from([4, 5]),
        "mix": st.one_of(
            st.just(FULL_MIX), st.dictionaries(st.sampled_from(sorted(STATES)), st.floats(0.1, 9))
        ),
        "user": st.sampled_from([0.0, 0.3, 0.75, 1.0]),
        "sparse": st.booleans(),
        "scattered": st.booleans(),
        "large": st.integers(0, 20),
        "shared": st.integers(0, 20),
        "loops": st.integers(0, 8),
        "outside": st.integers(0, 8),
        "restricted": st.sampled_from([0.0, 0.2, 1.0]),
        "base": st.sampled_from([0, 1 << 12, 5 << 20]),
    }
)


def assert_walk_gives(walk: pgtable.images.Walk, machine: Synthetic) -> None:
    assert machine.expected is not None
    for name, column in machine.expected.items():
        found = getattr(walk, name)
        assert found.dtype == column.dtype, name
        assert np.array_equal(found, column), name
    assert walk.report_counts.get("loop", 0) == machine.loops
    assert walk.report_counts.get("outside", 0) == machine.outside
    extra = sum(report.count - 1 for report in walk.reports if report.kind == "shared")
    assert extra == machine.shared
    assert {"once", "limit"}.isdisjoint(walk.report_counts)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(machine=MACHINES, form=st.sampled_from(["raw", "elf", "records"]))
def test_the_same_entries_come_out(tmp_path: Path, machine: dict, form: str) -> None:
    made = synthesize(**machine)
    path = write(made, tmp_path / "image", form)
    with pgtable.open_image(path, format=form) as image:
        walk = image.walk(made.root, made.levels)
        census = image.census(made.root, made.levels)
    assert_walk_gives(walk, made)
    half = walk.va >> np.uint64(63)
    for number, name in enumerate(("user", "kernel")):
        for level in range(1, made.levels + 1):
            entries = walk.entry[(half == number) & (walk.level == level)]
            counted = census.get((name, level))
            expected = pgtable.census(entries).as_dict() if len(entries) else {}
            assert (counted.as_dict() if counted else {}) == expected


def test_every_state_and_oddity_occurs() -> None:
    made = synthesize(1 << 15, seed=5, mix=FULL_MIX, large=30, shared=40, loops=8, outside=8,
                      sparse=True)  # fmt: skip
    assert made.expected is not None
    assert min(made.shared, made.loops, made.outside) > 3
    assert set(made.expected["kind"].tolist()) == set(pgtable.images.Kind)
    leaf = made.expected["leaf"]
    assert set(made.expected["level"][leaf].tolist()) == {1, 2, 3}


def test_a_seed_is_a_machine() -> None:
    one, same, other = (synthesize(2000, seed=seed, mix=FULL_MIX) for seed in (1, 1, 2))
    assert np.array_equal(one.pages, same.pages)
    assert not np.array_equal(one.pages, other.pages)


def test_registers_and_segments_of_the_elf_core(tmp_path: Path) -> None:
    made = synthesize(9000, levels=5, seed=3)
    for segments, xnum in ((1, False), (7, False), (len(made.pages), True)):
        made.write_elf(tmp_path / "core", segments=segments, xnum=xnum)
        with pgtable.open_image(tmp_path / "core") as image:
            (registers,) = image.cpus
            assert (registers.root, registers.levels) == (made.root, 5)
            assert image.ranges.tolist() == [[made.base, made.base + 4096 * len(made.pages)]]
            assert_walk_gives(image.walk(), made)


def test_more_segments_than_16_bits_count(tmp_path: Path) -> None:
    made = synthesize(1 << 10, seed=4, scattered=False)
    tables = made.pages
    made.pages = np.broadcast_to(tables[:1], (70000, 512))
    # the file ends after the tables: the other segments are cut off
    header = elf_header(made, segments=70000)
    (tmp_path / "core").write_bytes(header + tables.tobytes())
    with pgtable.open_image(tmp_path / "core") as image:
        assert len(image.segments.table) == len(tables)
        missing = 4096 * (70000 - len(tables))
        assert image.notes == [
            f"the file is cut short: {missing} bytes of its segments are missing"
        ]
        assert_walk_gives(image.walk(), made)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"entries": 0}, "at least 1"),
        ({"entries": 1, "levels": 3}, "in 4 or 5"),
        ({"entries": 1, "mix": {"green": 1}}, "unknown states"),
    ],
)
def test_bad_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        synthesize(**arguments)
