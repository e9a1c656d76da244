"""Numbers with intervals as text, and the table for a terminal."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

from probgen.compare.columns import Column
from probgen.compare.metrics import COLUMNS
from probgen.core.intervals import Interval

if TYPE_CHECKING:
    import pandas as pd

    from probgen.compare.comparison import Comparison

NOTHING = "–"
MARK, BEST = "†", "*"
"""Signs of a method whose own diagnosis found something wrong, and of those not told apart from the best."""


def number(mean: float, half_width: float = math.nan, *, digits: int = 3) -> str:
    """Write a number with the digits that its interval justifies, or so many where it has no interval.

    >>> number(0.123456, 0.0123), number(1234.5), number(0.5)
    ('0.123 ± 0.012', '1234', '0.500')
    """
    if math.isinf(mean):
        return "∞" if mean > 0 else "−∞"
    if mean == 0 and not half_width > 0:
        return "0"
    interval = half_width > 0
    places = _places(half_width, 2) if interval else _places(mean, digits)
    if places > 7:
        return _minus(f"{mean:.{digits - 1}e}" + (f" ± {half_width:.1e}" if interval else ""))
    places = max(places, 0)
    return _minus(f"{mean:.{places}f}" + (f" ± {half_width:.{places}f}" if interval else ""))


def between(mean: float, low: float, high: float) -> str:
    """Write a number with an interval that is not symmetric, with the digits that its shorter side justifies.

    >>> between(0.0123, 0.0051, 0.0312), between(4.0, 0.33, 48.9)
    ('0.0123 [0.0051, 0.0312]', '4.0 [0.3, 48.9]')
    """
    if not high > low:
        return number(mean)
    places = min(max(_places(min(mean - low, high - mean), 2), 0), 7)
    return _minus(f"{mean:.{places}f} [{low:.{places}f}, {high:.{places}f}]")


def _places(value: float, digits: int) -> int:
    """Decimal places that show so many significant digits of the rounded value."""
    return digits - 1 - int(f"{value:.{digits - 1}e}".partition("e")[2])


def cells(summary: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Return method -> metric -> what stands in the table; standard errors and p-values have no interval.

    An interval is written ± where it is symmetric, as those of numbers without bounds are, else by its ends.
    """
    metrics = list(dict.fromkeys(summary.columns.get_level_values(0)))
    table: dict[str, dict[str, str]] = {}
    for method, row in summary.iterrows():
        own = table.setdefault(str(method), {})
        for metric in metrics:
            ends = (float(row[metric, part]) for part in Interval._fields)
            own[metric] = written(metric, COLUMNS[metric], Interval(*ends))
    return table


def written(metric: str, column: Column, interval: Interval) -> str:
    """Return a mean with its interval as it stands in a table."""
    mean, low, high = interval
    if math.isnan(mean):
        return NOTHING
    if metric.endswith("_stderr") or column.p_value:
        return number(mean, digits=2)
    if column.bounds[0] == -math.inf:
        return number(mean, (high - low) / 2)
    return between(mean, low, high)


def ideal(column: Column) -> str:
    """Return the best value of a metric in words."""
    best = column.best
    if best is None:
        return ""
    return (
        {"floor": "floor", "lower": "low", "higher": "high"}[best] if isinstance(best, str) else f"{best:g}"
    )


def marked_cells(comparison: Comparison) -> dict[str, dict[str, str]]:
    """Return the cells with a star before those of methods not told apart from the best."""
    written = cells(comparison.summary())
    for metric in next(iter(written.values())):
        for name in comparison.best(metric):
            written[name][metric] = BEST + written[name][metric]
    return written


def footnotes(comparison: Comparison) -> list[str]:
    """Return what the signs in a table say: first of what a method's own diagnosis found wrong."""
    notes = [f"{MARK} {name}: {text}" for name, text in comparison.findings().items()]
    stars = any(BEST in cell for row in marked_cells(comparison).values() for cell in row.values())
    return [*notes, f"{BEST} {BEST_MEANS}"] if stars else notes


BEST_MEANS = (
    "not told apart from the best over the repeats: no other method is better by Welch's t-test, at 5 % for "
    "all of them together."
)


def text_table(comparison: Comparison, width: int) -> str:
    """Return the table in blocks of lines at most ``width`` wide (wider only for one column that is)."""
    marked, baselines = comparison.findings(), comparison.baselines
    written = {
        f"{name} {MARK}" if name in marked else name: row for name, row in marked_cells(comparison).items()
    }
    metrics = list(next(iter(written.values())))
    stub = max(len(name) for name in [*written, "method"])
    wide = {
        metric: max(len(metric), len(ideal(COLUMNS[metric])), *(len(row[metric]) for row in written.values()))
        for metric in metrics
    }
    blocks: list[list[str]] = []
    room = 0
    for metric in metrics:
        if not blocks or room < wide[metric] + 2:
            blocks.append([])
            room = width - stub
        blocks[-1].append(metric)
        room -= wide[metric] + 2
    tables = [_block(written, block, wide, stub, baselines) for block in blocks]
    notes = [textwrap.fill(note, width, subsequent_indent="  ") for note in footnotes(comparison)]
    return "\n\n".join([*tables, "\n".join(notes)] if notes else tables)


def _block(
    written: dict[str, dict[str, str]],
    metrics: list[str],
    wide: dict[str, int],
    stub: int,
    baselines: list[str],
) -> str:
    def line(name: str, texts: dict[str, str]) -> str:
        return f"{name:<{stub}}" + "".join(f"  {texts[metric]:>{wide[metric]}}" for metric in metrics)

    rule = "─" * (stub + sum(wide[metric] + 2 for metric in metrics))
    lines = [line("method", {metric: metric for metric in metrics}), rule]
    lines += [line(name, row) for name, row in written.items() if name not in baselines]
    lines += [rule, *(line(name, written[name]) for name in baselines)]
    lines.append(line("best value", {metric: ideal(COLUMNS[metric]) for metric in metrics}))
    return "\n".join(lines)


def _minus(text: str) -> str:
    return text.replace("-", "−")
