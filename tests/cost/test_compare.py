# SPDX-License-Identifier: GPL-2.0-only
"""The comparison, on synthetic results of which the truth is known."""

from __future__ import annotations

import argparse
import json
import math
import random

import pytest

from pgtable.cli import add_command, bench_compare
from pgtable.cost import compare_runs as comparing
from pgtable.cost import result_files
from pgtable.cost.compare_runs import compare, holm, ratio
from pgtable.cost.result_files import CostResults, Row
from pgtable.cost.statistics import Summary, summarise

PARAMS = {
    "helper": "pte_wrprotect",
    "engine": "cow",
    "shstk": True,
    "config": True,
    "way": "kernel",
    "compiler": "gcc 12.2.0",
    "mix": "half",
    "shape": "table",
}
MACHINE = {"processor": "one", "processors": 2, "system": "Linux 6", "date": "today"}


def costs(median, spread=0.01):
    """Samples of three processes: the median, and so much of it to either side."""
    return [[median * (1 - spread)], [median], [median * (1 + spread)]]


def row(samples, **params):
    return Row(PARAMS | params, summarise(samples), {})


def run_of(*rows, path="x.json", **machine):
    return CostResults(path, MACHINE | machine, "now", "pgtable 1", list(rows))


def reach(spread, processes=3):
    """Half of the interval that ``costs`` has."""
    return spread * 4.302653 / math.sqrt(processes)


class TestRatio:
    def test_of_the_medians(self):
        assert ratio(summarise(costs(2)), summarise(costs(3)))[0] == pytest.approx(1.5)

    def test_fieller_s_interval(self):
        # standard errors 0.02 and 0.01; Welch: 0.0005**2 / (0.0004**2 + 0.0001**2) * 2 = 2.9
        spread = 0.02 * math.sqrt(3)
        _, low, high = ratio(summarise(costs(1, spread)), summarise(costs(1, spread / 2)))
        t = 4.302653  # two degrees of freedom
        g = (t * 0.02) ** 2
        root = math.sqrt(1 - (1 - g) * (1 - (t * 0.01) ** 2))
        assert (low, high) == pytest.approx(((1 - root) / (1 - g), (1 + root) / (1 - g)), rel=1e-4)

    def test_it_has_the_truth_in_it_as_often_as_it_says(self):
        rng = random.Random(7)

        def measured(cost):
            shifts = [rng.gauss(0, 0.03) for _ in range(5)]
            return summarise([[cost * (1 + shift)] for shift in shifts])

        found = [ratio(measured(2.0), measured(2.6)) for _ in range(1000)]
        assert 950 - 21 <= sum(low <= 1.3 <= high for _, low, high in found) <= 985

    def test_to_next_to_nothing_it_is_infinite(self):
        value, low, high = ratio(summarise([[-0.1], [0.1], [0.3]]), summarise(costs(1)))
        assert value == pytest.approx(10)
        assert (low, high) == (-math.inf, math.inf)

    def test_to_nothing_there_is_none(self):
        value, low, high = ratio(summarise([[0.0], [0.0]]), summarise(costs(1)))
        assert math.isnan(value)
        assert (low, high) == (-math.inf, math.inf)

    def test_below_nothing_there_is_no_interval(self):
        assert ratio(summarise(costs(-5)), summarise(costs(1)))[1:] == (-math.inf, math.inf)

    def test_one_process_has_none(self):
        assert ratio(summarise([[1.0]]), summarise(costs(1))) == (1, -math.inf, math.inf)

    def test_what_widened_the_interval_counts(self):
        exact = [[1.0]] * 4
        _, low, high = ratio(summarise(exact, 0.1), summarise(exact, 0.1))
        assert low < 0.9
        assert high > 1.1


class TestHolm:
    def test_the_textbook(self):
        assert holm([0.01, 0.04, 0.03, 0.005]) == [True, False, False, True]
        assert holm([0.0124, 0.0126]) == [True, True]
        assert holm([0.0251, 0.0251]) == [False, False]
        assert holm([]) == []

    def test_what_comes_after_a_failure_fails(self):
        # 0.045 alone would do at the last rank
        assert holm([0.03, 0.045]) == [False, False]

    @pytest.mark.parametrize("samples", [1, 9])
    def test_a_run_against_itself_rarely_names_anything(self, samples):
        rng = random.Random(samples)

        def measured():
            rows = []
            for number in range(20):
                shifts = [rng.gauss(0, 0.02) for _ in range(5)]
                timed = [[1 + s + rng.gauss(0, 0.002) for _ in range(samples)] for s in shifts]
                rows.append(row(timed, helper=f"pte_{number}"))
            return run_of(*rows)

        alarms = sum(
            any(one.real for one in compare(measured(), measured(), 0).differences)
            for _ in range(200)
        )
        assert alarms <= 0.05 * 200 + 3 * math.sqrt(200 * 0.05 * 0.95)


class TestCompare:
    def test_what_is_really_slower_or_quicker(self):
        before = run_of(*(row(costs(1), mix=mix) for mix in "abc"))
        after = run_of(row(costs(2), mix="a"), row(costs(0.5), mix="b"), row(costs(1.01), mix="c"))
        found = compare(before, after)
        assert [one.after.params["mix"] for one in found.slower] == ["a"]
        assert [one.after.params["mix"] for one in found.quicker] == ["b"]
        assert [one.agrees for one in found.differences] == [False, False, True]

    def test_the_worst_comes_first(self):
        before = run_of(*(row(costs(1), mix=mix) for mix in "abcd"))
        after = run_of(
            *(row(costs(by), mix=mix) for mix, by in zip("abcd", (2, 3, 0.5, 0.3), strict=True))
        )
        found = compare(before, after)
        assert [one.after.params["mix"] for one in found.slower] == ["b", "a"]
        assert [one.after.params["mix"] for one in found.quicker] == ["d", "c"]

    @pytest.mark.parametrize(("threshold", "real"), [(0, True), (9.9, True), (10.1, False)])
    def test_the_threshold_must_be_exceeded_in_earnest(self, threshold, real):
        exact = 1e-9
        before, after = run_of(row(costs(1, exact))), run_of(row(costs(1.1, exact)))
        assert compare(before, after, threshold).differences[0].slower is real
        assert compare(after, before, threshold).differences[0].quicker is real

    def test_a_difference_within_the_noise_is_none(self):
        before, after = run_of(row(costs(1, 0.2))), run_of(row(costs(1.3, 0.2)))
        assert compare(before, after).differences[0].real is False

    def test_one_process_proves_nothing(self):
        for pair in ((costs(1), [[9.0]]), ([[9.0]], costs(1)), ([[9.0]], [[1.0]])):
            before, after = (run_of(row(samples)) for samples in pair)
            (one,) = compare(before, after).differences
            assert (one.real, one.chance, one.agrees) == (False, 1, True)

    def test_costs_around_nothing_can_be_told_apart(self):
        before, after = run_of(row(costs(-0.01))), run_of(row(costs(2)))
        assert compare(before, after).differences[0].slower
        assert compare(after, before).differences[0].quicker

    def test_touching_intervals_agree(self):
        def stated(low, high):
            known = summarise(costs(1)).__dict__ | {"low": low, "high": high}
            return Row(PARAMS, Summary(**known), {})

        pairs = [((1, 2), (2, 3), True), ((2, 3), (1, 2), True), ((1, 1.9), (2, 3), False)]
        for a, b, agree in pairs:
            (one,) = compare(run_of(stated(*a)), run_of(stated(*b))).differences
            assert one.agrees is agree

    def test_rows_pair_by_every_parameter(self):
        before = run_of(row(costs(1)), row(costs(1), shstk=False))
        after = run_of(row(costs(1), shstk=False), row(costs(1), config=False))
        found = compare(before, after)
        assert [one.after.params["shstk"] for one in found.differences] == [False]
        assert [r.params["shstk"] for r in found.only_before] == [True]
        assert [r.params["config"] for r in found.only_after] == [False]

    def test_nothing_in_common(self):
        with pytest.raises(ValueError, match=r"a\.json and b\.json have no measurement in common"):
            compare(run_of(row(costs(1)), path="a.json"), run_of(path="b.json"))

    @pytest.mark.parametrize("threshold", [-1, math.nan, math.inf])
    def test_no_threshold(self, threshold):
        with pytest.raises(ValueError, match="threshold is"):
            compare(run_of(row(costs(1))), run_of(row(costs(1))), threshold)

    def test_another_machine_is_said_and_compared(self):
        found = compare(run_of(row(costs(1))), run_of(row(costs(1)), processor="two", date="later"))
        assert found.notes == ["measured on different machines: processor one and two"]
        assert len(found.differences) == 1

    def test_another_version_of_ours_is_said(self):
        after = CostResults("y", MACHINE, "now", "pgtable 2", [row(costs(1))])
        found = compare(run_of(row(costs(1))), after)
        assert found.notes == ["measured by different versions: pgtable 1 and pgtable 2"]

    def test_another_version_of_the_compiler_is_said_and_compared(self):
        before = run_of(row(costs(1)), row(costs(1), compiler="clang 14"))
        after = run_of(row(costs(2), compiler="gcc 13.1"), row(costs(1), compiler="clang 14"))
        found = compare(before, after)
        assert found.notes == ["different compilers: gcc 12.2.0 is compared with gcc 13.1"]
        assert [one.slower for one in found.differences] == [True, False]
        assert (found.only_before, found.only_after) == ([], [])

    def test_two_versions_of_a_compiler_in_one_result_are_two(self):
        before = run_of(row(costs(1)), row(costs(1), compiler="gcc 13.1"))
        after = run_of(row(costs(1), compiler="gcc 13.1"))
        found = compare(before, after)
        assert found.notes == []
        assert [r.params["compiler"] for r in found.only_before] == ["gcc 12.2.0"]

    def test_agreement_of_each_helper(self):
        before = run_of(*(row(costs(1), helper=h, mix=m) for h in ("x", "y") for m in "ab"))
        after = run_of(
            *(row(costs(3 if m + h == "by" else 1), helper=h, mix=m) for h in "xy" for m in "ab")
        )
        assert compare(before, after).agreement() == {"x": (2, 2), "y": (1, 2)}


@pytest.fixture
def command(tmp_path, capsys):
    """Save two results and compare them; gives exit code and output."""

    def run(before, after, *options):
        paths = [tmp_path / "a.json", tmp_path / "b.json"]
        for path, rows in zip(paths, (before, after), strict=True):
            result_files.save(path, result_files.document(MACHINE, rows))
        parser = argparse.ArgumentParser()
        add_command(parser.add_subparsers(), "compare", bench_compare)
        args = parser.parse_args(["compare", *map(str, paths), *options])
        return args.run(args), capsys.readouterr().out

    return run


class TestCommand:
    def test_slower(self, command):
        code, out = command([row(costs(1))], [row(costs(2))])
        assert code == 1
        line = next(line for line in out.splitlines() if "slower" in line)
        assert line.split()[:3] == ["pte_wrprotect", "cow", "shstk=y"]
        assert "2.000 (1.9" in line
        assert "1 compared: 1 slower, 0 quicker, 0 not told apart by more than 2 %; 0 noisy" in out
        assert "0 of 1 agree within their intervals" in out

    def test_the_same(self, command):
        rows = [row(costs(1)), row(costs(3, 0.2), mix="clean")]
        code, out = command(rows, rows)
        assert code == 0
        assert out.splitlines() == [
            "2 compared: 0 slower, 0 quicker, 2 not told apart by more than 2 %; 1 noisy",
            "2 of 2 agree within their intervals",
        ]

    def test_quicker_is_no_failure(self, command):
        code, out = command([row(costs(2))], [row(costs(1))])
        assert code == 0
        assert "0.500" in out

    def test_all(self, command):
        _, out = command([row(costs(1)), row([[1.0]], mix="dirty")], [row(costs(1))], "--all")
        assert "1.000 (0.9" in out
        assert "note: only in" in out
        assert "a.json: pte_wrprotect, cow shstk=y config=y, dirty, table" in out
        _, out = command([row([[1.0]])], [row(costs(1))], "--all")
        assert "cannot be told" in out

    def test_json(self, command):
        before = [row(costs(1)), row([[1.0]], mix="dirty")]
        code, out = command(before, [row(costs(2)), row(costs(1), mix="dirty")], "--json")
        found = json.loads(out)
        assert code == 1
        assert (found["slower"], found["quicker"], found["threshold_percent"]) == (1, 0, 2)
        first, second = found["differences"]
        assert first["helper"] == "pte_wrprotect"
        assert first["verdict"] == "slower"
        assert first["agrees"] is False
        assert first["ratio"] == pytest.approx(2)
        assert first["before_ns"]["median"] == pytest.approx(1)
        assert first["after_ns"]["high"] == pytest.approx(2 + 2 * reach(0.01), rel=1e-4)
        assert second["verdict"] == "none"
        assert second["ratio_low"] is None
        assert second["before_ns"]["low"] is None

    def test_threshold(self, command):
        tight = [row(costs(1, 1e-6))], [row(costs(1.1, 1e-6))]
        assert command(*tight)[0] == 1
        assert command(*tight, "--threshold", "11")[0] == 0


def test_only_the_version_of_a_compiler_is_no_name():
    assert comparing._versions(run_of(row(costs(1)))) == {"gcc": {"gcc 12.2.0"}}
