# SPDX-License-Identifier: GPL-2.0-only
"""The differential test: native is the reference, and every kind of fault is found."""

import json

import numpy as np
import pytest

import pgtable
from pgtable.checks import inputs
from pgtable.engines.switches import COMBINATIONS

NX, COW, DIRTY, RW = 1 << 63, 1 << 58, 1 << 6, 1 << 1
FEW = 20_000


@pytest.mark.parametrize("switches", COMBINATIONS, ids=str)
def test_native_is_the_reference(switches):
    """The whole of it: every helper, exhaustively, and a million random entries."""
    result = pgtable.check(pgtable.native(*switches))
    assert str(result).endswith("no difference")
    assert result.clean
    assert not result
    assert result.helpers == len(pgtable.reference(*switches).helpers)
    assert result.inputs > result.helpers * 1_000_000


def only(result):
    assert not result.clean
    assert len(result) == 1, str(result)
    return result[0]


def found(engine, against=None):
    return only(pgtable.check(engine, against, random_entries=FEW))


def test_wrong_bit(faulty):
    engine = faulty(faults={"pmd_mkyoung": lambda sound, v: v | 1 << 4})
    difference = found(engine)
    assert (difference.helper, difference.level) == ("pmd_mkyoung", "pmd")
    assert difference.example.entry.value == 0
    assert [r.value for r in difference.example.results] == [1 << 4, 1 << 5]
    assert 0 < difference.differ < difference.tried


def test_swapped_mask(faulty):
    engine = faulty(faults={"pte_clear_soft_dirty": lambda sound, v: v & (1 << 11)})
    difference = found(engine)
    assert difference.helper == "pte_clear_soft_dirty"
    assert difference.example.entry.value == 1


def test_swapped_frame_mask_of_a_level(faulty):
    """A pud that is masked like a pmd: differs in frame bits 21 to 29 of large pages alone."""

    def fault(sound, v):
        return pgtable.native().pmd_flags(v)

    difference = found(faulty(faults={"pud_flags": fault}))
    assert difference.helper == "pud_flags"
    assert difference.example.entry.value == 1 << 21 | 1 << 7


LONE = NX | COW | 1 << 12 | 1 << 10 | 1 << 7 | DIRTY | RW


def test_lost_bit_for_one_entry_only(faulty):
    def fault(sound, v):
        right = sound(v)
        if isinstance(v, int):
            return right ^ (DIRTY if v == LONE else 0)
        return np.where(v == LONE, right ^ np.uint64(DIRTY), right)

    difference = found(faulty(faults={"pud_mkwrite": fault}))
    assert difference.differ == 1
    assert difference.example.entry.value == LONE
    assert "differing  DIRTY" in str(difference)


def test_wrong_test(faulty):
    engine = faulty(faults={"pmd_dirty": lambda sound, v: (v & DIRTY) != 0})
    difference = found(engine)
    assert difference.helper == "pmd_dirty"
    assert difference.example.entry.value == COW
    assert [r.value for r in difference.example.results] == [False, True]
    assert "(Write=0,Dirty=0,Cow=1)" in str(difference)


def test_wrong_use_of_the_argument(faulty):
    """newprot's PSE gets through."""

    def fault(sound, v, newprot):
        return sound(v, newprot) | (newprot & 1 << 7)

    difference = found(faulty(faults={"pmd_modify": fault}))
    assert difference.helper == "pmd_modify"
    assert (difference.example.entry.value, difference.example.argument.value) == (0, 1 << 7)
    assert "newprot    0x0000000000000080 (Write=0,Dirty=0,Cow=0)" in str(difference)


def test_argument_ignored(faulty):
    engine = faulty(faults={"pte_set_flags": lambda sound, v, mask: v})
    difference = found(engine)
    assert (difference.example.entry.value, difference.example.argument.value) == (0, 1)


def test_fault_of_int_calls_alone(faulty):
    def fault(sound, v):
        return sound(v) | 1 << 13 if isinstance(v, int) else sound(v)

    difference = found(faulty(faults={"pte_mkold": fault}))
    assert (difference.helper, difference.how) == ("pte_mkold", "ints")
    assert difference.example.entry.value == 0
    assert difference.example.results[0].value == 1 << 13
    assert "called with ints" in str(difference)


def test_fault_of_int_arguments_alone(faulty):
    def fault(sound, v, mask):
        wrong = isinstance(mask, int) and not isinstance(v, int)
        return sound(v, mask) ^ np.uint64(wrong)

    difference = found(faulty(faults={"pud_clear_flags": fault}))
    assert (difference.helper, difference.how) == ("pud_clear_flags", "ints")


def test_the_smallest_is_made_smaller_than_what_was_tried(faulty):
    """Four bits at once in places that only random entries reach."""
    bits = 1 << 15 | 1 << 33 | 1 << 44 | 1 << 60

    def fault(sound, v):
        wrong = (v & bits) == bits
        return sound(v) ^ (wrong * 1 if isinstance(v, int) else wrong.astype(np.uint64))

    difference = found(faulty(faults={"pte_mkclean": fault}))
    assert difference.example.entry.value == bits
    assert difference.differ > 1


def test_helpers_of_one_engine_only(faulty):
    engine = faulty(missing=("pte_mkold",), added={"pte_mknew": lambda v: v})
    result = pgtable.check(engine, random_entries=FEW)
    assert not result
    assert not result.clean
    assert result.only_in_engine == ("pte_mknew",)
    assert result.only_in_against == ("pte_mkold",)
    assert "only in B: pte_mkold" in str(result)


def test_other_parameters_are_not_compared():
    result = pgtable.check(pgtable.native("cow"), pgtable.native("saved_dirty"), random_entries=FEW)
    assert result.incomparable == ("pte_mkwrite", "pmd_mkwrite")
    assert "pte_modify" in {difference.helper for difference in result}
    assert "other parameters or results: pte_mkwrite, pmd_mkwrite" in str(result)


def test_against_a_function_that_makes_engines():
    assert pgtable.check(
        pgtable.native("base"), against=pgtable.reference, random_entries=FEW
    ).clean


def test_engine_without_switches_needs_another(faulty):
    engine = faulty()
    del engine.switches
    with pytest.raises(ValueError, match="faulty has no switches"):
        pgtable.check(engine)


def test_text_fits_a_mail(faulty):
    result = pgtable.check(pgtable.native("cow"), pgtable.native("saved_dirty"), random_entries=FEW)
    text = str(result)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 80


def test_json(faulty):
    engine = faulty(faults={"pte_modify": lambda sound, v, newprot: sound(v, newprot) ^ NX})
    value = json.loads(pgtable.check(engine, random_entries=FEW).to_json())
    assert value["clean"] is False
    (difference,) = value["differences"]
    assert difference["helper"] == "pte_modify"
    assert difference["smallest"]["entry"]["state"] == "(Write=0,Dirty=0,Cow=0)"
    assert difference["smallest"]["argument"]["value"] == "0x0000000000000000"


def test_progress_reaches_the_end():
    seen = []
    engine = pgtable.native("base")
    pgtable.check(engine, random_entries=0, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(engine.helpers), len(engine.helpers))
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))


def test_inputs_hold_every_combination():
    """Of the touched bits, each with the others all zero, all one and something else."""
    entries = inputs.single(1000).entries
    touched = np.uint64(sum(1 << bit for bit in inputs.TOUCHED))
    for rest in (np.uint64(0), ~touched):
        chosen = entries[(entries & ~touched) == rest]
        assert np.unique(chosen & touched).size == 2 ** len(inputs.TOUCHED)
    other = entries[((entries & ~touched) != 0) & ((entries & ~touched) != ~touched)]
    assert np.unique(other & touched).size == 2 ** len(inputs.TOUCHED)


def test_pairs_hold_every_combination_of_both_words():
    entries, arguments = inputs.paired(1000)
    mask = np.uint64(sum(1 << bit for bit in inputs.COMBINED))
    for rest in (np.uint64(0), ~mask):
        for other in (np.uint64(0), ~mask):
            chosen = ((entries & ~mask) == rest) & ((arguments & ~mask) == other)
            both = np.stack([entries[chosen], arguments[chosen]], axis=1)
            assert np.unique(both, axis=0).shape[0] == 4 ** len(inputs.COMBINED)


@pytest.mark.parametrize("switches", COMBINATIONS, ids=str)
def test_touched_bits_are_all_that_helpers_look_at(switches):
    """Every other bit is kept, dropped, shifted or turned over whatever it is.

    Flipping such a bit changes a result in the same bits however the rest of the
    untouched bits stand, as long as there is some other bit set (none is all of them).
    """
    engine = pgtable.reference(*switches)
    rng = np.random.default_rng(1)
    entries = inputs.random_words(2000, rng) | np.uint64(1 << 40)
    again = entries ^ (inputs.random_words(2000, rng) & np.uint64(0xF << 14))
    for helper in engine.helpers.values():
        if helper.argument or helper.kind == "test":
            continue
        for bit in set(range(13, 63)) - set(inputs.TOUCHED) - {14, 15, 16, 17, 40}:
            flip = np.uint64(1 << bit)
            effect = helper(entries) ^ helper(entries ^ flip)
            np.testing.assert_array_equal(effect, helper(again) ^ helper(again ^ flip))
