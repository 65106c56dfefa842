# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable bench compare``: which differences between two results are real."""

from __future__ import annotations

import argparse

from ..cost import result_files
from ..cost.compare_runs import THRESHOLD, CostComparison, CostDifference, compare, describe
from ..cost.result_files import Row, row_text
from .common import print_json, print_table

HELP = "compare two saved results: which differences are real"
EXAMPLES = """\
  pgtable bench compare before.json after.json
  pgtable bench compare before.json after.json --threshold 5 || echo slower
  pgtable bench compare before.json after.json --all --json

A difference is real if its interval lies beyond the threshold; intervals of this
decision are wide enough for all rows together (Holm), those shown are 95 % each.
Exit code 1: something is really slower.  2: nothing could be compared.
"""

_HEADERS = ("helper", "engine", "mix, shape", "compiled", "ns", "ns after", "ratio", "")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("before", metavar="A.json", help="as 'pgtable bench --save' writes it")
    parser.add_argument("after", metavar="B.json", help="the same, measured later or elsewhere")
    parser.add_argument(
        "--threshold",
        type=float,
        default=THRESHOLD,
        metavar="PCT",
        help=f"a difference within so many percent counts as none (default: {THRESHOLD:g})",
    )
    parser.add_argument("--all", action="store_true", help="show every row, not what differs")
    parser.add_argument("--json", action="store_true", help="print JSON, with every row")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    before, after = result_files.load(args.before), result_files.load(args.after)
    found = compare(before, after, args.threshold)
    if args.json:
        print_json(found.as_dict())
    else:
        _print(found, args)
    return 1 if found.slower else 0


def _print(found: CostComparison, args: argparse.Namespace) -> None:
    for note in found.notes:
        print(f"note: {note}")
    for path, rows in ((args.before, found.only_before), (args.after, found.only_after)):
        if rows:
            print(f"note: only in {path}: {_some(rows)}")
    shown: list[CostDifference] = (
        found.differences if args.all else [*found.slower, *reversed(found.quicker)]
    )
    if shown:
        print_table([describe(one) for one in shown], _HEADERS)
        print()
    same = len(found.differences) - len(found.slower) - len(found.quicker)
    noisy = sum(one.before.summary.noisy or one.after.summary.noisy for one in found.differences)
    print(
        f"{len(found.differences):,} compared: {len(found.slower):,} slower,"
        f" {len(found.quicker):,} quicker, {same:,} not told apart by more than"
        f" {found.threshold:g} %; {noisy:,} noisy"
    )
    agreement = found.agreement()
    agree = sum(part for part, _ in agreement.values())
    print(f"{agree:,} of {len(found.differences):,} agree within their intervals")


def _some(rows: list[Row]) -> str:
    more = f", and {len(rows) - 1:,} more" if len(rows) > 1 else ""
    return row_text(rows[0].params) + more
