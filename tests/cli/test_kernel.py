# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable kernel`` and ``--engine TREE``."""

import json
from pathlib import Path

import numpy as np
import pytest

import pgtable
from pgtable.cli import main

from ..conftest import FAULTS, sample

MINI = str(Path(__file__).parents[1] / "data/mini_tree")
QUICK = "--flags=-O1"


@pytest.fixture
def run(capsys):
    """Return a function that runs the command line: exit code, output, errors."""

    def call(*argv):
        code = main([str(word) for word in argv])
        return (code, *capsys.readouterr())

    return call


@pytest.fixture
def quick(monkeypatch):
    """Let trees be compiled quickly where the command line has no say in it."""
    original = pgtable.kernel_tree
    monkeypatch.setattr(
        "pgtable.kernel_trees.kernel_tree",
        lambda *given, **options: original(*given, **options | {"flags": "-O1"}),
    )


def is_for_mail(text):
    return text.isascii() and all(len(line) <= 80 for line in text.split("\n"))


def test_list(run, mini_engine):
    code, out, err = run("kernel", "list", MINI, QUICK)
    assert (code, err) == (0, "")
    assert is_for_mail(out)
    assert out.startswith("kernel_tree('6.66.3-mini', shstk=True)\n")
    words = out.replace(",", " ").split()
    for helper in mini_engine.helpers.values():
        assert helper.name + (f"({helper.argument})" if helper.argument else "") in words
    assert "6 cannot be had:\n  flip_protnone: takes 3 values; a helper takes one or two\n" in out
    assert out.endswith("\n76 helpers\n")


def test_list_json(run, mini_engine):
    code, out, _ = run("kernel", "list", MINI, QUICK, "--json")
    found = json.loads(out)
    assert code == 0
    assert [helper["name"] for helper in found["helpers"]] == list(mini_engine.helpers)
    assert found["unavailable"] == dict(mini_engine.unavailable)
    assert (found["release"], found["shstk"]) == ("6.66.3-mini", True)


def test_check_of_a_clean_tree(run):
    code, out, err = run("kernel", "check", MINI, QUICK)
    assert (code, err) == (0, "")
    assert is_for_mail(out)
    assert "no findings" in out
    assert "matches saved_dirty" in out
    assert "not checked, as they cannot be had" in out
    assert "\nbit 58 is _PAGE_SAVED_DIRTY in this tree" in out
    assert "\nheld to nothing, as no law and no reference is about them: none" in out
    # the other setting is checked as well; an option that no header asks for is none
    assert "\nwith shstk=n:\n" in out
    assert "with CONFIG" not in out


@pytest.mark.parametrize("faulty", sample(FAULTS, ["lost_dirty", "frame_touched"]), indirect=True)
def test_check_of_a_faulty_tree(run, faulty):
    fault, tree = faulty
    code, out, _ = run("kernel", "check", tree, QUICK)
    assert code == 1
    assert is_for_mail(out)
    for helper in fault.helpers:
        assert f"\n{helper}" in out or f"the same in {helper}" in out
    assert "of 64 shared helpers differ" in out
    code, out, _ = run("kernel", "check", tree, QUICK, "--json")
    found = json.loads(out)
    assert (code, found["clean"]) == (1, False)
    assert {finding["helper"] for finding in found["laws"]["findings"]} == set(fault.helpers)


def test_difference_from_the_rules_alone_is_a_finding(run, make_mini_tree):
    # breaks no law: mkclean and dirty agree that Dirty is all there is
    edits = {"return pmd_val(pmd) & (_PAGE_PRESENT | _PAGE_PROTNONE | _PAGE_PSE);": "return 1;"}
    code, out, _ = run("kernel", "check", make_mini_tree(edits=edits), QUICK)
    assert code == 1
    assert "1 of 64 shared helpers differ" in out


def test_check_against_named_rules(run):
    code, out, _ = run("kernel", "check", MINI, QUICK, "--rules", "base")
    assert code == 1
    assert "against the reference of base:" in out
    assert "pte_wrprotect" in out


def test_compare(run, make_mini_tree):
    assert run("kernel", "compare", MINI, make_mini_tree(), QUICK)[0] == 0
    code, out, _ = run("kernel", "compare", MINI, f"{MINI},shstk=n", QUICK)
    assert code == 1
    assert is_for_mail(out)
    assert "pte_shstk" in out
    assert "71 the same, 5 differ" in out
    code, out, _ = run("kernel", "compare", MINI, "saved_dirty", QUICK, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["differences"] == []
    assert "pte_special" in found["only_in_b"]


def test_switches_after_the_path(run, make_mini_tree):
    tree = make_mini_tree(
        edits={
            "return pte_set_flags(pte, _PAGE_RW);": (
                "#ifdef CONFIG_BUG\n\treturn __pte(5);\n#endif\n"
                "\treturn pte_set_flags(pte, _PAGE_RW);"
            )
        }
    )
    for switches, result in (("", 2), (",CONFIG_BUG=y,shstk=n", 5)):
        code, out, _ = run(
            "kernel", "apply", "pte_mkwrite_novma", f"{tree}{switches}", 0, QUICK, "--json"
        )
        assert code == 0
        assert json.loads(out) == [{"entry": "0x" + "0" * 16, "result": f"0x{result:016x}"}]
    code, _, err = run("kernel", "apply", "pte_dirty", f"{tree},CONFIG_NONE=y", 0, QUICK)
    assert code == 0
    assert "warning: CONFIG_NONE: no header of" in err


def test_apply(run):
    code, out, _ = run("kernel", "apply", "pte_modify=0x25", MINI, "0x867", "0x65", QUICK)
    assert code == 0
    assert out == (
        "0x0000000000000867 (Write=1,Dirty=1,Cow=0) -> 0x0400000000000825 (Write=0,Dirty=0,Cow=1)\n"
        "0x0000000000000065 (Write=0,Dirty=1,Cow=0) -> 0x0000000000000065 (Write=0,Dirty=1,Cow=0)\n"
    )
    assert run("kernel", "apply", "pte_dirty", MINI, "0x40", QUICK)[1].endswith("-> True\n")
    assert run("kernel", "apply", "pte_flags", MINI, "0x1040", QUICK)[1].endswith(
        "-> 0x0000000000000040\n"
    )


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("apply", "pte_modify", MINI, "0"), "pte_modify needs an argument: pte_modify=newprot"),
        (("apply", "pte_mkold=1", MINI, "0"), "pte_mkold takes none"),
        (("apply", "pte_mkodl", MINI, "0"), "did you mean pte_mkold?"),
        (("apply", "pgprot_encrypted", MINI, "0"), "it needs cc_mkenc, which is in no header"),
        (("apply", "pte_mkold", MINI, "x"), "entry: 'x' is no number"),
        (("list", "/nowhere"), "/nowhere: No such file or directory"),
        (("list", "/proc/self/fd"), "/fd is no kernel tree"),
        (("check", MINI, "--compiler", "nocc-99"), "compiler 'nocc-99' was not found"),
    ],
)
def test_bad_input_is_one_line(run, argv, said):
    code, out, err = run("kernel", *argv, QUICK)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_cache(run, monkeypatch, tmp_path):
    monkeypatch.setenv("PGTABLE_CACHE_DIR", str(tmp_path))
    place = f"{tmp_path}/kernel_tree"
    assert run("kernel", "cache") == (0, f"{place}: 0 bytes\n", "")
    run("kernel", "list", MINI, QUICK)
    kept = json.loads(run("kernel", "cache", "--json")[1])["bytes"]
    assert kept > 10_000
    assert run("kernel", "cache", "--clear") == (0, f"{place}: {kept:,} bytes removed\n", "")
    assert run("kernel", "cache") == (0, f"{place}: 0 bytes\n", "")


@pytest.mark.usefixtures("quick")
def test_engine_option(run, tmp_path):
    entries = np.array([0x42, 0x40, 0x0], np.uint64)
    source, target = tmp_path / "in.npy", tmp_path / "out.npy"
    np.save(source, entries)
    code, out, _ = run("apply", "pte_wrprotect", source, "-o", target, "--engine", MINI)
    assert code == 0
    assert "kernel_tree('6.66.3-mini', shstk=True)" in out
    assert np.load(target).tolist() == [1 << 58, 1 << 58, 0]
    code, out, _ = run("apply", "pte_wrprotect", source, "-o", target, "--engine", MINI,
                       "--no-shstk")  # fmt: skip
    assert "shstk=False" in out
    code, _, err = run("apply", "pte_mkold", source, "-o", target, "--engine", MINI, "--config")
    assert code == 2
    assert "write" in err
    assert ",CONFIG_NAME=n" in err
    code, _, err = run("apply", "pte_mkold", source, "-o", target, "--engine", "nativ")
    assert code == 2
    assert "nativ" in err
