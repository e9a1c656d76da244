"""Prices over time: the volatility index VIX by day, exchange rates by month, and returns of both."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from probgen.data.files import SOURCES, read

if TYPE_CHECKING:
    import pandas as pd


class Prices(NamedTuple):
    """Prices in the order of time: float64 of shape (T, columns), NaN where there is none, and their days."""

    prices: Tensor
    days: list[str]
    columns: list[str]
    name: str
    version: str


def vix() -> Prices:
    """Return the VIX, what options say of the S&P 500's volatility over 30 days, in percent a year.

    Its columns are open, high, low and close of 9,235 days from 1990 to July 2026. It is an index that is
    not traded: its returns are nobody's gain. On 506 days high and low are equal. The file is read from the
    folder ``finance`` under PROBGEN_DATA or in the user's cache; it is a snapshot: another one is refused.

    Raises:
        ValueError: for a file that is damaged or another one.
        ConnectionError: where it is not there.

    Source: Cboe, by github.com/datasets/finance-vix.
    """
    return _prices("vix", _csv("vix").set_index("DATE").rename(columns=str.lower))


def exchange_rates() -> Prices:
    """Return what a US dollar costs in 34 currencies, means of the 666 months from 1971 to June 2026.

    They are means over a month, not prices at its end: returns of such means follow one another with a
    correlation of about 1/4 even where prices are a random walk (Working, 1960), so that risks of a year by
    the square root of time are too low. Currencies begin later or end, as those that became the euro; NaN
    there. The file is read as that of :func:`vix`.

    Source: Federal Reserve, H.10, by github.com/datasets/exchange-rates.
    """
    frame = _csv("exchange-rates")
    return _prices("exchange-rates", frame.pivot(index="Date", columns="Country", values="Exchange rate"))


def log_returns(prices: Tensor) -> Tensor:
    r"""Return log(p_t / p_{t−1}), shape (T − 1, \*series), of prices of shape (T, \*series).

    A return is NaN where one of its two prices is: keep those that are finite, series by series.

    Raises:
        ValueError: for fewer than 2 prices, and prices that are not above 0 or infinite.

    >>> log_returns(torch.tensor([1.0, 2.0, 1.0])).exp()
    tensor([2.0000, 0.5000])
    """
    if prices.dim() < 1 or len(prices) < 2:
        raise ValueError(f"prices should have shape (T, ...), T at least 2, but have {tuple(prices.shape)}")
    wrong = (prices <= 0) | prices.isinf()
    if wrong.any():
        raise ValueError(f"prices should be above 0 and finite but one is {float(prices[wrong][0])}")
    return prices.log().diff(dim=0)


def _csv(name: str) -> pd.DataFrame:
    import pandas as pd

    (file,) = SOURCES[name].files
    return pd.read_csv(io.BytesIO(read(name, file)))


def _prices(name: str, frame: pd.DataFrame) -> Prices:
    if not frame.index.is_monotonic_increasing or not frame.index.is_unique:
        raise ValueError(f"the days of {name} should follow one another, each once")
    values = torch.from_numpy(frame.to_numpy(dtype="float64", copy=True))
    return Prices(values, list(frame.index), list(frame.columns), name, SOURCES[name].version)
