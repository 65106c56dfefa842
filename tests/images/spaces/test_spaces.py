# SPDX-License-Identifier: GPL-2.0-only
"""Address spaces found from content: a real machine with its truth, machines made up, bad input."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import pgtable
from pgtable.cli import main
from pgtable.images.spaces import candidates

sys.path.insert(0, str(Path(__file__).parent))
from machines import Machine

DATA = Path(__file__).parents[2] / "data" / "spaces"


@pytest.fixture(scope="module")
def real() -> tuple[pgtable.images.Image, dict]:
    with pgtable.open_image(DATA / "main.raw.xz") as image:
        yield image, json.loads((DATA / "main.json").read_text())


def test_every_process_of_a_real_machine_is_found(real: tuple) -> None:
    image, truth = real
    found = image.spaces()
    facts = {}
    for space in found:
        if space.kind != "process":
            continue
        walk = image.walk(root=space.root, levels=space.levels)
        rows = walk.leaf & (walk.va < np.uint64(1 << 63))
        va, pfn = walk.va[rows], walk.pa[rows] >> np.uint64(12)
        total = int((va // np.uint64(4096) * pfn).sum())
        assert len(va) == space.user_leaves
        facts[len(va), int(va[0]), int(pfn[0]), total] = space.root
    expected = {
        (p["present"], int(p["first_va"], 16), int(p["first_pfn"], 16), int(p["sum"], 16))
        for p in truth["processes"]
        if p["pid"] != 1  # it ran on after its truth was printed
    }
    assert expected <= set(facts)
    assert len(facts) == len(truth["processes"]) == 16
    roots = {f"{space.root:#x}" for space in found}
    assert set(truth["confirmed"]) <= roots
    assert len(found) == len(truth["confirmed"]) + 2
    assert [s.kind for s in found][16:] == ["poking", "kernel", "trampoline"]
    assert all(space.certain and space.levels == 4 for space in found)


def test_bytes_and_sharing_add_up(real: tuple) -> None:
    image, _ = real
    found = image.spaces()
    by_root = {space.root: space for space in found}
    for space in found:
        assert space.shared_bytes <= space.resident
        assert max(space.writable, space.executable) <= space.resident
        for other, size in space.shared.items():
            assert by_root[other].shared[space.root] == size


@pytest.mark.parametrize("levels", [4, 5])
@pytest.mark.parametrize("pti", [False, True])
@pytest.mark.parametrize("c_bit", [0, 47, 51])
@pytest.mark.parametrize("seed", range(3))
def test_machines_of_many_spaces(
    tmp_path: Path, levels: int, pti: bool, c_bit: int, seed: int
) -> None:
    machine = Machine(seed, levels=levels, pti=pti, c_bit=c_bit)
    for pages in (1, 3, 5, 2):
        machine.process(pages)
    dead = machine.process(2, alive=False)
    copies = {machine.copy(pa) for pa in list(machine.processes) for _ in range(9)}
    path = tmp_path / "ram"
    path.write_bytes(machine.tobytes())
    with pgtable.open_image(path, format="raw") as image:
        found = image.spaces()
        processes = {s.root: s for s in found if s.kind == "process"}
        assert set(processes) == set(machine.processes)
        for root, space in processes.items():
            assert space.levels == levels
            assert space.certain
            assert space.user_leaves == len(machine.processes[root])
            assert space.user_root == (root | 0x1000 if pti else None)
        assert [s.root for s in found if s.kind == "kernel"] == [machine.kernel * 4096]
        assert len(found) == len(processes) + 1
        assert copies | {dead} <= set(found.stale)


def test_an_encryption_bit_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Bits below 43 are no encryption bit of processors that are known: they must be said."""
    machine = Machine(4, c_bit=36)
    root = machine.process(5)
    path = tmp_path / "ram"
    path.write_bytes(machine.tobytes())
    with pgtable.open_image(path, format="raw") as image:
        found = image.spaces(c_bit=36)
        assert [s.root for s in found if s.kind == "process"] == [root]
        assert found.encryption == 1 << 36
        with pytest.raises(ValueError, match="c_bit is 70"):
            image.spaces(c_bit=70)
    arguments = [str(path), "--image-format", "raw", "--c-bit", "36", "--json"]
    assert main(["spaces", *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["spaces"][0]["user_leaves"] == 5
    assert main(["walk", *arguments, "--space", "0"]) == 0


@pytest.mark.parametrize("kind", ["zeros", "random", "ones", "words"])
def test_what_is_no_linux_is_one_sentence(
    tmp_path: Path, kind: str, capfd: pytest.CaptureFixture
) -> None:
    content = {
        "zeros": bytes(1 << 22),
        "random": np.random.default_rng(1).bytes(1 << 22),
        "ones": b"\xff" * (1 << 22),
        "words": np.full(1 << 19, 0x1067, "<u8").tobytes(),
    }[kind]
    path = tmp_path / "ram"
    path.write_bytes(content)
    code = main(["spaces", str(path), "--image-format", "raw"])
    out, err = capfd.readouterr()
    if kind == "words":  # every page is a top table of itself: hostile, but told
        assert code in (0, 2)
    else:
        assert code == 2
        assert "no page that can be a top table" in err
        assert out == ""
    assert err.count("\n") <= 1


def test_truncated_and_damaged_memory_gives_an_answer(tmp_path: Path) -> None:
    machine = Machine(7)
    for pages in (4, 4):
        machine.process(pages)
    content = machine.tobytes()
    rng = np.random.default_rng(0)
    for cut in (1 << 20, 3 << 20, (3 << 20) + 12345, 5 << 20):
        path = tmp_path / f"cut{cut}"
        path.write_bytes(content[:cut])
        assert main(["spaces", str(path), "--image-format", "raw", "--json"]) in (0, 2)
    for number in range(20):
        damaged = np.frombuffer(content, np.uint8).copy()
        at = rng.integers(2 << 20, 5 << 20, 2000)
        damaged[at] = rng.integers(0, 256, 2000)
        path = tmp_path / f"damaged{number}"
        path.write_bytes(damaged.tobytes())
        assert main(["spaces", str(path), "--image-format", "raw", "--json"]) in (0, 2)


def test_huge_pages_share_all_their_frames(tmp_path: Path) -> None:
    machine = Machine(5)
    roots = [machine.process(1), machine.process(1)]
    for root in roots:
        machine.map(root // 4096, 0x4000_0000_0000, 6 << 20 | 0xE7, 2)
    path = tmp_path / "ram"
    path.write_bytes(machine.tobytes())
    with pgtable.open_image(path, format="raw") as image:
        spaces = {space.root: space for space in image.spaces()}
    assert spaces[roots[0]].shared[roots[1]] >= 2 << 20
    assert spaces[roots[0]].resident == (2 << 20) + 4096


def test_gigantic_hostile_pages_are_bounded(tmp_path: Path) -> None:
    machine = Machine(6)
    root = machine.process(1)
    for number in range(512):
        machine.map(root // 4096, 0x4000_0000_0000 + (number << 30), number << 30 | 0xE7, 3)
    path = tmp_path / "ram"
    path.write_bytes(machine.tobytes())
    with pgtable.open_image(path, format="raw") as image:
        found = image.spaces()
    assert any("large pages" in note for note in found.notes)
    assert {s.root: s.resident for s in found}[root] == (512 << 30) + 4096


def test_json_names_every_space(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    machine = Machine(3)
    root = machine.process(2)
    path = tmp_path / "ram"
    path.write_bytes(machine.tobytes())
    assert main(["spaces", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"root": f"{root:#x}", "levels": 4, "kind": "process"}.items() <= told["spaces"][
        0
    ].items()


def test_a_compressed_shipped_machine_is_listed(capsys: pytest.CaptureFixture) -> None:
    assert main(["spaces", str(DATA / "main.raw.xz")]) == 0
    assert "19 address spaces" in capsys.readouterr().out


def test_hostile_tables_take_bounded_time_and_are_said(tmp_path: Path) -> None:
    """Every page is a top table of one kernel, and all refer to all."""
    rng = np.random.default_rng(0)
    n = 700
    words = (rng.integers(0, n, (n, 512), np.uint64) << np.uint64(12)) | np.uint64(0x67)
    words[:, 256:] = words[0, 256:]
    path = tmp_path / "ram"
    path.write_bytes(words.tobytes())
    began = time.process_time()
    with pgtable.open_image(path, format="raw") as image:
        found = image.spaces()
    assert time.process_time() - began < 20  # it was minutes
    assert len(found) > n // 2
    assert any("were not counted" in note for note in found.notes)
    assert sum(space.counted for space in found) < n // 2


def test_another_kernel_in_the_image_is_said(tmp_path: Path) -> None:
    machine = Machine(14)
    for _ in range(6):
        machine.process(2)
    for number in range(4):  # tops of a kernel that lies elsewhere
        page = machine.page(2)
        machine.words[page, 256:] = 0
        machine.words[page, 300 + number] = 0
        machine.words[page, 290], machine.words[page, 511] = 0x123067 & ~4, 0x125067 & ~4
    path = tmp_path / "ram"
    path.write_bytes(machine.tobytes())
    with pgtable.open_image(path, format="raw") as image:
        found = image.spaces()
    assert {s.root for s in found if s.kind == "process"} == set(machine.processes)
    (note,) = [note for note in found.notes if "another kernel half" in note]
    assert note.startswith("4 tables")


def test_a_windows_guest_is_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Top tables of Windows refer to themselves, with NX, and keep a bit of their own."""
    words = np.zeros((600, 512), np.uint64)
    for page in range(1, 40):
        words[page, 256 + page] = page << 12 | 0x8000_0000_0000_0863
        words[page, [300, 496, 511]] = [100 << 12 | 0x863, 101 << 12 | 0x863, 102 << 12 | 0x863]
    path = tmp_path / "ram"
    path.write_bytes(words.tobytes())
    assert main(["spaces", str(path), "--image-format", "raw"]) == 2
    assert "no page that can be a top table of 64-bit Linux" in capsys.readouterr().err


def test_which_processor_runs_which(tmp_path: Path) -> None:
    machine = Machine(15, pti=True)
    roots = [machine.process(3) for _ in range(3)]
    path = tmp_path / "ram"
    path.write_bytes(machine.tobytes())
    with pgtable.open_image(path, format="raw") as image:
        image.cpus = [
            pgtable.images.registers.Registers(1 << 31, 0, cr3, 0x20, 0, 0, 0xD01)
            for cr3 in (roots[1], roots[2] | 0x1000, roots[1] | 0x1003)
        ]
        runs = {space.root: space.cpus for space in image.spaces() if space.cpus}
    assert runs == {roots[1]: [0, 2], roots[2]: [1]}


def test_threads_find_the_same(real: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    image, _ = real
    one = image.spaces()
    monkeypatch.setattr(candidates, "_CHUNK", 1 << 20)
    told: list[int] = []
    for threads in (1, 3):
        assert image.spaces(threads=threads, progress=told.append).as_dict() == one.as_dict()
    assert told
    with pytest.raises(ValueError, match="threads is -1"):
        image.spaces(threads=-1)


def test_an_image_of_more_tops_than_can_be_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(22)
    root = machine.process(1)
    for _ in range(40):
        machine.copy(root)
    path = tmp_path / "ram"
    path.write_bytes(machine.tobytes())
    monkeypatch.setattr(candidates, "MOST", 10)
    monkeypatch.setattr(candidates, "_CHUNK", 1 << 16)
    with pgtable.open_image(path, format="raw") as image:
        tops = [candidates.find_tops(image, 0, threads)[0].tolist() for threads in (1, 2, 4)]
        assert tops[0] == tops[1] == tops[2]
        assert len(tops[0]) == 10
        assert any("look like top tables" in note for note in image.spaces().notes)
