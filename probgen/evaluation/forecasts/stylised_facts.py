"""What returns of prices have in common: heavy tails, volatility that lasts, and falls that raise it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from probgen.core import check_count
from probgen.evaluation.forecasts.given_numbers import numbers_of


def excess_kurtosis(returns: Any) -> Tensor:
    r"""Return E[(r − μ)⁴] / σ⁴ − 3 of each series: 0 of a normal law, above it for heavy tails.

    Args:
        returns: shape (T, \*series), T ≥ 2; shape (\*series) is returned, float64, as by all of these.

    Raises:
        ValueError: where something is not finite, T is too small, or a series is constant.

    >>> float(excess_kurtosis([-1.0, 1.0, -1.0, 1.0]))
    -2.0
    """
    r = _standardised(returns, 2)
    return r.pow(4).mean(0) - 3


def hill(returns: Any, *, share: float = 0.05) -> Tensor:
    r"""Return Hill's estimate of the tail index α of |r|, P(|r| > u) ~ u^−α, by its largest numbers.

    1/α is the mean of log |r|_(i) − log |r|_(k+1) over the k = ⌊share · T⌋ largest. Moments of order α and
    more do not exist. Its standard error is about α/√k where numbers are independent; of volatility that
    lasts it is larger. Of a law with light tails it grows as ``share`` falls.

    Args:
        returns: shape (T, \*series).
        share: of the numbers that are tail, above 0 and below 1.

    Raises:
        ValueError: for no number in the tail, and where those beyond it are 0 or equal.

    Source: Hill (1975), A simple general approach to inference about the tail of a distribution.

    >>> round(float(hill(torch.linspace(1, 1000, 1000).double() ** -0.5, share=0.2)), 1)
    2.0
    """
    if not 0 < share < 1:
        raise ValueError(f"share should be above 0 and below 1 but is {share}")
    sizes = _series(returns, 2).abs()
    count = math.floor(share * len(sizes) + 1e-9)
    if not count:
        raise ValueError(f"share should take at least 1 of the {len(sizes)} returns but is {share}")
    largest = sizes.topk(count + 1, 0).values
    inverse = (largest[:-1].log() - largest[-1].log()).mean(0)
    if not ((inverse > 0) & inverse.isfinite()).all():
        raise ValueError(f"the {count + 1} largest returns should not be equal or 0: they have no tail")
    return 1 / inverse


def autocorrelation(values: Any, lags: int) -> Tensor:
    r"""Return Σ_t (x_t − μ)(x_{t+k} − μ) / Σ_t (x_t − μ)² for k = 1, ..., lags, shape (lags, \*series).

    Of returns it is near 0; of their sizes, ``autocorrelation(returns.abs(), 100)``, it falls slowly:
    volatility lasts. Of T independent numbers each has a standard error of about 1/√T.

    Args:
        values: shape (T, \*series), T > lags.

    >>> autocorrelation([1.0, -1.0, 1.0, -1.0], 2)
    tensor([-0.7500,  0.5000], dtype=torch.float64)
    """
    lags = check_count("lags", lags)
    x = _standardised(values, lags + 1)
    return torch.stack([(x[:-k] * x[k:]).sum(0) for k in range(1, lags + 1)]) / len(x)


def leverage(returns: Any, lags: int) -> Tensor:
    r"""Return L(k) = E[(r_t − μ)(r_{t+k} − μ)²] / σ³ for k = 1, ..., lags, shape (lags, \*series).

    Of stocks it is below 0: volatility rises after a fall. Of symmetric laws without memory it is 0.

    Args:
        returns: shape (T, \*series), T > lags.

    Source: Bouchaud, Matacz and Potters (2001), Leverage effect in financial markets, who divide by σ⁴.
    """
    lags = check_count("lags", lags)
    r = _standardised(returns, lags + 1)
    return torch.stack([(r[:-k] * r[k:].square()).mean(0) for k in range(1, lags + 1)])


def _series(values: Any, least: int) -> Tensor:
    found = numbers_of(values, "returns")
    if found.dim() < 1 or len(found) < least:
        raise ValueError(
            f"returns should have shape (T, ...) with T at least {least} but have {tuple(found.shape)}"
        )
    return found


def _standardised(values: Any, least: int) -> Tensor:
    """Return series with mean 0 and mean square 1."""
    found = _series(values, max(least, 2))
    if (found.amax(0) == found.amin(0)).any():
        raise ValueError("returns should vary but those of one series are all equal")
    found = found / found.abs().amax(0)  # so that squares have room, whatever the unit
    found = found - found.mean(0)
    return found / found.square().mean(0).sqrt()
