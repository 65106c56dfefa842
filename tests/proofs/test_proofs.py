# SPDX-License-Identifier: GPL-2.0-only
"""Proofs of the tree in miniature: what holds is proved, and every fault is found."""

import json

import numpy as np
import pytest

import pgtable
from pgtable import cli
from tests.conftest import DATA, FAULTS, Fault

pytest.importorskip("z3", reason="the extra prove is not installed")
pytest.importorskip("pyvex", reason="the extra prove is not installed")

import z3

from pgtable.proofs import operations, prove
from pgtable.proofs.lifted_tree import ARGUMENT, ENTRY, tree_subject
from pgtable.proofs.lifting import _BlockRun
from pgtable.proofs.machine import ENCRYPTION, PHYSICAL_MASK, SHSTK

TREE = DATA / "mini_tree"
ALL_BITS = 2**52 - 1


@pytest.fixture(scope="module")
def mini():
    return tree_subject(TREE)


@pytest.fixture(scope="module")
def proofs(mini):
    return prove(mini)


def names(found):
    return [each.helper for each in found]


def evaluated(term, entry, argument=0, shstk=1):
    """Return what a term is on the plain machine."""
    values = [(ENTRY, z3.BitVecVal(entry, 64)), (ARGUMENT, z3.BitVecVal(argument, 64))]
    values += [(SHSTK, z3.BitVecVal(shstk, 1)), (ENCRYPTION, z3.BitVecVal(0, 64))]
    values += [(PHYSICAL_MASK, z3.BitVecVal(ALL_BITS, 64))]
    return z3.simplify(z3.substitute(term, *values)).as_long()


def mistaken(mini, engine, samples):
    """Return the helpers whose term is not what the machine computes."""
    rng = np.random.default_rng(15)
    entries = rng.integers(0, 2**64, samples, np.uint64)
    entries[::3] &= np.uint64(0x04000000000000E7)
    arguments = rng.integers(0, 2**64, samples, np.uint64)
    wrong = []
    for name, term in mini.terms.items():
        helper = engine.helpers.get(name)
        if helper is None:
            continue
        results = helper(entries, arguments) if helper.argument else helper(entries)
        pairs = zip(entries.tolist(), arguments.tolist(), results.tolist(), strict=True)
        if any(evaluated(term, v, arg) != int(result) for v, arg, result in pairs):
            wrong.append(name)
    return wrong


def test_a_tree_without_faults_is_proved(proofs):
    assert proofs.clean
    assert not proofs.refused
    assert len(proofs.proved) > 50
    assert {"pte_wrprotect", "pmd_modify", "pte_shstk"} <= set(names(proofs.proved))


def test_every_law_is_proved_of_a_tree_without_faults(mini):
    found = prove(mini, laws=True)
    assert found.clean
    assert not [each for each in found.laws if each.status == "refused"]
    assert len(found.laws) > 250
    assert {each.law for each in found.laws} >= {"dirtiness_not_lost", "levels_agree", "idempotent"}


def test_a_broken_law_has_its_exact_condition(make_mini_tree):
    edits = FAULTS["accidental_shadow_stack"].edits
    found = prove(make_mini_tree("x", edits), helpers=["pte_wrprotect"], laws=True)
    (broken,) = [each for each in found.laws if each.status == "refuted"]
    assert (broken.law, broken.helper) == ("no_accidental_shadow_stack", "pte_wrprotect")
    assert broken.inputs[0][1].value == 0x42
    assert broken.condition == "is broken exactly where Write=1,Dirty=1"
    assert broken.assuming == "shadow stacks on or off"
    assert "no_accidental_shadow_stack: pte_wrprotect" in str(found)


def test_what_is_assumed_is_said(proofs):
    assert any("shadow stacks, or not: both" in each for each in proofs.assumptions)
    assert "for every machine of which this holds" in str(proofs)


def test_every_fault_is_refuted_and_nothing_else(faulty: tuple[Fault, object]):
    fault, tree = faulty
    found = prove(tree)
    wanted = {name for name in fault.helpers if not name.startswith("ptep_")}
    assert set(names(found.refuted)) == wanted
    both = prove(TREE, tree)
    assert set(names(both.refuted)) == set(fault.helpers)


def test_the_smallest_entry_and_the_exact_condition(make_mini_tree):
    old = "return pud_clear_flags(pud, _PAGE_ACCESSED);"
    tree = make_mini_tree("x", {old: "return pud_clear_flags(pud, _PAGE_DIRTY);"})
    (found,) = prove(TREE, tree, helpers=["pud_mkold"]).refuted
    assert [(name, value.value) for name, value in found.inputs] == [("entry", 0x20)]
    assert [value.value for _, value in found.results] == [0, 0x20]
    assert found.bits == "ACCESSED|DIRTY"
    assert "exactly where" in found.condition
    assert {"ACCESSED=1", "Dirty=1"} == set(
        found.condition.removeprefix("differs exactly where ").split("; or where ")
    )


def test_terms_are_what_the_machine_computes(mini, proofs, mini_engine):
    mini.lift(name for name in mini.names if name not in mini.terms)
    assert mistaken(mini, mini_engine, 40) == []


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("And", lambda a, b: a | b),
        ("Shl", lambda a, b: a << (b + 1)),
        ("Or", lambda a, b: a ^ b),
        ("CmpNE", lambda a, b: operations.bit(a == b)),
        ("Xor", lambda a, b: a),
    ],
)
def test_a_fault_in_the_lifter_is_found(name, wrong, mini_engine, monkeypatch):
    monkeypatch.setitem(operations._OPERATIONS, name, wrong)
    broken = tree_subject(TREE)
    broken.lift(broken.names)
    assert mistaken(broken, mini_engine, 20)


def test_a_fault_in_paths_is_found(mini_engine, monkeypatch):
    def turned(run, expression):
        value = original(run, expression)
        return ~value if expression.tag == "Iex_ITE" and value.size() == 64 else value

    original = _BlockRun.value
    monkeypatch.setattr(_BlockRun, "value", turned)
    broken = tree_subject(TREE)
    broken.lift(broken.names)
    assert mistaken(broken, mini_engine, 20)


def test_what_cannot_be_lifted_is_refused_by_name(monkeypatch):
    monkeypatch.delitem(operations._OPERATIONS, "Or")
    found = prove(TREE)
    refused = {each.helper: each.reason for each in found.refused}
    assert "Iop_Or" in refused["pte_mkyoung"]
    assert "pte_mkyoung" not in names(found.proved)


def test_time_that_is_up_is_refused(mini):
    found = prove(mini, helpers=["pmd_modify"], seconds=0.001)
    assert [each.helper for each in found.refused] in (["pmd_modify"], [])
    assert len(found.refused) + len(found.proved) == 1


def test_certificates_hold_for_a_second_solver(mini, tmp_path):
    bitwuzla = pytest.importorskip("bitwuzla", reason="bitwuzla is not installed")
    helpers = ["pte_wrprotect", "pmd_modify", "pud_mkdirty", "pte_dirty", "pte_young"]
    found = prove(mini, helpers=helpers, certificates=tmp_path)
    files = sorted(tmp_path.iterdir())
    assert [file.stem for file in files] == sorted(names(found.proved)) == sorted(helpers)
    for file in files:
        assert checked(bitwuzla, file) == bitwuzla.Result.UNSAT


def checked(bitwuzla, file):
    manager = bitwuzla.TermManager()
    parser = bitwuzla.Parser(manager, bitwuzla.Options())
    parser.parse(str(file), parse_only=True)
    return parser.bitwuzla().check_sat()


def test_a_certificate_of_what_is_wrong_does_not_hold(tmp_path):
    bitwuzla = pytest.importorskip("bitwuzla", reason="bitwuzla is not installed")
    file = tmp_path / "wrong.smt2"
    file.write_text("(set-logic QF_BV)(declare-fun e () (_ BitVec 64))(assert (= e e))(check-sat)")
    assert checked(bitwuzla, file) == bitwuzla.Result.SAT


def test_other_flags_compute_the_same():
    found = prove(TREE, tree_subject(TREE, flags="-O3 -mno-sse"))
    assert found.clean
    assert len(found.proved) > 50


def test_on_the_command_line(capsys, make_mini_tree):
    assert cli.main(["prove", str(TREE), "--helper", "pte_mkold", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [each["helper"] for each in told["proved"]] == ["pte_mkold"]
    old = "return pud_clear_flags(pud, _PAGE_ACCESSED);"
    tree = make_mini_tree("x", {old: "return pud_clear_flags(pud, _PAGE_DIRTY);"})
    assert cli.main(["prove", str(tree), "--helper", "pud_mkold"]) == 1
    assert "0x0000000000000020" in capsys.readouterr().out


def test_what_it_cannot_do_is_one_line(capsys):
    for arguments in (["prove", f"{TREE},shstk=n"], ["prove", str(TREE), "--helper", "pte_x"]):
        assert cli.main(arguments) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_real_headers_are_proved_whole(header_tree):
    found = pgtable.prove(header_tree)
    assert found.clean, str(found)
    assert not found.refused
    least = {"6.1": 105, "6.12": 130}["6.12" if "6.12" in str(header_tree.name) else "6.1"]
    assert len(found.proved) >= least
