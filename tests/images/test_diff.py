# SPDX-License-Identifier: GPL-2.0-only
"""Comparing two walks: what changed is found, and who did it is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pgtable
from pgtable import bits
from pgtable.images import Kind, Walk, open_image
from pgtable.images.diff import Diff, diff
from pgtable.images.explain import explain
from pgtable.images.synthetic import synthesize

DATA = Path(__file__).parents[1] / "data"
U64 = np.uint64


def walk_of(name: str, cpu: int = 0) -> Walk:
    with open_image(DATA / f"{name}.vmcore.xz") as image:
        return image.walk(cpu=cpu)


def with_columns(walk: Walk, **changed: np.ndarray) -> Walk:
    columns = {**walk.columns, **changed}
    made = Walk(walk.root, columns["va"], columns["entry"], np.empty(0, np.uint8), walk.tables)
    vars(made).update(columns)
    return made


def without(walk: Walk, rows: np.ndarray) -> Walk:
    kept = np.ones(len(walk), bool)
    kept[rows] = False
    return with_columns(walk, **{name: column[kept] for name, column in walk.columns.items()})


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    """Return a walk with all kinds and levels of entries."""
    machine = synthesize(
        40 * 512,
        mix={"clean": 1, "code": 1, "dirty": 2, "cow": 1, "prot_none": 1, "swap": 1, "hole": 1},
        large=20,
        expected=False,
    )
    path = tmp_path_factory.mktemp("synthetic") / "image"
    machine.write_records(path)
    with open_image(path) as image:
        return image.walk(machine.root)


def applied(walk: Walk, helper: Any, rows: np.ndarray, *argument: Any) -> Walk:
    entry = walk.entry.copy()
    entry[rows] = helper(entry[rows], *argument)
    return with_columns(walk, entry=entry)


def leaves(walk: Walk, level: int) -> np.ndarray:
    return np.flatnonzero(walk.leaf & (walk.level == level))


# ---- nothing, and everything


def test_a_walk_does_not_differ_from_itself(walk: Walk) -> None:
    found = diff(walk, walk)
    assert not found.differs
    assert (found.same, found.changed) == (len(walk), 0)
    assert (found.transitions, found.appeared, found.vanished) == ([], [], [])
    assert found.dirtied.entries == 0
    assert len(found.ranges.start) == 0


def test_two_empty_walks(walk: Walk) -> None:
    nothing = without(walk, np.arange(len(walk)))
    assert not diff(nothing, nothing).differs
    assert sum(side.entries for side in diff(nothing, walk).appeared) == len(walk)
    assert sum(side.entries for side in diff(walk, nothing).vanished) == len(walk)


# ---- helpers are named

NAMED = (
    *("wrprotect", "mkwrite", "mkold", "mkyoung", "mkclean", "mkdirty", "mkhuge", "mkdevmap"),
    *("mksoft_dirty", "clear_soft_dirty", "mkuffd_wp", "clear_uffd_wp"),
)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(NAMED),
    st.sampled_from([(1, "pte"), (2, "pmd"), (3, "pud")]),
    st.sampled_from(["cow", "base", "saved_dirty"]),
    st.integers(0, 2**32),
)
def test_the_helper_that_was_applied_is_named(
    walk: Walk, name: str, level: tuple[int, str], rules: str, seed: int
) -> None:
    engine = pgtable.native(rules)
    helper = engine.helpers.get(f"{level[1]}_{name}")
    if helper is None or helper.argument:
        return
    rows = leaves(walk, level[0])
    rows = np.random.default_rng(seed).choice(rows, len(rows) // 2, replace=False)
    after = applied(walk, helper, rows)
    found = diff(walk, after, rules=rules)
    moved = np.flatnonzero(walk.entry != after.entry)
    assert found.changed == len(moved)
    assert sum(change.entries for change in found.transitions) == len(moved)
    for change in found.transitions:
        assert change.level == level[0]
        assert helper.name in change.explanations
        assert change.same_frame


@pytest.mark.parametrize("longest", [2, 3])
def test_chains_are_named_in_kernel_order_once(walk: Walk, longest: int) -> None:
    engine = pgtable.native("saved_dirty")
    dirty = np.flatnonzero(walk.leaf & (walk.level == 1) & (walk.entry & U64(0x42) == U64(0x42)))
    steps = ("pte_wrprotect", "pte_mkold", "pte_mksoft_dirty")[:longest]
    after = applied(walk, engine.chain(*reversed(steps)), dirty)
    found = diff(walk, after, rules="saved_dirty", longest=longest)
    for change in found.transitions:
        assert ",".join(steps) in change.explanations
        orders = [tuple(sorted(chain.split(","))) for chain in change.explanations]
        assert len(set(orders)) == len(orders)
    assert not diff(walk, after, rules="saved_dirty", longest=1).transitions[0].explanations


def test_the_shortest_explanation_wins() -> None:
    engine = pgtable.native("cow")
    before, after = np.array([0x867], U64), np.array([0x847], U64)
    assert explain(engine, "pte", before, after, 3) == [["pte_mkold"]]


def test_ambiguity_is_shown() -> None:
    engine = pgtable.native("base")
    (found,) = explain(engine, "pte", np.array([0x27], U64), np.array([0x25], U64))
    assert found == ["pte_wrprotect", "pte_modify(newprot=0x25)"]


def test_mprotect_none_is_modify_with_the_frame_inverted() -> None:
    engine = pgtable.native("saved_dirty")
    before = np.array([0x8000_0000_1234_5867], U64)
    after = engine.pte_modify(before, 0x8000_0000_0000_0120)
    (found,) = explain(engine, "pte", before, after)
    assert found == ["pte_modify(newprot=0x8000000000000120)"]


def test_the_processor_sets_accessed_and_dirty() -> None:
    engine = pgtable.native("cow")
    before = np.array([0x807, 0x805, 0x807, 0x800], U64)
    after = np.array([0x867, 0x865, 0x827, 0x820], U64)
    found = explain(engine, "pte", before, after)
    assert "processor:written" in found[0]
    assert not any("processor:written" in chain for chain in found[1])
    assert found[2] == ["pte_mkyoung", "processor:accessed"]
    assert not any("processor" in chain for chain in found[3])


def test_swap_entries_are_explained_by_swap_helpers_alone() -> None:
    engine = pgtable.native("cow")
    before, after = np.array([0x1800_0000_0000_0200], U64), np.array([0x1800_0000_0000_0202], U64)
    assert explain(engine, "pte", before, after) == [["pte_swp_mksoft_dirty"]]
    assert explain(engine, "pte", np.array([0x205], U64), np.array([0x207], U64))[0] != [
        "pte_swp_mksoft_dirty"
    ]


def test_what_nothing_does_is_not_explained() -> None:
    engine = pgtable.native("cow")
    before, after = np.array([0x25], U64), np.array([0x25 | 1 << 55], U64)
    assert explain(engine, "pte", before, after) == [[]]


def test_equal_entries_need_no_explanation() -> None:
    engine = pgtable.native("cow")
    assert explain(engine, "pte", np.array([0x25], U64), np.array([0x25], U64)) == [[]]


def test_engines_agree_on_explanations(walk: Walk) -> None:
    rows = leaves(walk, 1)[::7]
    for rules in ("base", "cow", "saved_dirty"):
        after = applied(walk, pgtable.native(rules).chain("pte_wrprotect", "pte_mkold"), rows)
        native = diff(walk, after, rules=rules)
        reference = diff(walk, after, rules=rules, engine=pgtable.reference(rules))
        assert native.transitions == reference.transitions
        assert native.engine != reference.engine


# ---- frames, kinds, places


def test_another_frame_is_no_helpers_work(walk: Walk) -> None:
    row = leaves(walk, 1)[3]
    entry, pa = walk.entry.copy(), walk.pa.copy()
    entry[row] ^= U64(1 << 13)
    pa[row] ^= U64(1 << 13)
    found = diff(walk, with_columns(walk, entry=entry, pa=pa))
    (change,) = found.transitions
    assert (change.same_frame, change.entries, change.explanations) == (False, 1, ())
    assert change.before == change.after
    assert change.example == walk.va[row]


def test_the_frame_of_a_large_page_has_fewer_bits(walk: Walk) -> None:
    row = leaves(walk, 2)[1]
    entry = walk.entry.copy()
    entry[row] ^= U64(bits.PAT_LARGE)
    (change,) = diff(walk, with_columns(walk, entry=entry)).transitions
    assert change.same_frame
    assert change.before ^ change.after == bits.PAT_LARGE


def test_a_swap_entry_that_moved(walk: Walk) -> None:
    rows = np.flatnonzero(walk.kind == Kind.SWAP)[:2]
    entry = walk.entry.copy()
    entry[rows[0]] ^= U64(1 << 20)
    entry[rows[1]] |= U64(1 << 1)
    found = diff(walk, with_columns(walk, entry=entry))
    by_frame = {change.same_frame: change for change in found.transitions}
    assert by_frame[False].explanations == ()
    assert by_frame[True].explanations == ["pte_swp_mksoft_dirty"]
    assert by_frame[True].kind_before == by_frame[True].kind_after == "swap"


def test_a_page_that_was_swapped_out_has_another_place(walk: Walk) -> None:
    row = leaves(walk, 1)[0]
    swapped = np.flatnonzero(walk.kind == Kind.SWAP)[0]
    changed = {name: walk.columns[name].copy() for name in ("entry", "pa", "kind", "leaf")}
    for column in changed.values():
        column[row] = column[swapped]
    (change,) = diff(walk, with_columns(walk, **changed)).transitions
    assert (change.kind_before, change.kind_after) == ("leaf", "swap")
    assert not change.same_frame


def test_halves_and_levels_are_apart(walk: Walk) -> None:
    engine = pgtable.native("cow")
    user = leaves(walk, 1)[:3]
    kernel = leaves(walk, 1)[-2:]
    large = leaves(walk, 2)[:1]
    after = applied(walk, engine.pte_mksoft_dirty, np.concatenate([user, kernel]))
    after = applied(after, engine.pmd_mksoft_dirty, large)
    found = diff(walk, after)
    counts: dict[tuple[int, bool], int] = {}
    for change in found.transitions:
        key = (change.level, change.kernel)
        counts[key] = counts.get(key, 0) + change.entries
        assert f"{('', 'pte', 'pmd')[change.level]}_mksoft_dirty" in change.explanations
    at_large = bool(walk.va[large[0]] >= U64(1 << 63))
    assert counts == {(1, False): 3, (1, True): 2, (2, at_large): 1}
    assert sum(change.size for change in found.transitions) == 5 * 4096 + (2 << 20)


def test_most_entries_first_and_ranges_name_their_transition(walk: Walk) -> None:
    engine = pgtable.native("cow")
    dirty = np.flatnonzero(walk.leaf & (walk.level == 1) & (walk.entry & U64(0x842) == U64(0x42)))
    few, many = dirty[:5], dirty[5:]
    after = applied(walk, engine.pte_mkold, few)
    after = applied(after, engine.pte_mksoft_dirty, many)
    found = diff(walk, after)
    entries = [change.entries for change in found.transitions]
    assert entries == sorted(entries, reverse=True)
    starts = found.ranges.start.tolist()
    assert starts == sorted(starts)
    changed_at = {}
    for (start, end, _, members), number in zip(
        found.ranges.rows(), found.ranges_transition.tolist(), strict=True
    ):
        assert end - start == members * 4096
        for va in range(start, end, 4096):
            changed_at[va] = found.transitions[number].explanations
    assert changed_at.keys() == set(walk.va[dirty].tolist())
    assert all("pte_mkold" in changed_at[va] for va in walk.va[few].tolist())
    assert all("pte_mksoft_dirty" in changed_at[va] for va in walk.va[many].tolist())
    for number, change in enumerate(found.transitions):
        members = found.ranges.members[found.ranges_transition == number]
        assert members.sum() == change.entries


def test_appeared_and_vanished(walk: Walk) -> None:
    gone = np.concatenate([leaves(walk, 1)[10:20], leaves(walk, 2)[:1]])
    less = without(walk, gone)
    for found, sides in (
        (diff(walk, less), "vanished"),
        (diff(less, walk), "appeared"),
    ):
        other = "appeared" if sides == "vanished" else "vanished"
        assert not getattr(found, other)
        assert found.changed == 0
        assert found.same == len(walk) - len(gone)
        listed = {(side.level, side.kind): side for side in getattr(found, sides)}
        assert {key: side.entries for key, side in listed.items()} == {
            (1, "leaf"): 10,
            (2, "leaf"): 1,
        }
        assert listed[2, "leaf"].ranges.start.tolist() == [walk.va[gone[-1]]]
        assert listed[1, "leaf"].size == 10 * 4096


def test_entries_of_one_address_are_told_apart_by_level(walk: Walk) -> None:
    # the first entry of a table begins where the table's own entry does
    table = np.flatnonzero((walk.kind == Kind.TABLE) & (walk.level == 2))
    first = table[np.flatnonzero(walk.va[table] == walk.va[table + 1])[0]]
    after = without(walk, np.array([first + 1]))
    found = diff(walk, after)
    assert [(side.level, side.entries) for side in found.vanished] == [(1, 1)]


def test_order_of_rows_does_not_matter(walk: Walk) -> None:
    order = np.random.default_rng(1).permutation(len(walk))
    shuffled = with_columns(walk, **{name: column[order] for name, column in walk.columns.items()})
    assert not diff(walk, shuffled).differs
    assert not diff(shuffled, walk).differs


def test_the_size_of_chunks_does_not_matter(walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(2).permutation(len(walk))
    page = leaves(walk, 1)
    before, after = without(walk, rows[:500]), without(walk, rows[400:900])
    after = applied(after, pgtable.native("cow").pte_mksoft_dirty, leaves(after, 1)[::3])
    whole = diff(before, after)
    for size in (1, 7, 997):
        monkeypatch.setattr("pgtable.images.diff.CHUNK", size * len(page) // 997 + 1)
        assert diff(before, after).as_dict() == whole.as_dict()
    assert whole.same + whole.changed + 900 == len(walk)
    assert sum(side.entries for side in whole.vanished) == 400
    assert sum(side.entries for side in whole.appeared) == 400


# ---- what was written


def dirtied(found: Diff) -> dict[str, int]:
    values = vars(found.dirtied)
    return {name: values[name] for name in ("soft_dirty", "dirty", "cow", "appeared", "entries")}


def test_what_was_written_since(walk: Walk) -> None:
    page = (walk.level == 1) & walk.leaf
    clean = np.flatnonzero(page & (walk.entry & U64(bits.DIRTY | bits.BIT58 | bits.RW) == 0))
    entry = walk.entry.copy()
    entry[clean[0]] |= U64(bits.SOFT_DIRTY)
    entry[clean[1]] |= U64(bits.DIRTY | bits.RW)
    entry[clean[2]] |= U64(bits.BIT58)
    entry[clean[3]] |= U64(bits.DIRTY | bits.SOFT_DIRTY | bits.RW)
    entry[clean[4]] &= U64(bits.ALL & ~bits.ACCESSED)
    found = diff(walk, with_columns(walk, entry=entry), rules="saved_dirty")
    assert dirtied(found) == {
        "soft_dirty": 2,
        "dirty": 2,
        "cow": 1,
        "appeared": 0,
        "entries": 4,
    }
    assert found.dirtied.size == 4 * 4096
    pages = {va for start, end, *_ in found.dirtied.ranges.rows() for va in range(start, end, 4096)}
    assert pages == set(walk.va[clean[:4]].tolist())


def test_dirty_that_moves_to_cow_was_written_before(walk: Walk) -> None:
    engine = pgtable.native("saved_dirty")
    dirty = np.flatnonzero(walk.leaf & (walk.level == 1) & (walk.entry & U64(0x42) == U64(0x42)))
    after = applied(walk, engine.pte_wrprotect, dirty)
    there, back = diff(walk, after), diff(after, walk)
    assert there.changed == back.changed == len(dirty)
    assert there.dirtied.entries == back.dirtied.entries == 0


def test_under_base_bit_58_is_no_dirtiness(walk: Walk) -> None:
    clean = np.flatnonzero(walk.leaf & (walk.level == 1) & (walk.entry & U64(1 << 58 | 0x40) == 0))
    entry = walk.entry.copy()
    entry[clean[0]] |= U64(bits.BIT58)
    found = diff(walk, with_columns(walk, entry=entry), rules="base")
    assert found.dirtied.entries == 0


def test_new_pages_and_new_frames_that_are_dirty(walk: Walk) -> None:
    page = np.flatnonzero(walk.leaf & (walk.level == 1))
    is_dirty = walk.entry[page] & U64(bits.DIRTY | bits.BIT58) != 0
    dirty, clean = page[is_dirty], page[~is_dirty]
    before = without(walk, np.array([dirty[0], clean[0]]))
    entry, pa = before.entry.copy(), before.pa.copy()
    moved = np.searchsorted(before.va, walk.va[[dirty[50], clean[50]]], side="right") - 1
    entry[moved] ^= U64(1 << 14)
    pa[moved] ^= U64(1 << 14)
    found = diff(with_columns(before, entry=entry, pa=pa), walk, rules="saved_dirty")
    assert dirtied(found) == {
        "soft_dirty": 0,
        "dirty": 0,
        "cow": 0,
        "appeared": 2,
        "entries": 2,
    }
    assert found.dirtied.ranges.start.tolist() == sorted(walk.va[[dirty[0], dirty[50]]].tolist())


# ---- a real fork


@pytest.mark.parametrize(("name", "rules"), [("k612-128", "saved_dirty"), ("k61-256", "base")])
def test_a_fork_made_the_childs_entries_old(name: str, rules: str) -> None:
    parent, child = walk_of(name, 0), walk_of(name, 1)
    found = diff(parent, child)
    assert found.recognised.rules == rules
    assert found.same + found.changed + sum(side.entries for side in found.vanished) == len(parent)
    assert found.same + found.changed + sum(side.entries for side in found.appeared) == len(child)
    kept = [
        change
        for change in found.transitions
        if change.same_frame and change.kind_before == change.kind_after == "leaf"
    ]
    explained = sum(change.entries for change in kept if change.explanations)
    assert explained > 0.99 * sum(change.entries for change in kept)
    assert kept[0].explanations == ["pte_mkold"]
    assert any(change.explanations == ["pte_clear_uffd_wp,pte_mkold"] for change in kept)


# ---- two moments of one machine?


def origin(name: str, **changes: Any) -> tuple[Walk, Any]:
    """Return the walk of a dump, and its image with other kernel notes."""
    with open_image(DATA / f"{name}.vmcore.xz") as image:
        walk = image.walk()
    image.kernel = replace(image.kernel, **changes)
    return walk, image


def test_one_machine_gives_no_warning() -> None:
    walk, image = origin("k612-128")
    assert diff(walk, walk, images=(image, image)).warnings == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"release": "6.12.118"},
            ["OSRELEASE 6.12.117+deb12-cloud-amd64, then 6.12.118", "cannot be compared"],
        ),
        ({"build_id": "abcd"}, ["another build", "then abcd", "cannot be compared"]),
        ({"offset": 0x1000000}, ["KERNELOFFSET 2c400000, then 1000000", "cannot be compared"]),
        ({"phys_base": 0x5000000}, ["phys_base", "then 0x5000000", "frames cannot be compared"]),
    ],
)
def test_another_kernel_or_boot_is_warned_about(changes: dict[str, Any], words: list[str]) -> None:
    walk, image = origin("k612-128")
    _, other = origin("k612-128", **changes)
    found = diff(walk, walk, images=(image, other))
    assert len(found.warnings) == 1
    assert all(word in found.warnings[0] for word in words)
    assert found.as_dict()["warnings"] == list(found.warnings)


def test_what_an_image_does_not_say_is_no_doubt() -> None:
    walk, image = origin("k612-128")
    _, silent = origin("k612-128", release=None, build_id=None, offset=None, phys_base=None)
    assert diff(walk, walk, images=(image, silent)).warnings == ()


def rooted(walk: Walk, **changes: Any) -> Walk:
    made = vars(walk).copy()
    other = Walk.__new__(Walk)
    vars(other).update(made, root=walk.root._replace(**changes))
    return other


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"levels": 5}, ["(4, then 5)", "top tables cannot be compared"]),
        ({"encryption": 1 << 47}, ["(0x0, then 0x800000000000)", "every entry differs"]),
        ({"pa": 0x54F2000}, ["0x544e000", "0x54f2000", "of another process"]),
        ({"pa": 0x54F2000, "origin": "root from VMCOREINFO, levels from"}, ["another process"]),
        ({"pa": 0x54F2000, "origin": "root from CR3 of processor 1, levels from CR4"}, []),
        ({"pa": 0x54F2000, "origin": "root from an argument, levels from CR4"}, []),
    ],
)
def test_another_root_or_reading_is_warned_about(changes: dict[str, Any], words: list[str]) -> None:
    walk, image = origin("k612-128")
    found = diff(walk, rooted(walk, **changes), images=(image, image))
    assert len(found.warnings) == bool(words)
    assert all(word in found.warnings[0] for word in words)
