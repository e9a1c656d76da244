"""Random-walk Metropolis: a symmetric Gaussian proposal around the present position."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from probgen.capture.recorded_function import Wrap, as_written
from probgen.core import Density, Transition
from probgen.sampling.markov.moves.metropolis import (
    Info,
    Kernel,
    State,
    choose,
    fixed,
    judge,
    scaled,
    standard_normal,
    standard_uniform,
)


def random_walk(density: Density, *, scale: float | Tensor) -> Transition:
    r"""Return the random-walk Metropolis transition: y = x + S ε, accepted with min(1, π(y) / π(x)).

    Each chain, and each member of the density's batch, is accepted on its own.

    Args:
        density: the target π.
        scale: the factor S of the step's covariance S Sᵀ on the unconstrained scale: a number; one standard
            deviation per coordinate, shape (dim,) or (\*batch, dim); or a lower Cholesky factor,
            (\*batch, dim, dim).

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
    return fixed(density, random_walk_kernel(density), scale)


def random_walk_kernel(density: Density, *, wrap: Wrap = as_written) -> Kernel:
    """Return random-walk Metropolis with its scale open; ``wrap`` may compile the move."""
    step = walk(density, wrap=wrap)

    def init(position: Tensor) -> State:
        return State(position, density.unconstrained_log_prob(position))

    def move(state: State, scale: Tensor, generator: torch.Generator) -> tuple[State, Info]:
        return step(state, scale, standard_normal(state.position, generator), generator)

    return Kernel(init, move, target_acceptance(density.dim), 2.38 / math.sqrt(density.dim))


def walk(density: Density, *, wrap: Wrap = as_written) -> Callable[..., tuple[State, Info]]:
    """Return the step of a random walk, of a state, a scale, the noise and a generator for the rest."""

    @wrap
    def propose_and_judge(
        position: Tensor, log_prob: Tensor, scale: Tensor, noise: Tensor, uniform: Tensor
    ) -> tuple[Tensor, ...]:
        proposal = position + scaled(scale, noise, density.batch_shape)
        proposed = density.unconstrained_log_prob(proposal)
        info = judge(proposed - log_prob, proposed, uniform)
        return (*choose(info.accepted, State(proposal, proposed), State(position, log_prob)), *info)

    def step(state: State, scale: Tensor, noise: Tensor, generator: torch.Generator) -> tuple[State, Info]:
        uniform = standard_uniform(state.log_prob, generator)
        position, log_prob, *info = propose_and_judge(*state, scale, noise, uniform)
        return State(position, log_prob), Info(*info)

    return step


def target_acceptance(dim: int) -> float:
    """Return the best acceptance of a random walk (Roberts, Gelman and Gilks, 1997)."""
    return 0.44 if dim == 1 else 0.234
