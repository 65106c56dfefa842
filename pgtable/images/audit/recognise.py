# SPDX-License-Identifier: GPL-2.0-only
"""Which rule set made these entries: read off what happened to Dirty.

A kernel before 6.6 leaves Dirty set when it write-protects, and its own
read-only mappings are made with Dirty.  Later ones move it to bit 58, and their
read-only mappings have none.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..walk import Walk
from .rows import chunks


@dataclass(frozen=True)
class Recognised:
    """The rule set, and why."""

    rules: str | None  #: None: nothing in the entries tells
    given: bool  #: it was named by the user, not recognised
    kept: int  #: read-only leaves that kept Dirty (Write=0,Dirty=1)
    saved: int  #: read-only leaves whose dirtiness is in bit 58
    kernel_kept: int  #: of those that kept Dirty, how many are in the kernel half
    kernel_clean: int  #: read-only kernel leaves without Dirty

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


def recognise(walk: Walk, rules: str | None = None) -> Recognised:
    """Count what tells the rule sets apart, and decide by the majority.

    rules: the rule set where it is known; the counts are made all the same.
    """
    kept = saved = kernel_kept = kernel_clean = 0
    for rows in chunks(walk):
        read_only = rows.leaf & ~rows.write_bit
        dirty = read_only & rows.dirty_bit
        kernel = read_only & rows.kernel
        kept += int((dirty & ~rows.bit58).sum())
        saved += int((read_only & ~rows.dirty_bit & rows.bit58).sum())
        kernel_kept += int((kernel & rows.dirty_bit).sum())
        kernel_clean += int((kernel & ~rows.dirty_bit).sum())
    given = rules is not None
    if rules is None and kept != saved + kernel_clean:
        rules = "base" if kept > saved + kernel_clean else "saved_dirty"
    return Recognised(rules, given, kept, saved, kernel_kept, kernel_clean)
