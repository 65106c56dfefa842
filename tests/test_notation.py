# SPDX-License-Identifier: GPL-2.0-only
"""Entries as people and kernels write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgtable.notation import AmbiguousNumberError, parse_entry


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8000000000000867", 0x8000000000000867),
        ("1234567890123456", 0x1234567890123456),
        ("0000000000000867", 0x867),
        ("00000867", 0x867),
        ("8a5", 0x8A5),
        ("DEAD", 0xDEAD),
        ("8000_0000_0000_0867", 0x8000000000000867),
        ("0x8000_0000_0000_0867", 0x8000000000000867),
        ("0x_867", 0x867),
        ("0X867", 0x867),
        ("0o4147", 0x867),
        ("0b1000_0110_0111", 0x867),
        ("0", 0),
        ("7", 7),
        ("9223372036854777959", 0x8000000000000867),
        ("18446744073709551615", 2**64 - 1),
        (" 0x5 ", 5),
        ("-1", -1),
        ("-0x10", -16),
    ],
)
def test_what_can_be_only_one_number_is_read(text: str, value: int) -> None:
    assert parse_entry(text) == value


def test_digits_filled_up_that_may_be_binary_are_refused() -> None:
    for digits in ("0b10000000000001", "0b100110"):  # %016lx and %08lx print such
        with pytest.raises(AmbiguousNumberError, match=f"0x{digits} or as binary"):
            parse_entry(digits)


@pytest.mark.parametrize("text", ["867", "10", "123456789012345", "-12"])
def test_what_can_be_two_numbers_is_refused_with_both(text: str) -> None:
    digits = text.removeprefix("-")
    with pytest.raises(AmbiguousNumberError) as error:
        parse_entry(text)
    assert f"0x{digits} or as decimal {digits}, which is {int(digits):#x}" in str(error.value)


@pytest.mark.parametrize(
    "text",
    ["", "-", "0x", "0xzz", "867h", "0b12", "0o8", "_1", "1_", "1__2", "१२", "0x1.0", "a b"],
)
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no number"):
        parse_entry(text)


@given(st.integers(0, 2**64 - 1))
def test_every_way_to_print_an_entry_is_read_back(entry: int) -> None:
    for text in (f"{entry:#x}", f"{entry:016x}", f"{entry:#018x}", f"{entry:#o}"):
        assert parse_entry(text) == entry
    for text in (f"{entry:x}", f"{entry}", f"{entry:#b}"):
        # sixteen digits are hexadecimal, whoever printed them
        value = int(text, 16) if len(text) == 16 else entry
        try:
            assert parse_entry(text) == value
        except AmbiguousNumberError:
            assert len(text) <= 16
            assert int(text, 16) != value or int(text, 10 if text.isdecimal() else 2) != value


@pytest.mark.parametrize(
    ("text", "value"), [("0b345678", 0xB345678), ("0b34567812345678", 0xB34567812345678)]
)
def test_zeros_that_kernels_fill_up_with_make_no_prefix(text: str, value: int) -> None:
    assert parse_entry(text) == value


def test_thousands_of_digits_are_too_large() -> None:
    assert parse_entry("9" * 100_000) >> 64
    assert parse_entry("f" * 100_000) >> 64
