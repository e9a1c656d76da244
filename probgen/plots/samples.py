"""Real and generated samples side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from probgen.core import check_count
from probgen.plots.style import MUTED, PALETTE, across, array, panels, style


def image_grid(
    images: Mapping[str, Tensor | ArrayLike], *, image_shape: tuple[int, int], columns: int = 10
) -> Figure:
    r"""Draw one labelled block of grey images for each entry, real and generated side by side.

    Every block has the grey scale of the first entry (its lowest value black, its highest white), so that
    put the real images first: what a method draws outside their range is shown as black or white.

    Args:
        images: name -> images, shape (n, height · width) or (n, height, width); the first
            ``columns``\ ² of each are shown.
        image_shape: (height, width) in pixels.
        columns: images in a row of a block.

    Raises:
        ValueError: no entry, no image in an entry, a shape that does not fit, or a value that is not finite.
    """
    if not images:
        raise ValueError("images should have at least 1 entry but has 0")
    columns = check_count("columns", columns)
    stacks = {
        name: as_images(values, image_shape, f"images[{name!r}]")[: columns**2]
        for name, values in images.items()
    }
    first = next(iter(stacks.values()))
    low, high = float(first.min()), float(first.max())
    height, width = image_shape
    rows = max(-(-len(stack) // columns) for stack in stacks.values())
    block_width = 2.4
    block_height = block_width * (rows * (height + 1)) / (columns * (width + 1)) + 0.35
    with style():
        figure, axes = panels(
            len(stacks), columns=across(len(stacks)), width=block_width, height=block_height
        )
        for axis, (name, stack) in zip(axes, stacks.items(), strict=True):
            axis.imshow(
                mosaic(stack, columns, gap=low + 0.5 * (high - low)), cmap="gray", vmin=low, vmax=high
            )
            axis.set_title(name)
            axis.set_axis_off()
            axis.set_anchor("NW")
    return figure


def scatter(samples: Mapping[str, Tensor | ArrayLike]) -> Figure:
    """Draw two-dimensional samples as small multiples with the same axes.

    The first entry is the reference: it has the first panel, lies in grey behind every other sample and sets
    the frame, its own range and a margin. What falls outside the frame is counted in the panel.

    Args:
        samples: name -> points, shape (n, 2).

    Raises:
        ValueError: no entry, a shape other than (n, 2), or a value that is not finite.
    """
    if not samples:
        raise ValueError("samples should have at least 1 entry but has 0")
    points = {name: array(values, f"samples[{name!r}]") for name, values in samples.items()}
    for name, found in points.items():
        if found.ndim != 2 or found.shape[1] != 2 or len(found) == 0:
            raise ValueError(f"samples[{name!r}] should have shape (n, 2) but has shape {found.shape}")
    reference = next(iter(points.values()))
    low, high = reference.min(0), reference.max(0)
    margin = np.where(high > low, 0.08 * (high - low), 1.0)
    low, high = low - margin, high + margin
    with style():
        figure, axes = panels(len(points), columns=across(len(points)), width=2.5, height=2.55)
        for i, (axis, (name, found)) in enumerate(zip(axes, points.items(), strict=True)):
            look: dict[str, Any] = {"s": 4, "linewidths": 0, "rasterized": True}
            if i > 0:
                axis.scatter(*reference.T, color="0.8", **look)
            axis.scatter(*found.T, color=PALETTE[0] if i > 0 else "0.4", alpha=0.4, **look)
            outside = int(((found < low) | (found > high)).any(1).sum())
            if outside:
                axis.set_xlabel(f"{outside} of {len(found)} outside the frame", size="small", color=MUTED)
            axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), title=name)
            axis.locator_params(nbins=4)
    return figure


def as_images(values: Tensor | ArrayLike, image_shape: tuple[int, int], name: str) -> np.ndarray:
    """Return images as an array of shape (n, height, width), or say what does not fit."""
    found = array(values, name)
    height, width = image_shape
    if found.ndim < 2 or len(found) == 0 or found.shape[1:] not in ((height * width,), (height, width)):
        raise ValueError(
            f"{name} should have shape (n, {height * width}) or (n, {height}, {width}) "
            f"but has shape {found.shape}"
        )
    return found.reshape(-1, height, width)


def mosaic(images: np.ndarray, columns: int, *, gap: float) -> np.ndarray:
    """Lay images out row by row in one array, a pixel of value ``gap`` between them; NaN where none is."""
    rows = -(-len(images) // columns)
    _, height, width = images.shape
    board = np.full((rows * columns, height + 1, width + 1), np.nan)
    board[: len(images)] = gap
    board[: len(images), :height, :width] = images
    board = board.reshape(rows, columns, height + 1, width + 1).swapaxes(1, 2)
    return board.reshape(rows * (height + 1), columns * (width + 1))[:-1, :-1]


def reconstructions(
    rows: Mapping[str, Tensor | ArrayLike], *, image_shape: tuple[int, int], columns: int = 10
) -> Figure:
    r"""Draw pictures one below the other: what they were, how they were seen, what was made of them.

    Each entry is a row, and column i shows the i-th picture of each: ``{"original": x, "seen": y,
    "restored": r}``. All rows have the grey scale of the first.

    Args:
        rows: name -> pictures, shape (n, height · width) or (n, height, width); those that were made smaller,
            as for super-resolution, have an n, height and width of their own.
        image_shape: (height, width) in pixels of flat pictures.
        columns: how many pictures are shown at most.

    Raises:
        ValueError: no entry, entries of different numbers of pictures, a shape that does not fit, or a value
            that is not finite.
    """
    if not rows:
        raise ValueError("rows should have at least 1 entry but has 0")
    columns = check_count("columns", columns)
    stacks = {}
    for name, values in rows.items():
        found = array(values, f"rows[{name!r}]")
        own = (found.shape[1], found.shape[2]) if found.ndim == 3 else image_shape
        stacks[name] = as_images(found, own, f"rows[{name!r}]")
    counts = {name: len(stack) for name, stack in stacks.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"rows should have as many pictures each but have {counts}")
    first = next(iter(stacks.values()))
    low, high = float(first.min()), float(first.max())
    shown, (_, height, width) = min(columns, len(first)), first.shape
    with style():
        figure, axes = panels(len(stacks), columns=1, width=0.7 * shown, height=0.7 * height / width + 0.3)
        for axis, (name, stack) in zip(axes, stacks.items(), strict=True):
            for i, picture in enumerate(stack[:shown]):
                left = i * (width + 1)
                where = (left, left + width, height, 0)
                axis.imshow(picture, cmap="gray", vmin=low, vmax=high, extent=where)
            axis.set(xlim=(0, shown * (width + 1) - 1), ylim=(height, 0), title=name)
            axis.set_axis_off()
    return figure
