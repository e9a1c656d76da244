"""Ensembles: chains that move by where the others are."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from probgen.core import Density
from probgen.sampling.graphs import Wrap, as_written
from probgen.sampling.metropolis import Info, Kernel, State, choose, judge

Propose = Callable[[Tensor, Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]
"""From positions (n, \\*batch, dim), the others (m, \\*batch, dim), a scale and a generator: positions
proposed, and log q(y → x) / q(x → y) with what the change of volume adds, (n, \\*batch)."""


def ensemble_kernel(
    density: Density, propose: Propose, *, target: float, scale: float, wrap: Wrap = as_written
) -> Kernel:
    r"""Return the kernel that moves one half of the chains by the other half, then the other by the first.

    The halves are drawn anew at each step, for each member of the batch, so that a step is reversible for
    the joint law of the ensemble, Π π(x_i).
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
        return State(position, density.unconstrained_log_prob(position))

    @wrap
    def accept(
        position: Tensor, log_prob: Tensor, proposal: Tensor, log_factor: Tensor, uniform: Tensor
    ) -> tuple[Tensor, ...]:
        proposed = density.unconstrained_log_prob(proposal)
        info = judge(proposed - log_prob + log_factor, proposed, uniform)
        return (*choose(info.accepted, State(proposal, proposed), State(position, log_prob)), *info)

    def move(state: State, scale: Tensor, generator: torch.Generator) -> tuple[State, Info]:
        shape, device = state.log_prob.shape, state.log_prob.device
        order = torch.rand(shape, device=device, generator=generator).argsort(0)
        uniform = torch.rand(shape, dtype=torch.float64, device=device, generator=generator)
        half = len(order) // 2
        position, log_prob = taken(state.position, order), state.log_prob.gather(0, order)
        first, second = slice(None, half), slice(half, None)
        moved: list[tuple[Tensor, ...]] = []
        for own, others in ((first, position[second]), (second, position[first])):
            others = moved[0][0] if moved else others
            proposal, log_factor = propose(position[own], others, scale, generator)
            moved.append(accept(position[own], log_prob[own], proposal, log_factor, uniform[own]))
        back = order.argsort(0)
        position, log_prob, *info = (torch.cat(halves) for halves in zip(*moved, strict=True))
        return State(taken(position, back), log_prob.gather(0, back)), Info(
            *(x.gather(0, back) for x in info)
        )

    return Kernel(init, move, target, scale)


def taken(position: Tensor, chains: Tensor) -> Tensor:
    r"""Return, for each member of the batch, the positions of some chains, (n, \*batch)."""
    return position.gather(0, chains.unsqueeze(-1).expand(*chains.shape, position.shape[-1]))


def partner(like: Tensor, others: Tensor, generator: torch.Generator) -> Tensor:
    r"""Draw one of the others for each position, (n, \*batch)."""
    return torch.randint(len(others), like.shape[:-1], device=like.device, generator=generator)
