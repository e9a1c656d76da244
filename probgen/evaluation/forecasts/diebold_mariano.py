"""Which of two forecasts has the lower loss, over time."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from torch import Tensor

from probgen.core import check_count
from probgen.evaluation.forecasts.given_numbers import numbers_of, series_of


class DieboldMariano(NamedTuple):
    """The mean of losses minus other losses, below 0 where the first are better; its error; t and p."""

    difference: float
    stderr: float
    statistic: float
    p_value: float


def diebold_mariano(losses: Any, others: Any, *, lags: int | None = None) -> DieboldMariano:
    r"""Test whether two forecasts have the same expected loss, from their losses at T times.

    The statistic is d̄ / √(V / T), d the differences, V = γ₀ + 2 Σ_{k ≤ L} (1 − k / (L + 1)) γ_k their
    long-run variance with autocovariances γ_k (Newey and West), which is not below 0. It is held against
    Student's t with T − 1 degrees of freedom, two-sided. Below some hundred times, or where losses
    depend far, the test alarms too often.

    Args:
        losses, others: of the two forecasts at the same times, in their order, shape (T,): log scores, CRPS,
            pinball losses.
        lags: L; ⌊4 (T / 100)^(2/9)⌋ where not given. Forecasts h steps ahead need at least h − 1.

    Raises:
        ValueError: where the differences do not vary.

    Source: Diebold and Mariano (1995), Comparing predictive accuracy; Newey and West (1987, 1994).

    >>> found = diebold_mariano([1.0, 2.0, 1.5, 1.0], [1.1, 2.2, 1.4, 1.3], lags=0)
    >>> round(found.difference, 3), round(found.p_value, 3)
    (-0.125, 0.19)
    """

    from scipy.special import stdtr

    first = series_of(losses, "losses")
    differences = first - numbers_of(others, "others", tuple(first.shape))
    steps = len(first)
    lags = math.floor(4 * (steps / 100) ** (2 / 9)) if lags is None else check_count("lags", lags, least=0)
    if lags >= steps:
        raise ValueError(f"lags should be below the number of losses, {steps}, but is {lags}")
    variance = long_run_variance(differences, lags)
    if not variance > 0:
        raise ValueError(f"the differences of losses should vary but all are {float(differences[0]):g}")
    mean, stderr = float(differences.mean()), math.sqrt(variance / steps)
    statistic = mean / stderr
    return DieboldMariano(mean, stderr, statistic, float(2 * stdtr(steps - 1, -abs(statistic))))


def long_run_variance(series: Tensor, lags: int) -> float:
    """Return γ₀ + 2 Σ_{k ≤ L} (1 − k / (L + 1)) γ_k of a series."""
    apart = series - series.mean()
    total = apart.square().sum()
    for lag in range(1, lags + 1):
        total = total + 2 * (1 - lag / (lags + 1)) * (apart[lag:] * apart[:-lag]).sum()
    return float(total / len(series))
