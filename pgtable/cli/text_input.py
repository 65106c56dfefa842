# SPDX-License-Identifier: GPL-2.0-only
"""Text with entries in it, from a file or standard input."""

from __future__ import annotations

from collections.abc import Iterator

from .. import bits
from ..images.text import Text, as_text, parse
from ..streams import open_stream

#: Longer texts are refused, since the whole text is in memory.
MAX_TEXT = 1 << 28
_PIECE = 1 << 20
#: What may be read, by the name that containers have for it.
TEXTS = ("text",)

LEVEL_NUMBERS = {name: number for number, name in enumerate(bits.LEVELS, 1)}


def read_text(name: str) -> Text:
    """Return the entries of a text, in any encoding; ``-`` is standard input.

    Raises ValueError where there are none, with what is there instead.
    """
    text = parse(as_text(_read(name)))
    if text.records:
        return text
    if text.foreign:
        raise ValueError(
            f"{name}: has {', '.join(text.foreign)}: not covered, only x86-64's page tables are"
        )
    more = "".join(f"; {note}" for note in text.notes[:3])
    raise ValueError(
        f"{name}: no page-table entries in it (crash pte, vtop and rd, info tlb, xp, x/gx,"
        f" page_tables files, oops and Bad page map lines, numbers are understood){more}"
    )


def _read(name: str) -> bytes:
    with open_stream(name) as stream:
        stream.refuse(accepted=TEXTS)
        data = bytearray()
        while piece := stream.read(_PIECE):
            data += piece
            if len(data) > MAX_TEXT:
                raise ValueError(
                    f"{name}: is longer than {MAX_TEXT >> 20} MiB; cut the text to what is asked"
                )
    return bytes(data)


def remarks(text: Text) -> Iterator[str]:
    """Yield what the text does not say, and what was skipped."""
    for name, lost in text.lost.items():
        yield f"{name} does not print: {lost}"
    yield from text.notes
    if text.ignored:
        yield f"{text.ignored} lines without entries"
