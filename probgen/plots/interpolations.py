"""What lies between two codes: rows of images along a line, or an arc, from one to the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from probgen.core import check_count
from probgen.core.between import BETWEEN
from probgen.plots.traversals import rows_of_images

PATHS = tuple(BETWEEN)


def interpolations(
    decode: Callable[[Tensor], Any],
    start: Tensor,
    end: Tensor,
    *,
    image_shape: tuple[int, int],
    paths: Sequence[str] = PATHS,
    steps: int = 9,
) -> Figure:
    r"""Draw what is decoded on the way from one code to another, a row for each pair and path.

    At the share t of the way from a to b the straight path has (1 − t) a + t b, which comes nearer to 0 than
    both; the spherical one a sin((1 − t)θ)/sin θ + b sin(tθ)/sin θ, θ the angle between them, which keeps the
    length where a and b have the same, as draws of N(0, I) of many coordinates nearly have.

    Args:
        decode: codes of shape (n, d) to a law with a mean, as ``vae.decode`` gives it, or to images.
        start, end: codes, shape (pairs, d), those at the left and at the right.
        image_shape: (height, width) in pixels.
        paths: "straight", "spherical" or both; of both, the rows of a pair stand together.
        steps: images in a row, both ends counted.

    Raises:
        ValueError: for codes or images of a shape that does not fit, another path, or no angle: a code that
            is 0, or two that are opposite, for the spherical path.

    Source: Shoemake (1985), Animating rotation with quaternion curves; White (2016), Sampling generative
    networks.
    """
    steps = check_count("steps", steps, least=2)
    if start.dim() != 2 or start.shape != end.shape or len(start) == 0:
        raise ValueError(
            "start and end should have one shape (pairs, d), at least 1 pair, but have shapes "
            f"{tuple(start.shape)} and {tuple(end.shape)}"
        )
    if not paths or not set(paths) <= set(PATHS):
        raise ValueError(f"paths should be some of 'straight' and 'spherical' but are {list(paths)}")
    shares = torch.linspace(0, 1, steps, dtype=start.dtype, device=start.device)[:, None, None]
    codes = torch.stack([BETWEEN[path](start, end, shares) for path in paths])  # (paths, steps, pairs, d)
    found = decode(codes.permute(2, 0, 1, 3).reshape(-1, start.shape[1]))
    images = found if isinstance(found, Tensor) else found.mean
    return rows_of_images(images, image_shape, [*paths] * len(start), steps, "")
