# SPDX-License-Identifier: GPL-2.0-only
"""The machine that helpers run on, as terms: which properties are free, and which are assumed.

A kernel sets these while it boots, and compiled helpers read them from variables.
"""

from __future__ import annotations

from functools import cached_property
from typing import TypeAlias

import z3

from .linked_library import Library, Variable

Bits: TypeAlias = z3.BitVecRef

#: Processors have from 36 to 52 bits of physical addresses.
PHYSICAL_BITS = range(36, 53)

#: Where memory encryption (SME, SEV, TDX) may keep its bit: AMD has 47 and 51, Intel 47 and 51.
ENCRYPTION_BITS = range(32, 52)

SHSTK = z3.BitVec("shstk", 1)
PHYSICAL_MASK = z3.BitVec("physical_mask", 64)
ENCRYPTION = z3.BitVec("sme_me_mask", 64)
PKRU = z3.BitVec("pkru", 32)

#: Variables of the kernel -> the term that each is.  cc_mask is sme_me_mask by its newer name.
_FREE = {"physical_mask": PHYSICAL_MASK, "sme_me_mask": ENCRYPTION, "cc_mask": ENCRYPTION}

_ALL_BITS = 2**52 - 1


def _one_of(values: list[Bits], term: Bits) -> z3.BoolRef:
    return z3.Or(*(term == value for value in values))


def _word(value: int) -> Bits:
    return z3.BitVecVal(value, 64)


class HelperMachine:
    """What helpers read of the machine.

    feature: where the bit of shadow stacks is in boot_cpu_data, counted in bits;
        None: nowhere.
    read: the variables that helpers read, and the terms for them.
    """

    names = frozenset(str(term) for term in (SHSTK, PHYSICAL_MASK, ENCRYPTION, PKRU))

    def __init__(self, feature: int | None = None):
        self.feature = feature
        self.read: dict[str, str] = {}

    @cached_property
    def assumptions(self) -> list[z3.BoolRef]:
        """What holds on every machine."""
        encryption = [_word(0), *(_word(1 << bit) for bit in ENCRYPTION_BITS)]
        physical = [_word((1 << bits) - 1) & ~ENCRYPTION for bits in PHYSICAL_BITS]
        return [_one_of(encryption, ENCRYPTION), _one_of(physical, PHYSICAL_MASK)]

    def byte(self, library: Library, variable: Variable, offset: int) -> Bits:
        """Return a byte of a variable of the kernel."""
        name = variable.name
        if name in _FREE and variable.size == 8:
            self.read[name] = _SAID[name]
            return z3.Extract(8 * offset + 7, 8 * offset, _FREE[name])
        if name == "boot_cpu_data":
            return self._feature_byte(offset)
        value = library.byte(variable.address + offset)
        whole = [library.byte(variable.address + i) for i in range(min(variable.size, 8))]
        self.read[name] = f"{name} is {int.from_bytes(bytes(whole), 'little'):#x}"
        return z3.BitVecVal(value, 8)

    def _feature_byte(self, offset: int) -> Bits:
        if self.feature is None or self.feature // 8 != offset:
            self.read["other features"] = _OTHER_FEATURES
            return z3.BitVecVal(0, 8)
        self.read["shstk"] = "the processor has shadow stacks, or not: both"
        place = self.feature % 8
        if not 0 < place < 7:
            zeros = z3.BitVecVal(0, 7)
            return z3.Concat(SHSTK, zeros) if place == 7 else z3.Concat(zeros, SHSTK)
        return z3.Concat(z3.BitVecVal(0, 7 - place), SHSTK, z3.BitVecVal(0, place))

    def pkru(self) -> Bits:
        """Return what rdpkru reads."""
        self.read["pkru"] = "pkru is anything"
        return PKRU


#: The plainest machine: all bits of addresses, no encryption.
PLAIN = (PHYSICAL_MASK == _ALL_BITS, ENCRYPTION == 0)
PLAIN_SAID = "physical_mask is 2^52 - 1 and sme_me_mask is 0"

_ENCRYPTION_SAID = f"is 0 or one of bits {ENCRYPTION_BITS[0]} to {ENCRYPTION_BITS[-1]}, any of them"
_SAID = {
    "physical_mask": (
        f"physical_mask has {PHYSICAL_BITS[0]} to {PHYSICAL_BITS[-1]} bits, any number,"
        " less the one of sme_me_mask"
    ),
    "sme_me_mask": f"sme_me_mask {_ENCRYPTION_SAID}",
    "cc_mask": f"cc_mask, which is sme_me_mask, {_ENCRYPTION_SAID}",
}
_OTHER_FEATURES = "every other feature that is asked for is off (OSPKE among them)"
