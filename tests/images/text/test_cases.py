# SPDX-License-Identifier: GPL-2.0-only
"""Logs of public reports: every entry at its place, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pgtable.cli import main
from pgtable.images.text import parse

LOGS = Path(__file__).parents[2] / "data" / "cases" / "logs"

Row = tuple[int, int | None, int]

#: File -> (level, address, entry) of everything in it.
ENTRIES: dict[str, list[Row]] = {
    "interleaved": [
        (1, 0x7F0000636000, 0x8000000005BA4225),
        (2, 0x7F0000600000, 0x16D7B08067),
        (1, 0x7FEE006D3000, 0x8000000005C28225),
        (2, 0x7FEE00600000, 0x26D7B08067),
    ],
    "splitcaller": [
        (4, 0xFFFF8A0000000000, 0xA1DC01067),
        (3, 0xFFFF8A1440000000, 0x101967063),
        (2, 0xFFFF8A1442C00000, 0x1019F3063),
        (1, 0xFFFF8A1442C98000, 0x8000000102C98063),
        (4, 0xFFFF9A0000000000, 0xB1DC01067),
        (3, 0xFFFF9A1440000000, 0x201967063),
        (2, 0xFFFF9A1442C00000, 0x2019F3063),
        (1, 0xFFFF9A1442C98000, 0x8000000202C98063),
    ],
    "grsec49": [
        (4, 0xFFFFC90000000000, 0x8000000002C31063),
        (3, 0xFFFFC90000000000, 0x32300A063),
        (2, 0xFFFFC9000C600000, 0x2E32BB063),
        (1, 0xFFFFC9000C6FF000, 0x80000002D702B163),
    ],
    "httpd2632": [(1, 0x37B400A000, 0xD900000000), (2, 0x37B4000000, 0x1535B5067)],
    "badpmd_zi": [(2, None, 0x4FED803C00)],
    "badpmd_mel": [(2, None, 0x2E0396009E2), (2, None, 0x12C4D6001E2)],
    "amdsfh": [
        (4, 0x7F0000000000, 0x12532C067),
        (3, 0x7F3640000000, 0x1277E7067),
        (2, 0x7F364F200000, 0x110DD1067),
        (1, 0x7F364F200000, 0xFFFFDBDEFFFFFD9F),
    ],
    "efi_qian": [(1, 0, 0x3)],
    "dmesgcolor": [
        (4, 0xFFFF8A0000000000, 0xA1DC01067),
        (3, 0xFFFF8A1440000000, 0x101967063),
        (2, 0xFFFF8A1442C00000, 0x1019F3063),
        (1, 0xFFFF8A1442C98000, 0x8000000102C98063),
        (1, 0x7FB3611A5000, 0x8000000071C00227),
        (2, 0x7FB361000000, 0x16D7B08067),
    ],
    "celery4577": [(1, 0x7FB3611A5000, 0xFD20B000), (2, 0x7FB361000000, 0x16D7B08067)],
    "clang11": [
        (4, 0x7F8000000000, 0x8000000111903067),
        (3, 0x7F8880000000, 0x10B325067),
        (2, 0x7F8896C00000, 0xFFE7A0414D080067),
    ],
    "clh5874": [
        (4, 0xFFFFC90000000000, 0x3400067),
        (3, 0xFFFFC90000000000, 0x35A7067),
        (2, 0xFFFFC90000000000, 0x35A8067),
        (1, 0xFFFFC9000002D000, 0x800000FFFFFEE163),
    ],
    "zypper": [(1, None, 0x676B700029736C6F), (2, None, 0x44967067)],
    "sgxstep45": [
        (4, None, 0x2D7015067),
        (3, None, 0x2D7017067),
        (2, None, 0x1049CC067),
        (1, None, 0x106923061),
    ],
    "zfs418": [
        (4, 0xFFFFFF8000000000, 0x1A05067),
        (3, 0xFFFFFFFF80000000, 0x1A09063),
        (2, 0xFFFFFFFFA0000000, 0x37270067),
        (1, 0xFFFFFFFFA014A000, 0x800000001BF21161),
    ],
    "vtop316": [
        (4, 0xFFFF880000000000, 0x1AF5067),
        (3, 0xFFFF880100000000, 0x13961C063),
        (2, 0xFFFF88013A000000, 0x13A073063),
        (1, 0xFFFF88013A17D000, 0x800000013A17D161),
    ],
    "wx698": [(0, 0xFFFFC90000014000, 0x3)],
}
ENTRIES["amdsfh_qp"] = ENTRIES["amdsfh"]

_WORDS = [0x800000013A17D161, 0x800000013A17E163, 0x800000013A17F163]
#: File -> (where an entry lies, entry).
MEMORY = {
    "rd": list(zip(range(0x13A073BE8, 0x13A073C08, 8), [*_WORDS, 0], strict=True)),
    "xp": list(zip(range(0x13A073BE0, 0x13A073C00, 8), [0, *_WORDS], strict=True)),
    "gdbx": list(zip(range(0xFFFF88013A073BE8, 0xFFFF88013A073C08, 8), [*_WORDS, 0], strict=True)),
}


def rows(text: str | bytes) -> list[Row]:
    return [(record.level, record.va, record.entry) for record in parse(text).records]


def decoded(capsys: Any, name: str, *more: str) -> dict[str, Any]:
    assert main(["decode", "--from", str(LOGS / f"{name}.txt"), "--json", *more]) == 0
    return json.loads(capsys.readouterr().out)


def printed(capsys: Any, name: str, *more: str) -> str:
    assert main(["decode", "--from", str(LOGS / f"{name}.txt"), *more]) == 0
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", ENTRIES)
def test_every_entry_is_at_its_address(name: str) -> None:
    assert rows((LOGS / f"{name}.txt").read_bytes()) == ENTRIES[name]


@pytest.mark.parametrize("name", MEMORY)
def test_every_word_of_memory_is_an_entry_at_its_place(name: str) -> None:
    records = parse((LOGS / f"{name}.txt").read_bytes()).records
    assert [(record.place, record.entry) for record in records] == MEMORY[name]
    assert {(record.va, record.level) for record in records} == {(None, 0)}


@pytest.mark.parametrize("name", ["infotlb32", "pae615"])
def test_page_tables_of_32_bits_are_named_and_refused(name: str, capsys: Any) -> None:
    assert main(["decode", "--from", str(LOGS / f"{name}.txt")]) == 2
    message = capsys.readouterr().err
    assert "32-bit x86" in message
    assert "not covered" in message
    assert message.count("\n") == 1


def test_a_writable_and_executable_mapping_is_known_by_three_bits(capsys: Any) -> None:
    (entry,) = decoded(capsys, "wx698")["entries"]
    assert entry["known"] == f"{1 << 63 | 3:#018x}"
    assert entry["state"] == "(Write=1,Dirty=?,Cow=?)"
    assert entry["frame"] is None
    assert not entry["level_known"]


def test_a_swap_entry_is_laid_out_as_the_kernel_in_the_log_has_it(capsys: Any) -> None:
    result = decoded(capsys, "celery4577")
    entry = result["entries"][0]
    assert (entry["swap_type"], entry["swap_offset"]) == (0, 0x7E9058)
    assert (result["kernel"], entry["rules"]) == ("4.1.0-generic", "base")
    assert any("is the same" in said for said in entry["evidence"])


def test_a_swap_entry_is_laid_out_as_the_line_above_has_it(capsys: Any) -> None:
    entry = decoded(capsys, "httpd2632")["entries"][0]
    assert (entry["swap_type"], entry["swap_offset"]) == (0, 0x6C800000)


def test_where_the_layout_cannot_be_known_all_are_said(capsys: Any) -> None:
    entry = decoded(capsys, "badpmd_zi")["entries"][0]
    assert (entry["swap_type"], entry["swap_offset"], entry["frame"]) == (None, None, None)
    assert "type 30, offset 0x13fb600" in entry["warnings"][0]


def test_frames_before_the_change_for_l1tf_are_not_inverted(capsys: Any) -> None:
    entries = decoded(capsys, "badpmd_mel")["entries"]
    assert [entry["address"] for entry in entries] == [0x2E039600000, 0x12C4D600000]
    assert [entry["place"] for entry in entries] == ["0xffff8888157ba008", "0xffff88217f4bdcd8"]


SAID = {
    "amdsfh": "reserved bit",
    "clang11": "BAD: the kernel could not read the table at 0x7a0414d080000",
    "clh5874": "the processor has fewer than 40 physical address bits",
    "zypper": "ASCII text, 'ols).pkg'",
    "celery4577": "the kernel suppressed 31 more reports",
    "vtop316": "crash's FLAGS and PHYSICAL agree with the bits",
    "grsec49": "error code 0x0011 fits: NX=1",
}


@pytest.mark.parametrize("name", SAID)
def test_what_the_report_says_is_compared_with_the_entry(name: str, capsys: Any) -> None:
    assert SAID[name] in printed(capsys, name)


@pytest.mark.parametrize(
    ("name", "bits", "said"),
    [
        ("clh5874", "39", "reserved bits are set: 39; no processor accepts them"),
        ("clh5874", "40", "none is in the entries printed"),
    ],
)
def test_a_frame_beyond_the_physical_bits_is_reserved(
    name: str, bits: str, said: str, capsys: Any
) -> None:
    assert said in printed(capsys, name, "--physical-bits", bits)


@pytest.mark.parametrize("name", ["zfs418", "vtop316", "sgxstep45"])
def test_a_supervisor_page_is_no_shadow_stack(name: str, capsys: Any) -> None:
    leaf = decoded(capsys, name)["entries"][-1]
    assert leaf["may_be"] == ["e"]
    assert "USER=0" in leaf["text"]
    assert "(c)" not in leaf["text"] + leaf["unknown"]
