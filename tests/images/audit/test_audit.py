# SPDX-License-Identifier: GPL-2.0-only
"""Audits: real dumps are clean, and every seeded fault is found, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pgtable import bits
from pgtable.images import Kind, Walk, open_image
from pgtable.images.audit import RULES, Audit, audit, recognise, recognise_census
from pgtable.images.walk import Root, Tables, WalkReport

DATA = Path(__file__).parents[2] / "data"
MIB = 1 << 20
#: Physical memory of the machine of each dump, in MiB.
MEMORY = {"k612-128": 128, "k61-256": 256}


@pytest.fixture(scope="module")
def clean() -> Walk:
    """Return the walk of a 6.12 kernel, in which there is nothing to find."""
    return walk_of("k612-128")


def walk_of(name: str, cpu: int = 0) -> Walk:
    with open_image(DATA / f"{name}.vmcore.xz") as image:
        return image.walk(cpu=cpu)


def with_columns(
    walk: Walk,
    columns: dict[str, np.ndarray],
    tables: Tables | None = None,
    root: Root | None = None,
) -> Walk:
    """Return a walk that has these columns."""
    made = Walk(
        root or walk.root,
        columns["va"],
        columns["entry"],
        np.empty(0, np.uint8),
        walk.tables if tables is None else tables,
    )
    vars(made).update(columns)
    made.reports = list(walk.reports)
    return made


def copy(walk: Walk, root: Root | None = None) -> Walk:
    columns = {name: column.copy() for name, column in walk.columns.items()}
    return with_columns(walk, columns, Tables(*(column.copy() for column in walk.tables)), root)


def faults(found: Audit) -> dict[str, list[int]]:
    """Return the addresses of each finding that is more than a note."""
    return {
        finding.rule.id: finding.va.tolist()
        for finding in found.findings
        if finding.rule.severity != "note"
    }


def look(walk: Walk, **how: Any) -> Audit:
    return audit(walk, **{"memory": [(0, 128 * MIB)], "physical_bits": 46, **how})


# ---- real machines


@pytest.mark.parametrize("cpu", [0, 1])
def test_612_has_no_accidental_shadow_stack_and_no_other_fault(cpu: int) -> None:
    found = look(walk_of("k612-128", cpu))
    assert found.recognised.rules == "saved_dirty"
    assert (found.recognised.kept, found.recognised.kernel_kept) == (0, 0)
    assert faults(found) == {}
    assert found.faults == 0
    assert not found.skipped


@pytest.mark.parametrize(("cpu", "kept"), [(0, 2956), (1, 2851)])
def test_61_keeps_dirty_by_design(cpu: int, kept: int) -> None:
    found = look(walk_of("k61-256", cpu), memory=[(0, 256 * MIB)])
    assert found.recognised.rules == "base"
    assert (found.recognised.kept, found.recognised.saved) == (kept, 0)
    assert faults(found) == {}
    why = {rule.id: why for rule, why in found.skipped}
    assert set(why) == {"kernel-shadow-stack", "user-shadow-stack", "cow-in-kernel"}
    assert "base" in why["kernel-shadow-stack"]


def test_61_under_the_wrong_rules_is_full_of_shadow_stacks() -> None:
    walk = walk_of("k61-256")
    found = look(walk, rules="saved_dirty", memory=[(0, 256 * MIB)])
    dirty = walk.leaf & (walk.entry & np.uint64(bits.RW | bits.DIRTY) == bits.DIRTY)
    kernel = walk.va >= np.uint64(1 << 63)
    assert faults(found) == {
        "kernel-shadow-stack": walk.va[dirty & kernel].tolist(),
        "user-shadow-stack": walk.va[dirty & ~kernel].tolist(),
    }
    assert found.recognised.given


@pytest.mark.parametrize("name", MEMORY)
def test_a_reduced_image_says_what_it_cannot_know(name: str) -> None:
    with open_image(DATA / f"{name}.vmcore.xz") as image:
        found = audit(image.walk(), image)
    skipped = {rule.id: why for rule, why in found.skipped}
    assert "reduced" in skipped["outside-memory"]
    assert "reduced" in skipped["device-memory"]
    assert any("CPUID" in limit for limit in found.limits)
    assert any("CR4.CET" in limit for limit in found.limits)


def test_an_image_with_all_memory_gives_the_ranges(tmp_path: Path) -> None:
    memory = np.zeros(512 * 4, np.uint64)
    memory[0] = 0x1000 | bits.PRESENT | bits.RW | bits.USER
    memory[512] = 0x2000 | bits.PRESENT | bits.RW | bits.USER
    memory[1024] = 0x3000 | bits.PRESENT | bits.RW | bits.USER
    flags = bits.PRESENT | bits.NX
    memory[1536:1539] = [flags, 0x3000 | flags, 0x4000 | flags]
    path = tmp_path / "ram"
    path.write_bytes(memory.tobytes())
    with open_image(path) as image:
        found = audit(image.walk(0), image)
    assert faults(found) == {"outside-memory": [0x2000]}


# ---- seeded faults

USER_PAGE = bits.PRESENT | bits.USER | bits.ACCESSED | bits.NX


def where(walk: Walk, mask: np.ndarray) -> int:
    """Return a row of those, not the first nor the last."""
    rows = np.flatnonzero(mask)
    return int(rows[len(rows) // 2])


def user_leaf(walk: Walk, level: int = 1) -> int:
    return where(walk, walk.leaf & (walk.level == level) & (walk.va < np.uint64(1 << 63)) & walk.nx)


def kernel_leaf(walk: Walk, level: int = 1) -> int:
    half = walk.va >= np.uint64(1 << 63)
    read_only = half & ~walk.writable & walk.nx
    return where(walk, walk.leaf & (walk.level == level) & read_only)


def set_bits(walk: Walk, row: int, on: int, off: int = 0) -> None:
    walk.entry[row] = int(walk.entry[row]) & ~off | on


@pytest.mark.parametrize("level", [1, 2])
def test_kernel_shadow_stack(clean: Walk, level: int) -> None:
    walk = copy(clean)
    row = kernel_leaf(walk, level)
    set_bits(walk, row, bits.DIRTY, bits.RW)
    assert faults(look(walk)) == {"kernel-shadow-stack": [int(walk.va[row])]}


@pytest.mark.parametrize("level", [1, 2])
def test_user_shadow_stack(clean: Walk, level: int) -> None:
    walk = copy(clean)
    row = user_leaf(walk, level)
    set_bits(walk, row, bits.DIRTY, bits.RW)
    assert faults(look(walk)) == {"user-shadow-stack": [int(walk.va[row])]}
    assert faults(look(walk, rules="cow")) == {"user-shadow-stack": [int(walk.va[row])]}
    assert faults(look(walk, rules="base")) == {}


def test_a_table_entry_and_one_that_is_not_present_are_no_shadow_stack(clean: Walk) -> None:
    walk = copy(clean)
    for row in (where(walk, walk.kind == Kind.TABLE), where(walk, walk.kind == Kind.PROT_NONE)):
        set_bits(walk, row, bits.DIRTY, bits.RW)
    assert faults(look(walk)) == {}


def test_cow_in_kernel(clean: Walk) -> None:
    walk = copy(clean)
    row = kernel_leaf(walk)
    set_bits(walk, row, bits.BIT58)
    assert faults(look(walk)) == {"cow-in-kernel": [int(walk.va[row])]}
    assert faults(look(walk, rules="base")) == {}


def test_cow_with_write_is_no_fault_in_the_user_half(clean: Walk) -> None:
    walk = copy(clean)
    row = user_leaf(walk, 2)
    set_bits(walk, row, bits.BIT58 | bits.RW | bits.DIRTY)
    assert faults(look(walk)) == {}


def test_kernel_code_writable(clean: Walk) -> None:
    walk = copy(clean)
    code = walk.leaf & (walk.va >= np.uint64(1 << 63)) & ~walk.nx & (walk.level == 1)
    row = where(walk, code)
    walk.writable[row] = True
    assert faults(look(walk)) == {"kernel-writable-executable": [int(walk.va[row])]}


def test_user_writable_and_executable(clean: Walk) -> None:
    walk = copy(clean)
    row = where(walk, walk.leaf & walk.user & walk.nx & ~walk.writable)
    walk.pa[row] = 0x7FF_F000  # a frame of its own
    walk.writable[row], walk.nx[row] = True, False
    assert faults(look(walk)) == {"user-writable-executable": [int(walk.va[row])]}


def test_user_accessible_kernel_half(clean: Walk) -> None:
    walk = copy(clean)
    row = kernel_leaf(walk)
    walk.user[row] = True
    assert faults(look(walk)) == {"user-accessible-kernel": [int(walk.va[row])]}


def add_row(walk: Walk, va: int, entry: int, **values: Any) -> Walk:
    """Return the walk with one 4 KiB leaf more."""
    row = int(np.searchsorted(walk.va, np.uint64(va)))
    leaf = {
        "va": va,
        "entry": entry,
        "pa": entry & bits.SMALL_FRAME,
        "level": 1,
        "kind": Kind.LEAF,
        "leaf": True,
        "writable": False,
        "user": False,
        "nx": True,
        **values,
    }
    columns = {name: np.insert(column, row, leaf[name]) for name, column in walk.columns.items()}
    return with_columns(walk, columns)


@pytest.mark.parametrize("nx", [False, True])
def test_the_vsyscall_page_is_a_note_unless_writable(clean: Walk, nx: bool) -> None:
    va = 0xFFFF_FFFF_FF60_0000
    walk = add_row(clean, va, 0x7FFD125, user=True, nx=nx)
    found = look(walk)
    assert faults(found) == {}
    assert [f.va.tolist() for f in found.findings if f.rule.id == "vsyscall"] == [[va]]
    walk = add_row(clean, va, 0x7FFD127, user=True, nx=True, writable=True)
    assert faults(look(walk)) == {"user-accessible-kernel": [va]}
    walk = add_row(clean, va, 0x7FFD121)
    assert "vsyscall" not in [finding.rule.id for finding in look(walk).findings]
    walk = add_row(clean, va + 0x1000, 0x7FFD125, user=True)
    assert faults(look(walk)) == {"user-accessible-kernel": [va + 0x1000]}


@pytest.mark.parametrize("which", ["root", "pte table"])
def test_table_writable_by_user(clean: Walk, which: str) -> None:
    walk = copy(clean)
    row = where(walk, walk.leaf & walk.user & walk.writable & (walk.level == 1))
    walk.pa[row] = walk.root.pa if which == "root" else walk.tables.pa[walk.tables.level == 1][3]
    assert faults(look(walk)) == {"table-writable-by-user": [int(walk.va[row])]}


def test_a_large_page_over_a_table_is_found(clean: Walk) -> None:
    walk = copy(clean)
    row = where(walk, walk.leaf & walk.user & walk.writable & (walk.level == 2))
    walk.pa[row] = walk.tables.pa[walk.tables.level == 1][3] >> np.uint64(21) << np.uint64(21)
    assert faults(look(walk)) == {"table-writable-by-user": [int(walk.va[row])]}


def test_writable_alias_of_kernel_code(clean: Walk) -> None:
    walk = copy(clean)
    code = where(walk, walk.leaf & ~walk.user & ~walk.nx & (walk.level == 1))
    row = kernel_leaf(walk)
    walk.writable[row], walk.pa[row] = True, walk.pa[code]
    found = look(walk)
    assert faults(found) == {"writable-alias-of-code": [int(walk.va[row])]}
    partner = found.findings[0].partner
    assert partner is not None
    at = int(np.flatnonzero((walk.va == np.uint64(partner)) & walk.leaf)[0])
    assert not walk.nx[at]
    assert found.as_dict()["findings"][0]["executable_at"] == f"{partner:#x}"


def test_writable_alias_of_user_code(clean: Walk) -> None:
    walk = copy(clean)
    code = where(walk, walk.leaf & walk.user & ~walk.nx & (walk.level == 1))
    row = where(walk, walk.leaf & walk.user & walk.nx & walk.writable & (walk.level == 1))
    walk.pa[row] = walk.pa[code]
    assert faults(look(walk)) == {"writable-alias-of-code": [int(walk.va[row])]}


def test_the_kernel_may_write_to_user_code(clean: Walk) -> None:
    # it maps all memory; in every real dump its map holds the frames of user code
    code = clean.pa[clean.leaf & clean.user & ~clean.nx]
    kernel = clean.leaf & ~clean.user & clean.writable & (clean.level == 1)
    assert np.isin(code, clean.pa[kernel]).any()
    assert faults(look(clean)) == {}


RESERVED = {
    "above the width": (1, 1 << 46),
    "the highest frame bit": (1, 1 << 51),
    "below the frame of 2 MiB, lowest": (2, 1 << 13),
    "below the frame of 2 MiB, highest": (2, 1 << 20),
}


@pytest.mark.parametrize("name", RESERVED)
def test_reserved_bits_of_leaves(clean: Walk, name: str) -> None:
    level, bit = RESERVED[name]
    walk = copy(clean)
    row = user_leaf(walk, level)
    set_bits(walk, row, bit)
    assert faults(look(walk)) == {"reserved-bits": [int(walk.va[row])]}


@pytest.mark.parametrize(("level", "bit"), [(1, 1 << 45), (2, 1 << 12), (2, 1 << 21), (1, 1 << 52)])
def test_bits_that_are_not_reserved(clean: Walk, level: int, bit: int) -> None:
    walk = copy(clean)
    set_bits(walk, user_leaf(walk, level), bit)
    assert faults(look(walk)) == {}


def test_reserved_bits_of_gigantic_leaves_and_top_tables(clean: Walk) -> None:
    walk = copy(clean)
    table = where(walk, (walk.level == 3) & (walk.kind == Kind.TABLE))
    walk.leaf[table], walk.kind[table], walk.pa[table] = True, Kind.LEAF, 0
    walk.nx[table], walk.user[table], walk.writable[table] = True, False, False
    set_bits(walk, table, bits.PSE, bits.SMALL_FRAME)
    base = faults(look(walk, memory=[(0, 1 << 30)]))
    assert base == {}
    set_bits(walk, table, 1 << 29)
    assert faults(look(walk, memory=[(0, 1 << 30)])) == {"reserved-bits": [int(walk.va[table])]}
    walk = copy(clean)
    top = where(walk, walk.level == 4)
    set_bits(walk, top, bits.PSE)
    assert faults(look(walk)) == {"reserved-bits": [int(walk.va[top])]}


def test_width_and_nxe_decide_what_is_reserved(clean: Walk) -> None:
    walk = copy(clean)
    row = user_leaf(walk)
    set_bits(walk, row, 1 << 46)
    assert faults(look(walk, physical_bits=None)) == {}
    assert faults(look(walk, physical_bits=47)) == {}
    without_nx = copy(clean, root=Root(clean.root.pa, 4, False))
    expected = clean.va[(clean.entry & np.uint64(bits.NX | 1)) == np.uint64(bits.NX | 1)]
    found = {f.rule.id: f for f in look(without_nx).findings}
    assert found["reserved-bits"].va.tolist() == expected.tolist()


def test_what_is_not_present_has_no_reserved_bits(clean: Walk) -> None:
    walk = copy(clean)
    set_bits(walk, where(walk, walk.kind == Kind.PROT_NONE), 1 << 50)
    assert faults(look(walk)) == {}


def test_outside_memory(clean: Walk) -> None:
    walk = copy(clean)
    row = user_leaf(walk)
    walk.pa[row] = 128 * MIB
    assert faults(look(walk)) == {"outside-memory": [int(walk.va[row])]}
    walk.pa[row] = 128 * MIB - 4096
    assert faults(look(walk)) == {}


def test_half_outside_is_outside_and_ranges_may_touch(clean: Walk) -> None:
    walk = copy(clean)
    row = user_leaf(walk, 2)
    walk.pa[row] = 127 * MIB
    assert faults(look(walk)) == {"outside-memory": [int(walk.va[row])]}
    touching = [(100 * MIB, 128 * MIB), (0, 100 * MIB), (128 * MIB, 129 * MIB)]
    assert faults(look(walk, memory=touching)) == {}


@pytest.mark.parametrize("bit", [bits.PCD, bits.PWT])
def test_devices_are_notes(clean: Walk, bit: int) -> None:
    walk = copy(clean)
    row = user_leaf(walk)
    walk.pa[row] = 0xFEB0_0000
    set_bits(walk, row, bit)
    found = look(walk)
    assert faults(found) == {}
    notes = {f.rule.id: f.va.tolist() for f in found.findings}
    assert int(walk.va[row]) in notes["device-memory"]


def test_table_missing(clean: Walk) -> None:
    walk = copy(clean)
    row = where(walk, (walk.kind == Kind.TABLE) & (walk.level == 2))
    walk.pa[row] = 0x7FF_F000
    walk.tables.pa[-1], walk.tables.inside[-1] = 0x7FF_F000, False
    assert faults(look(walk)) == {"table-missing": [int(walk.va[row])]}


def test_table_loop(clean: Walk) -> None:
    walk = copy(clean)
    row = where(walk, (walk.kind == Kind.TABLE) & (walk.level == 3))
    walk.reports.append(WalkReport("loop", int(walk.va[row]), walk.root.pa, 2))
    assert faults(look(walk)) == {"table-loop": [int(walk.va[row])]}


def test_every_rule_is_seeded_here() -> None:
    text = "".join(path.read_text() for path in Path(__file__).parents[1].glob("*/test_*.py"))
    assert all(f'"{rule.id}"' in text for rule in RULES)
    assert len({rule.id for rule in RULES}) == len(RULES)


# ---- findings


def test_neighbours_are_one_range_and_worst_comes_first(clean: Walk) -> None:
    walk = copy(clean)
    pte = (walk.level == 1) & walk.leaf & (walk.va < np.uint64(1 << 63)) & walk.nx
    rows = np.flatnonzero(pte)
    follows = np.flatnonzero(np.diff(walk.va[rows].astype(np.int64)) == 4096)
    first = int(follows[5])
    pair = rows[[first, first + 1]]
    alone = rows[-1]
    for row in (*pair, alone):
        set_bits(walk, row, bits.DIRTY, bits.RW)
    kernel = kernel_leaf(walk)
    set_bits(walk, kernel, bits.DIRTY, bits.RW)
    found = look(walk)
    severities = [finding.rule.severity for finding in found.findings]
    assert severities == ["high", "medium", "note", "note"]
    user = found.findings[1]
    start = int(walk.va[pair[0]])
    assert list(user.ranges.rows()) == [
        (start, start + 8192, 0, 2),
        (int(walk.va[alone]), int(walk.va[alone]) + 4096, 2, 1),
    ]
    assert (user.entries, user.size) == (3, 3 * 4096)
    assert user.entry.tolist() == walk.entry[[*pair, alone]].tolist()
    assert (found.faults, found.rows) == (2, len(walk))


def test_findings_do_not_depend_on_the_size_of_chunks(
    clean: Walk, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk = copy(clean)
    for row in (user_leaf(walk), kernel_leaf(walk)):
        set_bits(walk, row, bits.DIRTY, bits.RW)
    whole = look(walk).as_dict()
    monkeypatch.setattr("pgtable.images.audit.rows.CHUNK", 997)
    assert look(walk).as_dict() == whole


def test_an_empty_walk_has_nothing() -> None:
    walk = walk_of("k612-128")
    empty = with_columns(
        walk,
        {name: column[:0] for name, column in walk.columns.items()},
        Tables(*(column[:0] for column in walk.tables)),
    )
    found = look(empty)
    assert found.findings == []
    assert found.recognised.rules is None
    assert "unknown" in found.recognised.text


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"rules": "linux"}, "no such rules"),
        ({"physical_bits": 53}, "32 to 52"),
        ({"physical_bits": 31}, "32 to 52"),
        ({"memory": [(2, 1)]}, "ends before it starts"),
    ],
)
def test_bad_arguments(clean: Walk, how: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        audit(clean, **how)


# ---- recognition


@pytest.mark.parametrize("name", MEMORY)
@pytest.mark.parametrize("cpu", [0, 1])
def test_a_census_recognises_as_a_walk_does(name: str, cpu: int) -> None:
    with open_image(DATA / f"{name}.vmcore.xz") as image:
        assert recognise_census(image.census(cpu=cpu)) == recognise(image.walk(cpu=cpu))


def test_user_half_alone_is_recognised(clean: Walk) -> None:
    for walk, rules in ((clean, "saved_dirty"), (walk_of("k61-256"), "base")):
        user = walk.va < np.uint64(1 << 63)
        columns = {name: column[user] for name, column in walk.columns.items()}
        assert recognise(with_columns(walk, columns)).rules == rules


def test_a_few_real_shadow_stacks_do_not_change_the_rules(clean: Walk) -> None:
    walk = copy(clean)
    pte = np.flatnonzero(walk.leaf & walk.user & (walk.level == 1))
    for row in pte[:300]:
        set_bits(walk, row, bits.DIRTY, bits.RW | bits.BIT58)
    found = recognise(walk)
    assert (found.rules, found.kept) == ("saved_dirty", 300)
