"""Prices of European options: from draws of what the share will cost, and by Black and Scholes."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from probgen.core import Estimate
from probgen.evaluation.forecasts.given_numbers import numbers_of, series_of


class OptionPrices(NamedTuple):
    """Prices of calls and puts, shape (strikes,), and the standard errors of them, float64."""

    call: Tensor
    put: Tensor
    call_stderr: Tensor
    put_stderr: Tensor


def as_martingale(final: Any, *, spot: float, rate: float = 0.0, years: float = 1.0) -> Tensor:
    r"""Return draws of S_T times one number by which e^{−rT} times their mean is S_0, float64.

    Draws of a law that was learned from returns have the drift of the past; in a market without arbitrage the
    discounted price has none. Of all ways to put that right this one leaves the shape of log S_T as it is
    (the mean-correcting change of measure). What comes of it is a model's price, not the market's.

    Args:
        final: draws of S_T, shape (m,), above 0, in the unit of ``spot``.
        spot: S_0 > 0.
        rate: r, of a year, continuously compounded.
        years: T > 0.

    Source: Harrison and Kreps (1979), for martingales; Schoutens (2003), Lévy processes in finance, for the
    correction of the mean.

    >>> draws = as_martingale([90.0, 130.0], spot=100.0)
    >>> [round(float(draw), 3) for draw in draws]
    [81.818, 118.182]
    """
    draws = _final(final, spot, years)
    return draws * (spot * math.exp(rate * years) / draws.mean())


def martingale_gap(final: Any, *, spot: float, rate: float = 0.0, years: float = 1.0) -> Estimate:
    """Return e^{−rT} E[S_T] / S_0 − 1 of draws and its standard error: 0 of a price law without arbitrage.

    Args:
        final, spot, rate, years: as of :func:`as_martingale`.

    >>> martingale_gap([99.0, 101.0], spot=100.0).value
    0.0
    """
    draws = _final(final, spot, years) * (math.exp(-rate * years) / spot)
    return Estimate(float(draws.mean()) - 1, float(draws.std()) / math.sqrt(len(draws)))


def option_prices(
    final: Any, strikes: Any, *, spot: float, rate: float = 0.0, years: float = 1.0
) -> OptionPrices:
    r"""Return prices of European calls and puts, e^{−rT} E(S_T − K)₊ and e^{−rT} E(K − S_T)₊, by Monte Carlo.

    The draws should be of a martingale measure (:func:`as_martingale`): calls and puts then keep to put-call
    parity, C − P = S_0 − K e^{−rT}; other draws are refused. The errors are those of payoffs whose mean is
    known to depend on that of S_T, by the regression on S_T − E S_T (a control variate).

    Args:
        final: draws of S_T, shape (m,), with e^{−rT} mean S_0 to six digits.
        strikes: K > 0, shape (strikes,).
        spot, rate, years: as of :func:`as_martingale`.

    Raises:
        ValueError: for draws whose discounted mean is not the spot.

    Source: Boyle (1977), Options: a Monte Carlo approach.

    >>> found = option_prices([80.0, 120.0], [100.0], spot=100.0)
    >>> float(found.call), float(found.put)
    (10.0, 10.0)
    """
    draws = _final(final, spot, years)
    k = numbers_of(strikes, "strikes")
    if k.dim() != 1 or not (k > 0).all():
        raise ValueError(f"strikes should be above 0, shape (strikes,), but have shape {tuple(k.shape)}")
    discount = math.exp(-rate * years)
    mean = discount * float(draws.mean())
    if abs(mean - spot) > 1e-6 * spot:
        raise ValueError(
            f"draws should have the spot {spot:g} for their discounted mean but it is {mean:g}: put the "
            "martingale right by as_martingale first"
        )
    call = discount * (draws[:, None] - k).clamp(min=0)
    put = call - discount * (draws[:, None] - k)  # path by path, so that parity holds to rounding
    apart = draws - draws.mean()
    spread = apart.square().sum()

    def stderr(payoff: Tensor) -> Tensor:
        centred = payoff - payoff.mean(0)
        slope = (apart[:, None] * centred).sum(0) / spread if spread > 0 else 0.0
        rest = centred - slope * apart[:, None]
        return rest.square().mean(0).sqrt() / math.sqrt(len(draws))

    return OptionPrices(call.mean(0), put.mean(0), stderr(call), stderr(put))


def black_scholes(
    strikes: Any, *, spot: float, volatility: Any, rate: float = 0.0, years: float = 1.0
) -> tuple[Tensor, Tensor]:
    r"""Return prices of European calls and puts of a share that moves as geometric Brownian motion.

    C = S_0 Φ(d₁) − K e^{−rT} Φ(d₂), d₁ = (log(S_0/K) + (r + σ²/2) T) / (σ √T), d₂ = d₁ − σ √T, and
    P = C − S_0 + K e^{−rT}.

    Args:
        strikes: K > 0, any shape.
        volatility: σ > 0, of a year, a number or of the shape of ``strikes``.
        spot, rate, years: as of :func:`as_martingale`.

    Source: Black and Scholes (1973), The pricing of options and corporate liabilities.

    >>> call, put = black_scholes(100.0, spot=100.0, volatility=0.2, rate=0.05)
    >>> round(float(call), 4), round(float(put), 4)
    (10.4506, 5.5735)
    """
    _check(spot, years)
    k, sigma = numbers_of(strikes, "strikes"), numbers_of(volatility, "volatility")
    if not (k > 0).all() or not (sigma > 0).all():
        raise ValueError("strikes and volatility should be above 0 but some are not")
    spread = sigma * math.sqrt(years)
    upper = ((spot / k).log() + rate * years) / spread + spread / 2
    ndtr, paid = torch.special.ndtr, k * math.exp(-rate * years)
    call = spot * ndtr(upper) - paid * ndtr(upper - spread)
    return call, paid * ndtr(spread - upper) - spot * ndtr(-upper)


def implied_volatility(
    prices: Any, strikes: Any, *, spot: float, rate: float = 0.0, years: float = 1.0
) -> Tensor:
    r"""Return the volatility of a year at which Black and Scholes' calls have these prices, shape (strikes,).

    It is found by bisection, to 1e-10. NaN stands where there is none: a price that is not above
    (S_0 − K e^{−rT})₊ and below S_0.

    Args:
        prices: of calls, shape (strikes,).
        strikes, spot, rate, years: as of :func:`black_scholes`.

    >>> call, _ = black_scholes([90.0, 110.0], spot=100.0, volatility=0.3)
    >>> implied_volatility(call, [90.0, 110.0], spot=100.0)
    tensor([0.3000, 0.3000], dtype=torch.float64)
    """
    _check(spot, years)
    wanted = series_of(prices, "prices", least=1)
    k = numbers_of(strikes, "strikes", tuple(wanted.shape))
    low, high = torch.full_like(k, 1e-6), torch.full_like(k, 20.0)

    def price(volatility: Tensor) -> Tensor:
        return black_scholes(k, spot=spot, volatility=volatility, rate=rate, years=years)[0]

    known = (wanted > price(low)) & (wanted < price(high))
    while float((high - low).max()) > 1e-10:
        middle = (low + high) / 2
        below = price(middle) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return torch.where(known, (low + high) / 2, math.nan)


def _final(final: Any, spot: float, years: float) -> Tensor:
    _check(spot, years)
    draws = series_of(final, "final")
    if not (draws > 0).all():
        raise ValueError(f"final prices should be above 0 but one is {float(draws.min()):g}")
    return draws


def _check(spot: float, years: float) -> None:
    if not 0 < spot < math.inf or not 0 < years < math.inf:
        raise ValueError(f"spot and years should be above 0 and finite but they are {spot} and {years}")
