# SPDX-License-Identifier: GPL-2.0-only
"""The cost report, made of synthetic results of which every number is known."""

from __future__ import annotations

import itertools
import math
import re
import shutil
from pathlib import Path

import pytest

from pgtable.cost import result_files, simulated
from pgtable.cost.report import __main__ as cost_report
from pgtable.cost.report import plots as cost_plots
from pgtable.cost.report import sentences as cost_text
from pgtable.cost.report import tables as cost_tables
from pgtable.cost.report.__main__ import BENCH, ROOT
from pgtable.cost.report.by_stage import (
    BEFORE,
    MERGED,
    PATCH,
    PATCH_OFF,
    STAGES,
    Costs,
    CostValue,
    Stage,
)
from pgtable.cost.report.header_packages import newest_half
from pgtable.cost.result_files import Row
from pgtable.cost.statistics import summarise

#: Cycles of a helper by stage and mix, where it is not one cycle.
CYCLES = {
    ("pte_wrprotect", PATCH, "half"): 11.0,
    ("pte_wrprotect", PATCH_OFF, "half"): 12.0,
    ("pte_wrprotect", PATCH, "dirty"): 0.5,
    ("pte_wrprotect", MERGED, "dirty"): 0.5,
    ("pte_wrprotect", BEFORE, "clean"): 0.02,
}
REAL = Stage("Linux 6.1", "6.1.0-9-amd64", None, None)
CYCLES["pte_wrprotect", REAL, "clean"] = 0.02
GHZ = 2.0
MACHINE = {
    "processor": "Some Processor",
    "processors": 2,
    "caches": {"L1": "32K"},
    "system": "Linux 6 x86_64",
    "seconds": 12.3,
    "flags": {"kernel": ["-O2", "-mno-sse"]},
    "notes": ["not measured: something"],
}


def row(helper, stage, mix, way="kernel", shape="table", compiler="gcc 12.2.0", **extra):
    cycles = CYCLES.get((helper, stage, mix), 1.0)
    params = {
        "helper": helper,
        **stage.params,
        "way": way,
        "compiler": compiler,
        "mix": mix,
        "shape": shape,
    }
    known = {
        "cycles": cycles,
        "cycles_low": cycles - 0.1,
        "cycles_high": cycles + 0.2,
        "cycles_by": "chain",
        "overhead_ns": 0.5,
        "instructions": 4.0,
        "branches": 1.0,
        "mispredictions": 0.5 if mix == "half" else 0.0,
        "counted_by": "callgrind",
        "code_bytes": 36,
    }
    ns = cycles / GHZ
    return Row(params, summarise([[ns], [ns * 1.001], [ns * 0.999]]), known | extra)


def rows_of(helpers, stages=STAGES, mixes=("clean", "dirty", "half", "sorted"), **params):
    return [row(*one, **params) for one in itertools.product(helpers, stages, mixes)]


@pytest.fixture
def saved(tmp_path):
    """Save rows and load them as the report does."""

    def make(rows, machine=MACHINE):
        path = tmp_path / "cost.json"
        result_files.save(path, result_files.document(machine, rows))
        return Costs(result_files.load(path))

    return make


@pytest.fixture
def costs(saved):
    """Something of everything that the report shows."""
    discussed = cost_tables.DISCUSSED
    rows = rows_of(discussed) + rows_of(discussed, mixes=("half",), compiler="clang 14")
    for way in ("constant", "vector"):
        rows += rows_of(discussed, mixes=("clean", "half"), way=way)
    rows += rows_of(discussed, mixes=("clean", "half"), shape="latency")
    rows += rows_of(discussed, mixes=("half",), shape="memory")
    rows += rows_of(discussed, stages=(REAL,))
    rows += rows_of(("pte_wrprotect",), mixes=("file:k612-128.ptes.bin.xz",))
    return saved(rows)


def line_of(table, *cells):
    """Return the cells of a table's only row that begins with these."""
    rows = [[one.strip() for one in line.strip("|").split("|")] for line in table.splitlines()]
    (found,) = [one for one in rows if one[: len(cells)] == list(cells)]
    return found


class TestTables:
    def test_headline(self, costs):
        table = cost_tables.headline(costs)
        assert line_of(table, "helper")[2:] == [
            "before, cycles",
            "patch, feature on, cycles",
            "patch, feature off, cycles",
            "merged, feature on, cycles",
        ]
        cells = line_of(table, "`pte_wrprotect`", "half")
        assert cells[2:] == ["1.00 ±0.20", "11.00 ±0.20", "12.00 ±0.20", "1.00 ±0.20"]
        assert line_of(table, "`pte_wrprotect`", "k612-128")

    def test_every_stage_stands_in_its_own_column(self, saved):
        rows = rows_of(("pte_wrprotect",), mixes=("clean",))
        for number, one in enumerate(rows):
            one.extra["cycles"] = one.extra["cycles_low"] = one.extra["cycles_high"] = number + 1.0
        cells = line_of(cost_tables.helpers(saved(rows)), "`pte_wrprotect`", "clean")
        assert cells[2:] == [f"{number}.00 ±0.00" for number in range(1, 7)]

    def test_ways(self, costs):
        cells = line_of(cost_tables.ways(costs), "`pte_wrprotect`", "half")
        assert cells[2:] == [*["1.00 ±0.20"] * 3, *["11.00 ±0.20"] * 3, *["1.00 ±0.20"] * 3]

    def test_compilers(self, costs):
        table = cost_tables.compilers(costs)
        assert line_of(table, "helper", "compiled", "mix")[3:5] == [
            "before, gcc 12.2.0",
            "before, clang 14",
        ]
        assert line_of(table, "`pte_mkdirty`", "kernel", "clean")[4] == ""
        cells = line_of(table, "`pte_wrprotect`", "kernel", "half")
        assert cells[5:] == ["11.00 ±0.20", "11.00 ±0.20", "1.00 ±0.20", "1.00 ±0.20"]
        assert line_of(table, "`pte_wrprotect`", "constant", "half")[6] == ""

    def test_a_single_compiler_is_said(self, saved):
        assert cost_tables.compilers(saved([row("x", PATCH, "half")])) == (
            "Only gcc 12.2.0 was there."
        )

    def test_shapes(self, costs):
        assert len(line_of(cost_tables.latency(costs), "`pte_mkwrite`", "half")) == 5
        assert len(line_of(cost_tables.memory(costs), "`pte_mkwrite`", "kernel", "half")) == 6

    def test_counts(self, costs, saved):
        cells = line_of(cost_tables.counts(costs), "`pte_mkwrite`", "half")
        assert cells[2] == "4.0 / 1.0 / 0.50"
        unknown = saved([row("pte_mkwrite", PATCH, "half", branches=None)])
        assert line_of(cost_tables.counts(unknown), "`pte_mkwrite`", "half")[3] == "not counted"

    def test_sizes(self, costs):
        assert line_of(cost_tables.sizes(costs), "`pte_mkwrite`", "clang 14")[2:] == ["36"] * 6

    def test_overhead(self, costs):
        cells = line_of(cost_tables.overhead(costs), "table", "kernel", "clang 14")
        assert cells[3] == "0.500 to 0.500"

    def test_noisy_and_unknown_intervals_are_said(self):
        assert cost_tables.cell(CostValue(1, 0.9, 1.3, True)) == "1.00 ±0.30 ~"
        assert cost_tables.cell(CostValue(-0.001, -math.inf, math.inf, True)) == "0.00 ±? ~"
        assert cost_tables.cell(None) == ""

    def test_nanoseconds_where_cycles_are_unknown(self, saved):
        found = saved(
            [row("pte_wrprotect", PATCH, "half", cycles=None, cycles_low=None, cycles_high=None)]
        )
        table = cost_tables.headline(found)
        assert "patch, feature on, ns" in table
        assert line_of(table, "`pte_wrprotect`", "half")[3].startswith("5.50 ±")


class TestKernels:
    def test_beside_ours(self, costs):
        cells = line_of(cost_tables.kernels(costs), "Linux 6.1", "`pte_wrprotect`", "half")
        assert cells[3:] == ["1.00 ±0.20", "1.00 ±0.20", "yes", "36", "4.0"]

    def test_all_agree(self, costs):
        assert cost_text.kernels(costs) == (
            "- Linux 6.1 (6.1.0-9-amd64): 12 measurements of helpers that both have, not"
            " vectorised; in 12 the code is the same (bytes, instructions and branches), and of"
            " these 12 agree within their intervals. Other code: none."
        )

    def test_the_same_code_that_does_not_agree_is_named(self, saved):
        slow = row("a", REAL, "half", cycles=2.0, cycles_low=1.9, cycles_high=2.1)
        other = row("b", REAL, "half", code_bytes=99, instructions=7.0)
        rows = [slow, other, row("a", BEFORE, "half"), row("b", BEFORE, "half")]
        text = cost_text.kernels(saved(rows))
        assert "in 1 the code is the same" in text
        assert "0 agree within their intervals; not: `a` (half, table, kernel, gcc 12.2.0)" in text
        assert "Other code: `b`." in text
        cells = line_of(cost_tables.kernels(saved(rows)), "Linux 6.1", "`b`", "half")
        assert cells[6:] == ["99 and 36", "7.0 and 4.0"]
        cells = line_of(cost_tables.kernels(saved(rows)), "Linux 6.1", "`a`", "half")
        assert cells[5] == "no"

    @pytest.mark.parametrize(
        ("shstk", "ours"), [(None, "base"), (True, "saved_dirty"), (False, "saved_dirty")]
    )
    def test_what_a_tree_is_held_against(self, saved, shstk, ours):
        real = Stage("Linux 9.9", "9.9.9", shstk, None)
        found = saved([row("a", real, "half"), *rows_of("a", mixes=("half",))])
        (kernel,) = found.kernels
        assert kernel == real
        (pair,) = found.pairs(kernel)
        assert pair.ours.params["engine"] == ours
        assert pair.ours.params["shstk"] is shstk

    def test_none_is_said(self, saved):
        found = saved(rows_of(("pte_wrprotect",)))
        assert "No real headers" in cost_tables.kernels(found)
        assert "No real headers" in cost_text.kernels(found)


class TestText:
    def test_machine(self, costs):
        text = cost_text.machine(costs)
        assert "Some Processor, 2 processors (L1 32K); Linux 6 x86_64; gcc 12.2.0, clang 14" in text
        assert f"{len(costs.results.rows)} measurements in 3 processes, 12 seconds in all" in text
        assert "A nanosecond was 2.00 cycles of the core, measured as a chain" in text
        assert "callgrind" in text

    def test_what_was_left_out_is_said(self, costs, saved):
        assert "left out" not in cost_text.machine(costs)
        found = saved([row("a", PATCH, "half", disturbed=3), row("b", PATCH, "half", disturbed=4)])
        assert ", 7 more were left out, as another thread shared the core;" in cost_text.machine(
            found
        )

    def test_what_counted(self, saved):
        perf = saved([row("a", PATCH, "half", counted_by="perf", cycles_by="perf", cycles=9.0)])
        assert "perf events" in cost_text.machine(perf)
        none = saved([row("a", PATCH, "half", counted_by=None)])
        assert "were not counted" in cost_text.machine(none)

    def test_findings(self, costs):
        first = cost_text.findings(costs).splitlines()[0]
        assert "before the patch 0.02 to 1.00 cycles" in first
        assert "The patch: 0.50 ±0.20 cycles where all are dirty, 11.00 ±0.20 cycles where" in first
        assert "As merged: 0.50 to 1.00 cycles" in first
        assert "Where all are dirty, patch and merged cannot be told apart." in first
        assert "the patch costs 10.00 ±0.28 cycles more than merged" in first
        # (11 - (1 + 0.5) / 2) / 0.5
        assert "0.50 branches an entry are mispredicted, at 20 cycles each" in first
        assert "up to 12.00 ±0.20 cycles (half)" in first
        assert "Compiled out, it differs from before (clean)." in first

    def test_what_cannot_be_told_is_not_told(self, costs):
        second = cost_text.findings(costs).splitlines()[1]
        assert "Compiled out, it cannot be told from before on any mix." in second
        assert "mispredicted" not in second
        assert " more than merged" not in second

    def test_less_than_merged_is_said(self, saved):
        rows = [
            row("pte_mkdirty", stage, mix, cycles=at, cycles_low=at, cycles_high=at)
            for stage, mix, at in ((PATCH, "clean", 1.0), (MERGED, "clean", 3.0))
        ]
        assert "the patch costs 2.00 ±0.00 cycles less than merged" in cost_text.findings(
            saved(rows)
        )

    def test_what_was_not_measured_is_said(self, saved):
        found = saved([row("pte_wrprotect", MERGED, "half")])
        assert cost_text.findings(found).splitlines()[0] == "- `pte_wrprotect`: not measured."

    def test_sentence_of_the_readme(self, costs):
        text = cost_text.headline(costs)
        assert "`pte_wrprotect` costs 0.02 to 1.00 cycles an entry before the patch" in text
        assert "11.00 ±0.20 cycles where half are dirty at random" in text

    def test_notes_and_flags(self, costs, saved):
        assert cost_text.notes(costs) == "- not measured: something"
        assert cost_text.flags(costs) == "- kernel: `-O2 -mno-sse`"
        assert "Everything" in cost_text.notes(saved([row("a", PATCH, "half")], {}))

    def test_repeated(self):
        repeat = {
            "datetime": "2026-01-02T03:04:05",
            "agreement": {"a": [9, 10], "b": [8, 10], "c": [10, 10]},
            "slower": 1,
            "quicker": 0,
            "threshold_percent": 2.0,
        }
        text = cost_text.repeated(repeat)
        assert "27 of 30 measurements (90.0%)" in text
        assert "2 of 3 helpers" in text
        assert "`b`, 8 of 10" in text
        assert "1 really slower and 0 really quicker by more than 2 %" in text
        assert "Not measured" in cost_text.repeated(None)


class TestReport:
    @pytest.fixture(autouse=True)
    def _needs_matplotlib(self):
        pytest.importorskip("matplotlib", reason="matplotlib is in the extra bench")

    def test_the_same_results_make_the_same_files(self, costs, tmp_path):
        pages = []
        for name in ("a", "b"):
            place = tmp_path / name
            place.mkdir()
            page = Path(shutil.copy(BENCH / "COST.md", place))
            cost_report.write(costs, None, place / "plots", [page])
            pages.append({file.name: file.read_bytes() for file in place.rglob("*.*")})
        assert pages[0] == pages[1]
        assert set(pages[0]) == {"COST.md", "cost-main.svg", "cost-ways.svg", "cost-latency.svg"}

    def test_every_marked_part_is_written(self, costs, tmp_path, monkeypatch):
        written = {}
        monkeypatch.setattr(
            cost_report, "replace_between", lambda page, name, text: written.update({name: text})
        )
        cost_report.write(costs, None, tmp_path, [tmp_path])
        pages = (BENCH / "COST.md").read_text() + (ROOT / "README.md").read_text()
        marked = re.findall(r"<!-- (cost-[a-z]+):begin -->", pages)
        assert set(marked) == set(written)
        assert all(written.values())

    def test_unknown_intervals_can_be_drawn(self, saved, tmp_path):
        rows = rows_of(cost_tables.DISCUSSED, cycles_low=None, cycles_high=None)
        cost_plots.main(saved(rows), tmp_path / "x.svg")
        assert (tmp_path / "x.svg").stat().st_size

    def test_a_repeated_run_is_compared_with_the_first(self, costs, tmp_path):
        again = result_files.document(MACHINE, [row("pte_wrprotect", PATCH, "half")])
        found = cost_report.repeat_of(tmp_path / "cost.json", again, tmp_path / "again.json")
        assert found["agreement"] == {"pte_wrprotect": (1, 1)}
        assert (found["slower"], found["quicker"]) == (0, 0)


def test_the_smoke_plan_has_every_way_and_shape():
    plan, _ = cost_report.smoke_plan()
    assert {way for part in plan.parts for way in part.ways} == {"kernel", "constant", "vector"}
    assert {shape for part in plan.parts for shape in part.shapes} == {
        "table",
        "latency",
        "memory",
    }


def test_the_patch_is_measured_with_its_branches():
    """Not with the shifts of pgtable.h, which have none: that was the whole question."""
    if simulated.missing():
        pytest.skip(simulated.missing())
    part = cost_report.PlanPart(
        helpers=(*cost_tables.DISCUSSED, "pte_write", "pud_wrprotect"), mixes=("half",)
    )
    plan = cost_report.Plan((part,), processes=1, seconds=0.01, rounds=1)
    found = {
        (one.params["helper"], one.params["engine"]): one.extra for one in cost_report.measure(plan)
    }
    for helper in part.helpers:
        assert found[helper, "base"]["branches"] == pytest.approx(0, abs=0.1)
        assert found[helper, "cow"]["branches"] == pytest.approx(1, abs=0.1)
        assert found[helper, "cow"]["mispredictions"] > 0.3
    for helper in ("pte_wrprotect", "pte_mkdirty", "pud_wrprotect"):
        assert found[helper, "saved_dirty"]["mispredictions"] < 0.1
    assert found["pte_write", "saved_dirty"]["mispredictions"] > 0.3


class TestHeaderPackages:
    def make(self, root, *names):
        for name in names:
            header = root / "usr/src" / name / "include/generated/autoconf.h"
            header.parent.mkdir(parents=True)
            header.touch()

    def test_the_newest_plain_ones_are_found(self, tmp_path):
        self.make(
            tmp_path,
            "linux-headers-6.1.0-9-amd64",
            "linux-headers-6.1.0-10-amd64",
            "linux-headers-6.1.0-11-rt-amd64",
            "linux-headers-6.1.0-11-cloud-amd64",
            "linux-headers-6.12.1-amd64",
        )
        assert newest_half(tmp_path, "6.1").name == "linux-headers-6.1.0-10-amd64"
        assert newest_half(tmp_path, "6.12").name == "linux-headers-6.12.1-amd64"

    def test_a_half_without_generated_headers_is_none(self, tmp_path):
        (tmp_path / "linux-headers-6.1.0-9-amd64").mkdir()
        assert newest_half(tmp_path, "6.1") is None

    def test_the_report_says_why_there_are_none(self, monkeypatch):
        monkeypatch.setattr(cost_report, "find_or_fetch", lambda series, root: (None, "no network"))
        plan, notes = cost_report.full_plan()
        assert notes == [
            "not measured: headers of Linux 6.1: no network",
            "not measured: headers of Linux 6.12: no network",
        ]
        assert all(part.kernels == () for part in plan.parts)

    def test_real_headers_are_in_every_part(self, monkeypatch, tmp_path):
        monkeypatch.setattr(cost_report, "find_or_fetch", lambda series, root: (tmp_path, ""))
        plan, notes = cost_report.full_plan()
        assert notes == []
        assert all(len(part.kernels) == 2 for part in plan.parts)
        assert any(part.files for part in plan.parts)
