"""What distortions do to codes: curves over their levels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from probgen.plots.style import PALETTE, panels, require_columns, style

if TYPE_CHECKING:
    import pandas as pd

MEASURES = {"accuracy": "accuracy", "to_clean": "error to clean", "to_seen": "error to seen"}
"""Columns that are drawn, with what is written beside their axes."""


def robustness_curves(frame: pd.DataFrame) -> Figure:
    """Draw accuracy and errors over the levels of each distortion, a curve for each code.

    Bars are two standard errors. A row of panels is a measure, with one scale, a column a distortion; errors
    are squared, per datum.

    Args:
        frame: as ``evaluation.robustness`` returns it, of at most 10 codes.

    Raises:
        ValueError: a missing column, no row, or more than 10 codes.
    """
    columns = ("distortion", "level", "codes", *MEASURES, *(f"{name}_stderr" for name in MEASURES))
    require_columns(frame, columns)
    distortions, codes = (list(dict.fromkeys(frame[column])) for column in ("distortion", "codes"))
    if len(codes) > len(PALETTE):
        raise ValueError(f"frame should have at most {len(PALETTE)} codes but has {len(codes)}")
    across = len(distortions)
    with style():
        figure, axes = panels(len(MEASURES) * across, columns=across, width=2.3, height=1.9)
        for place, axis in enumerate(axes):
            row, column = divmod(place, across)
            measure, label = list(MEASURES.items())[row]
            own = frame[frame["distortion"] == distortions[column]]
            for name, colour in zip(codes, PALETTE, strict=False):
                part = own[own["codes"] == name].sort_values("level")
                bars = 2 * part[f"{measure}_stderr"]
                look = {"color": colour, "marker": "o", "markersize": 3.5, "linewidth": 1.3}
                axis.errorbar(part["level"], part[measure], bars, label=name, **look)
            first = axes[row * across]
            if column:
                axis.sharey(first)
                axis.tick_params(labelleft=False)
            else:
                axis.set_ylabel(label)
            if row == 0:
                axis.set_title(distortions[column])
            if row == len(MEASURES) - 1:
                axis.set_xlabel("level")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(codes)), frameon=False)
    return figure
