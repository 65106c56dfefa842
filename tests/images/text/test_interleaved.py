# SPDX-License-Identifier: GPL-2.0-only
"""Any two reports, in any order of their lines."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgtable.images.text import Text, parse

REPORTS = {
    "oops": """\
BUG: unable to handle page fault for address: ffff8a1442c98000
#PF: supervisor write access in kernel mode
#PF: error_code(0x0003) - permissions violation
PGD a1dc01067 P4D a1dc01067 PUD 101967063 PMD 1019f3063 PTE 8000000102c98061
Oops: 0003 [#1] PREEMPT SMP NOPTI
CPU: 1 PID: 222 Comm: kworker/1:2 Not tainted 6.8.0-31-generic #31-Ubuntu
CR2: ffff8a1442c98000 CR3: 0000000102a0a000 CR4: 0000000000750ef0
---[ end trace 0000000000000000 ]---""",
    "five levels": """\
BUG: kernel NULL pointer dereference, address: 0000000000000010
#PF: supervisor read access in kernel mode
#PF: error_code(0x0000) - not-present page
PGD 100001067 P4D 100000067 PUD 0\x20
Oops: 0000 [#2] SMP
CPU: 3 PID: 1 Comm: init Tainted: G    B   W  5.10.0-8-amd64 #1
CR2: 0000000000000010 CR3: 0000000102a0a000 CR4: 0000000000751ef0""",
    "split": """\
BUG: unable to handle kernel paging request at ffffc9000c6ffb80
PGD 8000000002c31063\x20
PUD 32300a063\x20
PMD 2e32bb063\x20
PTE 80000002d702b163
Oops: 0011 [#1] SMP""",
    "corrupted": """\
journalctl: Corrupted page table at address 7f364f200098
PGD 12532c067 P4D 12532c067 PUD 1277e7067 PMD 110dd1067 PTE ffffdbdefffffd9f
Oops: Bad pagetable: 000d [#1] PREEMPT SMP NOPTI""",
    "bad page map": """\
BUG: Bad page map in process worker-a  pte:8000000005ba4225 pmd:16d7b08067
page:ffffea0001c70000 refcount:1 mapcount:-1
addr:00007f0000636000 vm_flags:00100077 anon_vma:ffff888003777f90 mapping:0 index:636
CPU: 38 PID: 488 Comm: worker-a Tainted: G    B      OE   4.19.0-generic #1""",
    "bad swap entry": """\
swap_free: Bad swap file entry 007e9058
BUG: Bad page map in process celery  pte:fd20b000 pmd:16d7b08067
addr:00007fb3611a5000 vm_flags:08100073 anon_vma:ffff8801b4b13910 mapping:0 index:7fb3611a5
CPU: 38 PID: 488 Comm: celery Tainted: G    B      OE   4.1.0-generic #1""",
    "bad pmd map": """\
BUG: Bad page map in process thing  pmd:80000001233f58e7
addr:00007fd84bb1c000 vm_flags:08100071 anon_vma:0000000000000000 mapping:0 index:0
pgd:10a89f067 p4d:10a89f067 pud:10e5a2067 pmd:80000001233f58e7""",
}
#: Prefixes that say who wrote a line.
CALLERS = [
    "<1>[70895.{i:06d}][ T{c}] ",
    "[70895.{i:06d}][   C{c}] ",
    "[70895.{i:06d}] [T{c}] ",
    "1,{i},{i},-,caller=T{c};",
    "Nov 26 10:10:10 h kernel: [70895.{i:06d}][ T{c}] ",
    "[Tue Nov 26 10:10:10 2024][T{c}] ",
    "kern  :alert : [70895.{i:06d}][ T{c}] ",
    "vm-1 | [70895.{i:06d}][ T{c}] ",
    "Nov 26 10:10:10 host{c} kernel: [70895.{i:06d}] ",
]

two_reports = st.tuples(st.sampled_from(sorted(REPORTS)), st.sampled_from(sorted(REPORTS)))
order = st.lists(st.booleans(), max_size=16)


def mixed(names: tuple[str, str], first: list[bool]) -> list[tuple[int, str]]:
    """Return the lines of two reports, each with whose it is, in an order drawn."""
    queues = [REPORTS[name].splitlines() for name in names]
    out: list[tuple[int, str]] = []
    turns = iter(first)
    while queues[0] or queues[1]:
        wanted = int(next(turns, False))
        which = wanted if queues[wanted] else 1 - wanted
        out.append((which, queues[which].pop(0)))
    return out


def rows(*texts: Text) -> list[tuple[Any, ...]]:
    found = [(r.level, r.entry, r.va, r.place) for text in texts for r in text.records]
    return sorted(found, key=str)


def facts(*texts: Text) -> list[str]:
    dicts = [report.as_dict() for text in texts for report in text.reports]
    return sorted(
        str({key: value for key, value in each.items() if key != "line"}) for each in dicts
    )


@settings(max_examples=300, deadline=None)
@given(two_reports, order, st.sampled_from(CALLERS))
def test_by_caller_any_two_reports_are_told_apart(
    names: tuple[str, str], first: list[bool], prefix: str
) -> None:
    lines = mixed(names, first)
    text = parse("\n".join(prefix.format(i=i, c=7 + c) + line for i, (c, line) in enumerate(lines)))
    alone = [parse(REPORTS[name]) for name in names]
    assert rows(text) == rows(*alone)
    assert facts(text) == facts(*alone)


@settings(max_examples=300, deadline=None)
@given(two_reports, order)
def test_without_a_caller_no_entry_is_at_another_report_s_address(
    names: tuple[str, str], first: list[bool]
) -> None:
    lines = mixed(names, first)
    text = parse("\n".join(f"[70895.{i:06d}] {line}" for i, (_, line) in enumerate(lines)))
    right = {(r.level, r.entry, r.va) for name in names for r in parse(REPORTS[name]).records}
    entries = {(level, entry) for level, entry, _ in right}
    for record in text.records:
        if record.va is not None and (record.level, record.entry) in entries:
            assert (record.level, record.entry, record.va) in right
        elif record.va is None:
            assert record.note


@pytest.mark.parametrize("name", REPORTS)
def test_one_report_after_the_other_needs_no_caller(name: str) -> None:
    text = parse(REPORTS["oops"] + "\n" + REPORTS[name] + "\n")
    if name != "oops":
        assert rows(text) == rows(parse(REPORTS["oops"]), parse(REPORTS[name]))
    assert all(record.va is not None for record in text.records)
