# SPDX-License-Identifier: GPL-2.0-only
"""Terms with the operators of numbers, so that the text of the reference runs on them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import z3

from ..engines import reference as _reference
from ..engines.interface import HelperInfo
from ..engines.switches import Switches
from .machine import ENCRYPTION, PHYSICAL_MASK


class _Single:
    """An array for laws: one element that stands for all."""

    __array_ufunc__ = None  # so that NumPy's numbers use the operators of this class
    shape = ()

    def any(self) -> bool:
        """Raise an error: whether some element is true is not known here."""
        return True

    def __array_function__(self, function: Any, _types: Any, args: Any, _kwargs: Any) -> Any:
        if function is np.where:
            return pick(*args)
        raise TypeError(f"numpy.{function.__name__}() is not for terms")


class Truth(_Single):
    """A bool that depends on the inputs."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, term: z3.BoolRef):
        self.term = term

    def __and__(self, other: Any) -> Truth:
        return Truth(z3.And(self.term, truth(other)))

    def __or__(self, other: Any) -> Truth:
        return Truth(z3.Or(self.term, truth(other)))

    def __invert__(self) -> Truth:
        return Truth(z3.Not(self.term))

    def __eq__(self, other: object) -> Truth:  # type: ignore[override]
        return Truth(self.term == truth(other))

    def __ne__(self, other: object) -> Truth:  # type: ignore[override]
        return Truth(self.term != truth(other))

    def __bool__(self) -> bool:
        raise TypeError("a truth that depends on the entry is no bool: use pick()")

    __rand__, __ror__ = __and__, __or__


def _operator(operation: Callable[[Any, Any], Any]) -> Callable[[Word, Any], Word]:
    return lambda self, other: Word(operation(self.term, word(other)))


def _reversed(operation: Callable[[Any, Any], Any]) -> Callable[[Word, Any], Word]:
    return lambda self, other: Word(operation(word(other), self.term))


def _comparison(operation: Callable[[Any, Any], Any]) -> Callable[[Word, Any], Truth]:
    return lambda self, other: Truth(operation(self.term, word(other)))


class Word(_Single):
    """A 64-bit number that depends on the inputs; operators mean what they mean on uint64."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, term: z3.BitVecRef):
        self.term = term

    __and__ = __rand__ = _operator(lambda a, b: a & b)
    __or__ = __ror__ = _operator(lambda a, b: a | b)
    __xor__ = __rxor__ = _operator(lambda a, b: a ^ b)
    __add__ = __radd__ = _operator(lambda a, b: a + b)
    __sub__, __rsub__ = _operator(lambda a, b: a - b), _reversed(lambda a, b: a - b)
    __lshift__ = _operator(lambda a, b: a << b)
    __rshift__ = _operator(z3.LShR)  # z3's >> keeps the sign
    __mod__ = _operator(z3.URem)
    __eq__ = _comparison(lambda a, b: a == b)  # type: ignore[assignment]
    __ne__ = _comparison(lambda a, b: a != b)  # type: ignore[assignment]
    __lt__, __le__ = _comparison(z3.ULT), _comparison(z3.ULE)
    __gt__, __ge__ = _comparison(z3.UGT), _comparison(z3.UGE)

    def __invert__(self) -> Word:
        return Word(~self.term)

    def __bool__(self) -> bool:
        raise TypeError("a word that depends on the entry is no bool: use pick()")


def truth(value: Any) -> z3.BoolRef:
    """Return the term of a truth or a bool."""
    return value.term if isinstance(value, Truth) else z3.BoolVal(bool(value))


def word(value: Any) -> z3.BitVecRef:
    """Return the term of a word, a number, or a truth: 1 where it holds."""
    if isinstance(value, Word):
        return value.term
    if isinstance(value, Truth):
        return z3.If(value.term, z3.BitVecVal(1, 64), z3.BitVecVal(0, 64))
    return z3.BitVecVal(int(value), 64)


def pick(condition: Any, yes: Any, no: Any) -> Any:
    """Return yes where the condition holds, else no: the reference's own pick(), on terms."""
    if isinstance(condition, (bool, np.bool_)):
        return yes if condition else no
    if isinstance(yes, Truth):
        return Truth(z3.If(truth(condition), truth(yes), truth(no)))
    return Word(z3.If(truth(condition), word(yes), word(no)))


@cache
def _reference_on_terms() -> ModuleType:
    """Return the reference's text once more, with what depends on the machine as terms."""
    name = f"{_reference.__name__}_on_terms"
    spec = importlib.util.spec_from_file_location(name, _reference.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    changed: Any = module
    changed.pick = pick
    frames = {level: Word(mask & PHYSICAL_MASK) for level, mask in module.FRAME.items()}
    changed.FRAME, changed.SMALL_FRAME = frames, frames["pte"]

    rules: Any = changed._Rules

    class Rules(rules):
        """modify also keeps the bit of encrypted memory."""

        def __init__(self, *settings: Any):
            super().__init__(*settings)
            mask = self.__dict__["change_mask"]
            self.change_mask = mask | Word(ENCRYPTION)

    changed._Rules = Rules
    return module


@cache
def defined(switches: Switches) -> dict[str, tuple[HelperInfo, Callable[..., Any]]]:
    """Return the helpers of the reference, which take and give terms."""
    helpers = _reference_on_terms().define(switches)
    return {info.name: (info, function) for info, function in helpers}
