"""Metropolis a coordinate, or a site, at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from probgen.capture.recorded_function import Wrap, as_written
from probgen.core import Density, Transition
from probgen.sampling.markov.moves.integer_steps import integer_steps, walked_round
from probgen.sampling.markov.moves.metropolis import (
    Info,
    Kernel,
    State,
    choose,
    fixed,
    judge,
    standard_normal,
)

By = Literal["coordinate", "site"]
Scan = Literal["random", "systematic"]


def component_wise(
    density: Density, *, scale: float | Tensor, by: By = "coordinate", scan: Scan = "random"
) -> Transition:
    r"""Return a sweep of Metropolis steps, each of which moves one coordinate and leaves the others.

    A continuous coordinate is proposed x + s ε, ε standard normal. A whole number k is proposed
    k ± (1 + ⌊s U⌋), U uniform on [0, 1); in a support of K values this goes round, and a share min(1, 20 / K)
    of the proposals is uniform on all K values, since few values are often labels in no order.
    Every coordinate is moved once in a sweep, which so calls the log-density as often as there are
    coordinates.

    Args:
        density: the target, continuous, discrete, or both in different sites.
        scale: s, a number or one per coordinate, (dim,) or (\*batch, dim), on the unconstrained scale.
        by: ``"site"`` moves all coordinates of a site at once.
        scan: ``"random"``, in an order drawn anew for each chain and sweep, which makes the sweep reversible;
            ``"systematic"``, in the order of the sites.

    Raises:
        ValueError: for a scale that is not positive and finite, or has another shape; an unknown ``by`` or
            ``scan``.

    See Metropolis et al. (1953); Gelman, Roberts and Gilks (1996), Efficient Metropolis jumping rules, for
    the acceptance 0.44.

    >>> density = Density(lambda x: -0.5 * x**2)
    >>> init, step = component_wise(density, scale=2.4)
    >>> state, info = step(init(torch.zeros(4, 1)), torch.Generator().manual_seed(0))
    >>> state.position.shape, info.acceptance.shape
    (torch.Size([4, 1]), torch.Size([4]))
    """
    kernel = component_wise_kernel(density, by=by, scan=scan)
    dims = len(density.batch_shape) + 2
    if isinstance(scale, Tensor) and scale.dim() == dims:
        raise ValueError(f"scale should be a number or one per coordinate but has shape {tuple(scale.shape)}")
    return fixed(density, kernel, scale)


def component_wise_kernel(
    density: Density, *, by: By = "coordinate", scan: Scan = "random", wrap: Wrap = as_written
) -> Kernel:
    """Return the sweep with its scale open; ``wrap`` may compile its steps."""
    sweep = sweeper(density, blocks_of(density, by), scan, wrap)

    def init(position: Tensor) -> State:
        if density.cells is not None:  # in the middle of the cells, where no rounding takes them elsewhere
            middle = density.unconstrain(density.constrain(position))
            position = torch.where(density.cells[0].isnan(), position, middle)
        return State(position, density.unconstrained_log_prob(position))

    def move(state: State, scale: Tensor, generator: torch.Generator) -> tuple[State, Info]:
        state, swept = sweep(state, scale, generator)
        return state, Info(swept.acceptance.mean(-1), swept.accepted.any(-1), swept.not_finite.any(-1))

    return Kernel(init, move, usual_acceptance(density, by), 2.4)


class Swept(NamedTuple):
    r"""What became of each block's proposal, (\*chains, \*batch, blocks), and the order of the blocks."""

    acceptance: Tensor
    accepted: Tensor
    not_finite: Tensor
    order: Tensor


Sweep = Callable[[State, Tensor, torch.Generator], tuple[State, Swept]]


def sweeper(density: Density, blocks: Tensor, scan: Scan, wrap: Wrap) -> Sweep:
    """Return the function that moves blocks of coordinates, (blocks, dim) of 0 and 1, one after the other."""
    if scan not in ("random", "systematic"):
        raise ValueError(f"scan should be 'random' or 'systematic' but got {scan!r}")
    cells, many = density.cells, len(blocks)

    @wrap
    def propose_and_judge(
        position: Tensor, log_prob: Tensor, increment: Tensor, block: Tensor, uniform: Tensor
    ) -> tuple[Tensor, ...]:
        proposal = position + block * increment
        if cells is not None:
            proposal = walked_round(proposal, cells)
        proposed = density.unconstrained_log_prob(proposal)
        info = judge(proposed - log_prob, proposed, uniform)
        return (*choose(info.accepted, State(proposal, proposed), State(position, log_prob)), *info)

    def sweep(state: State, scale: Tensor, generator: torch.Generator) -> tuple[State, Swept]:
        # One increment for each coordinate: normal on the line, a whole number of cells on integers.
        increment = scale * standard_normal(state.position, generator)
        if cells is not None:
            whole = integer_steps(state.position, scale, cells, generator)
            increment = torch.where(cells[0].isnan(), increment, whole)
        shape, device = (*state.log_prob.shape, many), state.position.device
        uniform = torch.rand(shape, dtype=torch.float64, device=device, generator=generator)
        # Blocks in turn, or in an order drawn anew for each chain, which makes the sweep reversible.
        order = torch.arange(many, device=device)
        if scan == "random":
            order = torch.rand(shape, device=device, generator=generator).argsort(-1)
        infos = []
        # Each block is judged by itself, from where the one before has left the chain.
        for i in range(many):
            position, log_prob, *info = propose_and_judge(
                *state, increment, blocks[order[..., i]], uniform[..., i]
            )
            state = State(position, log_prob)
            infos.append(info)
        acceptance, accepted, not_finite = (torch.stack(values, -1) for values in zip(*infos, strict=True))
        return state, Swept(acceptance, accepted, not_finite, order)

    return sweep


def blocks_of(density: Density, by: By) -> Tensor:
    """Return which coordinates move together, (blocks, dim) of 0 and 1."""
    if by not in ("coordinate", "site"):
        raise ValueError(f"by should be 'coordinate' or 'site' but got {by!r}")
    one = torch.eye(density.dim, dtype=density.dtype, device=density.device)
    if by == "coordinate":
        return one
    return torch.stack([rows.sum(0) for rows in one.split(list(density.dims.values()))])


def usual_acceptance(density: Density, by: By) -> float:
    """Return the acceptance that is best for blocks of one coordinate, or of many."""
    return 0.44 if by == "coordinate" or max(density.dims.values()) == 1 else 0.234
