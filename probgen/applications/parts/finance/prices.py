"""Prices that the application ``finance`` takes, their returns, and what of them does not suit."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from probgen import data

LEAST = 600
"""Returns that there should be: half of them to learn from."""

LARGEST = 230.0
"""Percent of a return: ten times the price, or a tenth."""


def prices_of(source: str | Path) -> data.Prices:
    """Return prices that are shipped, or of a file, one column."""
    if str(source) == "sp500":
        return data.sp500()
    if str(source) == "vix":
        vix = data.vix()
        return vix._replace(prices=vix.prices[:, 3:], columns=["close of the VIX, which is not traded"])
    if str(source) == "exchange-rates":
        rates = data.exchange_rates()
        japan = rates.columns.index("Japan")
        known = rates.prices[:, japan].isfinite()
        days = [day for day, here in zip(rates.days, known.tolist(), strict=True) if here]
        said = "yen for a dollar, means over months, whose returns follow one another by their making"
        return rates._replace(prices=rates.prices[known][:, japan, None], days=days, columns=[said])
    return data.share_prices(source)


def returns_of(prices: data.Prices) -> Tensor:
    """Return differences of log prices in percent, (T,).

    Raises ValueError for fewer than 600, prices that rest on most days, and a tenfold rise or fall in one.
    """
    series = prices.prices[:, 0]
    returns = 100 * data.log_returns(series)
    if len(returns) < LEAST:
        raise ValueError(f"{prices.name} should have {LEAST + 1} prices at least but has {len(series)}")
    moving = int((returns != 0).sum())
    if 2 * moving < len(returns):
        raise ValueError(
            f"prices of {prices.name} should move on half of the days at least but move on {moving:,} of "
            f"{len(returns):,}: take them by weeks or months"
        )
    if float(returns.abs().max()) > LARGEST:
        day = int(returns.abs().argmax())
        raise ValueError(
            f"prices of {prices.name} should not grow or fall tenfold in a day but go from {series[day]:g} "
            f"to {series[day + 1]:g} on {prices.days[day + 1]}: is that a split, or a slip?"
        )
    return returns
