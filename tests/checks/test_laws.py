# SPDX-License-Identifier: GPL-2.0-only
"""The laws: sound engines are clean, every kind of fault is found and named."""

import json
from functools import cache

import numpy as np
import pytest

import pgtable
from pgtable.checks.known import KNOWN
from pgtable.checks.laws import LAWS, law
from pgtable.engines.switches import COMBINATIONS, Switches

PRESENT, RW, DIRTY, PSE = 1, 1 << 1, 1 << 6, 1 << 7
COW, NX = 1 << 58, 1 << 63
BROKEN = Switches("cow", True, False)
SOUND = [c for c in COMBINATIONS if c != BROKEN]


@cache
def native_report(*switches):
    return pgtable.check_laws(pgtable.native(*switches))


def broken_laws(report):
    return {(finding.law, finding.helper) for finding in report}


# ---- our own engines


@pytest.mark.parametrize("switches", SOUND, ids=str)
def test_sound_rules_have_no_findings(switches):
    report = native_report(*switches)
    assert not report, str(report)
    assert report.clean
    assert report.recognised is None
    assert report.rules == switches


def test_reference_is_judged_like_native():
    one = native_report("saved_dirty", False, True).as_dict()
    two = pgtable.check_laws(pgtable.reference("saved_dirty", False, True)).as_dict()
    assert one.pop("engine") != two.pop("engine")
    assert one == two


RAW = {
    *(("no_accidental_shadow_stack", f"{e}_{s}_flags") for e in ("pte", "pmd", "pud")
      for s in ("set", "clear")),
    *(("frame_key_nx_untouched", f"{e}_{s}_flags") for e in ("pte", "pmd", "pud")
      for s in ("set", "clear")),
    *(("dirtiness_not_lost", f"{e}_clear_flags") for e in ("pte", "pmd", "pud")),
    *(("dirtiness_not_made_up", f"{e}_set_flags") for e in ("pte", "pmd", "pud")),
}  # fmt: skip
UNMOVED = {
    *(("no_accidental_shadow_stack", f"{e}_{s}") for e in ("pte", "pmd", "pud")
      for s in ("wrprotect", "mkdirty")),
    *(("no_accidental_shadow_stack", f"{e}_modify") for e in ("pte", "pmd")),
}  # fmt: skip
COW_MODIFY = {
    (name, f"{level}_modify")
    for name in ("dirtiness_not_lost", "dirtiness_not_made_up")
    for level in ("pte", "pmd")
}
SHADOW_MODIFY = {("no_accidental_shadow_stack", f"{level}_modify") for level in ("pte", "pmd")}
VMA = {
    (name, f"{level}_mkwrite")
    for name in ("no_accidental_shadow_stack", "dirtiness_not_made_up", "set_and_clear")
    for level in ("pte", "pmd")
}


@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        (("cow", True, True), RAW | SHADOW_MODIFY | COW_MODIFY),
        (("cow", False, True), RAW | UNMOVED | COW_MODIFY),
        (("cow", False, False), RAW | UNMOVED),
        (("base", False, False), RAW | UNMOVED),
        (("saved_dirty", False, True), RAW | VMA),
        # a pte is a shadow stack, and writable, wherever VM_SHADOW_STACK makes it one
        (("saved_dirty", True, True), RAW | VMA - {("set_and_clear", "pte_mkwrite")}),
    ],
)
def test_known_exceptions_are_exactly_these(switches, expected):
    report = native_report(*switches)
    found = [(each.law, each.helper) for each in report.exceptions if each.law != "levels_agree"]
    assert set(found) == expected
    assert len(found) == len(expected)
    assert all(each.reason and each.inputs and each.failures for each in report.exceptions)


LEVEL_PAIRS_ALWAYS = {
    *(f"{a}_{s}/{b}_{s}" for s in ("flags", "pfn", "present")
      for a, b in (("pte", "pmd"), ("pte", "pud"), ("pmd", "pud"))),
    *("pfn_pte/pfn_pmd", "pfn_pte/pfn_pud", "pfn_pmd/pfn_pud"),
    *("pte_mkdevmap/pmd_mkdevmap", "pte_mkdevmap/pud_mkdevmap"),
    *("pmd_bad/pud_bad", "pte_modify/pmd_modify"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("switches", "more"),
    [
        (("base", False, False), {"pmd_leaf/pud_leaf"}),
        (("cow", False, True), {"pmd_leaf/pud_leaf"}),
        (
            ("cow", True, True),
            {
                *("pmd_leaf/pud_leaf", "pte_write/pud_write", "pmd_write/pud_write"),
                *("pte_mkdirty/pud_mkdirty", "pmd_mkdirty/pud_mkdirty"),
            },
        ),
        (
            ("saved_dirty", True, True),
            {
                *("pte_write/pmd_write", "pte_write/pud_write", "pmd_write/pud_write"),
                *("pte_shstk/pmd_shstk", "pte_shstk/pud_shstk", "pmd_mkinvalid/pud_mkinvalid"),
                *("pte_modify/pud_modify", "pmd_modify/pud_modify"),
            },
        ),
    ],
)
def test_levels_that_are_known_to_differ(switches, more):
    report = native_report(*switches)
    found = {f"{e.with_}/{e.helper}" for e in report.exceptions if e.law == "levels_agree"}
    assert found == LEVEL_PAIRS_ALWAYS | more


def test_cow_compiled_out_with_the_feature_left_on_loses_dirtiness():
    report = native_report(*BROKEN)
    lost = {finding.helper: finding for finding in report if finding.law == "dirtiness_not_lost"}
    assert lost.keys() == {
        f"{level}_{stem}" for level in ("pte", "pmd", "pud") for stem in ("wrprotect", "mkcow")
    }
    finding = lost["pmd_wrprotect"]
    assert finding.meaning == "a dirty page is dropped as clean: what was written to it is lost"
    assert [(label, str(value)) for label, value in finding.rows] == [
        ("entry", "0x0000000000000040 (Write=0,Dirty=1,Cow=0)"),
        ("gives", "0x0000000000000000 (Write=0,Dirty=0,Cow=0)"),
    ]
    laws = {finding.law for finding in report}
    assert laws == {
        *("dirtiness_not_lost", "set_and_clear", "write_protect_and_back", "compiled_out"),
    }


# ---- seeded faults


def findings(engine, *laws):
    """Check all laws, or those named."""
    report = pgtable.check_laws(engine, laws=laws or None)
    assert max(map(len, str(report).splitlines())) <= 80
    assert str(report).isascii()
    return report


def of_law(report, name):
    return [finding for finding in report if finding.law == name]


def test_lost_dirty_bit_in_one_levels_modify(faulty):
    """The mask of pmd_modify without SavedDirty."""

    def fault(sound, v, newprot):
        return sound(v, newprot) & ((2**64 - 1) ^ COW) | (newprot & COW)

    report = findings(faulty("saved_dirty", faults={"pmd_modify": fault}))
    (lost,) = of_law(report, "dirtiness_not_lost")
    assert (lost.helper, lost.level) == ("pmd_modify", "pmd")
    assert dict(lost.rows)["entry"].value == COW
    assert dict(lost.rows)["newprot"].value == 0
    assert "(Write=0,Dirty=0,Cow=1)" in str(report)
    assert "a dirty page is dropped as clean" in str(report)
    (level,) = of_law(report, "levels_agree")
    assert level.helper == "pmd_modify"


def test_accidental_shadow_stack_in_one_helper(faulty):
    def fault(sound, v):
        return v & ((2**64 - 1) ^ RW)

    report = findings(faulty("saved_dirty", faults={"pte_wrprotect": fault}))
    (found,) = of_law(report, "no_accidental_shadow_stack")
    assert (found.helper, found.level) == ("pte_wrprotect", "pte")
    assert [value.value for _, value in found.rows] == [RW | DIRTY, DIRTY]
    assert (
        found.meaning == "a processor with shadow stacks takes an ordinary page for a shadow stack"
    )
    assert {finding.helper for finding in report} == {"pte_wrprotect"}


@pytest.mark.parametrize("switches", [SOUND[0], SOUND[3], SOUND[-1]], ids=str)
def test_accidental_shadow_stack_in_a_helper_nobody_knows(faulty, switches):
    """Also where the rules excuse others for it."""

    def mkfancy(v):
        return (v | DIRTY) & ((2**64 - 1) ^ RW)

    report = findings(faulty(*switches, added={"pud_mkfancy": mkfancy}))
    assert broken_laws(report) == {
        ("no_accidental_shadow_stack", "pud_mkfancy"),
        ("dirtiness_not_made_up", "pud_mkfancy"),
    }


def test_unknown_helper_that_touches_the_frame(faulty):
    report = findings(faulty(added={"pmd_mknew": lambda v: v | 1 << 30}))
    assert broken_laws(report) == {("frame_key_nx_untouched", "pmd_mknew")}
    assert dict(report[0].rows)["gives"].value == 1 << 30


def test_unknown_helper_that_may_touch_the_frame(faulty):
    sound = pgtable.native("saved_dirty").pte_advance_pfn
    engine = faulty("saved_dirty", added={"pte_next_pfn": lambda v: sound(v, 1)})
    assert not findings(
        engine,
        "no_accidental_shadow_stack",
        "dirtiness_not_made_up",
        "dirtiness_not_lost",
        "frame_key_nx_untouched",
    )


@pytest.mark.parametrize("rules", ["base", "saved_dirty"])
def test_other_names_for_the_same(faulty, rules):
    """hugetlb's names, and what changes an entry in memory, are what they stand for."""
    sound = pgtable.native(rules)
    renamed = {"huge_pte_mkdirty": sound.pte_mkdirty, "ptep_set_wrprotect": sound.pte_wrprotect}
    assert not findings(faulty(rules, added=renamed))
    renamed["huge_pte_mkdirty"] = lambda v: v
    report = findings(faulty(rules, added=renamed))
    assert broken_laws(report) == {
        ("set_and_clear", "huge_pte_mkdirty"),
        ("names_agree", "huge_pte_mkdirty"),
    }


def test_unknown_pair_is_tried_by_its_names(faulty):
    """A new test and its map, which sets another bit."""
    engine = faulty(
        added={"pte_mkshiny": lambda v: v | 1 << 53, "pte_clear_shiny": lambda v: v},
        tests={"pte_shiny": lambda v: (v & 1 << 52) != 0},
    )
    assert broken_laws(findings(engine)) == {
        ("set_and_clear", "pte_mkshiny"),
        ("set_and_clear", "pte_clear_shiny"),
    }


def test_pair_that_is_compiled_out_is_no_finding(faulty):
    def nothing(sound, v):
        return (v & 0) != 0

    def same(sound, v):
        return v

    names = ("pte_mksoft_dirty", "pte_clear_soft_dirty")
    off = dict.fromkeys(names, same) | {"pte_soft_dirty": nothing}
    report = findings(faulty(faults=off), "set_and_clear")
    assert "pte_mksoft_dirty" in report.compiled_out
    assert not of_law(report, "set_and_clear")
    # but a test alone that always says no is one
    report = findings(faulty(faults={"pte_soft_dirty": nothing}), "set_and_clear")
    assert [f.helper for f in of_law(report, "set_and_clear")] == ["pte_mksoft_dirty"]


def test_swapped_mask(faulty):
    """pud_wrprotect clears User instead of Write."""

    def fault(sound, v):
        return v & ((2**64 - 1) ^ 1 << 2)

    report = findings(faulty(faults={"pud_wrprotect": fault}), "set_and_clear", "levels_agree")
    assert ("set_and_clear", "pud_wrprotect") in broken_laws(report)
    (level,) = of_law(report, "levels_agree")
    assert (level.helper, level.level) == ("pud_wrprotect", "pud")


def test_swapped_frame_mask(faulty):
    """pmd_modify that takes the frame of newprot, as far as a pud's flags reach."""

    def fault(sound, v, newprot):
        low = 0x3FE0_0000
        return sound(v, newprot) & ((2**64 - 1) ^ low) | (newprot & low)

    report = findings(faulty(faults={"pmd_modify": fault}), "frame_number_kept")
    assert ("frame_number_kept", "pmd_modify") in broken_laws(report)


def test_a_level_that_forgot_a_change(faulty):
    """pud_mkdirty of the kernel before the change."""
    old = pgtable.native("base").pud_mkdirty
    report = findings(faulty("saved_dirty", faults={"pud_mkdirty": lambda sound, v: old(v)}))
    assert broken_laws(report) == {
        ("no_accidental_shadow_stack", "pud_mkdirty"),
        ("levels_agree", "pud_mkdirty"),
    }


def test_the_level_in_the_middle_is_blamed(faulty):
    report = findings(
        faulty(faults={"pmd_mkold": lambda sound, v: v & ((2**64 - 1) ^ 1 << 4)}), "levels_agree"
    )
    (found,) = of_law(report, "levels_agree")
    assert found.helper == "pmd_mkold"


def test_the_lowest_level_is_blamed(faulty):
    report = findings(
        faulty(faults={"pte_mkold": lambda sound, v: v & ((2**64 - 1) ^ 1 << 4)}), "levels_agree"
    )
    (found,) = of_law(report, "levels_agree")
    assert (found.helper, found.level) == ("pte_mkold", "pte")
    labels = [label for label, _ in found.rows]
    assert labels == ["entry", "pte_mkold gives", "pmd_mkold gives"]
    assert [value.value for _, value in found.rows] == [1 << 4, 0, 1 << 4]


def test_fault_in_dirty_shows_as_lost_dirtiness(faulty):
    engine = faulty("saved_dirty", faults={"pmd_dirty": lambda sound, v: (v & DIRTY) != 0})
    report = findings(engine, "dirtiness_not_lost", "levels_agree")
    assert ("dirtiness_not_lost", "pmd_wrprotect") in broken_laws(report)
    assert ("levels_agree", "pmd_dirty") in broken_laws(report)


def test_unknown_helper_with_an_argument(faulty):
    """It is tried with arguments that can mean no harm, and may do as others say."""
    engine = faulty(added={"pte_mkmore": lambda v, more: v | more}, argument="more")
    assert ("dirtiness_not_made_up", "pte_mkmore") not in broken_laws(
        findings(engine, "dirtiness_not_lost", "dirtiness_not_made_up")
    )
    engine = faulty(added={"pte_mkmore": lambda v, more: v & (more ^ (2**64 - 1 - DIRTY))},
                    argument="more")  # fmt: skip
    assert ("dirtiness_not_lost", "pte_mkmore") in broken_laws(
        findings(engine, "dirtiness_not_lost", "dirtiness_not_made_up")
    )


def test_advance_pfn_that_takes_nx_along(faulty):
    def fault(sound, v, nr):
        return sound(v, nr) & (NX - 1)

    report = findings(
        faulty("saved_dirty", faults={"pte_advance_pfn": fault}), "frame_key_nx_untouched"
    )
    (found,) = of_law(report, "frame_key_nx_untouched")
    assert found.helper == "pte_advance_pfn"
    assert [value.value for _, value in found.rows] == [NX, 0, 0]


def test_mkinvalid_that_forgets_to_invert(faulty):
    def fault(sound, v):
        return v & ((2**64 - 1) ^ (1 | 1 << 8))

    report = findings(faulty("cow", faults={"pmd_mkinvalid": fault}), "frame_number_kept")
    (found,) = of_law(report, "frame_number_kept")
    assert found.helper == "pmd_mkinvalid"
    assert dict(found.rows)["entry"].value == PRESENT | PSE


@pytest.mark.parametrize("bit", [59, 62, 63])
def test_mkinvalid_keeps_key_and_nx(faulty, bit):
    def fault(sound, v):
        return sound(v) & ((2**64 - 1) ^ 1 << bit)

    report = findings(faulty(faults={"pmd_mkinvalid": fault}), "frame_key_nx_untouched")
    (found,) = of_law(report, "frame_key_nx_untouched")
    assert found.helper == "pmd_mkinvalid"
    assert dict(found.rows)["entry"].value >> bit & 1


def test_frame_that_is_another_is_found_whether_or_not_presence_changes(faulty):
    """A changed frame is excused only where presence changed and the number is the same."""

    def other_frame_and_presence(sound, v):
        return sound(v) ^ (1 << 20 | PRESENT)

    def other_frame_alone(sound, v):
        return sound(v) ^ 1 << 20

    for fault in (other_frame_and_presence, other_frame_alone):
        report = findings(faulty(faults={"pte_mkold": fault}), "frame_key_nx_untouched")
        (found,) = of_law(report, "frame_key_nx_untouched")
        assert found.helper == "pte_mkold"
        # every entry, whatever its presence: none is excused
        assert found.failures == found.tried


def test_lost_key_in_a_helper(faulty):
    def fault(sound, v):
        return sound(v) & ((2**64 - 1) ^ 1 << 60)

    report = findings(faulty(faults={"pte_mkclean": fault}), "frame_key_nx_untouched")
    assert ("frame_key_nx_untouched", "pte_mkclean") in broken_laws(report)


def test_mkexec_may_clear_nx_and_nothing_else(faulty):
    report = findings(
        faulty(faults={"pte_mkexec": lambda sound, v: sound(v) & ((1 << 62) - 1)}),
        "frame_key_nx_untouched",
    )
    (found,) = of_law(report, "frame_key_nx_untouched")
    assert found.helper == "pte_mkexec"
    assert dict(found.rows)["entry"].value == 1 << 62


def test_not_idempotent(faulty):
    def fault(sound, v):
        return sound(v) ^ 1 << 3

    report = findings(faulty(faults={"pte_mkcow": fault}), "idempotent")
    assert ("idempotent", "pte_mkcow") in broken_laws(report)


def test_way_back_is_lost(faulty):
    engine = faulty(faults={"pmd_mkwrite": lambda sound, v: v | RW})
    report = findings(engine, "write_protect_and_back")
    (back,) = of_law(report, "write_protect_and_back")
    assert back.helper == "pmd_mkwrite"
    assert [value.value for _, value in back.rows] == [RW | DIRTY, COW, RW | COW]


def test_way_back_by_halves(faulty):
    """Headers without mkwrite itself, and a fault in one of the halves."""
    missing = ("pte_mkwrite",)
    assert not findings(
        faulty("saved_dirty", missing=missing), "write_protect_and_back", "set_and_clear"
    )
    fault = {"pte_clear_saveddirty": lambda sound, v: v}
    report = findings(
        faulty("saved_dirty", missing=missing, faults=fault),
        "write_protect_and_back",
        "set_and_clear",
    )
    assert ("write_protect_and_back", "pte_mkwrite_novma") in broken_laws(report)


@pytest.mark.parametrize("switches", [SOUND[0], SOUND[-1]], ids=str)
def test_engines_need_not_have_everything(faulty, switches):
    missing = [name for name in pgtable.native(*switches).helpers if "write" in name]
    missing += ["pte_dirty", "pmd_pfn", "pud_mkold"]
    report = findings(faulty(*switches, missing=missing))
    assert not report


def test_feature_that_leaks_when_compiled_out(faulty):
    def fault(sound, v):
        return (v & (DIRTY | COW)) != 0

    report = findings(faulty("cow", False, False, faults={"pte_dirty": fault}), "compiled_out")
    assert ("compiled_out", "pte_dirty") in broken_laws(report)


# ---- exceptions are narrow


def test_exception_for_modify_does_not_hide_more(faulty):
    """cow's modify may drop Cow; it may not drop Dirty."""

    def fault(sound, v, newprot):
        return sound(v, newprot) & ((2**64 - 1) ^ DIRTY)

    report = findings(faulty("cow", faults={"pte_modify": fault}), "dirtiness_not_lost")
    lost = of_law(report, "dirtiness_not_lost")
    assert [finding.helper for finding in lost] == ["pte_modify"]
    assert dict(lost[0].rows)["entry"].value == DIRTY


def test_exception_for_level_does_not_hide_more(faulty):
    """pud_write may overlook shadow stacks; it may not overlook Write."""

    def fault(sound, v):
        return sound(v) & ((v & 1 << 4) == 0)

    report = findings(faulty("cow", faults={"pud_write": fault}), "levels_agree")
    (found,) = of_law(report, "levels_agree")
    assert found.helper == "pud_write"
    assert dict(found.rows)["entry"].value == RW | 1 << 4


def test_exception_for_frames_does_not_hide_more(faulty):
    """Frames of a pud start at bit 30; a mask from bit 31 on is wrong."""

    def fault(sound, v):
        wrong = (v & PSE) != 0
        return np.where(wrong, sound(v) | (v & np.uint64(1 << 30)), sound(v))

    report = findings(faulty("cow", faults={"pud_flags": fault}), "levels_agree")
    assert {"pud_flags"} == {finding.helper for finding in of_law(report, "levels_agree")}


def test_old_rules_do_not_excuse_the_new_helper_sets(faulty):
    """What base may do, saved_dirty may not, whatever the processor."""
    old = pgtable.native("base").pte_modify
    engine = faulty("saved_dirty", False, faults={"pte_modify": lambda sound, v, p: old(v, p)})
    assert ("no_accidental_shadow_stack", "pte_modify") in broken_laws(
        findings(engine, "no_accidental_shadow_stack")
    )


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: f"{known.law}-{known.stems[0]}")
def test_exceptions_are_of_laws_that_exist(known):
    assert law(known.law) in LAWS
    assert any(known.when(switches) for switches in COMBINATIONS)
    assert set(known.levels) <= {"pte/pmd", "pmd/pud", "pte/pud"}


def test_exception_for_flags_does_not_hide_more(faulty):
    """A mask that says nothing of the frame or of dirtiness."""

    def fault(sound, v, mask):
        return sound(v, mask) & ((2**64 - 1) ^ (COW | NX))

    report = findings(
        faulty("saved_dirty", faults={"pud_set_flags": fault}),
        "frame_key_nx_untouched",
        "dirtiness_not_lost",
    )
    assert {
        ("frame_key_nx_untouched", "pud_set_flags"),
        ("dirtiness_not_lost", "pud_set_flags"),
    } <= (broken_laws(report))


def test_exception_for_masks_is_for_the_bits_of_the_mask(faulty):
    """A mask with NX must not take the protection key along."""

    def fault(sound, v, mask):
        return sound(v, mask) & ((2**64 - 1) ^ (mask & NX) >> 1)

    engine = faulty("cow", faults={"pmd_set_flags": fault})
    (found,) = findings(engine, "frame_key_nx_untouched")
    assert found.helper == "pmd_set_flags"
    assert [value.value for _, value in found.rows] == [1 << 62, NX, NX]


def test_exception_for_shadow_stack_mappings_does_not_hide_more(faulty):
    """mkwrite of an ordinary mapping."""

    def fault(sound, v, vm_flags):
        return sound(v, vm_flags) & ((2**64 - 1) ^ RW)

    report = findings(
        faulty("saved_dirty", faults={"pmd_mkwrite": fault}),
        "no_accidental_shadow_stack",
        "set_and_clear",
        "write_protect_and_back",
    )
    assert {
        ("no_accidental_shadow_stack", "pmd_mkwrite"),
        ("set_and_clear", "pmd_mkwrite"),
        ("write_protect_and_back", "pmd_mkwrite"),
    } <= broken_laws(report)


# ---- engines that do not say whose rules they follow


def nameless(engine):
    del engine.switches, engine.rules
    return engine


@pytest.mark.parametrize("switches", COMBINATIONS, ids=str)
def test_rules_are_recognised(faulty, switches):
    found = pgtable.recognise(nameless(faulty(*switches)))
    assert found.matches
    assert found.switches == switches
    assert f"matches {switches.rules}" in str(found)


def test_rules_are_recognised_in_spite_of_a_fault(faulty):
    engine = faulty("saved_dirty", False, faults={"pte_mkold": lambda sound, v: v})
    report = pgtable.check_laws(nameless(engine))
    assert report.rules == ("saved_dirty", False, True)
    assert report.recognised.differing == ("pte_mkold",)
    assert not report.recognised.matches
    assert "pte_mkold" in str(report.recognised)
    assert broken_laws(report) == {
        ("set_and_clear", "pte_mkold"),
        ("levels_agree", "pte_mkold"),
    }


def test_nothing_to_recognise(faulty):
    engine = faulty(missing=list(pgtable.native().helpers))
    found = pgtable.recognise(nameless(engine))
    assert not found.matches
    assert str(found) == "no helper in common with any rules"


# ---- the laws as data, and the report


def test_laws_are_data():
    assert pgtable.laws is LAWS
    assert [each.number for each in LAWS] == sorted(each.number for each in LAWS)
    assert {each.number for each in LAWS} == set(range(1, 14))
    assert len({each.name for each in LAWS}) == len(LAWS)
    assert all(each.sentence and each.meaning and each.helpers for each in LAWS)
    with pytest.raises(ValueError, match="no such law: 'gravity'"):
        law("gravity")


def test_every_law_has_cases():
    tried = native_report("cow", False, False).tried
    # our own engines have no swap_entry_t: test_swap_laws.py has cases of these
    of_trees = {
        *("swap_round_trip", "swap_not_present", "swap_flags_beside"),
        *("migration_flags", "swap_kinds", "protections", "flushed_when_needed"),
        "names_agree",
    }
    assert tried.keys() == {each.name for each in LAWS} - of_trees
    assert all(count >= 3 for count in tried.values())


def test_every_map_is_under_the_general_laws():
    engine = pgtable.native("saved_dirty")
    tried = native_report("saved_dirty", True, True).tried
    maps = [
        helper
        for helper in engine.helpers.values()
        if helper.info.gives in ("pte", "pmd", "pud") and "_swp_" not in helper.name
    ]
    # and the two protval helpers; but mkwrite_shstk may make a shadow stack
    assert tried["no_accidental_shadow_stack"] == len(maps) + 2 - 2
    assert tried["dirtiness_not_lost"] == len(maps) + 2 - 3


def test_progress_reaches_the_end():
    seen = []
    engine = pgtable.native("base")
    pgtable.check_laws(engine, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, len(LAWS)) for done in range(1, len(LAWS) + 1)]


def test_chosen_laws():
    report = pgtable.check_laws(pgtable.native(*BROKEN), laws=["set_and_clear"])
    assert report.tried.keys() == {"set_and_clear"}
    assert {finding.law for finding in report} == {"set_and_clear"}
    with pytest.raises(ValueError, match="no such law: 'gravity'"):
        pgtable.check_laws(pgtable.native(), laws=["gravity"])


def test_json():
    value = json.loads(native_report(*BROKEN).to_json())
    assert value["clean"] is False
    finding = value["findings"][0]
    assert finding["law"] == "dirtiness_not_lost"
    assert finding["smallest"]["gives"] == {
        "value": "0x0000000000000000",
        "state": "(Write=0,Dirty=0,Cow=0)",
    }
    assert value["known_exceptions"][0]["reason"]
