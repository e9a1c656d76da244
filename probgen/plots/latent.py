"""The two-dimensional code of a model: where the data lie in it, and what it decodes to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.patheffects
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from probgen.plots.samples import as_images, mosaic
from probgen.plots.style import INK, PALETTE, array, panels, style


def latent_map(
    z: Tensor | ArrayLike | Mapping[str, Tensor | ArrayLike],
    labels: Tensor | ArrayLike | None,
    *,
    axes: tuple[str, str] = ("$z_1$", "$z_2$"),
) -> Figure:
    """Draw codes as points coloured by label; labels of at most three letters stand at medians of points too.

    Args:
        z: codes, shape (n, 2), or several codes of the same data by name, a panel each.
        labels: one class per code, shape (n,), numbers or words; at most 10 classes, as many as there are
            safe colours. None where no classes are known.
        axes: what is written beside the axes, as of an embedding of codes of more coordinates.

    Raises:
        ValueError: a shape that does not fit, more than 10 classes, or a value that is not finite.
    """
    several = isinstance(z, Mapping)
    parts = {name: array(own, "z") for name, own in (z.items() if isinstance(z, Mapping) else [("", z)])}
    if not parts:
        raise ValueError("z should have at least one entry but has none")
    for points in parts.values():
        if points.ndim != 2 or points.shape[1] != 2 or len(points) == 0:
            raise ValueError(f"z should have shape (n, 2) but has shape {points.shape}")
        if labels is not None and np.shape(labels) != points.shape[:1]:
            raise ValueError(f"labels should have shape {points.shape[:1]} but has shape {np.shape(labels)}")
    words = not isinstance(labels, Tensor) and np.asarray(labels).dtype.kind == "U"
    classes = None if labels is None else np.asarray(labels) if words else array(labels, "labels")
    names = [] if classes is None else list(np.unique(classes))
    if len(names) > len(PALETTE):
        raise ValueError(f"labels should have at most {len(PALETTE)} classes but has {len(names)}")
    short = all(len(str(name)) <= 3 for name in names)
    size = (3.4, 3.3) if several else (5.6, 5.0)
    with style():
        figure, panel = panels(len(parts), columns=3, width=size[0], height=size[1])
        for axis, (title, points) in zip(panel, parts.items(), strict=True):
            look: dict[str, Any] = {"s": 4 if several else 10, "linewidths": 0, "alpha": 0.75}
            if classes is None:
                axis.scatter(points[:, 0], points[:, 1], color=PALETTE[0], **look)
            for name, colour in zip(names, PALETTE, strict=False):
                own = points[classes == name]
                axis.scatter(own[:, 0], own[:, 1], color=colour, label=str(name), **look)
                if short:  # long ones would hide one another
                    x, y = np.median(own, axis=0)
                    text = axis.text(
                        x, y, str(name), ha="center", va="center", weight="bold", size=13, color=INK
                    )
                    text.set_path_effects(
                        [matplotlib.patheffects.withStroke(linewidth=3, foreground="white")]
                    )
            axis.set(title=title, xlabel=axes[0], ylabel=axes[1])
            axis.set_aspect("equal", adjustable="datalim")
            if several:  # the axes of embeddings of several codes have no common scale
                axis.set(xticks=[], yticks=[])
        if names:
            handles, written = panel[0].get_legend_handles_labels()
            figure.legend(
                handles,
                written,
                loc="outside right center",
                frameon=False,
                markerscale=2.0,
                handletextpad=0.2,
            )
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
