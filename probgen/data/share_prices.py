"""Daily prices of shares: the S&P 500 that comes with the package arch, and a user's own file of prices."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from probgen.data.csv_files import read_csv
from probgen.data.exchange_rates_and_vix import Prices

if TYPE_CHECKING:
    import pandas as pd

SP500 = "1c4d0aeed8db9284de8ad71e4063c97f645ad6dd13507f8e305338e96c396ba7"
"""SHA-256 of the unpacked file in arch 8.0.0."""

DAYS = ("date", "day", "time", "datetime", "timestamp")
PRICES = ("adj close", "adj_close", "adjusted close", "close", "price", "value")
"""Names of columns in letters of any case, those that are taken before others first."""

FORMATS = ("ISO8601", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y")

ZONE = r"(\d:\d\d(?:[:.]\d+)*)(?:Z|[+-]\d\d(?::?\d\d)?)$"
"""What a time of day is followed by: by how much it differs from UTC."""

MOST = 20_000
"""Days of a file that are taken: the last ones."""


def sp500() -> Prices:
    """Return the S&P 500's adjusted closing values of 5,031 days, January 1999 to December 2018.

    They lie in the package arch, which need not be imported: ``pip install 'probgen[finance]'``.

    Raises:
        ValueError: where arch is not here, or its file is another one.

    Source: Yahoo! Finance, by Sheppard's arch (University of Illinois/NCSA licence).
    """
    import pandas as pd

    found = importlib.util.find_spec("arch")
    if found is None or not found.submodule_search_locations:
        raise ValueError("this needs arch, which is not here: pip install 'probgen[finance]'")
    path = Path(next(iter(found.submodule_search_locations))) / "data" / "sp500" / "sp500.csv.gz"
    content = gzip.decompress(path.read_bytes()) if path.exists() else b""
    if hashlib.sha256(content).hexdigest() != SP500:
        raise ValueError(f"{path} should be the S&P 500 of arch 8.0.0 but is another file, or none")
    frame = pd.read_csv(io.BytesIO(content))
    days = pd.to_datetime(frame["Date"], format="%m/%d/%Y").dt.strftime("%Y-%m-%d")
    prices = torch.from_numpy(frame[["Adj Close"]].to_numpy(dtype="float64", copy=True))
    return Prices(prices, list(days), ["close"], "sp500", "arch 8.0.0")


def share_prices(path: str | Path) -> Prices:
    """Return the prices in a CSV of the user's own, in the order of time: one column, float64 (T, 1).

    The file has a column of days (``date``) and one of prices (``adj close``, ``close``, ``price``, in
    letters of any case, the first that is there; or the only other column). Days are written 2018-12-31, or
    by day, month and year in another order that only one reading makes increase or decrease. Lines without a
    price, as of holidays, are left out; of more than 20,000 days the last are taken.

    Raises:
        ValueError: in one sentence, for a file without such columns, days that are none, twice there or out
            of order, and prices that are no numbers or not above 0.
    """
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    name = str(path)
    frame, _ = read_csv(Path(path))
    lower = {str(column).lower(): str(column) for column in frame.columns}
    day = next((lower[word] for word in DAYS if word in lower), None)
    if day is None:
        raise ValueError(f"{name} should have a column 'date' but has {[*lower.values()]}")
    price = next((lower[word] for word in PRICES if word in lower), None)
    others = [column for column in frame.columns if column != day]
    if price is None and len(others) != 1:
        raise ValueError(f"{name} should have a column 'close' or 'price' but has {others or 'none'}")
    price = price or others[0]
    if not is_numeric_dtype(frame[price]) or is_bool_dtype(frame[price]):
        raise ValueError(f"the column {price!r} of {name} should hold numbers but holds {frame[price].dtype}")
    frame = frame[[day, price]].dropna(subset=[price])
    if frame.empty:
        raise ValueError(f"the column {price!r} of {name} should hold prices but is empty")
    wrong = ~((frame[price] > 0) & (frame[price] < float("inf")))
    if wrong.any():
        line = int(frame.index.to_numpy()[wrong.to_numpy().argmax()]) + 2
        raise ValueError(
            f"prices should be above 0 and finite but line {line} of {name} has {frame[price][wrong].iloc[0]}"
        )
    frame = frame.assign(**{day: _days(frame[day], name)}).sort_values(day, kind="stable")[-MOST:]
    prices = torch.from_numpy(frame[[price]].to_numpy(dtype="float64", copy=True))
    return Prices(prices, list(frame[day].dt.strftime("%Y-%m-%d")), [price], Path(name).stem, "own file")


def _days(column: pd.Series, name: str) -> pd.Series:
    """Return days by the only way of writing them in which they go on or back, each once."""
    import pandas as pd

    known, ordered = [], []
    texts = column.astype(str).str.replace(ZONE, r"\1", regex=True)  # the day of the exchange, not of UTC
    for form in FORMATS:
        days = pd.to_datetime(texts, format=form, errors="coerce", utc=form == "ISO8601")
        if days.notna().all():
            known.append(form)
            if days.is_unique and (days.is_monotonic_increasing or days.is_monotonic_decreasing):
                ordered.append(days.dt.tz_localize(None))
        if known == ["ISO8601"]:
            break
    if not known:
        dated = pd.to_datetime(texts, format="ISO8601", errors="coerce", utc=True)
        line = int(column.index[int(dated.isna().to_numpy().argmax())]) + 2
        raise ValueError(
            f"days of {name} should be written as 2018-12-31 but line {line} has "
            f"{str(column.loc[line - 2])!r}"
        )
    if not ordered:
        raise ValueError(f"the days of {name} should follow one another, each once, but do not")
    if len(ordered) > 1 and not ordered[0].equals(ordered[1]):
        raise ValueError(f"days of {name} should be written as 2018-12-31: theirs can be read in two ways")
    return ordered[0]
