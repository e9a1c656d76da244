"""Tables side by side: each column's law, and how columns go together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from probgen.plots.style import MUTED, PALETTE, panels, style

if TYPE_CHECKING:
    import pandas as pd

MOST = 16
"""Most columns that are drawn."""

BARS = 12
"""Different values up to which a column has bars."""


def table_columns(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw the law of each column of tables: those of numbers as histograms, others as bars.

    The first table is the reference, in grey; its range is the frame of each panel, but for its outermost
    thousandths. At most 16 columns are drawn, evenly over all of them. Missing values are left out.

    Args:
        tables: name -> table, all of the same columns.

    Raises:
        ValueError: no table, or one of other columns.
    """
    names, reference = _checked(tables)
    some = _some(names, MOST)
    with style():
        figure, axes = panels(len(some), columns=4, width=2.7, height=1.9)
        for axis, name in zip(axes, some, strict=True):
            values = {key: frame[name].dropna() for key, frame in tables.items()}
            draw = _histograms if _is_smooth(reference[name]) else _bars
            draw(axis, values)
            axis.set_title(_short(str(name), 26), fontsize="medium")
            axis.set_yticks([])
        handles: list[Any] = [Patch(color="0.8", label=next(iter(tables)))]
        handles += [Line2D([], [], color=PALETTE[i], label=key) for i, key in enumerate([*tables][1:])]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
        if len(some) < len(names):
            figure.suptitle(
                f"{len(some)} of {len(names)} columns", x=0.01, ha="left", color=MUTED, size="small"
            )
    return figure


def correlations(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw the rank correlations (Spearman) of the columns of each table on one scale, as small multiples.

    Categories are ranked by their levels. What all of a table's values share with no other is left blank.

    Args:
        tables: name -> table, all of the same columns; the first is the reference.

    Raises:
        ValueError: no table, or one of other columns.
    """
    names, _ = _checked(tables)
    with style():
        figure, axes = panels(len(tables), columns=3, width=3.0, height=3.0)
        for axis, (key, frame) in zip(axes, tables.items(), strict=True):
            ranks = {n: frame[n].rank() if _is_number(frame[n]) else _levels(frame[n]) for n in names}
            import pandas as pd

            found = pd.DataFrame(ranks).corr("spearman").to_numpy()
            shown = axis.imshow(found, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
            axis.set_title(key)
            labels = [_short(str(n), 18) for n in names] if len(names) <= 12 else []
            axis.set_xticks(range(len(labels)), labels, rotation=90, size="x-small")
            axis.set_yticks(range(len(labels)), labels, size="x-small")
        figure.colorbar(shown, ax=axes, shrink=0.6, label="rank correlation")
    return figure


def _checked(tables: Mapping[str, pd.DataFrame]) -> tuple[list[Any], pd.DataFrame]:
    if not tables:
        raise ValueError("tables should have at least 1 entry but has 0")
    reference = next(iter(tables.values()))
    for key, frame in tables.items():
        if list(frame.columns) != list(reference.columns) or frame.empty:
            raise ValueError(
                f"tables[{key!r}] should have rows of the columns {list(reference.columns)} but has shape "
                f"{frame.shape} and the columns {list(frame.columns)}"
            )
    return list(reference.columns), reference


def _some(names: list[Any], most: int) -> list[Any]:
    if len(names) <= most:
        return names
    return [names[i] for i in np.linspace(0, len(names) - 1, most).round().astype(int)]


def _is_number(values: Any) -> bool:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return is_numeric_dtype(values.dtype) and not is_bool_dtype(values.dtype)


def _is_smooth(values: Any) -> bool:
    return _is_number(values) and values.nunique() > BARS


def _levels(values: Any) -> Any:
    return values.astype(str).where(values.notna()).astype("category").cat.codes.where(values.notna())


def _histograms(axis: Any, values: Mapping[str, Any]) -> None:
    first = next(iter(values.values())).to_numpy(float)
    low, high = np.quantile(first, [0.001, 0.999])
    edges = np.linspace(low, high, 25) if high > low else np.linspace(low - 0.5, low + 0.5, 25)
    for i, part in enumerate(values.values()):
        x = part.to_numpy(float)
        heights = np.histogram(x, edges)[0] / len(x)
        if i == 0:
            axis.stairs(heights, edges, fill=True, color="0.8")
        else:
            axis.stairs(heights, edges, color=PALETTE[i - 1], linewidth=1.2)
    axis.set_xlim(edges[0], edges[-1])
    axis.locator_params(axis="x", nbins=4)


def _bars(axis: Any, values: Mapping[str, Any]) -> None:
    first = next(iter(values.values()))
    levels = list(first.value_counts().index[:BARS])
    levels = sorted(levels) if _is_number(first) else levels
    width = 0.8 / len(values)
    for i, part in enumerate(values.values()):
        shares = [float((part == level).mean()) for level in levels]
        places = np.arange(len(levels)) - 0.4 + (i + 0.5) * width
        axis.bar(places, shares, width, color="0.8" if i == 0 else PALETTE[i - 1])
    axis.set_xticks(range(len(levels)), [_short(str(level), 10) for level in levels], size="x-small")


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
