# SPDX-License-Identifier: GPL-2.0-only
"""The operations of VEX, the language that pyvex translates machine code to, on terms of z3.

Bits are terms of width 1, as in VEX.  Other operations are refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

import z3

from .errors import RefusedError

Bits: TypeAlias = z3.BitVecRef

_WIDEN = re.compile(r"Iop_(\d+)([US]?)to(\d+)")
_HIGH = re.compile(r"Iop_(\d+)HIto(\d+)")
_JOIN = re.compile(r"Iop_(\d+)HLto(V?)(\d+)")
_BINARY = re.compile(r"Iop_([A-Za-z]+?)(V?\d+)([US]?)")
_COUNT = re.compile(r"Iop_(Clz|Ctz|PopCount)(?:Nat)?(32|64)")
_WIDTH = {"V128": 128, "V256": 256}


def bit(condition: z3.BoolRef) -> Bits:
    """Return a truth as one bit."""
    return z3.If(condition, z3.BitVecVal(1, 1), z3.BitVecVal(0, 1))


def part(term: Bits, low: int, width: int) -> Bits:
    """Return so many bits of a term, from bit ``low`` on."""
    if low == 0 and width == term.size():
        return term
    return z3.simplify(z3.Extract(low + width - 1, low, term))


def constant(term: Bits) -> int | None:
    """Return what a term is, or None if that depends on something."""
    term = z3.simplify(term)
    return term.as_long() if z3.is_bv_value(term) else None


def unary(name: str, a: Bits) -> Bits:
    """Apply an operation of one operand; raises RefusedError for one not known here."""
    if found := _WIDEN.fullmatch(name):
        sign, to = found[2], int(found[3])
        if to <= a.size():
            return part(a, 0, to)
        widen = z3.SignExt if sign == "S" else z3.ZeroExt
        return z3.simplify(widen(to - a.size(), a))
    if found := _HIGH.fullmatch(name):
        return part(a, a.size() - int(found[2]), int(found[2]))
    if name.startswith("Iop_Not"):
        return z3.simplify(~a)
    if found := _COUNT.fullmatch(name):
        return z3.simplify(_counted(found[1], a))
    if name in _OF_VECTORS:
        low, width, to = _OF_VECTORS[name]
        term = part(a, low, width)
        return term if to == width else z3.simplify(z3.ZeroExt(to - width, term))
    raise RefusedError(f"does {name}, which is not known here")


#: Operations on vectors of one operand -> first bit, width, width of the result.
_OF_VECTORS = {
    "Iop_V128to64": (0, 64, 64),
    "Iop_V128HIto64": (64, 64, 64),
    "Iop_V128to32": (0, 32, 32),
    "Iop_64UtoV128": (0, 64, 128),
    "Iop_32UtoV128": (0, 32, 128),
    "Iop_V256toV128_0": (0, 128, 128),
    "Iop_V256toV128_1": (128, 128, 128),
    "Iop_V256to64_0": (0, 64, 64),
    "Iop_V256to64_1": (64, 64, 64),
    "Iop_V256to64_2": (128, 64, 64),
    "Iop_V256to64_3": (192, 64, 64),
}


def _counted(what: str, a: Bits) -> Bits:
    """Return a count of bits; Clz and Ctz of 0 are the width, as VEX has it."""
    width = a.size()
    places = range(width)
    if what == "PopCount":
        return z3.Sum([z3.ZeroExt(width - 1, z3.Extract(i, i, a)) for i in places])
    count = z3.BitVecVal(width, width)
    # the last bit that is tested decides
    for i in reversed(places) if what == "Ctz" else places:
        is_set = z3.Extract(i, i, a) == 1
        count = z3.If(is_set, z3.BitVecVal(i if what == "Ctz" else width - 1 - i, width), count)
    return count


def binary(name: str, a: Bits, b: Bits) -> Bits:
    """Apply an operation of two operands; raises RefusedError for one not known here."""
    if found := _JOIN.fullmatch(name):
        return z3.simplify(z3.Concat(a, b))
    found = _BINARY.fullmatch(name)
    operation = found and _OPERATIONS.get(found[1] + found[3])
    if not found or operation is None:
        raise RefusedError(f"does {name}, which is not known here")
    width = _WIDTH.get(found[2]) or int(found[2])
    if a.size() != width:
        raise RefusedError(f"does {name} on {a.size()} bits")
    if found[1] in ("Shl", "Shr", "Sar"):
        b = z3.ZeroExt(width - b.size(), b)
    return z3.simplify(operation(a, b))


_OPERATIONS: dict[str, Callable[[Bits, Bits], Bits]] = {
    "And": lambda a, b: a & b,
    "Or": lambda a, b: a | b,
    "Xor": lambda a, b: a ^ b,
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "MullU": lambda a, b: z3.ZeroExt(a.size(), a) * z3.ZeroExt(b.size(), b),
    "MullS": lambda a, b: z3.SignExt(a.size(), a) * z3.SignExt(b.size(), b),
    "Shl": lambda a, b: a << b,
    "Shr": z3.LShR,
    "Sar": lambda a, b: a >> b,
    "CmpEQ": lambda a, b: bit(a == b),
    "CmpNE": lambda a, b: bit(a != b),
    "CasCmpEQ": lambda a, b: bit(a == b),
    "CasCmpNE": lambda a, b: bit(a != b),
    "CmpLTU": lambda a, b: bit(z3.ULT(a, b)),
    "CmpLTS": lambda a, b: bit(a < b),
    "CmpLEU": lambda a, b: bit(z3.ULE(a, b)),
    "CmpLES": lambda a, b: bit(a <= b),
}

#: What VEX counts the kinds of flags in: the operation that made them, four widths of each.
_ADD, _SUB, _ADC, _SBB, _LOGIC, _INC, _DEC, _SHL, _SHR = range(9)
_KIND_OF_WIDTH = {1: 8, 2: 16, 3: 32, 0: 64}

#: The bits of a copied flags register.
_C, _P, _Z, _S, _O = 0, 2, 6, 7, 11

Flags: TypeAlias = dict[int, z3.BoolRef]


def condition(code: Bits, operation: Bits, left: Bits, right: Bits, last: Bits) -> Bits:
    """Return amd64g_calculate_condition(): a condition of x86 after an operation.

    Raises RefusedError where which condition or which operation is not fixed, and for
    flags that are not known here.
    """
    which, made_by = constant(code), constant(operation)
    if which is None or made_by is None:
        raise RefusedError("tests flags of an operation that depends on the entry")
    flags = _flags(made_by, left, right, last)
    return z3.simplify(z3.ZeroExt(63, bit(_holds(which, flags, made_by))))


def carry(operation: Bits, left: Bits, right: Bits, last: Bits) -> Bits:
    """Return amd64g_calculate_rflags_c(): the carry after an operation."""
    made_by = constant(operation)
    if made_by is None:
        raise RefusedError("tests flags of an operation that depends on the entry")
    return z3.simplify(z3.ZeroExt(63, bit(_holds(2, _flags(made_by, left, right, last), made_by))))


def _holds(which: int, flags: Flags, made_by: int) -> z3.BoolRef:
    """Tell whether a condition holds: its lowest bit turns it over."""

    def flag(number: int) -> z3.BoolRef:
        if number not in flags:
            raise RefusedError(f"tests flag {number} after operation {made_by} of VEX")
        return flags[number]

    tests: list[Callable[[], z3.BoolRef]] = [
        lambda: flag(_O),
        lambda: flag(_C),
        lambda: flag(_Z),
        lambda: z3.Or(flag(_C), flag(_Z)),
        lambda: flag(_S),
        lambda: flag(_P),
        lambda: flag(_S) != flag(_O),
        lambda: z3.Or(flag(_Z), flag(_S) != flag(_O)),
    ]
    if not 0 <= which < 16:
        raise RefusedError(f"tests condition {which} of VEX")
    holds = tests[which >> 1]()
    return z3.Not(holds) if which & 1 else holds


def _flags(made_by: int, left: Bits, right: Bits, last: Bits) -> Flags:
    """Return the flags after an operation of VEX, those that are known here."""
    if made_by == 0:
        return {n: z3.Extract(n, n, left) == 1 for n in (_C, _P, _Z, _S, _O)}
    kind, width = (made_by - 1) // 4, _KIND_OF_WIDTH[made_by % 4]
    a, b = part(left, 0, width), part(right, 0, width)
    make = _MADE_BY.get(kind)
    if make is None:
        raise RefusedError(f"tests flags after operation {made_by} of VEX")
    result, flags = make(a, b, part(last, 0, width))
    top = z3.Extract(width - 1, width - 1, result) == 1
    parity = z3.Extract(0, 0, result)
    for i in range(1, 8):
        parity = parity ^ z3.Extract(i, i, result)
    return {_Z: result == 0, _S: top, _P: parity == 0, **flags}


def _top(term: Bits) -> Bits:
    return z3.Extract(term.size() - 1, term.size() - 1, term)


def _added(a: Bits, b: Bits, _: Bits) -> tuple[Bits, Flags]:
    result = a + b
    return result, {_C: z3.ULT(result, a), _O: _top((a ^ result) & (b ^ result)) == 1}


def _subtracted(a: Bits, b: Bits, _: Bits) -> tuple[Bits, Flags]:
    result = a - b
    return result, {_C: z3.ULT(a, b), _O: _top((a ^ b) & (a ^ result)) == 1}


def _logic(a: Bits, _b: Bits, _: Bits) -> tuple[Bits, Flags]:
    return a, {_C: z3.BoolVal(False), _O: z3.BoolVal(False)}


def _stepped(a: Bits, _b: Bits, last: Bits) -> tuple[Bits, Flags]:
    """After inc and dec: the operand is the result, and the carry is the one before."""
    return a, {_C: z3.Extract(_C, _C, last) == 1}


def _shifted_left(a: Bits, b: Bits, _: Bits) -> tuple[Bits, Flags]:
    # the second word is the operand shifted by one place less
    return a, {_C: _top(b) == 1}


def _shifted_right(a: Bits, b: Bits, _: Bits) -> tuple[Bits, Flags]:
    return a, {_C: z3.Extract(0, 0, b) == 1}


_MADE_BY: dict[int, Callable[[Bits, Bits, Bits], tuple[Bits, Flags]]] = {
    _ADD: _added,
    _SUB: _subtracted,
    _LOGIC: _logic,
    _INC: _stepped,
    _DEC: _stepped,
    _SHL: _shifted_left,
    _SHR: _shifted_right,
}
