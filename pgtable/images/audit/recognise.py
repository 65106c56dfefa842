# SPDX-License-Identifier: GPL-2.0-only
"""Which rule set made these entries: read off what happened to Dirty.

A kernel before 6.6 leaves Dirty set when it write-protects, and its own
read-only mappings are made with Dirty.  Later ones move it to bit 58, and their
read-only mappings have none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from ... import bits
from ...census import Census
from ...kernels import Kernel
from ..walk import Walk, Walked
from .rows import Rows, any_of, chunks


@dataclass(frozen=True)
class Recognised:
    """The rule set, and why."""

    rules: str | None  #: None: nothing in the entries tells
    given: bool  #: it was named by the user, not recognised
    kept: int  #: read-only leaves that kept Dirty (Write=0,Dirty=1)
    saved: int  #: read-only leaves whose dirtiness is in bit 58
    kernel_kept: int  #: of those that kept Dirty, how many are in the kernel half
    kernel_clean: int  #: read-only kernel leaves without Dirty
    kernel: str = ""  #: the kernel whose rules they are, where that decided
    doubt: str = ""  #: what the kernel's version and the entries disagree about

    @property
    def evidence(self) -> str:
        """Say in one line what was counted."""
        return (
            f"read-only leaves: {self.kept:,} (Write=0,Dirty=1,Cow=0),"
            f" {self.saved:,} (Write=0,Dirty=0,Cow=1);"
            f" of the kernel's own {self.kernel_kept:,} dirty, {self.kernel_clean:,} clean"
        )

    @property
    def text(self) -> str:
        """Say in one line what was concluded."""
        return f"{self._conclusion}; {self.doubt}" if self.doubt else self._conclusion

    @property
    def _conclusion(self) -> str:
        if self.kernel:
            return f"rules {self.rules}, those of {self.kernel}"
        if self.given:
            return f"rules {self.rules}, as asked for"
        if self.rules is None:
            return "rules unknown: no read-only leaf tells where dirtiness is kept"
        if self.rules == "base":
            return "rules base (before Linux 6.6, or without shadow stacks)"
        return (
            "rules saved_dirty (Linux 6.6 or later);"
            " entries of the cow patch look the same: say --rules cow for those"
        )


def recognise(walk: Walk | Sequence[Walk], rules: str | None = None) -> Recognised:
    """Count what tells the rule sets apart, and decide by the majority.

    walk: one, or several of one machine.
    rules: the rule set where it is known; the counts are made all the same.
    """
    walks = [walk] if isinstance(walk, Walk) else walk
    counts = np.zeros(4, np.int64)
    for rows in chain.from_iterable(map(chunks, walks)):
        counts += [np.count_nonzero(mask) for mask in evidence_of(rows, rows.leaf)]
    return conclude(counts, rules, walks[0])


def evidence_of(rows: Rows, leaf: np.ndarray) -> tuple[np.ndarray, ...]:
    """Tell of which leaves each count of the evidence is (four masks)."""
    return _evidence(leaf & ~rows.write_bit, rows.dirty_bit, rows.bit58, rows.kernel)


def conclude(counts: np.ndarray, rules: str | None, walk: Walked) -> Recognised:
    """Decide by the evidence; the kernel of the walk has a say."""
    return _agreed(_decide(counts, rules), walk.kernel, walk.kernel_given)


def recognise_census(
    censuses: Mapping[tuple[str, int], Census],
    rules: str | None = None,
    kernel: Kernel | None = None,
    kernel_given: bool = False,
) -> Recognised:
    """Do the same from censuses by half and level, as ``image.census()`` gives them.

    kernel: as of a :class:`Walk`, with ``kernel_given``.
    """
    counts = np.zeros(4, np.int64)
    for (half, level), census in censuses.items():
        entries = census.entries
        leaf = any_of(entries, bits.PRESENT)
        if level > 1:
            leaf &= any_of(entries, bits.PSE) & (level <= 3)
        read_only = leaf & ~any_of(entries, bits.RW)
        upper = np.full(len(entries), half == "kernel")
        found = _evidence(
            read_only, any_of(entries, bits.DIRTY), any_of(entries, bits.BIT58), upper
        )
        counts += [int(census.counts[mask].sum()) for mask in found]
    return _agreed(_decide(counts, rules), kernel, kernel_given)


def _agreed(found: Recognised, kernel: Kernel | None, argument: bool) -> Recognised:
    """Let the kernel's version decide where nothing else does, and say where it disagrees.

    argument: the user named the kernel, which decides whatever the entries say.
    """
    if found.given or kernel is None:
        return found
    title, theirs = kernel.title, kernel.rules
    looks = "base" if found.rules == "base" else "saved_dirty"
    fits = found.rules is None or looks == ("base" if theirs == "base" else "saved_dirty")
    if found.rules is None or (argument and fits):
        return replace(found, rules=theirs, kernel=title)
    if fits:
        return found
    if argument:
        doubt = f"the entries look like rules {found.rules}: was another kernel meant?"
        return replace(found, rules=theirs, kernel=title, doubt=doubt)
    doubt = f"{title} should follow rules {theirs}, but the entries do not; --rules decides"
    return replace(found, doubt=doubt)


def _evidence(
    read_only: np.ndarray, dirty: np.ndarray, bit58: np.ndarray, kernel: np.ndarray
) -> tuple[np.ndarray, ...]:
    return (
        read_only & dirty & ~bit58,
        read_only & ~dirty & bit58,
        read_only & dirty & kernel,
        read_only & ~dirty & kernel,
    )


def _decide(counts: np.ndarray, rules: str | None) -> Recognised:
    kept, saved, kernel_kept, kernel_clean = counts.tolist()
    given = rules is not None
    if rules is None and kept != saved + kernel_clean:
        rules = "base" if kept > saved + kernel_clean else "saved_dirty"
    return Recognised(rules, given, kept, saved, kernel_kept, kernel_clean)
