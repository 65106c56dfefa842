# SPDX-License-Identifier: GPL-2.0-only
"""Times the helpers of a tree over arrays, beside our own text compiled with the same flags.

``python -m bench.trees TREE`` times all helpers that both have, as an engine runs them: maps into
another array, tests into bools and as counts.  Contenders take turns in one process.
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
from pgtable.checks.report import wrap
from pgtable.cost import entries, units
from pgtable.engines.forms import Condition, Form, found_condition, found_form
from pgtable.engines.interface import HelperInfo, Step
from pgtable.engines.loop_engine import (
    LARGE_FROM,
    RUN,
    CompiledEngine,
    CompiledHelper,
    CSteps,
    as_info_fields,
    ffi,
)
from pgtable.kernel_trees import (
    KernelTreeEngine,
    csrc_directory,
    find_compiler,
    flags_of_loops,
)

_ffi = cffi.FFI()
_ffi.cdef(
    """
    extern char trees_ours;
    uint64_t trees_time(void *run, const void *loops, const void *steps, size_t nsteps,
                        int counting, const void *in, void *out, size_t n, size_t large_from,
                        size_t times);
    """
)

SIZES = (512, 1 << 14, 1 << 20, 1 << 22)
#: How many entries one sample processes at least, in all repeats together.
WORK = 1 << 18
ROUNDS = 15
GOAL = 1.2
#: The second argument of helpers: as a protection, a read-only page of user mode.
ARGUMENT = 0x25


class Loop(NamedTuple):
    """A loop of one helper over arrays of one size, in each of the libraries."""

    helper: str
    counting: bool
    entries: int

    @property
    def name(self) -> str:
        """Its name in the report."""
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
    parser.add_argument(
        "--no-forms", dest="forms", action="store_false", help="loops of the text, whatever it is"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    args = parser.parse_args()
    engine = pgtable.kernel_tree(
        args.tree, compiler=args.compiler, flags=args.flags, forms=args.forms
    )
    with tempfile.TemporaryDirectory() as directory:
        ratios = list(_measure(engine, args, Path(directory)))
    _print(engine, ratios)
    return 0


class OurText(CompiledEngine):
    """An engine with our helpers, compiled by some compiler, which runs them as native does."""

    def __init__(self, handles: list[Any], loops: Any):
        super().__init__("our text", loops)
        self._set_helpers(
            CompiledHelper(self, HelperInfo(*as_info_fields(handle)), handle) for handle in handles
        )

    def form_of(self, helper: CompiledHelper, argument: int) -> Form | None:
        """Find the form by trying."""
        return found_form(helper.handle, argument)

    def condition_of(self, helper: CompiledHelper) -> Condition | None:
        """Find the condition of a test likewise."""
        return found_condition(helper.handle)


def _measure(
    engine: KernelTreeEngine, args: argparse.Namespace, directory: Path
) -> Iterator[Ratio]:
    switches = pgtable.recognise(engine).switches
    library = _compile_ours(engine, args.compiler, switches, directory)
    native = pgtable.native(*switches, isa=engine.isa)
    engines = [engine, OurText(_handles(library), native.loops), native]
    known = {known.helper for known in pgtable.compare(engine, pgtable.reference(*switches)).known}
    names = [name for name in engine.helpers if all(name in each.helpers for each in engines)]
    for n in SIZES:
        array, out = entries.aligned(n), np.zeros(n, np.uint64)
        for name in names:
            helpers = [each.helpers[name] for each in engines]
            for counting in (False, True) if helpers[0].kind == "test" else (False,):
                contest = _Contest(library, Loop(name, counting, n), helpers, array, out)
                contest.check(but_tree=name in known)
                ratio = contest.run(args.rounds)
                if ratio.tree > GOAL * ratio.ours:
                    # measured again: another process rarely disturbs the same loop twice
                    ratio = contest.run(4 * args.rounds)
                yield ratio


class _Contest:
    """One helper in three engines, over the same arrays."""

    def __init__(
        self,
        library: Any,
        loop: Loop,
        helpers: list[Any],
        array: np.ndarray,
        out: np.ndarray,
    ):
        self.library, self.loop = library, loop
        self.array, self.out = array, out
        self.times = max(1, WORK // loop.entries)
        self.steps = [
            CSteps((Step(helper, ARGUMENT if helper.argument else 0),)) for helper in helpers
        ]
        self.loops = [helper.engine.loops for helper in helpers]

    def _time(self, index: int, times: int) -> float:
        loops, steps = self.loops[index], self.steps[index]
        taken = self.library.trees_time(
            RUN, _pointer(loops), _pointer(steps.array), steps.n, self.loop.counting,
            ffi.from_buffer(self.array), ffi.from_buffer(self.out), self.loop.entries,
            LARGE_FROM, times,
        )  # fmt: skip
        return taken / times

    def check(self, *, but_tree: bool) -> None:
        """Require that all give the same output, apart from known differences of the tree."""
        outputs = []
        for index in range(but_tree, len(self.steps)):
            self.out[:] = 0
            self._time(index, 1)
            outputs.append(self.out.copy())
        if any(not np.array_equal(outputs[0], other) for other in outputs[1:]):
            raise SystemExit(f"{self.loop.name}: the results differ")

    def run(self, rounds: int) -> Ratio:
        """Let the engines take turns."""
        samples: list[list[float]] = [[], [], []]
        for _ in range(rounds):
            for index, taken in enumerate(samples):
                taken.append(self._time(index, self.times))
        return Ratio(self.loop, *map(statistics.median, samples))


def _pointer(what: Any) -> Any:
    return ffi.cast("void *", what)


def _compile_ours(engine: KernelTreeEngine, cc: str, switches: Any, directory: Path) -> Any:
    """Compile our text with the tree's flags, and the repeating loop beside it."""
    csrc = csrc_directory()
    library = directory / "ours.so"
    command = [
        str(find_compiler(cc)),
        *flags_of_loops(engine.flags),
        "-shared",
        f"-I{csrc}",
        "-DPGTABLE_INSTANCE=trees_ours",
        "-DPGTABLE_ISA=tree",
        '-DPGTABLE_VARIANT_NAME=""',
        f"-DPGTABLE_RULES_{switches.rules.upper()}",
        f"-DPGTABLE_SHSTK={int(switches.shstk)}",
        *(["-DCONFIG_X86_SHADOW_STACK"] if switches.config else []),
        str(csrc / "bulk" / "instance.c"),
        str(Path(__file__).with_name("trees.c")),
        "-o",
        str(library),
    ]
    subprocess.run(command, check=True)
    return _ffi.dlopen(str(library))


def _handles(library: Any) -> list[Any]:
    ours = ffi.cast("struct pgtable_instance *", _ffi.addressof(library, "trees_ours"))
    return [ours.helpers + i for i in range(ours.nhelpers)]


def _print(engine: KernelTreeEngine, ratios: list[Ratio]) -> None:
    loops = len({ratio.loop.name for ratio in ratios})
    print(f"{engine.name}: {loops} loops, flags {' '.join(engine.flags)}")
    print(f"{len(engine.forms)} of {len(engine.helpers)} helpers have forms that were proved")
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
    worst: dict[str, float] = {}
    for ratio in slow:
        worst[ratio.loop.name] = max(worst.get(ratio.loop.name, 0), ratio.tree / ratio.ours)
    print(f"{len(slow)} of {len(ratios)} above {GOAL}")
    if slow:
        ordered = sorted(worst.items(), key=lambda each: -each[1])
        print(wrap(", ".join(f"{name} {value:.2f}" for name, value in ordered), "  ", "    "))


if __name__ == "__main__":
    raise SystemExit(main())
