# SPDX-License-Identifier: GPL-2.0-only
"""Entries as people and kernels write them.

Kernels, crash and QEMU print entries in hexadecimal without ``0x``.  Python and shells take digits
without a prefix as decimal.  A number that can be only one of the two is read.  A number that can
be both is refused.
"""

from __future__ import annotations

import re

#: Hexadecimal digits of a whole entry, as ``%016lx`` prints it.
WHOLE = 16
#: Kernels pad with zeros to so many digits.  Then "0b" may be the first two of them.
_PADDED = (8, WHOLE)
_WORD = 1 << 64

_PREFIXED = re.compile(r"0(?:x[0-9a-f]+|o[0-7]+|b[01]+)", re.IGNORECASE)
_DIGITS = re.compile(r"[0-9a-f]+", re.IGNORECASE)
_UNDERSCORES = re.compile(r"(?<=[0-9a-fA-FxXoObB])_(?=[0-9a-fA-F])")


class AmbiguousNumberError(ValueError):
    """Digits that mean different numbers in decimal and in hexadecimal."""


def parse_entry(text: str) -> int:
    """Return the number that a text says; it may have a sign and may be too large for an entry.

    ``0x``, ``0o`` and ``0b`` say the base, and underscores may group digits.  Without a prefix:
    sixteen digits, a hexadecimal letter or a leading zero make it hexadecimal, more than
    sixteen decimal digits decimal; a single digit is the same in both.

    Raises AmbiguousNumberError (a ValueError) for other digits, ValueError for what is no number.
    """
    digits = _UNDERSCORES.sub("", text.strip())
    sign = -1 if digits.startswith("-") else 1
    digits = digits.removeprefix("-")
    if _PREFIXED.fullmatch(digits):
        if len(digits) in _PADDED and digits[1] in "bB":
            raise AmbiguousNumberError(
                f"{text!r} can be read as 0x{digits} or as binary, which is {int(digits, 2):#x};"
                " write one of the two with 0x"
            )
        return sign * int(digits, 0)
    binary = digits[:2] in ("0b", "0B") and len(digits) not in _PADDED
    if binary or not _DIGITS.fullmatch(digits):
        raise ValueError(f"{text!r} is no number; write 0x867")
    if not digits.isdecimal() or len(digits) == WHOLE or (digits[0] == "0" and len(digits) > 1):
        return sign * int(digits, 16)
    if len(digits) == 1 or len(digits) > WHOLE:
        return sign * _decimal(digits)
    raise AmbiguousNumberError(
        f"{text!r} can be read as 0x{digits} or as decimal {digits}, which is"
        f" {int(digits):#x}; write one of the two with 0x"
    )


def _decimal(digits: str) -> int:
    """Return the number of decimal digits.  Thousands of digits are too large anyway."""
    return int(digits) if len(digits) < 1000 else _WORD
