# SPDX-License-Identifier: GPL-2.0-only
"""The instruction set that was forced is the one that runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pgtable.engines._native import ffi, lib

import pgtable
from pgtable.engines import loop_engine
from pgtable.engines.interface import Operation
from pgtable.engines.switches import COMBINATIONS

#: What loops built for an instruction set return.
IDS = {
    "scalar": lib.PGTABLE_ISA_SCALAR,
    "baseline": lib.PGTABLE_ISA_BASELINE,
    "avx2": lib.PGTABLE_ISA_AVX2,
    "avx512": lib.PGTABLE_ISA_AVX512,
}
USABLE = [name for name, usable in pgtable.isas().items() if usable]
UNUSABLE = [name for name, usable in pgtable.isas().items() if not usable]


class SpyLib:
    """Notes what loops each call of the driver runs, then calls it."""

    def __init__(self) -> None:
        self.ran: list[int] = []

    def __getattr__(self, name: str):
        return getattr(lib, name)

    def pgtable_run(self, ops, steps, nsteps, where_test, *rest) -> int:
        self.ran.append(ops.isa)
        # a form is run by the block operations, which are of one instruction set
        self.ran += [
            loop_id(steps[i].helper) if steps[i].helper else ops.isa for i in range(nsteps)
        ]
        if where_test:
            self.ran.append(loop_id(where_test[0].helper))
        return lib.pgtable_run(ops, steps, nsteps, where_test, *rest)

    def pgtable_one(self, handle, *rest) -> int:
        self.ran.append(loop_id(handle))
        return lib.pgtable_one(handle, *rest)


def loop_id(handle) -> int:
    """Run a helper's loop over nothing: it says what it was compiled for."""
    loop = handle.map or handle.test
    return loop(ffi.NULL, ffi.NULL, 0, ffi.NULL, 0)


@pytest.fixture
def ran(monkeypatch) -> list[int]:
    """What the driver runs; the short way, which is in C altogether, is closed."""
    spy = SpyLib()
    monkeypatch.setattr(loop_engine, "lib", spy)
    for short in (loop_engine.CompiledHelper, loop_engine.CompiledChain):
        monkeypatch.setattr(short, "__call__", Operation.__call__)
        monkeypatch.setattr(short, "count", Operation.count)
    return spy.ran


def use_everything(engine) -> None:
    entries = np.arange(2000, dtype=np.uint64)
    engine.pte_wrprotect(entries, out=entries)
    engine.pte_wrprotect(entries, where=engine.pte_present)
    engine.pte_dirty(entries, where=entries > 5)
    engine.pte_dirty.count(entries, threads=2)
    engine.chain("pte_mkold", "pte_mkclean", "pte_none")(entries)
    engine.pte_mkdirty(0x25)
    engine.chain("pte_mkold", "pte_dirty")(0x25)


def test_isas_are_listed_slowest_first() -> None:
    names = list(pgtable.isas())
    assert names == [name for name in IDS if name in names]
    assert pgtable.isas()["scalar"] is pgtable.isas()["baseline"] is True
    assert {type(usable) for usable in pgtable.isas().values()} == {bool}
    assert [name for name in names if lib.pgtable_isa_usable(name.encode())] == USABLE
    assert not lib.pgtable_isa_usable(b"avx")
    assert not lib.pgtable_isa_usable(b"")


def test_the_processor_has_what_is_said_to_be_usable() -> None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        flags = next(line for line in lines if line.startswith("flags")).split()
    except (OSError, StopIteration):
        pytest.skip("no /proc/cpuinfo with flags")
    needs = {"avx2": {"avx2"}, "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"}}
    for name, needed in needs.items():
        assert pgtable.isas()[name] == (needed <= set(flags))


@pytest.mark.parametrize("switches", COMBINATIONS, ids=str)
def test_every_loop_was_compiled_for_its_instruction_set(usable_isa, switches) -> None:
    engine = pgtable.native(*switches, isa=usable_isa)
    for helper in engine.helpers.values():
        assert loop_id(helper.handle) == IDS[usable_isa]


def test_an_engine_of_its_own_instruction_set(usable_isa, ran) -> None:
    engine = pgtable.native(isa=usable_isa)
    with pgtable.isa("scalar"):
        use_everything(engine)
    assert engine.isa == usable_isa
    assert len(ran) == 15
    assert set(ran) == {IDS[usable_isa]}


def test_isa_forces_every_engine(usable_isa, ran) -> None:
    before = [pgtable.native(*switches) for switches in COMBINATIONS[:3]]
    forced = pgtable.isa(usable_isa)
    assert (forced.name, pgtable.isa().name) == (usable_isa, usable_isa)
    for engine in [*before, *(pgtable.native(*switches) for switches in COMBINATIONS)]:
        ran.clear()
        use_everything(engine)
        assert set(ran) == {IDS[usable_isa]}
        assert engine.isa == usable_isa
    chain = pgtable.chain(pgtable.pte_mkold, pgtable.pte_wrprotect)
    for name in USABLE:
        pgtable.isa(name)
        ran.clear()
        chain(np.arange(10, dtype=np.uint64))
        pgtable.pte_mkold(5)
        assert ran == [IDS[name]] * 3


def test_the_short_way_runs_what_the_handle_says(usable_isa) -> None:
    helpers = pgtable.native("saved_dirty", isa=usable_isa).helpers
    ran = []

    def spy(helper) -> object:
        """Return a handle whose loops are noted, then run."""
        real, fake = helper.handle, ffi.new("struct pgtable_helper *", helper.handle[0])
        if real.map:
            loop = ffi.callback(
                "pgtable_map_loop *", lambda *given: ran.append(real.map(*given)) or ran[-1]
            )
            fake.map = loop
            return fake, loop
        test = ffi.callback(
            "pgtable_test_loop *", lambda *given: ran.append(real.test(*given)) or ran[-1]
        )
        count = ffi.callback(
            "pgtable_count_loop *", lambda *given: ran.append("count") or real.count(*given)
        )
        fake.test, fake.count = test, count
        return fake, test, count

    # mkdirty and modify have no form, and no test with an argument is a condition
    names = ("pte_mkdirty", "pte_modify", "pte_access_permitted")
    mkdirty, modify, permitted = (helpers[name] for name in names)
    alive = [spy(helper) for helper in (mkdirty, modify, permitted)]
    for helper, (fake, *_) in zip((mkdirty, modify, permitted), alive, strict=True):
        helper.handle = fake
    ran.clear()  # taking a handle tries its loops for a form
    entries = np.array([0x867, 0x25], np.uint64)
    dirty = [0x867, 0x0400000000000825]
    assert mkdirty(0x27) == 0x867
    assert mkdirty(entries).tolist() == dirty
    assert mkdirty(entries, out=np.empty_like(entries)).tolist() == dirty
    assert mkdirty(entries, out=entries) is entries
    assert modify(entries, 0x25).tolist() == [0x0400000000000825] * 2
    assert permitted(entries, 1).tolist() == [True, False]
    assert permitted.count(entries, 1) == 1
    assert permitted(0x867, 1) is True
    assert ran == [IDS[usable_isa]] * 6 + ["count"] * 2


@pytest.mark.parametrize("name", ["map", "count", "test"])
def test_the_short_way_runs_the_forms_of_the_instruction_set(usable_isa, name) -> None:
    engine = pgtable.native(isa=usable_isa)
    assert engine.loops.isa == IDS[usable_isa]
    real = engine.loops.form
    ran = []

    @ffi.callback(ffi.typeof(getattr(real, name)))
    def noted(*given):
        ran.append(name)
        return getattr(real, name)(*given)

    changed = ffi.new("struct pgtable_form_loops *", real[0])
    setattr(changed, name, noted)
    engine.loops = ffi.new("struct pgtable_loops *", engine.loops[0])
    engine.loops.form = changed
    for helper in (engine.pte_mkold, engine.pte_dirty):
        helper.handle = helper.handle  # binds the operations too
    entries = np.array([0x867, 0x25], np.uint64)
    assert engine.pte_mkold(entries, out=entries).tolist() == [0x847, 0x5]
    assert engine.pte_dirty.count(entries) == 1
    assert engine.pte_dirty(entries).tolist() == [True, False]
    assert ran == [name]


def test_what_is_no_operation_is_not_bound() -> None:
    helper = pgtable.native().pte_mkold
    with pytest.raises(ValueError, match="struct pgtable_operation"):
        helper._bind(None, b"too short")
    with pytest.raises(TypeError):
        helper._bind(None, 0)
    assert helper(0x867) == 0x847


def test_isa_binds_the_short_way_too(usable_isa) -> None:
    helper = pgtable.native().pte_mkold
    bound = []

    def bind(owner, operation):
        bound.append(ffi.from_buffer("struct pgtable_operation *", operation).last)

    helper._bind = bind
    try:
        pgtable.isa(usable_isa)
        assert bound == [helper.handle]
        assert loop_id(helper.handle) == IDS[usable_isa]
    finally:
        del helper._bind


def test_isa_in_with_gives_the_former_back(ran) -> None:
    start = pgtable.isa().name
    with pgtable.isa("scalar") as name:
        assert name == "scalar"
        assert pgtable.isa().name == "scalar"
        with pgtable.isa("baseline"):
            pgtable.pte_mkold(5)
        pgtable.pte_mkold(5)
        with pytest.raises(KeyError), pgtable.isa("baseline"):
            raise KeyError
        pgtable.pte_mkold(5)
    assert ran == [IDS["baseline"], IDS["scalar"], IDS["scalar"]]
    assert pgtable.isa().name == pgtable.native().isa == start
    assert start in repr(pgtable.isa())


def test_the_best_usable_one_is_the_default(environment) -> None:
    assert _started_with(environment, None).stdout.split() == [USABLE[-1], str(IDS[USABLE[-1]])]


@pytest.mark.parametrize("name", ["AVX2", "sse", "", " avx2", "avx2\0", *UNUSABLE])
def test_a_wrong_name_is_an_error_and_changes_nothing(name) -> None:
    before = pgtable.isa().name
    why = "not usable" if name in UNUSABLE else "unknown"
    for force in (pgtable.isa, lambda wrong: pgtable.native(isa=wrong)):
        with pytest.raises(ValueError, match=why) as error:
            force(name)
        assert repr(name) in str(error.value)
        for usable in USABLE:
            assert usable in str(error.value)
    assert pgtable.isa().name == pgtable.native().isa == before


REPORT = """
import pgtable
from pgtable.engines._native import ffi, lib
handle = pgtable.pte_mkold.handle
print(pgtable.isa().name, handle.map(ffi.NULL, ffi.NULL, 0, ffi.NULL, 0))
"""


def _started_with(environment: dict[str, str], name: str | None) -> subprocess.CompletedProcess:
    env = {key: value for key, value in environment.items() if key != "PGTABLE_ISA"}
    if name is not None:
        env["PGTABLE_ISA"] = name
    return subprocess.run(
        [sys.executable, "-c", REPORT], env=env, capture_output=True, text=True, check=False
    )


def test_the_environment_forces_one(usable_isa, environment) -> None:
    assert _started_with(environment, usable_isa).stdout.split() == [
        usable_isa,
        str(IDS[usable_isa]),
    ]


def test_an_empty_environment_variable_forces_none(environment) -> None:
    assert _started_with(environment, "").stdout.split()[0] == USABLE[-1]


@pytest.mark.parametrize("name", ["mmx", *UNUSABLE])
def test_a_wrong_name_in_the_environment_is_an_error(name, environment) -> None:
    run = _started_with(environment, name)
    assert run.returncode != 0
    assert f"ValueError: PGTABLE_ISA: instruction set {name!r}" in run.stderr
