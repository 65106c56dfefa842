# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable audit``: what should not be in an address space."""

from __future__ import annotations

import argparse

from .. import bits
from ..engines.switches import RULES
from ..images.audit import Audit, Finding, audit_image
from ..images.diff import LEVEL_NAMES
from .common import parse_number, print_json
from .image_options import (
    IMAGE_HELP,
    add_image_options,
    describe_walk,
    open_from,
    print_kernel,
    walk_as_dict,
)
from .ranges import address_range, count, plural, size_text, wrapped
from .walk import add_all_option, add_threads_option, kernel_named, root_arguments
from .working import Working

HELP = "find in a memory image entries that should not be there"
EXAMPLES = """\
  pgtable audit vmcore
  pgtable audit vmcore --cpu 1 --physical-bits 46 --json
  pgtable audit ram.raw --all
  pgtable audit ram.bin --root 0x544e000 --rules base
  pgtable audit ram.bin --root 0x544e000 --kernel 6.1.0-56-amd64
  pgtable audit vmcore --memory 0-0xa0000 --memory 0x100000-0x7ffe0000

Without --rules and --kernel the rule set is recognised from the entries; the
evidence is printed.  Exit code 1: there are findings that are more than a note.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("image", metavar="IMAGE", help=IMAGE_HELP)
    parser.add_argument(
        "--rules",
        choices=RULES,
        help="the rules of the kernel (default: recognised from the entries)",
    )
    parser.add_argument(
        "--memory",
        action="append",
        metavar="START-END",
        help="physical memory of the machine (default: what the image holds, if that is all:"
        " a dump that was filtered does not say); may be repeated",
    )
    parser.add_argument(
        "--physical-bits", type=int, metavar="N", help="width of physical addresses, from CPUID"
    )
    parser.add_argument(
        "--ranges", type=count, default=8, metavar="N", help="ranges to print of each (default: 8)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with all ranges")
    add_all_option(parser, "audit")
    add_threads_option(parser)
    add_image_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    memory = None if args.memory is None else [_range(text) for text in args.memory]
    if args.all:
        from .audit_all import audit_all_spaces  # noqa: PLC0415 - it needs this module

        return audit_all_spaces(args, memory)
    with Working("audit") as working, open_from(args.image, args) as image:
        found, walk = audit_image(
            image,
            image.root(**root_arguments(args, image)),
            rules=args.rules,
            memory=memory,
            physical_bits=args.physical_bits,
            kernel=kernel_named(image, args),
            threads=args.threads,
            progress=working.progress,
        )
    if args.json:
        print_json({"image": args.image, "walk": walk_as_dict(walk), **found.as_dict()})
    else:
        print(f"{args.image}: {describe_walk(walk)}")
        print_kernel(walk)
        _print(found, args.ranges)
    return 1 if found.faults else 0


def _range(text: str) -> tuple[int, int]:
    start, dash, end = text.partition("-")
    if not dash:
        raise ValueError(f"--memory: {text!r} is not START-END")
    return parse_number(start, "--memory"), parse_number(end, "--memory")


def _print(found: Audit, ranges: int) -> None:
    print(wrapped(found.recognised.text))
    print(wrapped(found.recognised.evidence, "  "))
    for finding in found.findings:
        print()
        print_finding(finding, found.recognised.rules or "cow", ranges)
    print()
    notes = len(found.findings) - found.faults
    print(f"{plural(found.faults, 'finding')}, {plural(notes, 'note')}")
    for rule, why in found.skipped:
        print(wrapped(why, "  ", f"not applied: {rule.id}: "))
    for limit in found.limits:
        print(wrapped(limit, "  ", "note: "))


def print_finding(finding: Finding, rules: str, ranges: int, where: str = "") -> None:
    """Print a finding with so many ranges; where: in which spaces it is."""
    rule = finding.rule
    print(wrapped(rule.sentence, "", f"{rule.severity.upper()}  {rule.id}: "))
    print(wrapped(rule.follows, "  ", "rule: "))
    print(f"  applies to: {rule.kernels}")
    if where:
        print(wrapped(where, "  ", "in: "))
    entries = plural(finding.entries, "entry", "entries")
    print(
        f"  {entries}, {size_text(finding.size)} in {plural(len(finding.ranges.start), 'range')}:"
    )
    for start, end, first, members in finding.ranges.rows(ranges):
        entry, level = int(finding.entry[first]), LEVEL_NAMES[finding.level[first]]
        state = bits.state(entry, rules)
        print(f"  {address_range(start, end)} {members:7,} {level} {state}")
        if first == 0:
            print(wrapped(bits.describe_bits(entry, level, rules), "      ", f"{entry:#018x} "))
    if finding.partner is not None:
        there = ", ".join(f"{space.root:#x}" for space in finding.partner_spaces[:1])
        print(
            f"      the first is executable at {finding.partner:016x}"
            + (f" in the space at {there}" if there and len(finding.partner_spaces) == 1 else "")
        )
    more = len(finding.ranges.start) - ranges
    if more > 0:
        print(f"  ... {plural(more, 'more range')} (--ranges, --json)")
