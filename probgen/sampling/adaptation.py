"""Warm-up: tuning is found before the draws begin, and never changes after."""

from __future__ import annotations

import math
from typing import Literal

import pyro
import torch
from torch import Tensor

from probgen.core import Density, Transition
from probgen.sampling.metropolis import Kernel, fixed
from probgen.sampling.moments import Moments
from probgen.sampling.positions import require_finite
from probgen.sampling.random_walk import random_walk_kernel

WINDOWS = (0.1, 0.25, 0.5, 0.75, 1.0)
"""Shares of the warm-up at which a window of tuning ends."""


class DualAveraging:
    r"""The step size at which the acceptance is what it should be, found while the chains move.

    log s_t = μ − (√t / γ) (t + t₀)⁻¹ Σ (target − acceptance), and the average of log s_t with weights t^(−κ);
    μ = log(10 s₀), γ = 0.05, t₀ = 10, κ = 0.75. The acceptance is pooled over the chains; members of a batch
    are tuned each on its own.

    See Nesterov (2009); Hoffman and Gelman (2014), The No-U-Turn sampler, section 3.2.
    """

    def __init__(self, first: Tensor, target: float) -> None:
        self._log_first, self._target = first.to(torch.float64).log(), target
        self._t = 0
        self._sum = torch.zeros_like(self._log_first)
        self._average = torch.zeros_like(self._log_first)
        self.size = first.to(torch.float64)

    def update(self, acceptance: Tensor) -> None:
        r"""Take in the acceptance of one step, pooled over the chains, (\*batch)."""
        self._t += 1
        t = self._t
        self._sum += self._target - acceptance
        log_size = self._log_first + math.log(10) - math.sqrt(t) / 0.05 / (t + 10) * self._sum
        self._average += t**-0.75 * (log_size - self._average)
        self.size = log_size.exp()

    @property
    def average(self) -> Tensor:
        r"""The averaged step size, (\*batch)."""
        return self._average.exp()


@torch.no_grad()
def tune(
    density: Density,
    kernel: Kernel,
    position: Tensor,
    *,
    steps: int = 1000,
    covariance: Literal["dense", "diagonal"] = "dense",
    target: float | None = None,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    r"""Tune the scale of a kernel on many chains; return the scale, found once and for all, and positions.

    The warm-up has windows that end at 10, 25, 50, 75 and 100 %. At the end of each but the last, the scale
    takes the shape of all chains' draws in it. Within a window the step size follows dual averaging.

    Args:
        density: the target.
        kernel: the transition whose scale is open.
        position: where the chains start, shape (chains, \*batch, dim), on the unconstrained scale.
        steps: length of the warm-up, at least 20.
        covariance: shape of the scale: a Cholesky factor, or one number per coordinate.
        target: the acceptance; the kernel's own where not given.
        generator: source of randomness.

    Raises:
        ValueError: for a short warm-up, an acceptance outside (0, 1), a start whose log-density is not
            finite, or chains that do not move.
    """
    if steps < 20:
        raise ValueError(f"warm-up should have at least 20 steps but got {steps}")
    if covariance not in ("dense", "diagonal"):
        raise ValueError(f"covariance should be 'dense' or 'diagonal' but got {covariance!r}")
    target = kernel.target if target is None else target
    if not 0 < target < 1:
        raise ValueError(f"target acceptance should be between 0 and 1 but got {target}")
    batch, dim = density.batch_shape, density.dim
    state = kernel.init(position)
    require_finite(density, state.position, state.log_prob)
    shape = torch.ones(*batch, dim, dtype=position.dtype, device=position.device)
    start = 0
    with pyro.validation_enabled(False):
        for end in (round(share * steps) for share in WINDOWS):
            first = torch.full(batch, kernel.scale, dtype=torch.float64, device=shape.device)
            sizes = DualAveraging(first, target)
            moments = Moments(state.position, dense=covariance == "dense")
            for _ in range(end - start):
                state, info = kernel.move(state, sized(shape, sizes.size, batch), generator)
                moments.add(state.position)
                sizes.update(info.acceptance.to(torch.float64).mean(0))
            if end < steps:
                shape = moments.factor()
            start = end
    return sized(shape, sizes.average, batch), state.position


def sized(shape: Tensor, size: Tensor, batch: torch.Size) -> Tensor:
    r"""Return a shape (\*batch, dim) or (\*batch, dim, dim) times a step size (\*batch)."""
    return shape * size.reshape(*batch, *[1] * (shape.dim() - len(batch))).to(shape.dtype)


def adapt_random_walk(
    density: Density,
    position: Tensor,
    *,
    steps: int = 1000,
    covariance: Literal["dense", "diagonal"] = "dense",
    generator: torch.Generator,
) -> tuple[Transition, Tensor]:
    r"""Tune a random walk by :func:`tune`; return the transition and positions."""
    kernel = random_walk_kernel(density)
    scale, position = tune(density, kernel, position, steps=steps, covariance=covariance, generator=generator)
    return fixed(density, kernel, scale), position
