# SPDX-License-Identifier: GPL-2.0-only
"""What tests of faults share: how long they go on, and counts that are shown at the end."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

#: PGTABLE_FAULTS=long: `make faults`; otherwise a sample of each.
LONG = os.environ.get("PGTABLE_FAULTS") == "long"

_COUNTS: dict[str, Counter[str]] = {}


@pytest.fixture
def tries() -> Callable[[int, int], int]:
    """Give the number of tries: of a sample, or of the long run."""
    return lambda sample, long: long if LONG else sample


@pytest.fixture
def outcomes(request: pytest.FixtureRequest) -> Iterator[Counter[str]]:
    """Count what came out of each try; the counts are shown below the results."""
    counts: Counter[str] = Counter()
    yield counts
    _COUNTS[request.node.name] = counts


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what came out of all tries."""
    if _COUNTS:
        terminalreporter.section("faults")
    for name, counts in sorted(_COUNTS.items()):
        told = ", ".join(f"{number:,} {outcome}" for outcome, number in sorted(counts.items()))
        terminalreporter.write_line(f"{name}: {counts.total():,} tries: {told}")
