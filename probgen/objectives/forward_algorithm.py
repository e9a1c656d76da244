"""Sums over all paths of a hidden Markov chain."""

from __future__ import annotations

import torch
from torch import Tensor


def forward_algorithm(start: Tensor, transition: Tensor, emitted: Tensor, lengths: Tensor) -> Tensor:
    r"""Return log p(s_T, x_1, ..., x_T) of the last state of each sequence, all paths to it summed, (n, K).

    α_t(j) = p(x_t | j) Σ_i α_{t−1}(i) p(j | i), kept as logarithms, in float64. A state should have at least
    e^−700 of the mass of the likeliest; where no state leads to another, its logarithm has no slope.

    Args:
        start: log p(s_1), shape (K,).
        transition: log p(j | i), shape (K, K).
        emitted: log p(x_t | s_t), shape (n, T, K); 0 at steps that were not seen.
        lengths: T of each sequence, (n,).

    Source: Rabiner (1989), A tutorial on hidden Markov models.
    """
    alpha, matrix = (start + emitted[:, 0]).double(), transition.double().exp()
    for t in range(1, emitted.shape[1]):
        most = alpha.detach().amax(-1, keepdim=True)
        mass = (alpha - most).exp() @ matrix
        after = torch.where(mass > 0, torch.where(mass > 0, mass, 1.0).log() + most, -torch.inf)
        alpha = torch.where((t < lengths).unsqueeze(-1), after + emitted[:, t], alpha)
    return alpha


def emitted_counts(weights: Tensor, x: Tensor, size: int) -> Tensor:
    r"""Return what states emit, counted with weights p(s_t | x), (n, T, K): shape (K, size).

    It is Σ p(state | x) x_t of vectors x, (n, T, size), and Σ p(state | x) of each token of x, int64 (n, T).
    """
    if x.dim() == 3:
        return torch.einsum("ntk,ntd->kd", weights, x.double())
    counts = weights.new_zeros(size, weights.shape[-1])
    return counts.index_add_(0, x.flatten(), weights.flatten(0, 1)).T
