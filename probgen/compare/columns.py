"""What a metric is: a number that is reported, or several, and how it is computed from a trial."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from probgen.compare.measurements import Trial
from probgen.core.intervals import Interval, combined_p_value, mean_interval


class Column(NamedTuple):
    """A number that a metric reports.

    ``best`` is the best value there is, "floor" where it is the value of real data, "lower" or "higher" where
    less or more is better, and None for a number that does not rank (a standard error, a p-value).
    ``about`` is one line.
    ``bounds`` are those of the number, which its interval keeps to, ``axis`` is that of its panel, and
    p-values of several repeats are combined, not averaged.
    """

    label: str
    about: str
    best: float | Literal["floor", "lower", "higher"] | None = None
    bounds: tuple[float, float] = (-math.inf, math.inf)
    axis: Literal["linear", "log"] = "linear"
    p_value: bool = False


class Metric(NamedTuple):
    """Columns computed together; ``measure`` returns no value where a trial lacks what it needs.

    ``fresh`` says that training data are no floor: it is then one half of the reference against the other.
    ``asked`` says that it is computed only where it is named.
    """

    columns: dict[str, Column]
    measure: Callable[[Trial], dict[str, float]]
    fresh: bool = False
    asked: bool = False


SHARE, POSITIVE = (0.0, 1.0), (0.0, math.inf)


def over_repeats(column: Column, values: Sequence[float]) -> Interval:
    """Return the mean of a number over repeats with its 95 % interval, of p-values the combined one."""
    if not values:
        return Interval(math.nan, math.nan, math.nan)
    if column.p_value:
        return Interval(combined_p_value(values), math.nan, math.nan)
    return mean_interval(values, bounds=column.bounds)
