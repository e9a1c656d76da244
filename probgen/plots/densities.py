"""Pictures of draws against the density that they are said to have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from probgen.plots.style import INK, MUTED, PALETTE, across, array, panels, style

_SHARES = (0.1, 0.5, 0.9)


def histograms(
    samples: Mapping[str, Tensor | ArrayLike], density: Callable[[np.ndarray], ArrayLike]
) -> Figure:
    """Draw one-dimensional samples as histograms, a panel each, against the curve of their density.

    The first entry sets the frame, its own range and a margin; what falls outside is counted in the panel.

    Args:
        samples: name -> numbers, shape (n,) or (n, 1).
        density: p(x), at an array of places; of places outside the support 0.

    Raises:
        ValueError: no entry, another shape, or a value that is not finite.
    """
    points = _points(samples, 1)
    reference = next(iter(points.values()))[:, 0]
    low, high = _frame(reference)
    x = np.linspace(low, high, 601)
    curve = np.asarray(density(x))
    bins = np.linspace(low, high, 61)
    with style():
        figure, axes = panels(len(points), columns=across(len(points)), width=2.6, height=2.2)
        for i, (axis, (name, found)) in enumerate(zip(axes, points.items(), strict=True)):
            values = found[:, 0]
            weight = np.full(len(values), 1 / (len(values) * (bins[1] - bins[0])))
            colour = PALETTE[0] if i > 0 else "0.5"
            axis.hist(values, bins.tolist(), weights=weight, color=colour, alpha=0.45, linewidth=0)
            axis.plot(x, curve, color=INK, linewidth=1.3)
            _say_outside(axis, int(((values < low) | (values > high)).sum()), len(values))
            axis.set(xlim=(low, high), title=name, yticks=[])
            axis.set_ylim(bottom=0)
            axis.spines["left"].set_visible(False)
            axis.locator_params(axis="x", nbins=4)
    return figure


def contours(
    samples: Mapping[str, Tensor | ArrayLike], log_density: Callable[[np.ndarray], ArrayLike]
) -> Figure:
    """Draw two-dimensional samples, a panel each, on the contours that hold 10, 50 and 90 % of their density.

    The first entry sets the frame, its own range and a margin; what falls outside is counted in the panel.

    Args:
        samples: name -> points, shape (n, 2).
        log_density: log p, up to a constant, at points of shape (m, 2); outside the support −∞.

    Raises:
        ValueError: no entry, another shape, or a value that is not finite.
    """
    points = _points(samples, 2)
    reference = next(iter(points.values()))
    low, high = np.array([_frame(column) for column in reference.T]).T
    first, second = (np.linspace(a, b, 161) for a, b in zip(low, high, strict=True))
    grid = np.stack(np.meshgrid(first, second), -1)
    log_p = np.asarray(log_density(grid.reshape(-1, 2))).reshape(grid.shape[:2])
    p = np.exp(log_p - np.nanmax(log_p))
    levels = np.unique(_heights(p, _SHARES))
    with style():
        figure, axes = panels(len(points), columns=across(len(points)), width=2.5, height=2.55)
        for i, (axis, (name, found)) in enumerate(zip(axes, points.items(), strict=True)):
            colour = PALETTE[0] if i > 0 else "0.4"
            axis.scatter(
                found[:, 0], found[:, 1], color=colour, alpha=0.35, s=4, linewidths=0, rasterized=True
            )
            if len(levels) and levels[0] > 0:
                axis.contour(first, second, p, levels=levels, colors=INK, linewidths=0.7)
            _say_outside(axis, int(((found < low) | (found > high)).any(1).sum()), len(found))
            axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), title=name)
            axis.locator_params(nbins=4)
    return figure


def _heights(p: np.ndarray, shares: tuple[float, ...]) -> list[float]:
    """Return the heights above which lie these shares of the sum of p."""
    falling = np.sort(np.nan_to_num(p).ravel())[::-1]
    total = np.cumsum(falling)
    return [float(falling[np.searchsorted(total, share * total[-1])]) for share in shares]


def _points(samples: Mapping[str, Tensor | ArrayLike], columns: int) -> dict[str, np.ndarray]:
    if not samples:
        raise ValueError("samples should have at least 1 entry but has 0")
    points = {}
    for name, values in samples.items():
        found = array(values, f"samples[{name!r}]")
        points[name] = found[:, None] if columns == 1 and found.ndim == 1 else found
        if points[name].ndim != 2 or points[name].shape[1] != columns or len(found) == 0:
            raise ValueError(
                f"samples[{name!r}] should have shape (n, {columns}) but has shape {found.shape}"
            )
    return points


def _frame(column: np.ndarray) -> tuple[float, float]:
    low, high = float(column.min()), float(column.max())
    margin = 0.08 * (high - low) if high > low else 1.0
    return low - margin, high + margin


def _say_outside(axis: Any, outside: int, of: int) -> None:
    if outside:
        axis.set_xlabel(f"{outside} of {of} outside the frame", size="small", color=MUTED)
