# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable spaces``: every address space of a machine."""

from __future__ import annotations

import argparse

from .common import print_json, print_table
from .image_options import IMAGE_HELP
from .ranges import count, plural, size_text, wrapped
from .walk import add_c_bit_option, add_opening_options, add_threads_option, open_asked
from .working import Working

HELP = "list every address space in a memory image, without symbols"
EXAMPLES = """\
  pgtable spaces guest.vmcore
  pgtable spaces ram.raw --json

Raw memory is enough: top tables are found from their content, and the kernel's
array of struct page tells those in use from stale copies.  --space of the other
commands takes a number or a root of this list, and --all takes all of them.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("image", metavar="IMAGE", help=IMAGE_HELP)
    parser.add_argument(
        "--rows", type=count, default=200, metavar="N", help="spaces to print (default: 200)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with all spaces")
    group = parser.add_argument_group("image")
    add_c_bit_option(group)
    add_threads_option(group)
    add_opening_options(group)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    with Working("spaces") as working, open_asked(args) as image:
        found = image.spaces(c_bit=args.c_bit, threads=args.threads, progress=working.progress)
        notes = [*image.notes, *found.notes]
    if args.json:
        print_json({"image": args.image, **found.as_dict(), "notes": notes})
        return 0
    print(f"{args.image}: {plural(len(found), 'address space')}\n")
    rows = [
        [
            str(number),
            f"{space.root:#x}",
            str(space.levels),
            space.kind,
            ",".join(map(str, space.cpus)) or "-",
            f"{space.user_leaves:,}",
            size_text(space.resident),
            size_text(space.writable),
            size_text(space.executable),
            size_text(space.shared_bytes),
        ]
        for number, space in enumerate(found.spaces[: args.rows])
    ]
    left, right = "left", "right"
    print_table(
        rows, _HEADERS, [right, right, right, left, left, right, right, right, right, right]
    )
    if len(found) > args.rows:
        print(f"... {plural(len(found) - args.rows, 'more space')} (--rows, --json)")
    print()
    if found.spaces:
        print(wrapped(f"the kernel half, which all share, has {found[0].kernel_leaves:,} leaves"))
    if found.stale:
        what = plural(len(found.stale), "table")
        print(wrapped(f"{what} with such a kernel half that no space uses: stale copies (--json)"))
    for note in notes:
        print(wrapped(note, "", "note: "))
    return 0


_HEADERS = (
    "", "root", "levels", "kind", "processors", "leaves", "resident", "writable", "executable",
    "shared",
)  # fmt: skip
