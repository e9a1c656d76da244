"""What every picture shares: the look, blank panels, and arrays out of tensors."""

from __future__ import annotations

import contextlib
import io
import math
from typing import Any

import matplotlib
import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

PALETTE: list[Any] = list(seaborn.color_palette("colorblind"))
INK, MUTED = "0.15", "0.45"


def style() -> contextlib.AbstractContextManager[None]:
    """Apply the house look within a ``with`` block and put the reader's own settings back after it."""
    look = {
        **seaborn.axes_style("ticks"),
        **seaborn.plotting_context("notebook", font_scale=0.85),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "axes.linewidth": 0.8,
        "xtick.major.width": 0.8,
        "ytick.major.width": 0.8,
    }
    return matplotlib.rc_context(look)


class Picture(Figure):
    """A figure that a notebook shows as it stands, also before pyplot has drawn anything in it."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def panels(count: int, *, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure of ``count`` panels, each ``width`` by ``height`` inches, at most ``columns`` a row.

    The figure belongs to no window and to no global list: it is freed as any object is.
    """
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = Picture(figsize=(columns * width, rows * height), layout="constrained")
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(count)]
    return figure, axes


def across(count: int) -> int:
    """Return how many panels to put in a row: four, or three where that fills the rows."""
    return 3 if count in (5, 6, 9) else 4


def array(values: Tensor | ArrayLike, name: str) -> np.ndarray:
    """Return finite values as a NumPy array on the host, or say which argument is not finite."""
    found = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)
    if not np.isfinite(found).all():
        raise ValueError(f"{name} should be finite but has {(~np.isfinite(found)).sum()} values that are not")
    return found


def spans_decades(values: np.ndarray) -> bool:
    """Whether finite values are all positive and spread so far that a log axis shows them better."""
    return values.size > 0 and bool(values.min() > 0) and bool(values.max() > 30 * values.min())


def require_columns(frame: Any, columns: tuple[str, ...]) -> None:
    """Raise if a tidy frame lacks one of its columns or has no row."""
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(f"frame should have the columns {', '.join(columns)} but lacks {', '.join(missing)}")
    if frame.empty:
        raise ValueError("frame should have at least 1 row but has 0")
