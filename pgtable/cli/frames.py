# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable frames``: every virtual address of a frame."""

from __future__ import annotations

import argparse

from ..images.reverse_map import Mapping, ReverseMap, checked_frames
from ..images.spaces.model import roots_text
from .common import add_kernel_options, parse_number, print_json, print_table
from .image_options import IMAGE_HELP
from .ranges import plural, wrapped
from .walk import add_c_bit_option, add_opening_options, kernel_named, open_asked
from .working import Working

HELP = "name every virtual address of a frame, in every address space"
EXAMPLES = """\
  pgtable frames ram.raw 0xf8b0
  pgtable frames guest.vmcore 0xf8b0 0xf8b1 --json

PFN is a frame's number: its physical address without the last three hexadecimal
digits.  The kernel half, which all spaces share, is listed once.
Exit code 1: nothing maps one of the frames, and no page table lies in it.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("image", metavar="IMAGE", help=IMAGE_HELP)
    parser.add_argument("pfn", metavar="PFN", nargs="+", help="number of a frame, as 0xf8b0")
    parser.add_argument("--json", action="store_true", help="print JSON")
    group = parser.add_argument_group("image")
    add_kernel_options(group)
    add_c_bit_option(group)
    add_opening_options(group)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    pfns = checked_frames([parse_number(text, "PFN") for text in args.pfn])
    with Working("frames"), open_asked(args) as image:
        spaces = image.spaces(c_bit=args.c_bit)
        found = image.reverse_map(pfns, spaces, kernel=kernel_named(image, args))
        notes = [*image.notes, *spaces.notes]
    used = [found.of(pfn) or found.tables(pfn) for pfn in pfns]
    if args.json:
        frames = [
            {
                "pfn": f"{pfn:#x}",
                "mappings": [mapping.as_dict() for mapping in found.of(pfn)],
                "tables": [table.as_dict() for table in found.tables(pfn)],
            }
            for pfn in pfns
        ]
        print_json({"image": args.image, "frames": frames, "notes": notes})
    else:
        for pfn in pfns:
            _print(found, pfn)
        for note in notes:
            print(wrapped(note, "", "note: "))
    return 0 if all(used) else 1


def _print(found: ReverseMap, pfn: int) -> None:
    mappings = found.of(pfn)
    where = plural(len(mappings), "address", "addresses")
    print(f"frame {pfn:#x}, physical {pfn << 12:#x}: {where}")
    for table in found.tables(pfn):
        names = ", ".join(roots_text(table.spaces[:4]))
        more = "" if len(table.spaces) <= 4 else f" and {len(table.spaces) - 4} more"
        print(f"  holds a table of level {table.level} at {table.va:#018x} of {names}{more}")
    if mappings:
        rows = [[_name(one), f"{one.va:#018x}", *_rest(one)] for one in mappings]
        print_table(rows, ["root", "address", "level", "kind", "rights", "entry"])
    print()


def _name(mapping: Mapping) -> str:
    if mapping.half == "kernel" and len(mapping.spaces) != 1:
        return "kernel"
    return f"{mapping.spaces[0].root:#x}"


def _rest(one: Mapping) -> list[str]:
    rights = zip("WUX", (one.writable, one.user, not one.nx), strict=True)
    letters = "".join(letter if right else "-" for letter, right in rights)
    return [str(one.level), one.kind, letters, f"{one.entry:#018x}"]
