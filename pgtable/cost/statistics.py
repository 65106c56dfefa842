# SPDX-License-Identifier: GPL-2.0-only
"""A cost and its interval, from the samples of several processes.

The place of code and data in memory differs from process to process, and times depend on it.  So
many samples of one process say nothing about the next process.  The process is the unit of
repetition (Kalibera and Jones, "Rigorous Benchmarking in Reasonable Time", ISMM 2013; Georges,
Buytaert and Eeckhout, "Statistically Rigorous Java Performance Evaluation", OOPSLA 2007).  The
median stands for a process, since a few interrupted samples do not change it.  The interval is
Student's t interval over these medians.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean, median, stdev

#: Of the intervals.
CONFIDENCE = 0.95
#: A cost is noisy if its interval reaches further, on one side, than this part of the timed value.
NOISY_WIDTH = 0.05
#: It is also noisy if a larger part of the samples are outliers that far away.
NOISY_OUTLIERS = 0.1
#: Tukey's fences: so many interquartile ranges outside the quartiles.
FENCE = 1.5


@dataclass(frozen=True)
class Summary:
    """One cost, in nanoseconds for each entry."""

    median: float  #: of the processes' medians
    low: float  #: lower end of the 95 % interval; -inf if there is only one process
    high: float  #: upper end; inf if there is only one process
    q1: float  #: of all samples, as all that follows
    q3: float
    min: float
    max: float
    mean: float
    stddev: float  #: 0 for a single sample
    samples: int
    processes: int
    outliers: int  #: outside Tukey's fences
    stddev_outliers: int  #: further than a standard deviation from the mean
    lowest_within: float  #: the lowest sample inside the fences
    highest_within: float  #: the highest
    noisy: bool  #: the interval is wide, or unknown, or there are many outliers

    @property
    def iqr(self) -> float:
        """Return the interquartile range."""
        return self.q3 - self.q1


def summarise(
    per_process: Sequence[Sequence[float]], resolution: float = 0.0, overhead: float = 0.0
) -> Summary:
    """Return the summary of samples, grouped by the process that took them.

    per_process: for each process its samples, in nanoseconds an entry.
    resolution: of the clock, in nanoseconds an entry; no interval is narrower
        than it on either side of the median.
    overhead: what was subtracted from every sample.  Whether a run is noisy is judged by the
        value before that: a cost near 0 may be known well, but not to a twentieth of itself.

    The interval is Student's over the medians of the processes.  It is at least as wide as the
    interval that a typical process has for its own median, and the median lies in it.  Raises
    ValueError if there are no samples, or if one is not finite.
    """
    if not per_process or not all(per_process):
        raise ValueError("no samples: every process must have one")
    data = sorted(value for samples in per_process for value in samples)
    if not all(map(math.isfinite, data)):
        raise ValueError("a sample is no finite number")
    medians = [median(samples) for samples in per_process]
    overall = median(medians)
    low, high = _interval(per_process, medians, overall, resolution)
    q1, _, q3 = quartiles(data)
    mean = fmean(data)
    deviation = stdev(data) if len(data) > 1 else 0.0
    bottom, top = q1 - FENCE * (q3 - q1), q3 + FENCE * (q3 - q1)
    inside = slice(bisect_left(data, bottom), bisect_right(data, top))
    within = data[inside]
    tolerance = max(NOISY_WIDTH * abs(overall + overhead), resolution)
    outside = [*data[: inside.start], *data[inside.stop :]]
    disturbed = sum(abs(value - overall) > tolerance for value in outside)
    return Summary(
        median=overall,
        low=low,
        high=high,
        q1=q1,
        q3=q3,
        min=data[0],
        max=data[-1],
        mean=mean,
        stddev=deviation,
        samples=len(data),
        processes=len(per_process),
        outliers=len(outside),
        stddev_outliers=sum(abs(value - mean) > deviation for value in data),
        lowest_within=within[0],
        highest_within=within[-1],
        noisy=(
            max(overall - low, high - overall) > tolerance or disturbed > NOISY_OUTLIERS * len(data)
        ),
    )


def _interval(
    per_process: Sequence[Sequence[float]],
    medians: Sequence[float],
    overall: float,
    resolution: float,
) -> tuple[float, float]:
    if len(medians) == 1:
        # one process says nothing about the time of another
        return -math.inf, math.inf
    own = [median_interval(samples) for samples in per_process]
    centre = fmean(medians)
    reach = t_quantile(CONFIDENCE, len(medians) - 1) * stdev(medians) / math.sqrt(len(medians))
    low = min(centre - reach, overall - resolution, median(low for low, _ in own))
    high = max(centre + reach, overall + resolution, median(high for _, high in own))
    return low, high


def median_interval(samples: Sequence[float]) -> tuple[float, float]:
    """Return the interval of a median between two order statistics, whatever the distribution.

    The ranks come from the binomial distribution (Conover, "Practical Nonparametric Statistics",
    section 3.2).  Fewer than six samples cannot reach 95 %: then it is their range.
    """
    data = sorted(samples)
    rank = _median_rank(len(data))
    return data[rank], data[-1 - rank]


@cache
def _median_rank(n: int) -> int:
    """Return how many of n samples lie outside of the interval at each end."""
    at_most, ways = 0, 1
    # of the 2^n ways that samples fall below or above the true median, at_most have no more
    # than `rank` below: in these the median lies below the sample of that rank
    for rank in range(n):
        at_most += ways
        if 2 * at_most > (1 - CONFIDENCE) * 2**n:
            return max(0, rank - 1)
        ways = ways * (n - rank) // (rank + 1)
    return 0


def quartiles(samples: Sequence[float]) -> tuple[float, float, float]:
    """Return first quartile, median and third quartile, as pytest-benchmark computes them.

    The quartiles are the medians of the two halves.  If the number of samples is odd, the ends
    of the halves are weighted (methods 2 and 3 of https://en.wikipedia.org/wiki/Quartile).
    """
    data = sorted(samples)
    n, odd = divmod(len(data), 4)
    if len(data) == 1:
        return data[0], data[0], data[0]
    if odd == 1:
        q1 = 0.25 * data[n - 1] + 0.75 * data[n]
        q3 = 0.75 * data[3 * n] + 0.25 * data[3 * n + 1]
    elif odd == 3:
        q1 = 0.75 * data[n] + 0.25 * data[n + 1]
        q3 = 0.25 * data[3 * n + 1] + 0.75 * data[3 * n + 2]
    else:
        half = len(data) // 2
        q1, q3 = median(data[:half]), median(data[half:])
    return q1, median(data), q3


def t_probability(t: float, degrees: int) -> float:
    """Return the chance that Student's t lies outside -t to t.

    The finite series of Abramowitz and Stegun, 26.7.3 and 26.7.4.  It is exact for whole degrees of
    freedom, and others are not needed here.  So SciPy need not be installed.
    """
    if math.isinf(t):
        return 0.0
    angle = math.atan(abs(t) / math.sqrt(degrees))
    sine, square = math.sin(angle), math.cos(angle) ** 2
    odd = degrees % 2
    term = math.cos(angle) if odd else 1.0
    total = term if degrees > 1 else 0.0
    for i in range(2 + odd, degrees, 2):
        term *= square * (i - 1) / i
        total += term
    inside = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return max(0.0, 1.0 - inside)


@cache
def t_quantile(confidence: float, degrees: int) -> float:
    """Return t so that Student's t lies between -t and t with that confidence."""
    low, high = 0.0, 1.0
    while t_probability(high, degrees) > 1 - confidence:
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        if t_probability(middle, degrees) > 1 - confidence:
            low = middle
        else:
            high = middle
    return (low + high) / 2
