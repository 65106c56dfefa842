# SPDX-License-Identifier: GPL-2.0-only
"""Compares every timed output with the result of the reference engine."""

from __future__ import annotations

from typing import Any

import numpy as np


class WrongResultError(AssertionError):
    """A contender computed a wrong result, so its time means nothing."""


def require_equal(who: str, got: Any, expected: Any) -> None:
    """Raise WrongResultError unless ``got`` is ``expected``.

    got: a number, or an array made of repetitions of ``expected`` (a list of
        ints is taken as an array).
    """
    if not isinstance(expected, np.ndarray):
        if got != expected:
            raise WrongResultError(f"{who}: {got}, expected {expected}")
        return
    array = np.asarray(got, expected.dtype) if isinstance(got, list) else np.asarray(got)
    if array.dtype != expected.dtype or array.ndim != 1 or array.size % max(expected.size, 1):
        raise WrongResultError(f"{who}: {array.dtype} x {array.shape}, expected {expected.dtype}")
    for first in range(0, array.size, max(expected.size, 1)):
        part = array[first : first + expected.size]
        if not np.array_equal(part, expected):
            at = int(np.flatnonzero(part != expected)[0])
            raise WrongResultError(wrong_entry(who, first + at, int(part[at]), int(expected[at])))


def wrong_entry(who: str, at: int, got: int, expected: int) -> str:
    """Say what is wrong with a result."""
    return f"{who}: entry {at} is {got:#x}, expected {expected:#x}"
