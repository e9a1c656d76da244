"""The gated transition of deep Markov models."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from probgen.nets.checks import check_sizes
from probgen.nets.joined import Joined
from probgen.nets.laws import log_scale
from probgen.nets.mlp import MLP


class GatedTransition(nn.Module):
    r"""States z to the law of the next, N((1 − g) (Az + b) + g m(z), s(m(z))²), between linear and not.

    The gate g, in (0, 1) for each coordinate, and m are networks of z; A is the identity at the start. The
    scale depends on tanh m through a linear map (in the source on max(m, 0)): one that grew with the state
    would let a path run away, a state a step.

    Args:
        size: numbers in a state.
        hidden: width of the networks' hidden layer.
        context: numbers of a context that the networks read beside z, 0 where there is none.

    Source: Krishnan, Shalit and Sontag (2017), Structured inference networks for nonlinear state space
    models.

    >>> law = GatedTransition(4, hidden=16)(torch.zeros(5, 4))
    >>> law.batch_shape, law.event_shape
    (torch.Size([5]), torch.Size([4]))
    """

    def __init__(self, size: int, *, hidden: int = 128, context: int = 0) -> None:
        super().__init__()
        check_sizes(size=size, hidden=hidden)
        self.outputs = size
        self.gate = Joined(MLP(size + context, size, hidden=hidden))
        self.proposal = Joined(MLP(size + context, size, hidden=hidden))
        self.linear = nn.Linear(size, size)
        self.scale = nn.Linear(size, size)
        with torch.no_grad():
            self.linear.weight.copy_(torch.eye(size))
            self.linear.bias.zero_()

    def forward(self, z: Tensor, *context: Tensor) -> dist.Distribution:
        """Return the law of the next state."""
        gate, proposal = self.gate(z, *context).sigmoid(), self.proposal(z, *context)
        mean = (1 - gate) * self.linear(z) + gate * proposal
        return dist.Normal(mean, log_scale(self.scale(proposal.tanh())).exp()).to_event(1)
