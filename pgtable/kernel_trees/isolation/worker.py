# SPDX-License-Identifier: GPL-2.0-only
"""Starts the process that runs a tree's helpers, sends it requests, and says how it ended."""

from __future__ import annotations

import importlib.util
import json
import math
import mmap
import os
import select
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from .child import ANSWER, ARENA, BLOCK, REQUEST, WORD

#: How many bytes helpers and constructors may allocate.
_ROOM = 256 << 20
#: Bytes; the description of a tree's helpers is shorter.
_LONGEST = 4 << 20
_CHILD = Path(__file__).with_name("child.py")

_ENDS = {
    signal.SIGFPE: "divided by zero",
    signal.SIGILL: "ran an illegal instruction",
    signal.SIGSEGV: "ended in a segmentation fault",
    signal.SIGBUS: "ended in a bus error",
    signal.SIGTRAP: "ran a breakpoint",
    signal.SIGABRT: "aborted",
    signal.SIGSYS: "made a system call that it may not make",
    signal.SIGXFSZ: "wrote to a file",
}


class EndedError(Exception):
    """The process ended, or was ended, before it answered.  The message says how."""


class OutOfTimeError(EndedError):
    """The process was ended because its time was over."""


class Worker:
    """One process.  ``about`` describes the helpers of its library.

    source, arguments: shared memory that helpers read; results of maps are in source
    again, of tests in ``tests``.
    """

    def __init__(self, library: bytes, shstk: bool, seconds: float):
        self._asked = 0
        self._seconds = seconds
        memory = os.memfd_create("pgtable-entries")
        code = os.memfd_create("pgtable-helpers")
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        try:
            os.ftruncate(memory, ARENA)
            self._map_memory(memory)
            with os.fdopen(os.dup(code), "wb") as file:
                file.write(library)
            settings = {
                "libraries": library_paths(),
                "memory": memory,
                "library": code,
                "requests": requests,
                "answers": answers,
                "room": _ROOM,
                "seconds": math.ceil(seconds),
                "shstk": int(shstk),
            }
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_CHILD), json.dumps(settings)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(memory, code, requests, answers),
                env={"LC_ALL": "C"},
                cwd="/",
                start_new_session=True,  # Ctrl-C must reach only the parent, which ends the process
            )
        except BaseException:
            os.close(self._requests)
            os.close(self._answers)
            raise
        finally:
            for descriptor in (memory, code, requests, answers):
                os.close(descriptor)
        try:
            self.about = self._introduced()
        except BaseException:
            self.end()
            raise

    def _map_memory(self, memory: int) -> None:
        words = np.frombuffer(mmap.mmap(memory, ARENA), np.uint64)
        self.source, self.arguments = words[:BLOCK], words[BLOCK : 2 * BLOCK]
        self.tests = words[2 * BLOCK :].view(np.bool_)[:BLOCK]

    def ask(
        self,
        number: int,
        what: int,
        n: int,
        argument: int,
        each: bool,
        seconds: float | None = None,
    ) -> int:
        """Run a helper over the first n entries of the shared memory; returns a count.

        Raises EndedError, after which this worker is of no more use.
        """
        self._asked += 1
        seconds = self._seconds if seconds is None else seconds
        try:
            try:
                os.write(self._requests, REQUEST.pack(number, what, n, argument, each))
                answer = self._read(ANSWER.size, seconds)
            except BrokenPipeError:
                raise self._ended() from None
        except BaseException:  # also at Ctrl-C: nobody waits for the result any more
            self.end()
            raise
        which, count = ANSWER.unpack(answer)
        if which != self._asked or count > n * (what != 0):
            self.end()
            raise EndedError("wrote to descriptors that are not its own")
        return count

    def end(self) -> None:
        """End the process, and free its memory and descriptors."""
        self._process.kill()
        self._process.wait()
        for descriptor in (self._requests, self._answers):
            if descriptor >= 0:
                os.close(descriptor)
        self._requests = self._answers = -1

    def _introduced(self) -> dict[str, Any]:
        (length,) = struct.unpack("=Q", self._read(WORD, self._seconds))
        if length > _LONGEST:
            raise EndedError("wrote to descriptors that are not its own")
        try:
            return json.loads(self._read(length, self._seconds))
        except ValueError:
            raise EndedError("wrote to descriptors that are not its own") from None

    def _read(self, n: int, seconds: float) -> bytes:
        until = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self._answers, select.POLLIN)
        answer = b""
        while len(answer) < n:
            if not poll.poll(max(until - time.monotonic(), 0) * 1000):
                raise OutOfTimeError(f"did not end within {seconds:g} s")
            some = os.read(self._answers, n - len(answer))
            if not some:
                raise self._ended()
            answer += some
        return answer

    def _ended(self) -> EndedError:
        try:
            code = self._process.wait(1)
        except subprocess.TimeoutExpired:
            return EndedError("closed descriptors that are not its own")
        if code >= 0:
            return EndedError(f"ended the process with exit({code})")
        if -code == signal.SIGXCPU:
            return OutOfTimeError(f"did not end within {self._seconds:g} s")
        try:
            number = signal.Signals(-code)
        except ValueError:
            return EndedError(f"was ended by signal {-code}")
        return EndedError(f"{_ENDS.get(number, 'was ended')} ({number.name})")


def library_paths() -> list[str]:
    """Return the directories of the sandbox's libraries: the child's Python has no search path."""
    found = [importlib.util.find_spec(name) for name in ("py_landlock", "pyseccomp")]
    places = []
    for name, spec in zip(("package", "module"), found, strict=True):
        if spec is not None and spec.origin is not None:
            file = Path(spec.origin)
            places.append(str(file.parents[1] if name == "package" else file.parent))
    return list(dict.fromkeys(places))
