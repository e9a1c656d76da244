"""Pictures that are turned, made larger or smaller within their frame, or blurred."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, conv2d, grid_sample, pad

from probgen.data.corruptions import pictures_of, with_channels

REACH = 4.0
"""Standard deviations at which the kernel of a blur ends."""


class Rotation:
    r"""Turn flat pictures about their centre, counter-clockwise, with row 0 at the top.

    Values between pixels are bilinear; what comes from outside of the frame is 0, and what leaves it is lost.

    Args:
        image_shape: (H, W) or (C, H, W) of a picture.
        degrees: the angle; of a multiple of 360 pictures stay as they are, to the bit.

    >>> Rotation((2, 2), 90)(torch.tensor([[1.0, 2.0, 3.0, 4.0]])).round()
    tensor([[2., 4., 1., 3.]])
    """

    def __init__(self, image_shape: Sequence[int], degrees: float) -> None:
        self.image_shape = with_channels(image_shape)
        if not math.isfinite(degrees):
            raise ValueError(f"degrees should be finite but got {degrees}")
        self.degrees = degrees

    def __call__(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        pictures = pictures_of(x, self.image_shape)
        if self.degrees % 360 == 0:
            return x
        angle = math.radians(self.degrees)
        cos, sin = math.cos(angle), math.sin(angle)
        return _looked_up(pictures, [[cos, -sin], [sin, cos]]).reshape(x.shape)


class Scaling:
    r"""Make what flat pictures show larger or smaller, about their centre, in the same frame.

    Values between pixels are bilinear; what comes from outside of the frame is 0, and what leaves it is lost.

    Args:
        image_shape: (H, W) or (C, H, W) of a picture.
        factor: above 1 larger, below 1 smaller; of 1 pictures stay as they are, to the bit.

    >>> Scaling((1, 4), 2.0)(torch.tensor([[0.0, 4.0, 8.0, 0.0]]))
    tensor([[3., 5., 7., 6.]])
    """

    def __init__(self, image_shape: Sequence[int], factor: float) -> None:
        self.image_shape = with_channels(image_shape)
        if not 0 < factor < math.inf:
            raise ValueError(f"factor should be above 0 and finite but got {factor}")
        self.factor = factor

    def __call__(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        pictures = pictures_of(x, self.image_shape)
        if self.factor == 1:
            return x
        back = 1 / self.factor
        return _looked_up(pictures, [[back, 0.0], [0.0, back]]).reshape(x.shape)


class Blur:
    r"""Convolve flat pictures with a normal density, cut off at 4 standard deviations.

    Beyond its edges a picture goes on as at them, so that one of a single grey stays as it is.

    Args:
        image_shape: (H, W) or (C, H, W) of a picture.
        scale: the standard deviation, in pixels.

    >>> Blur((1, 3), 0.5)(torch.tensor([[0.0, 1.0, 0.0]]))
    tensor([[0.1065, 0.7866, 0.1065]])
    """

    def __init__(self, image_shape: Sequence[int], scale: float) -> None:
        self.image_shape = with_channels(image_shape)
        if not 0 < scale < math.inf:
            raise ValueError(f"scale should be above 0 and finite but got {scale}")
        self.scale = scale

    def __call__(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        _, height, width = self.image_shape
        pictures = pictures_of(x, self.image_shape).reshape(-1, 1, height, width)
        reach = max(1, round(REACH * self.scale))
        places = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
        kernel = torch.softmax(-0.5 * (places / self.scale).square(), 0)
        # The kernel is a product of one along rows and one along columns.
        wide = conv2d(pad(pictures, (reach, reach, 0, 0), "replicate"), kernel.reshape(1, 1, 1, -1))
        both = conv2d(pad(wide, (0, 0, reach, reach), "replicate"), kernel.reshape(1, 1, -1, 1))
        return both.reshape(x.shape)


def _looked_up(pictures: Tensor, back: Sequence[Sequence[float]]) -> Tensor:
    """Return pictures whose value at v was at back v, in pixels to the right of and below the centre."""
    height, width = pictures.shape[-2:]
    (a, b), (c, d) = back
    # torch measures from −1 to 1 along either side: x in units of W / 2, y of H / 2.
    units = [[a, b * height / width, 0.0], [c * width / height, d, 0.0]]
    matrix = torch.tensor([units], dtype=torch.float64, device=pictures.device)
    grid = affine_grid(matrix, [1, 1, height, width], align_corners=False).to(pictures.dtype)
    return grid_sample(pictures, grid.expand(len(pictures), -1, -1, -1), align_corners=False)
