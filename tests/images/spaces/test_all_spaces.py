# SPDX-License-Identifier: GPL-2.0-only
"""Every address space at once: walks, audits, differences and the reverse map."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import pgtable
from pgtable.cli import main
from pgtable.images.audit.all_spaces import audit_spaces
from pgtable.images.diff_spaces import diff_spaces

sys.path.insert(0, str(Path(__file__).parent))
from machines import PAGE, A, D, Machine, P, U, W

DATA = Path(__file__).parents[2] / "data" / "spaces" / "main.raw.xz"
NX = 1 << 63


def written(tmp_path: Path, machine: Machine, name: str = "ram") -> Path:
    path = tmp_path / name
    path.write_bytes(machine.tobytes())
    return path


def opened(tmp_path: Path, machine: Machine, name: str = "ram") -> pgtable.images.Image:
    return pgtable.open_image(written(tmp_path, machine, name), format="raw")


def entries_of(walk: pgtable.images.Walk) -> set[tuple[int, int, int]]:
    return set(zip(walk.va.tolist(), walk.level.tolist(), walk.entry.tolist(), strict=True))


def check_parts(image: pgtable.images.Image) -> None:
    """What the parts of each space have together is what a walk of the space has."""
    found = image.spaces()
    parts: dict[int, set] = {space.root: set() for space in found}
    rows = 0
    for walk in image.walk_all(found):
        rows += len(walk)
        for space in walk.spaces:
            parts[space.root] |= entries_of(walk)
    c_bit = found.encryption.bit_length() - 1 if found.encryption else None
    for space in found:
        whole = image.walk(space.root, space.levels, c_bit=c_bit)
        mine = entries_of(whole)
        kernel = {row for row in mine if row[0] >> 63}
        assert mine - kernel == {row for row in parts[space.root] if not row[0] >> 63}
        assert kernel <= parts[space.root]
    assert rows < sum(map(len, parts.values()))


def test_parts_of_a_real_machine_are_its_spaces() -> None:
    with pgtable.open_image(DATA) as image:
        check_parts(image)


@pytest.mark.parametrize("levels", [4, 5])
@pytest.mark.parametrize("pti", [False, True])
@pytest.mark.parametrize("c_bit", [0, 47])
def test_parts_are_the_spaces(tmp_path: Path, levels: int, pti: bool, c_bit: int) -> None:
    machine = Machine(11, levels=levels, pti=pti, c_bit=c_bit)
    for pages in (1, 7, 3):
        machine.process(pages)
    with opened(tmp_path, machine) as image:
        check_parts(image)


def own_kernel_entry(machine: Machine, root: int) -> int:
    """Map a page in the kernel half of one process alone, for user mode too."""
    va = machine._place(0, 300) | 5 << 30
    machine.map(root // PAGE, va, 7 << 20 | P | W | U | A | D | NX)
    slot = va >> (12 + 9 * (machine.levels - 1)) & 511
    machine.words[root // PAGE, slot] |= np.uint64(U)
    return va


def test_what_one_kernel_half_has_alone_is_seen(tmp_path: Path) -> None:
    machine = Machine(4)
    roots = [machine.process(3) for _ in range(3)]
    va = own_kernel_entry(machine, roots[1])
    with opened(tmp_path, machine) as image:
        walks = list(image.walk_all())
        having = [walk for walk in walks if np.any(walk.va[walk.leaf] == np.uint64(va))]
        (finding,) = [
            one
            for one in audit_spaces(image).findings
            if one.finding.rule.id == "user-accessible-kernel"
        ]
    assert [[s.root for s in walk.spaces] for walk in having] == [[roots[1]]]
    assert [space.root for space in finding.spaces] == [roots[1]]
    assert finding.finding.va.tolist() == [va]
    assert not finding.everywhere


def of_rule(found: object, rule: str) -> list:
    return [one for one in found.findings if one.finding.rule.id == rule]


@pytest.mark.parametrize("pti", [False, True])
def test_writable_here_executable_there(tmp_path: Path, pti: bool) -> None:
    machine = Machine(8, pti=pti)
    roots = [machine.process(2) for _ in range(3)]
    frame = 6 << 20 | 0xAB000

    def add(number: int, va: int, flags: int) -> None:
        user = roots[number] // PAGE + (1 if pti else 0)
        machine.map(user, va, frame | P | U | A | flags)
        top = machine.words[roots[number] // PAGE]
        if pti:
            lower = machine.words[user, :256]
            top[:256] = np.where(lower != 0, lower | np.uint64(NX), lower)

    add(0, 0x7000_0000_0000, W | D | NX)
    add(1, 0x6000_0000_0000, 0)
    add(2, 0x5000_0000_0000, NX)  # reads only
    rule = "writable-here-executable-there"
    with opened(tmp_path, machine) as image:
        (one,) = of_rule(audit_spaces(image), rule)
    assert [space.root for space in one.spaces] == [roots[0]]
    assert one.finding.va.tolist() == [0x7000_0000_0000]
    assert one.finding.partner == 0x6000_0000_0000
    assert [space.root for space in one.finding.partner_spaces] == [roots[1]]
    # the same in one space is the rule of that
    add(0, 0x7000_0000_1000, 0)
    with opened(tmp_path, machine, "again") as image:
        found = audit_spaces(image)
    assert not of_rule(found, rule)
    aliases = of_rule(found, "writable-alias-of-code")
    (one,) = [one for one in aliases if not one.everywhere]  # the direct map maps the kernel
    assert [space.root for space in one.spaces] == [roots[0]]


def test_a_table_of_another_space_is_writable(tmp_path: Path) -> None:
    machine = Machine(9)
    roots = [machine.process(2) for _ in range(2)]
    machine.map(roots[0] // PAGE, 0x7000_0000_0000, roots[1] | P | U | W | A | D | NX)
    with opened(tmp_path, machine) as image:
        (one,) = of_rule(audit_spaces(image), "table-writable-by-user")
        walk = image.walk(roots[0])
        assert not [
            found
            for found in pgtable.audit(walk, image).findings
            if found.rule.id == "table-writable-by-user"
        ]
    assert [space.root for space in one.spaces] == [roots[0]]


def test_the_injected_mapping_is_found_where_no_processor_ran(
    capsys: pytest.CaptureFixture,
) -> None:
    assert main(["audit", str(DATA), "--all", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    (found,) = [one for one in told["findings"] if one["rule"] == "user-writable-executable"]
    (space,) = found["spaces"]
    assert [one["start"] for one in found["ranges"]] == ["0x200000000000"]
    assert not next(one for one in told["spaces"] if one["root"] == space)["cpus"]
    assert main(["audit", str(DATA), "--space", space]) == 1
    assert main(["audit", str(DATA), "--space", "kernel"]) == 0


def test_every_address_of_every_frame(tmp_path: Path) -> None:
    machine = Machine(12, levels=5)
    roots = [machine.process(40) for _ in range(3)]
    for root in roots[:2]:
        machine.map(root // PAGE, 0x4000_0000_0000, 6 << 20 | 0xE7, 2)
    # not present, its frame inverted: bit 8 and no PRESENT
    hidden = ~(7 << 20) & 0x000F_FFFF_FFFF_F000 | 1 << 8
    machine.map(roots[2] // PAGE, 0x1234_5000, hidden)
    with opened(tmp_path, machine) as image:
        walks = list(image.walk_all())
        every = image.reverse_map()
        asked = [0, 1, 0x600, 0x601, 0x700, 0x7FF, 5 << 8, roots[0] >> 12]
        some = image.reverse_map(asked)
        for pfn in (*range(0, 2048, 7), *asked):
            expected = []
            for walk in walks:
                size = pgtable.images.regions.SIZES[walk.level]
                kept = walk.leaf | (walk.kind == pgtable.images.Kind.PROT_NONE)
                pa = np.uint64(pfn << 12)
                hits = np.flatnonzero(kept & (walk.pa <= pa) & (pa < walk.pa + size))
                expected += [
                    (int(walk.va[i]) + (pfn << 12) - int(walk.pa[i]), walk.spaces) for i in hits
                ]
            assert [(one.va, one.spaces) for one in every.of(pfn)] == expected
            if pfn in asked:
                assert every.of(pfn) == some.of(pfn)
        assert [one.kind for one in every.of(0x700) if one.va == 0x1234_5000] == ["prot_none"]
        assert {(t.level, s.root) for t in some.tables(roots[0] >> 12) for s in t.spaces} == {
            (5, roots[0])
        }
        with pytest.raises(ValueError, match="none of those that the map was made for"):
            some.of(2)
        with pytest.raises(ValueError, match="no frame number"):
            every.of(1 << 40)


def test_frames_on_the_command_line(capsys: pytest.CaptureFixture) -> None:
    assert main(["frames", str(DATA), "0xf8b0", "0x1df2", "--json"]) == 0
    code, table = json.loads(capsys.readouterr().out)["frames"]
    addresses = [one["va"] for one in code["mappings"] if one["half"] == "user" and one["user"]]
    assert len(addresses) == 13
    assert set(addresses) == {"0x0000000000401000"}
    assert table["tables"] == [{"level": 4, "va": "0x0000000000000000", "spaces": ["0x1df2000"]}]
    assert main(["frames", str(DATA), "0xfffffff"]) == 1
    assert main(["frames", str(DATA), "0x10000000000"]) == 2


@pytest.mark.parametrize("name", ["2", "0x1df0000", "kernel"])
def test_one_space_by_name(name: str, capsys: pytest.CaptureFixture) -> None:
    with pgtable.open_image(DATA) as image:
        space = image.spaces().find(name)
        entries = len(image.walk(space.root, 4))
    for command in (["walk"], ["census"]):
        assert main([*command, str(DATA), "--space", name, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["root"] == f"{space.root:#x}"
        total = told.get("entries") or sum(one["entries"] for one in told["regions"])
        assert total == entries


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["walk", "--space", "99"], "there is no space 99"),
        (["walk", "--space", "init"], "is no space"),
        (["walk", "--space", "1", "--root", "0x1000"], "so does --root"),
        (["walk", "--all", "--root", "0x1000"], "--root is for one address space"),
        (["audit", "--all", "--space", "1"], "--space is for one address space"),
        (["walk", "--all", "--format", "npy", "-o", "x"], "--output is for one"),
        (["walk", "--all", "--format", "info-tlb"], "no column for the space"),
    ],
)
def test_options_that_do_not_go_together(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture
) -> None:
    assert main([arguments[0], str(DATA), *arguments[1:]]) == 2
    assert said in capsys.readouterr().err


def test_all_rows_name_their_space(capsys: pytest.CaptureFixture) -> None:
    assert main(["walk", str(DATA), "--all", "--format", "json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert main(["walk", str(DATA), "--all", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(rows) == told["entries"] == sum(part["entries"] for part in told["parts"])
    of_one = [row for row in rows if row["space"] == "0x1df2000"]
    assert len(of_one) == 125
    assert main(["walk", str(DATA), "--all", "--format", "table"]) == 0
    assert capsys.readouterr().out.count("\n") == len(rows)
    assert main(["census", str(DATA), "--all", "--json"]) == 0
    census = json.loads(capsys.readouterr().out)
    assert sum(one["entries"] for one in census["regions"]) == len(rows)
    leaves = sum(one["leaves"] for one in census["parts"])
    assert leaves == sum(row["kind"] == "leaf" for row in rows)


def moments(tmp_path: Path) -> tuple[Path, Path, dict[str, int]]:
    """Write two moments: one process goes, one comes, one changes, one root is used anew."""
    machine = Machine(21)
    names = {name: machine.process(4) for name in ("stays", "goes", "changes", "reused")}
    machine.map(names["changes"] // PAGE, 0x5000_0000, 6 << 20 | P | U | W | A | D | NX)
    before = written(tmp_path, machine, "before")
    machine.words.ravel()[(4 << 20) // 8 + names["goes"] // PAGE * 8 + 6] = 0xFFFF_FFFF  # let go
    machine.map(names["changes"] // PAGE, 0x5000_0000, 6 << 20 | P | U | A | 1 << 58 | NX)
    number = (4 << 20) // 8 + names["reused"] // PAGE * 8 + 4
    mm = int(machine.words.ravel()[number]) + 0x200
    machine.words.ravel()[number] = mm
    own = machine.direct + names["reused"]
    machine.words.ravel()[(mm - machine.direct + 120) // 8] = own
    names["comes"] = machine.process(2)
    return before, written(tmp_path, machine, "after"), names


def test_spaces_of_two_moments_are_paired(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    before, after, names = moments(tmp_path)
    with (
        pgtable.open_image(before, format="raw") as old,
        pgtable.open_image(after, format="raw") as new,
    ):
        found = diff_spaces(old, new)
    assert {space.root for space in found.vanished} == {names["goes"], names["reused"]}
    assert {space.root for space in found.appeared} == {names["comes"], names["reused"]}
    differing = [(pair.half, pair.name) for pair in found.pairs if pair.diff.differs]
    assert ("user", f"{names['changes']:#x}") in differing
    assert ("user", f"{names['stays']:#x}") not in differing
    assert sum(pair.diff.changed for pair in found.pairs if pair.half == "user") == 1
    arguments = ["diff", str(before), str(after), "--image-format", "raw", "--all"]
    assert main([*arguments, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [one["root"] for one in told["appeared"]] == sorted(
        f"{names[name]:#x}" for name in ("comes", "reused")
    )
    assert main(arguments) == 1
    assert "2 address spaces appeared" in capsys.readouterr().out
    assert main(["diff", str(before), str(before), "--image-format", "raw", "--all"]) == 0


def test_diff_takes_the_same_space_of_both(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    before, after, names = moments(tmp_path)
    common = ["diff", str(before), str(after), "--image-format", "raw", "--json"]
    assert main([*common, "--space", f"{names['changes']:#x}"]) == 1
    assert json.loads(capsys.readouterr().out)["changed"] == 1
    after_name = f"{names['comes']:#x}"
    assert main([*common, "--space", f"{names['stays']:#x}", "--space-after", after_name]) == 1
    assert json.loads(capsys.readouterr().out)["after"]["root"] == after_name
