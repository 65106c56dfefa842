# SPDX-License-Identifier: GPL-2.0-only
"""The benchmarks' own parts: what they time must be checked, and compared fairly."""

import numpy as np
import pytest

from bench import blocks, goals, tables_and_plots, timing
from bench.goals import Goal, GoalValue, ThroughputResults
from bench.timed_operations import BY_NAME, BenchCase
from pgtable.cost import checking, entries, units
from pgtable.cost.report import marked_parts
from pgtable.cost.statistics import quartiles

BUDGET = timing.Budget(seconds=1e-9, min_rounds=4, max_rounds=9)


def timed(name, log, statement="work()", check=lambda calls: None, **names):
    return timing.TimedStatement(
        name=name,
        statement=statement,
        names={"work": lambda: log.append(name), **names},
        restore=lambda: log.append(f"restore {name}"),
        check=check,
    )


class TestChecking:
    block = np.arange(8, dtype=np.uint64)

    def test_repetitions_of_the_block_are_right(self):
        checking.require_equal("x", np.tile(self.block, 3), self.block)
        checking.require_equal("x", self.block.tolist(), self.block)

    @pytest.mark.parametrize("at", [0, 7, 8, 23])
    def test_one_wrong_entry_is_named(self, at):
        wrong = np.tile(self.block, 3)
        wrong[at] ^= np.uint64(1 << 58)
        with pytest.raises(checking.WrongResultError, match=f"x: entry {at} is 0x4"):
            checking.require_equal("x", wrong, self.block)

    @pytest.mark.parametrize(
        "wrong", [np.arange(8, dtype=np.int64), np.arange(7, dtype=np.uint64), np.ones(8, bool)]
    )
    def test_another_type_or_length_is_wrong(self, wrong):
        with pytest.raises(checking.WrongResultError):
            checking.require_equal("x", wrong, self.block)

    def test_a_wrong_number_is_wrong(self):
        checking.require_equal("x", 3, 3)
        with pytest.raises(checking.WrongResultError, match="x: 3, expected 4"):
            checking.require_equal("x", 3, 4)


class TestEntries:
    @pytest.mark.parametrize("n", [512, blocks.BLOCK, 2 * blocks.BLOCK])
    def test_large_arrays_repeat_a_block_at_a_page(self, n):
        array = entries.aligned(n)
        block = blocks.block_for("real", n)
        entries.fill(array, block)
        assert array.ctypes.data % 4096 == 0
        assert array.size == n
        assert np.array_equal(array[-block.size :], block)
        assert np.array_equal(array[: block.size], block)

    def test_part_of_a_block_more_is_refused(self):
        with pytest.raises(ValueError, match="multiple"):
            blocks.block_for("real", blocks.BLOCK + 1)


class TestTiming:
    def test_rounds_are_interleaved_and_start_elsewhere_each_time(self, monkeypatch):
        monkeypatch.setattr(timing, "BLOCK_NS", 0)  # one call a round
        log = []
        group = [timed(name, log) for name in "abc"]
        for one in group:
            one.calibrate()
        log.clear()
        for one in group:
            monkeypatch.setattr(one, "calibrate", lambda: None)
        timing.measure(group, BUDGET)
        worked = [entry for entry in log if len(entry) == 1]
        assert worked == list("abcbcacab")
        assert [len(one.samples) for one in group] == [3, 3, 3]
        assert log[:2] == ["restore a", "a"]

    def test_wrong_results_stop_the_measurement(self):
        def check(calls):
            raise checking.WrongResultError("x")

        with pytest.raises(checking.WrongResultError):
            timing.measure([timed("x", [], check=check)], BUDGET)

    @pytest.mark.parametrize("every", [True, False])
    def test_timed_output_is_checked(self, every):
        checked = []
        one = timed("x", [], check=checked.append)
        timing.measure([one], BUDGET, check_every_round=every)
        warm = one.inner > 1
        assert checked == [1] + [one.inner + warm] * (3 if every else 1)

    def test_short_statements_are_repeated_and_a_sample_is_of_one_call(self):
        one = timed("x", [], statement="pass")
        timing.measure([one], BUDGET)
        assert one.inner > 100
        assert max(one.samples) < timing.BLOCK_NS

    @pytest.mark.parametrize(("seconds", "rounds"), [(1e-9, 3), (1e9, 9)])
    def test_rounds_follow_the_time_there_is(self, seconds, rounds):
        one = timed("x", [])
        timing.measure([one], BUDGET._replace(seconds=seconds))
        assert len(one.samples) == rounds

    def test_quartiles(self):
        assert quartiles([5.0]) == (5, 5, 5)
        assert quartiles([4.0, 1.0, 2.0, 3.0, 5.0]) == (1.75, 3, 4.25)


def row(operation, n, family, median, threads=1, variant=""):
    return {
        "operation": operation,
        "entries": n,
        "family": family,
        "variant": variant or ("avx2" if family == "native" else ""),
        "threads": threads,
        "median_ns": median,
        "q1_ns": median * 0.9,
        "q3_ns": median * 1.1,
    }


@pytest.fixture
def results():
    rows = [
        row("wrprotect", 512, "native", 10),
        row("wrprotect", 512, "native", 5, variant="avx512"),
        row("wrprotect", 512, "numpy", 40),
        row("wrprotect", 512, "numpy", 30, variant="in blocks"),
        row("wrprotect", 4096, "native", 60),
        row("wrprotect", 4096, "numpy", 40),
        row("wrprotect", 4096, "native", 30, threads=2),
        row("wrprotect", 4096, "limit", 50),
        row("wrprotect", 4096, "limit", 20, threads=2),
        row("loop mkclean", 4096, "native", 22),
        row("loop", 4096, "limit", 20),
    ]
    return ThroughputResults({"machine": {"isa": "avx2"}, "results": rows})


class TestGoals:
    def test_the_quickest_variant_of_others_and_the_widest_of_ours_count(self, results):
        assert results.time("wrprotect", 512, "numpy") == 30
        assert results.time("wrprotect", 512, "native") == 10
        assert goals.over("wrprotect", 512, "numpy")(results) == GoalValue(3)

    def test_the_worst_is_found_and_named(self, results):
        assert goals.worst_over("numpy")(results) == GoalValue(1.5, "wrprotect, 4 Ki")
        assert goals.worst_at("numpy", 512)(results) == GoalValue(1 / 3, "wrprotect")

    def test_ratios(self, results):
        assert goals.to_limit("wrprotect", 4096)(results) == GoalValue(1.2)
        assert goals.loop_to_limit("mkclean", (4096,))(results) == GoalValue(1.1, "4 Ki")
        assert goals.gain_to_limit("wrprotect", 4096)(results) == GoalValue(0.8, "2.00 of 2.50")

    @pytest.mark.parametrize(
        ("relation", "bound", "reached"),
        [("<=", 1.2, True), ("<=", 1.19, False), (">=", 1.2, True), (">=", 1.21, False)],
    )
    def test_reached(self, results, relation, bound, reached):
        goal = Goal("x", goals.to_limit("wrprotect", 4096), relation, bound)
        assert goal.reached(goal.measured(results)) is reached

    def test_what_was_not_measured_is_said_so(self, results):
        said = {text: (measured, reached) for text, measured, _, reached in goals.rows(results)}
        assert said["modify in place, 16 Mi, to the limit"] == ("not measured", "")
        assert said["numpy to wrprotect in place, 512"] == ("3 x", "yes")
        assert said["never slower than numpy: worst of all"] == ("1.5 x (wrprotect, 4 Ki)", "no")


WALK = {
    "full tables": {
        "entries": 16_810_050,
        "reading_entries_per_second": 2e9,
        "entries_per_second": 180e6,
        "entries_per_second_all_columns": 90e6,
        "census_entries_per_second": 1e9,
        "census_over_reading": 2.0,
        "walk_over_reading_and_writing": 1.25,
        "peak_over_result": 0.95,
    },
    "opening": {"open_and_walk_8_TiB_ms": 0.5},
    "times faster": {
        "dump": {"entries": 15890, "plain_python": 48.4, "drgn": 200.0},
        "synthetic": {"entries": 1 << 20, "plain_python": 334.0, "plain_python_all_columns": 65.0},
    },
}


class TestWalks:
    def test_goals(self, results):
        results.walk = WALK
        said = {text: (measured, reached) for text, measured, _, reached in goals.rows(results)}
        assert said["census of an image, full tables, to only reading them"] == ("2 x", "yes")
        assert said["census of an image, mixed tables, to only reading them"][0] == "not measured"
        assert said["walk into columns, full tables"] == ("180 M/s", "yes")
        assert said["plain Python to walk"] == ("334 x", "yes")

    def test_tables(self):
        heads, _, *rows = (
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in tables_and_plots.walk_table(WALK).splitlines()
        )
        (full,) = (dict(zip(heads, row, strict=True)) for row in rows)
        assert full["image"] == "full tables"
        assert full["entries"] == "16.8 M"
        assert full["only reading"] == "2 G/s"
        assert full["census"] == "1 G/s"
        assert full["walk"] == "180 M/s"
        assert full["walk, every column"] == "90 M/s"
        assert full["census / reading"] == "2.00"
        assert full["walk / limit"] == "1.25"
        dump, synthetic = tables_and_plots.walkers_table(WALK).splitlines()[2:]
        assert [cell.strip() for cell in dump.split("|")[1:-1]] == [
            *("dump", "15890", "48 x", "", "200 x", ""),
        ]
        assert "65 x" in synthetic


class TestReport:
    def test_text_between_markers_is_replaced_and_nothing_else(self, tmp_path):
        path = tmp_path / "README.md"
        path.write_text("a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb <!-- y:begin -->\n")
        assert marked_parts.replace_between(path, "x", r"new \1")
        assert (
            path.read_text() == "a\n<!-- x:begin -->\nnew \\1\n<!-- x:end -->\nb <!-- y:begin -->\n"
        )
        assert not marked_parts.replace_between(path, "y", "new")

    def test_short_table_has_rates(self, results):
        table = tables_and_plots.short_table(results)
        assert "| **pgtable**" in table
        assert "51.2 G/s" in table
        assert "4 Ki" not in table


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_expected_is_what_the_library_gives(name):
    case = BenchCase(BY_NAME[name], 4096)
    if case.operation.shape == "census":
        assert case.expected["pte_none"] < 4096
        return
    assert np.any(case.expected != case.block)


def test_units():
    assert [units.entries_text(n) for n in (64, 512, 4096, 1 << 27)] == [
        "64",
        "512",
        "4 Ki",
        "128 Mi",
    ]
    assert units.time_text(1500) == "1.5 us"
    assert units.time_text(431) == "431 ns"
    assert units.rate_text(1.25e9) == "1.25 G/s"
    assert units.bytes_text(3 << 29) == "1.5 GiB"
