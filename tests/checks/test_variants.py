# SPDX-License-Identifier: GPL-2.0-only
"""How trees differ by what they lack: known exactly, so that no fault hides behind it."""

import json

import pytest

import pgtable
from pgtable.cli import main

from ..conftest import QUICK, replace

DEVMAP = 1 << 57
MODIFY = ("pte_modify", "pmd_modify", "pud_modify")
OPTION = "CONFIG_ARCH_HAS_NONLEAF_PMD_YOUNG"
_BEFORE = "static inline bool pmd_access_permitted(pmd_t pmd, bool write)"
_LAST = "static inline bool pud_access_permitted(pud_t pud, bool write)"


def adding(helper, before=_BEFORE):
    """Return the edit that adds a helper."""
    return {before: f"static inline {helper}\n\n{before}"}


HUGE = adding("int pmd_trans_huge(pmd_t pmd) { return (pmd_val(pmd) & _PAGE_PSE) != 0; }")
BAD = (
    "int pmd_bad(pmd_t pmd)\n{\n\treturn (pmd_flags(pmd) & ~_PAGE_USER) != (_PAGE_PRESENT | "
    "_PAGE_RW | _PAGE_ACCESSED | _PAGE_DIRTY);\n}"
)
PUD_BAD = (
    "int pud_bad(pud_t pud)\n{\n\treturn (pud_flags(pud) & ~(_PAGE_USER | _PAGE_PRESENT | "
    "_PAGE_RW | _PAGE_ACCESSED | _PAGE_DIRTY)) != 0;\n}"
)


@pytest.fixture
def without_devmap(make_mini_tree):
    """Make a tree whose modify does not keep DEVMAP, and which has no helpers for it."""

    def make(name="tree", edits=None):
        tree = make_mini_tree(name, edits)
        replace(
            tree / "arch/x86/include/asm/pgtable_types.h",
            "_PAGE_SOFT_DIRTY | _PAGE_DEVMAP |",
            "_PAGE_SOFT_DIRTY |",
        )
        return tree

    return make


def against_ours(tree, rules="saved_dirty"):
    return pgtable.compare(
        pgtable.kernel_tree(tree, flags=QUICK, forms=False), pgtable.reference(rules)
    )


def test_without_devmap(without_devmap):
    engine = pgtable.kernel_tree(without_devmap(edits=HUGE), flags=QUICK, forms=False)
    recognised = pgtable.recognise(engine)
    assert recognised.matches
    assert recognised.switches.rules == "saved_dirty"
    assert set(recognised.known) == {"pmd_trans_huge", *MODIFY}
    assert "4 of them but for known differences" in " ".join(str(recognised).split())
    found = pgtable.compare(engine, pgtable.reference("saved_dirty"))
    assert list(found) == []
    assert {known.helper for known in found.known} == {"pmd_trans_huge", *MODIFY}
    assert all(known.differ > 0 and "no devmap" in known.reason for known in found.known)
    assert not set(found.same) & {"pmd_trans_huge", *MODIFY}
    # of either side
    other_way = pgtable.compare(pgtable.reference("saved_dirty"), engine)
    assert {known.helper for known in other_way.known} == {"pmd_trans_huge", *MODIFY}
    text = str(found)
    assert text.count("the tree has no devmap helpers") == 2
    assert max(map(len, text.splitlines())) <= 80
    assert {each["helper"] for each in found.as_dict()["known_differences"]} == {
        "pmd_trans_huge",
        *MODIFY,
    }


def test_check_of_a_tree_without_devmap(without_devmap, capsys):
    tree = without_devmap()
    assert main(["kernel", "check", str(tree), "--flags=-O1"]) == 0
    out = capsys.readouterr().out
    assert "known differences, no findings:\n  pte_modify, pmd_modify, pud_modify: " in out
    assert "3 of them" in out
    assert main(["kernel", "check", str(tree), "--flags=-O1", "--json"]) == 0
    against = json.loads(capsys.readouterr().out)["reference"]
    assert [known["helper"] for known in against["known_differences"]] == list(MODIFY)


@pytest.mark.parametrize(
    ("kept", "bit"),
    [
        pytest.param(
            "(PTE_PFN_MASK | _PAGE_CHG_KEPT) & ~_PAGE_SPECIAL", "SPECIAL", marks=pytest.mark.long
        ),
        ("PTE_PFN_MASK | _PAGE_CHG_KEPT | _PAGE_GLOBAL", "GLOBAL"),
        # one that only such a tree can have: DEVMAP is dropped
        ("PTE_PFN_MASK | _PAGE_CHG_KEPT; newprot.pgprot &= ~_PAGE_DEVMAP", "DEVMAP"),
    ],
)
def test_fault_in_a_helper_that_is_otherwise_known(without_devmap, capsys, kept, bit):
    edits = {"const pteval_t kept = PTE_PFN_MASK | _PAGE_CHG_KEPT": f"const pteval_t kept = {kept}"}
    tree = without_devmap(edits=edits)
    found = against_ours(tree)
    assert [each.helper for each in found] == ["pte_modify"]
    assert {known.helper for known in found.known} == set(MODIFY) - {"pte_modify"}
    assert bit in str(found[0].inputs)
    # what it should give is said for such a tree
    is_, should = found[0].difference.example.results
    assert (is_.value ^ should.value) & DEVMAP == (DEVMAP if bit == "DEVMAP" else 0)
    assert pgtable.recognise(pgtable.kernel_tree(tree, flags=QUICK, forms=False)).differing == (
        "pte_modify",
    )
    assert main(["kernel", "check", str(tree), "--flags=-O1"]) == 1
    assert "1 of 64 shared helpers differs" in capsys.readouterr().out


def test_fault_in_trans_huge(without_devmap):
    wrong = {_BEFORE: HUGE[_BEFORE].replace("!= 0", "&& !(pmd_val(pmd) & _PAGE_SPECIAL)")}
    assert [each.helper for each in against_ours(without_devmap(edits=wrong))] == ["pmd_trans_huge"]


def test_tree_that_has_devmap_must_keep_it(without_devmap):
    has = adding("int pud_devmap(pud_t pud) { return 0; }")
    found = against_ours(without_devmap(edits=has))
    assert set(MODIFY) <= {each.helper for each in found}
    assert found.known == ()


def test_two_trees_are_compared_as_they_are(without_devmap, mini_engine):
    found = pgtable.compare(
        pgtable.kernel_tree(without_devmap(), flags=QUICK, forms=False), mini_engine
    )
    assert {each.helper for each in found} == set(MODIFY)
    assert found.known == ()


@pytest.fixture
def old_bad(make_mini_tree):
    """Make a tree whose pmd_bad() wants ACCESSED, with or without the option for it."""

    def make(name="tree", *, option=False, bad=BAD):
        edits = {**adding(bad), **adding(PUD_BAD, _LAST)}
        tree = make_mini_tree(name, edits)
        if option:
            autoconf = tree / "include/generated/autoconf.h"
            autoconf.write_text(f"{autoconf.read_text()}#define {OPTION} 1\n")
        return tree

    return make


def test_tables_must_be_young_without_the_option(old_bad):
    engine = pgtable.kernel_tree(old_bad(), flags=QUICK, forms=False)
    assert not engine.configured(OPTION)
    found = pgtable.compare(engine, pgtable.reference("saved_dirty"))
    assert (list(found), [known.helper for known in found.known]) == ([], ["pmd_bad"])
    laws = pgtable.check_laws(engine)
    assert list(laws) == []
    assert any("ACCESSED=0" in known.inputs for known in laws.exceptions)


def test_tables_need_not_be_young_with_the_option(old_bad):
    engine = pgtable.kernel_tree(old_bad(option=True), flags=QUICK, forms=False)
    assert engine.configured(OPTION)
    found = pgtable.compare(engine, pgtable.reference("saved_dirty"))
    assert [each.helper for each in found] == ["pmd_bad"]
    assert found.known == ()
    assert [each.law for each in pgtable.check_laws(engine)] == ["levels_agree"]


def test_fault_in_bad(old_bad):
    found = against_ours(old_bad(bad=BAD.replace("~_PAGE_USER", "~(_PAGE_USER | _PAGE_PWT)")))
    assert [each.helper for each in found] == ["pmd_bad"]
    assert "PWT=1" in str(found[0].inputs)
