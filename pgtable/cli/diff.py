# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable diff``: what changed between two images of one machine."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .. import bits
from ..engines.switches import RULES
from ..images.diff import LEVEL_NAMES, Diff, OneSided, Transition, diff
from .common import parse_number, print_json
from .image_options import (
    IMAGE_HELP,
    add_image_options,
    describe_walk,
    open_from,
    print_kernel,
    walk_as_dict,
    walk_from,
)
from .ranges import address_range, count, plural, size_text, wrapped
from .walk import add_all_option, add_threads_option
from .working import Working

HELP = "compare the page tables of two memory images of one machine"
EXAMPLES = """\
  pgtable diff before.vmcore after.vmcore
  pgtable diff vmcore vmcore --cpu 0 --cpu-after 1 --ranges 20
  pgtable diff before.raw after.raw --all
  pgtable diff before.raw after.raw --root 0x2a10000 --kernel 6.8.0-45-generic
  pgtable diff before.vmcore after.vmcore --rules base --longest 3 --json

Each transition names the helpers that turn the one entry into the other, found
by running them; several are listed if the entries cannot tell which it was.
Images of two boots, kernels or processes are warned about first.
Exit code 1: something differs.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("before", metavar="BEFORE", help=IMAGE_HELP)
    parser.add_argument("after", metavar="AFTER", help="the same machine later")
    parser.add_argument(
        "--rules",
        choices=RULES,
        help="the rules of the kernel (default: recognised from the entries)",
    )
    parser.add_argument(
        "--longest",
        type=int,
        default=2,
        choices=(1, 2, 3),
        help="how many helpers in a row may explain a transition (default: 2)",
    )
    parser.add_argument(
        "--ranges", type=count, default=10, metavar="N", help="rows of each table (default: 10)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with all ranges")
    parser.add_argument("--root-after", metavar="CR3", help="--root in AFTER (default: the same)")
    parser.add_argument(
        "--cpu-after", type=int, metavar="N", help="--cpu in AFTER (default: the same)"
    )
    add_all_option(parser, "compare")
    add_threads_option(parser)
    parser.add_argument(
        "--space-after", metavar="N|PA|kernel", help="--space in AFTER (default: the same root)"
    )
    add_image_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if args.all:
        from .diff_all import diff_all_spaces  # noqa: PLC0415 - it needs this module

        return diff_all_spaces(args)
    with Working("diff") as working:
        with open_from(args.before, args) as old:
            before = walk_from(old, args, working.progress)
        _name_after(args, before.root.pa)
        with open_from(args.after, args) as new:
            after = walk_from(new, args, working.progress)
        found = diff(before, after, rules=args.rules, longest=args.longest, images=(old, new))
    if args.json:
        report = {
            "before": {"image": args.before, **walk_as_dict(before)},
            "after": {"image": args.after, **walk_as_dict(after)},
        }
        print_json({**report, **found.as_dict()})
    else:
        print(f"before: {args.before}: {describe_walk(before)}")
        print(f"after:  {args.after}: {describe_walk(after)}")
        print_kernel(after)
        print_diff(found, args.ranges)
    return 1 if found.differs else 0


def _name_after(args: argparse.Namespace, root: int) -> None:
    """Make the options name what is walked in AFTER; root: what was walked in BEFORE."""
    if args.space is not None or args.pid is not None:
        args.root, args.space, args.pid = root, None, None
    if args.space_after is not None:
        args.root, args.space = None, args.space_after
    if args.root_after is not None:
        args.root = parse_number(args.root_after, "--root-after")
    args.cpu = args.cpu if args.cpu_after is None else args.cpu_after


def print_diff(found: Diff, rows: int, warn: bool = True) -> None:
    """Print what differs between two walks, so many rows of each table."""
    for warning in found.warnings if warn else ():
        print(wrapped(warning, "", "warning: "))
    print(wrapped(found.recognised.text))
    rules = found.recognised.rules or "cow"
    appeared, vanished = (_total(side) for side in (found.appeared, found.vanished))
    print(f"\n{found.same:,} the same, {found.changed:,} changed, {appeared:,} appeared,", end=" ")
    print(f"{vanished:,} vanished")
    if found.states:
        print("\nstates of leaves that changed:")
    for (before, after), entries in found.states.items():
        print(f"  {before} -> {after} {entries:11,}")
    _print_transitions(found, rules, rows)
    _print_ranges(found, rows)
    _print_one_sided("appeared", found.appeared)
    _print_one_sided("vanished", found.vanished)
    _print_dirtied(found, rows)


def _total(sides: Sequence[OneSided]) -> int:
    return sum(side.entries for side in sides)


def _print_transitions(found: Diff, rules: str, rows: int) -> None:
    if found.transitions:
        print(f"\ntransitions ({found.engine}):")
    for number, change in enumerate(found.transitions[:rows], 1):
        half = "kernel" if change.kernel else "user"
        level = LEVEL_NAMES[change.level]
        print(f"\n{number:3}. {plural(change.entries, 'entry', 'entries')}, {half} {level}")
        before = _state(change.before, change.kind_before, level, rules)
        print(f"     {before} -> {_state(change.after, change.kind_after, level, rules)}")
        print(wrapped(_flags(change, level, rules), "     "))
        for line in _explanations(change):
            print(wrapped(line, "     "))
    _print_more(len(found.transitions), rows, "transition")


def _state(entry: int, kind: str, level: str, rules: str) -> str:
    if kind == "leaf":
        return bits.state(entry, rules)
    return f"{kind} {entry:#x}"


def _flags(change: Transition, level: str, rules: str) -> str:
    """Say which flags went and came."""
    if {change.kind_before, change.kind_after} <= _SWAPPED:
        return f"{change.before:#x} -> {change.after:#x}"
    moved = change.before ^ change.after
    parts = []
    for word, entry in (("cleared", change.before), ("set", change.after)):
        named = bits.named_bits(entry, level, rules)
        names = [bit.name for bit in named if moved >> bit.number & 1]
        if names:
            parts.append(f"{word} {'|'.join(names)}")
    return "; ".join(parts) or "the same flags"


_SWAPPED = {"swap", "migration", "marker"}


def _explanations(change: Transition) -> list[str]:
    if not change.same_frame:
        return ["another frame: mapped anew, no helper does that"]
    if not change.explanations:
        return ["no helper, and no short chain of them, does that"]
    return [f"as by {chain}" for chain in change.explanations]


def _print_ranges(found: Diff, rows: int) -> None:
    if len(found.ranges.start):
        print("\nchanged, by address (entries, number of the transition):")
    numbers = found.ranges_transition[:rows].tolist()
    for (start, end, _, members), number in zip(found.ranges.rows(rows), numbers, strict=True):
        level = LEVEL_NAMES[found.transitions[number].level]
        print(f"  {address_range(start, end)} {members:9,} {level}  {number + 1}.")
    _print_more(len(found.ranges.start), rows, "range")


def _print_one_sided(what: str, sides: Sequence[OneSided]) -> None:
    for side in sides:
        half = "kernel" if side.kernel else "user"
        entries = plural(side.entries, "entry", "entries")
        ranges = plural(len(side.ranges.start), "range")
        first = f"{int(side.ranges.start[0]):016x}"
        print(
            f"{what}: {half} {LEVEL_NAMES[side.level]} {side.kind}: {entries} in {ranges}"
            f" from {first}"
        )


def _print_dirtied(found: Diff, rows: int) -> None:
    written = found.dirtied
    print(f"\nwritten since: {size_text(written.size)}", end="")
    print(f" in {plural(written.entries, 'leaf', 'leaves')}", end="")
    print(
        f" (soft-dirty {written.soft_dirty:,}, Dirty {written.dirty:,}, Cow {written.cow:,},"
        f" new and dirty {written.appeared:,})"
    )
    for start, end, _, members in written.ranges.rows(rows):
        print(f"  {address_range(start, end)} {members:9,}")
    _print_more(len(written.ranges.start), rows, "range")


def _print_more(there: int, shown: int, what: str) -> None:
    if there > shown:
        print(f"  ... {plural(there - shown, f'more {what}')} (--ranges, --json)")
