# SPDX-License-Identifier: GPL-2.0-only
"""Comparing engines and levels, and saying on which inputs they differ."""

import json

import numpy as np
import pytest

import pgtable
from pgtable.checks import inputs
from pgtable.checks.classes import classify

PRESENT, RW, DIRTY, PSE, COW = 1, 1 << 1, 1 << 6, 1 << 7, 1 << 58


def classes(comparison):
    return {each.helper: str(each.inputs) for each in comparison}


def test_the_patch_and_what_was_merged():
    found = pgtable.compare(pgtable.native("cow"), pgtable.native("saved_dirty"))
    text = classes(found)
    modify = text.pop("pte_modify")
    assert text.pop("pmd_modify") == modify
    assert text == {
        "pmd_shstk": "Write=0,Dirty=1,PSE=0",
        "pmd_write": "Write=0,Dirty=1,PSE=0",
        "pud_leaf": "PRESENT=0,PSE=1",
        "pte_mkuffd_wp": "Write=1 or Dirty=1",
        "pmd_mkuffd_wp": "Write=1 or Dirty=1",
        "pte_mkdirty": "Write=0,Dirty=1",
        "pmd_mkdirty": "Write=0,Dirty=1",
        "pud_mkdirty": "Write=0,Dirty=1",
        "pte_mkwrite_shstk": "Write=1 or Cow=1",
        "pmd_mkwrite_shstk": "Write=1 or Cow=1",
    }
    assert "Write=1,Dirty=1 and newprot Write=0" in modify
    assert "pte_mkcow" in found.only_in_a
    assert "pud_modify" in found.only_in_b
    assert found.incomparable == ("pte_mkwrite", "pmd_mkwrite")
    assert "pte_wrprotect" in found.same
    assert found.recognised == (None, None)
    shown = {each.helper: each.difference.example.entry.value for each in found}
    assert shown["pmd_shstk"] == DIRTY
    assert shown["pud_leaf"] == PSE


def test_text_and_json_of_a_comparison():
    found = pgtable.compare(pgtable.native("cow"), pgtable.native("base"))
    text = str(found)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 80
    assert "pte_wrprotect: Dirty=1\n" in text
    value = json.loads(found.to_json())
    wrprotect = next(d for d in value["differences"] if d["helper"] == "pte_wrprotect")
    assert wrprotect["inputs"] == "Dirty=1"
    assert wrprotect["inputs_exact"] is True
    assert value["clean"] is False


def test_states_are_shown_alike_on_both_sides():
    """base has no Cow, but what it makes of bit 58 must be seen beside the other."""
    found = pgtable.compare(pgtable.native("base"), pgtable.native("saved_dirty"))
    example = next(each for each in found if each.helper == "pte_wrprotect").difference.example
    assert str(example.entry).endswith("(Write=0,Dirty=1,Cow=0)")
    assert [str(each)[-23:] for each in example.results] == [
        *("(Write=0,Dirty=1,Cow=0)", "(Write=0,Dirty=0,Cow=1)"),
    ]
    text = classes(found)
    assert text["pte_dirty"] == "Dirty=0,Cow=1"


def test_engines_that_are_the_same():
    found = pgtable.compare(pgtable.native("base"), pgtable.reference("base"))
    assert found.clean
    assert not found
    assert len(found.same) == len(pgtable.native("base").helpers)
    assert str(found).endswith(f"{len(found.same)} the same, 0 differ")


def test_engine_without_rules_is_recognised(faulty):
    engine = faulty("saved_dirty", False)
    del engine.switches, engine.rules
    found = pgtable.compare(pgtable.native("cow"), engine)
    assert max(map(len, str(found).splitlines())) <= 80
    assert found.recognised[0] is None
    assert found.recognised[1].switches.rules == "saved_dirty"
    assert "matches saved_dirty" in str(found)
    assert found.to_json()


def test_levels():
    found = pgtable.compare_levels(pgtable.native("cow"), "pmd", "pud")
    text = classes(found)
    assert text["pmd_write/pud_write"] == "Write=0,Dirty=1"
    assert text["pmd_present/pud_present"] in (
        "PRESENT=0,PSE=1 or PRESENT=0,PROTNONE=1",
        "PRESENT=0,PROTNONE=1 or PRESENT=0,PSE=1",
    )
    assert text["pmd_flags/pud_flags"] == "part of: PSE=1"
    assert "pmd_dirty/pud_dirty" in found.same
    assert "pmd_modify" in found.only_in_a
    assert not found.only_in_b
    assert "A: pmd of native" in str(found)


def test_levels_by_default_and_wrong_ones():
    found = pgtable.compare_levels(pgtable.native("base"))
    assert {each.helper for each in found} == {
        *("pte_flags/pmd_flags", "pte_pfn/pmd_pfn", "pte_mkdevmap/pmd_mkdevmap"),
        *("pfn_pte/pfn_pmd", "pte_modify/pmd_modify", "pte_present/pmd_present"),
    }
    with pytest.raises(ValueError, match="no such level: 'p4d'"):
        pgtable.compare_levels(pgtable.native(), "pte", "p4d")


def test_progress_reaches_the_end():
    seen = []
    a, b = pgtable.native("base"), pgtable.reference("base")
    pgtable.compare(a, b, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(a.helpers), len(a.helpers))


# ---- classes of inputs


def said(where, argument=None, rules="cow", level="pte"):
    given = inputs.paired(0) if argument else inputs.single(0)
    return str(classify(where, given, level=level, rules=rules, argument=argument))


def bit(v, n):
    return ((v >> np.uint64(n)) & np.uint64(1)) == 1


def test_one_bit():
    assert said(lambda v, _: bit(v, 63)) == "NX=1"
    assert said(lambda v, _: ~bit(v, 6)) == "Dirty=0"
    assert said(lambda v, _: bit(v, 58), rules="base") == "DEVMAP=1"
    assert said(lambda v, _: bit(v, 8)) == "GLOBAL=1"
    assert said(lambda v, _: bit(v, 8) & ~bit(v, 0)) == "PRESENT=0,PROTNONE=1"
    assert said(lambda v, _: bit(v, 53)) == "bit53=1"


def test_runs_of_nameless_bits_are_ranges():
    lone = np.uint64(1 << 40 | 1 << 7)
    assert ",SOFT_DIRTY=0,bits12-39=0,bit40=1,bits41-56=0,DEVMAP=0," in said(lambda v, _: v == lone)
    found = said(lambda v, _: (v >> np.uint64(52) & np.uint64(7)) == 5)
    assert found == "bit52=1,bit53=0,bit54=1"
    found = said(lambda v, _: (v >> np.uint64(55) & np.uint64(7)) == 3)
    assert found == "bits55-56=1,DEVMAP=0"


def test_state_bits_come_first():
    found = said(lambda v, _: bit(v, 0) & bit(v, 58) & ~bit(v, 6) & ~bit(v, 1) & bit(v, 63))
    assert found == "Write=0,Dirty=0,Cow=1,PRESENT=1,NX=1"


def test_alternatives_are_as_simple_as_can_be():
    assert said(lambda v, _: bit(v, 1) | bit(v, 6)) in ("Write=1 or Dirty=1", "Dirty=1 or Write=1")
    assert said(lambda v, _: (bit(v, 1) & bit(v, 6)) | (bit(v, 1) & ~bit(v, 6))) == "Write=1"


def test_all_inputs():
    assert said(lambda v, _: (v & np.uint64(0)) == 0) == "all inputs"


def test_both_words():
    found = said(lambda v, arg: bit(v, 1) & ~bit(arg, 1), "newprot")
    assert found == "Write=1 and newprot Write=0"


def test_words_that_are_not_exact_say_so():
    def three_of_a_frame(v, _):
        return bit(v, 7) & ((v >> np.uint64(12)) % np.uint64(3) == 0)

    assert said(three_of_a_frame, level="pmd") == "part of: PSE=1"


def test_a_single_entry_is_not_taken_for_a_class():
    lone = np.uint64(0x8400_0000_0000_0867)
    assert said(lambda v, _: v == lone).startswith("part of: Write=1,Dirty=1,Cow=1,PRESENT=1,")
