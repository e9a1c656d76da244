"""Forecasts beside what came: bands of quantiles over time, and how calibrated they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy import stats
from torch import Tensor

from probgen.plots.style import INK, MUTED, PALETTE, across, array, panels, style


def fan_chart(
    past: Tensor | ArrayLike,
    draws: Tensor | ArrayLike,
    *,
    truth: Tensor | ArrayLike | None = None,
    coverage: Sequence[float] = (0.5, 0.8, 0.95),
    paths: int = 3,
    value: str = "value",
    time: str = "steps from now",
) -> Figure:
    """Draw a series, and behind its end the bands in which forecasts of it lie, their median and some paths.

    The bands are central: that of 0.8 has a tenth of the draws below it and a tenth above, at each step by
    itself. The last known value is step 0, from which all of them start.

    Args:
        past: the series up to now, shape (T,), T ≥ 1.
        draws: forecasts of the next steps, shape (m, horizon), m ≥ 20, such as ``evaluation.forecast`` gives.
        truth: what came, shape (horizon,), where it is known.
        coverage: of the bands, above 0 and below 1.
        paths: how many draws to show as lines.
        value, time: what is written beside the axes.

    Raises:
        ValueError: for other shapes, too few draws, and values that are not finite.

    >>> walk = np.random.default_rng(0).normal(size=(200, 10)).cumsum(1)
    >>> len(fan_chart(np.zeros(5), walk).axes)
    1
    """
    known, ahead = array(past, "past").astype(float), array(draws, "draws").astype(float)
    if known.ndim != 1 or not len(known):
        raise ValueError(f"past should have shape (T,), at least one value, but has shape {known.shape}")
    if ahead.ndim != 2 or ahead.shape[0] < 20 or not ahead.shape[1]:
        raise ValueError(f"draws should have shape (m, horizon), m at least 20, but have shape {ahead.shape}")
    shares = sorted(coverage, reverse=True)
    if not shares or not all(0 < share < 1 for share in shares):
        raise ValueError(f"coverage should be shares above 0 and below 1 but is {tuple(coverage)}")
    came = None if truth is None else array(truth, "truth").astype(float)
    if came is not None and came.shape != ahead.shape[1:]:
        raise ValueError(f"truth should have shape {ahead.shape[1:]} but has shape {came.shape}")
    if not 0 <= paths <= len(ahead):
        raise ValueError(f"paths should be 0 to the {len(ahead)} draws but is {paths}")
    steps = np.arange(ahead.shape[1] + 1)

    def onward(values: np.ndarray) -> np.ndarray:
        return np.concatenate([known[-1:], values])

    with style():
        figure, (axis,) = panels(1, columns=1, width=7.2, height=3.9)
        for place, share in enumerate(shares):
            low, high = np.quantile(ahead, [(1 - share) / 2, (1 + share) / 2], axis=0)
            # Wider bands are paler, and each lies on those that are wider.
            shade = 0.18 + 0.5 * place / max(len(shares) - 1, 1)
            axis.fill_between(
                steps, onward(low), onward(high), color=PALETTE[0], alpha=shade, linewidth=0,
                label=f"{share:.0%} of draws",
            )  # fmt: skip
        for path in ahead[:paths]:
            axis.plot(steps, onward(path), color="white", linewidth=1.6, alpha=0.6)
            axis.plot(steps, onward(path), color=MUTED, linewidth=0.7)
        axis.plot(
            steps, onward(np.median(ahead, 0)), color=INK, linewidth=1.3, linestyle="--", label="median"
        )
        axis.plot(np.arange(1 - len(known), 1), known, color=INK, linewidth=1.3, label="past")
        if came is not None:
            axis.plot(steps, onward(came), color=PALETTE[1], linewidth=1.8, label="what came")
        axis.axvline(0, color=MUTED, linewidth=0.8, linestyle=":")
        axis.set(xlabel=time, ylabel=value, xlim=(1 - len(known), steps[-1]))
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def pit_histogram(
    transforms: Tensor | ArrayLike | dict[str, Any], *, bins: int = 10, level: float = 0.95
) -> Figure:
    """Draw histograms of probability integral transforms, with the band in which uniform ones lie.

    A ∪ says that forecasts are too narrow, a ∩ that they are too wide, a slope that they are shifted. Each
    bar of right, independent forecasts lies in the grey band with probability ``level``, by itself.

    Args:
        transforms: of ``evaluation.pit``, shape (n,), n ≥ bins; or name -> such, a panel each.
        bins: how many bars.
        level: of the band, above 0 and below 1.

    Raises:
        ValueError: for another shape, too few, or values outside of 0 to 1.

    >>> len(pit_histogram({"model": np.random.default_rng(0).random(500)}).axes)
    1
    """
    named = transforms if isinstance(transforms, dict) else {"": transforms}
    if not named:
        raise ValueError("transforms should have at least 1 entry but has 0")
    if bins < 2 or not 0 < level < 1:
        raise ValueError(
            f"bins should be at least 2 and level above 0 and below 1 but they are {bins} and {level}"
        )
    found = {name: _transforms(values, name, bins) for name, values in named.items()}
    with style():
        figure, axes = panels(
            len(found), columns=across(len(found)), width=3.2 if len(found) > 1 else 5.0, height=2.7
        )
        most = 0.0
        for i, (axis, (name, values)) in enumerate(zip(axes, found.items(), strict=True)):
            heights, edges = np.histogram(values, np.linspace(0, 1, bins + 1))
            expected = len(values) / bins
            low, high = stats.binom.ppf([(1 - level) / 2, (1 + level) / 2], len(values), 1 / bins) / expected
            axis.axhspan(low, high, color="0.85", linewidth=0, label=f"{level:.0%} band of uniform ones")
            axis.stairs(heights / expected, edges, fill=True, color=PALETTE[0], alpha=0.55)
            axis.stairs(heights / expected, edges, color=PALETTE[0], linewidth=1.2)
            axis.axhline(1, color=INK, linewidth=1, linestyle=":")
            axis.set(title=name, xlabel="place of what came", xlim=(0, 1))
            if i % across(len(found)) == 0:
                axis.set_ylabel("density")
            most = max(most, high, float((heights / expected).max()))
        for axis in axes:
            axis.set_ylim(0, 1.08 * most)
        handles = axes[0].get_legend_handles_labels()[0]
        figure.legend(handles=handles, loc="outside lower center", frameon=False)
    return figure


def _transforms(values: Any, name: str, bins: int) -> np.ndarray:
    what = f"transforms[{name!r}]" if name else "transforms"
    found = array(values, what).astype(float)
    if found.ndim != 1 or len(found) < bins:
        raise ValueError(f"{what} should have shape (n,), n at least {bins}, but has shape {found.shape}")
    if found.min() < 0 or found.max() > 1:
        raise ValueError(f"{what} should lie in [0, 1] but lies in [{found.min():.3g}, {found.max():.3g}]")
    return found
