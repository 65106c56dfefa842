# SPDX-License-Identifier: GPL-2.0-only
"""Any prefix, quoting, wrapping and encoding of a log gives the entries of the log itself."""

from __future__ import annotations

import html
import quopri
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgtable.images.text import parse

LOGS = {
    path.stem: path.read_text()
    for path in (Path(__file__).parents[2] / "data" / "cases" / "logs").glob("*.txt")
    if path.stem != "amdsfh_qp"  # is encoded already
}
LONG = """\
[   12.345678] BUG: unable to handle page fault for address: ffff8a1442c98000
[   12.345679] #PF: supervisor write access in kernel mode
[   12.345680] #PF: error_code(0x0003) - permissions violation
[   12.345681] PGD a1dc01067 P4D a1dc01067 PUD 101967063 PMD 1019f3063 PTE 8000000102c98061
[   12.345682] Oops: 0003 [#1] PREEMPT SMP NOPTI
[   12.345683] CPU: 1 PID: 222 Comm: kworker/1:2 Not tainted 6.8.0-31-generic #31-Ubuntu
[   12.345690] BUG: Bad page map in process celery  pte:8000000071c00227 pmd:16d7b08067
[   12.345691] addr:00007fb3611a5000 vm_flags:08100073 anon_vma:0 mapping:0 index:7fb3611a5
[   12.345699] mm/pgtable-generic.c:50: bad pmd ffff8f07b13c1b90(0000004fed803c00)
"""
LOGS["long"] = LONG

Row = tuple[int, int | None, int, int | None, int, int]


def rows(text: str | bytes) -> list[Row]:
    return [
        (record.level, record.va, record.entry, record.place, record.known, record.count)
        for record in parse(text).records
    ]


def wrapped(text: str, width: int, quote: str, flowed: bool, hang: str) -> str:
    """Wrap as mail clients do: at white space, never inside a word."""
    lines: list[str] = []
    for line in text.splitlines():
        parts = [line]
        if len(line) > width:
            parts = textwrap.wrap(
                line, width, break_long_words=False, break_on_hyphens=False,
                replace_whitespace=False, expand_tabs=False,
            ) or [""]  # fmt: skip
        for number, part in enumerate(parts, 1):
            soft = " " if flowed and number < len(parts) else ""
            lines.append(quote + (hang if number > 1 else "") + part + soft)
    return "\n".join(lines) + "\n"


def quoted_printable(text: str) -> str:
    return quopri.encodestring(text.encode()).decode()


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(LOGS)),
    st.integers(36, 130),
    st.sampled_from(["", "> ", ">> ", "> > ", ">", "| ", ": ", "# ", "    "]),
    st.booleans(),
    st.sampled_from(["", "  "]),
    st.sampled_from(["plain", "encoded", "encoded, then quoted"]),
)
def test_any_wrapping_and_quoting_gives_the_same_entries(
    name: str, width: int, quote: str, flowed: bool, hang: str, encoding: str
) -> None:
    text = LOGS[name]
    if encoding == "encoded, then quoted":
        plain = quoted_printable(wrapped(text, width, "", flowed, hang))
        changed = "".join(f"> {line}\n" for line in plain.splitlines())
    else:
        changed = wrapped(text, width, quote, flowed, hang)
        changed = quoted_printable(changed) if encoding == "encoded" else changed
    assert rows(changed) == rows(text)
    assert bool(parse(changed).foreign) == bool(parse(text).foreign)


ENCODINGS: dict[str, Callable[[str], bytes]] = {
    **{
        name: lambda text, name=name: text.encode(name)  # type: ignore[misc]
        for name in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")
    },
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "UTF-16 with CRLF": lambda text: text.replace("\n", "\r\n").encode("utf-16"),
    "not UTF-8": lambda text: text.encode() + b"\xe9\xff",
    "other spaces": lambda text: text.replace(" ", "\u00a0").encode(),
    "a page's source": lambda text: html.escape(text).replace("\n", "<br>\n").encode(),
    "lines apart": lambda text: text.replace("\n", "\n\n").encode(),
    "grep's colour": lambda text: text.replace("P", "\x1b[01;31m\x1b[KP\x1b[m\x1b[K").encode(),
    "colours as cat -v": lambda text: text.replace("P", "^[[1;31mP^[[0m").encode(),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", ["long", "interleaved", "grsec49", "rd", "xp", "vtop316"])
def test_any_encoding_gives_the_same_entries(name: str, encoding: str) -> None:
    assert rows(ENCODINGS[encoding](LOGS[name])) == rows(LOGS[name])


PREFIXES = {
    "journal": "2024-11-26T10:10:1{i}+0000 host kernel: ",
    "journal, full": "Tue 2024-11-26 10:10:1{i} UTC host kernel: ",
    "journal, monotonic": "[    5.00000{i}] host kernel: ",
    "dmesg": "[    5.00000{i}] ",
    "dmesg -T": "[Tue Nov 26 10:10:1{i} 2024] ",
    "dmesg -x": "kern  :alert : [    5.00000{i}] ",
    "dmesg -x -T": "kern  :alert : [Tue Nov 26 10:10:1{i} 2024] ",
    "dmesg, iso": "2024-11-26T10:10:1{i},123456+00:00 ",
    "dmesg -d": "[    5.00000{i} <    0.000001>] ",
    "dmesg -r": "<1>[    5.00000{i}] ",
    "syslog": "Nov 26 10:10:1{i} host kernel: [    5.00000{i}] ",
    "RFC 5424": "<1>1 2024-11-26T10:10:1{i}.123456+00:00 host kernel - - - [    5.00000{i}] ",
    "kmsg": "1,53{i},500000{i},-,caller=T222;",
    "netconsole": "6.8.0,1,53{i},500000{i},-;",
    "a caller": "[    5.00000{i}][ T3110] ",
    "serial logger": "[2024-11-26 10:10:1{i}.123] [    5.00000{i}] ",
    "CI": "2024-11-26T10:10:1{i}.1234567Z [    5.00000{i}] ",
    "containers": "vm-1  | [    5.00000{i}] ",
    "busybox": "Nov 26 10:10:1{i} host user.alert kernel: [    5.00000{i}] ",
    "logcat": "11-26 10:10:1{i}.123     0     0 E [    5.00000{i}] ",
    "Xen": "(d1) [    5.00000{i}] ",
    "grep -n": "dmesg.txt:{i}:[    5.00000{i}] ",
    "a patch": "+[    5.00000{i}] ",
}
FAULT = [
    "BUG: unable to handle page fault for address: ffff8a1442c98000",
    "#PF: error_code(0x0003) - permissions violation",
    "PGD a1dc01067 P4D a1dc01067 PUD 101967063 PMD 1019f3063 PTE 8000000102c98061",
    "CPU: 1 PID: 222 Comm: kworker/1:2 Not tainted 6.8.0-31-generic #31-Ubuntu",
]
_WORDS = FAULT[2].split()
_EACH = [f"{name} {entry} " for name, entry in zip(_WORDS[::2], _WORDS[1::2], strict=True)]
SPLIT = [*FAULT[:2], *_EACH, FAULT[3]]


@pytest.mark.parametrize("lines", [FAULT, SPLIT], ids=["one line", "a line a level"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_any_prefix_gives_the_same_entries(prefix: str, lines: list[str]) -> None:
    text = "\n".join(PREFIXES[prefix].format(i=i) + line for i, line in enumerate(lines))
    found = parse(text)
    assert [(record.level, record.va, record.entry) for record in found.records] == [
        (4, 0xFFFF8A0000000000, 0xA1DC01067),
        (3, 0xFFFF8A1440000000, 0x101967063),
        (2, 0xFFFF8A1442C00000, 0x1019F3063),
        (1, 0xFFFF8A1442C98000, 0x8000000102C98061),
    ]
    (report,) = found.reports
    assert (report.error_code, report.kernel) == (3, "6.8.0-31-generic")
