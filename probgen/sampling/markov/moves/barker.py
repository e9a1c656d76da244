"""Barker's proposal: noise whose signs follow the gradient."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from probgen.capture.recorded_function import Wrap, as_written
from probgen.core import Density, Transition
from probgen.sampling.markov.moves.metropolis import (
    GradientState,
    Info,
    Kernel,
    choose,
    fixed,
    judge,
    scaled,
    standard_normal,
    standard_uniform,
    with_gradient,
)


def barker(density: Density, *, scale: float | Tensor) -> Transition:
    r"""Return the Barker transition: y = x + S z, where each z_i is ±|ε_i| by the gradient's pull.

    With g(x) = Sᵀ∇ log π(x), the sign is plus with probability 1 / (1 + exp(−|ε_i| g_i(x))), so that
    q(y → x) / q(x → y) = Π_i (1 + exp(−z_i g_i(x))) / (1 + exp(z_i g_i(y))). A step too large for the target
    costs it far less than it costs MALA.

    Args:
        density: the target π, with gradients.
        scale: S, as for :func:`random_walk`.

    Raises:
        ValueError: for a scale that is not positive and finite, or has another shape.

    See Livingstone and Zanella (2022), The Barker proposal: combining robustness and efficiency in
    gradient-based MCMC; Vogrinc, Livingstone and Zanella (2023), for the acceptance 0.4.

    >>> density = Density(lambda x: -0.5 * x**2)
    >>> init, step = barker(density, scale=2.0)
    >>> state, info = step(init(torch.zeros(4, 1)), torch.Generator().manual_seed(0))
    >>> state.gradient.equal(-state.position)
    True
    """
    return fixed(density, barker_kernel(density), scale)


def barker_kernel(density: Density, *, wrap: Wrap = as_written) -> Kernel:
    """Return the Barker transition with its scale open; ``wrap`` may compile the move."""
    evaluate, batch = with_gradient(density), density.batch_shape

    @wrap
    def propose_and_judge(
        position: Tensor,
        log_prob: Tensor,
        gradient: Tensor,
        scale: Tensor,
        noise: Tensor,
        signs: Tensor,
        uniform: Tensor,
    ) -> tuple[Tensor, ...]:
        # A symmetric step z keeps its sign with probability σ(z ∂ log π): more often uphill, by coordinate.
        pull = scaled(scale, gradient, batch, transposed=True)
        z = torch.where(signs < torch.sigmoid(noise * pull), noise, -noise)
        proposal = evaluate(position + scaled(scale, z, batch))
        # log q(x | y) − log q(y | x): the step back is −z, and has the sign of its own with σ(−z ∂ log π(y)).
        pull_back = scaled(scale, proposal.gradient, batch, transposed=True)
        correction = (softplus(-z * pull) - softplus(z * pull_back)).sum(-1)
        info = judge(proposal.log_prob - log_prob + correction, proposal.log_prob, uniform)
        return (*choose(info.accepted, proposal, GradientState(position, log_prob, gradient)), *info)

    def move(state: GradientState, scale: Tensor, generator: torch.Generator) -> tuple[GradientState, Info]:
        noise = standard_normal(state.position, generator)
        signs = standard_uniform(state.position, generator)
        uniform = standard_uniform(state.log_prob, generator)
        position, log_prob, gradient, *info = propose_and_judge(*state, scale, noise, signs, uniform)
        return GradientState(position, log_prob, gradient), Info(*info)

    return Kernel(evaluate, move, 0.4, 2.0 * density.dim ** (-1 / 6))
