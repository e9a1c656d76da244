"""Pictures moved at random while a net learns from them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample

from probgen.nets.checks import channels_first, check_last


class RandomAffine(nn.Module):
    r"""Flat pictures (\*batch, C·H·W), each turned, sheared, scaled and shifted at random while training.

    At a place p, in pixels from the middle, a moved picture has the value that the picture has at A p + t:

    .. math:: A = \begin{pmatrix} \cos θ & -\sin θ \\ \sin θ & \cos θ \end{pmatrix}
        \begin{pmatrix} 1 & h \\ 0 & 1 \end{pmatrix} \begin{pmatrix} e^{a} & 0 \\ 0 & e^{b} \end{pmatrix},
        \quad t = (uW, vH),

    where θ, h, a, b, u and v are drawn afresh for each picture at each call, uniform and symmetric around 0.
    Between pixels values are linear in each direction, outside of the picture 0. In evaluation mode pictures
    stay as they are, as with dropout: in front of a net it says that what the net tells should not change
    with small movements.

    Args:
        image_shape: (H, W) or (C, H, W).
        rotation: the largest θ, in degrees.
        shear: the largest h.
        scale: the largest a and b: 0.1 is a tenth smaller or larger.
        shift: the largest u and v, in shares of the width and the height.

    Raises:
        ValueError: for amounts that are negative or infinite.

    Source: Simard, Steinkraus and Platt (2003), Best practices for convolutional neural networks applied to
    visual document analysis.

    >>> moved = RandomAffine((8, 8), rotation=10.0, shift=0.1)
    >>> x = torch.rand(5, 64)
    >>> moved(x).shape, bool((moved(x) == x).all()), bool((moved.eval()(x) == x).all())
    (torch.Size([5, 64]), False, True)
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        *,
        rotation: float = 0.0,
        shear: float = 0.0,
        scale: float = 0.0,
        shift: float = 0.0,
    ) -> None:
        super().__init__()
        amounts = {"rotation": rotation, "shear": shear, "scale": scale, "shift": shift}
        for name, amount in amounts.items():
            if not 0 <= amount < math.inf:
                raise ValueError(f"{name} should be at least 0 and finite but is {amount}")
        self.image_shape = channels_first(image_shape)
        self.inputs = self.outputs = math.prod(self.image_shape)
        self.rotation, self.shear, self.scale, self.shift = math.radians(rotation), shear, scale, shift

    def forward(self, x: Tensor) -> Tensor:
        check_last(self, x)
        if not self.training or not x.numel():
            return x
        pictures = x.reshape(-1, *self.image_shape)
        shape = list(pictures.shape)
        grid = affine_grid(self._maps(pictures), shape, align_corners=False)
        return grid_sample(pictures, grid, align_corners=False).reshape(x.shape)

    def _maps(self, pictures: Tensor) -> Tensor:
        """Draw (A, t) for each picture, shape (n, 2, 3), in units in which it goes from −1 to 1."""
        _, height, width = self.image_shape
        draws = 2 * torch.rand(6, len(pictures), dtype=pictures.dtype, device=pictures.device) - 1
        angle, h = self.rotation * draws[0], self.shear * draws[1]
        a, b = (self.scale * draws[2:4]).exp()
        u, v = 2 * self.shift * draws[4:]
        cos, sin = angle.cos(), angle.sin()
        first = torch.stack([cos * a, (h * cos - sin) * b * (height / width), u], -1)
        second = torch.stack([sin * a * (width / height), (h * sin + cos) * b, v], -1)
        return torch.stack([first, second], -2)
