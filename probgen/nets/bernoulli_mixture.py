"""Vectors of 0 and 1 from a mixture whose weights a net gives: a discrete code, summed out."""

from __future__ import annotations

from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn.functional import softplus

from probgen.core import check_count
from probgen.nets.laws import of_a_law, refuse


class BernoulliMixture(dist.TorchDistribution):
    r"""A mixture of K laws of independent 0/1 coordinates: p(x) = Σ_k w_k Π_i p_ki^x_i (1 − p_ki)^(1 − x_i).

    Args:
        logits: log w_k up to a constant, shape (\*batch, K).
        templates: log-odds of p_ki, shape (K, d), the same for all of the batch.
    """

    arg_constraints: ClassVar = {
        "logits": constraints.independent(constraints.real, 1),
        "templates": constraints.independent(constraints.real, 2),
    }
    support = constraints.independent(constraints.boolean, 1)
    has_rsample = False

    def __init__(self, logits: Tensor, templates: Tensor, *, validate_args: bool | None = None) -> None:
        self.logits, self.templates = logits, templates
        super().__init__(logits.shape[:-1], templates.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> BernoulliMixture:
        """Return the same law on a larger batch."""
        logits = self.logits.expand(*batch_shape, self.logits.shape[-1])
        new = BernoulliMixture(logits, self.templates, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw which part, then its coordinates, without gradient."""
        part = dist.Categorical(logits=self.logits).sample(torch.Size(sample_shape))
        return torch.bernoulli(self.templates.sigmoid()[part])

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the logarithm of the sum over parts."""
        if self._validate_args:
            self._validate_sample(value)
        return (self.parts(value) + self.logits.log_softmax(-1)).logsumexp(-1)

    def parts(self, value: Tensor) -> Tensor:
        r"""Return log p_k(x) of each part, shape (\*batch, K)."""
        return value @ self.templates.T - softplus(self.templates).sum(-1)

    @property
    def mean(self) -> Tensor:
        return self.logits.softmax(-1) @ self.templates.sigmoid()

    def _validate_sample(self, value: Tensor) -> None:
        refuse(
            value, (value == 0) | (value == 1), "a Bernoulli needs values 0 or 1", "round them, or draw them"
        )
        super()._validate_sample(value)


class BernoulliMixtureHead(nn.Module):
    r"""A mixture of laws of independent 0/1 coordinates whose weights the net gives.

    Its parts are the same for every context: a net of K outputs says which of K chords comes next, as a
    hidden Markov model's transition does, and the code that names the chord is summed out exactly.

    Args:
        net: from the context to K numbers, the logarithms of weights; it tells K as ``outputs``.
        size: d, the number of coordinates.

    Source: Bishop (2006), Pattern recognition and machine learning, 9.3.3; (1994) for weights by a net.

    >>> from probgen.nets import MLP
    >>> BernoulliMixtureHead(MLP(32, 64), 88)(torch.zeros(5, 32)).sample().shape
    torch.Size([5, 88])
    """

    def __init__(self, net: nn.Module, size: int) -> None:
        super().__init__()
        self.net = net
        self.outputs = check_count("size", size)
        self.templates = nn.Parameter(torch.randn(check_count("outputs", net.outputs), size))

    @torch.no_grad()
    def start_at(self, x: Tensor, *, generator: torch.Generator | None = None) -> None:
        """Let each part be a third one row of x (n, d), drawn at random, and two thirds all of them."""
        mean = (x.sum(0) + 0.5) / (len(x) + 1)
        some = torch.randint(len(x), (len(self.templates),), generator=generator, device=x.device)
        self.templates.copy_(((x[some] + 2 * mean) / 3).logit())

    @torch.no_grad()
    def fit_em(self, x: Tensor, *, iterations: int, pseudo_count: float = 2.0) -> list[float]:
        """Take steps of expectation maximisation for rows x (n, d) of a mixture of equal weights.

        It returns log p(x) of all rows before each step. None lowers log p(x) + c Σ_k E_m[log p_k], where m
        is the law of all rows, each coordinate by itself: each part has c rows more, its ``pseudo_count``,
        like all. The weights of a net may so be learned from parts that chords already have.
        """
        if not pseudo_count > 0:
            raise ValueError(f"pseudo_count should be above 0 but got {pseudo_count}")
        mean, found = (x.sum(0) + 0.5) / (len(x) + 1), []
        for _ in range(check_count("iterations", iterations)):
            law = BernoulliMixture(x.new_zeros(len(self.templates)), self.templates)
            # E: to which part each row belongs, by Bayes' rule. M: shares of the rows that belong to a part.
            belongs = (law.parts(x) + law.logits).softmax(-1)
            found.append(float(law.log_prob(x).double().sum()))
            ones = belongs.T @ x + pseudo_count * mean
            self.templates.copy_((ones / (belongs.sum(0) + pseudo_count).unsqueeze(-1)).logit())
        return found

    def forward(self, *context: Tensor) -> BernoulliMixture:
        """Return the law given a context."""
        return BernoulliMixture(of_a_law(self.net(*context)), self.templates)
