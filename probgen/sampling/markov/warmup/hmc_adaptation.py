"""Warm-up of Hamiltonian Monte Carlo on many chains: step size, mass matrix and length of trajectories."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from probgen.capture.recorded_function import Wrap, as_written
from probgen.core import Density
from probgen.sampling.markov.moves.gradients import GradientState, with_gradient
from probgen.sampling.markov.moves.hmc import (
    HamiltonianInfo,
    Leap,
    end_of_trajectory,
    hmc_kernel,
    leapfrog,
    trajectory,
)
from probgen.sampling.markov.moves.metropolis import fixed, standard_normal, standard_uniform
from probgen.sampling.markov.warmup.adaptation import EARLY, WINDOWS, WarmedUp, sized, tune

TARGET = 0.8
"""The acceptance that is sought: above the 0.651 that is best in many dimensions, since in few the number of
leapfrog steps is small and whole, and since divergences are fewer."""
REFUSALS = 10
"""As so many refusals counts a divergence: the mean acceptance alone hides that a small part of the target,
where the curvature is greatest, is refused always."""
JITTER = 0.2
RATE = 0.05
"""How far Adam goes in one step, on the scale of log T."""
MAX_STEPS, EARLY_STEPS = 256, 10
"""Leapfrog steps of a trajectory at most: in all, and while the chains are on their way."""


class Lengths:
    r"""Trajectories whose length climbs the ChEES criterion while the chains move.

    The criterion is the expected square of the change in ½|w − mean|², w the position in units of the
    shape; its slope with the length T of a trajectory, known from the end of each, is followed by Adam on
    log T, from T = π/2, which is best for a Gaussian target. The same number of leapfrog steps serves all
    chains and all members of a batch. A single chain has no criterion and keeps T = π/2.
    """

    def __init__(self, density: Density, leap: Leap, *, target: float, steps: int) -> None:
        self._batch, self._leap, self._target = density.batch_shape, leap, target
        self._steps, self._t = steps, 0
        self._log_length = torch.full(
            self._batch, math.log(math.pi / 2), dtype=torch.float64, device=density.device
        )
        self._square = torch.zeros_like(self._log_length)
        self._sum, self._count = torch.zeros_like(self._log_length), 0
        self._acceptance = torch.zeros((), dtype=torch.float64, device=density.device)

    def move(
        self, state: GradientState, shape: Tensor, size: Tensor, generator: torch.Generator
    ) -> tuple[GradientState, Tensor]:
        """Move every chain by a trajectory, and learn from where it ends.

        Where the length asks for a step below the size given, its acceptance may not make the size grow.
        """
        self._t += 1
        early = self._t <= EARLY * self._steps
        length = self._log_length.exp()
        many = _many(length, size, EARLY_STEPS if early else MAX_STEPS)
        shorter = (length / many < size) & (not early)
        size = torch.where(shorter, length / many, size)
        shake = 1 + JITTER * (2 * standard_uniform(state.log_prob, generator) - 1)
        momentum = standard_normal(state.position, generator)
        uniform = standard_uniform(state.log_prob, generator)
        scale = sized(shape, size, self._batch)
        proposal, end = trajectory(
            self._leap, state, momentum, scale, shake.unsqueeze(-1).to(scale.dtype), many
        )
        moved, info = end_of_trajectory(state, momentum, proposal, end, uniform)
        if not early:
            self._climb(self._slope(state, proposal, end, shape, info) * shake)
        acceptance = info.acceptance.to(torch.float64).mean(0)
        judged = (acceptance - REFUSALS * info.divergent.to(torch.float64).mean(0)).clamp(min=0)
        if self._settled:
            self._acceptance += acceptance.mean()
        return moved, torch.where(shorter, judged.clamp(max=self._target), judged)

    @property
    def acceptance(self) -> float:
        """The mean acceptance while the length was averaged."""
        return float(self._acceptance / self._count)

    def found(self, size: Tensor) -> tuple[Tensor, int]:
        """Return the step size and the number of steps of the trajectories that were found."""
        length = (self._sum / self._count).exp()
        many = _many(length, size, MAX_STEPS)
        return torch.minimum(size, length / many), many

    @property
    def _settled(self) -> bool:
        return self._t > (WINDOWS[-2] + 1) / 2 * self._steps

    def _slope(
        self, state: GradientState, proposal: GradientState, end: Tensor, shape: Tensor, info: HamiltonianInfo
    ) -> Tensor:
        weight = info.acceptance.unsqueeze(-1).to(torch.float64)
        reached = torch.where(weight > 0, proposal.position, state.position)
        mean = (weight * reached).sum(0) / weight.sum(0).clamp(min=1e-30)
        before = self._white(shape, state.position - state.position.mean(0))
        after = self._white(shape, (reached - mean).to(shape.dtype))
        end = torch.where(weight > 0, end, 0)
        gain = ((after**2).sum(-1) - (before**2).sum(-1)) * (after * end).sum(-1)
        return info.acceptance * gain

    def _climb(self, slope: Tensor) -> None:
        ascent = slope.to(torch.float64).mean(0)
        self._square = 0.95 * self._square + 0.05 * ascent**2
        steps = self._t - int(EARLY * self._steps)
        root = (self._square / (1 - 0.95**steps)).sqrt() + 1e-30
        self._log_length = self._log_length + RATE * ascent / root
        if self._settled:
            self._sum += self._log_length
            self._count += 1

    def _white(self, shape: Tensor, x: Tensor) -> Tensor:
        if shape.dim() < len(self._batch) + 2:
            return x / shape
        return torch.linalg.solve_triangular(shape, x.movedim(0, -1), upper=False).movedim(-1, 0)


def _many(length: Tensor, size: Tensor, most: int) -> int:
    many = float((length / size).max())
    if math.isnan(many):
        raise ValueError(
            "chains should stay among finite numbers in the warm-up but run away: is the density proper?"
        )
    return round(min(max(many, 1), most))


def adapt_hmc(
    density: Density,
    position: Tensor,
    *,
    steps: int = 1000,
    covariance: Literal["dense", "diagonal"] = "dense",
    target: float = TARGET,
    generator: torch.Generator,
    wrap: Wrap = as_written,
    progress: bool = False,
) -> WarmedUp:
    r"""Tune Hamiltonian Monte Carlo on many chains.

    Step size and mass matrix are found by :func:`tune`, the length of trajectories by the ChEES criterion.

    See Hoffman, Radul and Sountsov (2021), An adaptive-MCMC scheme for setting trajectory lengths in
    Hamiltonian Monte Carlo.
    """
    leap = leapfrog(density, wrap=wrap)
    lengths = Lengths(density, leap, target=target, steps=steps)
    shape, size, position = tune(
        density,
        with_gradient(density),
        lengths.move,
        position,
        target=target,
        size=density.dim ** (-1 / 4),
        steps=steps,
        covariance=covariance,
        generator=generator,
        progress=progress,
    )
    size, many = lengths.found(size)
    kernel = hmc_kernel(density, leap, steps=many, jitter=JITTER)
    transition = fixed(density, kernel, sized(shape, size, density.batch_shape))
    return WarmedUp(transition, position, lengths.acceptance)
