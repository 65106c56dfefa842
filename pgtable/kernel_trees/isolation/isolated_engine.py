# SPDX-License-Identifier: GPL-2.0-only
"""The engine of a kernel tree whose helpers run in a process of their own."""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from ...engines.interface import Helper, HelperInfo, Step
from .. import cache
from ..errors import HelperEndedError, KernelTreeError
from ..library import LIBRARY
from ..recipe import Recipe
from ..tree_engine import KernelTreeEngine
from .child import BLOCK, COUNT, MAP, TEST
from .culprit import culprit
from .worker import EndedError, Worker

#: Seconds that one run of a helper over a block, or loading a library, may take.
SECONDS = 60.0


class IsolatedTreeEngine(KernelTreeEngine):
    """The helpers of one kernel tree, in a process of their own.

    active: the means of this system that keep that process from doing anything else.
    seconds: how long one run over a block of entries may take.
    """

    def __init__(
        self,
        recipe: Recipe,
        isa: str,
        library_dir: Path,
        report: dict[str, Any],
        seconds: float = SECONDS,
    ):
        super().__init__(recipe, isa, report)
        self.seconds = seconds
        self._code = cache.read(library_dir, LIBRARY)
        self._known = list(report["calls"])
        self._turn = threading.Lock()
        self._worker: Worker | None = None
        self._owner = 0
        with self._turn:
            about = self._ready().about
        self.active = _checked(about.get("active"))
        self.feature_is_constant = about.get("constant") is True
        self._set_helpers(
            Helper(self, info, number) for number, info in enumerate(self._infos(about))
        )

    def start(self) -> Worker:
        """Start a process that has loaded the library; return it."""
        try:
            return Worker(self._code, self.shstk, self.seconds)
        except EndedError as error:
            raise HelperEndedError(
                f"{self.tree.sources}: code that runs when its helpers are loaded {error}"
            ) from None

    def close(self) -> None:
        """End the process; the next call starts another."""
        with self._turn:
            self._drop()

    def _drop(self) -> None:
        if self._worker is not None and self._owner == os.getpid():
            self._worker.end()
        self._worker = None

    def _ready(self) -> Worker:
        """Return the process.  After a fork, the child starts a process of its own."""
        if self._worker is None or self._owner != os.getpid():
            self._worker, self._owner = self.start(), os.getpid()
            weakref.finalize(self, _end, self._worker, self._owner)
        return self._worker

    def _infos(self, about: dict[str, Any]) -> list[HelperInfo]:
        """Return what the library says of its helpers; raise an error if that cannot be true."""
        try:
            infos = [HelperInfo(*words) for words in about["helpers"]]
        except (KeyError, TypeError):
            infos = []
        texts = all(isinstance(word, str) for info in infos for word in info[:4])
        if not texts or sorted(info.name for info in infos) != sorted(self._known):
            raise KernelTreeError(f"{self.tree.sources}: its library names helpers that it has not")
        return infos

    def _run_one(self, steps: tuple[Step, ...], entry: int) -> int | bool:
        entries = np.array([entry], np.uint64)
        is_test = steps[-1].helper.kind == "test"
        out: np.ndarray = np.empty(1, np.bool_ if is_test else np.uint64)
        self._run(steps, entries, out, None, None, 1)
        return out[0].item()

    def _run(
        self,
        steps: tuple[Step, ...],
        entries: np.ndarray,
        out: np.ndarray | None,
        where: np.ndarray | Helper | None,
        otherwise: np.ndarray | None,
        threads: int,
    ) -> int:
        flat = entries.reshape(-1)
        results = None if out is None else out.reshape(-1)
        unchanged = None if otherwise is None else otherwise.reshape(-1)
        mask = where.reshape(-1) if isinstance(where, np.ndarray) else None
        arguments = [
            step.argument.reshape(-1) if isinstance(step.argument, np.ndarray) else step.argument
            for step in steps
        ]
        total = 0
        for at in range(0, flat.size, BLOCK):
            part = slice(at, at + BLOCK)
            own = [one[part] if isinstance(one, np.ndarray) else one for one in arguments]
            work = [Step(step.helper, one) for step, one in zip(steps, own, strict=True)]
            with self._turn:
                chosen = None if mask is None else mask[part]
                if isinstance(where, Helper):
                    chosen = self._block(where.own_steps, flat[part]).copy()
                if results is None and chosen is None:
                    total += self._block(tuple(work), flat[part], count=True)
                    continue
                given = self._block(tuple(work), flat[part])
                if results is None:
                    total += int(np.count_nonzero(given & chosen))
                elif chosen is None:
                    results[part] = given
                else:
                    if unchanged is not None:
                        results[part] = unchanged[part]
                    np.copyto(results[part], given, where=chosen)
        return total

    def _block(self, steps: tuple[Step, ...], entries: np.ndarray, count: bool = False) -> Any:
        """Run steps over at most BLOCK entries.  The result is in the shared memory."""
        worker = self._ready()
        n = entries.size
        worker.source[:n] = entries
        found = 0
        for done, step in enumerate(steps):
            each = isinstance(step.argument, np.ndarray)
            if each:
                worker.arguments[:n] = step.argument
            what = MAP if step.helper.kind == "map" else COUNT if count else TEST
            argument = 0 if each else int(step.argument)
            try:
                found = worker.ask(step.helper.handle, what, n, argument, each)
            except EndedError as error:
                self._worker = None
                before = tuple(step for step in steps[:done])
                raise HelperEndedError(
                    f"{self.tree.sources}: {culprit(self, before, step, entries.copy(), error)}"
                ) from None
            except BaseException:
                self._worker = None
                raise
        if count:
            return found
        return worker.tests[:n] if steps[-1].helper.kind == "test" else worker.source[:n]


def _checked(active: Any) -> list[str]:
    return [str(one) for one in active] if isinstance(active, list) else []


def _end(worker: Worker, owner: int) -> None:
    if os.getpid() == owner:
        worker.end()
