"""Metrics of several methods, with intervals over repeats."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from probgen.core.intervals import Interval, mean_interval
from probgen.plots.style import INK, MUTED, PALETTE, panels, require_columns, style

if TYPE_CHECKING:
    import pandas as pd

_BAND, DOUBT = "0.87", "#b3261e"


def intervals(
    frame: pd.DataFrame,
    *,
    floor: str | None = "train against test",
    ideal: Mapping[str, float] | None = None,
    summary: pd.DataFrame | None = None,
    logarithmic: Collection[str] = (),
    marked: Collection[str] = (),
) -> Figure:
    """Draw one panel per metric: every repeat as a dot, the mean and its 95 % interval as a bar.

    The floor, real data against real data, is a grey band (its interval) with a line (its mean); an ideal
    value is a dotted line. What is not finite is written in the panel, and so is what a method does not have.

    Args:
        frame: tidy, with the columns method, metric, repeat and value.
        floor: the method drawn as a band rather than as a row, if there is one.
        ideal: metric -> the value that a perfect method has.
        summary: means and intervals to draw, by method, with columns (metric, "mean", "low" or "high");
            t-intervals of numbers without bounds where not given.
        logarithmic: metrics with a logarithmic axis.
        marked: methods whose numbers are not to be trusted, drawn in red with a dagger.

    Raises:
        ValueError: a missing column, no row, or no method but the floor.
    """
    require_columns(frame, ("method", "metric", "repeat", "value"))
    methods = [name for name in dict.fromkeys(frame["method"]) if name != floor]
    if not methods:
        raise ValueError(f"frame should have a method beside {floor!r} but has none")
    metrics = list(dict.fromkeys(frame["metric"]))
    columns = min(4, len(metrics))
    with style():
        height = 0.24 * len(methods) + 0.75
        width = max(2.5, 5.0 / columns)  # of a single panel the names of methods and the legend need it
        figure, axes = panels(len(metrics), columns=columns, width=width, height=height)
        for i, (axis, metric) in enumerate(zip(axes, metrics, strict=True)):
            own = frame[frame["metric"] == metric]
            rows = {name: (_values(own, name), _interval(summary, own, name, metric)) for name in methods}
            base = None if floor is None else (_values(own, floor), _interval(summary, own, floor, metric))
            _panel(axis, rows, base, (ideal or {}).get(metric), metric in logarithmic, marked)
            axis.set_title(metric)
            labels = [f"{name} †" if name in marked else name for name in methods]
            for label, name in zip(
                axis.set_yticks(range(len(methods)), labels if i % columns == 0 else []), methods, strict=True
            ):
                label.label1.set_color(_colour(name, marked, INK))
        figure.legend(
            handles=_legend(floor, bool(ideal), bool(marked)),
            loc="outside lower center",
            ncols=5,
            frameon=False,
        )
    return figure


def _values(own: pd.DataFrame, method: str) -> np.ndarray:
    return own.loc[own["method"] == method, "value"].to_numpy(dtype=float)


def _interval(summary: pd.DataFrame | None, own: pd.DataFrame, method: str, metric: str) -> Interval:
    if summary is not None:
        return Interval(*summary.loc[method][metric][list(Interval._fields)].astype(float))
    values = _values(own, method).tolist()
    return mean_interval(values) if values else Interval(np.nan, np.nan, np.nan)


def _colour(method: str, marked: Collection[str], colour: str) -> str:
    return DOUBT if method in marked else colour


def _panel(
    axis: Axes,
    rows: Mapping[str, tuple[np.ndarray, Interval]],
    base: tuple[np.ndarray, Interval] | None,
    ideal: float | None,
    logarithmic: bool,
    marked: Collection[str],
) -> None:
    if logarithmic:
        axis.set_xscale("log", nonpositive="clip")
    if ideal is not None:
        axis.axvline(ideal, color=INK, linestyle=":", linewidth=1.2, zorder=1)
    if base is not None and base[0].size and np.isfinite(base[0]).all():
        mean, low, high = base[1]
        if high > low:
            axis.axvspan(low, high, color=_BAND, linewidth=0, zorder=0)
        axis.axvline(mean, color=MUTED, linewidth=1.2, zorder=1)
    for y, (name, (values, (mean, low, high))) in enumerate(rows.items()):
        finite, colour = values[np.isfinite(values)], _colour(name, marked, PALETTE[0])
        axis.plot(finite, np.full(finite.size, y), "o", color=colour, alpha=0.35, markersize=4, mew=0)
        if finite.size == values.size and finite.size:
            if high > low:
                axis.plot([low, high], [y, y], color=colour, linewidth=1.8)
            axis.plot(mean, y, "D", color=colour, markersize=4.5)
        else:
            above = y - 0.28 if finite.size else y
            where = axis.get_yaxis_transform()
            axis.text(
                0.5,
                above,
                _note(values),
                transform=where,
                color=MUTED,
                size="small",
                ha="center",
                va="center",
            )
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="y", color="0.93", linewidth=0.8)
    axis.set_axisbelow(True)
    if not logarithmic:
        axis.locator_params(axis="x", nbins=4)
    axis.minorticks_off()
    axis.margins(x=0.06)


def _note(values: np.ndarray) -> str:
    lost = values[~np.isfinite(values)]
    if not values.size:
        return "–"
    kinds = ", ".join(sorted({"∞" if v > 0 else "−∞" if v < 0 else "undefined" for v in lost}))
    return f"{kinds} in {lost.size} of {values.size}"


def _legend(floor: str | None, ideal: bool, doubt: bool) -> list[Line2D | Patch]:
    red = Line2D([], [], color=DOUBT, marker="D", markersize=4.5, label="† its own diagnosis failed")
    return [
        Line2D([], [], color=PALETTE[0], marker="D", markersize=4.5, label="mean, 95 % interval"),
        Line2D([], [], color=PALETTE[0], marker="o", linestyle="", alpha=0.4, label="one repeat"),
        *([] if floor is None else [Patch(facecolor=_BAND, edgecolor=MUTED, label=f"floor: {floor}")]),
        *([Line2D([], [], color=INK, linestyle=":", label="ideal")] if ideal else []),
        *([red] if doubt else []),
    ]
