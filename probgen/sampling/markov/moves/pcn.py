"""Preconditioned Crank–Nicolson: a walk that leaves a Gaussian prior as it is."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
)

from probgen.capture.recorded_function import Wrap, as_written
from probgen.core import Transition, count_evaluations, drawing_from
from probgen.sampling.markov.moves.cache_pieces import ByChain
from probgen.sampling.markov.moves.metropolis import Info, Kernel, State, choose, judge, standard_uniform


def pcn(
    prior: Distribution, log_likelihood: Callable[[Tensor], Tensor], *, scale: float | Tensor
) -> Transition:
    r"""Return the transition y = m + √(1 − β²) (x − m) + β ξ, accepted with min(1, L(y) / L(x)).

    The prior is N(m, C) and ξ ~ N(0, C), so that the proposal is reversible for the prior and the likelihood
    L alone decides. Where x is a function on a grid and L depends on the function, the acceptance does not
    fall as the grid is refined, as that of a random walk does.

    The state's ``log_prob`` is log L: the log-density of the posterior with respect to the prior.

    Args:
        prior: a Gaussian law of vectors: event shape (dim,), batch shape \*batch.
        log_likelihood: log L up to a constant, from (\*chains, \*batch, dim) to (\*chains, \*batch).
        scale: β, above 0 and at most 1, a number or one for each member of the batch; with 1, draws of the
            prior are proposed.

    Raises:
        TypeError: for a prior that is not known to be Gaussian.
        ValueError: for a prior that is not of vectors, or a scale outside (0, 1].

    See Neal (1998), Regression and classification using Gaussian process priors; Cotter, Roberts, Stuart and
    White (2013), MCMC methods for functions.

    >>> from torch.distributions import MultivariateNormal
    >>> prior = MultivariateNormal(torch.zeros(3), torch.eye(3))
    >>> init, step = pcn(prior, lambda x: -0.5 * ((x[..., 0] - 1) / 0.5) ** 2, scale=0.5)
    >>> state, info = step(init(torch.zeros(4, 3)), torch.Generator().manual_seed(0))
    >>> state.position.shape, info.acceptance.shape
    (torch.Size([4, 3]), torch.Size([4]))
    """
    scale = torch.as_tensor(scale, dtype=prior.mean.dtype, device=prior.mean.device)
    if scale.shape not in ((), prior.batch_shape):
        raise ValueError(
            f"scale should be a number or have shape {tuple(prior.batch_shape)} but has {tuple(scale.shape)}"
        )
    wrong = ~((scale > 0) & (scale <= 1))
    if wrong.any():
        raise ValueError(f"scale should be above 0 and at most 1 but got {float(scale[wrong].flatten()[0])}")
    kernel = pcn_kernel(prior, log_likelihood)
    return Transition(kernel.init, ByChain(lambda state, generator: kernel.move(state, scale, generator)))


def pcn_kernel(
    prior: Distribution, log_likelihood: Callable[[Tensor], Tensor], *, wrap: Wrap = as_written
) -> Kernel:
    """Return preconditioned Crank–Nicolson with its scale open; ``wrap`` may compile the move."""
    if not _is_gaussian(prior):
        raise TypeError(f"prior should be a Gaussian law but is {type(prior).__name__}")
    if len(prior.event_shape) != 1:
        raise ValueError(f"prior should be a law of vectors but has event shape {tuple(prior.event_shape)}")
    mean = prior.mean

    def init(position: Tensor) -> State:
        log_prob = log_likelihood(position)
        count_evaluations(log_prob.numel())
        if log_prob.shape != position.shape[:-1]:
            raise ValueError(
                f"log_likelihood should return shape {tuple(position.shape[:-1])} "
                f"but returned {tuple(log_prob.shape)}"
            )
        return State(position, log_prob)

    @wrap
    def propose_and_judge(
        position: Tensor, log_prob: Tensor, scale: Tensor, noise: Tensor, uniform: Tensor
    ) -> tuple[Tensor, ...]:
        # √(1 − s²)(x − m) + s (ξ − m) leaves the prior N(m, C) as it is, so that only the likelihood is
        # judged.
        proposal = init(mean + (1 - scale**2).sqrt() * (position - mean) + scale * (noise - mean))
        info = judge(proposal.log_prob - log_prob, proposal.log_prob, uniform)
        return (*choose(info.accepted, proposal, State(position, log_prob)), *info)

    def move(state: State, scale: Tensor, generator: torch.Generator) -> tuple[State, Info]:
        chains = state.log_prob.shape[: state.log_prob.dim() - len(prior.batch_shape)]
        with drawing_from(generator):
            noise = prior.sample(chains)
        uniform = standard_uniform(state.log_prob, generator)
        position, log_prob, *info = propose_and_judge(*state, scale.unsqueeze(-1), noise, uniform)
        return State(position, log_prob), Info(*info)

    return Kernel(init, move, 0.3, 0.5)


def _is_gaussian(law: Distribution) -> bool:
    if isinstance(law, Independent):
        return _is_gaussian(law.base_dist)
    return isinstance(law, Normal | MultivariateNormal | LowRankMultivariateNormal)
