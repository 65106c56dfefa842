# SPDX-License-Identifier: GPL-2.0-only
"""Applies a diff to a file's text, with offsets and fuzz as GNU patch allows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .diffs import FileDiff, Hunk
from .errors import PatchError

#: How many lines of context at each end may be left out.
MOST_FUZZ = 2


@dataclass(frozen=True)
class Applied:
    """The new text of a file, and a note for each hunk that was not where it said."""

    text: str
    notes: tuple[str, ...]


def apply(diff: FileDiff, text: str) -> Applied:
    """Return a file's text with a diff applied.

    Raises PatchError for a hunk that fits nowhere; the message shows what stands there.
    """
    lines = text.removesuffix("\n").split("\n") if text else []
    notes: list[str] = []
    shift = least = 0
    for hunk in diff.hunks:
        # a hunk without old lines comes after the line that it names
        wanted = hunk.line - bool(hunk.old) + shift
        found = _find(hunk, lines, wanted, least)
        if found is None:
            raise PatchError(_misfit(diff, hunk, lines, wanted))
        old = hunk.old[found.first : len(hunk.old) - found.last]
        new = hunk.new[found.first : len(hunk.new) - found.last]
        lines[found.place : found.place + len(old)] = new
        least = found.place + len(new)
        moved = found.place - found.first - wanted
        if moved or found.fuzz:
            notes.append(_moved(diff, hunk, moved, found.fuzz))
        shift += moved + len(new) - len(old)
    return Applied("".join(f"{line}\n" for line in lines), tuple(notes))


def is_applied(diff: FileDiff, text: str) -> bool:
    """Tell whether a text looks as if the diff had been applied to it before."""
    lines = text.split("\n")
    return bool(diff.hunks) and all(
        any(_fits(hunk.new, lines, at) for at in range(len(lines))) for hunk in diff.hunks
    )


class _HunkPlace(NamedTuple):
    """Where a hunk fits, with how much fuzz, and how many of its lines are left out for it."""

    place: int
    fuzz: int
    first: int
    last: int


def _find(hunk: Hunk, lines: Sequence[str], wanted: int, least: int) -> _HunkPlace | None:
    """Return where a hunk fits, nearest to where it says.

    A hunk with less context at one end belongs to that end of the file, unless fuzz makes
    up for it.
    """
    if not hunk.old:
        return _HunkPlace(max(min(wanted, len(lines)), least), 0, 0, 0)
    context = max(hunk.leading, hunk.trailing)
    for fuzz in range(min(MOST_FUZZ, context) + 1):
        first, last = fuzz + hunk.leading - context, fuzz + hunk.trailing - context
        old = hunk.old[max(first, 0) : len(hunk.old) - max(last, 0)]
        end = len(lines) - len(old)
        from_, to = (0 if last >= 0 else end), (end if first >= 0 else 0)
        for place in _outwards(wanted + max(first, 0), max(least + max(first, 0), from_), to):
            if _fits(old, lines, place):
                return _HunkPlace(place, fuzz, max(first, 0), max(last, 0))
    return None


def _outwards(middle: int, least: int, most: int) -> Iterator[int]:
    """Yield places from the middle outwards, later ones first."""
    for away in range(max(abs(middle - least), abs(most - middle)) + 1):
        for place in dict.fromkeys((middle + away, middle - away)):
            if least <= place <= most:
                yield place


def _fits(wanted: Sequence[str], lines: Sequence[str], place: int) -> bool:
    found = lines[place : place + len(wanted)]
    return len(found) == len(wanted) and all(map(_same, wanted, found))


def _same(one: str, other: str) -> bool:
    # a mail may lose blanks at the end of a line
    return one == other or one.rstrip() == other.rstrip()


def _moved(diff: FileDiff, hunk: Hunk, moved: int, fuzz: int) -> str:
    where = f"{abs(moved)} line{'s' * (abs(moved) != 1)} {'later' if moved > 0 else 'earlier'}"
    with_fuzz = f"fuzz {fuzz}" if fuzz else ""
    said = ", ".join(filter(None, (where if moved else "", with_fuzz)))
    return f"{diff.path}: hunk {hunk.number} applied ({said})"


def _misfit(diff: FileDiff, hunk: Hunk, lines: Sequence[str], wanted: int) -> str:
    """Return why a hunk does not fit: the first line that is another one."""
    best, same = max(
        ((at, _how_many(hunk.old, lines, at)) for at in range(max(1, len(lines)))),
        key=lambda one: (one[1], -abs(one[0] - wanted)),
    )
    expected = hunk.old[same] if same < len(hunk.old) else hunk.old[-1]
    stands = lines[best + same] if best + same < len(lines) else "(the end of the file)"
    return (
        f"{diff.path}: hunk {hunk.number}, for line {hunk.line}, does not apply: line"
        f" {best + same + 1} is {stands.strip()!r}, the patch expects {expected.strip()!r}; give"
        " the tree that it was made for, or what comes before it with --with"
    )


def _how_many(wanted: Sequence[str], lines: Sequence[str], place: int) -> int:
    """Return how many lines fit from a place on."""
    for number, (one, other) in enumerate(zip(wanted, lines[place:], strict=False)):
        if not _same(one, other):
            return number
    return min(len(wanted), len(lines) - place)
