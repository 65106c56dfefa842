# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable decode``: what single entries say."""

from __future__ import annotations

import argparse

from .. import bits
from ..engines import buffers
from ..engines.switches import RULES, resolve
from .common import parse_number, print_json

HELP = "print every bit of entries by name, their frame and their state"
EXAMPLES = """\
  pgtable decode 0x8000000000000867
  pgtable decode --level pmd --rules saved_dirty 0x84000000000008a5
  pgtable decode --no-shstk 0x8000000000000065
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("entries", metavar="ENTRY", nargs="+", help="an entry, as 0x... or decimal")
    parser.add_argument(
        "--level", choices=bits.LEVELS, default="pte", help="level of the entries (default: pte)"
    )
    parser.add_argument(
        "--rules", choices=RULES, default="cow", help="whose semantics apply (default: cow)"
    )
    parser.add_argument(
        "--shstk",
        action=argparse.BooleanOptionalAction,
        help="the processor has shadow stacks (default: on where the rules know them)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    resolve(args.rules, args.shstk, None)
    entries = [buffers.as_int(parse_number(text, "entry"), "entry") for text in args.entries]
    found = [bits.decode(entry, args.level, args.rules, args.shstk) for entry in entries]
    if args.json:
        print_json([decoded.as_dict() for decoded in found])
        return 0
    print("\n\n".join(text(decoded) for decoded in found))
    return 0


def text(decoded: bits.Decoded) -> str:
    """Return the lines that a person reads."""
    lines = [f"{decoded.entry:#018x}  {decoded.level}, rules {decoded.rules}"]
    lines.append(f"  kind    {decoded.kind_text}")
    if decoded.state is not None:
        lines.append(f"  state   {decoded.state}")
    lines.append(f"          {decoded.state_class.text}")
    if decoded.state_class.unknown:
        lines.append(f"          cannot be known: {decoded.state_class.unknown}")
    if decoded.frame is not None:
        lines.append(f"  frame   {decoded.frame:#x} (physical address {decoded.frame << 12:#x})")
    if decoded.swap_type is not None:
        lines.append(f"  swap    type {decoded.swap_type}, offset {decoded.swap_offset:#x}")
    if decoded.pkey is not None:
        lines.append(f"  pkey    {decoded.pkey}")
    lines += [f"  bit {bit.number:2}  {bit.name:12} {bit.meaning}" for bit in decoded.bits]
    return "\n".join(lines)
