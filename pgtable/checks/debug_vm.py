# SPDX-License-Identifier: GPL-2.0-only
"""The assertions of the kernel's mm/debug_vm_pgtable.c about value helpers, for any engine.

The tests have the names of the kernel's functions.  The kernel runs each for one frame at boot.
Here they run for frames of every magnitude.  Tests of page tables in memory are listed as not run.
So are tests that need helpers which the engine does not have.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import bits
from ..engines.interface import Engine, Helper
from .report import Report, Value, aligned, rules_of, wrap
from .search import smallest
from .subject import LEVELS, name_of
from .subject import run as call

_USER_PAGE = bits.PRESENT | bits.USER | bits.ACCESSED

#: What mmap() protections become on x86: no access; read; write; each with execution.
PROTECTIONS = (
    bits.PROTNONE | bits.ACCESSED,
    _USER_PAGE | bits.NX,
    _USER_PAGE,
    _USER_PAGE | bits.RW | bits.NX,
    _USER_PAGE | bits.RW,
)
_READ_EXEC = (_USER_PAGE,)  # of a private mapping with all rights: copy on write
_NO_ACCESS = (bits.PROTNONE | bits.ACCESSED,)
#: A swap entry with every bit of its type and the highest offset (kept inverted).
_SWAP_ENTRY = 0x1F << 59


class Assertion(NamedTuple):
    """Apply maps one after the other, then a test.  Names are without the level."""

    maps: tuple[str, ...]
    test: str
    expected: bool

    def text(self, level: str) -> str:
        """Return it as the kernel would write it."""
        inner = level
        for stem in self.maps:
            inner = f"{name_of(stem, level)}({inner})"
        call = f"{name_of(self.test, level)}({inner})"
        return call if self.expected else f"!{call}"


class Suite(NamedTuple):
    """One of the kernel's functions."""

    name: str
    level: str
    protections: tuple[int, ...]
    assertions: tuple[Assertion, ...]


def _yes(test: str, *maps: str) -> Assertion:
    return Assertion(maps, test, True)


def _no(test: str, *maps: str) -> Assertion:
    return Assertion(maps, test, False)


_BASIC = (
    _no("dirty", "wrprotect"),
    _yes("same"),
    _yes("young", "mkold", "mkyoung"),
    _yes("dirty", "mkclean", "mkdirty"),
    _yes("write", "wrprotect", "mkwrite"),
    _no("young", "mkyoung", "mkold"),
    _no("dirty", "mkdirty", "mkclean"),
    _no("write", "mkwrite", "wrprotect"),
    _no("dirty", "mkclean", "wrprotect"),
    _yes("dirty", "mkdirty", "wrprotect"),
)
_ADVANCED = (
    _no("write", "wrprotect"),
    _yes("write", "wrprotect", "mkclean", "mkwrite", "mkdirty"),
    _yes("dirty", "wrprotect", "mkclean", "mkwrite", "mkdirty"),
    _no("young", "mkyoung", "mkold"),
)
_SAVEDWRITE = (
    _yes("savedwrite", "clear_savedwrite", "mk_savedwrite"),
    _no("savedwrite", "mk_savedwrite", "clear_savedwrite"),
)
_SOFT_DIRTY = (_yes("soft_dirty", "mksoft_dirty"), _no("soft_dirty", "clear_soft_dirty"))
_SWAP_SOFT_DIRTY = (
    _yes("swp_soft_dirty", "swp_mksoft_dirty"),
    _no("swp_soft_dirty", "swp_clear_soft_dirty"),
)
_SWAP_EXCLUSIVE = (
    _no("swp_exclusive"),
    _no("none"),
    _no("present"),
    _yes("swp_exclusive", "swp_mkexclusive"),
    _no("none", "swp_mkexclusive"),
    _no("present", "swp_mkexclusive"),
    _no("swp_soft_dirty", "swp_mkexclusive"),
    _no("swp_exclusive", "swp_mkexclusive", "swp_clear_exclusive"),
    _no("present", "swp_mkexclusive", "swp_clear_exclusive"),
)
_PMD_THP = (
    _yes("trans_huge", "mkhuge"),
    _yes("trans_huge", "mkhuge", "mkinvalid"),
    _yes("present", "mkhuge", "mkinvalid"),
    _yes("leaf", "mkhuge", "mkinvalid"),
)
_HUGETLB = (
    _yes("huge_*_dirty", "huge_*_mkdirty"),
    _yes("huge_*_write", "huge_*_wrprotect", "huge_*_mkwrite"),
    _no("huge_*_write", "huge_*_mkwrite", "huge_*_wrprotect"),
)

SUITES = (
    Suite("pte_basic_tests", "pte", PROTECTIONS, _BASIC),
    Suite("pmd_basic_tests", "pmd", PROTECTIONS, (*_BASIC, _yes("bad", "mkhuge"))),
    Suite("pud_basic_tests", "pud", PROTECTIONS, (*_BASIC, _yes("bad", "mkhuge"))),
    Suite("p4d_basic_tests", "p4d", PROTECTIONS, (_yes("same"),)),
    Suite("pgd_basic_tests", "pgd", PROTECTIONS, (_yes("same"),)),
    Suite("pte_advanced_tests", "pte", _READ_EXEC, _ADVANCED),
    Suite("pmd_advanced_tests", "pmd", _READ_EXEC, _ADVANCED),
    Suite("pud_advanced_tests", "pud", _READ_EXEC, _ADVANCED),
    Suite("pmd_leaf_tests", "pmd", _READ_EXEC, (_yes("leaf", "mkhuge"),)),
    Suite("pud_leaf_tests", "pud", _READ_EXEC, (_yes("leaf", "mkhuge"),)),
    Suite("pte_savedwrite_tests", "pte", _NO_ACCESS, _SAVEDWRITE),
    Suite("pmd_savedwrite_tests", "pmd", _NO_ACCESS, _SAVEDWRITE),
    Suite("pte_special_tests", "pte", _READ_EXEC, (_yes("special", "mkspecial"),)),
    Suite("pte_protnone_tests", "pte", _NO_ACCESS, (_yes("protnone"), _yes("present"))),
    Suite(
        "pmd_protnone_tests", "pmd", _NO_ACCESS,
        (_yes("protnone", "mkhuge"), _yes("present", "mkhuge")),
    ),
    Suite("pte_devmap_tests", "pte", _READ_EXEC, (_yes("devmap", "mkdevmap"),)),
    Suite("pmd_devmap_tests", "pmd", _READ_EXEC, (_yes("devmap", "mkdevmap"),)),
    Suite("pud_devmap_tests", "pud", _READ_EXEC, (_yes("devmap", "mkdevmap"),)),
    Suite("pte_soft_dirty_tests", "pte", _READ_EXEC, _SOFT_DIRTY),
    Suite("pmd_soft_dirty_tests", "pmd", _READ_EXEC, _SOFT_DIRTY),
    Suite("pte_swap_soft_dirty_tests", "pte", _READ_EXEC, _SWAP_SOFT_DIRTY),
    Suite("pmd_swap_soft_dirty_tests", "pmd", _READ_EXEC, _SWAP_SOFT_DIRTY),
    Suite("pte_swap_exclusive_tests", "pte", (), _SWAP_EXCLUSIVE),
    Suite("pmd_thp_tests", "pmd", _READ_EXEC, _PMD_THP),
    Suite("pud_thp_tests", "pud", _READ_EXEC, (_yes("trans_huge", "mkhuge"),)),
    Suite("hugetlb_basic_tests", "pte", _READ_EXEC, _HUGETLB),
)  # fmt: skip

#: What the kernel tests beyond values.
IN_MEMORY = (
    *("pte_clear_tests", "pmd_clear_tests", "pud_clear_tests", "p4d_clear_tests"),
    *("pgd_clear_tests", "pmd_populate_tests", "pud_populate_tests", "p4d_populate_tests"),
    *("pgd_populate_tests", "pmd_huge_tests", "pud_huge_tests", "pte_swap_tests"),
    *("pmd_swap_tests", "swap_migration_tests"),
)
_IN_MEMORY_REASON = "works on page tables in memory or on swap descriptors, not on values"

#: Helpers that together replace one that the headers lack: the merged mkwrite is in a source
#: file, and its two halves are in the header.
_INSTEAD = {"mkwrite": ("mkwrite_novma", "clear_saveddirty")}


@dataclass(frozen=True)
class Failure:
    """An assertion that does not hold."""

    assertion: str
    failures: int
    tried: int
    rows: tuple[tuple[str, Value], ...]  #: the smallest entry, step by step

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "assertion": self.assertion,
            "failures": self.failures,
            "tried": self.tried,
            "smallest": {label: value.as_dict() for label, value in self.rows},
        }


@dataclass(frozen=True)
class Result:
    """The result of one of the kernel's functions."""

    name: str
    assertions: int  #: how many were tried
    failures: tuple[Failure, ...]
    not_run: tuple[str, ...]  #: why some assertions, or all, were not tried

    @property
    def status(self) -> str:
        """Return "failed", "passed", "partly run" or "not run"."""
        if self.failures:
            return "failed"
        if not self.assertions:
            return "not run"
        return "partly run" if self.not_run else "passed"

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "name": self.name,
            "status": self.status,
            "assertions": self.assertions,
            "failures": [failure.as_dict() for failure in self.failures],
            "not_run": list(self.not_run),
        }

    def lines(self) -> Iterator[str]:
        """Give it as lines of text."""
        yield f"{self.name:<28}{self.status}"
        for reason in self.not_run:
            yield wrap(f"({reason})", "    ", "     ")
        for failure in self.failures:
            yield wrap(
                f"{failure.assertion}: fails for {failure.failures} of {failure.tried} entries;"
                " smallest:",
                "    ",
                "      ",
            )
            yield from aligned(failure.rows, indent="      ")


@dataclass(frozen=True)
class SuiteReport(Report):
    """What :func:`run` found."""

    engine: str
    results: tuple[Result, ...]

    @property
    def failed(self) -> tuple[Result, ...]:
        """The tests with an assertion that does not hold."""
        return tuple(result for result in self.results if result.failures)

    @property
    def clean(self) -> bool:
        """Whether every assertion that was tried holds."""
        return not self.failed

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "engine": self.engine,
            "clean": self.clean,
            "results": [result.as_dict() for result in self.results],
        }

    def __str__(self) -> str:
        lines = [wrap(f"debug_vm_pgtable of {self.engine}", hang="  ")]
        for result in self.results:
            if result.name not in IN_MEMORY:
                lines += result.lines()
        lines.append(wrap(f"not run: {', '.join(IN_MEMORY)}", hang="  "))
        lines.append(f"    ({_IN_MEMORY_REASON})")
        ran = sum(1 for result in self.results if result.assertions)
        lines.append(f"{ran} tests run, {len(self.failed)} failed")
        return "\n".join(lines)


def run(engine: Engine) -> SuiteReport:
    """Try every assertion on an engine.  ``.clean`` says whether all are true."""
    results = [_run(engine, suite) for suite in SUITES]
    results += [Result(name, 0, (), (_IN_MEMORY_REASON,)) for name in IN_MEMORY]
    return SuiteReport(engine.name, tuple(results))


def _run(engine: Engine, suite: Suite) -> Result:
    entries = _entries(suite)
    absent: dict[str, None] = {}
    not_built: dict[str, None] = {}
    failures, tried = [], 0
    for assertion in suite.assertions:
        lacking = _lacking(engine, assertion, suite.level)
        if lacking:
            absent |= dict.fromkeys(lacking)
        elif _is_compiled_out(engine, assertion, suite.level, entries):
            not_built[name_of(assertion.test, suite.level)] = None
        else:
            tried += 1
            failure = _try(engine, assertion, suite.level, entries)
            if failure:
                failures.append(failure)
    not_run = [f"the engine has no {', '.join(absent)}"] if absent else []
    not_run += [f"not built in: {', '.join(not_built)}"] if not_built else []
    return Result(suite.name, tried, tuple(failures), tuple(not_run))


def _entries(suite: Suite) -> np.ndarray:
    """Return entries with each protection, on frames of every magnitude."""
    if not suite.protections:
        return np.array([_SWAP_ENTRY], np.uint64)
    mask = bits.LEAF_FRAME.get(suite.level, bits.SMALL_FRAME)
    frames = [0, mask, *(1 << bit for bit in range(64) if mask >> bit & 1)]
    found = [
        (frame if protection & bits.PRESENT else frame ^ mask) | protection
        for protection in suite.protections
        for frame in frames
    ]
    return np.array(found, np.uint64)


def _lacking(engine: Engine, assertion: Assertion, level: str) -> list[str]:
    stems = [*assertion.maps, assertion.test]
    return [name_of(stem, level) for stem in stems if not _helpers(engine, stem, level)]


def _helpers(engine: Engine, stem: str, level: str) -> list[Helper]:
    """Return the helper, or the helpers that together replace it; [] if there are none."""
    for stems in ((stem,), _INSTEAD.get(stem, ())):
        found = [engine.helpers.get(name_of(each, level)) for each in stems]
        if found and all(found):
            return [helper for helper in found if helper]
    return []


def _steps(
    engine: Engine, assertion: Assertion, level: str, entries: np.ndarray
) -> Iterator[tuple[str, str, Any]]:
    """Give (label, kind of value, values) for each step, the test last."""
    for stem in assertion.maps:
        for helper in _helpers(engine, stem, level):
            entries = call(helper, entries, None)
            yield helper.name, level, entries
    test = engine.helpers[name_of(assertion.test, level)]
    both = (entries, entries) if test.argument else (entries,)
    yield test.name, "test", test(*both) != 0  # some give an unsigned long


def _try(engine: Engine, assertion: Assertion, level: str, entries: np.ndarray) -> Failure | None:
    *_, (_, _, said) = _steps(engine, assertion, level, entries)
    wrong = said != assertion.expected
    if not wrong.any():
        return None
    found = np.array([smallest(entries[wrong], None).entry], np.uint64)
    rules = rules_of(engine)
    rows = [("entry", Value(int(found[0]), level, rules))]
    for label, kind, values in _steps(engine, assertion, level, found):
        rows.append((label, Value(values[0].item(), kind, rules)))
    text = assertion.text(level)
    return Failure(text, int(np.count_nonzero(wrong)), entries.size, tuple(rows))


def _is_compiled_out(engine: Engine, assertion: Assertion, level: str, entries: np.ndarray) -> bool:
    """Tell whether the maps change nothing and the test says no, also to all bits set."""
    if not assertion.maps or level not in LEVELS:
        return False
    everything = np.concatenate([entries, ~entries])
    *maps, (_, _, said) = _steps(engine, assertion, level, everything)
    unchanged = all(np.array_equal(values, everything) for _, _, values in maps)
    test = engine.helpers[name_of(assertion.test, level)]
    return unchanged and not said.any() and not test.argument and not test(everything).any()
