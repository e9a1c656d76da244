"""Spectrograms, real and generated side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from probgen.plots.style import array, panels, style


def spectrograms(
    sounds: Mapping[str, Sequence[Tensor | ArrayLike]],
    *,
    heads: Sequence[str] = (),
    frame: float = 0.016,
) -> Figure:
    """Draw spectrograms, a row of panels for each entry, all in one scale of colours.

    Time goes to the right and frequency upwards; bright is loud.

    Args:
        sounds: name -> spectrograms, each of shape (bands, frames), of logarithms of power.
        heads: of the columns.
        frame: seconds from a frame to the next.

    Raises:
        ValueError: no entry, rows or heads of different lengths, a shape that does not fit, or a value that
            is not finite.
    """
    rows = {name: [array(x, f"sounds[{name!r}]") for x in own] for name, own in sounds.items()}
    lengths = {len(own) for own in rows.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            f"sounds should have as many spectrograms in each entry, at least 1, but have {sorted(lengths)}"
        )
    (columns,) = lengths
    if heads and len(heads) != columns:
        raise ValueError(f"heads should be {columns}, one a column, but are {len(heads)}")
    for name, own in rows.items():
        for x in own:
            if x.ndim != 2 or not x.size:
                raise ValueError(
                    f"sounds[{name!r}] should be of shape (bands, frames) but one has shape {x.shape}"
                )
    low = min(float(x.min()) for own in rows.values() for x in own)
    high = max(float(x.max()) for own in rows.values() for x in own)
    with style():
        figure, axes = panels(
            len(rows) * columns, columns=columns, width=max(0.95, 9.5 / columns), height=1.05
        )
        for i, (name, own) in enumerate(rows.items()):
            for j, x in enumerate(own):
                axis = axes[i * columns + j]
                axis.imshow(
                    x,
                    origin="lower",
                    aspect="auto",
                    extent=(0, x.shape[1] * frame, 0, x.shape[0]),
                    vmin=low,
                    vmax=high,
                    cmap="magma",
                )
                axis.set_yticks([])
                axis.tick_params(labelbottom=i == len(rows) - 1)
                if j == 0:
                    axis.set_ylabel(name.replace(", ", ",\n"), rotation=0, ha="right", va="center")
                if i == 0 and heads:
                    axis.set_title(heads[j])
                if i == len(rows) - 1 and j == 0:
                    axis.set_xlabel("s")
    return figure
