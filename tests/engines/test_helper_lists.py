# SPDX-License-Identifier: GPL-2.0-only
"""Three lists of helpers - helpers.def, the reference's, and one by hand - are the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pgtable
from pgtable.engines.interface import HelperInfo
from pgtable.engines.switches import COMBINATIONS, RULES

HELPERS_DEF = Path(__file__).parents[2] / "csrc" / "helpers" / "helpers.def"

# Which helpers exist at which levels, from the description of the rules; not from any code.
EVERY_LEVEL = """flags dirty young write pfn set_flags clear_flags wrprotect mkclean mkold mkdirty
    mkyoung mkwrite mkhuge devmap mkdevmap soft_dirty mksoft_dirty clear_soft_dirty none same
    present access_permitted"""
PTE = """huge clrhuge global mkglobal clrglobal exec mkexec special mkspecial
    swp_exclusive swp_mkexclusive swp_clear_exclusive"""
PTE_PMD = """uffd_wp mkuffd_wp clear_uffd_wp protnone modify swp_soft_dirty swp_mksoft_dirty
    swp_clear_soft_dirty swp_uffd_wp swp_mkuffd_wp swp_clear_uffd_wp"""
PMD_PUD = "leaf trans_huge bad"
PMD = "mkinvalid"
PLAIN = "protval_4k_2_large protval_large_2_4k pfn_pte pfn_pmd pfn_pud"

COW_ALONE = {"pte pmd pud": "mkcow clear_cow", "pte pmd": "shstk mkwrite_shstk"}
SAVED_DIRTY_ALONE = {
    "pte pmd pud": "shstk mksaveddirty clear_saveddirty",
    "pte pmd": "mkwrite_shstk mkwrite_novma",
    "pmd pud": "special mkspecial",
    "pud": "mkinvalid modify",
    "pte": "advance_pfn",
}

HOW_MANY = {"cow": 125, "base": 115, "saved_dirty": 135}


def _at(levels: str, stems: str) -> set[str]:
    return {f"{level}_{stem}" for level in levels.split() for stem in stems.split()}


def by_hand(rules: str) -> set[str]:
    names = set(PLAIN.split())
    names |= _at("pte pmd pud", EVERY_LEVEL) | _at("pte", PTE) | _at("pte pmd", PTE_PMD)
    names |= _at("pmd pud", PMD_PUD) | _at("pmd", PMD)
    own = {"cow": COW_ALONE, "base": {}, "saved_dirty": SAVED_DIRTY_ALONE}[rules]
    for levels, stems in own.items():
        names |= _at(levels, stems)
    return names


OWNERS = {
    "ALL": {"base", "cow", "saved_dirty"},
    "BASE_COW": {"base", "cow"},
    "COW": {"cow"},
    "COW_SAVED": {"cow", "saved_dirty"},
    "SAVED": {"saved_dirty"},
}
LINE = re.compile(r"^HELPER(2?)\(([^)]*)\)$", re.MULTILINE)


def in_helpers_def(rules: str) -> list[HelperInfo]:
    found = []
    for two, fields in LINE.findall(HELPERS_DEF.read_text()):
        owner, level, name, takes, gives, *rest = (field.strip() for field in fields.split(","))
        assert len(rest) == (2 if two else 0)
        if rules in OWNERS[owner]:
            found.append(HelperInfo(name, level, takes, gives, rest[1] if rest else None))
    return found


@pytest.mark.parametrize("rules", RULES)
def test_every_helper_is_there_and_no_other(rules: str) -> None:
    assert set(pgtable.reference(rules).helpers) == by_hand(rules)
    assert len(by_hand(rules)) == HOW_MANY[rules]


@pytest.mark.parametrize("switches", COMBINATIONS, ids=str)
def test_native_and_reference_list_the_same_in_the_same_order(switches) -> None:
    native, reference = pgtable.native(*switches), pgtable.reference(*switches)
    infos = [helper.info for helper in reference.helpers.values()]
    assert [helper.info for helper in native.helpers.values()] == infos
    assert in_helpers_def(switches.rules) == infos
    assert list(native.helpers) == list(reference.helpers) == [info.name for info in infos]


def test_every_line_of_helpers_def_is_understood() -> None:
    lines = HELPERS_DEF.read_text().splitlines()
    entries = [line for line in lines if line.startswith("HELPER")]
    assert len(entries) == len(LINE.findall(HELPERS_DEF.read_text()))
    assert len(entries) == len(set(entries))


MAPS = ("mk", "clr", "clear", "set", "wrprotect", "modify", "advance")
ARGUMENTS = {
    "set_flags": "mask",
    "clear_flags": "mask",
    "modify": "newprot",
    "same": "other",
    "access_permitted": "write",
    "advance_pfn": "nr",
}


@pytest.mark.parametrize("switches", COMBINATIONS, ids=str)
def test_what_helpers_take_and_give(switches) -> None:
    for name, helper in pgtable.native(*switches).helpers.items():
        level, _, stem = name.partition("_")
        info = helper.info
        assert (helper.name, helper.level, helper.kind) == (name, info.level, info.kind)
        assert helper.argument == info.argument
        if level in ("pfn", "protval"):
            assert info.takes == "val"
            assert info.level == (stem if level == "pfn" else "prot")
            assert info.gives == (stem if level == "pfn" else "val")
            assert info.argument == ("prot" if level == "pfn" else None)
            continue
        assert info.level == info.takes == level
        if stem in ("flags", "pfn"):
            assert info.gives == "val"
        elif stem.removeprefix("swp_").startswith(MAPS):
            assert info.gives == level
        else:
            assert info.gives == "test"
        assert info.kind == ("test" if info.gives == "test" else "map")
        takes_vma = switches.rules == "saved_dirty" and stem == "mkwrite" and level != "pud"
        assert info.argument == ("vm_flags" if takes_vma else ARGUMENTS.get(stem))


def test_every_combination_is_compiled_for_every_instruction_set() -> None:
    assert [tuple(switches) for switches in COMBINATIONS] == [
        ("cow", True, True),
        ("cow", False, True),
        ("cow", True, False),
        ("cow", False, False),
        ("base", False, False),
        ("saved_dirty", True, True),
        ("saved_dirty", False, True),
    ]
    for isa, usable in pgtable.isas().items():
        for switches in COMBINATIONS if usable else ():
            engine = pgtable.native(*switches, isa=isa)
            assert (engine.rules, engine.shstk, engine.config) == switches
            assert engine.isa == isa


@pytest.mark.parametrize("make", [pgtable.native, pgtable.reference])
def test_defaults_of_the_switches(make) -> None:
    assert make() is make("cow", True, True)
    assert make("cow", shstk=False) is make("cow", False, True)
    assert make("cow", config=False) is make("cow", True, False)
    assert make("base") is make("base", False, False)
    assert make("saved_dirty") is make("saved_dirty", True, True)
    assert make("saved_dirty", shstk=False) is make("saved_dirty", False, True)


@pytest.mark.parametrize("make", [pgtable.native, pgtable.reference])
@pytest.mark.parametrize(
    "asked",
    [("base", True), ("base", None, True), ("saved_dirty", None, False), ("cows",), ("", True)],
)
def test_a_combination_that_does_not_exist_lists_those_that_do(make, asked) -> None:
    with pytest.raises(ValueError, match="no such combination") as error:
        make(*asked)
    for switches in COMBINATIONS:
        assert str(switches) in str(error.value)
    assert repr(asked[0]) in str(error.value)
    assert "\n" not in str(error.value)
