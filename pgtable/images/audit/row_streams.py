# SPDX-License-Identifier: GPL-2.0-only
"""Where an audit takes rows from, as often as it wants: columns of a walk, or the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise

import numpy as np

from ..image import Image
from ..segments import Segments
from ..steps import run_task
from ..walk import Root, Walk, Walked
from ..walking import NativeWalk, Parts, report_all, streamed_columns

Columns = dict[str, np.ndarray]
Stream = Callable[[], Iterator[Columns]]

#: Rows of columns that are looked at together.
_ROWS = 1 << 15


class RowStreams:
    """Rows of one address space, in streams that follow one another.

    walked: what else is known of it; streams: each gives columns (va, entry, traits), in
    memory that it may use again for the next; threads: how many streams may be read at once.
    """

    def __init__(self, walked: Walked, streams: Sequence[Stream], threads: int = 1):
        self.walked = walked
        self.streams = streams
        self.threads = threads

    def walk_of(self, columns: Columns) -> Walk:
        """Return some rows as a walk."""
        found = Walk(self.walked.root, tables=self.walked.tables, **columns)
        found.kernel = self.walked.kernel
        return found


def streams_of_walk(walk: Walk, threads: int = 1) -> RowStreams:
    """Return the rows of a walk; its columns are not copied."""
    cuts = np.linspace(0, len(walk), threads + 1).astype(np.intp).tolist()
    streams = [partial(_rows_of, walk, first, last) for first, last in pairwise(cuts)]
    return RowStreams(walk, streams, threads)


def _rows_of(walk: Walk, first: int, last: int) -> Iterator[Columns]:
    columns = {"va": walk.va, "entry": walk.entry, "traits": walk._traits}
    for start in range(first, last, _ROWS):
        rows = slice(start, min(start + _ROWS, last))
        yield {name: column[rows] for name, column in columns.items()}


class TablesWalked(Walked):
    """What is known of an address space whose rows are read from its tables each time."""

    #: How many rows there are, once they were read.
    rows = 0

    def __len__(self) -> int:
        return self.rows


def streams_of_image(image: Image, root: Root, threads: int = 1) -> RowStreams:
    """Return the rows below a root; nothing but the list of tables is kept."""
    segments: Segments = image.tables(root)
    parts = Parts.of(segments, root, threads)
    if parts is not None:
        walked = TablesWalked(root, parts.tables())
        report_all(walked, parts.whole, 0)
        streams = [partial(_stream, walk, False) for walk in parts.walks]
        return RowStreams(walked, streams, threads)
    whole = NativeWalk(segments, root)
    run_task(whole.discover())
    once, everywhere = whole.excessive, 0
    if once:
        run_task(whole.count())
        everywhere = whole.bounds.everywhere
    # tables are only known to be reached, and loops to be loops, when they were visited
    for _ in whole.stream(once, streamed_columns()):
        pass
    walked = TablesWalked(root, whole.tables())
    report_all(walked, whole, everywhere)
    return RowStreams(walked, [partial(_stream, whole, once)])


def _stream(walk: NativeWalk, once: bool) -> Iterator[Columns]:
    yield from walk.stream(once, streamed_columns())
