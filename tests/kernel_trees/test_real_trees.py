# SPDX-License-Identifier: GPL-2.0-only
"""Real header packages: their helpers against ours, bit for bit."""

import pytest

import pgtable

from ..conftest import SERIES, sample

#: Of our rules, what is in a source file of the kernel and in no header.
IN_SOURCE_FILES = {"pte_mkwrite", "pmd_mkwrite"}


@pytest.fixture(scope="module")
def series(header_tree):
    """Return the rules that a tree must follow, and its settings of shadow stacks."""
    return ("base", [False]) if "-6.1." in header_tree.name else ("saved_dirty", [True, False])


_EACH = [(series, forms) for series in SERIES for forms in (True, False)]


@pytest.mark.parametrize(
    ("header_tree", "forms"),
    sample(_EACH, [("6.1", False), ("6.12", True)]),
    indirect=["header_tree"],
)
def test_matches_our_rules_bit_for_bit(header_tree, series, forms):
    rules, settings = series
    for shstk in settings:
        tree = pgtable.kernel_tree(header_tree, shstk=shstk, forms=forms)
        ours = pgtable.native(rules, shstk)
        assert (len(tree.forms) > 100) is forms
        assert ours.helpers.keys() - tree.helpers.keys() <= IN_SOURCE_FILES
        result = pgtable.check(tree, ours, random_entries=100_000)
        assert list(result) == [], f"{tree}: {result}"
        assert result.incomparable == ()
        assert result.helpers >= 110
        assert pgtable.recognise(tree).matches
        assert pgtable.recognise(tree).switches.rules == rules


@pytest.mark.parametrize("header_tree", sample(SERIES, ["6.12"]), indirect=True)
def test_all_value_helpers_come_out(header_tree, series):
    engine = pgtable.kernel_tree(header_tree)
    assert engine.shstk is (series[0] == "saved_dirty")
    assert len(engine.helpers) >= 200
    # what cannot be had is known, with the reason
    assert engine.unavailable["flip_protnone_guard"].startswith("takes 3 values")
    assert engine.unavailable["pgprot_encrypted"].startswith("needs cc_mkenc")
    assert engine.unavailable["pte_page"] == "gives struct page *"
    for name in IN_SOURCE_FILES - engine.helpers.keys():
        assert "arch/x86/mm/pgtable.c is not in the tree" in engine.unavailable[name]


def test_other_half_finds_this_one(header_tree):
    common = header_tree.with_name(header_tree.name.removesuffix("amd64") + "common")
    assert pgtable.kernel_tree(common).tree == pgtable.kernel_tree(header_tree).tree


@pytest.mark.parametrize("header_tree", sample(SERIES, ["6.1"]), indirect=True)
def test_run_time_feature_computes_the_same(header_tree, series):
    for shstk in series[1]:
        constant, run_time = (
            pgtable.kernel_tree(header_tree, shstk=shstk, flags="-O1", feature=feature, forms=False)
            for feature in ("constant", "asm_goto")
        )
        result = pgtable.check(run_time, constant, random_entries=10_000)
        assert list(result) == []
        assert result.clean


@pytest.mark.long  # of this kind, the run-time feature is in the sample
def test_mask_of_physical_addresses_may_be_a_constant(header_tree):
    constant, variable = (
        pgtable.kernel_tree(header_tree, flags="-O1", config=config, forms=False)
        for config in ({}, {"CONFIG_DYNAMIC_PHYSICAL_MASK": True})
    )
    result = pgtable.compare(constant, variable)
    assert list(result) == []
    assert constant.helpers.keys() == variable.helpers.keys()


@pytest.mark.parametrize("header_tree", sample(SERIES, ["6.12"]), indirect=True)
def test_laws_hold(header_tree):
    for forms in (True, False):
        laws = pgtable.check_laws(pgtable.kernel_tree(header_tree, forms=forms))
        assert list(laws) == []
