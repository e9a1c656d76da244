"""What each coordinate of a code changes, and what each context gives: rows of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from probgen.core import check_count
from probgen.plots.samples import as_images, mosaic
from probgen.plots.style import array, panels, style


def traversals(
    decode: Callable[[Tensor], Any],
    code: Tensor,
    *,
    image_shape: tuple[int, int],
    coordinates: Sequence[int] | None = None,
    span: tuple[float, float] = (-2.5, 2.5),
    steps: int = 9,
) -> Figure:
    r"""Draw what a code decodes to as one coordinate after the other goes through its range.

    Each row is a coordinate, all others as they are in ``code``; a coordinate that the decoder does not use
    gives a row of equal images.

    Args:
        decode: codes of shape (n, d) to a law with a mean, as ``vae.decode`` gives it, or to images.
        code: the code to start from, shape (d,), such as ``vae.encode(x).mean[0]``, or zeros.
        image_shape: (height, width) in pixels.
        coordinates: those that are shown, by default all, in this order.
        span: the values of a coordinate at the left and at the right.
        steps: images in a row.

    Raises:
        ValueError: for a code or images of a shape that does not fit, and coordinates that the code has not.
    """
    if code.dim() != 1:
        raise ValueError(f"code should have shape (d,), one code, but has shape {tuple(code.shape)}")
    steps = check_count("steps", steps, least=2)
    shown = list(range(len(code))) if coordinates is None else list(coordinates)
    if not shown or not all(0 <= i < len(code) for i in shown):
        raise ValueError(f"coordinates should be some of 0 to {len(code) - 1} but are {shown}")
    codes = code.repeat(len(shown), steps, 1)
    values = torch.linspace(*span, steps, dtype=code.dtype, device=code.device)
    for row, coordinate in enumerate(shown):
        codes[row, :, coordinate] = values
    found = decode(codes.reshape(-1, len(code)))
    images = found if isinstance(found, Tensor) else found.mean
    labels = [f"$z_{{{i + 1}}}$" for i in shown]
    below = f"{span[0]:g} → {span[1]:g}"
    return rows_of_images(images, image_shape, labels, steps, below)


def conditional_grid(images: Tensor, *, image_shape: tuple[int, int], contexts: Sequence[Any]) -> Figure:
    r"""Draw images given a context, a row for each context.

    Args:
        images: shape (contexts · columns, height · width) or (..., height, width): those of the first
            context first.
        image_shape: (height, width) in pixels.
        contexts: what is written beside the rows, such as the classes.

    Raises:
        ValueError: for a number of images that is no multiple of the number of contexts, at least one each.
    """
    if not contexts or len(images) == 0 or len(images) % len(contexts):
        raise ValueError(
            f"images should be equally many for each of {len(contexts)} contexts but are {len(images)}"
        )
    return rows_of_images(images, image_shape, [str(c) for c in contexts], len(images) // len(contexts), "")


def rows_of_images(
    images: Tensor, image_shape: tuple[int, int], labels: Sequence[str], columns: int, below: str
) -> Figure:
    """Draw images row by row, a label beside each row and a line of text below all."""
    stack = as_images(array(images, "images"), image_shape, "images")
    low, high = float(stack.min()), float(stack.max())
    height, width = image_shape
    across = 0.55 * columns
    with style():
        figure, (axis,) = panels(
            1, columns=1, width=across + 0.5, height=across / columns * len(labels) * height / width + 0.4
        )
        axis.imshow(mosaic(stack, columns, gap=low + 0.5 * (high - low)), cmap="gray", vmin=low, vmax=high)
        middles = [row * (height + 1) + (height - 1) / 2 for row in range(len(labels))]
        axis.set(xticks=[], yticks=middles, yticklabels=labels, xlabel=below)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    return figure
