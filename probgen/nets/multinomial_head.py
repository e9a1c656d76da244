"""Counts over many things, of which the total is given: the multinomial law by its log-odds."""

from __future__ import annotations

from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from probgen.core import check_count
from probgen.nets.heads import Head


class MultinomialOfTotal(dist.TorchDistribution):
    r"""Counts x of d things, given how many there are in all.

    log p(x | n) = log n! − Σ_j log x_j! + Σ_j x_j log π_j with n = Σ_j x_j and π = softmax(logits): each row
    is judged given its own total, whatever that is. A draw has ``total`` things.

    Args:
        logits: real, shape (\*batch, d).
        total: of a draw.

    >>> law = MultinomialOfTotal(torch.zeros(3))
    >>> round(law.log_prob(torch.tensor([1.0, 1.0, 0.0])).exp().item(), 4)  # 2 of 9 ordered pairs
    0.2222
    """

    arg_constraints: ClassVar = {"logits": constraints.real_vector}
    support = constraints.independent(constraints.nonnegative_integer, 1)

    def __init__(self, logits: Tensor, total: int = 1, *, validate_args: bool | None = None) -> None:
        self.logits, self.total = logits, total
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> MultinomialOfTotal:
        logits = self.logits.expand(*batch_shape, *self.event_shape)
        new = MultinomialOfTotal(logits, self.total, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        orders = torch.lgamma(value.sum(-1) + 1) - torch.lgamma(value + 1).sum(-1)
        return orders + (value * self.logits.log_softmax(-1)).sum(-1)

    @property
    def mean(self) -> Tensor:
        return self.total * self.logits.softmax(-1)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        law = torch.distributions.Multinomial(self.total, logits=self.logits, validate_args=False)
        return law.sample(torch.Size(sample_shape))


class MultinomialHead(Head):
    r"""Counts of d things given their total; the net gives the log-odds of the things.

    Args:
        net: with d outputs.
        total: of a draw; data have totals of their own.

    Source: Liang, Krishnan, Hoffman and Jebara (2018), Variational autoencoders for collaborative filtering.

    >>> from probgen.nets import MLP
    >>> MultinomialHead(MLP(2, 7), total=4)(torch.zeros(3, 2)).sample().sum(-1)
    tensor([4., 4., 4.])
    """

    def __init__(self, net: nn.Module, *, total: int = 1) -> None:
        super().__init__(net, 1)
        self.total = check_count("total", total)

    def forward(self, *context: Tensor) -> MultinomialOfTotal:
        return MultinomialOfTotal(self.blocks(*context).squeeze(-2), self.total)
