# SPDX-License-Identifier: GPL-2.0-only
"""Engines with a fault in them."""

import pytest

import pgtable
from pgtable.engines.interface import Helper, HelperInfo
from pgtable.engines.reference import ReferenceEngine


class FaultyEngine(ReferenceEngine):
    """A sound engine with some helpers replaced, left out or added.

    A replacement is called with the sound helper and what the helper was called
    with: ``fault(sound, entries, [argument])``.  ``argument`` names the second
    argument of the maps that are added.
    """

    def __init__(self, sound, faults=None, missing=(), added=None, tests=None, argument=None):
        self.rules, self.shstk, self.config = sound.switches
        self.switches = sound.switches
        self.name = "faulty"
        helpers = []
        faults = dict(faults or {})
        for name, helper in sound.helpers.items():
            if name not in missing:
                fault = faults.pop(name, None)
                helpers.append(Helper(self, helper.info, self._function(helper, fault)))
        assert not faults, f"no such helpers: {faults}"
        for name, function in (added or {}).items():
            level = next(level for level in ("pte", "pmd", "pud") if level in name)
            helpers.append(Helper(self, HelperInfo(name, level, level, level, argument), function))
        for name, function in (tests or {}).items():
            level = name[:3]
            helpers.append(Helper(self, HelperInfo(name, level, level, "test", None), function))
        self._set_helpers(helpers)

    @staticmethod
    def _function(sound, fault):
        if fault is None:
            return sound
        return lambda *given: fault(sound, *given)


@pytest.fixture(scope="session")
def faulty():
    def make(rules="cow", shstk=None, config=None, **changes):
        return FaultyEngine(pgtable.native(rules, shstk, config), **changes)

    return make
