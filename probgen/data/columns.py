"""What the columns of a table are: their kinds, found or named, and the numbers that code them."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from probgen.core.kinds import KINDS, Kind

if TYPE_CHECKING:
    import pandas as pd

MOST_LEVELS = 100
"""Different words beyond which a column is no category but an identifier or free text."""

FEW = 20
"""Whole numbers that are no counts are categories where so many at most are different."""

LARGEST = 1e150
"""The largest magnitude of a number, whose square is one too."""

_WRITTEN_OTHERWISE = re.compile(r"[-+(]?\s*[$€£¥]?\s*[-+]?\d[\d.,'’_\s]*\s*[%$€£¥)]?")
"""A number with a thousands separator, a decimal comma, a currency or a percent sign."""

_DATE = re.compile(r"\s*(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})([T ]\d{1,2}:.*)?\s*")


@dataclass(frozen=True)
class Column:
    """One column of a table: its kind, and how its values become numbers. A missing one is NaN.

    A real number v becomes (v − mean) / sd, a positive one v / typical, a count stays what it is, and a value
    of a binary or categorical column becomes its place in ``levels``.

    Args:
        name, dtype: as the user's table has them.
        kind: one of "real", "positive", "count", "binary", "categorical".
        levels: the values of a binary or categorical column.
        whole: whether numbers are whole, to which draws are rounded.
        mean, sd, typical: of the training rows: mean, standard deviation and geometric mean.
    """

    name: Hashable
    kind: str
    dtype: Any
    levels: tuple[Any, ...] = ()
    whole: bool = False
    mean: float = 0.0
    sd: float = 1.0
    typical: float = 1.0

    def coded(self, values: pd.Series) -> np.ndarray:
        """Return values as numbers, float64.

        Raises:
            ValueError: for a value that the kind has not, naming it and the column.
        """
        if self.levels:
            return self._places(values)
        found = _numbers(self.name, values)
        _check_numbers(self.name, self.kind, found)
        if self.kind == "real":
            return (found - self.mean) / self.sd
        return found / self.typical if self.kind == "positive" else found

    def decoded(self, codes: np.ndarray) -> pd.Series:
        """Return numbers, float64, as values of the user's column."""
        import pandas as pd

        missing = np.isnan(codes)
        if self.levels:
            places = np.where(missing, 0, codes).astype(np.int64)
            values = pd.Index(self.levels).take(places).to_series(index=range(len(codes)))
            values = values.astype(object).where(~missing, None) if missing.any() else values
            return values.astype(self.dtype)
        values = codes * self.sd + self.mean if self.kind == "real" else codes
        values = values * self.typical if self.kind == "positive" else values
        values = np.round(values) if self.whole else values
        return _typed(pd.Series(values), self.dtype)

    def _places(self, values: pd.Series) -> np.ndarray:
        import pandas as pd

        places = pd.Index(self.levels).get_indexer(pd.Index(values)).astype(float)
        missing = values.isna().to_numpy()
        unseen = (places < 0) & ~missing
        if unseen.any():
            raise ValueError(
                f"column {self.name!r} should hold values seen before, {_some(self.levels)}, but row "
                f"{int(unseen.argmax())} holds {values.iloc[int(unseen.argmax())]!r}"
            )
        places[missing] = np.nan
        return places


def described(
    frame: pd.DataFrame, train: np.ndarray, given: Mapping[Hashable, Kind | None]
) -> tuple[tuple[Column, ...], dict[Hashable, str]]:
    """Return the columns of a table, and those left out with the reason.

    Args:
        frame: the whole table, whose values decide kinds and levels.
        train: the rows from which means and scales are taken.
        given: kinds by name, in the place of those found; None leaves a column out.

    Raises:
        ValueError: for a kind that its column has not, or a name that no column has.
    """
    for name, kind in given.items():
        if name not in frame.columns:
            raise ValueError(f"kinds should name columns, {_some(frame.columns)}, but names {name!r}")
        word = kind if isinstance(kind, str) or kind is None else kind[0]
        if word is not None and word not in KINDS:
            raise ValueError(f"the kind of column {name!r} should be of {', '.join(KINDS)} but is {word!r}")
    columns: list[Column] = []
    left_out: dict[Hashable, str] = {}
    for name in frame.columns:
        values, asked = frame[name], given.get(name, "")
        word, reason = (asked if isinstance(asked, str) else asked[0], "") if asked else found_kind(values)
        if asked is None:
            left_out[name] = "as asked"
        elif word is None:
            left_out[name] = reason
        else:
            columns.append(_column(name, word, values, train))
    return tuple(columns), left_out


def found_kind(values: pd.Series) -> tuple[str | None, str]:
    """Return the kind of a column by its values, or None and why it is left out.

    Two different values make a column binary. Words are categorical. Whole numbers are counts where they
    start at 0 or above and their variance is no less than their mean, as that of any mixture of Poisson laws,
    but for two standard errors; else categorical where at most 20 are different. Other numbers are
    positive where all are above 0 and the largest is at least twice the smallest (within less, a normal law
    is as good), else real. Left out are columns that are empty, constant, dates, row numbers, lists, or words
    of which more than 100 are different, or all of more than 20.
    """
    from pandas.api.types import is_datetime64_any_dtype, is_numeric_dtype, is_timedelta64_dtype

    some = values.dropna()
    try:
        distinct = some.unique()
    except TypeError:  # lists, mappings, sets
        return None, f"no numbers or words but a {type(some.iloc[0]).__name__} in a row"
    if not len(some):
        return None, "all values are missing"
    if is_datetime64_any_dtype(values.dtype) or is_timedelta64_dtype(values.dtype):
        return None, "dates and times"
    if len(distinct) == 1:
        return None, f"constant, {distinct[0]}"
    numeric = is_numeric_dtype(values.dtype)
    x = _numbers(values.name, values) if numeric else np.zeros(0)
    x = x[~np.isnan(x)]
    if len(distinct) == 2:
        return "binary", ""
    if not numeric:
        return _kind_of_words(values, distinct)
    if (x == np.round(x)).all():
        if len(distinct) == len(values) and np.ptp(x) == len(x) - 1 and (np.diff(x) == 1).all():
            return None, "row numbers"
        as_spread_as_counts = x.var() >= (1 - 2 * (2 / len(x)) ** 0.5) * x.mean()
        if x.min() >= 0 and x.max() < 2**24 and as_spread_as_counts:
            return "count", ""
        if len(distinct) <= FEW:
            return "categorical", ""
    return ("positive" if x.min() > 0 and x.max() >= 2 * x.min() else "real"), ""


def _kind_of_words(values: pd.Series, distinct: Any) -> tuple[str | None, str]:
    import pandas as pd

    words = [str(value) for value in distinct]
    if all(_DATE.fullmatch(word) for word in words):
        return None, "dates and times"
    numeric = pd.to_numeric(values, errors="coerce")
    odd = (numeric.isna() & values.notna()).to_numpy()
    if not odd.any():
        return found_kind(numeric)
    meant = np.array([bool(_WRITTEN_OTHERWISE.fullmatch(str(value))) for value in values[odd]])
    if len(distinct) > FEW and odd.sum() - meant.sum() < 0.5 * values.notna().sum():
        row = int(odd.argmax())
        raise ValueError(
            f"column {values.name!r} should hold numbers alone, such as 1234.5, as most of its rows do, but "
            f"row {row} holds {values.iloc[row]!r}: write such values as empty where they are missing, or "
            f"name its kind, kinds={{{values.name!r}: 'categorical'}}"
        )
    if len(distinct) > (FEW if len(distinct) == values.notna().sum() else MOST_LEVELS):
        return None, f"{len(distinct):,} different words, an identifier or free text"
    return "categorical", ""


def _column(name: Hashable, kind: str, values: pd.Series, train: np.ndarray) -> Column:
    """Describe a column of a kind, after checking that its values are of it."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    column = Column(name, kind, values.dtype)
    if kind in ("binary", "categorical"):
        levels = _levels(values)
        if not levels or (kind == "binary" and len(levels) > 2):
            raise ValueError(
                f"column {name!r} should have {'two' if kind == 'binary' else 'some'} values to be {kind} "
                f"but has {_some(levels) or 'none'}"
            )
        return replace(column, levels=levels)
    if not is_numeric_dtype(values.dtype) or is_bool_dtype(values.dtype):
        column = replace(column, dtype=np.dtype(np.float64))
    x = _numbers(name, values)
    _check_numbers(name, kind, x)
    some = x[train][~np.isnan(x[train])]
    some = some if len(some) > 1 and np.ptp(some) > 0 else x[~np.isnan(x)]
    if len(some) < 2 or not np.ptp(some) > 0:
        raise ValueError(f"column {name!r} should vary to be {kind} but does not: leave it out")
    typical = float(np.exp(np.log(some).mean())) if kind == "positive" else 1.0
    whole = bool((some == np.round(some)).all())
    sd = float(some.std(ddof=1))
    if not sd > 0:
        raise ValueError(f"column {name!r} should vary by more than {np.ptp(some):g}: change its unit")
    return replace(column, whole=whole, mean=float(some.mean()), sd=sd, typical=typical)


def _levels(values: pd.Series) -> tuple[Any, ...]:
    """Return the different values of a column, in their order where they have one."""
    import pandas as pd

    seen = values.dropna().unique()
    if isinstance(values.dtype, pd.CategoricalDtype):
        return tuple(level for level in values.dtype.categories if level in set(seen))
    found = list(seen.tolist() if hasattr(seen, "tolist") else seen)
    try:
        return tuple(sorted(found))
    except TypeError:
        return tuple(sorted(found, key=lambda value: (type(value).__name__, str(value))))


def _typed(values: pd.Series, dtype: Any) -> pd.Series:
    """Return numbers in the type of their column, or in a wider one where one has no room in it."""
    own = np.dtype(getattr(dtype, "numpy_dtype", getattr(dtype, "subtype", dtype)))
    if own.kind == "f":
        return values if (values.abs() > float(np.finfo(own).max)).any() else values.astype(dtype)
    types: list[tuple[Any, Any]] = [(own, dtype), (np.dtype(np.int64), "Int64")]
    for kind, wider in types:
        low, high = float(np.iinfo(kind).min), float(np.iinfo(kind).max) + 1  # of 64 bits, rounded to 2^63
        if not ((values < low) | (values >= high)).any():
            return values.astype(wider)
    return values


def _numbers(name: Hashable, values: pd.Series) -> np.ndarray:
    """Return values as float64, a missing one as NaN; ValueError for what is no number, or infinite."""
    if values.dtype.kind == "c":
        raise ValueError(f"column {name!r} should hold real numbers but holds complex ones")
    try:
        found = values.astype("float64" if values.dtype != object else "Float64")
        x = found.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        raise ValueError(
            f"column {name!r} should hold numbers but holds {values.dropna().iloc[0]!r}"
        ) from None
    if np.isinf(x).any():
        raise ValueError(
            f"column {name!r} should be finite or missing but row {int(np.isinf(x).argmax())} is infinite"
        )
    large = np.abs(x) > LARGEST
    if large.any():
        row = int(large.argmax())
        raise ValueError(
            f"column {name!r} should hold numbers up to {LARGEST:g} but row {row} holds {x[row]:g}: "
            "change its unit"
        )
    return x


def _check_numbers(name: Hashable, kind: str, x: np.ndarray) -> None:
    """Raise for a number that a kind has not."""
    rule, wrong = {
        "real": ("", np.zeros(len(x), bool)),
        "positive": ("above 0", x <= 0),
        "count": ("0, 1, 2, ...", (x < 0) | (x != np.round(x))),
    }[kind]
    wrong = wrong & ~np.isnan(x)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"column {name!r} should be {rule} to be {kind} but row {row} holds {x[row]:g}")


def _some(values: Any) -> str:
    """Name the first values."""
    listed = [repr(value) for value in values]
    return ", ".join(listed[:5]) + (", ..." if len(listed) > 5 else "")
