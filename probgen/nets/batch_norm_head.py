"""A head whose means are normalised over the data, so that a code cannot say nothing."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from probgen.nets.heads import Head
from probgen.nets.laws import log_scale


class BatchNormHead(Head):
    r"""Independent normals whose means have a variance over the batch that is given: N(mean, scale²).

    The mean of coordinate j is γ m_j + b_j, where m_j is what the net gives, less its mean over the batch and
    divided by its standard deviation there; b is learned, γ is not. Over a batch the KL to N(0, I) then is

    .. math:: \tfrac12 \sum_j [γ² + b_j² + E(σ_j² - 1 - \log σ_j²)] \geq d γ² / 2,

    whatever the net does as long as each m_j varies over the batch, if ever so little: a posterior that all
    data share is out of its reach, but where its m_j are equal to the last digit. In evaluation mode the
    mean and variance of m_j are running averages of those of the batches, and a law depends on its own
    context alone; the bound then holds as far as these averages are those of the data.

    Args:
        net: with ``widen`` or with 2d outputs; its second block gives the scale, as of ``NormalHead``.
        gamma: γ > 0, the standard deviation of the means.

    Raises:
        ValueError: where γ is not positive and finite, and in training for a batch of one row.

    Source: Zhu and others (2020), A batch normalized inference network keeps the KL vanishing away.

    >>> from probgen.nets import MLP
    >>> BatchNormHead(MLP(64, 2))(torch.randn(500, 64)).mean.std(0, correction=0)
    tensor([0.5000, 0.5000], grad_fn=<StdBackward0>)
    """

    def __init__(self, net: nn.Module, *, gamma: float = 0.5) -> None:
        if not 0 < gamma < math.inf:
            raise ValueError(f"gamma should be positive and finite but is {gamma}")
        super().__init__(net, 2)
        # Its epsilon only keeps 0/0 away: a larger one could be made to outweigh the variance of m.
        self.norm = nn.BatchNorm1d(self.outputs, eps=1e-20, affine=False)
        self.shift = nn.Parameter(torch.zeros(self.outputs))
        self.gamma = gamma

    def forward(self, *context: Tensor) -> dist.Distribution:
        m, s = self.blocks(*context).unbind(-2)
        mean = self.gamma * self.norm(m.reshape(-1, m.shape[-1])).reshape(m.shape) + self.shift
        return dist.Normal(mean, log_scale(s).exp()).to_event(1)
