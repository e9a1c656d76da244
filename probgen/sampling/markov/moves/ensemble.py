"""Ensembles: chains that move by where the others are."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from probgen.capture.recorded_function import Wrap, as_written
from probgen.core import Density
from probgen.sampling.markov.dependence import require_full_rank
from probgen.sampling.markov.moves.metropolis import Info, Kernel, State, choose, judge

Propose = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""From positions (n, \\*batch, dim), the others (m, \\*batch, dim), a scale and uniform numbers
(numbers, n, \\*batch): positions proposed, and log q(y → x) / q(x → y) with what the change of volume adds,
(n, \\*batch)."""


def ensemble_kernel(
    density: Density,
    propose: Propose,
    *,
    numbers: int,
    target: float,
    scale: float,
    wrap: Wrap = as_written,
) -> Kernel:
    r"""Return the kernel that moves one half of the chains by the other half, then the other by the first.

    The halves are drawn anew at each step, for each member of the batch, so that a step is reversible for
    the joint law of the ensemble, Π π(x_i). A proposal takes ``numbers`` uniform numbers.
    """

    def init(position: Tensor) -> State:
        if position.dim() != len(density.batch_shape) + 2:
            raise ValueError(
                f"an ensemble should have positions of shape (chains, *batch, dim) but has "
                f"{tuple(position.shape)}"
            )
        if len(position) < 2 * (density.dim + 1):
            raise ValueError(
                f"an ensemble should have at least 2 (dim + 1) = {2 * (density.dim + 1)} chains "
                f"but has {len(position)}"
            )
        require_full_rank(density, position)
        return State(position, density.unconstrained_log_prob(position))

    def moved(
        position: Tensor, log_prob: Tensor, others: Tensor, scale: Tensor, noise: Tensor
    ) -> tuple[Tensor, ...]:
        # Where a proposal stretches space, or is not symmetric, log_factor makes up for it.
        proposal, log_factor = propose(position, others, scale, noise[1:])
        proposed = density.unconstrained_log_prob(proposal)
        info = judge(proposed - log_prob + log_factor, proposed, noise[0])
        return (*choose(info.accepted, State(proposal, proposed), State(position, log_prob)), *info)

    @wrap
    def both_halves(position: Tensor, log_prob: Tensor, scale: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        # Two halves at random: each moves by the other as it stands, the second by the first as moved.
        order, noise = noise[0].argsort(0), noise[1:]
        half = len(order) // 2
        position, log_prob = taken(position, order), log_prob.gather(0, order)
        first = moved(position[:half], log_prob[:half], position[half:], scale, noise[:, :half])
        second = moved(position[half:], log_prob[half:], first[0], scale, noise[:, half:])
        return tuple(_put_back(torch.cat(halves), order) for halves in zip(first, second, strict=True))

    def move(state: State, scale: Tensor, generator: torch.Generator) -> tuple[State, Info]:
        shape, device = (numbers + 2, *state.log_prob.shape), state.log_prob.device
        noise = torch.rand(shape, dtype=torch.float64, device=device, generator=generator)
        position, log_prob, *info = both_halves(*state, scale, noise)
        return State(position, log_prob), Info(*info)

    return Kernel(init, move, target, scale)


def taken(position: Tensor, chains: Tensor) -> Tensor:
    r"""Return, for each member of the batch, the positions of some chains, (n, \*batch)."""
    return position.gather(0, chains.unsqueeze(-1).expand(*chains.shape, position.shape[-1]))


def chosen(uniform: Tensor, many: int) -> Tensor:
    """Return uniform numbers as choices 0 ... many − 1."""
    return (uniform * many).to(torch.int64)


def _put_back(values: Tensor, order: Tensor) -> Tensor:
    index = order if values.dim() == order.dim() else order.unsqueeze(-1).expand(values.shape)
    return values.scatter(0, index, values)
