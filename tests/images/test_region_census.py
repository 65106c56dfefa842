# SPDX-License-Identifier: GPL-2.0-only
"""Censuses by place, against the counts that an independent walker recorded."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from pgtable import bits
from pgtable.images import open_image
from pgtable.images.region_census import LEVEL_NAMES, Region, by_region, census_of_text, state_text
from pgtable.images.text import parse

DATA = Path(__file__).parents[1] / "data"
RULES = {"k612-128": "saved_dirty", "k61-256": "base"}
#: How the recorded counts name the bits.
NAMES = {
    1: "RW",
    2: "US",
    3: "PWT",
    4: "PCD",
    5: "A",
    6: "D",
    7: "PS_PAT",
    8: "G",
    9: "SW1_special",
    10: "SW2_uffdwp",
    11: "SW3_softdirty",
    58: "SW5_saveddirty_58",
    59: "pk59",
    60: "pk60",
    61: "pk61",
    62: "pk62",
    63: "NX",
}


def recorded(name: str, cpu: int) -> dict[str, dict[str, Any]]:
    return json.loads((DATA / f"{name}.json").read_text())["cpus"][cpu]["hist"]


def regions_of(name: str, cpu: int, rules: str) -> dict[tuple[str, str], Region]:
    with open_image(DATA / f"{name}.vmcore.xz") as image:
        found = by_region(image.census(cpu=cpu), rules)
    return {(region.half, region.level): region for region in found}


@pytest.mark.parametrize("cpu", [0, 1])
@pytest.mark.parametrize("name", RULES)
def test_every_recorded_count(name: str, cpu: int) -> None:
    regions = regions_of(name, cpu, RULES[name])
    seen = 0
    for key, counts in recorded(name, cpu).items():
        half, what, level = key.split()
        region = regions[half, LEVEL_NAMES[int(level[-1])]]
        if what == "table":
            assert region.kinds[bits.TABLE] == counts["n"]
        elif what == "np":
            apart = region.leaves + region.kinds.get(bits.TABLE, 0)
            assert region.entries - apart == counts["n"]
        else:
            check_leaves(region, counts, RULES[name])
        seen += counts["n"]
    assert seen == sum(region.entries for region in regions.values())


def check_leaves(region: Region, counts: dict[str, Any], rules: str) -> None:
    assert region.leaves == counts["n"]
    states: dict[str, int] = {}
    for text, n in counts["W,D,bit58"].items():
        write, dirty, cow = (part.split("=")[1] for part in text.split())
        state = f"(Write={write},Dirty={dirty},Cow={cow if rules != 'base' else 0})"
        states[state] = states.get(state, 0) + n
    assert region.states == states
    words = {f"0x{word}": n for word, n in counts["distinct_flag_words"].items()}
    assert region.flag_sets == words
    assert list(region.flag_sets.values()) == sorted(words.values(), reverse=True)
    by_bit = {int(flag.split()[0]): n for flag, n in region.flags.items()}
    assert by_bit == {
        0: counts["n"],
        **{bit: counts[name] for bit, name in NAMES.items() if name in counts},
    }


def test_states_say_what_they_may_be_and_what_cannot_be_known() -> None:
    user = regions_of("k612-128", 0, "saved_dirty")["user", "pte"]
    assert user.may_be == {"a b d": 1841}
    assert len(user.unknown) == 1
    assert "cannot tell" in user.unknown[0]
    old = regions_of("k61-256", 0, "base")["user", "pte"]
    assert old.may_be == {"e": 1799}
    assert "(c) and (e)" in old.unknown[0]
    kernel = regions_of("k612-128", 0, "saved_dirty")["kernel", "pte"]
    assert (kernel.may_be, kernel.unknown) == ({}, [])


def test_order_is_user_half_first_and_levels_up() -> None:
    places = list(regions_of("k612-128", 0, "cow"))
    levels = ["pte", "pmd", "pud", "p4d"]
    assert places == [(half, level) for half in ("user", "kernel") for level in levels]


def test_info_tlb_gives_the_same_leaves_as_far_as_it_says() -> None:
    with lzma.open(DATA / "k612-128.tlb.cpu0.txt.xz", "rt") as file:
        censuses, known = census_of_text(parse(file))
    found = {
        (region.half, region.level): region
        for region in by_region(censuses, "saved_dirty", known=known)
    }
    walked = regions_of("k612-128", 0, "saved_dirty")
    assert found.keys() == {place for place, region in walked.items() if region.leaves}
    for place, region in found.items():
        assert region.entries == region.leaves == walked[place].leaves
        merged: dict[str, int] = {}
        for state, n in walked[place].states.items():
            unknown = state[:-2] + "?)"
            merged[unknown] = merged.get(unknown, 0) + n
        assert region.states == merged
        assert region.may_be == {}
        assert "not printed" in region.unknown[0]
        for flag, n in region.flags.items():
            assert walked[place].flags[flag] == n


def test_runs_count_all_their_entries_and_unknown_places_are_apart() -> None:
    text = parse(
        [
            "0xffff999900000000-0xffff999900200000   2M     RW                 GLB NX pte",
            "0xffff999900200000-0xffff999900600000   4M     RW                 GLB NX pte",
            "0x8000000000000867",
            "0x8000000012345867",
        ]
    )
    censuses, known = census_of_text(text, level=2)
    assert set(censuses) == {("kernel", 1), ("unknown", 2)}
    assert censuses["kernel", 1].total == 512 * 3
    assert len(censuses["kernel", 1].entries) == 1
    assert known["unknown", 2] == bits.ALL
    assert known["kernel", 1] & bits.DIRTY == 0
    entries = censuses["unknown", 2].entries.tolist()
    assert entries == [0x8000000000000867, 0x8000000040000867]  # the stand-in of a census


def test_lumped_bits_have_their_stand_ins() -> None:
    text = parse(["0x01f0000000000001", "0x0010000000000001", "0x0000000000001001"])
    censuses, _ = census_of_text(text)
    found = censuses["unknown", 1]
    assert found.entries.tolist() == [1 | 1 << 30, 1 | 1 << 52]
    assert found.counts.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("known", "rules", "expected"),
    [
        (bits.ALL, "cow", "(Write=1,Dirty=0,Cow=1)"),
        (bits.ALL & ~bits.BIT58, "cow", "(Write=1,Dirty=0,Cow=?)"),
        (bits.ALL & ~bits.BIT58, "base", "(Write=1,Dirty=0,Cow=0)"),
        (bits.RW, "cow", "(Write=1,Dirty=?,Cow=?)"),
        (bits.DIRTY, "base", "(Write=?,Dirty=0,Cow=0)"),
    ],
)
def test_states_with_unknown_bits(known: int, rules: str, expected: str) -> None:
    assert state_text(bits.RW | bits.BIT58, known, rules) == expected
