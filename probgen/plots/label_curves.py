"""Accuracy over numbers of labels: what a few labels are worth to one method and another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from probgen.plots.style import PALETTE, panels, require_columns, style

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("codes", "probe", "labels", "accuracy", "stderr")


def label_curves(frame: pd.DataFrame) -> Figure:
    """Draw accuracy over the number of labels, a curve for each code, a panel for each classifier.

    Bars are two standard errors, where there are any; the number of labels is on a log axis.

    Args:
        frame: as ``evaluation.transfer`` returns it, of at most 10 codes: columns ``codes``, ``probe``,
            ``labels``, ``accuracy`` and ``stderr``.

    Raises:
        ValueError: a missing column, no row, or more than 10 codes.
    """
    require_columns(frame, COLUMNS)
    codes, probes = (list(dict.fromkeys(frame[column])) for column in ("codes", "probe"))
    if len(codes) > len(PALETTE):
        raise ValueError(f"frame should have at most {len(PALETTE)} codes but has {len(codes)}")
    sizes = sorted(set(frame["labels"]))
    with style():
        figure, axes = panels(len(probes), columns=3, width=5.6 if len(probes) == 1 else 3.8, height=3.2)
        for axis, probe in zip(axes, probes, strict=True):
            own = frame[frame["probe"] == probe]
            for place, (name, colour) in enumerate(zip(codes, PALETTE, strict=False)):
                part = own[own["codes"] == name].sort_values("labels")
                # Bars of several codes at one number of labels stand beside, not on each other.
                x = part["labels"] * 1.03 ** (place - (len(codes) - 1) / 2)
                look = {"color": colour, "marker": "o", "markersize": 3.5, "linewidth": 1.3}
                axis.errorbar(x, part["accuracy"], 2 * part["stderr"].fillna(0.0), label=name, **look)
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(FixedLocator(sizes))
            axis.xaxis.set_minor_locator(NullLocator())
            axis.xaxis.set_major_formatter("{x:g}")
            axis.set(title=probe, xlabel="labels")
        axes[0].set_ylabel("accuracy")
        handles, labels = axes[0].get_legend_handles_labels()
        if len(probes) == 1:  # below a single panel there is no room for four names in a row
            figure.legend(handles, labels, loc="outside right center", frameon=False)
        else:
            columns = min(4, len(codes))
            figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    return figure
