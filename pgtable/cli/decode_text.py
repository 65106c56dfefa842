# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable decode --from``: what the entries of a text say, beside what the text says of them."""

from __future__ import annotations

import argparse
from typing import Any

from .. import bits
from ..checks.report import wrap
from ..images.region_census import state_text
from ..images.text import Record, Text
from ..images.text.judge import judge
from ..images.text.meaning import Meaning, kernel_named, mean
from .common import print_json
from .decode import as_dict, frame_line, text
from .ranges import wrapped
from .text_input import read_text, remarks

#: Frame bits of every size of page: known all together or not at all.
_FRAME = bits.LEAF_FRAME["pud"]


def run_text(args: argparse.Namespace) -> int:
    """Decode what ``args.text`` names; ``-`` is standard input."""
    read = read_text(args.text)
    said = judge(read, args.physical_bits)
    meant = [(record, _mean(record, read, args)) for record in read.records]
    said = [*said, *_kernel_remarks(meant, args)]
    if args.json:
        print_json(
            {
                "kernel": read.kernel,
                "lost": read.lost,
                "notes": [*read.notes, *said],
                "foreign": read.foreign,
                "ignored_lines": read.ignored,
                "reports": [report.as_dict() for report in read.reports],
                "entries": [_record_dict(record, meaning, args) for record, meaning in meant],
            }
        )
        return 0
    for record, meaning in meant:
        print(_record_text(record, meaning, args))
        print()
    for remark in [*remarks(read), *said]:
        print(wrapped(remark))
    return 0


def _mean(record: Record, read: Text, args: argparse.Namespace) -> Meaning:
    kernel = args.known if args.kernel else None
    if kernel is None:
        kernel = kernel_named(record, read, args.rules_given, args.swap_layout) or args.known
    return mean(record, args.level, args.rules_given, args.shstk, kernel)


def _kernel_remarks(meant: list[tuple[Record, Meaning]], args: argparse.Namespace) -> list[str]:
    """Say which kernel's rules were taken from the text, and what that assumes."""
    found: dict[str, None] = {}
    for _, meaning in meant:
        kernel = meaning.kernel
        if kernel is None or not kernel.release:
            continue
        whose = "--kernel names" if args.kernel else "the text names"
        found[f"{whose} Linux {kernel.release}: {kernel.text}"] = None
        found.update(dict.fromkeys(kernel.assumed))
    return list(found)


def _record_dict(record: Record, meaning: Meaning, args: argparse.Namespace) -> dict[str, Any]:
    known = record.known == bits.ALL
    decoded = as_dict(meaning.decoded, args.asked if known else None)
    if not known:
        decoded.update(state=state_text(record.entry, record.known, meaning.decoded.rules))
        decoded.update(may_be=None, text=None, unknown="not all bits are printed")
        if not record.known & _FRAME:
            decoded.update(frame=None, address=None)
    return {
        "line": record.line,
        "format": record.format,
        "va": None if record.va is None else f"{record.va:#x}",
        "address_known": record.va is not None,
        "place": None if record.place is None else f"{record.place:#x}",
        "count": record.count,
        "known": f"{record.known:#018x}",
        "level_known": record.level != 0,
        "note": record.note,
        "evidence": record.evidence + meaning.evidence,
        "warnings": record.warnings + meaning.warnings,
        **decoded,
    }


def _record_text(record: Record, meaning: Meaning, args: argparse.Namespace) -> str:
    decoded = meaning.decoded
    head = f"line {record.line}, {record.format}: {decoded.level} {_where(record)}"
    if record.count > 1:
        head += f" and {record.count - 1:,} more like it"
    if not record.level:
        head += "\n  level   not printed: taken for a " + decoded.level
    if record.note:
        head += "\n" + wrap(record.note, "  note    ", " " * 10)
    if record.known == bits.ALL:
        lines = [head, text(decoded, args.asked)]
    else:
        lines = [head, f"  state   {state_text(record.entry, record.known, decoded.rules)}"]
        if record.known & _FRAME and decoded.frame is not None:
            lines.append(frame_line(decoded.frame))
        lines += [f"  bit {bit.number:2}  {bit.name:12} {bit.meaning}" for bit in decoded.bits]
    lines += [wrap(said, "  report  ", " " * 10) for said in record.evidence + meaning.evidence]
    lines += [wrap(said, "  WARNING ", " " * 10) for said in record.warnings + meaning.warnings]
    return "\n".join(lines)


def _where(record: Record) -> str:
    if record.place is not None:
        return f"number {(record.place & 0xFFF) >> 3} of its table, itself at {record.place:#x}"
    return "at an address not printed" if record.va is None else f"at {record.va:016x}"
