"""Scores of anomalies: how they are spread, and what share is caught at which rate of false alarms."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from probgen.plots.style import INK, MUTED, PALETTE, array, panels, style

BINS = 40


def score_histograms(
    normal: Tensor | ArrayLike,
    anomalous: Tensor | ArrayLike,
    *,
    threshold: float | None = None,
    score: str = "score",
) -> Figure:
    """Draw the scores of normal and of anomalous rows, each with area 1, and a threshold between them.

    Beside the threshold stands the share of either kind that is above it. The axis ends at the 0.5 and
    99.5 % points of both together, so that a few rows far out do not hide the others; what is beyond is drawn
    in the bins at the ends.

    Args:
        normal, anomalous: scores, the higher the more anomalous, shapes (n,) and (m,).
        threshold: above which there is an alarm, such as ``evaluation.conformal_threshold`` gives.
        score: what is written below the axis.

    Raises:
        ValueError: for scores of another shape, none, or not finite.
    """
    kinds = {"normal": _scores(normal, "normal"), "anomalous": _scores(anomalous, "anomalous")}
    together = np.concatenate(list(kinds.values()))
    low, high = np.quantile(together, [0.005, 0.995])
    if threshold is not None:
        low, high = min(low, threshold), max(high, threshold)
    high = high if high > low else low + 1
    edges = np.linspace(low, high, BINS + 1)
    with style():
        figure, (axis,) = panels(1, columns=1, width=6.2, height=3.2)
        for (name, values), colour in zip(kinds.items(), PALETTE[:2], strict=True):
            heights, _ = np.histogram(np.clip(values, low, high), edges, density=True)
            above = "" if threshold is None else f", {np.mean(values > threshold):.1%} above"
            axis.stairs(heights, edges, fill=True, color=colour, alpha=0.5, label=name + above)
        if threshold is not None:
            axis.axvline(threshold, color=INK, linewidth=1.2, label=f"threshold {threshold:.3g}")
        axis.set(xlabel=score, ylabel="density", xlim=(low, high), ylim=(0, None))
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def roc_curves(
    scores: Mapping[str, tuple[Tensor | ArrayLike, Tensor | ArrayLike]], *, false_alarm: float | None = None
) -> Figure:
    """Draw the share of anomalies caught over that of false alarms, a curve for each score.

    Rows of one score are above a threshold all or none: over ties the curve is a straight line. The dotted
    diagonal is chance; a curve below it takes anomalies for normal. The legend says the areas.

    Args:
        scores: name -> scores of normal and of anomalous rows, (n,) and (m,); at most 10 names.
        false_alarm: a rate to mark, such as that of a threshold.

    Raises:
        ValueError: no score, more than 10, or scores of another shape, none, or not finite.
    """
    if not 1 <= len(scores) <= len(PALETTE):
        raise ValueError(f"scores should have 1 to {len(PALETTE)} entries but has {len(scores)}")
    with style():
        figure, (axis,) = panels(1, columns=1, width=6.8, height=4.0)
        for (name, (normal, anomalous)), colour in zip(scores.items(), PALETTE, strict=False):
            alarms, caught = _curve(
                _scores(normal, f"scores[{name!r}][0]"), _scores(anomalous, f"scores[{name!r}][1]")
            )
            area = float((np.diff(alarms) * (caught[1:] + caught[:-1])).sum() / 2)
            axis.plot(alarms, caught, color=colour, linewidth=1.4, label=f"{name}, {area:.3f}")
        axis.plot([0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1)
        if false_alarm is not None:
            axis.axvline(false_alarm, color=INK, linewidth=1)
        axis.set(xlabel="false alarms", ylabel="anomalies caught", xlim=(0, 1), ylim=(0, 1.01))
        axis.set_box_aspect(1)
        figure.legend(title="area under the curve", loc="outside right center", frameon=False)
    return figure


def _curve(normal: np.ndarray, anomalous: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the shares of both that are at least each distinct score, the highest first, from (0, 0)."""
    values = np.unique(np.concatenate([normal, anomalous]))[::-1]
    shares = [
        1 - np.searchsorted(np.sort(part), values, side="left") / len(part) for part in (normal, anomalous)
    ]
    return np.append(0.0, shares[0]), np.append(0.0, shares[1])


def _scores(values: Tensor | ArrayLike, name: str) -> np.ndarray:
    found = array(values, name).astype(float)
    if found.ndim != 1 or not len(found):
        raise ValueError(f"{name} should be scores of shape (n,), at least one, but has shape {found.shape}")
    return found
