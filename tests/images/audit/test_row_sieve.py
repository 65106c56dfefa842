# SPDX-License-Identifier: GPL-2.0-only
"""Audits that ask only rows that matter find what asking every row finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgtable.images import Image, Walk, open_image, walking
from pgtable.images.audit import Audit, audit, audit_image, row_streams
from pgtable.images.synthetic import FULL_MIX, synthesize

DATA = Path(__file__).parents[2] / "data"
MIB = 1 << 20


def by_hand(walk: Walk) -> Walk:
    """Return the same walk in columns put together by hand, of which every row is asked."""
    made = Walk(walk.root, walk.va, walk.entry, np.empty(0, np.uint8), walk.tables)
    vars(made).update(walk.columns)
    made.reports, made.report_counts = list(walk.reports), dict(walk.report_counts)
    made.notes, made.kernel, made.kernel_given = walk.notes, walk.kernel, walk.kernel_given
    return made


def same(a: Audit, b: Audit) -> None:
    assert a.as_dict() == b.as_dict()
    for one, other in zip(a.findings, b.findings, strict=True):
        assert np.array_equal(one.va, other.va)
        assert np.array_equal(one.entry, other.entry)
        assert np.array_equal(one.level, other.level)


def check(image: Image, root: int | None, levels: int | None, **how: object) -> Audit:
    walk = image.walk(root, levels)
    expected = audit(by_hand(walk), image, **how)
    same(audit(walk, image, **how), expected)
    same(audit(walk, image, threads=3, **how), expected)
    start = image.root(root, levels)
    for threads in (1, 3):
        found, walked = audit_image(image, start, threads=threads, **how)
        same(found, expected)
        assert len(walked) == len(walk)
        assert walked.report_counts == walk.report_counts
    return expected


@pytest.mark.parametrize("name", ["k612-128", "k61-256"])
@pytest.mark.parametrize("how", [{}, {"physical_bits": 36}, {"memory": [(0, 64 * MIB)]}])
def test_real_dumps(name: str, how: dict) -> None:
    with open_image(DATA / f"{name}.vmcore.xz") as image:
        check(image, None, None, **how)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    levels=st.sampled_from([4, 5]),
    memory=st.sampled_from([8 * MIB, 64 * MIB, 1 << 36]),
    restricted=st.sampled_from([0.0, 0.3]),
    oddities=st.integers(0, 30),
    states=st.sets(st.sampled_from(sorted(FULL_MIX)), min_size=1),
    width=st.sampled_from([None, 32, 40, 52]),
    known=st.sampled_from([None, [(0, 4 * MIB)], [(0, 1 << 35), (1 << 36, 1 << 37)]]),
    rules=st.sampled_from([None, "base", "cow", "saved_dirty"]),
)
def test_machines_at_random(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    levels: int,
    memory: int,
    restricted: float,
    oddities: int,
    states: set[str],
    width: int | None,
    known: list | None,
    rules: str | None,
) -> None:
    machine = synthesize(
        20_000,
        seed=seed,
        levels=levels,
        mix=dict.fromkeys(states, 1.0),
        memory=memory,
        restricted=restricted,
        large=oddities,
        shared=oddities % 3,
        loops=oddities % 5,
        outside=oddities % 4,
        expected=False,
    )
    path = tmp_path_factory.mktemp("sieve") / "ram"
    machine.write_raw(path)
    with (
        pytest.MonkeyPatch.context() as patch,
        open_image(path, format="raw") as image,
    ):
        patch.setattr(walking, "RESERVED_FROM", 1)
        patch.setattr(row_streams, "_ROWS", 1000)
        check(image, machine.root, levels, physical_bits=width, memory=known, rules=rules)


def test_every_rule_of_level_1_is_met() -> None:
    """The machines above break rules whose frame matters, and rules whose frame does not."""
    machine = synthesize(40_000, seed=3, mix=FULL_MIX, memory=8 * MIB, large=9, expected=False)
    found = set()
    for memory in ([(0, 4 * MIB)], [(0, 1 << 40)]):
        image = _image(machine)
        audits = audit(image.walk(machine.root, 4), image, memory=memory, physical_bits=40)
        found |= {finding.rule.id for finding in audits.findings}
    assert {
        "user-accessible-kernel",
        "table-writable-by-user",
        "writable-alias-of-code",
        "outside-memory",
        "cow-in-kernel",
    } <= found


def _image(machine: object) -> Image:
    from pgtable.images.raw import open_raw  # noqa: PLC0415

    content = bytes(machine.base) + machine.pages.tobytes()
    return open_raw(Path("made"), memoryview(bytearray(content)), None)
