# SPDX-License-Identifier: GPL-2.0-only
"""The one interface of everything that can compute a helper.

An :class:`Engine` has helpers under the kernel's own names.  A :class:`Helper`
takes an int or an array, like a NumPy ufunc; so does a :class:`Chain` of them.
Engines differ only in how they run a tuple of steps over checked buffers.
"""

from __future__ import annotations

import difflib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Union

import numpy as np

from . import buffers
from .helper_docs import describe

#: No call starts more threads than this.
MAX_THREADS = 256

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "<missing>"})()

#: What one step of a chain may be given as.
StepLike = Union["Helper", "tuple[Helper, Any]"]


class UnknownHelperError(AttributeError):
    """No helper of that name; says which is near, or which rules have it."""


class HelperInfo(NamedTuple):
    """What is known of a helper before anything runs."""

    name: str
    level: str  #: "pte", "pmd", "pud", or "prot" for protection values
    takes: str  #: a level, or "val" for a plain number
    gives: str  #: a level, "val" for a plain number, or "test" for a bool
    argument: str | None  #: name of the second argument, if there is one

    @property
    def kind(self) -> str:
        """ "test" if it gives a bool, else "map"."""
        return "test" if self.gives == "test" else "map"


class Step(NamedTuple):
    """One helper to run, with its second argument: an int, or one for each entry."""

    helper: Helper
    argument: int | np.ndarray


class Operation(ABC):
    """A helper or a chain of helpers: it is called with entries."""

    engine: Engine
    name: str
    kind: str
    argument: str | None

    @abstractmethod
    def _steps(self, argument: Any, entries: np.ndarray | None) -> tuple[Step, ...]:
        """Return the steps with checked arguments (ints only where entries is None)."""

    def __call__(
        self,
        entries: Any,
        argument: Any = MISSING,
        /,
        *,
        out: Any = None,
        where: Any = None,
        threads: int = 1,
    ) -> Any:
        """Run over an int, or over every entry of an array.

        entries: an int from 0 to 2**64-1, or anything with the buffer protocol
            that holds 64-bit integers: NumPy arrays of any shape, mmap,
            array.array('Q'), or raw little-endian bytes.
        argument: the second argument of helpers that have one: an int, or an
            array of the shape of the entries.
        out: where results go: an array of the shape of the entries, of uint64
            for maps and bool for tests; may be the entries themselves.
        where: a bool array of the shape of the entries, or a test helper of the
            same engine.  Elsewhere ``out`` keeps what it holds; without ``out``
            a map gives the entry unchanged and a test gives False.
        threads: how many threads may work; 0: one for each processor.

        Returns an int or a bool for an int, else a NumPy array.

        Raises TypeError for a wrong type or dtype, OverflowError for an int
        that is no entry, ValueError for a wrong length, shape or layout, a
        read-only ``out``, and an ``out`` that overlaps the input in part.
        """
        if not _is_array(entries):
            if out is not None or where is not None:
                raise TypeError("out and where need an array of entries, not an int")
            value = buffers.as_int(entries, "entry")
            return self.engine._run_one(self._steps(argument, None), value)
        array = buffers.as_entries(entries, "entries")
        if not array.flags.c_contiguous:
            return self._call_transposed(array, argument, out, where, threads)
        dtype = buffers.BOOL if self.kind == "test" else buffers.ENTRY
        steps = self._steps(argument, array)
        mask = self._checked_where(where, array)
        otherwise = None
        if out is None:
            if mask is not None and self.kind == "test":
                target = np.zeros(array.shape, dtype)
            else:
                target = np.empty(array.shape, dtype)
                otherwise = array if mask is not None else None
        elif out is entries and self.kind == "map":
            target = array
            if not target.flags.writeable:
                raise ValueError("out is read-only")
            self._require_own_memory(target, array, steps, mask)
        else:
            target = buffers.as_out(out, array, dtype)
            if not target.flags.c_contiguous:
                raise ValueError("out is laid out in another order than the entries")
            self._require_own_memory(target, array, steps, mask)
        self.engine._run(steps, array, target, mask, otherwise, processors(threads))
        return out if isinstance(out, np.ndarray) else target

    def count(
        self, entries: Any, argument: Any = MISSING, /, *, where: Any = None, threads: int = 1
    ) -> int:
        """Count the entries for which a test is true, without storing anything.

        Arguments and errors as for calling; TypeError if this is no test.
        """
        if self.kind != "test":
            raise TypeError(f"{self.name} gives entries; only tests can be counted")
        array = buffers.as_entries(entries, "entries")
        if not array.flags.c_contiguous:
            return self._for_transposed().count(
                array.T, _transposed(argument), where=_transposed(where), threads=threads
            )
        steps = self._steps(argument, array)
        mask = self._checked_where(where, array)
        return self.engine._run(steps, array, None, mask, None, processors(threads))

    def _call_transposed(
        self, array: np.ndarray, argument: Any, out: Any, where: Any, threads: int
    ) -> Any:
        result = self._for_transposed()(
            array.T,
            _transposed(argument),
            out=_transposed(out),
            where=_transposed(where),
            threads=threads,
        )
        return out if isinstance(out, np.ndarray) else result.T

    def _for_transposed(self) -> Operation:
        """Return the operation that computes the same on transposed entries."""
        return self

    def _checked_where(self, where: Any, entries: np.ndarray) -> np.ndarray | Helper | None:
        if where is None:
            return None
        if isinstance(where, Helper):
            if where.kind != "test" or where.argument:
                raise TypeError(f"where is {where.name}; it must be a test of the entry alone")
            if where.engine is not self.engine:
                raise ValueError(f"where is {where.name} of another engine, {where.engine.name}")
            return where
        if isinstance(where, Chain):
            raise TypeError("where is a chain; pass a test helper or a bool array")
        mask = buffers.as_bools(where, "where")
        mask = buffers.same_shape(mask, entries, "where", raw=not isinstance(where, np.ndarray))
        if not mask.flags.c_contiguous:
            raise ValueError("where is laid out in another order than the entries")
        return mask

    def _require_own_memory(
        self,
        target: np.ndarray,
        entries: np.ndarray,
        steps: tuple[Step, ...],
        mask: np.ndarray | Helper | None,
    ) -> None:
        buffers.require_disjoint(target, entries, "entries", same_allowed=self.kind == "map")
        if isinstance(mask, np.ndarray):
            buffers.require_disjoint(target, mask, "where", same_allowed=False)
        for step in steps:
            if isinstance(step.argument, np.ndarray):
                alone = len(steps) == 1 and self.kind == "map"
                buffers.require_disjoint(target, step.argument, "argument", same_allowed=alone)


class Helper(Operation):
    """One helper of an engine, called like a NumPy ufunc."""

    def __init__(self, engine: Engine, info: HelperInfo, handle: Any):
        self.engine = engine
        self.info = info
        self.name = info.name
        self.level = info.level
        self.kind = info.kind
        self.argument = info.argument
        self.own_steps = (Step(self, 0),)
        self.handle = handle
        self.__doc__ = describe(info)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name} of {self.engine.name}>"

    def _steps(self, argument: Any, entries: np.ndarray | None) -> tuple[Step, ...]:
        if self.argument is None:
            if argument is not MISSING:
                raise TypeError(f"{self.name}() takes the entry alone")
            return self.own_steps
        if argument is MISSING:
            raise TypeError(f"{self.name}() needs a second argument, {self.argument}")
        return (Step(self, _checked_argument(argument, self.argument, entries)),)


class Chain(Operation):
    """Helpers run one after the other, in one pass over memory."""

    def __init__(self, steps: Iterable[StepLike]):
        self.steps = tuple(_as_step(step) for step in steps)
        if not self.steps:
            raise ValueError("a chain needs at least one helper")
        self.engine = self.steps[0][0].engine
        for helper, argument in self.steps:
            if helper.engine is not self.engine:
                raise ValueError(
                    f"{helper.name} is of {helper.engine.name}, the chain of {self.engine.name}"
                )
            if not isinstance(argument, np.ndarray) or helper.argument is None:
                helper._steps(argument, None)
        for helper, _ in self.steps[:-1]:
            if helper.kind == "test":
                raise ValueError(f"{helper.name} is a test; only the last of a chain can be one")
        self.kind = self.steps[-1][0].kind
        self.argument = None
        self.name = ",".join(helper.name for helper, _ in self.steps)

    def __repr__(self) -> str:
        return f"<chain {self.name} of {self.engine.name}>"

    def _steps(self, argument: Any, entries: np.ndarray | None) -> tuple[Step, ...]:
        if argument is not MISSING:
            raise TypeError("a chain takes entries alone; give arguments with its helpers")
        return tuple(helper._steps(given, entries)[0] for helper, given in self.steps)

    def _for_transposed(self) -> Chain:
        return Chain(
            helper if given is MISSING else (helper, _transposed(given))
            for helper, given in self.steps
        )


class Engine(ABC):
    """An object that computes helpers."""

    name: str
    helpers: Mapping[str, Helper]

    def _set_helpers(self, helpers: Iterable[Helper]) -> None:
        self.helpers = MappingProxyType({helper.name: helper for helper in helpers})

    @abstractmethod
    def _run_one(self, steps: tuple[Step, ...], entry: int) -> int | bool:
        """Run the steps on one entry."""

    @abstractmethod
    def _run(
        self,
        steps: tuple[Step, ...],
        entries: np.ndarray,
        out: np.ndarray | None,
        where: np.ndarray | Helper | None,
        otherwise: np.ndarray | None,
        threads: int,
    ) -> int:
        """Run the steps on checked C-contiguous arrays of one shape.

        ``out`` None: the last step is a test; return for how many entries it is true.
        ``otherwise``: what ``out`` gets for entries where ``where`` is false; None: ``out`` stays
        as it is.
        """

    def chain(self, *steps: StepLike | str) -> Chain:
        """Make one operation out of helpers (or their names) of this engine."""
        return Chain(self.helper(step) if isinstance(step, str) else step for step in steps)

    def helper(self, name: str) -> Helper:
        """Return the helper of that name; raises UnknownHelperError."""
        try:
            return self.helpers[name]
        except KeyError:
            raise UnknownHelperError(self._why_missing(name), name=name, obj=self) from None

    def __getattr__(self, name: str) -> Helper:
        if name.startswith("_") or name == "helpers":
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return self.helper(name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.helpers]

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def _owners(self, name: str) -> list[str]:
        """Return the rule sets, of this kind of engine, that have such a helper."""
        return []

    def _why_missing(self, name: str) -> str:
        owners = self._owners(name)
        if owners:
            return f"{self.name} has no {name}; rules that have it: {', '.join(owners)}"
        near = difflib.get_close_matches(name, self.helpers, n=1)
        hint = f"; did you mean {near[0]}?" if near else "; .helpers lists those there are"
        return f"{self.name} has no helper {name!r}{hint}"


def _is_array(value: Any) -> bool:
    """Tell whether the value is an array, and not one entry.  NumPy scalars have buffers too."""
    if type(value) is np.ndarray:
        return True
    if isinstance(value, (int, float, complex, str, np.generic)) or value is None:
        return False
    return not hasattr(value, "__index__") or isinstance(value, np.ndarray)


def _checked_argument(argument: Any, name: str, entries: np.ndarray | None) -> int | np.ndarray:
    if isinstance(argument, (bool, np.bool_)) and name == "write":
        return int(argument)
    if not _is_array(argument):
        return buffers.as_int(argument, name)
    if entries is None:
        raise TypeError(f"{name} is an array, but there is one entry only")
    array = buffers.as_entries(argument, name)
    array = buffers.same_shape(array, entries, name, raw=not isinstance(argument, np.ndarray))
    if not array.flags.c_contiguous:
        raise ValueError(f"{name} is laid out in another order than the entries")
    return array


def _as_step(step: StepLike) -> tuple[Helper, Any]:
    if isinstance(step, Helper):
        return step, MISSING
    if isinstance(step, tuple) and len(step) == 2 and isinstance(step[0], Helper):
        helper, argument = step
        return helper, buffers.as_entries(argument, "argument") if _is_array(argument) else argument
    raise TypeError(f"a chain is made of helpers and (helper, argument) pairs, not {step!r}")


def _transposed(value: Any) -> Any:
    return value.T if isinstance(value, np.ndarray) else value


def processors(threads: int) -> int:
    """Return how many threads ``threads`` asks for; 0 asks for one a processor."""
    if type(threads) is int and 0 < threads <= MAX_THREADS:
        return threads
    if isinstance(threads, bool) or not isinstance(threads, int):
        raise TypeError(f"threads is {threads!r}; it must be an int, 0 for all processors")
    if threads < 0:
        raise ValueError(f"threads is {threads}; it must be 0 (all processors) or more")
    if threads:
        return MAX_THREADS
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
