# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable census --all``: the entries of every address space, counted together."""

from __future__ import annotations

import argparse

from .. import bits
from ..census import Census, together
from ..engines.switches import resolve
from ..images.audit import recognise_census
from ..images.region_census import by_region
from ..images.spaces.model import roots_text
from ..images.spaces.parts import Part, census_parts
from .census import print_regions
from .common import kernel_lines, print_json, print_table
from .image_options import open_from
from .ranges import plural, wrapped
from .walk import kernel_named, refuse_one_space
from .working import Working


def census_all_spaces(args: argparse.Namespace) -> int:
    """Run the command on all spaces.  There is one report, and shared tables count once."""
    refuse_one_space(args)
    with Working("census"), open_from(args.input, args) as image:
        spaces = image.spaces(c_bit=args.c_bit)
        parts = list(census_parts(image, spaces))
        kernel, given, why = image.made_by(kernel_named(image, args))
        notes = [*image.notes, *spaces.notes, *([why] if why else [])]
    censuses: dict[tuple[str, int], list[Census]] = {}
    for _, counted in parts:
        for key, census in counted.items():
            censuses.setdefault(key, []).append(census)
    joined = {key: together(found) for key, found in censuses.items()}
    recognised = recognise_census(joined, args.rules, kernel, given)
    switches = resolve(recognised.rules or "cow", args.shstk, args.config)
    regions = by_region(joined, *switches, kernel=kernel)
    rows = [_row(part, counted) for part, counted in parts]
    if args.json:
        print_json(
            {
                "input": args.input,
                "notes": notes,
                "kernel": None if kernel is None else kernel.as_dict(),
                **switches._asdict(),
                "rules_given": recognised.given,
                "rules_doubt": recognised.doubt,
                "parts": rows,
                "regions": [region.as_dict() for region in regions],
            }
        )
        return 0
    total = sum(region.entries for region in regions)
    print(f"{args.input}: {total:,} entries in {plural(len(spaces), 'address space')}")
    for line in [*kernel_lines(kernel), recognised.text]:
        print(wrapped(line))
    print(wrapped(recognised.evidence, "  "))
    for note in notes:
        print(wrapped(note, "", "note: "))
    print()
    cells = [
        [_name(part), str(row["half"]), f"{row['entries']:,}", f"{row['leaves']:,}"]
        for (part, _), row in zip(parts, rows, strict=True)
    ]
    print_table(cells, ["root", "half", "entries", "leaves"], ["right", "left", "right", "right"])
    print_regions(regions)
    return 0


def _name(part: Part) -> str:
    return "kernel" if part.root.half == "kernel" else f"{part.spaces[0].root:#x}"


def _row(part: Part, counted: dict[tuple[str, int], Census]) -> dict[str, object]:
    """Return how many entries and present leaves a part has."""
    leaves = 0
    for (_, level), census in counted.items():
        wanted = bits.PRESENT | (bits.PSE if level > 1 else 0)
        leaves += census.count_bits(wanted, wanted) if level <= 3 else 0
    return {
        "half": part.half,
        "spaces": roots_text(part.spaces),
        "entries": sum(census.total for census in counted.values()),
        "leaves": leaves,
    }
