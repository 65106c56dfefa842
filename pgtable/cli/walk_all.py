# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable walk --all``: the entries of every address space."""

from __future__ import annotations

import argparse
from typing import Any

from ..images import KIND_NAMES, Image, Walk
from ..images.spaces.model import roots_text
from .common import kernel_lines, print_json, print_table
from .ranges import plural, wrapped
from .walk import UNKNOWN_KERNEL, counts, kernel_named, open_asked, print_rows, refuse_one_space


def walk_all_spaces(args: argparse.Namespace) -> int:
    """Run the command on all spaces."""
    refuse_one_space(args, "limit", "output")
    if args.format not in ("summary", "table", "json"):
        raise ValueError(
            f"--format {args.format} has no column for the space: name one with --space, or"
            " take --format json"
        )
    with open_asked(args) as image:
        spaces = image.spaces(c_bit=args.c_bit)
        walks = image.walk_all(spaces, kernel=kernel_named(image, args))
        if args.format == "summary":
            _summary(image, list(walks), [*image.notes, *spaces.notes], args.json)
            return 0
        as_json = args.format == "json"
        for walk in walks:
            print_rows(walk, as_json, f'"space":"{name_of(walk)}",' if as_json else _cell(walk))
    return 0


def name_of(walk: Walk) -> str:
    """Say whose part of the machine a walk is: "kernel" is the half that all share."""
    if walk.root.half == "kernel":
        return "kernel"
    return f"{walk.spaces[0].root:#x}"


def _cell(walk: Walk) -> str:
    return f"{name_of(walk):>14} "


def _half(walk: Walk) -> str:
    return "user" if walk.root.half == "user" else "kernel"


def _kinds(walk: Walk) -> dict[str, int]:
    total = dict.fromkeys(KIND_NAMES, 0)
    for row in counts(walk).values():
        for kind, number in row.items():
            total[kind] += number
    return total


def _summary(image: Image, walks: list[Walk], notes: list[str], as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "image": str(image.path),
                "format": image.format,
                "entries": sum(map(len, walks)),
                "kernel": _kernel(walks),
                "parts": [_as_dict(walk) for walk in walks],
                "notes": notes,
            }
        )
        return
    parts = plural(len({space.root for walk in walks for space in walk.spaces}), "address space")
    total = sum(map(len, walks))
    print(f"{image.path}: {image.format}, {parts}, {total:,} entries")
    for line in kernel_lines(walks[0].kernel) or [UNKNOWN_KERNEL]:
        print(wrapped(line))
    print()
    rows = []
    found = [_kinds(walk) for walk in walks]
    used = [name for name in KIND_NAMES if any(row[name] for row in found)]
    for walk, kinds in zip(walks, found, strict=True):
        kind = walk.spaces[0].kind if walk.root.half != "kernel" else "all"
        row = [name_of(walk), kind, _half(walk), f"{len(walk):,}", f"{len(walk.tables.pa):,}"]
        rows.append([*row, *(f"{kinds[name]:,}" for name in used)])
    headers = ["root", "kind", "half", "entries", "tables", *used]
    print_table(rows, headers, ["right", "left", "left", *["right"] * (len(headers) - 3)])
    print()
    for walk in walks:
        for kind, number in walk.report_counts.items():
            first = next(report for report in walk.reports if report.kind == kind)
            more = f" (and {number - 1:,} more)" if number > 1 else ""
            print(wrapped(f"{first}{more}", "  ", f"{name_of(walk)}: {kind}: "))
    for note in notes:
        print(wrapped(note, "", "note: "))


def _kernel(walks: list[Walk]) -> dict[str, Any] | None:
    kernel = walks[0].kernel
    return None if kernel is None else kernel.as_dict()


def _as_dict(walk: Walk) -> dict[str, Any]:
    return {
        "half": _half(walk),
        "spaces": roots_text(walk.spaces),
        "root": f"{walk.root.pa:#x}",
        "levels": walk.root.levels,
        "entries": len(walk),
        "tables": len(walk.tables.pa),
        "counts": counts(walk),
        "reports": walk.report_counts,
    }
