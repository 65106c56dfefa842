# SPDX-License-Identifier: GPL-2.0-only
"""Text that goes into a mail has 80 columns."""

import pytest

from pgtable.checks.report import counted, differing, wrap


def test_a_long_list_of_bits_breaks_after_commas_and_loses_nothing():
    bits = ",".join(f"bit{number}=0" for number in range(40))
    lines = wrap(f"pmd_bad: {bits}", hang="  ").splitlines()
    assert max(map(len, lines)) <= 80
    assert all(line.endswith(",") for line in lines[1:-1])
    assert "".join(line.strip() for line in lines).replace(" ", "") == f"pmd_bad:{bits}"


def test_a_state_that_fits_stays_whole():
    state = "(Write=0,Dirty=1,Cow=0)"
    assert state in wrap("x" * 70 + " " + state, hang="  ").splitlines()[1]


@pytest.mark.parametrize(("count", "said"), [(0, "no laws"), (1, "1 law"), (1234, "1,234 laws")])
def test_counted(count, said):
    assert counted(count, "law") == said


def test_differing():
    assert differing(1) == "1 differs"
    assert differing(2, "3 helpers") == "2 of 3 helpers differ"
