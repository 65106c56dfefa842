# SPDX-License-Identifier: GPL-2.0-only
"""Describes by bits for which inputs something is true: ``Write=0,Dirty=1``.

The function that decides is a black box.  First, flipping each bit finds the bits that it looks at.
Then the simplest conditions are found that cover its table over these bits.  Then the conditions
are tried on all inputs, so the description says whether it is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np

from .. import bits
from .inputs import SEED, Inputs, random_words, words
from .search import BLOCK, Fails, blocks

#: With more bits the table is too large; with more conditions the text is too long.
MOST_BITS = 10
MOST_CONDITIONS = 6

_SAMPLE = 512
_STATE = {1: "Write", 6: "Dirty", 58: "Cow"}
_SECOND = 64  # numbers of bits from here on are bits of the argument

Condition = tuple[tuple[int, int], ...]  #: (bit, value) pairs that must all hold


@dataclass(frozen=True)
class InputClass:
    """The inputs for which something is true."""

    conditions: tuple[Condition, ...]  #: true if one of these conditions is; () for no inputs
    exact: bool  #: False: it is true only for a part of these inputs
    level: str
    rules: str
    argument: str | None

    def __str__(self) -> str:
        if self.conditions == ((),):
            return "all inputs" if self.exact else "some inputs, told by many bits"
        text = " or ".join(self._text(condition) for condition in self.conditions)
        return text if self.exact else f"part of: {text}"

    def _text(self, condition: Condition) -> str:
        first = [(bit, value) for bit, value in condition if bit < _SECOND]
        second = [(bit - _SECOND, value) for bit, value in condition if bit >= _SECOND]
        parts = [self._word(first)] if first else []
        if second:
            parts.append(f"{self.argument or 'argument'} {self._word(second)}")
        return " and ".join(parts)

    def _word(self, condition: list[tuple[int, int]]) -> str:
        order = sorted(condition, key=lambda each: (each[0] not in _STATE, each[0]))
        not_present = (0, 0) in condition
        words = []
        for run in _runs([(bit, value, self._name(bit, not_present)) for bit, value in order]):
            (bit, value, name), last = run[0], run[-1][0]
            words.append(f"bits{bit}-{last}={value}" if last > bit else f"{name}={value}")
        return ",".join(words)

    def _name(self, bit: int, not_present: bool) -> str:
        if bit in _STATE and not (bit == 58 and self.rules == "base"):
            return _STATE[bit]
        level = self.level if self.level in bits.LEVELS else "pte"
        named = bits.named_bits(1 << bit | bits.PRESENT, level, self.rules)
        if bit == 0:
            return "PRESENT"
        if bit == 8 and not_present:
            return "PROTNONE"
        name = next((each.name for each in named if each.number == bit), _nameless(bit))
        return name.replace(" ", "")


def _nameless(bit: int) -> str:
    return f"bit{bit}"


def _runs(bits_: list[tuple[int, int, str]]) -> Iterator[list[tuple[int, int, str]]]:
    """Divide (bit, value, name) into single bits and runs of nameless bits of one value."""
    run: list[tuple[int, int, str]] = []
    for each in bits_:
        bit, value, name = each
        goes_on = run and (bit - 1, value, _nameless(bit - 1)) == run[-1] and name == _nameless(bit)
        if run and not goes_on:
            yield run
            run = []
        run.append(each)
    yield run


def classify(
    where: Fails, given: Inputs, *, level: str, rules: str, argument: str | None = None
) -> InputClass:
    """Return the class of inputs for which ``where`` is true.  It must be true for at least one."""
    relevant = _relevant_bits(where, given)
    if len(relevant) <= MOST_BITS:
        conditions = _simplest(_table(where, relevant, given), relevant)
        exact = _holds_exactly(where, conditions, given)
        if exact and len(conditions) <= MOST_CONDITIONS:
            return InputClass(conditions, True, level, rules, argument)
    return InputClass((_always_so(where, given),), False, level, rules, argument)


def _relevant_bits(where: Fails, given: Inputs) -> list[int]:
    """Flip each bit of a sample and see whether the answer changes."""
    entries, arguments = _sample(where, given)
    before = where(entries, arguments)
    found = []
    for bit in range(64):
        flip = np.uint64(1 << bit)
        if (where(entries ^ flip, arguments) != before).any():
            found.append(bit)
        if arguments is not None and (where(entries, arguments ^ flip) != before).any():
            found.append(_SECOND + bit)
    return sorted(found)


def _sample(where: Fails, given: Inputs) -> Inputs:
    """Return inputs for which it is true and others, from all parts of the inputs."""
    chosen = []
    per_block = max(2, _SAMPLE * BLOCK // given.entries.size)
    for i, block in enumerate(blocks(given)):
        holds = where(*block)
        for which in (np.flatnonzero(holds), np.flatnonzero(~holds)):
            spread = np.linspace(0, which.size - 1, min(per_block, which.size)).astype(np.intp)
            chosen.append(which[spread] + i * BLOCK)
    index = np.concatenate(chosen)
    arguments = None if given.arguments is None else given.arguments[index]
    return Inputs(given.entries[index], arguments)


def _table(where: Fails, relevant: list[int], given: Inputs) -> np.ndarray:
    """Return the answer for each combination of the relevant bits.  The other bits are random."""
    rng = np.random.default_rng(SEED)
    first = words(bit for bit in relevant if bit < _SECOND)
    second = words(bit - _SECOND for bit in relevant if bit >= _SECOND)
    entries = np.tile(first, second.size)
    mask = np.uint64(sum(1 << bit for bit in relevant if bit < _SECOND))
    entries |= random_words(entries.size, rng) & ~mask
    if given.arguments is None:
        return where(entries, None)
    arguments = np.repeat(second, first.size)
    mask = np.uint64(sum(1 << (bit - _SECOND) for bit in relevant if bit >= _SECOND))
    return where(entries, arguments | (random_words(entries.size, rng) & ~mask))


def _simplest(table: np.ndarray, relevant: list[int]) -> tuple[Condition, ...]:
    """Find few conditions of few bits that cover a truth table (Quine and McCluskey)."""
    left = {int(i) for i in np.flatnonzero(table)}
    primes = _prime_implicants(left, len(relevant))
    chosen = []
    while left:
        best = max(
            primes,
            key=lambda prime: (len(prime[2] & left), -bin(prime[0]).count("1"), -prime[1]),
        )
        left -= best[2]
        chosen.append(best)
    return tuple(
        tuple((bit, care_value >> i & 1) for i, bit in enumerate(relevant) if care >> i & 1)
        for care, care_value, _ in chosen
    )


def _prime_implicants(minterms: set[int], width: int) -> list[tuple[int, int, frozenset[int]]]:
    """Return (care mask, value, what it covers) of conditions that cannot be simpler."""
    everything = (1 << width) - 1
    current = {(everything, term): frozenset((term,)) for term in minterms}
    primes = []
    while current:
        merged: dict[tuple[int, int], frozenset[int]] = {}
        used = set()
        for (care, value), covered in current.items():
            for bit in (1 << i for i in range(width) if care >> i & 1):
                partner = (care, value ^ bit)
                if partner in current:
                    used.add((care, value))
                    key = (care ^ bit, value & ~bit)
                    merged.setdefault(key, covered | current[partner])
        primes += [(*key, covered) for key, covered in current.items() if key not in used]
        current = merged
    return primes


def _holds_exactly(where: Fails, conditions: tuple[Condition, ...], given: Inputs) -> bool:
    return all(
        np.array_equal(where(*block), _satisfies(conditions, block)) for block in blocks(given)
    )


def _satisfies(conditions: tuple[Condition, ...], block: Inputs) -> np.ndarray:
    holds = np.zeros(block.entries.size, bool)
    for condition in conditions:
        this = np.ones(block.entries.size, bool)
        for bit, value in condition:
            word = block.entries if bit < _SECOND else block.arguments
            assert word is not None
            this &= ((word >> np.uint64(bit % _SECOND)) & np.uint64(1)) == value
        holds |= this
    return holds


def _always_so(where: Fails, given: Inputs) -> Condition:
    """Return the bits that have the same value in all inputs for which it is true."""
    one = zero = 2**128 - 1
    for entries, arguments in _holding(where, given):
        one &= int(np.bitwise_and.reduce(entries))
        zero &= ~int(np.bitwise_or.reduce(entries))
        if arguments is None:
            one &= 2**64 - 1
            zero &= 2**64 - 1
        else:
            high = 2**64 - 1
            one &= int(np.bitwise_and.reduce(arguments)) << 64 | high
            zero &= ~(int(np.bitwise_or.reduce(arguments)) << 64)
    fixed = chain(((bit, 1) for bit in _bits(one)), ((bit, 0) for bit in _bits(zero)))
    return tuple(sorted(fixed))


def _holding(where: Fails, given: Inputs) -> Iterator[Inputs]:
    for entries, arguments in blocks(given):
        holds = where(entries, arguments)
        if holds.any():
            yield Inputs(entries[holds], None if arguments is None else arguments[holds])


def _bits(word: int) -> Iterator[int]:
    return (bit for bit in range(128) if word >> bit & 1)
