"""Whether forecasts are as wide as they should be: probability integral transforms, coverage of intervals."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from probgen.core import Estimate, source_of
from probgen.evaluation.forecasts.given_numbers import Known, draws_of, numbers_of


class Uniformity(NamedTuple):
    """The largest distance of an empirical distribution function from the diagonal, and its p-value."""

    statistic: float
    p_value: float


def pit(
    forecast: Any, x: Any, *, seed: int | None = None, generator: torch.Generator | None = None
) -> Tensor:
    r"""Return the probability integral transform of each number x, uniform on (0, 1) of right forecasts.

    Of a law it is F(x). Of m draws it is x's place among them, randomised, with V uniform,
    (#{X_i < x} + V (#{X_i = x} + 1)) / (m + 1): where x is one draw more of their law, it is uniform for any
    m, and for laws with ties, as of counts, too.

    Args:
        forecast: draws, shape (m, \*shape), m ≥ 2; or a ``Normal`` or ``StudentT``.
        x: what came, any shape.
        seed, generator: of V, one at most; torch's global state where not given. A law needs none.

    Returns:
        the shape of x, float64.

    Source: Dawid (1984); Czado, Gneiting and Held (2009), Predictive model assessment for count data.

    >>> float(pit(torch.distributions.Normal(0.0, 1.0), 0.0))
    0.5
    """
    seen = numbers_of(x, "x")
    if isinstance(forecast, Distribution):
        return Known(forecast).cdf(seen)
    draws = draws_of(forecast, seen.shape)
    uniform = torch.rand(seen.shape, dtype=seen.dtype, generator=source_of(generator, seed, "cpu"))
    return ((draws < seen).sum(0) + uniform * ((draws == seen).sum(0) + 1)) / (len(draws) + 1)


def pit_test(transforms: Any) -> Uniformity:
    """Test whether probability integral transforms are uniform, by Kolmogorov's and Smirnov's exact test.

    They should be independent, as those of forecasts one step ahead are where these are right; those of
    several steps ahead overlap, and the test then alarms too often. It sees no dependence in time.

    Args:
        transforms: numbers in [0, 1], shape (n,), n ≥ 2, of forecasts that did not learn from what came.

    >>> round(pit_test(torch.arange(0.05, 1, 0.1)).statistic, 6)
    0.05
    """

    from scipy import stats

    found = numbers_of(transforms, "transforms")
    if found.dim() != 1 or len(found) < 2 or not ((found >= 0) & (found <= 1)).all():
        raise ValueError(
            f"transforms should be at least 2 numbers in [0, 1], shape (n,), but have shape "
            f"{tuple(found.shape)} and lie in [{float(found.min()):.3g}, {float(found.max()):.3g}]"
        )
    test = stats.kstest(found.numpy(), "uniform")
    return Uniformity(float(test.statistic), float(test.pvalue))


def interval_coverage(low: Any, high: Any, x: Any) -> Estimate:
    """Return the share of x that lie in their intervals, ends included, and its standard error.

    The error is that of independent cases. Right central intervals of 90 % have a share of 0.9.

    Args:
        low, high, x: of one shape; each low at most its high.

    >>> interval_coverage([0.0, 0.0], [1.0, 1.0], [0.5, 2.0]).value
    0.5
    """
    seen = numbers_of(x, "x")
    below, above = (numbers_of(end, name, tuple(seen.shape)) for end, name in ((low, "low"), (high, "high")))
    if (below > above).any():
        raise ValueError(f"low should be at most high but is above it in {int((below > above).sum())} rows")
    share = float(((seen >= below) & (seen <= above)).double().mean())
    return Estimate(share, math.sqrt(share * (1 - share) / seen.numel()))
