"""Intervals keep to the bounds of what is averaged, and cover; p-values of repeats stay valid."""

import math

import numpy as np
import pytest
from scipy import stats

from probgen.core.intervals import combined_p_value, mean_interval

SHARE, POSITIVE = (0.0, 1.0), (0.0, math.inf)
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("values", "bounds"),
    [
        ([0.99, 1.0, 1.0], SHARE),
        ([0.0, 0.0, 0.01], SHARE),
        ([0.0, 1.0], SHARE),
        ([1.0, 1.0, 10.0], POSITIVE),
        ([0.0, 0.0, 12.0], POSITIVE),
        ([5.0, 2.0], (2.0, 8.0)),
    ],
)
def test_an_interval_keeps_to_its_bounds(values: list[float], bounds: tuple[float, float]) -> None:
    found = mean_interval(values, bounds=bounds)
    assert found.mean == pytest.approx(sum(values) / len(values))
    assert bounds[0] <= found.low < found.mean < found.high <= bounds[1]
    plain = mean_interval(values)
    assert plain.low < bounds[0] or plain.high > bounds[1], "as the plain one does not"


def test_without_bounds_it_is_the_t_interval() -> None:
    values = [1.0, 2.0, 4.0]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert mean_interval(values) == pytest.approx((np.mean(values), low, high))
    near = mean_interval([0.5 + 1e-4 * value for value in values], bounds=SHARE)
    assert near.high - near.low == pytest.approx(1e-4 * (high - low), rel=1e-5)


@pytest.mark.parametrize(
    ("draw", "mean", "bounds"),
    [
        (lambda: RNG.beta(2.5, 47.5, 3), 0.05, SHARE),
        (lambda: RNG.binomial(900, 0.97, 3) / 900, 0.97, SHARE),
        (lambda: RNG.lognormal(-0.1, math.sqrt(0.2), 3), 1.0, POSITIVE),
    ],
    ids=["a small share", "a large share", "seconds"],
)
def test_an_interval_of_three_repeats_covers(draw, mean: float, bounds: tuple[float, float]) -> None:
    """The delta method is no theorem for three values, but its intervals cover as they should."""
    found = [mean_interval(draw().tolist(), bounds=bounds) for _ in range(1500)]
    covered = sum(own.low <= mean <= own.high or own.low == own.high for own in found)
    assert 0.925 < covered / 1500 < 0.985


def test_repeats_that_cannot_have_an_interval() -> None:
    assert math.isnan(mean_interval([0.3]).low)
    assert math.isnan(mean_interval([0.3, math.inf]).low)
    assert mean_interval([0.1, 0.1, 0.1]) == (0.1, 0.1, 0.1)


@pytest.mark.parametrize("repeats", [1, 2, 3, 5])
def test_a_combined_p_value_is_valid_whatever_the_dependence(repeats: int) -> None:
    """A mean of p-values is not: of two half apart on the circle it is ≤ 0.7 with probability 0.9."""
    u = RNG.uniform(size=(4000, 1))
    for p in (
        np.repeat(u, repeats, 1),
        RNG.uniform(size=(4000, repeats)),
        (u + np.arange(repeats) / repeats) % 1,
    ):
        combined = np.array([combined_p_value(row.tolist()) for row in p])
        for level in (0.05, 0.3, 0.7):
            assert (combined <= level).mean() < level + 4.5 * math.sqrt(level * (1 - level) / 4000)
    assert combined_p_value([0.001] * repeats) <= 0.002, "and it has power"


@pytest.mark.parametrize("values", [[1.0, 1.0, 1 - 1e-16], [1 - 1e-16, 1.0], [1e-100, 0.0]])
def test_shares_that_round_to_an_end_have_an_interval(values: list[float]) -> None:
    found = mean_interval(values, bounds=SHARE)
    assert 0 <= found.low <= found.mean <= found.high <= 1
