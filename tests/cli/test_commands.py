# SPDX-License-Identifier: GPL-2.0-only
"""The commands decode, apply and census: what they print, write, refuse and return."""

from __future__ import annotations

import json
import lzma
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import pgtable
from pgtable.cli import COMMANDS, main

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture
def dump(tmp_path) -> Path:
    path = tmp_path / "dump.bin"
    path.write_bytes(lzma.decompress((DATA / "k612-128.ptes.bin.xz").read_bytes()))
    return path


def run(*args) -> int:
    return main([str(arg) for arg in args])


def test_every_command_shows_examples_in_its_help(capsys):
    for command in COMMANDS:
        with pytest.raises(SystemExit) as stop:
            main([command, "--help"])
        assert stop.value.code == 0
        assert f"pgtable {command}" in capsys.readouterr().out.split("examples:")[1]


def test_module_runs_as_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "pgtable", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"pgtable {pgtable.__version__}\n"


# ---- decode


def test_decode_names_bits_frame_and_state(capsys):
    assert run("decode", "0x8400000012345825") == 0
    out = capsys.readouterr().out
    assert "(Write=0,Dirty=0,Cow=1)" in out
    assert "cannot be known: (a), (b) and (d) have the same bits" in out
    assert "0x12345 (physical address 0x12345000)" in out
    for line in ("bit  0  PRESENT", "bit 58  COW", "bit 63  NX"):
        assert line in out
    assert "bit  1" not in out


def test_decode_follows_rules_and_switches(capsys):
    run("decode", "0x45", "--json")
    run("decode", "0x45", "--no-shstk", "--json")
    run("decode", "--rules", "base", "0x400000000000045", "--json")
    texts = capsys.readouterr().out.replace("]\n[", "]\x00[").split("\x00")
    on, off, base = (json.loads(text)[0] for text in texts)
    assert on["may_be"] == ["c"]
    assert off["may_be"] == ["e"]
    assert "DEVMAP" in {bit["name"] for bit in base["bits"]}
    assert base["state"] == "(Write=0,Dirty=1,Cow=0)"


def test_decode_asks_an_engine_for_its_tests(capsys):
    assert (
        run("decode", "--engine", "native", "--rules", "base", "0x867", "0x8000000000000000") == 0
    )
    out = " ".join(capsys.readouterr().out.split())
    said = "says native(rules='base', shstk=False, config=False)"
    tests = "pte_dirty, pte_young, pte_write, pte_exec, pte_soft_dirty, pte_present,"
    assert f"true {tests}" in out
    assert f"true no test, {said}" in out


def test_decode_as_a_tree_does(capsys):
    tree = DATA / "mini_tree"
    assert run("decode", "--engine", f"{tree},shstk=n", "--level", "pmd", "--json", "0x42") == 0
    (found,) = json.loads(capsys.readouterr().out)
    engine = pgtable.kernel_tree(tree, shstk=False)
    assert found["rules"] == "saved_dirty"
    assert found["engine"] == engine.name
    # of no other level, and of no second argument
    assert "pmd_dirty" in found["true"]
    for name, helper in engine.helpers.items():
        asked = helper.kind == "test" and helper.info.takes == "pmd" and not helper.argument
        assert (name in found["true"]) == (asked and helper(0x42))
    assert run("decode", "--engine", DATA, "0x42") == 2
    assert "is no kernel tree" in capsys.readouterr().err


def test_entries_are_read_as_kernels_print_them(capsys, tmp_path):
    assert run("decode", "8000000000000867", "8a5", "0x8000_0000_0000_0867", "--json") == 0
    found = [entry["entry"] for entry in json.loads(capsys.readouterr().out)]
    assert found == ["0x8000000000000867", "0x00000000000008a5", "0x8000000000000867"]
    (tmp_path / "list").write_text(
        "8000000000000867\n8a5\n867\nface\n0o7\n12345678901234567890123\n"
    )
    assert run("decode", "--from", tmp_path / "list", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    found = [entry["entry"] for entry in report["entries"]]
    assert found == ["0x8000000000000867", "0x00000000000008a5", "0x0000000000000007"]
    assert any("line 3" in note and "0x867 or as decimal 867" in note for note in report["notes"])
    assert any("line 4" in note and "0xface" in note for note in report["notes"])


def test_every_command_reads_numbers_alike(dump, tmp_path, capsys):
    tree = DATA / "mini_tree"
    out = tmp_path / "out"
    assert run("apply", "pte_set_flags=8000000000000200", dump, "-o", out) == 0
    before = np.fromfile(dump, "<u8")
    assert np.array_equal(np.fromfile(out, "<u8"), before | np.uint64(0x8000000000000200))
    capsys.readouterr()
    assert run("kernel", "apply", "pte_modify=8000000000000025", tree, "8000000000000867") == 0
    assert capsys.readouterr().out.startswith("0x8000000000000867 ")
    for args in (
        ["decode", "867"],
        ["apply", "pte_set_flags=512", dump, "-o", out],
        ["kernel", "apply", "pte_modify=512", tree, "0x25"],
        ["kernel", "apply", "pte_mkold", tree, "867"],
    ):
        assert run(*args) == 2
        assert " or as decimal " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["0xzz"], "'0xzz' is no number"),
        (["867"], "'867' can be read as 0x867 or as decimal 867, which is 0x363"),
        (["12345678901234567f"], "0 to 2**64-1"),
        (["-0x1"], None),
        ([str(2**64)], "0 to 2**64-1"),
        (["--rules", "base", "--shstk", "1"], "no such combination"),
    ],
)
def test_decode_refuses(args, message, capsys):
    if message is None:
        with pytest.raises(SystemExit) as stop:
            run("decode", *args)
        assert stop.value.code == 2
        return
    assert run("decode", *args) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


# ---- apply


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_apply_is_the_chain_of_the_engine(dump, tmp_path, engine, capsys):
    out = tmp_path / "out.bin"
    options = ["--rules", "saved_dirty", "--engine", engine, "--json"]
    assert run("apply", "pte_wrprotect,pte_set_flags=0x200", dump, "-o", out, *options) == 0
    oracle = pgtable.reference("saved_dirty")
    before = np.fromfile(dump, "<u8")
    expected = oracle.pte_set_flags(oracle.pte_wrprotect(before), 0x200)
    assert np.array_equal(np.fromfile(out, "<u8"), expected)
    assert json.loads(capsys.readouterr().out)["entries"] == before.size


def test_apply_where_leaves_the_others_alone(dump, tmp_path):
    out = tmp_path / "out.bin"
    assert run("apply", "pte_mkclean", dump, "-o", out, "--where", "pte_write") == 0
    before, after = np.fromfile(dump, "<u8"), np.fromfile(out, "<u8")
    writable = pgtable.reference().pte_write(before)
    assert np.array_equal(after[~writable], before[~writable])
    assert np.array_equal(after[writable], pgtable.reference().pte_mkclean(before)[writable])
    assert (after != before).any()


def test_apply_in_place_and_between_formats(dump, tmp_path):
    before = np.fromfile(dump, "<u8")
    npy = tmp_path / "out.npy"
    assert run("apply", "pte_mkold", dump, "-o", npy) == 0
    assert np.array_equal(np.load(npy), before & ~np.uint64(0x20))
    assert run("apply", "pte_mkyoung", npy, "-o", tmp_path / "raw") == 0
    assert np.array_equal(np.fromfile(tmp_path / "raw", "<u8"), before | np.uint64(0x20))
    assert run("apply", "pte_mkold", dump, "--in-place") == 0
    assert np.array_equal(np.fromfile(dump, "<u8"), before & ~np.uint64(0x20))


def test_apply_to_an_empty_file(tmp_path):
    (tmp_path / "empty").touch()
    assert run("apply", "pte_mkold", tmp_path / "empty", "-o", tmp_path / "out") == 0
    assert (tmp_path / "out").read_bytes() == b""


REFUSED = {
    "nearest name": (["pte_wrprotct", "IN", "-o", "OUT"], "did you mean pte_wrprotect"),
    "other rules": (["pte_mkcow", "IN", "-o", "OUT", "--rules", "base"], "have it: cow"),
    "a test": (["pte_dirty", "IN", "-o", "OUT"], "is a test"),
    "no argument": (["pte_set_flags", "IN", "-o", "OUT"], "HELPER=ARGUMENT"),
    "not an argument": (["pte_set_flags=x", "IN", "-o", "OUT"], "'x' is no number"),
    "argument too large": (["pte_set_flags=-1", "IN", "-o", "OUT"], "mask is -0x1"),
    "argument too much": (["pte_mkold=1", "IN", "-o", "OUT"], "takes the entry alone"),
    "where a map": (["pte_mkold", "IN", "-o", "OUT", "--where", "pte_mkold"], "--where"),
    "missing": (["pte_mkold", "nosuch", "-o", "OUT"], "nosuch: No such file"),
    "directory in": (["pte_mkold", ".", "-o", "OUT"], ".: Is a directory"),
    "directory out": (["pte_mkold", "IN", "-o", "."], "name a file"),
    "no directory": (["pte_mkold", "IN", "-o", "no/such"], "no/such: cannot be written"),
    "same file": (["pte_mkold", "IN", "-o", "IN"], "--in-place"),
    "torn": (["pte_mkold", "TORN", "-o", "OUT"], "is 9 bytes long"),
    "threads": (["pte_mkold", "IN", "-o", "OUT", "--threads", "-1"], "threads is -1"),
}


@pytest.mark.parametrize(("args", "message"), REFUSED.values(), ids=REFUSED)
def test_apply_refuses_in_one_line_and_writes_nothing(
    args, message, dump, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    dump.rename("IN")
    Path("TORN").write_bytes(b"123456789")
    Path("OUT").write_bytes(b"old")
    before = Path("IN").read_bytes()
    assert run("apply", *args) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert Path("OUT").read_bytes() == b"old"
    assert Path("IN").read_bytes() == before
    assert sorted(os.listdir()) == ["IN", "OUT", "TORN"]


def written_below(pid: int, directory: Path) -> list[str]:
    """Return the files below a directory, with a name or without, that a process has open."""
    links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
    return [link for link in links if link.startswith(f"{directory}/") and "fifo" not in link]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_leaves_the_old_file_and_no_other(tmp_path, number):
    fifo, out = tmp_path / "fifo", tmp_path / "out"
    os.mkfifo(fifo)
    out.write_bytes(b"old")
    child = subprocess.Popen(
        [sys.executable, "-m", "pgtable", "apply", "pte_mkold", str(fifo), "-o", str(out)],
        stderr=subprocess.PIPE,
        text=True,
    )
    with fifo.open("wb") as feed:
        feed.write(bytes(8192))
        feed.flush()
        deadline = time.monotonic() + 60
        while not written_below(child.pid, tmp_path) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert written_below(child.pid, tmp_path), "the command never began to write"
        child.send_signal(number)
        time.sleep(0.1)
    _, error = child.communicate(timeout=60)
    assert child.returncode == 128 + number
    assert error == "pgtable: interrupted\n"
    assert out.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["fifo", "out"]


def test_the_result_is_synced_before_it_takes_the_name(dump, tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (steps.append("rename"), replace(a, b))[1])
    assert run("apply", "pte_mkold", dump, "-o", tmp_path / "out") == 0
    assert steps == ["fsync", "rename", "fsync"]


# ---- census


def test_census_of_a_real_dump_is_what_was_recorded(capsys):
    recorded = json.loads((DATA / "k612-128.json").read_text())["cpus"][0]["hist"]
    user, kernel = recorded["user leaf level1"], recorded["kernel leaf level1"]
    path = DATA / "k612-128.ptes.bin.xz"
    assert run("census", path, "--rules", "saved_dirty", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["kinds"]["leaf"] == user["n"] + kernel["n"]
    cow = user["W,D,bit58"]["W=0 D=0 b58=1"]
    assert report["states"]["(Write=0,Dirty=0,Cow=1)"] == cow == 1841
    assert report["states"]["(Write=0,Dirty=1,Cow=0)"] == 0
    assert report["flags"][" 2 USER"] == user["US"]
    assert report["flags"]["58 SAVED_DIRTY"] == user["SW5_saveddirty_58"]
    assert report["entries"] == sum(report["kinds"].values()) == 70 * 512


def test_census_table_shows_what_may_be(capsys):
    assert run("census", DATA / "k61-256.ptes.bin.xz", "--rules", "base") == 0
    out = capsys.readouterr().out
    assert "(Write=0,Dirty=1,Cow=0) e" in out
    assert max(map(len, out.splitlines()[1:])) <= 80
    assert out.isascii()


def test_census_of_an_empty_file(tmp_path, capsys):
    (tmp_path / "empty").touch()
    assert run("census", tmp_path / "empty", "--json") == 0
    assert json.loads(capsys.readouterr().out)["entries"] == 0


def test_a_reader_that_has_seen_enough_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m pgtable census {DATA / 'k61-256.ptes.bin.xz'} --json | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
