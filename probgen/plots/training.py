"""How a training went."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from probgen.plots.style import PALETTE, panels, require_columns, spans_decades, style

if TYPE_CHECKING:
    import pandas as pd


def history(frame: pd.DataFrame) -> Figure:
    """Draw every term of a training against the step, training and validation in one panel.

    A term whose values are positive and spread over more than a factor of 30 has a log axis. Values that are
    not finite are counted in the panel's title.

    Args:
        frame: tidy, with the columns step, split ("train" or "validation"), term and value.

    Raises:
        ValueError: a missing column, no row, or another split.
    """
    require_columns(frame, ("step", "split", "term", "value"))
    looks = {"train": {"color": PALETTE[0]}, "validation": {"color": PALETTE[1], "linestyle": "--"}}
    unknown = set(frame["split"]) - set(looks)
    if unknown:
        raise ValueError(f"split should be 'train' or 'validation' but got {sorted(unknown)[0]!r}")
    terms = list(dict.fromkeys(frame["term"]))
    with style():
        figure, axes = panels(len(terms), columns=3, width=3.4, height=2.5)
        for axis, term in zip(axes, terms, strict=True):
            rows = frame[frame["term"] == term]
            values = rows["value"].to_numpy(dtype=float)
            finite = np.isfinite(values)
            for split, look in looks.items():
                own = rows[(rows["split"] == split) & finite].sort_values("step")
                if len(own):
                    marker = "o" if len(own) == 1 else None
                    axis.plot(own["step"], own["value"], label=split, marker=marker, **look)
            if spans_decades(values[finite]):
                axis.set_yscale("log")
            lost = f" ({(~finite).sum()} of {len(values)} not finite)" if not finite.all() else ""
            axis.set(title=f"{term}{lost}", xlabel="step")
            axis.locator_params(axis="x", nbins=5)
        lines = {str(line.get_label()): line for axis in axes for line in axis.get_lines()}
        if lines:
            figure.legend(handles=lines.values(), loc="outside lower center", ncols=2, frameon=False)
    return figure
