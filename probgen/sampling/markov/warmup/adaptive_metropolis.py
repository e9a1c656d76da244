"""Warm-ups of a random walk that learn at every step: adaptive Metropolis, and its robust form."""

from __future__ import annotations

import math
from typing import Protocol

import pyro
import torch
from torch import Tensor
from tqdm import tqdm

from probgen.capture.recorded_function import Wrap, as_written
from probgen.core import Density
from probgen.sampling.markov.moves.metropolis import State, fixed, standard_normal
from probgen.sampling.markov.moves.random_walk import random_walk_kernel, target_acceptance, walk
from probgen.sampling.markov.starting_positions import require_finite
from probgen.sampling.markov.warmup.step_size_and_shape import DualAveraging, WarmedUp, catch_up, sized

ARRIVAL = (0.05, 0.1, 0.15)
"""Shares of the warm-up after which chains that are left behind catch up, as in :func:`tune`."""


def adapt_haario(
    density: Density,
    position: Tensor,
    *,
    steps: int = 1000,
    target: float | None = None,
    generator: torch.Generator,
    wrap: Wrap = as_written,
    progress: bool = False,
) -> WarmedUp:
    r"""Tune a random walk by Haario's adaptive Metropolis: steps of covariance s² C, C that of the states.

    After each step, with w_t = 3 / (t + 3),

        m ← m + w_t (x̄ − m),  C ← (1 − w_t) C + w_t (mean of (x − m)(x − m)ᵀ),

    means over all chains, so that a state at time s of t has a weight that grows like s²: the way to the
    target is forgotten. The size s follows dual averaging. Learning ends with the warm-up: a walk that goes
    on learning from its own past leaves the target only in a limit.

    One covariance of all chains is known far sooner than one for each. :func:`adapt_random_walk` learns the
    same in windows, and is the better choice for chains that start far away.

    Args:
        density: the target.
        position: where the chains start, (chains, \*batch, dim), on the unconstrained scale.
        steps: length of the warm-up, at least 20.
        target: the acceptance that is sought; 0.234, or 0.44 in one dimension, if not given.
        generator: source of randomness.
        wrap: may compile the move.
        progress: show a bar.

    Raises:
        ValueError: for a short warm-up, an acceptance outside (0, 1), a start whose log-density is not
            finite, or chains that do not move.

    See Haario, Saksman and Tamminen (2001), An adaptive Metropolis algorithm; Andrieu and Thoms (2008), A
    tutorial on adaptive MCMC, algorithm 4; Shamir and Zhang (2013), for the weights.

    >>> density = Density(lambda x: -0.5 * (x / 100) ** 2)
    >>> generator = torch.Generator().manual_seed(0)
    >>> tuned = adapt_haario(density, torch.zeros(64, 1), steps=500, generator=generator)
    >>> state, info = tuned.transition.step(tuned.transition.init(tuned.position), generator)
    >>> bool(0.3 < info.acceptance.mean() < 0.6)
    True
    """
    target = target_acceptance(density.dim) if target is None else target
    return _adapted(density, position, _Covariance(density, target), target, steps, generator, wrap, progress)


def adapt_robust(
    density: Density,
    position: Tensor,
    *,
    steps: int = 1000,
    target: float | None = None,
    generator: torch.Generator,
    wrap: Wrap = as_written,
    progress: bool = False,
) -> WarmedUp:
    r"""Tune a random walk by Vihola's robust adaptive Metropolis: its shape follows the acceptance alone.

    With steps S ε, accepted with probability α,

        S Sᵀ ← S (I + η_t M) Sᵀ,  M = mean of (α − target) ε εᵀ / |ε|²,

    the mean over all chains: S grows in directions where steps are accepted too often, and shrinks in the
    others. It finds the shape of the contours, which a target with heavy tails has though it has no
    covariance. Since learning ends with the warm-up, η_t need not fall from the start: it is dim in the first
    half, and dim (t − T/2)^(−0.6) in the second, or 1 / 2|M| where that is less, so that I + η M is positive.

    Args: as for :func:`adapt_haario`.

    Raises:
        ValueError: as :func:`adapt_haario`.

    See Vihola (2012), Robust adaptive Metropolis algorithm with coerced acceptance rate.

    >>> density = Density(lambda x: -torch.log1p((x / 100) ** 2))
    >>> generator = torch.Generator().manual_seed(0)
    >>> tuned = adapt_robust(density, torch.zeros(64, 1), steps=500, generator=generator)
    >>> state, info = tuned.transition.step(tuned.transition.init(tuned.position), generator)
    >>> bool(0.3 < info.acceptance.mean() < 0.6)
    True
    """
    target = target_acceptance(density.dim) if target is None else target
    learner = _Contours(density, target, steps // 2)
    return _adapted(density, position, learner, target, steps, generator, wrap, progress)


class _Learner(Protocol):
    """What is known after some steps: the factor of the next one, in float64."""

    factor: Tensor

    def learn(self, state: State, noise: Tensor, acceptance: Tensor, t: int) -> None: ...


class _Covariance:
    def __init__(self, density: Density, target: float) -> None:
        eye = _eye(density)
        first = torch.full_like(eye[..., 0, 0], 2.38 / math.sqrt(density.dim))
        self._sizes = DualAveraging(first, target)
        self._mean, self._covariance, self._root = torch.zeros_like(eye[..., 0]), eye, eye
        self.factor = sized(eye, first, density.batch_shape)

    def learn(self, state: State, noise: Tensor, acceptance: Tensor, t: int) -> None:
        x, weight = state.position.to(torch.float64), 3 / (t + 3)
        self._mean = x.mean(0) if t == 1 else self._mean + weight * (x.mean(0) - self._mean)
        apart = x - self._mean
        products = torch.einsum("c...i,c...j->...ij", apart, apart) / len(x)
        self._covariance = (1 - weight) * self._covariance + weight * products
        root, failed = torch.linalg.cholesky_ex(self._covariance)
        self._root = torch.where(failed.reshape(*failed.shape, 1, 1) == 0, root, self._root)
        self._sizes.update(acceptance.mean(0))
        self.factor = sized(self._root, self._sizes.size, failed.shape)


class _Contours:
    def __init__(self, density: Density, target: float, half: int) -> None:
        self._eye, self._target, self._half = _eye(density), target, half
        self.factor = self._eye * (2.38 / math.sqrt(density.dim))

    def learn(self, state: State, noise: Tensor, acceptance: Tensor, t: int) -> None:
        unit = noise.to(torch.float64)
        unit = unit / unit.norm(dim=-1, keepdim=True)
        change = torch.einsum("c...,c...i,c...j->...ij", acceptance - self._target, unit, unit) / len(unit)
        rate = unit.shape[-1] * max(t - self._half, 1) ** -0.6
        change = change * (0.5 / torch.linalg.matrix_norm(change)).clamp(max=rate)[..., None, None]
        self.factor = self.factor @ torch.linalg.cholesky(self._eye + change)


def _eye(density: Density) -> Tensor:
    eye = torch.eye(density.dim, dtype=torch.float64, device=density.device)
    return eye.expand(*density.batch_shape, -1, -1)


@torch.no_grad()
def _adapted(
    density: Density,
    position: Tensor,
    learner: _Learner,
    target: float,
    steps: int,
    generator: torch.Generator,
    wrap: Wrap,
    progress: bool,
) -> WarmedUp:
    if steps < 20:
        raise ValueError(f"warm-up should have at least 20 steps but got {steps}")
    if not 0 < target < 1:
        raise ValueError(f"target acceptance should be between 0 and 1 but got {target}")
    kernel, step = random_walk_kernel(density), walk(density, wrap=wrap)
    state = kernel.init(position)
    require_finite(density, state)
    moved = torch.zeros_like(state.log_prob, dtype=torch.bool)
    arrivals = {round(share * steps) for share in ARRIVAL}
    with (
        tqdm(total=steps, disable=not progress, unit="step", desc="warm-up") as bar,
        pyro.validation_enabled(False),
    ):
        for t in range(1, steps + 1):
            noise = standard_normal(state.position, generator)
            state, info = step(state, learner.factor.to(position.dtype), noise, generator)
            learner.learn(state, noise, info.acceptance.to(torch.float64), t)
            moved |= info.accepted
            if t in arrivals:
                state = catch_up(state, 50 + 10 * density.dim, generator)
            bar.update()
    if not moved.any(0).all():
        raise ValueError("chains should move during warm-up but some stood still")
    return WarmedUp(fixed(density, kernel, learner.factor), state.position, target)
