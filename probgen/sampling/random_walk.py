"""Random-walk Metropolis: a symmetric Gaussian proposal around the present position."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from probgen.core import Density, Transition


class RandomWalkState(NamedTuple):
    r"""Positions (\*chains, \*batch, dim) on the unconstrained scale and their log-density."""

    position: Tensor
    log_prob: Tensor


class RandomWalkInfo(NamedTuple):
    r"""The probability with which each proposal was accepted, min(1, π(y) / π(x)), and whether it was."""

    acceptance: Tensor
    accepted: Tensor


def random_walk(density: Density, *, scale: float | Tensor) -> Transition:
    r"""Return the random-walk Metropolis transition: y = x + scale · ε, accepted with min(1, π(y) / π(x)).

    Each chain, and each member of the density's batch, is accepted on its own. A log-density of −∞ is a
    rejection. A chain that meets NaN or +∞ stops there and keeps it as its ``log_prob``, so that
    :func:`run` can raise with the place.

    Args:
        density: the target π.
        scale: standard deviation of the step on the unconstrained scale: a number; one per coordinate,
            shape (dim,) or (\*batch, dim); or a lower Cholesky factor of the covariance, (\*batch, dim, dim).

    Raises:
        ValueError: for a scale that is not positive and finite, or has another shape.

    See Metropolis et al. (1953); Roberts, Gelman and Gilks (1997), Weak convergence and optimal scaling of
    random walk Metropolis algorithms.

    >>> density = Density(lambda x: -0.5 * x**2)
    >>> init, step = random_walk(density, scale=2.4)
    >>> state, info = step(init(torch.zeros(4, 1)), torch.Generator().manual_seed(0))
    >>> state.position.shape, info.acceptance.shape
    (torch.Size([4, 1]), torch.Size([4]))
    """
    factor = _checked(density, torch.as_tensor(scale, dtype=density.dtype, device=density.device))

    def init(position: Tensor) -> RandomWalkState:
        return RandomWalkState(position, density.unconstrained_log_prob(position))

    def step(state: RandomWalkState, generator: torch.Generator) -> tuple[RandomWalkState, RandomWalkInfo]:
        return metropolis_step(density, state, factor, generator)

    return Transition(init, step)


def metropolis_step(
    density: Density, state: RandomWalkState, factor: Tensor, generator: torch.Generator
) -> tuple[RandomWalkState, RandomWalkInfo]:
    r"""Move every chain once; ``factor`` is 0-dimensional, (\*batch, dim) or (\*batch, dim, dim)."""
    position, log_prob = state
    noise = torch.randn(position.shape, dtype=position.dtype, device=position.device, generator=generator)
    dense = factor.dim() == len(density.batch_shape) + 2
    move = torch.einsum("...ij,...j->...i", factor, noise) if dense else factor * noise
    proposal = position + move
    proposed = density.unconstrained_log_prob(proposal)
    log_ratio = proposed - log_prob
    uniform = torch.rand(log_prob.shape, dtype=torch.float64, device=position.device, generator=generator)
    broken = (proposed.isnan() | (proposed == torch.inf)) & log_prob.isfinite()
    accepted = (uniform.log() < log_ratio) | broken
    moved = RandomWalkState(
        torch.where(accepted.unsqueeze(-1), proposal, position), torch.where(accepted, proposed, log_prob)
    )
    return moved, RandomWalkInfo(log_ratio.clamp(max=0).exp(), accepted)


def _checked(density: Density, scale: Tensor) -> Tensor:
    batch, dim = density.batch_shape, density.dim
    if scale.dim() == 0:
        positive = scale
    elif scale.dim() == len(batch) + 2 and scale.shape[-2:] == (dim, dim):
        positive = scale.diagonal(dim1=-2, dim2=-1)
        if scale.triu(1).any():
            raise ValueError("scale should be a lower Cholesky factor but has entries above its diagonal")
    elif scale.dim() in (1, len(batch) + 1) and scale.shape[-1] == dim:
        positive = scale
    else:
        raise ValueError(
            f"scale should be a number or have shape {(dim,)}, {(*batch, dim)} or {(*batch, dim, dim)} "
            f"but has {tuple(scale.shape)}"
        )
    wrong = ~((positive > 0) & positive.isfinite())
    if wrong.any():
        raise ValueError(f"scale should be positive and finite but got {float(positive[wrong].flatten()[0])}")
    return scale
