"""Intervals that keep to the bounds of what is averaged, and one p-value from several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Interval(NamedTuple):
    """A mean with its interval, which is missing (NaN) where it cannot be told."""

    mean: float
    low: float
    high: float


def mean_interval(
    values: Sequence[float], *, bounds: tuple[float, float] = (-math.inf, math.inf), level: float = 0.95
) -> Interval:
    r"""Return the mean of repeats with its t-interval, which stays within the bounds of the values.

    With m the mean and h the half-width of the t-interval it is m ± h where there is no bound,
    m exp(± h / m) where values are positive, and between two bounds, with m moved to (0, 1), the interval
    logit m ± h / (m (1 − m)): a t-interval on the logarithmic or logit scale by the delta method, which
    takes values at the bounds too.

    Args:
        values: of repeats; the interval is NaN where there is one only or some are infinite, and a point
            where all are equal.
        bounds: of what the values can be: none, (low, ∞) or (low, high).
        level: of the interval.

    >>> found = mean_interval([1.0, 3.0, 8.0], bounds=(0.0, math.inf))  # 4 ± 9 would reach below 0
    >>> [round(end, 2) for end in found]
    [4.0, 0.43, 37.54]
    >>> mean_interval([0.99, 1.0, 1.0], bounds=(0.0, 1.0)).high < 1
    True
    """
    from scipy import special, stats

    n = len(values)
    mean = math.fsum(values) / n if all(map(math.isfinite, values)) else float(sum(values))
    if n < 2 or not math.isfinite(mean):
        return Interval(mean, math.nan, math.nan)
    if min(values) == max(values):
        return Interval(values[0], values[0], values[0])  # not the rounding error of their mean
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * spread / math.sqrt(n)
    first, last = bounds
    if first == -math.inf:
        return Interval(mean, mean - half, mean + half)
    if last == math.inf:
        above = mean - first
        return Interval(mean, first + above * math.exp(-half / above), first + above * math.exp(half / above))
    width = last - first
    share, rest = ((math.fsum(abs(value - end) for value in values) / n) / width for end in bounds)
    centre, reach = math.log(share / rest), half / (width * share * rest)
    low, high = (float(special.expit(z)) for z in (centre - reach, centre + reach))
    return Interval(mean, first + (last - first) * low, first + (last - first) * high)


def combined_p_value(p_values: Sequence[float]) -> float:
    r"""Return a p-value from K of them, however they depend on one another: (K / k) p_(k), k = ⌈K / 2⌉.

    p_(k) is the k-th smallest. Where the null hypothesis holds in all, P(result ≤ α) ≤ α; a mean of p-values
    has no such bound.

    Source: Rüger (1978); Vovk and Wang (2020), Combining p-values via averaging.

    >>> combined_p_value([0.001, 0.002, 0.9])
    0.003
    """
    k = -(-len(p_values) // 2)
    return min(1.0, len(p_values) / k * sorted(p_values)[k - 1])
