"""Metrics of several methods, with intervals over repeats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from probgen.plots.style import INK, MUTED, PALETTE, panels, require_columns, spans_decades, style

if TYPE_CHECKING:
    import pandas as pd

_BAND = "0.87"


def intervals(
    frame: pd.DataFrame, *, floor: str = "train against test", ideal: Mapping[str, float] | None = None
) -> Figure:
    """Draw one panel per metric: every repeat as a dot, the mean and its 95 % t-interval as a bar.

    The floor, real data against real data, is a grey band (its interval) with a line (its mean); an ideal
    value is a dotted line. What is not finite is written in the panel, and so is what a method does not have.

    Args:
        frame: tidy, with the columns method, metric, repeat and value.
        floor: the method drawn as a band rather than as a row.
        ideal: metric -> the value that a perfect method has.

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
        figure, axes = panels(len(metrics), columns=columns, width=2.5, height=height)
        for i, (axis, metric) in enumerate(zip(axes, metrics, strict=True)):
            own = frame[frame["metric"] == metric]
            rows = [own.loc[own["method"] == name, "value"].to_numpy(dtype=float) for name in methods]
            base = own.loc[own["method"] == floor, "value"].to_numpy(dtype=float)
            _panel(axis, rows, base, (ideal or {}).get(metric))
            axis.set_title(metric)
            axis.set_yticks(range(len(methods)), methods if i % columns == 0 else [])
        figure.legend(handles=_legend(floor), loc="outside lower center", ncols=4, frameon=False)
    return figure


def _panel(axis: Axes, rows: list[np.ndarray], base: np.ndarray, ideal: float | None) -> None:
    shown = np.concatenate([*rows, base, [] if ideal is None else [ideal]])
    shown = shown[np.isfinite(shown)]
    if spans_decades(shown):
        axis.set_xscale("log")
    if ideal is not None:
        axis.axvline(ideal, color=INK, linestyle=":", linewidth=1.2, zorder=1)
    if base.size and np.isfinite(base).all():
        half = _half_width(base)
        axis.axvspan(base.mean() - half, base.mean() + half, color=_BAND, linewidth=0, zorder=0)
        axis.axvline(base.mean(), color=MUTED, linewidth=1.2, zorder=1)
    for y, values in enumerate(rows):
        finite = values[np.isfinite(values)]
        axis.plot(finite, np.full(finite.size, y), "o", color=PALETTE[0], alpha=0.35, markersize=4, mew=0)
        if finite.size == values.size and finite.size:
            half = _half_width(values)
            axis.plot([values.mean() - half, values.mean() + half], [y, y], color=PALETTE[0], linewidth=1.8)
            axis.plot(values.mean(), y, "D", color=PALETTE[0], markersize=4.5)
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
    if axis.get_xscale() == "linear":
        axis.locator_params(axis="x", nbins=4)
    axis.minorticks_off()
    axis.margins(x=0.06)


def _half_width(values: np.ndarray) -> float:
    from scipy import stats

    if values.size < 2:
        return 0.0
    return float(stats.t.ppf(0.975, values.size - 1) * values.std(ddof=1) / np.sqrt(values.size))


def _note(values: np.ndarray) -> str:
    lost = values[~np.isfinite(values)]
    if not values.size:
        return "–"
    kinds = ", ".join(sorted({"∞" if v > 0 else "−∞" if v < 0 else "undefined" for v in lost}))
    return f"{kinds} in {lost.size} of {values.size}"


def _legend(floor: str) -> list[Line2D | Patch]:
    return [
        Line2D([], [], color=PALETTE[0], marker="D", markersize=4.5, label="mean, 95 % interval"),
        Line2D([], [], color=PALETTE[0], marker="o", linestyle="", alpha=0.4, label="one repeat"),
        Patch(facecolor=_BAND, edgecolor=MUTED, label=f"floor: {floor}"),
        Line2D([], [], color=INK, linestyle=":", label="ideal"),
    ]
