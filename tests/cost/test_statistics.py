# SPDX-License-Identifier: GPL-2.0-only
"""The statistics, on synthetic timings of which the truth is known."""

from __future__ import annotations

import math
import random

import pytest
from pytest_benchmark.stats import Stats

from pgtable.cost import statistics
from pgtable.cost.statistics import summarise

#: Three standard errors of how many of a thousand intervals have the truth in them.
SLACK = 21


def normal(rng, k):
    """A clean clock: every process alike."""
    return [rng.gauss(1, 0.01) for _ in range(k)]


def offset(rng, k):
    """Layout differs: each process is slower or faster as a whole, and steady in itself."""
    shift = rng.gauss(0, 0.02)
    return [1 + shift + rng.gauss(0, 0.001) for _ in range(k)]


def spiked(rng, k):
    """Skewed, and one sample in twenty is interrupted."""
    return [math.exp(rng.gauss(0, 0.02)) * (3 if rng.random() < 0.05 else 1) for _ in range(k)]


def few(rng, k):
    """Processes of a single sample."""
    return [rng.gauss(1, 0.02)]


def summaries(draw, processes, samples=21, trials=1000):
    rng = random.Random(f"{draw.__name__} {processes}")
    for _ in range(trials):
        yield summarise([draw(rng, samples) for _ in range(processes)])


class TestInterval:
    @pytest.mark.parametrize("processes", [2, 3, 5, 10])
    @pytest.mark.parametrize("draw", [normal, offset, spiked, few])
    def test_it_has_the_truth_in_it_as_often_as_it_says(self, draw, processes):
        covered = sum(s.low <= 1 <= s.high for s in summaries(draw, processes))
        assert covered >= 950 - SLACK

    @pytest.mark.parametrize("processes", [3, 5, 10])
    def test_it_is_no_wider_than_it_must_be_where_processes_differ(self, processes):
        covered = sum(s.low <= 1 <= s.high for s in summaries(offset, processes))
        assert covered <= 950 + SLACK

    def test_more_processes_make_it_narrower_more_samples_do_not(self):
        def width(processes, samples):
            found = list(summaries(offset, processes, samples, 200))
            return sum(s.high - s.low for s in found) / len(found)

        assert width(20, 11) < width(5, 11) / 2
        assert width(5, 101) > width(5, 11) * 0.9

    def test_student_s_interval_over_the_medians(self):
        # medians 1, 2, 3; s = 1, t = 4.303 for two degrees of freedom
        found = summarise([[1, 1, 1, 1, 1, 1], [2, 2, 2, 2, 2, 2], [3, 3, 3, 3, 3, 3]])
        reach = 4.30265 / math.sqrt(3)
        assert (found.low, found.high) == pytest.approx((2 - reach, 2 + reach), rel=1e-5)
        assert found.median == 2

    def test_no_narrower_than_that_of_a_process_of_its_own(self):
        samples = [float(i) for i in range(1, 21)]
        found = summarise([samples] * 10)
        assert (found.low, found.median, found.high) == (6, 10.5, 15)

    def test_no_narrower_than_the_clock_s_resolution(self):
        found = summarise([[5.0] * 9] * 4, resolution=0.25)
        assert (found.low, found.high) == (4.75, 5.25)

    def test_the_median_is_always_in_it(self):
        found = summarise([[1.0], [1.0], [1.0], [1.0], [100.0]])
        assert found.low <= found.median == 1 <= found.high

    def test_one_process_tells_nothing_of_the_next(self):
        for samples in ([7.0], [7.0, 7.1] * 50):
            found = summarise([samples])
            assert (found.low, found.high) == (-math.inf, math.inf)
            assert found.noisy

    @pytest.mark.parametrize(
        ("n", "rank"),
        [(1, 1), (5, 1), (6, 1), (8, 1), (9, 2), (10, 2), (20, 6), (50, 18), (100, 40)],
    )
    def test_the_ranks_of_the_textbooks(self, n, rank):
        data = list(range(1, n + 1))
        assert statistics.median_interval(data[::-1]) == (rank, n + 1 - rank)


class TestStudent:
    @pytest.mark.parametrize(
        ("degrees", "t95", "t99"),
        [
            (1, 12.706, 63.657),
            (2, 4.303, 9.925),
            (3, 3.182, 5.841),
            (4, 2.776, 4.604),
            (5, 2.571, 4.032),
            (9, 2.262, 3.250),
            (30, 2.042, 2.750),
            (100, 1.984, 2.626),
        ],
    )
    def test_quantiles_are_those_of_the_tables(self, degrees, t95, t99):
        assert statistics.t_quantile(0.95, degrees) == pytest.approx(t95, abs=6e-4)
        assert statistics.t_quantile(0.99, degrees) == pytest.approx(t99, abs=6e-4)

    def test_probability(self):
        assert statistics.t_probability(0, 3) == 1
        assert statistics.t_probability(-2.776445, 4) == pytest.approx(0.05, rel=1e-5)
        assert statistics.t_probability(math.inf, 4) == 0
        assert 0 <= statistics.t_probability(1e9, 20) < 1e-12


class TestOutliers:
    @pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 40, 41, 42, 43])
    def test_as_pytest_benchmark_counts_them(self, n):
        rng = random.Random(n)
        samples = [abs(rng.gauss(2, 0.1)) * (4 if rng.random() < 0.1 else 1) for _ in range(n)]
        theirs = Stats()
        theirs.data = samples
        ours = summarise([samples])
        assert ours.outliers == theirs.iqr_outliers
        assert ours.stddev_outliers == theirs.stddev_outliers
        assert (ours.q1, ours.q3, ours.iqr) == pytest.approx((theirs.q1, theirs.q3, theirs.iqr))
        assert ours.lowest_within == theirs.ld15iqr
        assert (ours.min, ours.max, ours.samples) == (theirs.min, theirs.max, theirs.rounds)
        assert (ours.mean, ours.stddev) == pytest.approx((theirs.mean, theirs.stddev))

    def test_the_fences_themselves_are_inside(self):
        # quartiles 2 and 4: fences at -1 and 7
        found = summarise([[-1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 7.0]])
        assert (found.q1, found.q3, found.outliers) == (2, 4, 0)
        assert (found.lowest_within, found.highest_within) == (-1, 7)
        found = summarise([[-1.01, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 7.01]])
        assert (found.outliers, found.lowest_within, found.highest_within) == (2, 2, 4)


class TestNoisy:
    def test_a_quiet_run_is_not(self):
        assert not any(s.noisy for s in summaries(normal, 5, trials=200))

    def test_interrupted_samples_alone_are_not(self):
        assert not any(s.noisy for s in summaries(spiked, 5, 101, trials=200))

    def test_processes_that_differ_are(self):
        assert summarise([[1.0] * 9, [1.0] * 9, [1.0] * 9, [1.2] * 9]).noisy

    @pytest.mark.parametrize(("reach", "noisy"), [(0.0499, False), (0.0501, True)])
    def test_from_five_percent_on_either_side(self, reach, noisy):
        step = reach * math.sqrt(3) / statistics.t_quantile(0.95, 2)
        assert summarise([[1 - step], [1.0], [1 + step]]).noisy is noisy

    @pytest.mark.parametrize(("spikes", "noisy"), [(10, False), (11, True)])
    def test_more_than_a_tenth_outliers_are(self, spikes, noisy):
        samples = [1.0, 1.001] * 44 + [1.0] * (12 - spikes) + [5.0] * spikes
        assert len(samples) == 100
        found = summarise([samples] * 5)
        assert found.outliers == 5 * spikes
        assert found.noisy is noisy

    @pytest.mark.parametrize(("away", "noisy"), [(1.04, False), (1.06, True), (0.94, True)])
    def test_outliers_that_lie_near_are_none_of_it(self, away, noisy):
        found = summarise([[1.0] * 80 + [away] * 20] * 5)
        assert found.outliers == 100
        assert found.noisy is noisy

    def test_next_to_nothing_is_not_noisy_below_the_resolution(self):
        costs = [[0.001], [-0.001], [0.002], [0.0]]
        assert summarise(costs).noisy
        assert not summarise(costs, resolution=0.01).noisy

    def test_it_is_judged_by_what_was_timed(self):
        costs = [[0.01], [0.02], [0.03]]
        assert summarise(costs).noisy
        assert summarise(costs, overhead=0.4).noisy
        assert not summarise(costs, overhead=0.5).noisy


class TestInput:
    def test_the_order_does_not_matter(self):
        rng = random.Random(6)
        processes = [spiked(rng, 15) for _ in range(6)]
        expected = summarise(processes)
        for _ in range(20):
            rng.shuffle(processes)
            for samples in processes:
                rng.shuffle(samples)
            assert summarise(processes) == expected

    def test_processes_weigh_the_same_however_many_samples_they_took(self):
        assert summarise([[1.0] * 1000, [2.0], [3.0]]).median == 2

    def test_counts(self):
        found = summarise([[1.0, 2.0], [3.0]])
        assert (found.samples, found.processes) == (3, 2)
        assert (found.min, found.mean, found.max) == (1, 2, 3)

    @pytest.mark.parametrize("nothing", [[], [[]], [[1.0], []]])
    def test_no_samples(self, nothing):
        with pytest.raises(ValueError, match="no samples"):
            summarise(nothing)

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_no_number(self, bad):
        with pytest.raises(ValueError, match="no finite number"):
            summarise([[1.0, bad]])
