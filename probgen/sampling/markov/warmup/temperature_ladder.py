"""Warm-up of parallel tempering: the scale of each level, and a ladder whose swaps are equally frequent."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.distributions import Distribution

from probgen.capture.recorded_function import Wrap, as_written
from probgen.core import Density
from probgen.sampling.markov.moves.barker import barker_kernel
from probgen.sampling.markov.moves.metropolis import Kernel, State, fixed, has_gradient
from probgen.sampling.markov.moves.random_walk import random_walk_kernel
from probgen.sampling.markov.moves.tempered import (
    Swap,
    at_powers,
    checked_ladder,
    on_levels,
    swapping,
    tempered,
)
from probgen.sampling.markov.starting_positions import require_finite
from probgen.sampling.markov.warmup.step_size_and_shape import WarmedUp, sized, tune

HOTTEST = 0.01
"""The last power of a ladder that is not given: barriers of a few hundred nats are a few nats high there."""
RUNAWAY = 1e8
"""How many times as wide as the target's chains those of a level may lie."""
ROUNDS = (0.08, 0.14, 0.25)
"""Shares of the warm-up after each of which the ladder is set anew; the rest is at the ladder found."""


def adapt_tempered(
    density: Density,
    position: Tensor,
    *,
    make_kernel: Callable[..., Kernel] | None = None,
    ladder: Tensor | Sequence[float] | None = None,
    reference: Distribution | None = None,
    steps: int = 1000,
    covariance: Literal["dense", "diagonal"] = "dense",
    target: float | None = None,
    generator: torch.Generator,
    wrap: Wrap = as_written,
    progress: bool = False,
) -> WarmedUp:
    r"""Tune parallel tempering on many chains: the scale at each level by :func:`tune`, and the ladder.

    The ladder keeps its length and its ends. Its inner levels are moved three times to where neighbours swap
    equally often: with r_k the share of refused swaps between levels k and k + 1, they divide the sum of r_k,
    taken as a function of log β that is linear between levels, into equal parts.

    Args:
        density: the target π.
        position: where the chains start, (chains, \*batch, dim).
        make_kernel: makes the kernel that moves the chains of a level, from a density and ``wrap``; Barker's
            where there are gradients, since it suffers scales that suit all modes together and none alone,
            and a random walk elsewhere, if not given.
        ladder: the first one, as for :func:`tempered`; of :func:`default_ladder`, if not given.
        reference: as for :func:`tempered`.
        steps: length of the warm-up, at least 250.
        covariance, target, generator, wrap, progress: as for :func:`tune`.

    Raises:
        ValueError: as :func:`tune`; for a short warm-up; for levels at which chains run away.

    See Syed et al. (2022), Non-reversible parallel tempering: a scalable highly parallel MCMC scheme,
    section 5.
    """
    if steps < 250:
        raise ValueError(f"warm-up of parallel tempering should have at least 250 steps but got {steps}")
    require_finite(density, State(position, density.unconstrained_log_prob(position)))
    make_kernel = make_kernel or _default_kernel(density, position)
    # One target for each power β of the ladder, the flatter the smaller β is.
    powers = checked_ladder(density, default_ladder(density.dim) if ladder is None else ladder)
    position = on_levels(density, position, len(powers))
    left = steps
    for share in (*ROUNDS, 1.0):
        last = share == 1.0
        family = at_powers(density, powers, reference)
        kernel = make_kernel(family, wrap=wrap if last else as_written)
        target = kernel.target if target is None else target
        swaps = _Swaps(kernel, powers, swapping(kernel.init, powers, density, reference))
        # In each round the steps are tuned on every level by itself, while neighbours swap.
        many = left if last else round(share * steps)
        try:
            shape, size, position = tune(
                family,
                kernel.init,
                swaps.move,
                position,
                target=target,
                size=kernel.scale,
                steps=many,
                covariance=covariance,
                generator=generator,
                progress=progress and last,
            )
        except ValueError:
            _refuse_runaways(powers, swaps.position)
            raise
        _refuse_runaways(powers, position)
        left -= many
        # Powers move so that all pairs of neighbours refuse equally often: no step of the ladder is the one
        # that holds up the passage.
        if not last:
            powers = equal_swaps(powers, swaps.refused(many // 2))
    scale = sized(shape, size, family.batch_shape)
    transition = tempered(density, lambda d: fixed(d, kernel, scale), ladder=powers, reference=reference)
    return WarmedUp(transition, position, target)


def default_ladder(dim: int) -> Tensor:
    r"""Return powers from 1 to 0.01 in geometric progression, of which a Gaussian target swaps about half.

    Between powers β and β' of a Gaussian in d dimensions the share of refused swaps is about
    √(d / 2π) |log β − log β'|.

    >>> len(default_ladder(1)), len(default_ladder(20))
    (5, 18)
    """
    levels = 1 + math.ceil(2 * math.sqrt(dim / (2 * math.pi)) * -math.log(HOTTEST))
    return torch.logspace(0, math.log10(HOTTEST), levels, dtype=torch.float64)


def equal_swaps(powers: Tensor, refused: Tensor) -> Tensor:
    r"""Return the ladder at which equally many swaps are refused at each level.

    Args:
        powers: the present ladder, (levels, \*batch).
        refused: the share of refused swaps of neighbours, (levels − 1, \*batch).

    >>> equal_swaps(torch.tensor([1.0, 0.1, 0.01]), torch.tensor([0.6, 0.2]))
    tensor([1.0000, 0.2154, 0.0100])
    """
    sums = torch.cat([torch.zeros_like(refused[:1]), refused.clamp(min=1e-3).cumsum(0)])
    shares = torch.linspace(0, 1, len(powers), dtype=sums.dtype, device=sums.device)[1:-1]
    sought = shares.reshape(-1, *[1] * (sums.dim() - 1)) * sums[-1]
    below = (sought.unsqueeze(1) >= sums).sum(1) - 1
    low, high, heights = sums.gather(0, below), sums.gather(0, below + 1), powers.log()
    start = heights.gather(0, below)
    inner = start + (sought - low) / (high - low) * (heights.gather(0, below + 1) - start)
    return torch.cat([powers[:1], inner.exp(), powers[-1:]])


def _default_kernel(density: Density, position: Tensor) -> Callable[..., Kernel]:
    return barker_kernel if has_gradient(density, position) else random_walk_kernel


class _Swaps:
    """The step of a warm-up: a move at each level, then swaps, whose acceptance is kept."""

    def __init__(self, kernel: Kernel, powers: Tensor, swap: Swap) -> None:
        self._kernel, self._batch, self._swap = kernel, powers.shape, swap
        self._accepted: list[Tensor] = []
        self.position = powers.new_zeros(1, *powers.shape, 1)

    def move(self, state: Any, shape: Tensor, size: Tensor, generator: torch.Generator) -> tuple[Any, Tensor]:
        state, info = self._kernel.move(state, sized(shape, size, self._batch), generator)
        state, _, acceptance, _ = self._swap(state, generator)
        self._accepted.append(acceptance.mean(0))
        self.position = state.position
        return state, info.acceptance.to(torch.float64).mean(0)

    def refused(self, last: int) -> Tensor:
        """Return the share of swaps that were refused in the last so many steps."""
        return 1 - torch.stack(self._accepted[-last:]).mean(0)


def _refuse_runaways(powers: Tensor, position: Tensor) -> None:
    """Raise where a level's chains are spread as no law with a finite integral is."""
    spread = (position.max(0).values - position.min(0).values).flatten(1)
    away = ~(spread[1:] <= RUNAWAY * spread[0]).all(1)
    if len(position) > 1 and away.any():
        level = 1 + int(away.nonzero()[0])
        raise ValueError(
            f"the density to the power of every level should have a finite integral but at level {level}, "
            f"{float(powers[level].flatten()[0]):.3g}, the chains run away, as they do where tails are those "
            f"of a power of x: give a ladder that ends above"
        )
