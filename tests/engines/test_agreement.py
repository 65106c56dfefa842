# SPDX-License-Identifier: GPL-2.0-only
"""Native equals reference: every helper, every combination, every instruction set."""

from __future__ import annotations

import numpy as np
import pytest

import pgtable
from pgtable.engines.switches import COMBINATIONS

ALL = 2**64 - 1
#: For helpers with a second argument: nothing, everything, one bit, protections.
FEW_ARGUMENTS = (0, ALL, 1, 1 << 37, 0x100, 0x8000000000000027, 1 << 58)


@pytest.fixture(scope="module")
def entries(low_bit_entries) -> np.ndarray:
    return low_bit_entries


@pytest.fixture(scope="module")
def arguments(entries) -> np.ndarray:
    """One for each entry: others, some the same, some one bit away."""
    rng = np.random.default_rng(64)
    shuffled = rng.permutation(entries)
    kind = rng.integers(0, 4, entries.size)
    bit = np.uint64(1) << rng.integers(0, 64, entries.size, np.uint64)
    return np.select([kind == 0, kind == 1], [entries, entries ^ bit], shuffled)


@pytest.fixture(params=COMBINATIONS, ids=str)
def natives(request) -> list:
    """The native engines of one combination: one for each instruction set usable here."""
    usable = [isa for isa, can in pgtable.isas().items() if can]
    return [pgtable.native(*request.param, isa=isa) for isa in usable]


def agree(natives, name: str, entries: np.ndarray, *argument) -> None:
    theirs = pgtable.reference(*natives[0].switches).helpers[name](entries, *argument)
    for native in natives:
        ours = native.helpers[name](entries, *argument)
        assert ours.dtype == theirs.dtype
        if ours.tobytes() == theirs.tobytes():
            continue
        first = int(np.flatnonzero(ours != theirs)[0])
        given = [int(a[first]) if isinstance(a, np.ndarray) else a for a in argument]
        pytest.fail(
            f"{native.isa} {name}({int(entries[first]):#x}, {given}):"
            f" {int(ours[first]):#x}, not {int(theirs[first]):#x}"
        )


def test_every_combination_of_the_bits_that_count(natives, entries, arguments) -> None:
    some = entries[::7].copy()
    for name, helper in natives[0].helpers.items():
        if helper.argument is None:
            agree(natives, name, entries)
            continue
        agree(natives, name, entries, arguments)
        for argument in FEW_ARGUMENTS:
            agree(natives, name, some, argument)


def test_random_entries(natives, random_entries) -> None:
    entries = random_entries[: 1 << 15]
    others = entries[::-1].copy()
    for name, helper in natives[0].helpers.items():
        agree(natives, name, entries, *((others,) if helper.argument else ()))


@pytest.mark.parametrize("switches", COMBINATIONS, ids=str)
def test_one_entry_gives_what_an_array_gives(usable_isa, switches, entries, arguments) -> None:
    """Scalar calls of native, and of the reference on plain ints, against the bulk results."""
    reference = pgtable.reference(*switches)
    some = slice(None, None, 2039)
    few, fewer = entries[some].copy(), arguments[some].copy()
    for engine in (pgtable.native(*switches, isa=usable_isa), reference):
        for name, helper in engine.helpers.items():
            given = [(a,) for a in fewer.tolist()] if helper.argument else [()] * few.size
            in_bulk = reference.helpers[name](few, *((fewer,) if helper.argument else ()))
            one_by_one = [helper(e, *a) for e, a in zip(few.tolist(), given, strict=True)]
            assert one_by_one == in_bulk.tolist(), (engine, name)
            assert {type(result) for result in one_by_one} == {
                bool if helper.kind == "test" else int
            }


def test_compiled_out_it_all_goes_away(usable_isa, entries, arguments) -> None:
    """Config and feature off: the base rules, but for DEVMAP's place and the helpers added."""
    without = pgtable.native("cow", False, False, isa=usable_isa)
    base = pgtable.native("base", isa=usable_isa)
    devmap = np.uint64(1 << 57 | 1 << 58)
    plain, plain_arguments = entries & ~devmap, arguments & ~devmap
    for name, helper in base.helpers.items():
        given = (plain_arguments,) if helper.argument else ()
        if name.endswith("_mkdevmap"):
            moved = without.helpers[name](plain) ^ base.helpers[name](plain)
            assert np.all(moved == devmap)
        else:
            assert np.array_equal(helper(plain, *given), without.helpers[name](plain, *given)), name
    for name in set(without.helpers) - set(base.helpers):
        helper = without.helpers[name]
        if helper.kind == "map":
            assert np.array_equal(helper(entries), entries), name
        else:
            assert not helper(entries).any(), name
