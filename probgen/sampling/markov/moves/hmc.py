"""Hamiltonian Monte Carlo with trajectories of a fixed number of leapfrog steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from probgen.capture.recorded_function import Wrap, as_written
from probgen.core import Density, Transition, check_count
from probgen.sampling.markov.moves.metropolis import (
    GradientState,
    Kernel,
    choose,
    fixed,
    judge,
    scaled,
    standard_normal,
    standard_uniform,
    with_gradient,
)

DIVERGENCE = 1000.0
"""The gain in energy, in nats, from which a trajectory counts as divergent, as in Stan."""


Leap = Callable[..., tuple[Tensor, ...]]
"""A leapfrog step: position, momentum, gradient, scale, size to position, momentum, log-density, gradient."""


class HamiltonianInfo(NamedTuple):
    r"""What became of each trajectory, (\*chains, \*batch).

    As for other transitions, and whether it diverged (its energy rose by more than 1000, or is NaN), and the
    energy −log π(x) + ½|p|² at the position that the chain now has.
    """

    acceptance: Tensor
    accepted: Tensor
    not_finite: Tensor
    divergent: Tensor
    energy: Tensor


def hmc(density: Density, *, scale: float | Tensor, steps: int, jitter: float = 0.2) -> Transition:
    r"""Return Hamiltonian Monte Carlo: fresh momentum p ~ N(0, I), ``steps`` leapfrog steps, one acceptance.

    A leapfrog step is p += ½ Sᵀ∇ log π(x), x += S p, p += ½ Sᵀ∇ log π(x). It keeps volume and can be walked
    back, so the end is accepted with min(1, exp(H(x, p) − H(x', p'))), H = −log π(x) + ½|p|². S holds both
    the step size and the square root of the inverse mass matrix.

    Args:
        density: the target π, with gradients.
        scale: S, as for :func:`random_walk`.
        steps: leapfrog steps of a trajectory.
        jitter: each trajectory has its step size multiplied by a number that is uniform on
            [1 − jitter, 1 + jitter], so that none comes back to its start for ever; 0 for a fixed length.

    Raises:
        ValueError: for a scale that is not positive and finite, fewer than one step, or a jitter outside
            [0, 1).

    See Duane et al. (1987), Hybrid Monte Carlo; Neal (2011), MCMC using Hamiltonian dynamics; Beskos et al.
    (2013), for the acceptance 0.651.

    >>> density = Density(lambda x: -0.5 * x**2)
    >>> init, step = hmc(density, scale=0.5, steps=3)
    >>> state, info = step(init(torch.zeros(4, 1)), torch.Generator().manual_seed(0))
    >>> bool((info.acceptance > 0.8).all())
    True
    """
    steps = check_count("steps", steps)
    if not 0 <= jitter < 1:
        raise ValueError(f"jitter should be at least 0 and below 1 but got {jitter}")
    return fixed(density, hmc_kernel(density, leapfrog(density), steps=steps, jitter=jitter), scale)


def hmc_kernel(density: Density, leap: Leap, *, steps: int, jitter: float) -> Kernel:
    """Return Hamiltonian Monte Carlo by given leapfrog steps, with its scale open."""

    def move(
        state: GradientState, scale: Tensor, generator: torch.Generator
    ) -> tuple[GradientState, HamiltonianInfo]:
        momentum = standard_normal(state.position, generator)
        uniform = standard_uniform(state.log_prob, generator)
        shake = torch.ones_like(state.log_prob)
        if jitter:
            shake += jitter * (2 * standard_uniform(state.log_prob, generator) - 1).to(shake.dtype)
        size = shake.unsqueeze(-1).to(momentum.dtype)  # a log-density may be of another dtype than positions
        proposal, end = trajectory(leap, state, momentum, scale, size, steps)
        return end_of_trajectory(state, momentum, proposal, end, uniform)

    return Kernel(with_gradient(density), move, 0.651, density.dim ** (-1 / 4))


def leapfrog(density: Density, *, wrap: Wrap = as_written) -> Leap:
    """Return the leapfrog step on a density; ``wrap`` may compile it."""
    evaluate, batch = with_gradient(density), density.batch_shape

    @wrap
    def leap(
        position: Tensor, momentum: Tensor, gradient: Tensor, scale: Tensor, size: Tensor
    ) -> tuple[Tensor, ...]:
        half = momentum + size * scaled(scale, gradient, batch, transposed=True) / 2
        position, log_prob, gradient = evaluate(position + size * scaled(scale, half, batch))
        momentum = half + size * scaled(scale, gradient, batch, transposed=True) / 2
        return position, momentum, log_prob, gradient

    return leap


def trajectory(
    leap: Leap, state: GradientState, momentum: Tensor, scale: Tensor, size: Tensor, steps: int
) -> tuple[GradientState, Tensor]:
    """Take leapfrog steps from a state; return where they end and with which momentum."""
    position, log_prob, gradient = state
    for _ in range(steps):
        position, momentum, log_prob, gradient = leap(position, momentum, gradient, scale, size)
    return GradientState(position, log_prob, gradient), momentum


def end_of_trajectory(
    state: GradientState, momentum: Tensor, proposal: GradientState, end: Tensor, uniform: Tensor
) -> tuple[GradientState, HamiltonianInfo]:
    """Accept the ends of trajectories by their energy."""
    energy = (momentum**2).sum(-1) / 2 - state.log_prob
    proposed = (end**2).sum(-1) / 2 - proposal.log_prob
    gain = proposed - energy
    acceptance, accepted, not_finite = judge(-gain, proposal.log_prob, uniform)
    not_finite = not_finite & proposal.position.isfinite().all(-1)  # else it diverged before
    divergent = ~(gain <= DIVERGENCE)
    energy = torch.where(accepted, proposed, energy)
    return choose(accepted, proposal, state), HamiltonianInfo(
        acceptance, accepted, not_finite, divergent, energy
    )
