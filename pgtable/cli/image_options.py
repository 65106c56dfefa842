# SPDX-License-Identifier: GPL-2.0-only
"""What commands on memory images share: which image, which address space."""

from __future__ import annotations

import argparse
from typing import Any

from ..images import Image, Walk, open_image
from ..images.steps import Progress
from ..images.walk import Walked
from .common import kernel_lines
from .ranges import wrapped
from .walk import (
    UNKNOWN_KERNEL,
    add_root_options,
    image_arguments,
    kernel_named,
    root_arguments,
)

IMAGE_HELP = "memory image: ELF core, kdump, LiME, AVML or raw memory, also .xz, .gz"


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how to read an image and which address space to walk."""
    add_root_options(parser.add_argument_group("image"))


def open_from(path: str, args: argparse.Namespace) -> Image:
    """Open an image as the options say."""
    return open_image(path, **image_arguments(args))


def walk_from(image: Image, args: argparse.Namespace, progress: Progress | None = None) -> Walk:
    """Walk the address space that the options name."""
    return image.walk(
        **root_arguments(args, image),
        kernel=kernel_named(image, args),
        threads=args.threads,
        progress=progress,
    )


def print_kernel(walk: Walked) -> None:
    """Print which kernel was taken, from where, and what that assumes."""
    for line in kernel_lines(walk.kernel) or [UNKNOWN_KERNEL]:
        print(wrapped(line))


def describe_walk(walk: Walked) -> str:
    """Say in one line what was walked."""
    root = walk.root
    return f"{len(walk):,} entries from {root.pa:#x}, {root.levels} levels ({root.origin})"


def walk_as_dict(walk: Walked) -> dict[str, Any]:
    """Say the same for programs."""
    return {
        "root": f"{walk.root.pa:#x}",
        "levels": walk.root.levels,
        "origin": walk.root.origin,
        "encryption": f"{walk.root.encryption:#x}",
        "kernel": None if walk.kernel is None else walk.kernel.as_dict(),
        "entries": len(walk),
        "notes": walk.notes,
    }
