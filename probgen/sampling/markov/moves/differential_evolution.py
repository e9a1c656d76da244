"""Differential evolution: steps along the difference of two other chains."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from probgen.capture.recorded_function import Wrap, as_written
from probgen.core import Density, Transition
from probgen.sampling.markov.moves.ensemble import chosen, ensemble_kernel, taken
from probgen.sampling.markov.moves.metropolis import Kernel
from probgen.sampling.markov.moves.random_walk import target_acceptance

JUMPS = 0.1
"""The share of the steps that go by a whole difference, from one mode to another."""
SPREAD = 0.1
"""How much longer or shorter a step may be: at one length only, few places could be reached."""


def differential_evolution(density: Density, *, scale: float | Tensor | None = None) -> Transition:
    r"""Return the step of an ensemble y = x + γ u (x_i − x_j), accepted with min(1, π(y) / π(x)).

    x_i and x_j are two of the other half of the chains, u is uniform on [0.9, 1.1]. One step in ten
    has γ = 1, so that chains in two modes show the others the way from one to the other. All chains of the
    run are one ensemble, one for each member of the density's batch, and are not independent of each other:
    see :func:`stretch`.

    Args:
        density: the target π.
        scale: γ, a number or one for each member of the batch; 2.38 / √(2 dim), which is best for a Gaussian
            target, where not given.

    Raises:
        ValueError: for a scale that is not positive and finite, or has another shape; when run with fewer
            than 2 (dim + 1) chains, or from chains that lie on a line or a plane.

    See ter Braak (2006), A Markov chain Monte Carlo version of the genetic algorithm Differential Evolution;
    ter Braak and Vrugt (2008), for γ = 1.

    >>> density = Density(lambda x: -0.5 * x**2)
    >>> init, step = differential_evolution(density)
    >>> state, info = step(init(torch.arange(6.0).unsqueeze(-1)), torch.Generator().manual_seed(0))
    >>> state.position.shape, info.acceptance.shape
    (torch.Size([6, 1]), torch.Size([6]))
    """
    kernel = differential_evolution_kernel(density)
    factor = torch.as_tensor(
        kernel.scale if scale is None else scale, dtype=density.dtype, device=density.device
    )
    if factor.shape not in ((), density.batch_shape):
        raise ValueError(
            f"scale should be a number or have shape {tuple(density.batch_shape)} "
            f"but has {tuple(factor.shape)}"
        )
    wrong = ~((factor > 0) & factor.isfinite())
    if wrong.any():
        raise ValueError(f"scale should be positive and finite but got {float(factor[wrong].flatten()[0])}")
    return Transition(kernel.init, lambda state, generator: kernel.move(state, factor, generator))


def differential_evolution_kernel(density: Density, *, wrap: Wrap = as_written) -> Kernel:
    """Return differential evolution with γ, its scale, open; ``wrap`` may compile the move."""

    def propose(position: Tensor, others: Tensor, scale: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        many = len(others)
        first = chosen(noise[0], many)
        second = (first + 1 + chosen(noise[1], many - 1)) % many
        length = torch.where(noise[2] < JUMPS, 1.0, scale) * (1 + SPREAD * (2 * noise[3] - 1))
        step = length.to(position.dtype).unsqueeze(-1) * (taken(others, first) - taken(others, second))
        return position + step, torch.zeros_like(step[..., 0])

    target, scale = target_acceptance(density.dim), 2.38 / math.sqrt(2 * density.dim)
    return ensemble_kernel(density, propose, numbers=4, target=target, scale=scale, wrap=wrap)
