# SPDX-License-Identifier: GPL-2.0-only
"""Stubs are told from faults: an option takes a whole family of helpers with it."""

from __future__ import annotations

import pytest

import pgtable
from pgtable.checks.empty_helpers import FAMILIES, OPTIONS, ReducedEngine, compiled_out
from pgtable.checks.subject import name_of
from pgtable.engines.interface import Helper, HelperInfo
from pgtable.engines.reference import ReferenceEngine
from pgtable.engines.switches import COMBINATIONS, Chosen, resolve

from ..conftest import sample

SAVED_DIRTY = resolve("saved_dirty", None, None)


def with_stubs(names) -> ReferenceEngine:
    """Return the reference with helpers that do nothing in place of these."""
    engine = ReferenceEngine(Chosen(SAVED_DIRTY, "", None))

    def stub(info):
        return (lambda v: (v & 0) != 0) if info.kind == "test" else (lambda v: v)

    engine._set_helpers(
        [
            Helper(engine, helper.info, stub(helper.info) if name in names else helper.handle)
            for name, helper in engine.helpers.items()
        ]
    )
    return engine


def family_at(family, level) -> list[str]:
    names = [name_of(stem, level) for stem in family]
    return [name for name in names if name in pgtable.reference("saved_dirty").helpers]


@pytest.mark.parametrize("switches", COMBINATIONS, ids=str)
def test_nothing_is_compiled_out_of_ours(switches):
    assert compiled_out(pgtable.native(*switches)) == []


@pytest.mark.parametrize("level", sample(["pte", "pmd", "pud"], ["pmd"]))
@pytest.mark.parametrize(
    "family", [each for each in FAMILIES if each[0] not in OPTIONS], ids=lambda family: family[0]
)
def test_a_whole_family_is_compiled_out(family, level):
    names = family_at(family, level)
    engine = with_stubs(names)
    assert compiled_out(engine) == names
    left = ReducedEngine(engine, names)
    assert list(left.helpers) == [name for name in engine.helpers if name not in names]
    found = pgtable.check_laws(left, rules=SAVED_DIRTY)
    assert found.clean, str(found)


def test_a_family_of_one_is_compiled_out_only_where_its_option_is_off():
    engine = with_stubs(["pte_huge"])
    assert compiled_out(engine) == []
    engine.configured = lambda option: option != "CONFIG_HUGETLB_PAGE"
    assert compiled_out(engine) == ["pte_huge"]
    engine.configured = lambda option: True
    assert compiled_out(engine) == []


@pytest.mark.parametrize("name", ["pmd_mkspecial", "pmd_swp_soft_dirty", "pte_mkuffd_wp"])
def test_one_of_a_family_alone_is_a_fault(name):
    engine = with_stubs([name])
    assert compiled_out(engine) == []
    assert not pgtable.check_laws(ReducedEngine(engine, []), rules=SAVED_DIRTY).clean


@pytest.mark.parametrize("name", ["pmd_wrprotect", "pte_mkold", "pud_dirty"])
def test_what_no_option_takes_is_never_a_stub(name):
    assert compiled_out(with_stubs([name])) == []


class WithLeaf(ReferenceEngine):
    """The reference with a helper that some configurations leave empty, empty here."""

    def __init__(self, level, names):
        engine = with_stubs(names)
        self.__dict__.update(engine.__dict__)
        info = HelperInfo(f"softleaf_from_{level}", level, level, "val", None)
        self._set_helpers([*engine.helpers.values(), Helper(self, info, lambda v: v & 0)])


@pytest.mark.parametrize(
    ("level", "stubs", "found"),
    [
        ("pmd", ["pmd_trans_huge"], ["pmd_trans_huge", "softleaf_from_pmd"]),
        ("pmd", [], []),  # huge pages are built in: it is a fault
        ("pte", ["pmd_trans_huge"], ["pmd_trans_huge"]),
    ],
)
def test_empty_only_where_huge_pages_are_not_built_in(level, stubs, found):
    assert compiled_out(WithLeaf(level, stubs)) == found


def test_what_is_left_runs():
    engine = ReducedEngine(pgtable.native(), ["pte_mkold"])
    assert engine.pte_wrprotect(0x867) == pgtable.pte_wrprotect(0x867)
    assert engine.chain("pte_wrprotect", "pte_dirty")(0x867) is True
    with pytest.raises(pgtable.UnknownHelperError):
        _ = engine.pte_mkold
