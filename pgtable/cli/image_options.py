# SPDX-License-Identifier: GPL-2.0-only
"""What commands on memory images share: which image, which address space."""

from __future__ import annotations

import argparse
import lzma
from pathlib import Path
from typing import Any

from ..images import Image, Walk, open_image
from ..images.compressed import XZ_MAGIC
from ..images.elf import MAGIC as ELF_MAGIC
from ..images.kdump import MAGICS as KDUMP_MAGICS
from ..images.opening import FORMATS
from .common import parse_number

IMAGE_HELP = "memory image: ELF core, kdump, page records or raw memory, also .xz"


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how to read an image and which address space to walk."""
    group = parser.add_argument_group("image")
    group.add_argument(
        "--image-format", choices=FORMATS, help="format of the image (default: from its content)"
    )
    group.add_argument(
        "--segment",
        action="append",
        metavar="PA,OFFSET,SIZE",
        help="raw memory: a piece of it, where it was and where it is in the file",
    )
    group.add_argument(
        "--root", metavar="CR3", help="physical address of the top table (default: the processor's)"
    )
    group.add_argument(
        "--levels", type=int, choices=(4, 5), help="of page tables (default: the processor's)"
    )
    group.add_argument(
        "--cpu", type=int, default=0, metavar="N", help="whose address space (default: 0)"
    )


def open_from(path: str, args: argparse.Namespace) -> Image:
    """Open an image as the options say."""
    segments = None
    if args.segment is not None:
        segments = [_segment(text) for text in args.segment]
    return open_image(path, format=args.image_format, segments=segments)


def _segment(text: str) -> tuple[int, int, int]:
    numbers = [parse_number(part, "--segment") for part in text.split(",")]
    if len(numbers) != 3:
        raise ValueError(f"--segment: {text!r} is not PA,OFFSET,SIZE")
    pa, offset, size = numbers
    return pa, offset, size


def root_of(args: argparse.Namespace) -> int | None:
    """Return the root that the options name."""
    return None if args.root is None else parse_number(args.root, "--root")


def walk_from(image: Image, args: argparse.Namespace) -> Walk:
    """Walk the address space that the options name."""
    return image.walk(root_of(args), args.levels, args.cpu)


def describe_walk(walk: Walk) -> str:
    """Say in one line what was walked."""
    return f"{len(walk):,} entries from {walk.root.pa:#x}, {walk.root.levels} levels"


def walk_as_dict(walk: Walk) -> dict[str, Any]:
    """Say the same for programs."""
    return {
        "root": f"{walk.root.pa:#x}",
        "levels": walk.root.levels,
        "entries": len(walk),
        "notes": walk.notes,
    }


def looks_like_image(path: str) -> bool:
    """Tell from its first bytes whether a file can only be an image (ELF, kdump)."""
    with Path(path).open("rb") as file:
        start = file.read(16)
    if start.startswith(XZ_MAGIC):
        with lzma.open(path) as file:
            try:
                start = file.read(16)
            except (lzma.LZMAError, EOFError):
                return False  # whoever reads it all will say what is wrong
    return start.startswith((ELF_MAGIC, *KDUMP_MAGICS))
