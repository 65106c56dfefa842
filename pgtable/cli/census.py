# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable census``: count the entries of a file, an image or a text by kind, state, flag."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from .. import bits
from ..census import Census, Counter
from ..containers import IMAGE
from ..engines.interface import Engine
from ..engines.switches import Switches, resolve
from ..files import entries_of
from ..images.audit import recognise_census
from ..images.looks import Looks, refuse_other_than_entries
from ..images.region_census import Region, by_region, census_of_text, kinds_told
from ..images.text.meaning import kernel_of_text
from ..kernels import Kernel
from ..streams import Stream, is_stdin, open_stream
from .common import (
    add_engine_options,
    add_raw_option,
    engine_of,
    kernel_lines,
    kernel_of,
    print_json,
    print_table,
    progress,
)
from .image_options import add_image_options, open_from
from .ranges import wrapped
from .text_input import LEVEL_NUMBERS, read_text, remarks
from .walk import add_all_option, kernel_named, root_arguments
from .working import Working

HELP = "count the entries of a file or memory image: kinds, states, flags"
EXAMPLES = """\
  pgtable census dump.bin
  pgtable census dump.npy --rules saved_dirty --json
  pgtable census tables.bin --level pmd
  pgtable census vmcore --cpu 1
  pgtable census ram.bin --image --root 0x544e000
  pgtable census ram.raw --all
  pgtable census vmcore --kernel 6.8.0-45-generic
  dmesg | pgtable census --text -

ELF cores, kdump, LiME and AVML files are taken for images, others with --image;
what looks like raw memory or like /proc/PID/pagemap is refused without --raw.
Flags and states are of present leaf entries: in others the bits mean other
things.  Tests are every test helper of the rules, asked of every entry.
"""


#: Bytes of a compressed file that are kept to tell whether it is an image.
_SEARCHED_IN_MEMORY = 1 << 28


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "input",
        metavar="IN",
        help="file of entries (raw or .npy, also compressed), image, or text; - is standard input",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--image", action="store_true", help="IN is a memory image: walk its tables")
    what.add_argument("--text", action="store_true", help="IN is text with entries in it")
    parser.add_argument(
        "--level",
        choices=("pte", "pmd", "pud"),
        default="pte",
        help="level of the entries, if IN does not say it (default: pte)",
    )
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="counting threads; 0: all processors (default: 1 for a file of entries, all for a"
        " large image)",
    )
    add_raw_option(what)
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_engine_options(parser, kernel=False)
    add_all_option(parser, "count")
    add_image_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if args.text:
        return _run_text(args)
    if args.image or args.root or args.space or args.all or args.image_format or args.segment:
        return _run_image(args)
    with open_stream(args.input) as stream:
        image = stream.container is not None and stream.container.group == IMAGE and not args.raw
        if not image:
            return _run_file(args, stream)
        if not stream.regular or is_stdin(args.input):
            raise ValueError(
                f"{args.input}: has a memory image in it, which cannot be read from a pipe;"
                " save it to a file"
            )
    return _run_image(args)


def _run_file(args: argparse.Namespace, stream: Stream) -> int:
    engine = engine_of(args)
    counter = Counter()
    looks = Looks()
    source = entries_of(stream, args.raw)
    total = None if source.entries is None else source.entries * 8
    with progress(total, "B", "census") as bar:
        for chunk in source.chunks():
            counter.add(chunk, threads=1 if args.threads is None else args.threads)
            looks.add(chunk)
            bar.update(chunk.nbytes)
    if not args.raw and source.npy is None:
        # what is compressed is searched in memory
        fits = not stream.packed or looks.total * 8 <= _SEARCHED_IN_MEMORY
        again = args.input if stream.regular and fits and not is_stdin(args.input) else None
        refuse_other_than_entries(stream.name, looks, again)
    known = kernel_of(args)
    rules = args.rules or (known.rules if known else "cow")
    switches = resolve(rules, args.shstk, args.config)
    report = summary(counter.census(), engine, args.level, switches, known)
    if args.json:
        print_json({"input": args.input, "kernel": _as_dict(known), **report})
    else:
        _print_kernel(known)
        _print(args.input, report)
    return 0


def _as_dict(kernel: Kernel | None) -> dict[str, Any] | None:
    return None if kernel is None else kernel.as_dict()


def _print_kernel(kernel: Kernel | None) -> None:
    for line in kernel_lines(kernel):
        print(wrapped(line))


def _run_image(args: argparse.Namespace) -> int:
    if args.all:
        from .census_all import census_all_spaces  # noqa: PLC0415 - it needs this module

        return census_all_spaces(args)
    with Working("census") as working, open_from(args.input, args) as image:
        where = root_arguments(args, image)
        start = image.root(**where)
        threads = args.threads or 0
        censuses = image.census(**where, threads=threads, progress=working.progress)
        kernel, given, why = image.made_by(kernel_named(image, args))
    notes = [*start.assumed, *([why] if why else [])]
    recognised = recognise_census(censuses, args.rules, kernel, given)
    switches = resolve(recognised.rules or "cow", args.shstk, args.config)
    regions = by_region(censuses, *switches, kernel=kernel)
    if args.json:
        print_json(
            {
                "input": args.input,
                "root": f"{start.pa:#x}",
                "levels": start.levels,
                "notes": notes,
                "kernel": _as_dict(kernel),
                **switches._asdict(),
                "rules_given": recognised.given,
                "rules_doubt": recognised.doubt,
                "regions": [region.as_dict() for region in regions],
            }
        )
        return 0
    total = sum(region.entries for region in regions)
    print(f"{args.input}: {total:,} entries from {start.pa:#x}, {start.levels} levels")
    _print_kernel(kernel)
    print(wrapped(recognised.text))
    print(wrapped(recognised.evidence, "  "))
    for note in notes:
        print(wrapped(note))
    print_regions(regions)
    return 0


def _run_text(args: argparse.Namespace) -> int:
    text = read_text(args.input)
    censuses, known = census_of_text(text, LEVEL_NUMBERS[args.level])
    kernel = kernel_of(args) or kernel_of_text(text.kernel, args.rules, args.swap_layout)
    rules = args.rules or (kernel.rules if kernel else "cow")
    switches = resolve(rules, args.shstk, args.config)
    regions = by_region(censuses, *switches, known=known, kernel=kernel)
    if args.json:
        print_json(
            {
                "input": args.input,
                "kernel": _as_dict(kernel),
                **switches._asdict(),
                "lost": text.lost,
                "notes": text.notes,
                "ignored_lines": text.ignored,
                "regions": [region.as_dict() for region in regions],
            }
        )
        return 0
    total = sum(region.entries for region in regions)
    print(f"{args.input}: {total:,} entries, rules {switches.rules}")
    _print_kernel(kernel)
    for line in remarks(text):
        print(wrapped(line))
    print_regions(regions)
    return 0


def print_regions(regions: Sequence[Region]) -> None:
    """Print kinds, states and flags of each half and level."""
    rows: list[list[Any]] = []
    for region in regions:
        place = f"{region.half} {region.level}"
        for kind, count in region.kinds.items():
            rows.append([place, kind, count, ""])
            place = ""
            if kind != bits.LEAF:
                continue
            for state, leaves in region.states.items():
                rows.append(["", f"  {state}", leaves, f"{leaves / count:7.2%}"])
    print()
    print_table(rows, ["where", "kind, state of leaves", "entries", "of leaves"])
    for region in regions:
        if region.leaves:
            _print_leaves(region)


def _print_leaves(region: Region) -> None:
    print(f"\n{region.half} {region.level} leaves:")
    for letters, count in region.may_be.items():
        either = " or ".join(f"({letter})" for letter in letters.split())
        print(wrapped(f"{count:,} are {either}", "  "))
    for sentence in region.unknown:
        print(wrapped(sentence, "  ", "cannot be known: "))
    rows = [[name, count] for name, count in region.flags.items()]
    print_table(rows, ["flag", "leaves"])
    print()
    print_table([*region.flag_sets.items()], ["flag set", "leaves"])


def summary(
    census: Census, engine: Engine, level: str, switches: Switches, kernel: Kernel | None = None
) -> dict[str, Any]:
    """Return every count of a census of entries of one level."""
    rules, shstk, config = switches
    kinds = kinds_told(census.entries, level, kernel=kernel)
    leaves = census.where(kinds == bits.LEAF)
    states = bits.state_code(leaves.entries, rules, config)
    flags = {}
    every_flag = bits.PRESENT | bits.PSE | _TOLD_APART
    for bit in bits.named_bits(every_flag, level, rules, config):
        if count := leaves.count_bits(1 << bit.number, 1 << bit.number):
            flags[f"{bit.number:2} {bit.name}"] = count
    return {
        "engine": engine.name,
        "level": level,
        "rules": rules,
        "shstk": shstk,
        "config": config,
        "entries": census.total,
        "kinds": {kind: int(census.counts[kinds == kind].sum()) for kind in bits.KINDS},
        "states": {
            name: int(leaves.counts[states == code].sum()) for code, name in enumerate(bits.STATES)
        },
        "flags": flags,
        "tests": {
            helper.name: census.count(helper)
            for helper in engine.helpers.values()
            if helper.kind == "test" and helper.level == level and not helper.argument
        },
    }


#: The bits that a census tells apart, one by one.
_TOLD_APART = 0xFFF | 0x7F << 57


def _lettered(report: dict[str, Any]) -> dict[str, int]:
    """Return the states with the letters of what they may be."""
    counts = {}
    for code, (name, count) in enumerate(report["states"].items()):
        leaf = bits.PRESENT | bits.PSE | (code >> 2) << 1 | (code >> 1 & 1) << 6 | (code & 1) << 58
        letters = bits.classify(
            leaf, report["level"], report["rules"], report["shstk"], report["config"]
        ).letters
        counts[" or ".join([name, *letters]).replace(" or ", " ", 1)] = count
    return counts


def _print(name: str, report: dict[str, Any]) -> None:
    total = report["entries"]
    print(f"{name}: {total:,} {report['level']} entries, {report['engine']}\n")
    rows: list[list[Any]] = []
    for title, counts, of in (
        ("kind", report["kinds"], total),
        ("state of leaves", _lettered(report), report["kinds"][bits.LEAF]),
        ("flag of leaves", report["flags"], report["kinds"][bits.LEAF]),
        ("test", report["tests"], total),
    ):
        shown = {key: count for key, count in counts.items() if count}
        for number, (key, count) in enumerate(shown.items()):
            rows.append(["" if number else title, key, count, f"{count / of:7.2%}"])
    print_table(rows, ["", "", "entries", "share"])
