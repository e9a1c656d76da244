"""Warm-up in windows: the step size by dual averaging, the shape from all chains; fixed before the draws."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import pyro
import torch
from torch import Tensor
from tqdm import tqdm

from probgen.core import Density, Transition
from probgen.sampling.markov.moves.metropolis import Kernel, fixed
from probgen.sampling.markov.moves.random_walk import random_walk_kernel
from probgen.sampling.markov.starting_positions import require_finite
from probgen.sampling.markov.warmup.running_moments import Moments

logger = logging.getLogger("probgen")

WINDOWS = (0.0, 0.01, 0.03, 0.06, 0.1, 0.15, 0.3, 0.55, 1.0)
"""Shares of the warm-up at which a window of tuning ends."""
EARLY = 0.15
"""The share of the warm-up in which chains are still on their way."""
Move = Callable[[Any, Tensor, Tensor, torch.Generator], tuple[Any, Tensor]]
"""A step of the warm-up, of a state, a shape, a step size and a generator: the new state, and the acceptance
by which the step size is to be judged, pooled over the chains, in float64."""


class Tuned(NamedTuple):
    r"""What a warm-up found: shape (\*batch, dim) or (\*batch, dim, dim), step size (\*batch), positions."""

    shape: Tensor
    size: Tensor
    position: Tensor


class WarmedUp(NamedTuple):
    """A transition, fixed from now on, positions to start from, and the acceptance that it was tuned for."""

    transition: Transition
    position: Tensor
    acceptance: float | None


class DualAveraging:
    r"""The step size at which the acceptance is what it should be, found while the chains move.

    log s_t = log s₀ − (√t / γ) (t + t₀)⁻¹ Σ (target − acceptance), and the average of log s_t with weights
    t^(−κ); γ = 0.05, t₀ = 10, κ = 0.75. The acceptance is pooled over the chains; members of a batch are
    tuned each on its own.

    See Nesterov (2009); Hoffman and Gelman (2014), The No-U-Turn sampler, section 3.2.
    """

    def __init__(self, first: Tensor, target: float) -> None:
        self._log_first, self._target = first.log(), target
        self._t = 0
        self._sum = torch.zeros_like(first)
        self._average = torch.zeros_like(first)
        self.size = first

    def update(self, acceptance: Tensor) -> None:
        r"""Take in the acceptance of one step, pooled over the chains, (\*batch)."""
        self._t += 1
        t = self._t
        self._sum += self._target - acceptance
        log_size = self._log_first - math.sqrt(t) / 0.05 / (t + 10) * self._sum
        self._average += t**-0.75 * (log_size - self._average)
        self.size = log_size.exp()

    @property
    def average(self) -> Tensor:
        r"""The averaged step size, (\*batch)."""
        return self._average.exp()


@torch.no_grad()
def tune(
    density: Density,
    init: Callable[[Tensor], Any],
    move: Move,
    position: Tensor,
    *,
    target: float,
    size: float | Tensor,
    steps: int,
    covariance: Literal["dense", "diagonal", "none"] = "dense",
    generator: torch.Generator,
    progress: bool = False,
) -> Tuned:
    r"""Find the step size and the shape of proposals on many chains, once and for all.

    The warm-up has windows, short ones first. In each the step size follows dual averaging; at its end the
    shape is that of all chains' states in its second half (:class:`Moments`). In the first 15 %, when chains
    are on their way, the better half of them count for the shape. A chain that is left behind, its
    log-density below the median by more than 50 + 10 dim, as on a plateau far below the posterior, goes on
    from the place of one of the better half: after each of the first windows, and halfway in the last three.

    Args:
        density: the target.
        init: makes a state of positions.
        move: a step with a given shape and step size.
        position: where the chains start, shape (chains, \*batch, dim), on the unconstrained scale.
        target: the acceptance that is sought.
        size: a first guess of the step size where the target has unit scale; a tensor where there are several
            step sizes, for each of which the move returns an acceptance.
        steps: length of the warm-up, at least 20.
        covariance: form of the shape: a Cholesky factor, or one number per coordinate; "none" leaves it at 1.
        generator: source of randomness.
        progress: show a bar.

    Raises:
        ValueError: for a short warm-up, an acceptance outside (0, 1), a start whose log-density is not
            finite, or chains that do not move.
    """
    if steps < 20:
        raise ValueError(f"warm-up should have at least 20 steps but got {steps}")
    if covariance not in ("dense", "diagonal", "none"):
        raise ValueError(f"covariance should be 'dense' or 'diagonal' but got {covariance!r}")
    if not 0 < target < 1:
        raise ValueError(f"target acceptance should be between 0 and 1 but got {target}")
    batch, dim = density.batch_shape, density.dim
    state = init(position)
    require_finite(density, state)
    # At first every coordinate has scale 1, and a step the size that suits that.
    shape = torch.ones(*batch, dim, dtype=position.dtype, device=position.device)
    shape = torch.diag_embed(shape) if covariance == "dense" else shape
    correlated = 5.0 if "gradient" in state._fields else 5.0 * dim
    size = size if isinstance(size, Tensor) else torch.full(batch, size, dtype=torch.float64)
    first = size.to(position.device, torch.float64)
    start = 0
    with (
        tqdm(total=steps, disable=not progress, unit="step", desc="warm-up") as bar,
        pyro.validation_enabled(False),
    ):
        for share in WINDOWS:
            # In a window the shape is held, and the size follows the acceptance by dual averaging.
            end, early = round(share * steps), share <= EARLY
            moments = Moments(dense=covariance == "dense")
            sizes = DualAveraging(first, target)
            half = (start + end) // 2
            for t in range(start, end):
                # Chains that were left behind go on from the place of one of the better half, before moments
                # are taken.
                if t == half and not early:
                    state = catch_up(state, 50 + 10 * dim, generator)
                state, acceptance = move(state, shape, sizes.size, generator)
                sizes.update(acceptance)
                # Moments are of the second half: of the better chains while some are still on their way.
                if t >= half:
                    moments.add(better_half(state) if early else state)
            if end == 0:
                moments.add(better_half(state))
            bar.update(end - start)
            if early and end > 0:
                state = catch_up(state, 50 + 10 * dim, generator)
            # The next window steps in the shape that this one has seen.
            if covariance != "none" and end < steps and (end == 0 or end > start):
                found = moments.shape(correlated=correlated if end else 1.0)
                if found is None and not early:
                    raise ValueError("chains should move during warm-up but some stood still")
                shape = shape if found is None else found
            start = end
    return Tuned(shape, sizes.average, state.position)


def better_half(state: Any) -> Any:
    """Return the states of the half of the chains, rounded up, that have the greatest log-densities."""
    best = state.log_prob.topk((len(state.log_prob) + 1) // 2, dim=0).indices
    return _taken(state, best)


def catch_up(state: Any, gap: float, generator: torch.Generator) -> Any:
    """Put chains whose log-density is below the median by more than a gap where one of the better half is."""
    log_prob = state.log_prob
    behind = log_prob < log_prob.median(0).values - gap
    half = (len(log_prob) + 1) // 2
    ranks = torch.randint(half, log_prob.shape, device=log_prob.device, generator=generator)
    others = _taken(state, log_prob.argsort(0, descending=True).gather(0, ranks))
    return type(state)(
        *(torch.where(_fit(behind, own), new, own) for own, new in zip(state, others, strict=True))
    )


def _taken(state: Any, chains: Tensor) -> Any:
    r"""Return, for each member of the batch, the states of some chains, (n, \*batch)."""
    return type(state)(
        *(value.gather(0, _fit(chains, value).expand(len(chains), *value.shape[1:])) for value in state)
    )


def _fit(flags: Tensor, value: Tensor) -> Tensor:
    return flags.unsqueeze(-1) if value.dim() > flags.dim() else flags


def sized(shape: Tensor, size: Tensor, batch: torch.Size) -> Tensor:
    r"""Return a shape (\*batch, dim) or (\*batch, dim, dim) times a step size (\*batch)."""
    return shape * size.reshape(*batch, *[1] * (shape.dim() - len(batch))).to(shape.dtype)


def adapt(
    density: Density,
    kernel: Kernel,
    position: Tensor,
    *,
    steps: int = 1000,
    covariance: Literal["dense", "diagonal"] = "dense",
    target: float | None = None,
    generator: torch.Generator,
    progress: bool = False,
) -> WarmedUp:
    r"""Tune the scale of a kernel by :func:`tune`."""
    batch, target = density.batch_shape, kernel.target if target is None else target

    def move(state: Any, shape: Tensor, size: Tensor, generator: torch.Generator) -> tuple[Any, Tensor]:
        state, info = kernel.move(state, sized(shape, size, batch), generator)
        return state, info.acceptance.to(torch.float64).mean(0)

    shape, size, position = tune(
        density,
        kernel.init,
        move,
        position,
        target=target,
        size=kernel.scale,
        steps=steps,
        covariance=covariance,
        generator=generator,
        progress=progress,
    )
    return WarmedUp(fixed(density, kernel, sized(shape, size, batch)), position, target)


def adapt_size(
    density: Density,
    kernel: Kernel,
    position: Tensor,
    *,
    steps: int = 1000,
    largest: float = math.inf,
    target: float | None = None,
    generator: torch.Generator,
    progress: bool = False,
) -> WarmedUp:
    r"""Tune by :func:`tune` a kernel whose scale is one number, up to ``largest``, for each batch member."""
    target = kernel.target if target is None else target

    def scale(size: Tensor) -> Tensor:
        return size.clamp(max=largest).to(density.dtype)

    def move(state: Any, _: Tensor, size: Tensor, generator: torch.Generator) -> tuple[Any, Tensor]:
        state, info = kernel.move(state, scale(size), generator)
        return state, info.acceptance.to(torch.float64).mean(0)

    _, size, position = tune(
        density,
        kernel.init,
        move,
        position,
        target=target,
        size=kernel.scale,
        steps=steps,
        covariance="none",
        generator=generator,
        progress=progress,
    )
    found = scale(size)
    transition = Transition(kernel.init, lambda state, generator: kernel.move(state, found, generator))
    return WarmedUp(transition, position, target)


def adapt_random_walk(
    density: Density,
    position: Tensor,
    *,
    steps: int = 1000,
    covariance: Literal["dense", "diagonal"] = "dense",
    generator: torch.Generator,
) -> tuple[Transition, Tensor]:
    r"""Tune a random walk by :func:`tune`; return the transition, then fixed, and positions."""
    kernel = random_walk_kernel(density)
    found = adapt(density, kernel, position, steps=steps, covariance=covariance, generator=generator)
    return found.transition, found.position
