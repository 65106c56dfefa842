# SPDX-License-Identifier: GPL-2.0-only
"""Closed forms: each that is found is the helper, for every entry.

Finding one tries a helper on few entries.  That the helpers which pass have no
other dependence is shown here, on every combination of the bits that matter.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pgtable.engines._native import ffi, lib

import pgtable
from pgtable.engines import loop_engine
from pgtable.engines.forms import found_condition, found_form
from pgtable.engines.interface import Step
from pgtable.engines.switches import COMBINATIONS

ALL = 2**64 - 1
W, D, C = 1 << 1, 1 << 6, 1 << 58
MOVE = 52

#: Maps of the entry alone that no form can say: a choice by Write, moved or inverted frames.
WITHOUT = {
    "protval_4k_2_large",
    "protval_large_2_4k",
    "pmd_flags",
    "pud_flags",
    "pte_pfn",
    "pmd_pfn",
    "pud_pfn",
    "pmd_mkinvalid",
    "pud_mkinvalid",
    "pte_mksaveddirty",
    "pmd_mksaveddirty",
    "pud_mksaveddirty",
    "pte_clear_saveddirty",
    "pmd_clear_saveddirty",
    "pud_clear_saveddirty",
}
#: These choose by Write as well, but not where dirtiness has one place only.
MKDIRTY = {"pte_mkdirty", "pmd_mkdirty", "pud_mkdirty"}


def apply_form(form, entries: np.ndarray) -> np.ndarray:
    """Return what a form makes of entries, by its definition."""
    word = np.uint64
    return (
        (entries & word(form.keep))
        | word(form.set)
        | (entries & word(form.to_cow)) << word(MOVE)
        | (entries & word(form.to_dirty)) >> word(MOVE)
    )


def apply_condition(condition, entries: np.ndarray) -> np.ndarray:
    met = (entries & np.uint64(condition.mask)) == np.uint64(condition.value)
    if condition.either:
        met |= (entries & np.uint64(condition.or_mask)) == np.uint64(condition.or_value)
    return met != bool(condition.negate)


@pytest.mark.parametrize("switches", COMBINATIONS, ids=str)
def test_forms_are_the_helpers(switches, low_bit_entries, random_entries) -> None:
    native, reference = pgtable.native(*switches), pgtable.reference(*switches)
    shifting = switches.rules == "saved_dirty" or (switches.rules == "cow" and switches.shstk)
    without = set()
    for name, helper in native.helpers.items():
        if helper.argument:
            continue
        oracle = reference.helpers[name]
        found = found_form(helper.handle) or found_condition(helper.handle)
        if found is None:
            without.add(name)
            continue
        apply = apply_form if helper.kind == "map" else apply_condition
        for entries in (low_bit_entries, random_entries):
            assert np.array_equal(apply(found, entries), oracle(entries)), name
    expected = WITHOUT | MKDIRTY if shifting else WITHOUT
    assert without == expected & set(native.helpers)


@pytest.mark.parametrize("switches", COMBINATIONS, ids=str)
def test_forms_with_an_argument_are_the_helpers(switches, low_bit_entries) -> None:
    native, reference = pgtable.native(*switches), pgtable.reference(*switches)
    rng = np.random.default_rng(7)
    words = [0, 1, ALL, W, D, C, 0x25, 0x100, 1 << 37, *rng.integers(0, ALL, 4, np.uint64).tolist()]
    words += [1 << bit for bit in range(12, 64, 5)]
    have = set()
    for name, helper in native.helpers.items():
        if not helper.argument:
            continue
        assert found_condition(helper.handle) is None
        for word in words:
            if (found := found_form(helper.handle, word)) is None:
                continue
            have.add(name)
            expected = reference.helpers[name](low_bit_entries, word)
            assert np.array_equal(apply_form(found, low_bit_entries), expected), (name, word)
    assert {"pte_set_flags", "pmd_clear_flags", "pud_set_flags"} <= have
    assert not {"pte_modify", "pmd_modify", "pud_modify"} & have


@st.composite
def forms(draw) -> tuple[int, int, int, int]:
    """Draw keep, set, to_cow and to_dirty."""
    word = st.integers(0, ALL) | st.sampled_from([0, ALL, W, D, C, ALL ^ D, ALL ^ C, ALL ^ (D | C)])
    return draw(word), draw(word), draw(st.sampled_from([0, D])), draw(st.sampled_from([0, C]))


def fused(forms_: list) -> tuple[list, object]:
    """Fuse steps of these forms (None: of none); return what is left, and what holds it."""
    n = len(forms_)
    some = ffi.new("struct pgtable_helper *")
    steps = ffi.new("struct pgtable_step[]", [{"helper": some}] * n)
    for step, form in zip(steps, forms_, strict=True):
        step.form = form or ffi.NULL
    left = ffi.new("struct pgtable_step[]", n)
    kept = ffi.new("struct pgtable_form[]", n)
    count = lib.pgtable_fuse(steps, n, left, kept)
    return [left[i] for i in range(count)], (forms_, some, steps, left, kept)


@settings(max_examples=150)
@given(st.lists(forms(), min_size=1, max_size=4))
def test_any_forms_in_a_row_are_one(random_entries, drawn) -> None:
    steps, _alive = fused([ffi.new("struct pgtable_form *", form) for form in drawn])
    assert len(steps) == 1
    assert bool(steps[0].helper) == (len(drawn) == 1)
    entries = expected = np.concatenate(
        [random_entries[:100], np.array(list(states()), np.uint64), [np.uint64(ALL)]]
    )
    for form in drawn:
        expected = apply_form(ffi.new("struct pgtable_form *", form), expected)
    assert np.array_equal(apply_form(steps[0].form, entries), expected)


def states() -> itertools.chain:
    """Every setting of Write, Dirty and Cow, on nothing and on everything."""
    settings_of = [sum(bits) for bits in itertools.product((0, W), (0, D), (0, C))]
    return itertools.chain(settings_of, (ALL ^ bits for bits in settings_of))


def test_only_neighbours_become_one() -> None:
    engine = pgtable.native()
    names = ["pte_mkold", "pte_mkclean", "pte_mkdirty", "pte_mkyoung", "pte_mkexec", "pte_dirty"]
    c_steps = engine.chain(*names).c_steps
    steps = [c_steps.array[i] for i in range(c_steps.n)]
    assert [bool(step.form) for step in steps] == [True, False, True, False]
    assert [bool(step.condition) for step in steps] == [False, False, False, True]
    assert [bool(step.helper) for step in steps] == [False, True, False, True]
    assert steps[1].helper == engine.pte_mkdirty.handle
    assert steps[3].helper == engine.pte_dirty.handle


def test_an_argument_for_each_entry_has_no_form() -> None:
    helper = pgtable.native().pte_set_flags
    steps = (Step(helper, np.zeros(3, np.uint64)), Step(helper, 0))
    c_steps = loop_engine.CSteps(steps)
    assert c_steps.n == 2
    assert not c_steps.array[0].form
    assert ffi.cast("void *", c_steps.array[0].arguments) == ffi.from_buffer(steps[0].argument)
    assert c_steps.array[1].form


#: What must not pass for a form: each is one, but for few entries.
ALMOST = {
    "a bit by another": lambda v: v & ~np.uint64(0x20) | (v >> np.uint64(1) & np.uint64(0x20)),
    "zero is special": lambda v: np.where(v == 0, np.uint64(1), v),
    "all ones are special": lambda v: np.where(v == np.uint64(ALL), np.uint64(0), v),
    "turned over": lambda v: v ^ np.uint64(1 << 40),
    "set, but not from a single bit": lambda v: (
        v | (v >> np.uint64(1) & v >> np.uint64(3) & np.uint64(4))
    ),
    "by Write": lambda v: np.where((v & np.uint64(W)) != 0, v, v & ~np.uint64(D)),
    "by Dirty and Cow": lambda v: np.where(
        (v & np.uint64(D | C)) == np.uint64(D | C), v | v >> np.uint64(63), v & ~np.uint64(1)
    ),
    "Write moves to Dirty": lambda v: v | (v & np.uint64(W)) << np.uint64(5),
    "Dirty moves by less": lambda v: v | (v & np.uint64(D)) << np.uint64(51),
    "plus one": lambda v: v + np.uint64(1),
}


@pytest.mark.parametrize("name", ALMOST)
def test_what_is_almost_a_form_is_none(name) -> None:
    @ffi.callback("pgtable_map_loop")
    def loop(entries, arguments, argument, out, n):
        array = np.frombuffer(ffi.buffer(entries, 8 * n), np.uint64).copy()
        ffi.memmove(out, ALMOST[name](array).astype(np.uint64).tobytes(), 8 * n)
        return 0

    helper = ffi.new("struct pgtable_helper *", {"map": loop})
    form = ffi.new("struct pgtable_form *")
    assert not lib.pgtable_form_of_map(helper, 0, form)


#: What is no condition, or not of two values only.
NO_CONDITION = {
    "an odd number of three": lambda v: bits_of(v, W) ^ bits_of(v, D) ^ bits_of(v, C),
    "two of three": lambda v: (
        bits_of(v, W) & bits_of(v, D)
        | bits_of(v, D) & bits_of(v, C)
        | bits_of(v, W) & bits_of(v, C)
    ),
    "a number": lambda v: v > np.uint64(1 << 40),
    # it is told by what has the value of two bits, and some third
    "a bit or two others, but for one entry": lambda v: (
        EITHER["a bit or two others"](v) & (v != np.uint64(D | 1 << 7 | 1 << 20))
    ),
}
#: What is one, of two values.
EITHER = {
    "a bit or two others": lambda v: bits_of(v, W) | bits_of(v, D) & bits_of(v, 1 << 7),
    "no bit or no other": lambda v: ~(bits_of(v, W) & bits_of(v, C)),
    "one bit or another, not both": lambda v: bits_of(v, W) != bits_of(v, D),
    "two bits the same": lambda v: bits_of(v, W) == bits_of(v, C),
}


def bits_of(entries: np.ndarray, bit: int) -> np.ndarray:
    return (entries & np.uint64(bit)) != 0


@pytest.mark.parametrize("name", [*NO_CONDITION, *EITHER])
def test_conditions_of_no_value_of_two_and_of_more(name, random_entries) -> None:
    predicate = (NO_CONDITION | EITHER)[name]

    def met(entries, n):
        return predicate(np.frombuffer(ffi.buffer(entries, 8 * n), np.uint64).copy())

    @ffi.callback("pgtable_test_loop")
    def loop(entries, arguments, argument, out, n):
        ffi.memmove(out, met(entries, n).tobytes(), n)
        return 0

    @ffi.callback("pgtable_count_loop")
    def count(entries, arguments, argument, n):
        return int(np.count_nonzero(met(entries, n)))

    found = found_condition(ffi.new("struct pgtable_helper *", {"test": loop, "count": count}))
    assert (found is None) == (name in NO_CONDITION)
    if found:
        assert np.array_equal(apply_condition(found, random_entries), predicate(random_entries))


class Guarded:
    """Bytes at a place that may be unaligned, between others that must stay."""

    def __init__(self, content: bytes, shift: int):
        self.shift, self.n = shift, len(content)
        self.all = np.full(self.n + 128, 0xEE, np.uint8)
        self.place = self.all[64 + shift :][: self.n]
        self.place[:] = np.frombuffer(content, np.uint8)
        self.pointer = ffi.from_buffer(self.place)

    def take(self) -> bytes:
        """Return what is there; what is around it must be as it was."""
        assert (self.all[: 64 + self.shift] == 0xEE).all()
        assert (self.all[64 + self.shift + self.n :] == 0xEE).all()
        return self.place.tobytes()


LENGTHS = [0, 1, 7, 8, 15, 16, 17, 31, 32, 33, 300, 1000]
SHIFTS = [0, 8, 16, 3]


def forms():
    for to_cow, to_dirty, bits in itertools.product((0, D), (0, C), (0, 0x800)):
        yield ffi.new("struct pgtable_form *", (ALL ^ (W | 0x20), bits, to_cow, to_dirty))


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("shift", SHIFTS)
def test_loops_of_forms_at_every_alignment(usable_isa, random_entries, n, shift) -> None:
    loops = pgtable.native(isa=usable_isa).loops
    words = random_entries[:n]
    entries = Guarded(words.tobytes(), shift % 8)
    for form in forms():
        expected = apply_form(form, words)
        for run in (loops.form.map, loops.form.map_large, loops.form.map_stream):
            out = Guarded(bytes(8 * n), shift)
            run(form, entries.pointer, out.pointer, n)
            loops.block.stream_end()
            assert out.take() == expected.tobytes()


#: One value of some bits, or one of two.
VALUES = [
    (1, 1),
    (1, 0),
    (W | D, D),
    (W | D, 0),
    (0, 0),
    (1, 1, W | D, D),
    (W, 0, D, D),
    (W | D, W, W | C, C),
]


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("shift", SHIFTS)
def test_loops_of_conditions(usable_isa, random_entries, n, shift) -> None:
    loops = pgtable.native(isa=usable_isa).loops.form
    words = random_entries[:n]
    entries = Guarded(words.tobytes(), shift % 8)
    for values, negate in itertools.product(VALUES, (0, 1)):
        mask, value, or_mask, or_value = values if len(values) == 4 else (*values, 0, 0)
        condition = ffi.new(
            "struct pgtable_condition *",
            (mask, value, or_mask, or_value, len(values) == 4, negate),
        )
        met = apply_condition(condition, words)
        assert loops.count(condition, entries.pointer, n) == np.count_nonzero(met), values
        flags = Guarded(bytes(n), shift)
        loops.test(condition, entries.pointer, flags.pointer, n)
        assert flags.take() == met.tobytes(), values


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("elsewhere", ["in", "out", "another"])
def test_loops_of_forms_where(usable_isa, random_entries, n, shift, elsewhere) -> None:
    loops = pgtable.native(isa=usable_isa).loops.form
    words, others = random_entries[:n], random_entries[n : 2 * n]
    entries, another = Guarded(words.tobytes(), shift % 8), Guarded(others.tobytes(), shift)
    condition = ffi.new("struct pgtable_condition *", {"mask": 1, "value": 1})
    # any byte but 0 is true
    flags = np.array([0, 1, 2, 0, 0x80, 0xFF, 0], np.uint8)[(random_entries[:n] % 7).astype(int)]
    where = Guarded(flags.tobytes(), shift)
    runs = {
        "condition": lambda form, *places: loops.map_if(form, condition, *places, n),
        "set": lambda form, *places: loops.map_where(form, where.pointer, *places, n),
    }
    for form, run, condition.value, condition.negate in itertools.product(
        forms(), runs, (0, 1), (0, 1)
    ):
        chosen = apply_condition(condition, words) if run == "condition" else flags != 0
        out = Guarded(others.tobytes(), shift)
        places = {"in": entries.pointer, "out": out.pointer, "another": another.pointer}
        runs[run](form, entries.pointer, places[elsewhere], out.pointer)
        expected = np.where(chosen, apply_form(form, words), words if elsewhere == "in" else others)
        assert out.take() == expected.tobytes()
        assert entries.take() == words.tobytes()


def test_where_a_condition_of_two_values(random_entries, monkeypatch) -> None:
    engine = pgtable.native("saved_dirty")
    assert engine.pmd_write.c_steps.array[0].condition.either
    entries = random_entries[:5000] & np.uint64(ALL ^ W)
    where = engine.pmd_write(entries)
    assert 0 < np.count_nonzero(where) < 5000
    expected = np.where(where, engine.pmd_wrprotect(entries), entries)
    for large_from in (loop_engine.LARGE_FROM, 1):
        monkeypatch.setattr(loop_engine, "LARGE_FROM", large_from)
        assert np.array_equal(engine.pmd_wrprotect(entries, where=engine.pmd_write), expected)
    assert engine.pmd_dirty.count(entries, where=engine.pmd_write) == np.count_nonzero(
        where & engine.pmd_dirty(entries)
    )


def test_where_elsewhere_stays(monkeypatch, random_entries) -> None:
    """With an ``out`` of its own, what is not selected keeps what ``out`` holds."""
    engine = pgtable.native()
    assert engine.pte_wrprotect.c_steps.array[0].form
    assert engine.pte_present.c_steps.array[0].condition
    entries = random_entries[:3000]
    where = engine.pte_present(entries)
    out = np.full(3000, 7, np.uint64)
    engine.pte_wrprotect(entries, out=out, where=engine.pte_present)
    assert np.array_equal(out[where], engine.pte_wrprotect(entries)[where])
    assert (out[~where] == 7).all()
    for large_from in (loop_engine.LARGE_FROM, 1):
        monkeypatch.setattr(loop_engine, "LARGE_FROM", large_from)
        new = engine.pte_wrprotect(entries, where=engine.pte_present)
        assert np.array_equal(new, np.where(where, engine.pte_wrprotect(entries), entries))


def test_one_loop_whatever_the_alignment(usable_isa, guarded) -> None:
    """Large arrays start with a short run up to a cache line; nothing is left out or done twice."""
    engine = pgtable.native(isa=usable_isa)
    reference = pgtable.reference()
    rng = np.random.default_rng(3)
    operations = [["pte_mkdirty"], ["pte_wrprotect", "pte_mkold"], ["pte_mkdirty", "pte_mkold"]]
    memory = guarded(8 * 2200)
    for n, shift, at in itertools.product(
        (1023, 1024, 1025, 2100), (0, 1, 8, 24, 56), ("start", "end")
    ):
        entries = memory.place(np.uint64, n, at, shift)
        for names in operations:
            original = rng.integers(0, ALL, n, np.uint64)
            entries[:] = original
            engine.chain(*names)(entries, out=entries)
            assert np.array_equal(entries, reference.chain(*names)(original))
        entries[:] = original
        engine.pte_mkdirty(entries, out=entries)
        assert np.array_equal(entries, reference.pte_mkdirty(original))
        entries[:] = original
        assert engine.pte_dirty.count(entries) == reference.pte_dirty.count(original)
        assert np.array_equal(engine.pte_dirty(entries), reference.pte_dirty(original))


def test_without_forms_the_text_runs(monkeypatch):
    entries = np.arange(1000, dtype=np.uint64)
    text = pgtable.native(forms=False)
    assert text.form_of(text.pte_mkold, 0) is None
    assert text.condition_of(text.pte_dirty) is None
    assert (text.pte_mkold(entries) == pgtable.native(forms=True).pte_mkold(entries)).all()
    monkeypatch.setenv("PGTABLE_FORMS", "0")
    assert pgtable.native() is text
    monkeypatch.setenv("PGTABLE_FORMS", "no")
    with pytest.raises(ValueError, match="PGTABLE_FORMS is 'no'; it can be 0"):
        pgtable.native()
