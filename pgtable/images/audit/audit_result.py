# SPDX-License-Identifier: GPL-2.0-only
"""What the audit of one walk and that of all address spaces tell alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .recognise import Recognised
from .rules import Rule


class Reported(Protocol):
    """A finding of either audit."""

    @property
    def rule(self) -> Rule:
        """The rule that is broken."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""


@dataclass(frozen=True)
class AuditResult:
    """The findings, worst first, and what could not be checked."""

    recognised: Recognised
    findings: Sequence[Reported]
    skipped: Sequence[tuple[Rule, str]]  #: rules that were not applied, and why
    limits: Sequence[str]  #: what rules that were applied could not see
    rows: int  #: how many entries were looked at, a shared kernel half once

    @property
    def faults(self) -> int:
        """How many findings are more than a note."""
        return sum(finding.rule.severity != "note" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {
            "rows": self.rows,
            "rules": self.recognised.rules,
            "rules_given": self.recognised.given,
            "rules_doubt": self.recognised.doubt,
            "evidence": {
                "read_only_dirty": self.recognised.kept,
                "read_only_saved_dirty": self.recognised.saved,
                "kernel_read_only_dirty": self.recognised.kernel_kept,
                "kernel_read_only_clean": self.recognised.kernel_clean,
            },
            "findings": [finding.as_dict() for finding in self.findings],
            "not_applied": [{"rule": rule.id, "why": why} for rule, why in self.skipped],
            "limits": list(self.limits),
        }
