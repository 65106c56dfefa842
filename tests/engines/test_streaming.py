# SPDX-License-Identifier: GPL-2.0-only
"""Which results are written past the caches: large ones, out of place, and no others."""

from __future__ import annotations

import numpy as np
import pytest
from pgtable.engines._native import ffi

import pgtable
from pgtable.engines import loop_engine

FROM = 5000


class Spy:
    """An engine whose streaming stores are noted, then done."""

    def __init__(self, isa: str) -> None:
        self.engine = pgtable.native(isa=isa)
        self.streamed: list[int] = []
        self.ends = 0
        real = self.engine.loops

        @ffi.callback("void(void *, const void *, size_t)")
        def stream(out, block, n):
            self.streamed.append(n)
            real.block.stream(out, block, n)

        @ffi.callback(ffi.typeof(real.form.map_stream))
        def form_stream(form, entries, out, n):
            self.streamed.append(n)
            real.form.map_stream(form, entries, out, n)

        @ffi.callback("void(void)")
        def stream_end():
            self.ends += 1
            real.block.stream_end()

        block = ffi.new("struct pgtable_block_loops *", real.block[0])
        block.stream, block.stream_end = stream, stream_end
        form = ffi.new("struct pgtable_form_loops *", real.form[0])
        form.map_stream = form_stream
        self.keep = (stream, form_stream, stream_end, block, form)
        self.engine.loops = ffi.new("struct pgtable_loops *", real[0])
        self.engine.loops.block, self.engine.loops.form = block, form


@pytest.fixture
def spy(usable_isa, monkeypatch) -> Spy:
    monkeypatch.setattr(loop_engine, "LARGE_FROM", FROM)
    return Spy(usable_isa)


def test_large_results_are_streamed_and_waited_for(spy, random_entries) -> None:
    entries = random_entries[:FROM]
    # threads= takes the call past the short way for small ones, to the driver
    result = spy.engine.pte_mkold(entries, threads=1)
    assert np.array_equal(result, pgtable.pte_mkold(entries))
    assert sum(spy.streamed) == FROM
    assert spy.ends == 1
    # one that has a form, one that has none, and a chain that is both
    for ends, names in enumerate((["pte_mkclean"], ["pte_mkdirty"], ["pte_mkold", "pte_mkdirty"])):
        spy.engine.chain(*names)(entries, out=np.empty_like(entries), threads=1)
        assert sum(spy.streamed) == (ends + 2) * FROM
        assert spy.ends == ends + 2


def test_every_thread_waits_for_its_own(spy, random_entries) -> None:
    spy.engine.pte_mkold(random_entries, threads=3)
    assert sum(spy.streamed) == random_entries.size
    # each of the three parts is done in several runs, and each run ends so
    assert spy.ends >= 9


def test_no_other_results_are(spy, random_entries) -> None:
    engine = spy.engine
    large = random_entries[: 2 * FROM].copy()
    engine.pte_mkold(random_entries[: FROM - 1], threads=1)
    engine.pte_mkold(large, out=large, threads=1)
    engine.chain("pte_mkold", "pte_mkclean")(large, out=large)
    engine.pte_mkold(large, where=large > 5)
    engine.pte_dirty(large, threads=1)
    engine.pte_dirty.count(large, threads=1)
    engine.chain("pte_mkold", "pte_dirty").count(large)
    assert spy.streamed == []
