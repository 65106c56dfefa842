# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own assertions on value helpers."""

import json

import pytest

import pgtable
from pgtable.checks import debug_vm
from pgtable.engines.switches import COMBINATIONS, Switches

BROKEN = Switches("cow", True, False)
ALL = 2**64 - 1


def _never(sound, v):
    return (v & 0) != 0


def results(engine):
    return {result.name: result for result in debug_vm.run(engine).results}


@pytest.mark.parametrize("switches", COMBINATIONS, ids=str)
def test_our_engines(switches):
    report = debug_vm.run(pgtable.native(*switches))
    failed = [result.name for result in report.failed]
    basic = ["pte_basic_tests", "pmd_basic_tests", "pud_basic_tests"]
    assert failed == (basic if switches == BROKEN else [])
    assert report.clean == (switches != BROKEN)
    ran = {r.name for r in report.results if r.status == "passed"} | set(failed)
    assert {
        *("pte_basic_tests", "pmd_basic_tests", "pud_basic_tests", "pmd_leaf_tests"),
        *("pud_leaf_tests", "pte_special_tests", "pte_protnone_tests", "pmd_protnone_tests"),
        *("pte_devmap_tests", "pmd_devmap_tests", "pud_devmap_tests", "pte_soft_dirty_tests"),
        *("pmd_soft_dirty_tests", "pte_swap_soft_dirty_tests", "pmd_swap_soft_dirty_tests"),
        *("pte_swap_exclusive_tests", "pmd_thp_tests", "pud_thp_tests", "pte_advanced_tests"),
        *("pmd_advanced_tests", "pud_advanced_tests"),
    } == ran


def test_what_cannot_run_is_listed_with_the_reason():
    found = results(pgtable.native())
    assert found["pte_savedwrite_tests"].status == "not run"
    assert "pte_mk_savedwrite" in found["pte_savedwrite_tests"].not_run[0]
    assert found["pte_clear_tests"].status == "not run"
    assert "in memory" in found["pte_clear_tests"].not_run[0]


@pytest.mark.parametrize(
    ("helper", "fault", "test", "assertion"),
    [
        ("pte_mkold", lambda s, v: v, "pte_basic_tests", "!pte_young(pte_mkold(pte_mkyoung(pte)))"),
        ("pmd_bad", _never, "pmd_basic_tests", "pmd_bad(pmd_mkhuge(pmd))"),
        ("pud_same", lambda s, v, o: v != o, "pud_basic_tests", "pud_same(pud)"),
        (
            "pmd_mkinvalid", lambda s, v: s(v) & (ALL ^ 1 << 7), "pmd_thp_tests",
            "pmd_present(pmd_mkinvalid(pmd_mkhuge(pmd)))",
        ),
        ("pte_protnone", _never, "pte_protnone_tests", "pte_protnone(pte)"),
        ("pte_present", lambda s, v: (v & 1) != 0, "pte_protnone_tests", "pte_present(pte)"),
        (
            "pud_mkdevmap", lambda s, v: v | 1 << 56, "pud_devmap_tests",
            "pud_devmap(pud_mkdevmap(pud))",
        ),
        (
            "pte_swp_mkexclusive", lambda s, v: v | 1 << 1, "pte_swap_exclusive_tests",
            "!pte_swp_soft_dirty(pte_swp_mkexclusive(pte))",
        ),
        (
            "pmd_swp_clear_soft_dirty", lambda s, v: v | 2, "pmd_swap_soft_dirty_tests",
            "!pmd_swp_soft_dirty(pmd_swp_clear_soft_dirty(pmd))",
        ),
        ("pud_leaf", _never, "pud_leaf_tests", "pud_leaf(pud_mkhuge(pud))"),
    ],
)  # fmt: skip
def test_fault_is_found_and_named(faulty, helper, fault, test, assertion):
    found = results(faulty(faults={helper: fault}))[test]
    assert found.status == "failed"
    assert assertion in [failure.assertion for failure in found.failures]


def test_fault_that_shows_on_some_frames_only(faulty):
    def fault(sound, v):
        return sound(v) ^ ((v >> 40) & 1) << 5

    found = results(faulty(faults={"pmd_mkold": fault}))["pmd_advanced_tests"]
    (failure,) = found.failures
    assert 0 < failure.failures < failure.tried
    assert dict(failure.rows)["entry"].value & 1 << 40


def test_smallest_entry_is_shown_step_by_step(faulty):
    engine = faulty(faults={"pte_dirty": lambda sound, v: (v & 1 << 6) != 0})
    _, failure = results(engine)["pte_basic_tests"].failures
    assert failure.assertion == "pte_dirty(pte_wrprotect(pte_mkdirty(pte)))"
    assert [label for label, _ in failure.rows] == [
        *("entry", "pte_mkdirty", "pte_wrprotect", "pte_dirty"),
    ]
    assert str(failure.rows[2][1]).endswith("(Write=0,Dirty=0,Cow=1)")


def test_mkwrite_out_of_its_halves(faulty):
    """Headers of merged kernels have no mkwrite of a pte, but what it is made of."""
    engine = faulty("saved_dirty", missing=("pte_mkwrite",))
    assert results(engine)["pte_basic_tests"].status == "passed"
    engine = faulty(
        "saved_dirty",
        missing=("pte_mkwrite",),
        faults={"pte_mkwrite_novma": lambda sound, v: v},
    )
    assert results(engine)["pte_basic_tests"].status == "failed"


def test_tests_that_give_a_number(faulty):
    """hugetlb's tests give what is left of the entry."""
    sound = pgtable.native()
    helpers = {f"huge_pte_{stem}": sound.helper(f"pte_{stem}")
               for stem in ("mkdirty", "wrprotect", "mkwrite")}  # fmt: skip
    numbers = {
        "huge_pte_dirty": lambda v: v & (1 << 6 | 1 << 58),
        "huge_pte_write": lambda v: v & 2,
    }
    engine = faulty(added={**helpers, **numbers})
    assert results(engine)["hugetlb_basic_tests"].status == "passed"


def test_part_of_a_test(faulty):
    found = results(faulty(missing=("pmd_mkinvalid",)))["pmd_thp_tests"]
    assert (found.status, found.assertions) == ("partly run", 1)
    assert found.not_run == ("the engine has no pmd_mkinvalid",)


def test_what_is_compiled_out_is_not_run(faulty):
    off = {
        "pte_mksoft_dirty": lambda sound, v: v,
        "pte_clear_soft_dirty": lambda sound, v: v,
        "pte_soft_dirty": _never,
    }
    found = results(faulty(faults=off))["pte_soft_dirty_tests"]
    assert found.status == "not run"
    assert found.not_run == ("not built in: pte_soft_dirty",)
    del off["pte_mksoft_dirty"]
    assert results(faulty(faults=off))["pte_soft_dirty_tests"].status == "failed"


def test_text_and_json(faulty):
    report = debug_vm.run(faulty(faults={"pmd_write": _never}))
    text = str(report)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 80
    assert "pmd_basic_tests             failed" in text
    value = json.loads(report.to_json())
    assert value["clean"] is False
    assert {r["name"] for r in value["results"] if r["status"] == "failed"} == {
        *("pmd_basic_tests", "pmd_advanced_tests"),
    }
