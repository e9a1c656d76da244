"""How heavy the upper tail of importance weights is."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_PRIOR = 10
"""Observations that the weakly informative prior, which says k = ½, is worth."""

_FEWEST = 5
"""Weights above all others that a tail is made of at least."""

_NEARLY = 16
"""How many times the rounding log-weights without a tail may spread that are taken for equal."""


def pareto_k(log_weights: Tensor, *, magnitude: Tensor | None = None) -> Tensor:
    r"""Return k̂, the shape of a generalised Pareto law fitted to the largest importance weights.

    Weights have a finite variance where k < ½ and a finite mean where k < 1. Estimates from S weights are
    good where k̂ < min(1 − 1/log₁₀ S, 0.7). It is −inf where the weights are all equal, to the rounding of
    log p and log q, or to 16 times that where it leaves no tail to fit: the proposal is exact. It is +inf
    where no tail can be fitted, since the largest weights are tied but others are smaller (weights clipped
    from above, or draws that take few values), or since fewer than 5 weights are above all others, which are
    tied.

    Rounding grows with log p and log q, sums over many sites and coordinates, of which the weights do not
    tell. Log-weights are taken for equal where they lie within √ε of one another, ε that of their dtype, or
    within 16 ε times the magnitude of the numbers that they are made of.

    Args:
        log_weights: log p − log q up to a constant, at independent draws from q, shape (draws, \*batch).
        magnitude: of the log p and log q that were subtracted, say |log p| + |log q|, in a shape that
            broadcasts to (\*batch), finite; that of the log-weights themselves where not given.

    Returns:
        shape (\*batch), float64.

    Raises:
        ValueError: for fewer than 25 draws, weights that are NaN or +inf, or such a magnitude.

    See Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling; Zhang and
    Stephens (2009), A new and efficient estimation method for the generalized Pareto distribution.

    >>> weights = torch.distributions.Pareto(1.0, 1 / 0.9).icdf((torch.arange(4000) + 0.5) / 4000)
    >>> round(float(pareto_k(weights.log())), 1)
    0.9
    """
    if not isinstance(log_weights, Tensor) or not log_weights.is_floating_point():
        kind = log_weights.dtype if isinstance(log_weights, Tensor) else type(log_weights).__name__
        raise TypeError(f"log_weights should be a floating-point tensor but is {kind}")
    draws = len(log_weights) if log_weights.dim() else 1
    if draws < 25:
        raise ValueError(f"log_weights should hold at least 25 draws but hold {draws}")
    if log_weights.isnan().any() or (log_weights == torch.inf).any():
        raise ValueError("log_weights should be below +inf but some are NaN or +inf")
    # The tail: the largest weights, about 3 √S of S.
    size = math.ceil(min(draws / 5, 3 * math.sqrt(draws)))
    ordered = log_weights.detach().to(torch.float64).sort(0).values
    largest = ordered[-1]
    if (largest == -torch.inf).any():
        raise ValueError("log_weights should not all be -inf: no draw of the proposal is in the target")
    noise = _rounding(ordered, log_weights.dtype, magnitude)
    tail, cutoff = ordered[-size:], ordered[-size - 1]
    # Excesses over the cutoff, in units of the largest weight. Ties with it are none, so that rows differ in
    # how many they have.
    above = (tail - largest).exp() - (cutoff - largest).exp()
    exceeding = (tail > cutoff).sum(0)
    k = torch.full_like(largest, torch.inf)
    for length in exceeding.unique().tolist():
        some = exceeding == length
        if length >= _FEWEST:
            k[some] = _shape(above[-length:, some])
            k[some] = torch.where(largest[some] - tail[-length, some] <= noise[some], torch.inf, k[some])
    # Weights that are equal but for rounding have no tail: the proposal is the target.
    spread = largest - ordered[0]
    exact = (spread <= noise) | ((k == torch.inf) & (spread <= _NEARLY * noise))
    return torch.where(exact, -torch.inf, k)


def _shape(above: Tensor) -> Tensor:
    """Return k of generalised Pareto laws fitted to sorted columns above 0: the posterior mean on a grid."""
    size = len(above)
    places = torch.arange(1, 31 + math.isqrt(size), dtype=torch.float64, device=above.device)
    spread = (1 - (len(places) / (places - 0.5)).sqrt()).unsqueeze(-1)
    rates = 1 / above[-1] + spread / (3 * above[int(size / 4 + 0.5) - 1])
    shapes = torch.stack([(-rate * above).log1p().mean(0) for rate in rates])
    likelihoods = size * ((-rates / shapes).log() - shapes - 1)
    rate = (rates * likelihoods.softmax(0)).sum(0)
    k = (-rate * above).log1p().mean(0)
    k = (size * k + _PRIOR / 2) / (size + _PRIOR)
    return torch.where(k.isnan(), torch.inf, k)


def _rounding(ordered: Tensor, dtype: torch.dtype, magnitude: Tensor | None) -> Tensor:
    """Return how far apart log-weights may be that differ by rounding alone, in the shape of the batch."""
    epsilon = torch.finfo(dtype).eps
    if magnitude is not None and not (magnitude.isfinite() & (magnitude >= 0)).all():
        wrong = magnitude[~(magnitude.isfinite() & (magnitude >= 0))]
        raise ValueError(f"magnitude should be finite and at least 0 but holds {float(wrong[0])}")
    if magnitude is None:
        magnitude = torch.where(ordered.isfinite(), ordered, 0).abs().amax(0)
    noise = (16 * epsilon * magnitude.to(torch.float64)).clamp(min=math.sqrt(epsilon))
    return noise.expand(ordered.shape[1:])
