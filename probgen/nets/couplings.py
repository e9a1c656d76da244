"""Affine couplings: an invertible network whose determinant is known, as transforms of Pyro's."""

from __future__ import annotations

import pyro.distributions.transforms as transforms
import torch
from torch import Tensor, nn
from torch.distributions import Transform

from probgen.nets.checks import check_sizes
from probgen.nets.laws import of_a_law
from probgen.nets.mlp import MLP

_STEEPEST = 2.5
"""Of log-scales, below the 3 at which Pyro cuts them off."""


class Couplings(nn.Module):
    r"""Maps of R^dim in each of which one half of the coordinates shifts and scales the other.

    (z₁, z₂) ↦ (z₁, z₂ exp s(z₁) + t(z₁)), the coordinates reversed between one map and the next. The scale
    is s = 2.5 tanh(net / 2.5), smooth and within [e^−2.5, e^2.5]. At the start s = t = 0: the identity, but
    for the order.

    Args:
        dim: number of coordinates, at least 2.
        layers: number of maps; from 2 on each coordinate is moved.
        hidden: widths of the hidden layers of each map's net.

    Source: Dinh, Sohl-Dickstein and Bengio (2017), Density estimation using Real NVP.

    >>> len(Couplings(4, layers=3)())
    5
    """

    order: Tensor

    def __init__(self, dim: int, *, layers: int = 6, hidden: int | tuple[int, ...] = (64, 64)) -> None:
        super().__init__()
        check_sizes(layers=layers)
        if dim < 2:
            raise ValueError(f"dim should be at least 2, that one half may move the other, but is {dim}")
        self.dim, self.split = dim, dim // 2
        self.nets = nn.ModuleList(
            MLP(self.split, 2 * (dim - self.split), hidden=hidden) for _ in range(layers)
        )
        for name, weight in self.nets.named_parameters():
            if ".last." in name:
                nn.init.zeros_(weight)
        self.register_buffer("order", torch.arange(dim - 1, -1, -1), persistent=False)

    def forward(self) -> list[Transform]:
        """Return the transforms, made afresh: each remembers what it was last called with."""
        parts: list[Transform] = []
        for net in self.nets:
            parts += [transforms.Permute(self.order)] if parts else []
            parts.append(transforms.AffineCoupling(self.split, _ShiftAndScale(net)))
        return parts


class _ShiftAndScale(nn.Module):
    """What a net says, as Pyro's coupling takes it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_scale = of_a_law(self.net(z)).chunk(2, -1)
        return shift, _STEEPEST * (log_scale / _STEEPEST).tanh()
