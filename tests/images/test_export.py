# SPDX-License-Identifier: GPL-2.0-only
"""A walk as a file, and the command that writes it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import pgtable
from pgtable.cli import main
from pgtable.images import Walk, export
from pgtable.images.synthetic import FULL_MIX, synthesize, write


@pytest.fixture
def walk(dump: str) -> Walk:
    with pgtable.open_image(f"{dump}.vmcore.xz") as image:
        return image.walk()


@pytest.fixture
def core(dump: str) -> str:
    return f"{dump}.vmcore.xz"


def test_npy_has_every_column(walk: Walk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "CHUNK", 1000)  # the last one is not whole
    walk.save_npy(tmp_path / "walk.npy")
    records = np.load(tmp_path / "walk.npy", mmap_mode="r")
    assert records.dtype.names == tuple(walk.columns)
    for name, column in walk.columns.items():
        assert records[name].dtype == column.dtype
        assert np.array_equal(records[name], column)


def test_parquet_has_every_column(walk: Walk, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    walk.save_parquet(tmp_path / "walk.parquet")
    table = parquet.read_table(tmp_path / "walk.parquet")
    assert table.column_names == list(walk.columns)
    for name, column in walk.columns.items():
        assert np.array_equal(table[name].to_numpy(), column)


def test_without_pyarrow_the_extra_is_named(
    walk: Walk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"pip install 'pgtable\[parquet\]'"):
        walk.save_parquet(tmp_path / "walk.parquet")
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_export(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"\x67\x10".ljust(8192, b"\0"))
    with pgtable.open_image(tmp_path / "empty") as image:
        walk = image.walk(0, 4, limit=0)
    walk.save_npy(tmp_path / "walk.npy")
    assert len(np.load(tmp_path / "walk.npy")) == len(walk) == 0
    assert walk.to_info_tlb() == ""
    pytest.importorskip("pyarrow")
    walk.save_parquet(tmp_path / "walk.parquet")


def test_info_tlb_shows_each_flag_of_its_leaf() -> None:
    flags = {63: "X", 8: "G", 7: "P", 6: "D", 5: "A", 4: "C", 3: "T", 2: "U", 1: "W"}
    for level in (1, 2):
        for bit, letter in flags.items():
            columns = (
                np.array([0xFFFF800000001000, 0x2000], np.uint64),
                np.array([0xABC000, 0], np.uint64),
                np.array([1 << bit | 1, 1], np.uint64),
                np.array([level, level], np.uint8),
            )
            shown = "".join(
                other if other == letter and not (bit == 7 and level == 1) else "-"
                for other in flags.values()
            )
            assert export.info_tlb_lines(*columns).tobytes().decode() == (
                f"ffff800000001000: 0000000000abc000 {shown}\n"
                "0000000000002000: 0000000000000000 ---------\n"
            )


def test_command_info_tlb(
    dump: str, core: str, dump_text: Callable[[str], str], tmp_path: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:  # fmt: skip
    out = tmp_path / "tlb"
    assert main(["walk", core, "--cpu", "1", "--format", "info-tlb", "-o", str(out)]) == 0
    expected = dump_text(f"{dump}.tlb.cpu1.txt.xz")
    assert out.read_text() == expected
    assert main(["walk", core, "--cpu", "1", "--format", "info-tlb"]) == 0
    sys.stdout.flush()
    assert capfdbinary.readouterr().out.decode() == expected


def test_command_files(walk: Walk, core: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    for form in ("npy", "parquet"):
        assert main(["walk", core, "--format", form, "-o", str(tmp_path / form)]) == 0
    assert np.array_equal(np.load(tmp_path / "npy")["entry"], walk.entry)
    assert (tmp_path / "parquet").read_bytes()[:4] == b"PAR1"


def test_command_rows(walk: Walk, core: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["walk", core, "--format", "json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [int(row["entry"], 16) for row in rows] == walk.entry.tolist()
    assert [int(row["va"], 16) for row in rows] == walk.va.tolist()
    assert [row["writable"] for row in rows] == walk.writable.tolist()
    assert [row["nx"] for row in rows] == walk.nx.tolist()
    assert main(["walk", core, "--format", "table"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(walk)
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].split()[:3] == [f"{walk.va[0]:#018x}", "4", "table"]


def test_command_summary(
    dump: str, core: str, dump_json: Callable[[str], dict], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["walk", core]) == 0
    text = capsys.readouterr().out
    assert all(len(line) <= 80 or core in line for line in text.splitlines())
    said = dump_json(f"{dump}.json")["cpus"][0]
    assert f"{said['hist']['user leaf level1']['n']:,}" in text
    assert main(["walk", core, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["root"] == f"{int(said['CR3'], 16):#x}"
    assert summary["entries"] == sum(said["counts"].values())
    assert summary["counts"]["kernel level 2"]["leaf"] == said["hist"]["kernel leaf level2"]["n"]


def test_command_shows_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = synthesize(9000, seed=6, mix=FULL_MIX, outside=20, loops=2)
    path = str(write(made, tmp_path / "raw"))
    root = ["--root", hex(made.root), "--levels", "4"]
    assert main(["walk", path, *root]) == 0
    text = capsys.readouterr().out
    assert f"outside: and {made.outside - 5} more" in text
    assert text.count("loop: ") == made.loops
    segment = f"0,0,{made.base + 4096 * len(made.pages):#x}"
    assert main(["walk", path, *root, "--json", "--limit", "100", "--segment", segment]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["entries"] == 100
    assert summary["reports"]["limit"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/nowhere/image"], "/nowhere/image: No such file"),
        (["CORE", "--cpu", "7"], "has no processor 7"),
        (["CORE", "--root", "0"], "not in the image"),
        (["CORE", "--format", "npy"], "name it with -o"),
        (["CORE", "--format", "table", "-o", "x"], "is printed"),
        (["CORE", "--image-format", "kdump"], "kdump"),
    ],
)
def test_command_says_what_is_wrong(
    core: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [core if argument == "CORE" else argument for argument in arguments]
    assert main(["walk", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_command_refuses_what_is_no_number(core: str) -> None:
    for option, value in (("--root", "x"), ("--segment", "1,2"), ("--limit", "many")):
        with pytest.raises(SystemExit) as caught:
            main(["walk", core, option, value])
        assert caught.value.code == 2
