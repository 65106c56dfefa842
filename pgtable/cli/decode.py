# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable decode``: what single entries say."""

from __future__ import annotations

import argparse
from typing import Any

from .. import bits
from ..checks.recognise import recognise
from ..checks.report import wrap
from ..engines import buffers
from ..engines.interface import Engine
from ..engines.switches import RULES, resolve
from ..images.region_census import state_text
from ..images.text import Record
from .common import add_kernel_options, engine_of, kernel_of, parse_number, print_json
from .ranges import wrapped
from .text_input import read_text, remarks

HELP = "print every bit of entries by name, their frame and their state"
EXAMPLES = """\
  pgtable decode 0x8000000000000867
  pgtable decode 8000000000000867
  pgtable decode --level pmd --rules saved_dirty 0x84000000000008a5
  pgtable decode --no-shstk 0x8000000000000065
  pgtable decode --kernel 4.15.0-29-generic 0x2460002
  pgtable decode --engine ~/linux 0x8000000000000865
  dmesg | pgtable decode --from -

--from reads what kernels and tools print: crash's pte and vtop, QEMU's info
tlb, page_tables files, the PGD ... PTE line of an oops, Bad page map reports,
and bare numbers, one a line.

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
        help="level of the entries, where it is not known (default: pte)",
    )
    parser.add_argument("--rules", choices=RULES, help="whose semantics apply (default: cow)")
    add_kernel_options(parser)
    parser.add_argument(
        "--shstk",
        action=argparse.BooleanOptionalAction,
        help="the processor has shadow stacks (default: on where the rules know them)",
    )
    parser.add_argument(
        "--engine",
        metavar="{native,reference,TREE}",
        help="list as well which of its tests are true of an entry; a TREE is a directory of"
        " kernel headers, with switches as 'pgtable kernel --help' tells, and has the rules"
        " that it follows",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(config=None)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    args.known = kernel_of(args)
    args.rules = args.rules or (args.known.rules if args.known else "cow")
    resolve(args.rules, args.shstk, None)
    args.asked = _asked(args)
    if args.text is not None:
        if args.entries:
            raise ValueError("--from has the entries; name no others beside it")
        return _run_text(args)
    if not args.entries:
        raise ValueError("no entries; name some, or a text with --from")
    entries = [buffers.as_int(parse_number(text, "entry"), "entry") for text in args.entries]
    found = [
        bits.decode(entry, args.level, args.rules, args.shstk, kernel=args.known)
        for entry in entries
    ]
    if args.json:
        print_json([_dict(decoded, args.asked) for decoded in found])
        return 0
    print("\n\n".join(text(decoded, args.asked) for decoded in found))
    return 0


def _asked(args: argparse.Namespace) -> Engine | None:
    """Return the engine whose tests are asked; a tree's rules are those that it follows."""
    if args.engine is None:
        return None
    engine = engine_of(args, forms=False)
    if args.engine not in ("native", "reference"):
        args.rules, args.shstk, _ = recognise(engine).switches
    return engine


def _true_tests(engine: Engine, decoded: bits.Decoded) -> list[str]:
    return [
        helper.name
        for helper in engine.helpers.values()
        if helper.kind == "test" and helper.info.takes == decoded.level and not helper.argument
        if helper(decoded.entry)
    ]


def _dict(decoded: bits.Decoded, asked: Engine | None) -> dict[str, Any]:
    tests = {} if asked is None else {"engine": asked.name, "true": _true_tests(asked, decoded)}
    return decoded.as_dict() | tests


def _run_text(args: argparse.Namespace) -> int:
    read = read_text(args.text)
    if args.json:
        print_json(
            {
                "lost": read.lost,
                "notes": read.notes,
                "ignored_lines": read.ignored,
                "entries": [_record_dict(record, args) for record in read.records],
            }
        )
        return 0
    for record in read.records:
        print(_record_text(record, args))
        print()
    for remark in remarks(read):
        print(wrapped(remark))
    return 0


#: Frame bits of every size of page: known all together or not at all.
_FRAME = bits.LEAF_FRAME["pud"]


def _decode_record(record: Record, args: argparse.Namespace) -> bits.Decoded:
    level = bits.LEVELS[record.level - 1] if record.level else args.level
    return bits.decode(record.entry, level, args.rules, args.shstk, kernel=args.known, va=record.va)


def _record_dict(record: Record, args: argparse.Namespace) -> dict[str, Any]:
    known = record.known == bits.ALL
    decoded = _dict(_decode_record(record, args), args.asked if known else None)
    if not known:
        decoded.update(state=state_text(record.entry, record.known, args.rules))
        decoded.update(may_be=None, text=None, unknown="not all bits are printed")
        if not record.known & _FRAME:
            decoded.update(frame=None, address=None)
    return {
        "line": record.line,
        "format": record.format,
        "va": None if record.va is None else f"{record.va:#x}",
        "count": record.count,
        "known": f"{record.known:#018x}",
        "level_known": record.level != 0,
        "note": record.note,
        **decoded,
    }


def _record_text(record: Record, args: argparse.Namespace) -> str:
    decoded = _decode_record(record, args)
    place = "at an address not printed" if record.va is None else f"at {record.va:016x}"
    head = f"line {record.line}, {record.format}: {decoded.level} {place}"
    if record.count > 1:
        head += f" and {record.count - 1:,} more like it"
    if not record.level:
        head += "\n  level   not printed: taken for a " + decoded.level
    if record.note:
        head += f"\n  note    {record.note}"
    if record.known == bits.ALL:
        return f"{head}\n{text(decoded, args.asked)}"
    lines = [head, f"  state   {state_text(record.entry, record.known, args.rules)}"]
    if record.known & _FRAME and decoded.frame is not None:
        lines.append(_frame_line(decoded.frame))
    lines += [f"  bit {bit.number:2}  {bit.name:12} {bit.meaning}" for bit in decoded.bits]
    return "\n".join(lines)


def _frame_line(frame: int) -> str:
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
        lines.append(_frame_line(decoded.frame))
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
