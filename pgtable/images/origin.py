# SPDX-License-Identifier: GPL-2.0-only
"""Where an image came from: what a pickled or copied one is opened by."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .mapped import Identity

if TYPE_CHECKING:
    from .image import Image


class Origin(NamedTuple):
    """Arguments of ``open_image`` with absolute paths, and what the files were then.

    paths: of the image and the other parts; identities: of each, None where it can be
    read only once.
    """

    paths: tuple[str, ...]
    identities: tuple[Identity | None, ...]
    format: str
    segments: tuple[tuple[int, int, int], ...] | None
    max_decompressed: int | None

    @classmethod
    def of(
        cls,
        read: list[tuple[Path, Identity | None]],
        kind: str,
        segments: Sequence[tuple[int, int, int]] | None,
        max_decompressed: int | None,
    ) -> Origin:
        """Return it of what was opened."""
        paths = tuple(os.path.abspath(name) for name, _ in read)
        identities = tuple(identity for _, identity in read)
        pieces = None if segments is None else tuple((pa, at, n) for pa, at, n in segments)
        return cls(paths, identities, kind, pieces, max_decompressed)

    def check_again(self) -> None:
        """Raise TypeError where a file was one that can be read only once."""
        for path, identity in zip(self.paths, self.identities, strict=True):
            if identity is None:
                raise TypeError(
                    f"{path}: an image of what can be read only once cannot be copied or pickled;"
                    " copy it to a file and open that"
                )


def reopen(origin: Origin) -> Image:
    """Open an image again.

    Raises OSError where a file is no longer there, ValueError where it is another one or
    was written to; what :func:`open_image` raises.
    """
    from .opening import open_image  # noqa: PLC0415 - which imports this module

    _check_same(origin)
    image = open_image(
        origin.paths[0],
        format=origin.format,
        segments=origin.segments,
        parts=origin.paths[1:],
        max_decompressed=origin.max_decompressed,
    )
    # once more: what was opened is what was looked at
    if image._origin is None or image._origin.identities != origin.identities:
        image.close()
        _check_same(origin)
        raise ValueError(f"{origin.paths[0]}: changes while it is opened; wait until it is written")
    return image


def _check_same(origin: Origin) -> None:
    for path, identity in zip(origin.paths, origin.identities, strict=True):
        now = Identity.of(os.stat(path))
        if now == identity:
            continue
        what = "was written to" if identity and now.inode == identity.inode else "is another file"
        raise ValueError(
            f"{path}: {what} since the image that was copied or pickled was opened;"
            " open it with open_image"
        )
