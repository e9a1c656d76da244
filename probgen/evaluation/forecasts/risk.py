"""Value at risk and expected shortfall: from a forecast, and tests of them by what came."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from probgen.evaluation.forecasts.given_numbers import Known, draws_of, level_of, numbers_of, series_of


class TailRisk(NamedTuple):
    """The loss exceeded with probability α, and the mean loss given that, both above 0 for losses."""

    value_at_risk: Tensor
    expected_shortfall: Tensor


class LikelihoodRatio(NamedTuple):
    """Twice the difference of log-likelihoods, and its p-value by the law of χ²."""

    statistic: float
    p_value: float


class Christoffersen(NamedTuple):
    """Tests that violations do not follow one another more than by chance, and of that and their rate."""

    independence: LikelihoodRatio
    conditional_coverage: LikelihoodRatio


class AcerbiSzekely(NamedTuple):
    """Z₂, 0 in expectation of right forecasts and below where losses are larger; a one-sided p-value."""

    statistic: float
    p_value: float


def tail_risk(forecast: Any, level: float = 0.025) -> TailRisk:
    r"""Return value at risk and expected shortfall at ``level`` α of a forecast of returns, as losses.

    VaR = −q_α, the quantile with its sign turned, and ES = −E[X | X ≤ q_α]. Of m draws they are those of the
    lowest α m, the last one counted in part, so that ES is not below VaR.

    Args:
        forecast: draws, shape (m, \*shape) with α m ≥ 1; or a ``Normal`` or ``StudentT``.
        level: α, such as 0.01 or 0.025.

    Raises:
        ValueError: for too few draws, or a Student-t without a mean.

    Source: Acerbi and Tasche (2002), On the coherence of expected shortfall.

    >>> [float(risk) for risk in tail_risk([-4.0, -2.0, 0.0, 2.0], 0.5)]
    [2.0, 3.0]
    """
    alpha = level_of(level)
    if isinstance(forecast, Distribution):
        return _known(Known(forecast), alpha)
    draws = numbers_of(forecast, "draws")
    count = alpha * len(draws) if draws.dim() else 0.0
    if count < 1 - 1e-9:
        raise ValueError(
            f"draws should be at least {1 / alpha:.0f} for a level of {level}, shape (m, ...), but have "
            f"shape {tuple(draws.shape)}"
        )
    whole = max(int(count + 1e-9), 1)
    lowest = draws.sort(0).values[: whole + 1]
    part = max(count - whole, 0.0)  # of the draw after the whole ones
    total = lowest[:whole].sum(0) + (part * lowest[whole] if part > 1e-9 else 0.0)
    return TailRisk(-lowest[whole if part > 1e-9 else whole - 1], -total / count)


def kupiec(violations: Any, level: float) -> LikelihoodRatio:
    r"""Test whether the share of violations is ``level`` α: 2 log(π̂^x (1 − π̂)^(T−x) / α^x (1 − α)^(T−x)).

    x of T days are violations, π̂ = x / T. The p-value is by χ² with one degree of freedom, which is
    coarse where α T is below about 10.

    Args:
        violations: whether the loss was above the value at risk, each day, shape (T,).
        level: α.

    Source: Kupiec (1995), Techniques for verifying the accuracy of risk measurement models.

    >>> round(kupiec([1.0] * 8 + [0.0] * 247, 0.01).statistic, 2)
    7.51
    """
    hits = _hits(violations)
    return _ratio(_log_likelihood(hits, level_of(level)), _log_likelihood(hits, float(hits.mean())), 1)


def christoffersen(violations: Any, level: float) -> Christoffersen:
    r"""Test whether violations are independent, and whether they are so with probability ``level``.

    The alternative is a Markov chain, P(violation | one the day before) = π₁, else π₀. Against it stands one
    probability, that of the data (independence, χ²₁), or α (conditional coverage, χ²₂). All are of the days 2
    to T, given the one before. With few violations the test is weak, and alarms more rarely than it says.

    Args:
        violations, level: as of :func:`kupiec`; in the order of time.

    Source: Christoffersen (1998), Evaluating interval forecasts.

    >>> found = christoffersen([0, 1, 1, 1, 0, 0, 0, 0, 0, 0], 0.2)
    >>> round(found.independence.statistic, 3), round(found.conditional_coverage.statistic, 3)
    (2.231, 3.109)
    """
    hits = _hits(violations)
    before, after = hits[:-1], hits[1:]
    chain = sum(
        _log_likelihood(rows, float(rows.mean()))
        for rows in (after[before == 0], after[before == 1])
        if len(rows)
    )
    return Christoffersen(
        _ratio(_log_likelihood(after, float(after.mean())), chain, 1),
        _ratio(_log_likelihood(after, level_of(level)), chain, 2),
    )


def acerbi_szekely(
    returns: Any, value_at_risk: Any, expected_shortfall: Any, draws: Any, level: float = 0.025
) -> AcerbiSzekely:
    r"""Test expected shortfall: Z₂ = 1 + Σ_t r_t 1[r_t < −VaR_t] / (T α ES_t).

    Z₂ is 0 in expectation where both risks are right, and below where violations are more frequent or larger
    than said. Its p-value is the share of simulated series, draws of the forecasts, whose Z₂ is as low:
    (1 + #{Z₂ of draws ≤ Z₂}) / (m + 1), exact for any T and any law where draws are of the forecasts' law.

    Args:
        returns: what came, shape (T,).
        value_at_risk, expected_shortfall: of each day, as losses, ES above 0, shape (T,).
        draws: of the forecasts, one series a row, shape (m, T); of those by which the risks were set.
        level: α.

    Source: Acerbi and Székely (2014), Back-testing expected shortfall.
    """
    came = series_of(returns, "returns")
    shape = tuple(came.shape)
    risk = numbers_of(value_at_risk, "value_at_risk", shape)
    shortfall = numbers_of(expected_shortfall, "expected_shortfall", shape)
    if not (shortfall > 0).all():
        raise ValueError(f"expected_shortfall should be a loss, above 0, but one is {float(shortfall.min())}")
    scale = len(came) * level_of(level) * shortfall

    def statistic(series: Tensor) -> Tensor:
        return 1 + (torch.where(series < -risk, series, 0.0) / scale).sum(-1)

    found = statistic(came)
    simulated = statistic(draws_of(draws, came.shape))
    p_value = (1 + int((simulated <= found).sum())) / (len(simulated) + 1)
    return AcerbiSzekely(float(found), p_value)


def _known(law: Known, alpha: float) -> TailRisk:
    """Return the risks of a normal or a Student-t."""
    quantile = torch.as_tensor(law.standard.ppf(alpha))
    density = torch.as_tensor(law.standard.pdf(quantile.numpy()))
    if law.freedom is not None:
        if not (law.freedom > 1).all():
            raise ValueError(f"a StudentT should have df above 1, for a mean, but one is {law.freedom.min()}")
        freedom = torch.as_tensor(law.freedom)
        density = density * (freedom + quantile**2) / (freedom - 1)
    location = law.location
    return TailRisk(-(location + law.scale * quantile), law.scale * density / alpha - location)


def _hits(violations: Any) -> Tensor:
    hits = series_of(violations, "violations")
    if not ((hits == 0) | (hits == 1)).all():
        raise ValueError("violations should be 0 or 1, or False or True, each day, but hold other numbers")
    return hits


def _log_likelihood(hits: Tensor, probability: float) -> float:
    from scipy.special import xlogy

    count = float(hits.sum())
    return float(xlogy(count, probability) + xlogy(len(hits) - count, 1 - probability))


def _ratio(null: float, other: float, degrees: int) -> LikelihoodRatio:
    from scipy.special import chdtrc

    statistic = max(2 * (other - null), 0.0)  # rounding alone takes it below
    return LikelihoodRatio(statistic, float(chdtrc(degrees, statistic)))
