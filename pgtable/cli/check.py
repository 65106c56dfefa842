# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable check``: an engine against the reference, bit for bit."""

from __future__ import annotations

import argparse
from typing import Any

from ..checks.differential import CheckResult, check
from ..checks.inputs import SEED
from ..engines.interface import Engine
from ..engines.native import NativeEngine, native
from ..engines.reference import reference
from ..engines.switches import COMBINATIONS
from .common import add_engine_options, engine_of, kernel_lines, print_json, progress
from .ranges import wrapped

HELP = "compare every helper with the reference, bit for bit"
EXAMPLES = """\
  pgtable check                          the default rules
  pgtable check --rules saved_dirty      those of Linux 6.6 and later
  pgtable check --kernel 6.8             as Linux 6.8 computes
  pgtable check --all --json             every combination, for programs
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    add_engine_options(parser)
    parser.add_argument(
        "--all",
        action="store_true",
        help="check every combination of rules and switches, not just the one chosen",
    )
    parser.add_argument(
        "--random",
        type=_count,
        default=1_000_000,
        metavar="N",
        help="random entries besides the exhaustive ones (default: 1000000)",
    )
    parser.add_argument(
        "--seed", type=_count, default=SEED, metavar="N", help="seed of the random entries"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Run the command; returns 0 if nothing differs, else 1."""
    engines = _engines(args)
    pairs = [[_check(each, args) for each in _ways(engine)] for engine in engines]
    if args.json:
        values = [_as_dict(*pair) for pair in pairs]
        print_json(values if args.all else values[0])
    else:
        print("\n\n".join(str(result) for pair in pairs for result in pair))
        for line in kernel_lines(getattr(engines[0], "kernel", None)):
            print(wrapped(line))
    return 0 if all(result.clean for pair in pairs for result in pair) else 1


def _ways(engine: Engine) -> list[Engine]:
    """Return the engine, and the same without closed forms if it runs them.

    Calls run the forms; the second engine runs the helpers as they are written.
    """
    if isinstance(engine, NativeEngine) and engine.forms:
        return [engine, native(*engine.switches, kernel=engine.kernel, forms=False)]
    return [engine]


def _as_dict(result: CheckResult, text: CheckResult | None = None) -> dict[str, Any]:
    value = result.as_dict()
    if text is not None:
        value["without_forms"] = text.as_dict()
    return value


def _engines(args: argparse.Namespace) -> list[Engine]:
    if args.all and args.kernel is not None:
        raise ValueError("--all is about every combination; --kernel names one: leave one out")
    if not args.all:
        return [engine_of(args)]
    if args.engine == "native":
        return [native(*switches) for switches in COMBINATIONS]
    if args.engine == "reference":
        return [reference(*switches) for switches in COMBINATIONS]
    raise ValueError("--all is about native and reference; a kernel tree has its own rules")


def _check(engine: Engine, args: argparse.Namespace) -> CheckResult:
    with progress(0, "helpers", engine.name) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return check(engine, random_entries=args.random, seed=args.seed, progress=show)


def _count(text: str) -> int:
    value = int(text, 0)
    if value < 0:
        raise ValueError(text)
    return value
