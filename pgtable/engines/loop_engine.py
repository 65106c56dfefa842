# SPDX-License-Identifier: GPL-2.0-only
"""Engines whose helpers are compiled loops: ours, or a kernel tree's."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..locks import lock_across_forks
from ._fastcall import FastCall
from ._native import ffi, lib
from .forms import Condition, Form
from .interface import MISSING, Chain, Engine, Helper, Operation, Step, StepLike


def _large_from() -> int:
    """Return how many entries make a result that the last cache cannot hold beside its input."""
    try:
        size = Path("/sys/devices/system/cpu/cpu0/cache/index3/size").read_text()
        last_cache = int(size.strip().removesuffix("K")) << 10
    except (OSError, ValueError):
        last_cache = 0
    return min(max(last_cache // 16, 1 << 19), 1 << 22)


#: From so many entries on, the caches are too small: results are stored past them, and memory
#: is asked for ahead.
LARGE_FROM = _large_from()


#: Held while operations get other loops, so that all operations get the same ones.
BINDING = lock_across_forks()


class CompiledHelper(FastCall, Helper):
    """A helper whose ``handle`` points to its loops (``struct pgtable_helper``).

    :class:`FastCall` makes small and simple calls itself, and hands all others to Python.
    """

    engine: CompiledEngine
    call_checked = Operation.__call__
    count_checked = Operation.count

    @property
    def handle(self) -> Any:
        """The loops that calls run."""
        return self._handle

    @handle.setter
    def handle(self, handle: Any) -> None:
        self._handle = handle
        #: a helper without an argument is always the same step, as ``where`` too
        self.c_steps = None if self.argument else CSteps(self.own_steps)
        self._bind(*self.engine.operation(self.c_steps, handle, is_chain=False))


class CompiledChain(FastCall, Chain):
    """A chain of compiled helpers.  Without array arguments it is prepared for calls from C."""

    engine: CompiledEngine
    call_checked = Operation.__call__
    count_checked = Operation.count

    def __init__(self, steps: Iterable[StepLike]):
        super().__init__(steps)
        self.c_steps: CSteps | None = None
        with BINDING:
            self.rebind()
            self.engine.chains.add(self)

    def rebind(self) -> None:
        """Take over the loops that the helpers have now."""
        if any(isinstance(argument, np.ndarray) for _, argument in self.steps):
            return
        self.c_steps = CSteps(self._steps(MISSING, None))
        last = self.steps[-1][0].handle
        self._bind(*self.engine.operation(self.c_steps, last, is_chain=True))


class CompiledEngine(Engine):
    """An engine that runs steps through the C driver.  Subclasses say where the loops come from."""

    #: How many chains are kept as C structures, for the next call.
    KEPT_STEPS = 256

    def __init__(self, name: str, loops: Any):
        self.name = name
        #: ``struct pgtable_loops`` of the instruction set
        self.loops = loops
        self.chains: weakref.WeakSet[CompiledChain] = weakref.WeakSet()
        self._kept_steps: dict[tuple[Step, ...], CSteps] = {}

    def operation(self, c_steps: CSteps | None, last: Any, *, is_chain: bool) -> tuple[Any, Any]:
        """Return what :class:`FastCall` takes: an owner of everything, and the operation's memory.

        c_steps: None where the argument comes with each call.
        """
        steps, n = (ffi.NULL, 0) if c_steps is None else (c_steps.array, c_steps.n)
        engine = ffi.cast("void *", id(self))
        words = (last, steps, n, is_chain, self.loops, RUN, engine)
        operation = ffi.new("struct pgtable_operation *", words)
        return (c_steps, self.loops, operation), ffi.buffer(operation)

    def rebind(self, loops: Any, handles: Iterable[Any]) -> None:
        """Give every helper other loops.  Calls that have begun finish with the former loops."""
        with BINDING:
            self.loops = loops
            for helper, handle in zip(self.helpers.values(), handles, strict=True):
                helper.handle = handle
            for chain in list(self.chains):
                chain.rebind()
            # this comes last: until now, other threads may have made steps of the former loops
            self._kept_steps = {}

    def form_of(self, helper: CompiledHelper, argument: int) -> Form | None:
        """Return the closed form of a map with this argument, or None if none is known."""
        return None

    def condition_of(self, helper: CompiledHelper) -> Condition | None:
        """Return the condition of a test without an argument, or None if none is known."""
        return None

    def chain(self, *steps: StepLike | str) -> CompiledChain:
        """Make one operation out of helpers (or their names) of this engine."""
        return CompiledChain(self.helper(step) if isinstance(step, str) else step for step in steps)

    def _run_one(self, steps: tuple[Step, ...], entry: int) -> int | bool:
        for step in steps:
            entry = lib.pgtable_one(step.helper.handle, entry, step.argument)
        return bool(entry) if steps[-1].helper.kind == "test" else entry

    def _run(
        self,
        steps: tuple[Step, ...],
        entries: np.ndarray,
        out: np.ndarray | None,
        where: np.ndarray | Helper | None,
        otherwise: np.ndarray | None,
        threads: int,
    ) -> int:
        if entries.size == 0:
            return 0
        source = _from_buffer(entries)
        # these names keep alive what C reads, even if self._kept_steps drops it meanwhile
        c_steps = self._c_steps(steps)
        test = self._c_steps(where.own_steps) if isinstance(where, Helper) else None
        return lib.pgtable_run(
            self.loops,
            c_steps.array,
            c_steps.n,
            _NULL if test is None else test.array,
            _from_buffer(where) if isinstance(where, np.ndarray) else _NULL,
            source,
            _NULL if out is None else source if out is entries else _from_buffer(out),
            _NULL if otherwise is None else source,
            entries.size,
            LARGE_FROM,
            threads,
        )

    def _c_steps(self, steps: tuple[Step, ...]) -> CSteps:
        # read once: steps of former loops must not get into a later dictionary
        kept = self._kept_steps
        try:
            return kept[steps]
        except KeyError:
            if len(kept) >= self.KEPT_STEPS:
                kept.clear()
            return kept.setdefault(steps, CSteps(steps))
        except TypeError:  # an array as argument is of this call alone: no search for forms
            return CSteps(steps, closed=False)


_NULL = ffi.NULL
RUN = ffi.addressof(lib, "pgtable_run")
_from_buffer = ffi.from_buffer


class CSteps:
    """Steps as C structures: ``array``, of length ``n``.  This object owns all that they point to.

    The caller must hold this object until C returns.

    closed: look for closed forms, and make one step of neighbours that have one.
    """

    def __init__(self, steps: tuple[Step, ...], *, closed: bool = True):
        self.n = len(steps)
        self.array = ffi.new("struct pgtable_step[]", self.n)
        self._alive: list[Any] = []
        for c_step, step in zip(self.array, steps, strict=True):
            c_step.helper = step.helper.handle
            if isinstance(step.argument, np.ndarray):
                c_step.arguments = self._keep(_from_buffer(step.argument))
            else:
                c_step.argument = step.argument
                if closed:
                    self._close(c_step, step)
        if closed:
            self._fuse()

    def _close(self, c_step: Any, step: Step) -> None:
        helper = step.helper
        if helper.kind == "test":
            if condition := helper.engine.condition_of(helper):
                c_step.condition = self._keep(condition.in_c())
        elif form := helper.engine.form_of(helper, step.argument):
            c_step.form = self._keep(form.in_c())

    def _fuse(self) -> None:
        fused = self._keep(ffi.new("struct pgtable_step[]", self.n))
        forms = self._keep(ffi.new("struct pgtable_form[]", self.n))
        self.n = lib.pgtable_fuse(self.array, self.n, fused, forms)
        self.array = fused

    def _keep(self, pointer: Any) -> Any:
        self._alive.append(pointer)
        return pointer


def as_info_fields(helper: Any) -> tuple[str, str, str, str, str | None]:
    """Read the fields of a HelperInfo out of a ``struct pgtable_helper``."""

    def text(pointer: Any) -> str:
        return ffi.string(pointer).decode()

    argument = text(helper.argument) if helper.argument else None
    return (text(helper.name), text(helper.level), text(helper.takes), text(helper.gives), argument)
