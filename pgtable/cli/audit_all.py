# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable audit --all``: what should not be in any address space of a machine."""

from __future__ import annotations

import argparse

from ..images.audit.all_spaces import SpaceFinding, SpacesAudit, audit_spaces
from .audit import print_finding
from .common import kernel_lines, print_json
from .image_options import open_from
from .ranges import plural, wrapped
from .walk import UNKNOWN_KERNEL, kernel_named, refuse_one_space
from .working import Working

#: Spaces that are named of each finding; JSON has all.
_NAMED = 8


def audit_all_spaces(args: argparse.Namespace, memory: list[tuple[int, int]] | None) -> int:
    """Run the command on all spaces; memory: of the machine, None: not said."""
    refuse_one_space(args)
    with Working("audit"), open_from(args.image, args) as image:
        found = audit_spaces(
            image,
            image.spaces(c_bit=args.c_bit),
            rules=args.rules,
            memory=memory,
            physical_bits=args.physical_bits,
            kernel=kernel_named(image, args),
        )
    if args.json:
        spaces = [space.as_dict() for space in found.spaces]
        print_json({"image": args.image, "spaces": spaces, **found.as_dict()})
    else:
        what = plural(len(found.spaces), "address space")
        print(f"{args.image}: {found.rows:,} entries of {what}")
        for line in kernel_lines(found.kernel) or [UNKNOWN_KERNEL]:
            print(wrapped(line))
        _print(found, args.ranges)
    return 1 if found.faults else 0


def _print(found: SpacesAudit, ranges: int) -> None:
    print(wrapped(found.recognised.text))
    print(wrapped(found.recognised.evidence, "  "))
    for one in found.findings:
        print()
        print_finding(one.finding, found.recognised.rules or "cow", ranges, _where(one))
    print()
    notes = len(found.findings) - found.faults
    print(f"{plural(found.faults, 'finding')}, {plural(notes, 'note')}")
    for rule, why in found.skipped:
        print(wrapped(why, "  ", f"not applied: {rule.id}: "))
    for limit in found.limits:
        print(wrapped(limit, "  ", "note: "))


def _where(one: SpaceFinding) -> str:
    if one.everywhere:
        return f"the kernel half that all {plural(len(one.spaces), 'space')} share"
    named = ", ".join(f"{space.root:#x} ({space.kind})" for space in one.spaces[:_NAMED])
    more = len(one.spaces) - _NAMED
    return f"{plural(len(one.spaces), 'space')}: {named}" + (f", {more} more" if more > 0 else "")
