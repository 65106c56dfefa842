# SPDX-License-Identifier: GPL-2.0-only
"""``pgtable walk``: the page-table entries in a memory image."""

from __future__ import annotations

import argparse
import sys
from typing import Any, cast

import numpy as np

from ..images import FORMATS, KIND_NAMES, Image, Kind, Walk, export, open_image
from ..images.spaces.of_process import find_process
from ..images.start import PTI_CHOICES
from ..images.tally import Tally
from ..images.walk import Walked
from ..kernels import Kernel, of_layout
from .common import add_kernel_options, kernel_lines, kernel_of, print_json, print_table
from .ranges import wrapped
from .working import Working

HELP = "list the page-table entries in a memory image"
EXAMPLES = """\
  pgtable walk guest.vmcore
  pgtable walk guest.vmcore --cpu 1 --format info-tlb
  pgtable walk ram.raw --all
  pgtable walk /proc/kcore --pid 1
  pgtable walk ram.raw --space 3 --format table
  pgtable walk guest.vmcore --range 0x7f0000000000-0x800000000000 --format json
  pgtable walk encrypted.vmcore --c-bit 47
  pgtable walk isolated.vmcore --pti user
  pgtable walk ram.raw --root 0x2a10000 --kernel 4.15.0-29-generic
  pgtable walk ram.lime.gz --root 0x2a10000 --max-decompressed 16
  pgtable walk dump.1 --part dump.2 --part dump.3
  pgtable walk ram.raw --root 0x2a10000 --levels 4 --format npy -o entries.npy
  pgtable walk ram.raw --segment 0,0,0xc0000000 \\
                       --segment 0x100000000,0xc0000000,0x40000000 --root 0x2a10000

IMAGE is an ELF core (QEMU's dump-guest-memory, VirtualBox, /proc/vmcore), a
kdump file, both also flattened; a LiME or AVML dump; page-table pages as records,
or raw physical memory; also .gz, .bz2, .xz and .zst; - is standard input.
The summary counts without listing; it takes the memory of the list of tables alone.
"""

#: Reports that are printed of each kind; JSON has more.
_SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("image", metavar="IMAGE", help="memory image of a machine")
    add_all_option(parser, "list")
    add_threads_option(parser)
    add_root_options(parser)
    parser.add_argument("--limit", type=_number, metavar="N", help="list at most N entries")
    parser.add_argument(
        "--format",
        choices=("summary", "table", "info-tlb", "json", "npy", "parquet"),
        default="summary",
        help="the format of the output (default: a summary)",
    )
    parser.add_argument("--json", action="store_true", help="the summary as JSON")
    parser.add_argument(
        "-o", "--output", metavar="OUT", help="file to write (npy, parquet, info-tlb)"
    )


def add_all_option(parser: argparse._ActionsContainer, what: str) -> None:
    """Add the option that takes every address space; what: what is done with them."""
    parser.add_argument(
        "--all",
        action="store_true",
        help=f"{what} every address space of the machine, as 'pgtable spaces' finds them;"
        " entries that several share count once",
    )


def refuse_one_space(args: argparse.Namespace, *more: str) -> None:
    """Raise ValueError where --all comes with an option that is for one space."""
    for name in ("root", "space", "pid", "cpu", "pti", "levels", "within", *more):
        if getattr(args, name):
            option = "--range" if name == "within" else f"--{name.replace('_', '-')}"
            raise ValueError(f"{option} is for one address space: leave it or --all")


def add_root_options(parser: argparse._ActionsContainer) -> None:
    """Add the options that say how to read an image and where tables begin."""
    add_kernel_options(parser)
    parser.add_argument(
        "--root", type=_number, metavar="PA", help="physical address of the top table (CR3)"
    )
    parser.add_argument(
        "--space",
        metavar="N|PA|kernel",
        help="one of the address spaces that 'pgtable spaces' lists: its number, its root, or"
        " the kernel's own",
    )
    parser.add_argument(
        "--pid",
        type=_number,
        metavar="PID",
        help="the space of a process that runs, of /proc/kcore: told by its pagemap (root rights)",
    )
    parser.add_argument(
        "--levels",
        type=int,
        choices=(4, 5),
        help="levels of tables (default: of CR4 or VMCOREINFO, else as the tables show)",
    )
    add_c_bit_option(parser)
    parser.add_argument(
        "--pti",
        choices=PTI_CHOICES,
        help="walk one copy of the top table (default: the user's lower half and the kernel's"
        " upper half)",
    )
    parser.add_argument(
        "--cpu",
        type=int,
        default=0,
        metavar="N",
        help="the processor whose registers are used (default: 0)",
    )
    parser.add_argument(
        "--range",
        type=_range,
        dest="within",
        metavar="FROM-TO",
        help="only entries that translate these addresses, without TO itself; other tables are"
        " not read",
    )
    add_opening_options(parser)


def add_threads_option(parser: argparse._ActionsContainer) -> None:
    """Add the option that says how many threads may work."""
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        metavar="N",
        help="threads for large images (default: 0, all processors); the result is the same",
    )


def add_c_bit_option(parser: argparse._ActionsContainer) -> None:
    """Add the option that says which bit of entries is no part of a frame."""
    parser.add_argument(
        "--c-bit",
        type=int,
        metavar="N",
        help="the bit of entries that says encrypted (SME, SEV; default: of VMCOREINFO, else"
        " as the tables show)",
    )


def add_opening_options(parser: argparse._ActionsContainer) -> None:
    """Add the options that say how an image is opened."""
    parser.add_argument(
        "--image-format", choices=FORMATS, help="format of the image (default: from its content)"
    )
    parser.add_argument(
        "--segment",
        type=_segment,
        action="append",
        metavar="PA,OFFSET,SIZE",
        help="a piece of raw memory in the file; may be repeated",
    )
    parser.add_argument(
        "--part",
        action="append",
        default=[],
        metavar="FILE",
        help="another part of a split kdump (makedumpfile --split); may be repeated",
    )
    parser.add_argument(
        "--max-decompressed",
        type=_gibibytes,
        metavar="GIB",
        help="how large a compressed image may become (default: 4, or half of the free memory)",
    )


def root_arguments(args: argparse.Namespace, image: Image) -> dict[str, Any]:
    """Return what ``Image.walk`` takes of the options of :func:`add_root_options`."""
    found = {
        name: getattr(args, name) for name in ("root", "levels", "cpu", "c_bit", "pti", "within")
    }
    asked = [name for name in ("space", "pid", "root", "cpu") if getattr(args, name)]
    if args.space is None and args.pid is None:
        return found
    if len(asked) > 1:
        raise ValueError(
            f"--{asked[0]} names the tables, and so does --{asked[1]}: leave one of them"
        )
    spaces = image.spaces(c_bit=args.c_bit)
    named = args.pid is None
    space = spaces.find(args.space) if named else find_process(image, spaces, args.pid)
    found["root"] = space.root
    found["levels"] = space.levels if args.levels is None else args.levels
    if args.c_bit is None and spaces.encryption:
        found["c_bit"] = spaces.encryption.bit_length() - 1
    return found


def _range(text: str) -> tuple[int, int]:
    start, dash, end = text.partition("-")
    if not dash:
        raise argparse.ArgumentTypeError(f"{text!r} is not FROM-TO: write 0x1000-0x5000")
    return _number(start), _number(end)


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number; write 123 or 0x7b") from None


def _gibibytes(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < 1 << 20:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of GiB; write 16 or 0.5")
    return number


def _segment(text: str) -> tuple[int, int, int]:
    numbers = [_number(part) for part in text.split(",")]
    if len(numbers) != 3:
        raise argparse.ArgumentTypeError(f"{text!r} is not PA,OFFSET,SIZE")
    return numbers[0], numbers[1], numbers[2]


#: What is said where no kernel is known.
UNKNOWN_KERNEL = (
    "kernel not known: what is not present is named as in Linux 5.19 and later;"
    " --kernel RELEASE says which it is"
)


def kernel_named(image: Image, args: argparse.Namespace) -> Kernel | None:
    """Return the kernel that the options name; None: the image says it, or nothing does."""
    if args.kernel is None and args.swap_layout is not None:
        known, _ = image.kernel.linux(swap_layout=args.swap_layout)
        return known or of_layout(args.swap_layout)
    return kernel_of(args)


def open_asked(args: argparse.Namespace) -> Image:
    """Open the image that the arguments name."""
    return open_image(args.image, **image_arguments(args))


def image_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """Return what the options say about how an image is opened."""
    limit = args.max_decompressed
    return {
        "format": args.image_format,
        "segments": args.segment,
        "parts": args.part,
        "max_decompressed": None if limit is None else int(limit * (1 << 30)),
    }


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if args.format in ("npy", "parquet") and not args.output:
        raise ValueError(f"--format {args.format} writes a file: name it with -o")
    if args.output and args.format in ("summary", "table", "json"):
        raise ValueError(f"--format {args.format} is printed; -o is for info-tlb, npy and parquet")
    if args.all:
        from .walk_all import walk_all_spaces  # noqa: PLC0415 - it needs this module

        return walk_all_spaces(args)
    columns = args.format != "summary" or args.limit is not None
    with Working("walk") as working, open_asked(args) as image:
        where = root_arguments(args, image)
        where |= {"kernel": kernel_named(image, args), "progress": working.progress}
        walk: Walked
        if columns:
            walk = image.walk(**where, limit=args.limit, threads=args.threads)
        else:
            walk = image.tally(**where, threads=args.threads)
    if args.format == "summary":
        _summary(image, walk, args.json)
    else:
        assert isinstance(walk, Walk)
        _write(walk, args.format, args.output)
    return 0


def _write(walk: Walk, form: str, output: str | None) -> None:
    if form == "npy":
        walk.save_npy(str(output))
    elif form == "parquet":
        walk.save_parquet(str(output))
    elif form == "info-tlb" and output:
        walk.write_info_tlb(output)
    elif form == "info-tlb":
        export.write_info_tlb(walk, sys.stdout.buffer)
    else:
        print_rows(walk, form == "json")


def print_rows(walk: Walk, as_json: bool, where: str = "") -> None:
    """Print an entry a line: aligned columns, or a JSON object; where: what comes first."""
    line = where + (
        '"va":"{:#018x}","level":{},"kind":"{}","entry":"{:#018x}","pa":"{:#x}",'
        '"writable":{},"user":{},"nx":{}}}'
        if as_json
        else "{:#018x} {} {:9} {:#018x} {:#014x} {}{}{}"
    )
    line = "{{" + line if as_json else line
    words = ("false", "true") if as_json else None
    for part in export.chunks(walk):
        columns = [getattr(part, name).tolist() for name in _ROW]
        for va, level, kind, entry, pa, *rights in zip(*columns, strict=True):
            shown = (
                [words[right] for right in rights]
                if words
                else [letter if right else "-" for letter, right in zip("WUX", rights, strict=True)]
            )
            print(line.format(va, level, KIND_NAMES[kind], entry, pa, *shown))


_ROW = ("va", "level", "kind", "entry", "pa", "writable", "user", "nx")


def counts(walk: Walk) -> dict[str, dict[str, int]]:
    """Return how many entries of each kind each half and level has."""
    half = walk.va >> np.uint64(63)
    found: dict[str, dict[str, int]] = {}
    for number, name in enumerate(("user", "kernel")):
        for level in range(1, walk.root.levels + 1):
            kinds = np.bincount(
                walk.kind[(half == number) & (walk.level == level)], minlength=len(Kind)
            )
            if kinds.any():
                found[f"{name} level {level}"] = dict(zip(KIND_NAMES, kinds.tolist(), strict=True))
    return found


def _summary(image: Image, walk: Walked, as_json: bool) -> None:
    by_level = walk.counts if isinstance(walk, Tally) else counts(cast("Walk", walk))
    notes = [*image.notes, *walk.notes]
    user_pa = walk.root.user_pa
    user_root = None if user_pa is None else f"{user_pa:#x}"
    if as_json:
        print_json(
            {
                "image": str(image.path),
                "format": image.format,
                "processors": len(image.cpus),
                "root": f"{walk.root.pa:#x}",
                "levels": walk.root.levels,
                "origin": walk.root.origin,
                "encryption": f"{walk.root.encryption:#x}",
                "user_root": user_root,
                "nxe": walk.root.nxe,
                "kernel": None if walk.kernel is None else walk.kernel.as_dict(),
                "entries": len(walk),
                "tables": len(walk.tables.pa),
                "counts": by_level,
                "reports": walk.report_counts,
                "findings": [_as_json(report) for report in walk.reports],
                "notes": notes,
            }
        )
        return
    print(f"{image.path}: {image.format}, {len(image.cpus)} processors")
    print(
        f"root {walk.root.pa:#x}, {walk.root.levels} levels:"
        f" {len(walk):,} entries in {len(walk.tables.pa):,} tables"
    )
    print(walk.root.origin)
    for line in kernel_lines(walk.kernel) or [UNKNOWN_KERNEL]:
        print(wrapped(line))
    print()
    used = [name for name in KIND_NAMES if any(row[name] for row in by_level.values())]
    print_table([[where, *(row[k] for k in used)] for where, row in by_level.items()], ["", *used])
    _print_reports(walk)
    for note in notes:
        print(f"note: {note}")
    absent = sum(
        row[name] for where, row in by_level.items() if where.startswith("kernel")
        for name in KIND_NAMES[Kind.PROT_NONE :]
    )  # fmt: skip
    if absent:
        print(f"note: {absent:,} entries of the kernel half are not present: it has no swap")


def _as_json(report: Any) -> dict[str, Any]:
    return {
        "kind": report.kind,
        "va": f"{report.va:#018x}",
        "pa": f"{report.pa:#x}",
        "level": report.level,
        "count": report.count,
        "text": str(report),
    }


def _print_reports(walk: Walked) -> None:
    print()
    for kind, total in walk.report_counts.items():
        for report in [report for report in walk.reports if report.kind == kind][:_SHOWN]:
            print(f"{kind}: {report}")
        if total > _SHOWN:
            print(f"{kind}: and {total - _SHOWN:,} more")
