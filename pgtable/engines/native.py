# SPDX-License-Identifier: GPL-2.0-only
"""The native engine: our C helpers, for the best instruction set that this processor has."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from ..kernels import Kernel
from ._native import ffi, lib
from .forms import Condition, Form, found_condition, found_form
from .interface import HelperInfo
from .loop_engine import BINDING, CompiledEngine, CompiledHelper, as_info_fields
from .switches import COMBINATIONS, Chosen, Switches, choose


@cache
def _instances() -> dict[tuple[str, Switches, str], Any]:
    """Return every compiled instance, by instruction set, switches and variant."""
    found = {}
    i = 0
    while lib.pgtable_instances[i] != ffi.NULL:
        instance = lib.pgtable_instances[i]
        switches = Switches(
            ffi.string(instance.rules).decode(), bool(instance.shstk), bool(instance.config)
        )
        variant = ffi.string(instance.variant).decode()
        found[ffi.string(instance.isa).decode(), switches, variant] = instance
        i += 1
    return found


def isas() -> dict[str, bool]:
    """Return the instruction sets that the loops are compiled for, slowest first.

    The value says whether this processor and its operating system can run it.
    """
    names = dict.fromkeys(name for name, _, _ in _instances())
    return {name: bool(lib.pgtable_isa_usable(name.encode())) for name in names}


def _checked_isa(name: str, source: str) -> str:
    usable = isas()
    if usable.get(name):
        return name
    why = "is not usable on this machine" if name in usable else "is unknown"
    can = ", ".join(isa for isa, ok in usable.items() if ok)
    raise ValueError(f"{source}: instruction set {name!r} {why}; usable here: {can}")


class NativeEngine(CompiledEngine):
    """Our own helpers, compiled with the switches as constants."""

    def __init__(self, chosen: Chosen, isa_name: str, forms: bool):
        self.switches, self.variant, self.kernel = chosen
        self.rules, self.shstk, self.config = self.switches
        #: True: calls run the closed form of a helper that has one.  False: always its text
        self.forms = forms
        name = f"native({chosen})" if forms else f"native({chosen}, forms=False)"
        super().__init__(name, self._instance(isa_name).loops)
        helpers = []
        for handle in self._handles(isa_name):
            helpers.append(CompiledHelper(self, HelperInfo(*as_info_fields(handle)), handle))
        self._set_helpers(helpers)
        self.isa = isa_name

    def form_of(self, helper: CompiledHelper, argument: int) -> Form | None:
        """Find the form by trying.  tests/engines/test_forms.py shows that each form is right."""
        return found_form(helper.handle, argument) if self.forms else None

    def condition_of(self, helper: CompiledHelper) -> Condition | None:
        """Find the condition of a test likewise."""
        return found_condition(helper.handle) if self.forms else None

    def _instance(self, isa_name: str) -> Any:
        return _instances()[isa_name, self.switches, self.variant]

    def _handles(self, isa_name: str) -> list[Any]:
        instance = self._instance(isa_name)
        return [instance.helpers + i for i in range(instance.nhelpers)]

    def follow(self, isa_name: str) -> None:
        """Give every helper the loops of that instruction set."""
        self.rebind(self._instance(isa_name).loops, self._handles(isa_name))
        self.isa = isa_name

    def _owners(self, name: str) -> list[str]:
        return owners(name)


@cache
def _names(switches: Switches) -> frozenset[str]:
    instance = _instances()["scalar", switches, ""]
    return frozenset(
        ffi.string(instance.helpers[i].name).decode() for i in range(instance.nhelpers)
    )


def owners(name: str) -> list[str]:
    """Return the rule sets that have a helper of that name."""
    return list(dict.fromkeys(s.rules for s in COMBINATIONS if name in _names(s)))


#: Engines that were made without an instruction set of their own: they follow isa().
_following: dict[tuple[Chosen, bool], NativeEngine] = {}
_current: list[str] = []


def _current_isa() -> str:
    if not _current:
        setting = os.environ.get("PGTABLE_ISA")
        if setting:
            _current.append(_checked_isa(setting, "PGTABLE_ISA"))
        else:
            _current.append([name for name, usable in isas().items() if usable][-1])
    return _current[0]


class ForcedIsa:
    """The instruction set in force.  At the end of a ``with`` block the former one returns."""

    def __init__(self, name: str, former: str):
        self.name = name
        self.former = former

    def __repr__(self) -> str:
        return f"<instruction set {self.name}>"

    def __enter__(self) -> str:
        return self.name

    def __exit__(self, *exc: object) -> None:
        isa(self.former)


def isa(name: str | None = None) -> ForcedIsa:
    """Force an instruction set on every native engine that was not given its own.

    name: one of :func:`isas` that is usable here; None leaves all as it is.
    Returns what is in force (``.name``), which can be used in ``with``.
    Raises ValueError for a name that is unknown or not usable here.
    """
    with BINDING:
        former = _current_isa()
        if name is None:
            return ForcedIsa(former, former)
        _current[0] = _checked_isa(name, "isa")
        for engine in _following.values():
            engine.follow(name)
    return ForcedIsa(name, former)


def native(
    rules: str | None = None,
    shstk: bool | None = None,
    config: bool | None = None,
    *,
    kernel: str | Kernel | None = None,
    isa: str | None = None,
    forms: bool | None = None,
) -> NativeEngine:
    """Return the engine of our C helpers.

    rules: "cow", "base" or "saved_dirty"; None: those of the kernel, or "cow".
    shstk: the run-time switch ``cpu_feature_enabled(X86_FEATURE_SHSTK)``.
    config: the build-time switch ``CONFIG_X86_SHADOW_STACK``.
        Both default to on where the rules have them.
    kernel: a release ("6.8", "4.15.0-29-generic") or what :func:`pgtable.kernels.find`
        gives: it settles the rules, whether frames of PROT_NONE entries are inverted,
        and whether pmd_modify() drops Dirty.  ``engine.kernel.assumed`` says what was
        assumed.  None: the newest kernel of the rules.
    isa: run on this instruction set only, whatever :func:`isa` says later.
    forms: True runs the closed forms that were found of the helpers (csrc/form/form.h);
        False always runs the helpers' own text.  None: True, unless PGTABLE_FORMS=0.

    Raises ValueError for a combination that does not exist, listing those
    that do, for a kernel that cannot be read, and for an instruction set that is
    not usable here.
    """
    chosen = choose(rules, shstk, config, kernel)
    if forms is None:
        forms = _forms_by_default()
    if isa is not None:
        return NativeEngine(chosen, _checked_isa(isa, "isa"), forms)
    try:
        return _following[chosen, forms]
    except KeyError:
        with BINDING:  # several threads may ask at once, and all get one engine
            if (chosen, forms) not in _following:
                _following[chosen, forms] = NativeEngine(chosen, _current_isa(), forms)
            return _following[chosen, forms]


def _forms_by_default() -> bool:
    setting = os.environ.get("PGTABLE_FORMS", "1")
    if setting not in ("0", "1"):
        raise ValueError(f"PGTABLE_FORMS is {setting!r}; it can be 0 (helpers' text) or 1")
    return setting == "1"
