r"""A bound from importance weights step by step, for sequences whose steps are independent given x."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from probgen.core import Pair, Terms, check_count, sharing
from probgen.objectives.elbo import Bound


@runtime_checkable
class Stepwise(Protocol):
    r"""A pair of sequences whose codes are independent given x, in the posterior and in the guide.

    ``laws_of_steps(x, \*context)`` returns which steps are data, boolean (n, T), or None where all are;
    p(z_t | x_1, ..., x_{t−1}) and q(z_t | x), of batch shape (n, T); and a function from z (K, n, T, d) to
    log p(x_t | z_t, x_1, ..., x_{t−1}), shape (K, n, T).
    """

    def laws_of_steps(self, x: Tensor, *context: Tensor) -> tuple[Tensor | None, Any, Any, Callable]: ...


class StepwiseIWAE(Bound):
    r"""The importance-weighted bound of each step, Σ_t E[log (1/K) Σ_k w_tk], per datum.

    w_tk = p(z_t) p(x_t | z_t) / q(z_t) given x before t, with z_t1, ..., z_tK ~ q. Where steps are
    independent given x the product over t of the mean weights is an unbiased estimate of p(x). Weights of
    whole sequences vary by the product of all steps, and ``IWAE`` gains little from K draws of these; here
    each step gains as much as a sequence of one step would. It is the filtering objective (FIVO) of such a
    pair, resampled at every step.

    Terms: ``iwae``, the bound; ``elbo``, of the same draws; ``ess``, the effective number of draws, a mean
    over steps. The gradient is the pathwise one, so that dropout has its place.

    Args:
        particles: K.

    Raises:
        TypeError: for a pair of which this is not known, such as one whose codes follow from each other.

    Source: Burda, Grosse and Salakhutdinov (2016), Importance weighted autoencoders; Maddison and others
    (2017), Filtering variational objectives.
    """

    def __init__(self, particles: int = 5) -> None:
        super().__init__(particles=check_count("particles", particles))

    def forward(self, pair: Pair, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return minus the bound, per datum, and its terms."""
        if not isinstance(pair, Stepwise):
            raise TypeError(
                "pair should say the laws of its steps, independent given x, by a method 'laws_of_steps', "
                f"which {type(pair).__name__} has not: IWAE needs none"
            )
        with sharing():
            inside, prior, guide, log_likelihood = pair.laws_of_steps(*batch)
            z = guide.rsample((self.particles,))
            log_weights = prior.log_prob(z) + log_likelihood(z) - guide.log_prob(z)
        if inside is None:
            inside = torch.ones_like(log_weights[0], dtype=torch.bool)
        log_weights = torch.where(inside, log_weights, 0.0)
        bound = torch.where(inside, log_weights.logsumexp(0) - math.log(self.particles), 0.0).sum(-1).mean()
        with torch.no_grad():
            ess = torch.where(inside, 1 / log_weights.softmax(0).square().sum(0), 0.0).sum() / inside.sum()
            elbo = log_weights.mean(0).sum(-1).mean()
        return -bound, {"elbo": elbo, "iwae": bound.detach(), "ess": ess}
