"""How heavy the upper tail of importance weights is."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_PRIOR = 10
"""Observations that the weakly informative prior, which says k = ½, is worth."""


def pareto_k(log_weights: Tensor) -> Tensor:
    r"""Return k̂, the shape of a generalised Pareto law fitted to the largest importance weights.

    Weights have a finite variance where k < ½ and a finite mean where k < 1. Estimates from S weights are
    good where k̂ < min(1 − 1/log₁₀ S, 0.7). It is −inf where the weights are all equal: the proposal is exact.

    Args:
        log_weights: log p − log q up to a constant, at independent draws from q, shape (draws, \*batch).

    Returns:
        shape (\*batch), float64.

    Raises:
        ValueError: for fewer than 25 draws, or weights that are NaN or +inf.

    See Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling; Zhang and
    Stephens (2009), A new and efficient estimation method for the generalized Pareto distribution.

    >>> weights = torch.distributions.Pareto(1.0, 1 / 0.9).icdf((torch.arange(4000) + 0.5) / 4000)
    >>> round(float(pareto_k(weights.log())), 1)
    0.9
    """
    draws = len(log_weights)
    if draws < 25:
        raise ValueError(f"log_weights should hold at least 25 draws but hold {draws}")
    if log_weights.isnan().any() or (log_weights == torch.inf).any():
        raise ValueError("log_weights should be below +inf but some are NaN or +inf")
    size = math.ceil(min(draws / 5, 3 * math.sqrt(draws)))
    ordered = log_weights.detach().to(torch.float64).sort(0).values
    above = (ordered[-size:] - ordered[-1]).exp() - (ordered[-size - 1] - ordered[-1]).exp()
    places = torch.arange(1, 31 + math.isqrt(size), dtype=torch.float64, device=above.device)
    spread = (1 - (len(places) / (places - 0.5)).sqrt()).reshape(-1, *[1] * (above.dim() - 1))
    rates = 1 / above[-1] + spread / (3 * above[int(size / 4 + 0.5) - 1])
    shapes = torch.stack([(-rate * above).log1p().mean(0) for rate in rates])
    likelihoods = size * ((-rates / shapes).log() - shapes - 1)
    rate = (rates * likelihoods.softmax(0)).sum(0)
    k = (-rate * above).log1p().mean(0)
    k = (size * k + _PRIOR / 2) / (size + _PRIOR)
    equal = above[-1] <= 8 * torch.finfo(log_weights.dtype).eps
    return torch.where(equal, -torch.inf, torch.where(k.isnan(), torch.inf, k))
