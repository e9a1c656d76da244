"""Pictures moved by whole pixels at random while a net learns from them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from probgen.core import check_count
from probgen.nets.checks import channels_first, check_last


class RandomShift(nn.Module):
    r"""Flat pictures (\*batch, C·H·W), each moved by whole pixels at random while training.

    Across and down each picture is moved by round(k u) pixels, u uniform on (−1, 1), drawn afresh at each
    call; what comes in at the sides is 0. No value is changed, as it would be between pixels by
    :class:`RandomAffine`: what is fine in a picture stays so. In evaluation mode pictures stay as they are.

    Args:
        image_shape: (H, W) or (C, H, W).
        pixels: k, the largest movement.

    >>> moved = RandomShift((8, 8))
    >>> x = torch.rand(5, 64)
    >>> moved(x).shape, bool((moved.eval()(x) == x).all())
    (torch.Size([5, 64]), True)
    """

    def __init__(self, image_shape: Sequence[int], *, pixels: int = 1) -> None:
        super().__init__()
        self.image_shape = channels_first(image_shape)
        self.inputs = self.outputs = math.prod(self.image_shape)
        self.pixels = check_count("pixels", pixels)

    def forward(self, x: Tensor) -> Tensor:
        check_last(self, x)
        if not self.training or not x.numel():
            return x
        colours, height, width = self.image_shape
        flat = x.reshape(-1, self.inputs)
        # Where each pixel comes from: rows (n, H, 1) and columns (n, 1, W), outside of the picture from a 0.
        down, across = (self.pixels * (2 * torch.rand(2, len(flat), device=x.device) - 1)).round().long()
        rows = torch.arange(height, device=x.device)[:, None] + down[:, None, None]
        columns = torch.arange(width, device=x.device) + across[:, None, None]
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        places = torch.where(inside, rows * width + columns, height * width).flatten(1)
        planes = flat.reshape(-1, colours, height * width)
        padded = torch.cat([planes, planes.new_zeros(len(flat), colours, 1)], 2)
        return padded.gather(2, places[:, None].expand(-1, colours, -1)).reshape(x.shape)
