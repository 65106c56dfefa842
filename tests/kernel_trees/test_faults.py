# SPDX-License-Identifier: GPL-2.0-only
"""Mistakes in a tree's text are found and named; a tree without any is clean."""

import pgtable

QUICK = "-O1"


def test_clean_tree_is_clean(mini_engine):
    laws = pgtable.check_laws(mini_engine)
    assert list(laws) == []
    assert laws.recognised.matches
    assert laws.rules.rules == "saved_dirty"


def test_without_shadow_stacks_it_is_clean_as_well(make_mini_tree):
    engine = pgtable.kernel_tree(make_mini_tree(), flags=QUICK, shstk=False)
    laws = pgtable.check_laws(engine)
    assert list(laws) == []
    assert laws.recognised.matches
    assert laws.rules == ("saved_dirty", False, True)


def test_fault_is_found_by_name(faulty):
    fault, tree = faulty
    engine = pgtable.kernel_tree(tree, flags=QUICK)
    laws = pgtable.check_laws(engine)
    assert {finding.helper for finding in laws} == set(fault.helpers)
    # and by comparison with our own: which knows nothing of what is made of others
    assert set(laws.recognised.differing) == set(fault.helpers) - {"ptep_set_wrprotect"}


def test_fault_is_found_against_the_sound_tree(faulty, mini_engine):
    fault, tree = faulty
    found = pgtable.compare(mini_engine, pgtable.kernel_tree(tree, flags=QUICK))
    assert {difference.helper for difference in found} == set(fault.helpers)
    assert not found.only_in_a
    assert not found.only_in_b
