# SPDX-License-Identifier: GPL-2.0-only
"""What several commands share: engine options, tables, JSON, progress."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from tabulate import tabulate
from tqdm import tqdm

from ..engines.interface import Engine
from ..engines.native import native
from ..engines.reference import reference
from ..engines.switches import RULES


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose an engine."""
    group = parser.add_argument_group("engine")
    group.add_argument(
        "--rules", choices=RULES, default="cow", help="whose semantics apply (default: cow)"
    )
    group.add_argument(
        "--shstk",
        action=argparse.BooleanOptionalAction,
        help="the processor has shadow stacks (default: on where the rules know them)",
    )
    group.add_argument(
        "--config",
        action=argparse.BooleanOptionalAction,
        help="built with CONFIG_X86_SHADOW_STACK (default: on where the rules know it)",
    )
    group.add_argument(
        "--engine",
        choices=("native", "reference"),
        default="native",
        help="who computes (default: native)",
    )


def engine_of(args: argparse.Namespace) -> Engine:
    """Return the engine that the options name."""
    make = native if args.engine == "native" else reference
    return make(args.rules, args.shstk, args.config)


def parse_number(text: str, what: str) -> int:
    """Return an int in any of Python's notations; ValueError says what it was for."""
    try:
        return int(text, 0)
    except ValueError:
        raise ValueError(f"{what}: {text!r} is no number; write 123 or 0x7b") from None


def print_table(rows: Iterable[Sequence[Any]], headers: Sequence[str]) -> None:
    """Print a plain table: text to the left, numbers to the right, thousands grouped."""
    print(tabulate(rows, headers=headers, tablefmt="simple", intfmt=","))


def print_json(value: Any) -> None:
    """Print one JSON document."""
    json.dump(value, sys.stdout, indent=2)
    print()


def progress(total: int | None, unit: str, what: str) -> tqdm:
    """Return a progress bar on a terminal, and nothing elsewhere."""
    return tqdm(
        total=total,
        unit=unit,
        unit_scale=True,
        desc=what,
        file=sys.stderr,
        disable=not sys.stderr.isatty(),
        leave=False,
    )
