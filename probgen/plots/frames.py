"""Films as strips of frames, real and generated below each other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from probgen.core import check_count
from probgen.plots.style import array, panels, style


def frames(films: Mapping[str, Tensor | ArrayLike], *, every: int = 1) -> Figure:
    """Draw films as strips, a row for each, time going to the right.

    Args:
        films: name -> frames in their order, shape (T, H, W) or (T, 1, H, W), 0 is black and 1 is white; all
            of one size, while a shorter film leaves its row's end empty.
        every: of so many frames one is shown, the first at first.

    Raises:
        ValueError: no film, one without frames, sizes that differ, or values that are not finite or outside
            of [0, 1].
    """
    if not films:
        raise ValueError("films should have at least 1 entry but has none")
    every = check_count("every", every)
    strips = {name: _strip(film, f"films[{name!r}]")[::every] for name, film in films.items()}
    sizes = {strip.shape[1:] for strip in strips.values()}
    if len(sizes) > 1:
        raise ValueError(f"films should have frames of one size but have {sorted(sizes)}")
    longest = max(map(len, strips.values()))
    with style():
        figure, axes = panels(
            len(strips) * longest, columns=longest, width=9.0 / longest, height=9.0 / longest
        )
        for row, (name, strip) in enumerate(strips.items()):
            for column in range(longest):
                axis = axes[row * longest + column]
                axis.set_xticks([])
                axis.set_yticks([])
                axis.grid(False)
                if column >= len(strip):
                    axis.set_axis_off()
                    continue
                axis.imshow(strip[column], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
                if row == 0:
                    axis.set_title(str(column * every + 1), loc="center")
                if column == 0:
                    axis.set_ylabel(name, rotation=0, ha="right", va="center")
    return figure


def _strip(film: Tensor | ArrayLike, name: str) -> np.ndarray:
    strip = array(film, name)
    if strip.ndim == 4 and strip.shape[1] == 1:
        strip = strip[:, 0]
    if strip.ndim != 3 or not strip.size:
        raise ValueError(f"{name} should be of shape (T, H, W) or (T, 1, H, W) but has shape {strip.shape}")
    if strip.min() < 0 or strip.max() > 1:
        raise ValueError(f"{name} should be in [0, 1] but has {strip.min():g} to {strip.max():g}")
    return strip
