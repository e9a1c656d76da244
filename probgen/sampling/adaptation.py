"""Warm-up: tuning is found before the draws begin, and never changes after."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from probgen.core import Density, Transition
from probgen.sampling.positions import require_finite
from probgen.sampling.random_walk import RandomWalkState, metropolis_step, random_walk

_ENDS = (0.1, 0.25, 0.5, 0.75, 1.0)
"""Shares of the warm-up at which a window of tuning ends."""


def target_acceptance(dim: int) -> float:
    """Return the best acceptance of a random walk (Roberts, Gelman and Gilks, 1997)."""
    return 0.44 if dim == 1 else 0.234


@torch.no_grad()
def adapt_random_walk(
    density: Density,
    position: Tensor,
    *,
    steps: int = 1000,
    covariance: Literal["dense", "diagonal"] = "dense",
    generator: torch.Generator,
) -> tuple[Transition, Tensor]:
    r"""Tune a random walk on many chains; return the transition, tuned once and for all, and positions.

    The warm-up has windows that end at 10, 25, 50, 75 and 100 %. At the end of each but the last, the
    proposal takes the covariance of all chains' draws in it. Within a window the scale starts at 2.38/√dim
    and follows log s ← log s + 2 t^(−0.6) (acceptance − target), acceptance pooled over the chains, target
    0.44 in one dimension and 0.234 in more; it ends at its average over the last half of the last window.
    Members of the density's batch are tuned each on its own.

    Args:
        density: the target.
        position: where the chains start, shape (chains, \*batch, dim), on the unconstrained scale.
        steps: length of the warm-up, at least 20.
        covariance: of the proposal: full, or of each coordinate alone.
        generator: source of randomness.

    Raises:
        ValueError: for a short warm-up, a log-density that is not finite, or chains that do not move.

    See Andrieu and Thoms (2008), A tutorial on adaptive MCMC.
    """
    if steps < 20:
        raise ValueError(f"warm-up should have at least 20 steps but got {steps}")
    if covariance not in ("dense", "diagonal"):
        raise ValueError(f"covariance should be 'dense' or 'diagonal' but got {covariance!r}")
    batch, dim = density.batch_shape, density.dim
    state = RandomWalkState(position, density.unconstrained_log_prob(position))
    require_finite(density, *state)
    shape = torch.ones(*batch, dim, dtype=position.dtype, device=position.device)
    start = 0
    for end in (round(share * steps) for share in _ENDS):
        log_scale = torch.full(
            batch, math.log(2.38 / math.sqrt(dim)), dtype=torch.float64, device=shape.device
        )
        average = torch.zeros_like(log_scale)
        moments = _Moments(state.position, dense=covariance == "dense")
        for t in range(1, end - start + 1):
            state, info = metropolis_step(density, state, _scaled(shape, log_scale, batch), generator)
            moments.add(state.position)
            surplus = info.acceptance.to(torch.float64).nanmean(0) - target_acceptance(dim)
            log_scale = log_scale + 2 * t**-0.6 * surplus
            late = t - (end - start) // 2
            if late > 0:
                average += (log_scale - average) / late
        require_finite(density, *state)
        if end < steps:
            shape = moments.factor()
        start = end
    return random_walk(density, scale=_scaled(shape, average, batch)), state.position


def _scaled(shape: Tensor, log_scale: Tensor, batch: torch.Size) -> Tensor:
    scale = log_scale.exp().reshape(*batch, *[1] * (shape.dim() - len(batch)))
    return shape * scale.to(shape.dtype)


class _Moments:
    """Running moments of positions, pooled over chains and steps, in float64 about the first mean."""

    def __init__(self, position: Tensor, *, dense: bool) -> None:
        self._dtype, self._dense = position.dtype, dense
        self._centre = position.to(torch.float64).mean(0)
        self._count = 0
        self._sum = torch.zeros_like(self._centre)
        self._squares: Tensor = torch.zeros((), dtype=torch.float64, device=position.device)

    def add(self, position: Tensor) -> None:
        apart = position.to(torch.float64) - self._centre
        self._count += len(apart)
        self._sum += apart.sum(0)
        squares = torch.einsum("c...i,c...j->...ij", apart, apart) if self._dense else (apart**2).sum(0)
        self._squares = self._squares + squares

    def factor(self) -> Tensor:
        """Return standard deviations, or the Cholesky factor of the covariance, shrunk to its diagonal."""
        mean = self._sum / self._count
        if not self._dense:
            return _deviation(self._squares / self._count - mean**2).to(self._dtype)
        covariance = self._squares / self._count - mean.unsqueeze(-1) * mean.unsqueeze(-2)
        deviation = _deviation(covariance.diagonal(dim1=-2, dim2=-1))
        dim = mean.shape[-1]
        independent = self._count / (5 * dim)
        weight = independent / (independent + dim)
        correlation = weight * covariance / (deviation.unsqueeze(-1) * deviation.unsqueeze(-2))
        correlation.diagonal(dim1=-2, dim2=-1).fill_(1.0)
        return (deviation.unsqueeze(-1) * torch.linalg.cholesky(correlation)).to(self._dtype)


def _deviation(variance: Tensor) -> Tensor:
    if not (variance > 0).all():
        coordinate = (~(variance > 0)).nonzero()[0].tolist()
        raise ValueError(f"chains should move during warm-up but stood still in coordinate {coordinate}")
    return variance.sqrt()
