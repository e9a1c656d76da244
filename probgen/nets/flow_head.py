"""A head whose law is a normal one bent by invertible networks."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor, nn

from probgen.nets.couplings import Couplings
from probgen.nets.heads import NormalHead


class FlowHead(NormalHead):
    r"""The law of f(u), u ~ N(mean, scale²) coordinate by coordinate, mean and scale given by the net.

    f is invertible and the same for all contexts: as a guide, a posterior whose coordinates depend on each
    other. The law has draws with derivatives and a density, but no mean in closed form. At the start f is
    the identity, but for the order of the coordinates.

    Args:
        net: with ``widen`` or with 2 dim outputs.
        transforms: f, a module that returns transforms of Pyro's, as :class:`Couplings` of the size of the
            code, at least 2.

    Source: Rezende and Mohamed (2015), Variational inference with normalizing flows.

    >>> import torch
    >>> from probgen.nets import MLP
    >>> law = FlowHead(MLP(64, 2), Couplings(2))(torch.zeros(5, 64))
    >>> law.log_prob(law.rsample()).shape
    torch.Size([5])
    """

    def __init__(self, net: nn.Module, transforms: Couplings) -> None:
        super().__init__(net)
        self.transforms = transforms

    def forward(self, *context: Tensor) -> dist.Distribution:
        return dist.TransformedDistribution(super().forward(*context), self.transforms())
