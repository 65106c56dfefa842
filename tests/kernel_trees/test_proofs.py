# SPDX-License-Identifier: GPL-2.0-only
"""Forms of a tree's helpers: proved of its text, or not used."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pgtable
from pgtable.engines.forms import Condition, Form, found_condition, found_form
from pgtable.kernel_trees import KernelTreeError, cache_directory
from pgtable.kernel_trees.form_proofs import cases_of_condition, cases_of_form

from ..conftest import replace

QUICK = "-O1"
HEADER = "arch/x86/include/asm/pgtable.h"
PTE_SET = "return __pte(pte_val(pte) | set);"
MKYOUNG = "return pte_set_flags(pte, _PAGE_ACCESSED);"
YOUNG = "return pte_val(pte) & _PAGE_ACCESSED;"
ALL = 2**64 - 1
D, C = 1 << 6, 1 << 58

#: None of those that a form is found by.
UNHEARD_OF = 0x0123456789ABCDEF


def seen(engine):
    """Return the forms that helpers of the entry alone seem to have."""
    found = {}
    for helper in engine.helpers.values():
        if helper.argument is None:
            find = found_condition if helper.kind == "test" else found_form
            if form := find(helper.handle):
                found[helper.name] = form
    return found


# ---- what is proved


def test_forms_are_those_of_our_text(mini_engine):
    ours = seen(pgtable.native("saved_dirty"))
    shared = {name for name in ours if name in mini_engine.helpers}
    assert len(shared) > 30
    assert {name: mini_engine.forms.get(name) for name in shared} == {
        name: ours[name] for name in shared
    }


def test_all_kinds_are_among_them(mini_engine):
    forms = mini_engine.forms
    assert forms["pte_mkyoung"] == Form(ALL & ~0x20, 0x20, 0, 0)
    assert forms["pte_wrprotect"] == Form(ALL & ~(D | 2), 0, D, 0)
    assert forms["pte_young"] == Condition(0x20, 0, negate=True)
    assert forms["pte_dirty"] == Condition(D | C, 0, negate=True)
    assert forms["pmd_write"] == Condition(2, 2, 0xC0, 0xC0, either=True)
    # 62 bits: each has its case
    assert forms["pte_none"] == Condition(ALL & ~0x60, 0)
    assert not forms.keys() & {"pte_mkdirty", "pte_modify", "pte_same"}


def test_arrays_go_by_the_form_single_entries_by_the_text(mini_engine, monkeypatch):
    engine = pgtable.kernel_tree(mini_engine.tree.sources, flags=QUICK)
    monkeypatch.setattr(engine, "forms", {"pte_mkyoung": Form(0, 5, 0, 0)})
    engine.pte_mkyoung.handle = engine.pte_mkyoung.handle
    assert engine.pte_mkyoung(np.zeros(3, np.uint64)).tolist() == [5] * 3
    assert engine.pte_mkyoung(0) == 0x20


def test_they_are_the_helpers(mini_engine, low_bit_entries, random_entries):
    by_text = pgtable.kernel_tree(mini_engine.tree.sources, flags=QUICK, forms=False)
    assert (by_text.forms, by_text.bitwise) == ({}, frozenset())
    for name in mini_engine.forms:
        for entries in (low_bit_entries, random_entries):
            results = [engine.helpers[name](entries) for engine in (mini_engine, by_text)]
            assert np.array_equal(*results), name
            if mini_engine.helpers[name].kind == "test":
                assert mini_engine.helpers[name].count(entries) == np.count_nonzero(results[1])


def test_with_arguments_too(mini_engine, low_bit_entries):
    by_text = pgtable.kernel_tree(mini_engine.tree.sources, flags=QUICK, forms=False)
    levels = ("pte", "pmd", "pud")
    changes = {f"{level}_{change}_flags" for level in levels for change in ("set", "clear")}
    assert mini_engine.bitwise == changes
    for name in changes:
        helper, text = mini_engine.helpers[name], by_text.helpers[name]
        for word in (0, 1, ALL, D | C, UNHEARD_OF):
            assert isinstance(mini_engine.form_of(helper, word), Form)
            assert np.array_equal(helper(low_bit_entries, word), text(low_bit_entries, word))
    # one for each entry has none
    assert mini_engine.pte_set_flags(np.uint64([1, 2]), np.uint64([4, 8])).tolist() == [5, 10]


def test_chains_become_one_loop(mini_engine, random_entries):
    chain = mini_engine.chain("pte_wrprotect", "pte_mkold", "pte_mkclean", "pte_write")
    c_steps = chain.c_steps
    assert c_steps.n == 2
    assert c_steps.array[0].form
    assert c_steps.array[1].condition
    assert np.array_equal(
        chain(random_entries),
        pgtable.reference("saved_dirty").chain(*(step[0].name for step in chain.steps))(
            random_entries
        ),
    )


# ---- what is not


@pytest.mark.parametrize(
    ("sound", "almost", "name", "wrong"),
    [
        (
            MKYOUNG,
            f"return pte_val(pte) == {UNHEARD_OF:#x}ull ? pte :"
            " pte_set_flags(pte, _PAGE_ACCESSED);",
            "pte_mkyoung",
            UNHEARD_OF,
        ),
        (
            YOUNG,
            f"return pte_val(pte) == {UNHEARD_OF:#x}ull ? 0 : pte_val(pte) & _PAGE_ACCESSED;",
            "pte_young",
            False,
        ),
    ],
)
def test_what_only_seems_to_be_one(make_mini_tree, sound, almost, name, wrong):
    """Trying it finds a form, and one entry that was not tried has another result."""
    tree = make_mini_tree(edits={sound: almost})
    engine = pgtable.kernel_tree(tree, flags=QUICK)
    assert name in seen(engine)
    assert name not in engine.forms
    assert len(engine.forms) > 40
    entries = np.array([UNHEARD_OF, UNHEARD_OF ^ 1], np.uint64)
    assert engine.helpers[name](entries).tolist()[0] == wrong
    assert engine.helpers[name](entries).tolist()[1] != wrong


@pytest.mark.parametrize("entry", [UNHEARD_OF, UNHEARD_OF ^ 0x20])
@pytest.mark.parametrize("argument", [UNHEARD_OF, UNHEARD_OF ^ 0x20])
def test_what_is_bitwise_but_for_one_entry(make_mini_tree, entry, argument):
    """Whatever the bit is in both: each of the four has its case."""
    wrong = f"(pte_val(pte) == {entry:#x}ull && set == {argument:#x}ull ? 0x20 : 0)"
    almost = f"return __pte((pte_val(pte) | set) ^ {wrong});"
    engine = pgtable.kernel_tree(make_mini_tree(edits={PTE_SET: almost}), flags=QUICK)
    assert found_form(engine.pte_set_flags.handle, argument)
    assert "pte_set_flags" not in engine.bitwise
    result = engine.pte_set_flags(np.array([entry, 0], np.uint64), argument)
    assert result.tolist() == [(entry | argument) ^ 0x20, argument]


def test_what_is_bitwise_but_for_one_argument(make_mini_tree):
    almost = f"return __pte(pte_val(pte) | (set == {UNHEARD_OF:#x}ull ? 0 : set));"
    engine = pgtable.kernel_tree(make_mini_tree(edits={PTE_SET: almost}), flags=QUICK)
    assert found_form(engine.pte_set_flags.handle, 0x20)
    assert "pte_set_flags" not in engine.bitwise
    assert "pmd_set_flags" in engine.bitwise
    assert engine.form_of(engine.pte_set_flags, 0x20) is None
    assert engine.pte_set_flags(np.zeros(2, np.uint64), UNHEARD_OF).tolist() == [0, 0]


@pytest.mark.parametrize(
    "body",
    [
        "extern int cc_vendor; return cc_vendor ? pte : pte_set_flags(pte, _PAGE_ACCESSED);",
        "volatile pte_t same = pte; return pte_set_flags(same, _PAGE_ACCESSED);",
    ],
)
def test_what_the_compiler_cannot_know(make_mini_tree, body):
    engine = pgtable.kernel_tree(make_mini_tree(edits={MKYOUNG: body}), flags=QUICK)
    assert seen(engine)["pte_mkyoung"] == Form(ALL & ~0x20, 0x20, 0, 0)
    assert "pte_mkyoung" not in engine.forms
    assert engine.pte_mkyoung(np.zeros(1, np.uint64)).tolist() == [0x20]


def test_run_time_features_are_not_proved(mini_engine):
    """What asks for one is not; the others are as ever."""
    engine = pgtable.kernel_tree(mini_engine.tree.sources, flags=QUICK, feature="asm_goto")
    assert not engine.forms.keys() & {"pte_write", "pte_shstk", "pmd_write"}
    assert {"pte_young", "pte_mkold"} <= engine.forms.keys()


# ---- the cases of a proof


def words():
    return st.integers(0, ALL) | st.sampled_from([0, ALL, D, C, ALL ^ D, ALL ^ C])


@st.composite
def forms(draw):
    set_ = draw(words())
    return Form(
        draw(words()) & ~set_, set_, draw(st.sampled_from([0, D])), draw(st.sampled_from([0, C]))
    )


@st.composite
def conditions(draw):
    masks = [draw(words()) & 0xF000000000000FFF for _ in range(2)]
    values = [draw(words()) & mask for mask in masks]
    return Condition(
        masks[0], values[0], masks[1], values[1], draw(st.booleans()), draw(st.booleans())
    )


def apply_form(form, word):
    moved = (word & form.to_cow) << 52 | (word & form.to_dirty) >> 52
    return word & form.keep | form.set | moved


def is_met(condition, word):
    met = word & condition.mask == condition.value
    met |= condition.either and word & condition.or_mask == condition.or_value
    return met != condition.negate


@given(forms(), words())
def test_cases_of_a_form_leave_nothing_open(form, word):
    """They are for every entry and every bit of the result, and say what the form says."""
    told = 0
    for case in cases_of_form(form):
        assert case.to & ~case.fixed == 0
        if word & case.fixed == case.to:
            told |= case.bits
            assert apply_form(form, word) & case.bits == case.are
    assert told == ALL


@given(conditions(), words(), st.integers(0, 63))
def test_cases_of_a_condition_leave_nothing_open(condition, word, bit):
    near = word & ~condition.mask | condition.value
    other = word & ~condition.or_mask | condition.or_value
    for entry in (word, near, other, near ^ 1 << bit, other ^ 1 << bit):
        told = False
        for case in cases_of_condition(condition):
            assert case.to & ~case.fixed == 0
            if entry & case.fixed == case.to:
                told = True
                assert (case.bits, case.are) == (ALL, is_met(condition, entry))
        assert told


# ---- kept beside the library


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """Return a compiler that does something before it compiles proofs; the cache is its own."""
    monkeypatch.setenv("PGTABLE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PGTABLE_COMPILER_PATHS", str(tmp_path))

    def make(action):
        script = tmp_path / "cc"
        script.write_text(
            f'#!/bin/sh\ncase " $* " in *" proof0.c "*) {action};; esac\nexec gcc "$@"\n'
        )
        script.chmod(0o755)
        return str(script)

    return make


def test_proved_once(make_mini_tree, compiler, tmp_path):
    tree, cc = make_mini_tree(), compiler(f"echo proved >> {tmp_path}/log")
    log = tmp_path / "log"
    pgtable.kernel_tree(tree, compiler=cc, flags=QUICK, forms=False)
    assert not log.exists()
    first, second = (pgtable.kernel_tree(tree, compiler=cc, flags=QUICK) for _ in range(2))
    assert log.read_text() == "proved\n"
    assert first.forms == second.forms
    (file,) = cache_directory().glob("builds/*/forms.json")
    assert json.loads(file.read_text())["forms"].keys() == first.forms.keys()
    # a library without is another's business
    file.unlink()
    assert pgtable.kernel_tree(tree, compiler=cc, flags=QUICK).forms == first.forms
    assert log.read_text() == "proved\n" * 2


def test_headers_that_change_meanwhile(make_mini_tree, compiler, tmp_path):
    """What is proved then may be of another text than what is run."""
    tree = make_mini_tree()
    cc = compiler(f"sed -i 's/_PAGE_ACCESSED);/_PAGE_DIRTY);/' {tree / HEADER}")
    with pytest.raises(KernelTreeError, match="headers changed while they were compiled"):
        pgtable.kernel_tree(tree, compiler=cc, flags=QUICK)
    assert list(cache_directory().glob("builds/*/forms.json")) == []
    assert list(cache_directory().glob("unfinished-*")) == []
    replace(tree / HEADER, MKYOUNG.replace("ACCESSED", "DIRTY"), MKYOUNG)
    plain = compiler("true")
    assert "pte_mkyoung" in pgtable.kernel_tree(tree, compiler=plain, flags=QUICK).forms


def test_proofs_that_do_not_compile(make_mini_tree, compiler):
    cc = compiler("exit 1")
    with pytest.raises(KernelTreeError, match="forms=False"):
        pgtable.kernel_tree(make_mini_tree(), compiler=cc, flags=QUICK)
    assert (
        pgtable.kernel_tree(make_mini_tree("b"), compiler=cc, flags=QUICK, forms=False).forms == {}
    )
