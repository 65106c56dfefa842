# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable decode``: what single entries say."""

from __future__ import annotations

import argparse
from typing import Any

from .. import bits
from ..checks.followed_rules import recognise
from ..checks.report import wrap
from ..engines import buffers
from ..engines.interface import Engine
from ..engines.switches import RULES, resolve
from ..kernels import Kernel, find
from .common import (
    add_kernel_options,
    engine_of,
    kernel_lines,
    kernel_of,
    parse_number,
    print_json,
)
from .ranges import wrapped

HELP = "print every bit of entries by name, their frame and their state"
EXAMPLES = """\
  pgtable decode 0x8000000000000867
  pgtable decode 8000000000000867
  pgtable decode --level pmd --rules saved_dirty 0x84000000000008a5
  pgtable decode --no-shstk 0x8000000000000065
  pgtable decode --kernel 4.15.0-29-generic 0x2460002
  pgtable decode --engine ~/linux 0x8000000000000865
  dmesg | pgtable decode --from -
  dmesg | pgtable decode --from - --physical-bits 39

--from reads what kernels and tools print: crash's pte, vtop and rd, QEMU's info
tlb and xp, gdb's x/gx, page_tables files and W+X warnings, the PGD ... PTE line
of an oops, Bad page map reports, and bare numbers, one a line.  Prefixes, mail
quoting, wrapped lines and colours do not matter.  What the text says of an entry
(error code, registers, kernel version) is compared with its bits.

An ENTRY without 0x is hexadecimal where it has 16 digits, a letter or a leading
zero.  Digits that could be decimal as well (867) are refused: write 0x867.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "entries",
        metavar="ENTRY",
        nargs="*",
        help="an entry: 0x867, or as kernels print it: 8000000000000867",
    )
    parser.add_argument(
        "--from", dest="text", metavar="FILE", help="text with entries in it; - is standard input"
    )
    parser.add_argument(
        "--level",
        choices=bits.LEVELS,
        default="pte",
        help="level of the entries, if the text does not say it (default: pte)",
    )
    parser.add_argument(
        "--rules",
        choices=RULES,
        help="the rule set to use (default: cow; of a text, those of the kernel that it names)",
    )
    add_kernel_options(parser)
    parser.add_argument(
        "--shstk",
        action=argparse.BooleanOptionalAction,
        help="the processor has shadow stacks (default: on where the rules know them)",
    )
    parser.add_argument(
        "--engine",
        metavar="{native,reference,TREE}",
        help="also list which tests of this engine are true for an entry; a TREE is a directory"
        " of kernel headers, with switches as 'pgtable kernel --help' tells, and has the"
        " rules that it follows",
    )
    parser.add_argument(
        "--physical-bits",
        type=int,
        metavar="N",
        help="with --from: width of physical addresses (32 to 52), for reserved bits",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(config=None)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    args.rules_given = args.rules
    args.known = kernel_of(args)
    args.rules = args.rules or (args.known.rules if args.known else "cow")
    resolve(args.rules, args.shstk, None)
    args.asked = _asked(args)
    if args.text is not None:
        if args.entries:
            raise ValueError("--from has the entries; name no others beside it")
        from .decode_text import run_text  # noqa: PLC0415 - it prints with what is below

        return run_text(args)
    if args.physical_bits is not None:
        raise ValueError("--physical-bits is for a text; name one with --from")
    if not args.entries:
        raise ValueError("no entries; name some, or a text with --from")
    entries = [buffers.as_int(parse_number(text, "entry"), "entry") for text in args.entries]
    found = [
        bits.decode(entry, args.level, args.rules, args.shstk, kernel=args.known)
        for entry in entries
    ]
    if args.json:
        print_json([as_dict(decoded, args.asked) for decoded in found])
        return 0
    print("\n\n".join(text(decoded, args.asked) for decoded in found))
    if args.known is not None:
        # what it assumes stands with each entry
        print("\n" + wrapped(kernel_lines(args.known)[0]))
    return 0


def _asked(args: argparse.Namespace) -> Engine | None:
    """Return the engine whose tests are asked; a tree's rules are those that it follows."""
    if args.engine is None:
        return None
    engine = engine_of(args, forms=False)
    if args.engine not in ("native", "reference"):
        args.rules, args.shstk, _ = recognise(engine).switches
        args.rules_given = args.rules
        if args.known is None:
            args.known = _kernel_of_tree(engine, args.rules)
    return engine


def _kernel_of_tree(engine: Engine, rules: str) -> Kernel | None:
    """Return the kernel that a tree says it is; None where its release is none that is known."""
    try:
        return find(getattr(engine, "release", ""), rules=rules, origin=f"the tree {engine.name}")
    except ValueError:
        return None


def _true_tests(engine: Engine, decoded: bits.Decoded) -> list[str]:
    return [
        helper.name
        for helper in engine.helpers.values()
        if helper.kind == "test" and helper.info.takes == decoded.level and not helper.argument
        if helper(decoded.entry)
    ]


def as_dict(decoded: bits.Decoded, asked: Engine | None) -> dict[str, Any]:
    """Return an entry as plain values, with the tests that are true to an engine."""
    tests = {} if asked is None else {"engine": asked.name, "true": _true_tests(asked, decoded)}
    return decoded.as_dict() | tests


def frame_line(frame: int) -> str:
    """Return the line of a frame number."""
    return f"  frame   {frame:#x} (physical address {frame << 12:#x})"


def text(decoded: bits.Decoded, asked: Engine | None = None) -> str:
    """Return the lines that a person reads, with the tests that are true to an engine."""
    of = f", Linux {decoded.kernel}" if decoded.kernel else ""
    lines = [f"{decoded.entry:#018x}  {decoded.level}, rules {decoded.rules}{of}"]
    lines.append(f"  kind    {decoded.kind_text}")
    if decoded.state is not None:
        lines.append(f"  state   {decoded.state}")
    lines.append(f"          {decoded.state_class.text}")
    if decoded.state_class.unknown:
        lines.append(f"          cannot be known: {decoded.state_class.unknown}")
    if decoded.frame is not None:
        lines.append(frame_line(decoded.frame))
    if decoded.swap_type is not None:
        special = f": {decoded.special}" if decoded.special else ""
        lines.append(
            f"  swap    type {decoded.swap_type}, offset {decoded.swap_offset:#x}{special}"
        )
    if decoded.pkey is not None:
        lines.append(f"  pkey    {decoded.pkey}")
    lines += [f"  bit {bit.number:2}  {bit.name:12} {bit.meaning}" for bit in decoded.bits]
    lines += [wrap(note, "  note    ", " " * 10) for note in decoded.notes]
    if asked is not None:
        tests = ", ".join(_true_tests(asked, decoded)) or "no test"
        lines.append(wrap(f"{tests}, says {asked.name}", "  true    ", " " * 10))
    return "\n".join(lines)
