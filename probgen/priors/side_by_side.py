"""A prior whose coordinates come in parts, each with a prior of its own."""

from __future__ import annotations

from torch import Tensor, nn
from torch.distributions import Distribution

from probgen.nets.concatenated import Concatenated
from probgen.priors.given import Given
from probgen.priors.normal import StandardNormal


class SideBySide(nn.Module):
    r"""The prior of a vector (a, b, ...), p(a) p(b) ...: codes of a GAN beside its noise.

    Args:
        parts: each a number k of standard normal coordinates, a law of vectors, or a module that returns one.

    Raises:
        ValueError: for no parts, and for one that is no law of vectors.

    >>> import torch
    >>> import pyro.distributions as dist
    >>> SideBySide(dist.OneHotCategorical(torch.ones(10)), 62)().event_shape
    torch.Size([72])
    """

    def __init__(self, *parts: int | Distribution | nn.Module) -> None:
        super().__init__()
        if not parts:
            raise ValueError("parts should be one prior at least but are none")
        self.parts = nn.ModuleList(
            part
            if isinstance(part, nn.Module)
            else Given(part)
            if isinstance(part, Distribution)
            else StandardNormal(part)
            for part in parts
        )

    def forward(self, *context: Tensor) -> Concatenated:
        """Return the law."""
        return Concatenated([part(*context) for part in self.parts])
