"""The Metropolis-adjusted Langevin algorithm: a step up the gradient, and noise."""

from __future__ import annotations

import torch
from torch import Tensor

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


def mala(density: Density, *, scale: float | Tensor) -> Transition:
    r"""Return the Langevin transition y = x + ½ S Sᵀ ∇ log π(x) + S ε, corrected by the Hastings ratio.

    With a number for S this is MALA, with a diagonal or a Cholesky factor its preconditioned form. In terms
    of the noise, q(x → y) ∝ exp(−½|ε|²) and q(y → x) ∝ exp(−½|ε + ½ Sᵀ(∇ log π(x) + ∇ log π(y))|²).

    Args:
        density: the target π, with gradients.
        scale: S, as for :func:`random_walk`.

    Raises:
        ValueError: for a scale that is not positive and finite, or has another shape.

    See Roberts and Tweedie (1996), Exponential convergence of Langevin distributions and their discrete
    approximations; Roberts and Rosenthal (1998), for the acceptance 0.574.

    >>> density = Density(lambda x: -0.5 * x**2)
    >>> init, step = mala(density, scale=1.2)
    >>> state, info = step(init(torch.zeros(4, 1)), torch.Generator().manual_seed(0))
    >>> state.gradient.equal(-state.position)
    True
    """
    return fixed(density, mala_kernel(density), scale)


def mala_kernel(density: Density, *, wrap: Wrap = as_written) -> Kernel:
    """Return MALA with its scale open; ``wrap`` may compile the move."""
    evaluate, batch = with_gradient(density), density.batch_shape

    @wrap
    def propose_and_judge(
        position: Tensor, log_prob: Tensor, gradient: Tensor, scale: Tensor, noise: Tensor, uniform: Tensor
    ) -> tuple[Tensor, ...]:
        pull = scaled(scale, gradient, batch, transposed=True)
        proposal = evaluate(position + scaled(scale, noise + pull / 2, batch))
        back = noise + (pull + scaled(scale, proposal.gradient, batch, transposed=True)) / 2
        log_ratio = proposal.log_prob - log_prob + ((noise**2).sum(-1) - (back**2).sum(-1)) / 2
        info = judge(log_ratio, proposal.log_prob, uniform)
        return (*choose(info.accepted, proposal, GradientState(position, log_prob, gradient)), *info)

    def move(state: GradientState, scale: Tensor, generator: torch.Generator) -> tuple[GradientState, Info]:
        noise = standard_normal(state.position, generator)
        uniform = standard_uniform(state.log_prob, generator)
        position, log_prob, gradient, *info = propose_and_judge(*state, scale, noise, uniform)
        return GradientState(position, log_prob, gradient), Info(*info)

    return Kernel(evaluate, move, 0.574, 1.6 * density.dim ** (-1 / 6))
