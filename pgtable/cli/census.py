# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable census``: count the entries of a file by kind, state and flag."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from .. import bits
from ..census import Census, Counter
from ..engines.interface import Engine
from ..engines.switches import Switches, resolve
from ..files import open_entries
from .common import add_engine_options, engine_of, print_json, print_table, progress

HELP = "count the entries of a file: kinds, states, flags"
EXAMPLES = """\
  pgtable census dump.bin
  pgtable census dump.npy --rules saved_dirty --json
  pgtable census tables.bin --level pmd

Flags and states are of present leaf entries: in others the bits mean other
things.  Tests are every test helper of the rules, asked of every entry.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("input", metavar="IN", help="file of entries: raw or .npy, also .xz")
    parser.add_argument(
        "--level",
        choices=("pte", "pmd", "pud"),
        default="pte",
        help="level of the entries (default: pte)",
    )
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="counting threads; 0: all processors"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_engine_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    engine = engine_of(args)
    counter = Counter()
    with open_entries(args.input) as source:
        total = None if source.entries is None else source.entries * 8
        with progress(total, "B", "census") as bar:
            for chunk in source.chunks():
                counter.add(chunk, threads=args.threads)
                bar.update(chunk.nbytes)
    report = summary(
        counter.census(), engine, args.level, resolve(args.rules, args.shstk, args.config)
    )
    if args.json:
        print_json({"input": args.input, **report})
    else:
        _print(args.input, report)
    return 0


def summary(census: Census, engine: Engine, level: str, switches: Switches) -> dict[str, Any]:
    """Return every count of a census of entries of one level."""
    rules, shstk, config = switches
    kinds = np.array([bits.kind(int(entry), level) for entry in census.entries], dtype=object)
    leaves = census.where(kinds == bits.LEAF)
    states = bits.state_code(leaves.entries, rules, config)
    flags: dict[str, int] = {}
    for entry, count in zip(leaves.entries.tolist(), leaves.counts.tolist(), strict=True):
        for bit in bits.named_bits(entry, level, rules, config):
            if bit.number not in _STAND_INS:
                name = f"{bit.number:2} {bit.name}"
                flags[name] = flags.get(name, 0) + count
    return {
        "engine": engine.name,
        "level": level,
        "rules": rules,
        "shstk": shstk,
        "config": config,
        "entries": census.total,
        "kinds": {kind: int(census.counts[kinds == kind].sum()) for kind in bits.KINDS},
        "states": {
            name: int(leaves.counts[states == code].sum()) for code, name in enumerate(bits.STATES)
        },
        "flags": dict(sorted(flags.items())),
        "tests": {
            helper.name: census.count(helper)
            for helper in engine.helpers.values()
            if helper.kind == "test" and helper.level == level and not helper.argument
        },
    }


#: Bits of a stand-in that say "one of several" and have no name of their own.
_STAND_INS = (30, 52)


def _lettered(report: dict[str, Any]) -> dict[str, int]:
    """Return the states with the letters of what they may be."""
    counts = {}
    for code, (name, count) in enumerate(report["states"].items()):
        leaf = bits.PRESENT | bits.PSE | (code >> 2) << 1 | (code >> 1 & 1) << 6 | (code & 1) << 58
        letters = bits.classify(
            leaf, report["level"], report["rules"], report["shstk"], report["config"]
        ).letters
        counts[" or ".join([name, *letters]).replace(" or ", " ", 1)] = count
    return counts


def _print(name: str, report: dict[str, Any]) -> None:
    total = report["entries"]
    print(f"{name}: {total:,} {report['level']} entries, {report['engine']}\n")
    rows: list[list[Any]] = []
    for title, counts, of in (
        ("kind", report["kinds"], total),
        ("state of leaves", _lettered(report), report["kinds"][bits.LEAF]),
        ("flag of leaves", report["flags"], report["kinds"][bits.LEAF]),
        ("test", report["tests"], total),
    ):
        shown = {key: count for key, count in counts.items() if count}
        for number, (key, count) in enumerate(shown.items()):
            rows.append(["" if number else title, key, count, f"{count / of:7.2%}"])
    print_table(rows, ["", "", "entries", "share"])
