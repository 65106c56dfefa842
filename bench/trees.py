# SPDX-License-Identifier: GPL-2.0-only
"""What a tree's loops cost beside those of our own text compiled with the same flags.

``python -m bench.trees TREE``: all helpers that both have, maps into another
array, tests into bools and as counts.  Contenders take turns in one process.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cffi
import numpy as np

import pgtable
from pgtable.bench import entries, units
from pgtable.checks.report import wrap
from pgtable.engines.compiled import ffi
from pgtable.engines.kernel_tree import KernelTreeEngine, compiler
from pgtable.engines.kernel_tree.recipe import flags_of_loops, shim_directory

_ffi = cffi.FFI()
_ffi.cdef(
    """
    extern char trees_ours;
    uint64_t trees_time(const void *helper, int counting, const void *in, uint64_t arg,
                        void *out, size_t n, size_t times);
    """
)

SIZES = (512, 1 << 14, 1 << 20)
#: Entries that one sample goes over at least, all repeats together.
WORK = 1 << 18
ROUNDS = 15
GOAL = 1.2
#: What helpers with a second argument get: a user's read-only page, and bits to change.
ARGUMENT = 0x25

_FLAGS = "the kernel's text takes flags out as an int, and PSE says which bits those are"
_INT = "the kernel's text gives an int: of 32 bits, where entries have 64"
_WRITE = "the kernel's text tests Write and shadow stack apart, ours both at once"
_MODIFY = "the kernel's text compares two truth values to turn a frame over, ours two masks"
#: Why the kernel's text costs more than ours, where it is known: (levels, stems, reason).
REASONS = (
    (("pte", "pmd"), ("write",), _WRITE),
    (("pte", "pmd", "pud"), ("modify",), _MODIFY),
    (
        ("pmd", "pud"),
        (
            *("dirty", "young", "write", "shstk", "soft_dirty", "uffd_wp", "present", "protnone"),
            *("special", "leaf", "devmap", "bad", "swp_soft_dirty", "swp_uffd_wp"),
        ),
        _FLAGS,
    ),
    (
        ("pte", "pmd", "pud"),
        (
            *("young", "huge", "global", "special", "present", "none", "soft_dirty", "uffd_wp"),
            *("protnone", "swp_soft_dirty", "swp_uffd_wp", "swp_exclusive", "exec", "bad"),
        ),
        _INT,
    ),
)


def reason_for(helper: str) -> str:
    """Say why a helper's loop is slow in a tree, or that it is not known."""
    level, _, stem = helper.partition("_")
    for levels, stems, reason in REASONS:
        if level in levels and stem in stems:
            return reason
    return "no reason known"


class Loop(NamedTuple):
    """One helper's loop over arrays of one size, in each of the libraries."""

    helper: str
    counting: bool
    entries: int

    @property
    def name(self) -> str:
        """What it is called in the report."""
        return self.helper + (".count" if self.counting else "")


class Ratio(NamedTuple):
    """Medians of a loop, nanoseconds a call."""

    loop: Loop
    tree: float
    ours: float
    native: float


def main() -> int:
    """Measure, and print the summary."""
    parser = argparse.ArgumentParser(prog="python -m bench.trees", description=__doc__)
    parser.add_argument("tree", metavar="TREE", help="header package or configured kernel tree")
    parser.add_argument("--compiler", default="gcc")
    parser.add_argument("--flags", help="of both, instead of optimisation and vector instructions")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    args = parser.parse_args()
    engine = pgtable.kernel_tree(args.tree, compiler=args.compiler, flags=args.flags)
    with tempfile.TemporaryDirectory() as directory:
        ratios = list(_measure(engine, args, Path(directory)))
    _print(engine, ratios)
    return 0


def _measure(
    engine: KernelTreeEngine, args: argparse.Namespace, directory: Path
) -> Iterator[Ratio]:
    switches = pgtable.recognise(engine).switches
    library = _compile_ours(engine, args.compiler, switches, directory)
    native = pgtable.native(*switches)
    ours = _table(library)
    known = {known.helper for known in pgtable.compare(engine, pgtable.reference(*switches)).known}
    names = [name for name in engine.helpers if name in ours and name in native.helpers]
    buffers = {n: (entries.aligned(n), np.zeros(n, np.uint64)) for n in SIZES}
    for name in names:
        handles = [engine.helpers[name].handle, ours[name], native.helpers[name].handle]
        for counting in (False, True) if engine.helpers[name].kind == "test" else (False,):
            for n in SIZES:
                loop = Loop(name, counting, n)
                contest = _Contest(library, loop, handles, *buffers[n])
                contest.check(but_tree=name in known)
                ratio = contest.run(args.rounds)
                if ratio.tree > GOAL * ratio.ours:
                    # a neighbour on the machine does not strike twice
                    ratio = contest.run(4 * args.rounds)
                yield ratio


class _Contest:
    """One loop of three libraries over the same arrays."""

    def __init__(self, library: Any, loop: Loop, handles: list, array: Any, out: Any):
        self.library, self.loop, self.handles = library, loop, handles
        self.array, self.out = array, out
        self.times = max(1, WORK // loop.entries)

    def _time(self, handle: Any, times: int) -> float:
        taken = self.library.trees_time(
            ffi.cast("void *", handle), self.loop.counting, ffi.from_buffer(self.array), ARGUMENT,
            ffi.from_buffer(self.out), self.loop.entries, times,
        )  # fmt: skip
        return taken / times

    def check(self, *, but_tree: bool) -> None:
        """Require the same output of all; a known difference of the tree's is none."""
        outputs = []
        for handle in self.handles[1 if but_tree else 0 :]:
            self.out[:] = 0
            self._time(handle, 1)
            outputs.append(self.out.copy())
        if any(not np.array_equal(outputs[0], other) for other in outputs[1:]):
            raise SystemExit(f"{self.loop.name}: the results differ")

    def run(self, rounds: int) -> Ratio:
        """Let the libraries take turns."""
        samples: list[list[float]] = [[], [], []]
        for _ in range(rounds):
            for taken, handle in zip(samples, self.handles, strict=True):
                taken.append(self._time(handle, self.times))
        return Ratio(self.loop, *map(statistics.median, samples))


def _compile_ours(engine: KernelTreeEngine, cc: str, switches: Any, directory: Path) -> Any:
    """Compile our text with the tree's flags, and the repeating loop beside it."""
    csrc = shim_directory()
    library = directory / "ours.so"
    command = [
        str(compiler.find(cc)),
        *flags_of_loops(engine.flags),
        "-shared",
        f"-I{csrc}",
        "-DPGTABLE_INSTANCE=trees_ours",
        '-DPGTABLE_ISA_NAME="tree"',
        "-DPGTABLE_BLOCK_OPS=trees_no_ops",
        f"-DPGTABLE_RULES_{switches.rules.upper()}",
        f"-DPGTABLE_SHSTK={int(switches.shstk)}",
        *(["-DCONFIG_X86_SHADOW_STACK"] if switches.config else []),
        str(csrc / "instance.c"),
        str(Path(__file__).with_name("trees.c")),
        "-o",
        str(library),
    ]
    subprocess.run(command, check=True)
    return _ffi.dlopen(str(library))


def _table(library: Any) -> dict[str, Any]:
    ours = ffi.cast("struct pgtable_instance *", _ffi.addressof(library, "trees_ours"))
    helpers = (ours.helpers + i for i in range(ours.nhelpers))
    return {ffi.string(helper.name).decode(): helper for helper in helpers}


def _print(engine: KernelTreeEngine, ratios: list[Ratio]) -> None:
    loops = len({ratio.loop.name for ratio in ratios})
    print(f"{engine.name}: {loops} loops, flags {' '.join(engine.flags)}")
    for n in SIZES:
        of_size = [ratio for ratio in ratios if ratio.loop.entries == n]
        same = sorted((ratio.tree / ratio.ours, ratio.loop.name) for ratio in of_size)
        installed = [ratio.tree / ratio.native for ratio in of_size]
        median = statistics.median(value for value, _ in same)
        print(
            f"{units.entries_text(n):>7}: median {median:.2f}, worst {same[-1][0]:.2f}"
            f" ({same[-1][1]}); of the installed native: median"
            f" {statistics.median(installed):.2f}, worst {max(installed):.2f}"
        )
    slow = [ratio for ratio in ratios if ratio.tree > GOAL * ratio.ours]
    print(f"{len(slow)} of {len(ratios)} above {GOAL}; worst of each loop, by reason:")
    by_reason: dict[str, dict[str, float]] = {}
    for ratio in slow:
        worst = by_reason.setdefault(reason_for(ratio.loop.helper), {})
        worst[ratio.loop.name] = max(worst.get(ratio.loop.name, 0), ratio.tree / ratio.ours)
    for reason, worst in sorted(by_reason.items(), key=lambda each: -len(each[1])):
        ordered = sorted(worst.items(), key=lambda each: -each[1])
        loops_text = ", ".join(f"{name} {value:.2f}" for name, value in ordered)
        print(wrap(f"{reason}: {loops_text}", "  ", "    "))


if __name__ == "__main__":
    raise SystemExit(main())
