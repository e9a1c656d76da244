"""Warm-up of Hamiltonian Monte Carlo: the lengths of trajectories, and step size and shape by ``tune``."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from probgen.capture.recorded_function import Wrap, as_written, expect
from probgen.core import Density
from probgen.sampling.markov.moves.hmc import (
    HamiltonianInfo,
    Leap,
    end_of_trajectory,
    hmc_kernel,
    leapfrog,
    trajectory,
)
from probgen.sampling.markov.moves.metropolis import (
    GradientState,
    fixed,
    standard_normal,
    standard_uniform,
    with_gradient,
)
from probgen.sampling.markov.warmup.step_size_and_shape import EARLY, WINDOWS, WarmedUp, sized, tune

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
CUT = 10
"""Trajectories of the warm-up after which their length is cut to the one whose draws are worth most."""
AS_GOOD = 0.98
"""Of the most that a draw is worth, the share from which on a shorter trajectory is as good."""
LOOKED_AT = 2**22
"""Numbers of all positions of a trajectory up to which the points that it passes are looked at."""


class Worth:
    r"""What each number of leapfrog steps is worth, from the points that longer trajectories pass.

    A trajectory of n steps passes the ends of all shorter ones. With α_i the probability that the i-th point
    is accepted, 1 − ρ_i = E[α_i (f(w_i) − f(w₀))²] / 2 Var f, for each coordinate and its amount, and a
    draw is worth (1 − ρ_i) / (1 + ρ_i) effective draws, those of the worst of them. What one step says of a
    curved target flatters short trajectories: a length is never cut for the sake of its cost alone.
    """

    def __init__(self, like: Tensor) -> None:
        r"""Start with nothing, for positions such as ``like``, (chains, \*batch, dim)."""
        self._sum = torch.zeros(2, *like.shape[1:], dtype=torch.float64, device=like.device)
        self._squares = torch.zeros_like(self._sum)
        self._jumps = self._sum.new_zeros(0, *self._sum.shape)
        self._seen = self._sum.new_zeros(0)
        self._size: Tensor | float = 0.0

    def add(self, white: Tensor, acceptance: Tensor, size: Tensor) -> None:
        r"""Take in trajectories: w (1 + n, chains, \*batch, dim), α (n, chains, \*batch), step (\*batch)."""
        n, more = len(acceptance), max(len(acceptance) - len(self._seen), 0)
        self._jumps = torch.cat([self._jumps, self._sum.new_zeros(more, *self._sum.shape)])
        self._seen = torch.cat([self._seen, self._sum.new_zeros(more)])
        values = torch.stack([white, white.abs()], 2).to(torch.float64)
        weight = acceptance.to(torch.float64).unsqueeze(-1).unsqueeze(2)
        jumps = torch.where(weight > 0, weight * (values[1:] - values[0]) ** 2, 0)
        self._jumps[:n] += jumps.mean(1)
        self._seen[:n] += 1
        self._sum += values[0].mean(0)
        self._squares += (values[0] ** 2).mean(0)
        self._size = self._size + size

    def cut(self, length: Tensor) -> Tensor:
        r"""Return the length, (\*batch), or a shorter one where that is worth more."""
        if not len(self._seen):
            return length
        total = self._seen[0]
        many = int((self._seen >= total / 2).sum())  # of longer ones too little was seen
        seen = self._seen[:many].reshape(-1, *[1] * (self._jumps.dim() - 1))
        variance = self._squares / total - (self._sum / total) ** 2
        apart = self._jumps[:many] / seen / (2 * variance)
        effective = (apart / (2 - apart).clamp(min=1e-3)).nan_to_num(nan=math.inf).amin((1, -1))
        best = (effective >= AS_GOOD * effective.amax(0)).to(torch.int8).argmax(0) + 1
        return torch.where(best < many, torch.minimum(length, best * self._size / total), length)


class Lengths:
    r"""Trajectories whose length climbs the ChEES criterion while the chains move.

    The criterion is the expected square of the change in ½|w − mean|², w the position in units of the
    shape; its slope with the length T of a trajectory, known from the end of each, is followed by Adam on
    log T, from T = π/2, which is best for a Gaussian target. The criterion has a peak at 3π/2 too, and where
    it is noisy T may come to stay there, at thrice the cost: every few trajectories T is cut to the length
    whose draws are worth most (:class:`Worth`). The same number of leapfrog steps serves all chains and all
    members of a batch. A single chain has no criterion and keeps T = π/2.
    """

    def __init__(
        self, density: Density, leap: Leap, *, target: float, steps: int, most: int = MAX_STEPS
    ) -> None:
        self._batch, self._leap, self._target = density.batch_shape, leap, target
        self._steps, self._most, self._t = steps, most, 0
        self._log_length = torch.full(
            self._batch, math.log(math.pi / 2), dtype=torch.float64, device=density.device
        )
        self._square = torch.zeros_like(self._log_length)
        self._sum, self._count = torch.zeros_like(self._log_length), 0
        self._shape: Tensor | None = None
        self._worth: Worth | None = None
        self._taken, self._moves = 0, 0
        self._acceptance = torch.zeros((), dtype=torch.float64, device=density.device)

    def move(
        self, state: GradientState, shape: Tensor, size: Tensor, generator: torch.Generator
    ) -> tuple[GradientState, Tensor]:
        """Move every chain by a trajectory, and learn from where it ends.

        Where the length asks for a step below the size given, its acceptance may not make the size grow.
        """
        self._t += 1
        early = self._t <= EARLY * self._steps
        if not early and len(state.position) > 1 and shape is not self._shape:
            self._cut()
            if self._shape is not None:
                expect(self._leap, calls=self._taken / self._moves, done=self._t - 1)
            self._shape, self._worth = shape, Worth(state.position)
            self._taken, self._moves = 0, 0
        if self._moves % CUT == 0 and self._moves >= 3 * CUT:
            self._cut()
        length = self._log_length.exp()
        many = _many(length, size, min(EARLY_STEPS, self._most) if early else self._most)
        shorter = (length / many < size) & (not early)
        size = torch.where(shorter, length / many, size)
        shake = 1 + JITTER * (2 * standard_uniform(state.log_prob, generator) - 1)
        self._taken, self._moves = self._taken + many, self._moves + 1
        momentum = standard_normal(state.position, generator)
        uniform = standard_uniform(state.log_prob, generator)
        scale = sized(shape, size, self._batch)
        points: list[tuple[Tensor, ...]] = []

        def noted(*args: Tensor) -> tuple[Tensor, ...]:
            points.append(self._leap(*args))
            return points[-1]

        look = not early and self._worth is not None and many * state.position.numel() <= LOOKED_AT
        leap = noted if look else self._leap
        proposal, end = trajectory(leap, state, momentum, scale, shake.unsqueeze(-1).to(scale.dtype), many)
        moved, info = end_of_trajectory(state, momentum, proposal, end, uniform)
        if not early:
            self._climb(self._slope(state, proposal, end, shape, info) * shake)
        if look:
            self._pass(state, momentum, points, shape, size)
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
        length = length if self._worth is None else self._worth.cut(length)
        many = _many(length, size, self._most)
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

    def _cut(self) -> None:
        if self._worth is not None:
            self._log_length = self._worth.cut(self._log_length.exp()).log()

    def _pass(
        self,
        state: GradientState,
        momentum: Tensor,
        points: list[tuple[Tensor, ...]],
        shape: Tensor,
        size: Tensor,
    ) -> None:
        """Learn from the points that the trajectories passed."""
        if self._worth is None:
            return
        positions, momenta, log_probs, _ = (torch.stack(values) for values in zip(*points, strict=True))
        energy = (momentum**2).sum(-1) / 2 - state.log_prob
        gain = (momenta**2).sum(-1) / 2 - log_probs - energy
        acceptance = (-gain).exp().clamp(max=1).nan_to_num(nan=0.0)
        path = torch.cat([state.position.unsqueeze(0), positions]) - state.position.mean(0)
        white = self._white(shape, path.flatten(0, 1)).reshape(path.shape)
        self._worth.add(white, acceptance, size)

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
    most: int = MAX_STEPS,
    generator: torch.Generator,
    wrap: Wrap = as_written,
    progress: bool = False,
) -> WarmedUp:
    r"""Tune Hamiltonian Monte Carlo on many chains.

    Step size and mass matrix are found by :func:`tune`, the length of trajectories by the ChEES criterion,
    of at most ``most`` leapfrog steps.

    See Hoffman, Radul and Sountsov (2021), An adaptive-MCMC scheme for setting trajectory lengths in
    Hamiltonian Monte Carlo.
    """
    leap = leapfrog(density, wrap=wrap)
    lengths = Lengths(density, leap, target=target, steps=steps, most=most)
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
    expect(leap, calls=many, done=steps)
    kernel = hmc_kernel(density, leap, steps=many, jitter=JITTER)
    transition = fixed(density, kernel, sized(shape, size, density.batch_shape))
    return WarmedUp(transition, position, lengths.acceptance)
