"""A head of numbers with heavy tails."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import nn

from probgen.nets.heads import Head
from probgen.nets.laws import log_scale


class StudentTHead(Head):
    r"""Independent Student-t laws, with location and scale given by the net, for numbers with heavy tails.

    The degrees of freedom, above 2 so that there is a variance, are one number learned for all coordinates
    and contexts, 6 at the start. The scale is exp(5 asinh(s/5)) of the net's second block, as of
    ``NormalHead``.

    Args:
        net: with ``widen`` or with 2d outputs.

    >>> from probgen.nets import MLP
    >>> law = StudentTHead(MLP(64, 2))(torch.zeros(5, 64))
    >>> law.batch_shape, law.event_shape
    (torch.Size([5]), torch.Size([2]))
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net, 2)
        self.log_freedom = nn.Parameter(torch.tensor(math.log(4.0)))  # of ν − 2

    def forward(self, *context: torch.Tensor) -> dist.Distribution:
        location, s = self.blocks(*context).unbind(-2)
        return dist.StudentT(2 + self.log_freedom.exp(), location, log_scale(s).exp()).to_event(1)
