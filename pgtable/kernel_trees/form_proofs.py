# SPDX-License-Identifier: GPL-2.0-only
"""The compiler proves that the helpers of a tree have the forms that trying them suggests.

A closed form is found by running a helper on a few entries (csrc/form/form.h).  For our own
helpers, tests show that the form is right for all other entries.  Nobody has tested the text of a
tree, so there the compiler has to prove it (csrc/kernel_tree/form_proofs.h).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from ..engines.forms import Condition, Form
from .errors import KernelTreeError
from .recipe import Recipe, compile_flags, write_config
from .translation_units import compile_units, objects_of, split

#: A proof is straight-line code of which the compiler leaves nothing.  Little optimisation is
#: enough for that.  These flags come last, so they override the others.
_OPTIMISATION = ("-O1", "-fno-tree-vectorize")

_ALL = 2**64 - 1


class ProofCase(NamedTuple):
    """If the ``fixed`` bits of an entry have the value ``to``, then the ``bits`` of the result have
    the value ``are``."""

    fixed: int
    to: int
    bits: int
    are: int


class Proved(NamedTuple):
    """What is known of the helpers of a library, for every entry."""

    forms: Mapping[str, Form | Condition]
    #: helpers with an argument that change each bit without looking at others: any form that
    #: trying finds for an argument is right
    bitwise: frozenset[str]


def prove(recipe: Recipe, report: Mapping[str, Any], seen: Proved, directory: Path) -> Proved:
    """Return the forms that the compiler has proved.

    report: that of the library.
    """
    calls = report["calls"]
    texts = {name: _text(name, calls[name], _cases(form)) for name, form in seen.forms.items()}
    texts |= {name: _text(name, calls[name], _every_bit()) for name in seen.bitwise}
    proved = _proved(recipe, report, texts, directory)
    forms = {name: form for name, form in seen.forms.items() if name in proved}
    return Proved(forms, seen.bitwise & proved)


def _proved(
    recipe: Recipe, report: Mapping[str, Any], texts: dict[str, str], directory: Path
) -> set[str]:
    """Return the helpers whose proof succeeded."""
    write_config(recipe, directory)
    flags = compile_flags(recipe, report["shstk"], report["has"], directory)
    flags += _OPTIMISATION
    units = split("proof", "form_proofs.h", texts)
    try:
        # a helper whose proof does not compile is not proved
        compile_units(recipe, flags, units, directory, {})
    except KernelTreeError as error:
        raise KernelTreeError(f"{error}; forms=False does without these proofs") from None
    compiled = objects_of(recipe, [directory / unit.object for unit in units], directory)
    there = set().union(*(one.sections for one in compiled))
    called = set().union(*(names for one in compiled for names in one.references.values()))
    return {
        name for name in texts if f"proof_t_{name}" in there and f"unproved_t_{name}" not in called
    }


def _text(name: str, call: str, cases: Iterator[str]) -> str:
    lines = (case.format(f"t_{name}") for case in cases)
    return "\n".join([f"TREE_PROOF(t_{name}, {call})", *lines, f"TREE_PROOF_END(t_{name})"])


def _cases(form: Form | Condition) -> Iterator[str]:
    cases = cases_of_form(form) if isinstance(form, Form) else cases_of_condition(form)
    return (f"TREE_CASE({{}}, {', '.join(f'{word:#x}ull' for word in one)})" for one in cases)


def _every_bit() -> Iterator[str]:
    return (f"TREE_BITWISE({{}}, {bit:#x}ull)" for bit in _single_bits(_ALL))


def cases_of_condition(condition: Condition) -> Iterator[ProofCase]:
    """Yield the cases of a condition: a value is there, or some bit of each value is wrong."""
    values = condition.values()
    for mask, value in values:
        yield ProofCase(mask, value, _ALL, int(not condition.negate))
    wrong = [[(bit, ~value & bit) for bit in _single_bits(mask)] for mask, value in values]
    for bits in product(*wrong):
        settings = dict(bits)
        # if both values have the bit, one bit of the entry decides both
        if all(settings[bit] == to for bit, to in bits):
            yield ProofCase(sum(settings), sum(settings.values()), _ALL, int(condition.negate))


def cases_of_form(form: Form) -> Iterator[ProofCase]:
    """Yield the cases of a form: for each bit of the result, every setting of the bits it depends
    on."""
    moved_to = {to: origin for origin, to in form.moves().items()}
    settled = _ALL
    for bit in _single_bits(_ALL & ~form.set):
        origins = (form.keep & bit) | moved_to.get(bit, 0)
        if not origins:
            continue
        settled &= ~bit
        for to in _settings(origins):
            yield ProofCase(origins, to, bit, bit if to else 0)
    yield ProofCase(0, 0, settled, form.set)


def _single_bits(word: int) -> Iterator[int]:
    return (1 << place for place in range(64) if word >> place & 1)


def _settings(bits: int) -> Iterator[int]:
    """Yield every setting of some bits."""
    setting = bits
    while setting:
        yield setting
        setting = (setting - 1) & bits
    yield 0
