"""The standard normal prior."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from probgen.core import check_count


class StandardNormal(nn.Module):
    """The prior z ~ N(0, I) on ``dim`` coordinates, on the device and in the type that the module has.

    >>> StandardNormal(2)().event_shape
    torch.Size([2])
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        dim = check_count("dim", dim)
        self.register_buffer("loc", torch.zeros(dim), persistent=False)
        self.register_buffer("scale", torch.ones(dim), persistent=False)

    def extra_repr(self) -> str:
        return f"dim={len(self.loc)}"

    def forward(self, *context: Tensor) -> dist.Independent:
        """Return the law, with event shape (dim,), the same whatever the context."""
        return dist.Normal(self.loc, self.scale).to_event(1)
