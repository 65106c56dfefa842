# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable bench``."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import pgtable
from pgtable import cost
from pgtable.cli import main
from pgtable.cost import result_files

DATA = Path(__file__).parents[1] / "data"
DUMP = str(DATA / "k612-128.ptes.bin.xz")


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    """Let plans take no time: nothing here depends on what is timed."""
    short = {"processes": 2, "seconds": 0, "rounds": 2, "memory_entries": 1 << 16}
    for name in ("DEFAULT", "QUICK"):
        monkeypatch.setattr(cost, name, replace(getattr(cost, name), **short))
    monkeypatch.setattr("pgtable.cost.simulated.missing", lambda: "valgrind is not wanted here")


@pytest.fixture
def run(capsys):
    """Return a function that runs the command line: exit code, output, errors."""

    def call(*argv):
        code = main(["bench", *map(str, argv)])
        return (code, *capsys.readouterr())

    return call


def test_every_number_stands_beside_its_mix_way_and_compiler(run):
    code, out, err = run("pte_wrprotect,pte_write", "--mix", "clean,half")
    assert code == 0
    rows = [line for line in out.splitlines() if line.startswith("pte_")]
    assert len(rows) == 2 * 2 * 3
    for line in rows:
        assert "gcc " in line
        assert " kernel " in line
        assert "  clean  " in line or "  half  " in line
    header = out.splitlines()[0]
    for word in ("mix", "way", "compiler", "ns", "95 %", "cycles", "harness ns", "bytes"):
        assert word in header
    assert "are outliers" in out.splitlines()[-1]
    assert all(line.startswith("pgtable: ") for line in err.splitlines())


def test_json_is_the_document(run, tmp_path):
    saved = tmp_path / "A.json"
    code, out, _ = run("pte_dirty", "--json", "--save", saved, "--way", "constant,kernel")
    assert code == 0
    assert json.loads(out) == json.loads(saved.read_text())
    rows = result_files.load(saved).rows
    assert len(rows) == 2 * 3 * 3
    assert {row.params["way"] for row in rows} == {"constant", "kernel"}


def test_saved_results_are_compared(run, tmp_path):
    saved = tmp_path / "A.json"
    assert run("pte_dirty", "--mix", "clean", "--save", saved)[0] == 0
    code, out, err = run("compare", saved, saved)
    assert (code, err) == (0, "")
    assert out


def test_a_file_is_a_mix(run):
    code, out, _ = run("pte_modify", "--data", DUMP, "--json")
    assert code == 0
    mixes = {row["params"]["mix"] for row in json.loads(out)["benchmarks"]}
    assert mixes == {"file:k612-128.ptes.bin.xz"}
    _, out, _ = run("pte_modify", "--data", DUMP, "--mix", "half", "--json")
    mixes = {row["params"]["mix"] for row in json.loads(out)["benchmarks"]}
    assert mixes == {"half", "file:k612-128.ptes.bin.xz"}


@pytest.mark.parametrize(
    ("words", "engines"),
    [
        (["base"], [("base", None, None)]),
        (["base,cow"], [("base", None, None), ("cow", True, True)]),
        (["cow,shstk=n"], [("cow", False, True)]),
        (["cow,shstk=y,config=n", "base"], [("cow", True, False), ("base", None, None)]),
        (["saved_dirty,shstk=n"], [("saved_dirty", False, True)]),
    ],
)
def test_rules(run, words, engines):
    options = [option for word in words for option in ("--rules", word)]
    code, out, _ = run("pte_dirty", "--mix", "clean", "--json", *options)
    assert code == 0
    params = [row["params"] for row in json.loads(out)["benchmarks"]]
    assert [(one["engine"], one["shstk"], one["config"]) for one in params] == engines


def test_all_rules(run):
    _, out, _ = run("pte_dirty", "--mix", "clean", "--json", "--rules", "all")
    assert len(json.loads(out)["benchmarks"]) == 7


def test_trees_take_switches(run):
    tree = DATA / "mini_tree"
    options = ["--kernel", tree, "--kernel", f"{tree},shstk=n", "--rules", "base"]
    code, out, _ = run("pte_wrprotect", "--mix", "clean", "--json", *options)
    assert code == 0
    params = [row["params"] for row in json.loads(out)["benchmarks"]]
    assert [(one["engine"], one["shstk"]) for one in params] == [
        ("base", None),
        ("6.66.3-mini", True),
        ("6.66.3-mini", False),
    ]


def test_a_missing_compiler_is_said_and_the_rest_measured(run):
    code, out, err = run("pte_dirty", "--mix", "clean", "--compiler", "gcc,no-cc", "--json")
    assert code == 0
    assert len(json.loads(out)["benchmarks"]) == 3
    assert "pgtable: not measured with no-cc: " in err


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["pte_wrprotec"], "did you mean pte_wrprotect?"),
        (["--mix", "x"], "mix is 'x'; it must be one of clean, dirty, half, sorted"),
        (["--way", "x"], "way is 'x'; it must be one of kernel, constant, vector"),
        (["--shape", "x"], "shape is 'x'; it must be one of table, latency, memory"),
        (["--rules", "x"], "'x' is none of"),
        (["--rules", "cow,shstk=x"], "'shstk=x' is no switch"),
        (["--rules", "base,shstk=y"], "no such combination"),
        (["--way", "vector", "--isa", "x"], "instruction set 'x' is unknown"),
        (["--isa", "x"], "instruction set 'x' is unknown"),
        (["--isa", "baseline"], "--isa baseline: is of the way vector; add --way vector"),
        (["--compiler", "no-cc"], "compiler 'no-cc' was not found"),
        (["--way", "vector", "--shape", "latency"], "a chain of results is no vector code"),
        (["--mix", ","], "no mix or file is named"),
        (["--compiler", ""], "no compiler is named"),
        ([","], "no helper is named"),
        (["--data", DUMP, "--data", "x/k612-128.ptes.bin.xz"], "another file is called so too"),
        (["--data", "no-file"], "no-file: No such file"),
        (["--kernel", "no-tree"], "no-tree: No such file"),
    ],
)
def test_bad_input_is_said_in_a_line(run, argv, says):
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    last = err.splitlines()[-1]
    assert last.startswith("pgtable: error: ")
    assert says in last


def test_what_results_could_not_tell_apart_is_refused(run, tmp_path):
    same = tmp_path / "gcc"
    same.symlink_to(shutil.which("gcc"))
    code, _, err = run("--compiler", f"gcc,{same}")
    assert code == 2
    assert "there are two of pte_wrprotect (base, " in err.splitlines()[-1]


def test_an_instruction_set_that_the_processor_lacks(run):
    lacking = [name for name, usable in pgtable.isas().items() if not usable]
    for name in lacking:
        code, _, err = run("--way", "vector", "--isa", name)
        assert code == 2
        assert f"'{name}' is not usable on this machine" in err.splitlines()[-1]


def test_damaged_data_are_refused(run, tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "torn").write_bytes(b"x" * 9)
    np.save(tmp_path / "floats.npy", np.zeros(9))
    for name, says in (("empty", "holds no entries"), ("torn", "9 bytes"), ("floats.npy", "<f8")):
        code, _, err = run("--data", tmp_path / name)
        assert code == 2
        assert says in err.splitlines()[-1]


def test_a_wrong_result_is_no_measurement(run, monkeypatch):
    def wrong(*_, **__):
        raise cost.checking.WrongResultError("x: entry 3 is 0x4, expected 0x5")

    monkeypatch.setattr(cost, "measure", wrong)
    code, out, err = run()
    assert (code, out) == (2, "")
    assert err == "pgtable: error: a timed result is wrong: x: entry 3 is 0x4, expected 0x5\n"


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit):
        main(["bench", "--help"])
    out = capsys.readouterr().out
    assert "pgtable bench compare A.json B.json" in out
    assert "of a booted kernel" in out
