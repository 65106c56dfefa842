# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable diff --all``: what changed in every address space between two moments."""

from __future__ import annotations

import argparse

from ..images.diff_spaces import SpacesDiff, diff_spaces
from ..images.spaces.model import Space
from .common import print_json, print_table
from .diff import print_diff
from .image_options import open_from
from .ranges import plural, size_text, wrapped
from .walk import kernel_named, refuse_one_space
from .working import Working


def diff_all_spaces(args: argparse.Namespace) -> int:
    """Run the command on all spaces."""
    refuse_one_space(args, "root_after", "cpu_after", "space_after")
    with (
        Working("diff"),
        open_from(args.before, args) as old,
        open_from(args.after, args) as new,
    ):
        kernel = kernel_named(new, args)
        found = diff_spaces(
            old, new, rules=args.rules, longest=args.longest, kernel=kernel, c_bit=args.c_bit
        )
    if args.json:
        print_json({"before": args.before, "after": args.after, **found.as_dict()})
    else:
        print(f"before: {args.before}")
        print(f"after:  {args.after}")
        _print(found, args.ranges)
    return 1 if found.differs else 0


def _print(found: SpacesDiff, rows: int) -> None:
    for warning in found.warnings:
        print(wrapped(warning, "", "warning: "))
    spaces = len({pair.space.root for pair in found.pairs if pair.space is not None})
    print(f"{plural(spaces, 'address space')} in both\n")
    cells = []
    for pair in found.pairs:
        sides = (pair.diff.appeared, pair.diff.vanished)
        moved = [sum(one.entries for one in side) for side in sides]
        numbers = [pair.diff.same, pair.diff.changed, *moved]
        written = size_text(pair.diff.dirtied.size)
        cells.append([pair.name, pair.half, *(f"{number:,}" for number in numbers), written])
    headers = ["root", "half", "same", "changed", "appeared", "vanished", "written since"]
    print_table(cells, headers, ["right", "left", *["right"] * 5])
    for what, side in (("appeared", found.appeared), ("vanished", found.vanished)):
        _print_spaces(what, side)
    for pair in found.pairs:
        if pair.diff.differs:
            print(f"\n== {pair.half} half of {pair.name}")
            print_diff(pair.diff, rows, warn=False)
    for note in dict.fromkeys(found.notes):
        print(wrapped(note, "", "note: "))


def _print_spaces(what: str, spaces: list[Space]) -> None:
    if spaces:
        print(f"\n{plural(len(spaces), 'address space')} {what}:")
    for space in spaces:
        print(f"  {space.root:#x} {space.kind}, {plural(space.user_leaves, 'leaf', 'leaves')}")
