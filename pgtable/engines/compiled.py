# SPDX-License-Identifier: GPL-2.0-only
"""Engines whose helpers are compiled loops: ours, or a kernel tree's."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._native import ffi, lib
from .interface import MISSING, Engine, Helper, HelperInfo, Step

#: Results of so many entries do not fit the caches and are written past them.
STREAM_FROM = 1 << 19

_ndarray = np.ndarray
_uint64 = np.dtype(np.uint64)
_from_buffer = ffi.from_buffer
_in_place = lib.pgtable_in_place


class CompiledHelper(Helper):
    """A helper whose ``handle`` points to its loops."""

    def __init__(self, engine: Engine, info: HelperInfo, handle: Any):
        super().__init__(engine, info, handle)
        self.plain_map = info.kind == "map" and info.argument is None

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
        """Run over an int or an array; see :meth:`Operation.__call__`."""
        # The shortest way for a table in place; whatever is not plain takes the long one.
        if (
            out is entries
            and where is None
            and threads == 1
            and type(entries) is _ndarray
            and entries.dtype is _uint64
            and self.plain_map
            and entries.flags.c_contiguous
            and entries.flags.writeable
        ):
            _in_place(self.handle, _from_buffer(entries), entries.nbytes)
            return entries
        return Helper.__call__(self, entries, argument, out=out, where=where, threads=threads)


class CompiledEngine(Engine):
    """Runs steps through the C driver; subclasses say where the loops come from."""

    def __init__(self, name: str, ops: Any):
        self.name = name
        self._ops = ops

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
        keep: list[Any] = []
        call = ffi.new("struct pgtable_call *")
        call.ops = self._ops
        call.nsteps = len(steps)
        call.steps = _c_steps(steps, keep)
        setattr(call, "in", _pointer(entries, keep))
        if out is not None:
            call.out = _pointer(out, keep)
        if otherwise is not None:
            call.otherwise = _pointer(otherwise, keep)
        if isinstance(where, Helper):
            call.where_test = _c_steps((Step(where, 0),), keep)
        elif where is not None:
            call.where = _pointer(where, keep)
        call.n = entries.size
        call.stream_from = STREAM_FROM
        call.threads = threads
        return lib.pgtable_run(call)


def _c_steps(steps: tuple[Step, ...], keep: list[Any]) -> Any:
    array = ffi.new("struct pgtable_step[]", len(steps))
    keep.append(array)
    for c_step, step in zip(array, steps, strict=True):
        c_step.helper = step.helper.handle
        if isinstance(step.argument, np.ndarray):
            c_step.arguments = _pointer(step.argument, keep)
        else:
            c_step.argument = step.argument
    return array


def _pointer(array: np.ndarray, keep: list[Any]) -> Any:
    pointer = ffi.from_buffer("uint8_t[]", array)
    keep.append(pointer)
    return pointer


def as_info_fields(helper: Any) -> tuple[str, str, str, str, str | None]:
    """Read the fields of a HelperInfo out of a ``struct pgtable_helper``."""

    def text(pointer: Any) -> str:
        return ffi.string(pointer).decode()

    argument = text(helper.argument) if helper.argument else None
    return (text(helper.name), text(helper.level), text(helper.takes), text(helper.gives), argument)
