# SPDX-License-Identifier: GPL-2.0-only
"""One check of a tree: settings, causes, blame, what is held to nothing, improvements."""

import json

import pytest

import pgtable
from pgtable.checks.tree_check import check_tree
from pgtable.cli import main

from ..conftest import QUICK, replace

TYPES = "arch/x86/include/asm/pgtable_types.h"


def checked(tree, rules=None, **options):
    return check_tree(pgtable.kernel_tree(tree, flags=QUICK, forms=False, **options), rules)


def test_saved_dirty_at_bit_57_is_one_cause(make_mini_tree):
    tree = make_mini_tree()
    replace(tree / TYPES, "_PAGE_BIT_SAVED_DIRTY	58", "_PAGE_BIT_SAVED_DIRTY	57")
    found = checked(tree)
    assert found.switches.rules == "saved_dirty"
    text = " ".join(str(found).split())
    cause = (
        "one cause of what follows: SAVED_DIRTY is bit 57, in the rules bit 58:"
        " SAVED_DIRTY and DEVMAP share bit 57"
    )
    assert cause in text
    assert "nearest to saved_dirty" in text
    assert not found.clean
    assert max(map(len, str(found).splitlines())) <= 80


def test_fault_of_one_setting_is_found_by_one_check(make_mini_tree, capsys):
    """pte_write without the feature's test is right where there are shadow stacks."""
    tree = make_mini_tree()
    header = tree / "arch/x86/include/asm/pgtable.h"
    text = header.read_text()
    assert "cpu_feature_enabled(X86_FEATURE_SHSTK)" in text
    header.write_text(text.replace("cpu_feature_enabled(X86_FEATURE_SHSTK)", "1", 1))
    assert main(["kernel", "check", str(tree), f"--flags={QUICK}", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    first, other = found["settings"]
    assert (first["setting"], first["clean"]) == ("as given", True)
    assert (other["setting"], other["clean"]) == ("shstk=n", False)
    differing = [each["helper"] for each in other["reference"]["differences"]]
    assert differing == ["pte_shstk", "pte_write"]  # which asks the former
    # whoever asks for one setting gets that alone
    assert main(["kernel", "check", f"{tree},shstk=y", f"--flags={QUICK}"]) == 0
    assert "with shstk=n" not in capsys.readouterr().out


def test_the_level_that_is_wrong_is_blamed(make_mini_tree):
    """Of two levels that differ, the one that is not what the rules have."""
    old = "return pmd_set_flags(pmd, _PAGE_ACCESSED);"
    found = checked(make_mini_tree(edits={old: "return pmd_set_flags(pmd, 1UL << 3);"}))
    blamed = {each.helper for each in found.laws if each.law == "levels_agree"}
    assert blamed == {"pmd_mkyoung"}


def test_a_finding_says_where_and_shows_it_in_c(make_mini_tree):
    old = "return pmd_set_flags(pmd, _PAGE_ACCESSED);"
    tree = make_mini_tree(edits={old: "return pmd_set_flags(pmd, _PAGE_ACCESSED | 1UL << 40);"})
    lines = (tree / "arch/x86/include/asm/pgtable.h").read_text().splitlines()
    at = next(n for n, line in enumerate(lines, 1) if "pmd_mkyoung(pmd_t" in line)
    text = str(checked(tree))
    assert "\n    in C: pmd_val(pmd_mkyoung(__pmd(0x0)))\n" in text
    assert f"\n    at arch/x86/include/asm/pgtable.h:{at}\n" in text
    assert "\n  A is the tree, B the reference\n" in text


def test_known_exceptions_come_last_with_their_smallest_entry(mini_engine):
    text = str(check_tree(mini_engine))
    head, _, known = text.partition("\nknown exceptions, no findings:\n")
    assert "held to nothing, as no law and no reference is about them: " in head
    assert "    smallest: entry 0x0, mask 0x40, gives 0x40\n" in known
    assert "laws" not in known.split("smallest", 1)[0]


def test_held_to_nothing_is_what_neither_law_nor_reference_touches(make_mini_tree):
    first = "static inline bool pmd_access_permitted(pmd_t pmd, bool write)"
    more = "static inline unsigned long pmd_odd_number(pmd_t pmd) { return pmd_val(pmd) >> 3; }"
    found = checked(make_mini_tree(edits={first: f"{more}\n\n{first}"}))
    assert "pmd_odd_number" in found.held_to_nothing
    assert not {"pmd_wrprotect", "pte_dirty", "pte_pfn"} & set(found.held_to_nothing)


@pytest.mark.parametrize(("more", "better"), [(0, True), (1 << 3, False)])
def test_what_mends_a_defect_of_the_patch_is_an_improvement(faulty, more, better):
    """pud_mkdirty of the patch sets Cow on top of a Dirty that it leaves.

    One that does as pmd_mkdirty mends that; one that sets another bit as well does not.
    """
    pmd_mkdirty = pgtable.reference("cow").pmd_mkdirty
    fault = {"pud_mkdirty": lambda sound, v: pmd_mkdirty(v) | more}
    found = check_tree(faulty("cow", faults=fault), "cow")
    assert found.improved == ({"pud_mkdirty": "levels_agree"} if better else {})
    assert found.clean == better
    assert ("improvements on the reference, no findings:" in str(found)) == better
