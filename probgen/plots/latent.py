"""The two-dimensional code of a model: where the data lie in it, and what it decodes to."""

from __future__ import annotations

import matplotlib.patheffects
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from probgen.plots.samples import as_images, mosaic
from probgen.plots.style import INK, PALETTE, array, panels, style


def latent_map(
    z: Tensor | ArrayLike,
    labels: Tensor | ArrayLike,
    *,
    axes: tuple[str, str] = ("$z_1$", "$z_2$"),
) -> Figure:
    """Draw codes as points coloured by label, each label written at the median of its points.

    Args:
        z: codes, shape (n, 2).
        labels: one class per code, shape (n,); at most 10 classes, as many as there are safe colours.
        axes: what is written beside the axes, as of an embedding of codes of more coordinates.

    Raises:
        ValueError: a shape that does not fit, more than 10 classes, or a value that is not finite.
    """
    points, classes = array(z, "z"), array(labels, "labels")
    if points.ndim != 2 or points.shape[1] != 2 or len(points) == 0:
        raise ValueError(f"z should have shape (n, 2) but has shape {points.shape}")
    if classes.shape != points.shape[:1]:
        raise ValueError(f"labels should have shape {points.shape[:1]} but has shape {classes.shape}")
    names = np.unique(classes)
    if len(names) > len(PALETTE):
        raise ValueError(f"labels should have at most {len(PALETTE)} classes but has {len(names)}")
    with style():
        figure, (axis,) = panels(1, columns=1, width=5.6, height=5.0)
        for name, colour in zip(names, PALETTE, strict=False):
            own = points[classes == name]
            axis.scatter(own[:, 0], own[:, 1], s=10, color=colour, linewidths=0, alpha=0.75, label=str(name))
            x, y = np.median(own, axis=0)
            text = axis.text(x, y, str(name), ha="center", va="center", weight="bold", size=13, color=INK)
            text.set_path_effects([matplotlib.patheffects.withStroke(linewidth=3, foreground="white")])
        axis.set(xlabel=axes[0], ylabel=axes[1])
        axis.set_aspect("equal", adjustable="datalim")
        figure.legend(loc="outside right center", frameon=False, markerscale=2.0, handletextpad=0.2)
    return figure


def manifold(images: Tensor | ArrayLike, *, image_shape: tuple[int, int], k: int) -> Figure:
    r"""Draw the images decoded from a k by k grid of codes, as the grid lies in the plane.

    Args:
        images: shape (k², height · width) or (k², height, width). Image i·k + j stands in row i from the
            *bottom* and column j from the left: z₁ grows to the right with j and z₂ upwards with i.
        image_shape: (height, width) in pixels.
        k: grid points along each axis.

    Raises:
        ValueError: a number of images other than k², a shape that does not fit, or a value not finite.
    """
    stack = as_images(images, image_shape, "images")
    if len(stack) != k * k:
        raise ValueError(f"images should be k² = {k * k} images but are {len(stack)}")
    upwards = stack.reshape(k, k, *image_shape)[::-1].reshape(k * k, *image_shape)
    low, high = float(stack.min()), float(stack.max())
    height, width = image_shape
    with style():
        figure, (axis,) = panels(1, columns=1, width=5.0, height=5.0 * height / width)
        axis.imshow(mosaic(upwards, k, gap=low), cmap="gray", vmin=low, vmax=high)
        axis.set(xticks=[], yticks=[], xlabel="$z_1$ →", ylabel="$z_2$ →")
        axis.spines[:].set_visible(False)
    return figure
