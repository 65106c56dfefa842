# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable bench``: what helpers cost per entry."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from ..engines.native import native
from ..engines.switches import COMBINATIONS, RULES, Switches
from .common import print_json, print_table, progress, split_switches

HELP = "measure what helpers cost per entry: before the patch, the patch, as merged"
EXAMPLES = """\
  pgtable bench
  pgtable bench pte_wrprotect,pte_mkdirty --mix half --way kernel,constant,vector
  pgtable bench pte_modify --kernel /usr/src/linux-headers-6.12-amd64 --compiler gcc,clang
  pgtable bench pte_wrprotect --rules cow,shstk=y --rules cow,shstk=n --data dump.bin
  pgtable bench --shape table,latency,memory --save A.json
  pgtable bench compare A.json B.json

Times are those of a loop with the helper in it less those of the same loop
without, per entry, with the 95 % interval over processes.  Ways of compiling:
  kernel    -O2, no vector code, the feature tested by the nop or jump of a booted kernel
  constant  the same, the feature a constant of the compiler
  vector    -O3 and the widest instruction set (or --isa)
Mixes: clean, dirty, half (half and half at random), sorted, and entries of files.
Shapes: table (512 entries in the first-level cache), latency (each entry waits for
the result before), memory (a large array).
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "helpers",
        metavar="HELPER[,HELPER...]",
        nargs="?",
        type=_names,
        help="helpers (default: the seven that the patch was discussed for)",
    )
    parser.add_argument(
        "--rules",
        metavar="RULES[,shstk=y|n][,config=y|n]",
        action="append",
        help=f"of {', '.join(RULES)}; all: every combination (default: one of each);"
        " may be given again",
    )
    parser.add_argument(
        "--kernel",
        "--engine",
        metavar="TREE",
        action="append",
        default=[],
        help="also the real helpers of this tree, with switches as 'pgtable kernel --help'"
        " tells; may be given again",
    )
    for name, what in (
        ("way", "how helpers are compiled: kernel, constant, vector (default: kernel)"),
        ("compiler", "C compilers (default: gcc)"),
        ("mix", "clean, dirty, half, sorted (default: clean,dirty,half)"),
        ("shape", "table, latency, memory (default: table)"),
    ):
        parser.add_argument(f"--{name}", metavar="NAME[,NAME...]", type=_names, help=what)
    parser.add_argument(
        "--data",
        metavar="FILE",
        action="append",
        default=[],
        help="also the entries of this file as a mix: raw or .npy, may be .xz",
    )
    parser.add_argument("--isa", metavar="NAME", help='instruction set for the way "vector"')
    parser.add_argument(
        "--quick", action="store_true", help="take seconds: fewer processes and rounds"
    )
    parser.add_argument("--save", metavar="FILE", help="write the results for 'bench compare'")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    # here, and not at import: help need not wait for what measures
    from ..cost import checking, measure, result_files, this_machine  # noqa: PLC0415

    plan = _plan(args)
    with progress(100, "%", "bench") as bar:

        def show(done: float, what: str) -> None:
            bar.set_description(what)
            bar.update(round(100 * done) - bar.n)

        def note(text: str) -> None:
            bar.clear()
            print(f"pgtable: {text}", file=sys.stderr)

        try:
            rows = measure(plan, note=note, progress=show)
        except checking.WrongResultError as error:
            raise ValueError(f"a timed result is wrong: {error}") from None
    document = result_files.document(this_machine.describe(), rows)
    if args.save:
        result_files.save(args.save, document)
    if args.json:
        print_json(document)
    else:
        print_table(map(_cells, rows), list(_COLUMNS), list(_COLUMNS.values()))
        print("\n".join(_legend(rows)))
    return 0


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _plan(args: argparse.Namespace) -> Any:
    from ..cost import DEFAULT, QUICK  # noqa: PLC0415

    chosen = {
        "helpers": args.helpers,
        "rules": args.rules and _rules(args.rules),
        "ways": args.way,
        "compilers": args.compiler,
        "mixes": args.mix,
        "shapes": args.shape,
    }
    if args.data and not args.mix:
        chosen["mixes"] = ()  # who names a file wants that file
    part = replace(
        DEFAULT.parts[0],
        kernels=tuple(map(_kernel, args.kernel)),
        files=tuple(args.data),
        **{name: value for name, value in chosen.items() if value is not None},
    )
    if args.isa and "vector" not in part.ways:
        native(isa=args.isa)  # a wrong name is the first thing to say
        raise ValueError(f"--isa {args.isa}: is of the way vector; add --way vector")
    return replace(QUICK if args.quick else DEFAULT, parts=(part,), isa=args.isa)


def _rules(texts: Sequence[str]) -> tuple[Switches, ...]:
    """Return the combinations that ``--rules`` names."""
    found: list[Switches] = []
    for text in texts:
        if text == "all":
            found += COMBINATIONS
            continue
        # "base,cow" are two, "cow,shstk=n" is one
        for word in text.split(","):
            if "=" not in word:
                found.append(_resolve(word, {}))
                switches: dict[str, bool] = {}
                continue
            name, _, value = word.partition("=")
            if not found or name not in ("shstk", "config") or value not in ("y", "n"):
                raise ValueError(
                    f"--rules {text}: {word!r} is no switch; write shstk=y or config=n"
                )
            switches[name] = value == "y"
            found[-1] = _resolve(found[-1].rules, switches)
    return tuple(dict.fromkeys(found))


def _resolve(rules: str, switches: dict[str, bool]) -> Switches:
    from ..engines.switches import resolve  # noqa: PLC0415

    if rules not in RULES:
        raise ValueError(f"--rules: {rules!r} is none of {', '.join(RULES)}, all")
    return resolve(rules, switches.get("shstk"), switches.get("config"))


def _kernel(text: str) -> Any:
    from ..cost import TreeSettings  # noqa: PLC0415

    path, shstk, config = split_switches(text)
    return TreeSettings(path, shstk=shstk, config=config)


_COLUMNS = {
    "helper": "left",
    "engine": "left",
    "mix": "left",
    "shape": "left",
    "way": "left",
    "compiler": "left",
    "ns": "right",
    "95 %": "right",
    "cycles": "right",
    "95 % ": "right",
    "harness ns": "right",
    "instr.": "right",
    "branches": "right",
    "mispred.": "right",
    "bytes": "right",
    "": "left",
}


def _cells(row: Any) -> list[str]:
    from ..cost.result_files import engine_text  # noqa: PLC0415

    params, summary, extra = row.params, row.summary, row.extra
    return [
        params["helper"],
        engine_text(params),
        params["mix"],
        params["shape"],
        params["way"],
        params["compiler"],
        _number(summary.median, 2),
        f"{_number(summary.low, 2)} to {_number(summary.high, 2)}",
        _number(extra["cycles"], 1),
        f"{_number(extra['cycles_low'], 1)} to {_number(extra['cycles_high'], 1)}",
        _number(extra["overhead_ns"], 2),
        _number(extra["instructions"], 1),
        _number(extra["branches"], 1),
        _number(extra["mispredictions"], 2),
        _number(extra["code_bytes"], 0),
        "noisy" if summary.noisy else "",
    ]


def _number(value: float | None, digits: int) -> str:
    # adding 0 makes a zero of a negative one
    return "-" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"


def _legend(rows: Sequence[Any]) -> Iterator[str]:
    yield ""
    yield "Everything is per entry, less what the same loop takes around nothing (harness ns)."
    outliers = sum(row.summary.outliers for row in rows)
    samples = sum(row.summary.samples for row in rows)
    noisy = sum(row.summary.noisy for row in rows)
    disturbed = sum(row.extra["disturbed"] for row in rows)
    yield (
        f"{disturbed:,} of {samples + disturbed:,} samples were taken while another thread used the"
        " core, and are left out."
    )
    yield (
        f"{outliers:,} of the other {samples:,} are outliers; {noisy} of {len(rows)} rows are noisy"
        " (a wide interval for what they show, or many outliers)."
    )
