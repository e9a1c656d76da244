"""The path from a prior or a guide to the posterior, and the Hamiltonian moves along it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import constraints

from probgen.core import (
    Density,
    Pair,
    PairDensity,
    default_generator,
    log_joint_prob,
    plate_nesting,
    sample_sites,
    seeded,
)
from probgen.core.supports import support_of
from probgen.objectives.traced_pair import refuse_points
from probgen.sampling.markov.moves.hmc import HamiltonianInfo, hmc_kernel, leapfrog
from probgen.sampling.markov.moves.metropolis import GradientState

TARGET = 0.651
"""The acceptance of trajectories that step sizes are found for, as Beskos et al. (2013) have it."""

GAIN, TRIES = 0.3, 100
"""How fast a step size follows the acceptance, and the moves that it follows at least."""

JITTER = 0.2


class Bridge(NamedTuple):
    r"""The laws π₀^(1 − β) p(z, x)^β of positions of n rows, (\*chains, n, dim), on the unconstrained scale.

    ``log_start`` gives log π₀ of named values, (\*chains, n); ``density`` is the posterior's.
    """

    density: PairDensity
    log_start: Callable[[Mapping[str, Tensor]], Tensor]

    def ends(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Return log π₀ and log p(z, x) of positions."""
        start = self.log_start(self.density.constrain(position)) + self.density.log_volume(position)
        return start, self.density.unconstrained_log_prob(position)

    def at(self, power: float) -> Density:
        """Return the density at a power β."""

        def log_prob(position: Tensor) -> Tensor:
            start, end = self.ends(position)
            return start + power * (end - start)

        return Density(
            log_prob,
            support=constraints.real_vector,
            event_shape=(self.density.dim,),
            batch_shape=self.density.batch_shape,
            dtype=self.density.dtype,
            device=self.density.device,
        )

    def evaluate(self, position: Tensor, power: float) -> tuple[GradientState, Tensor]:
        """Return the state of chains at a power β, and log p(z, x) − log π₀(z) there."""
        with torch.enable_grad():
            position = position.detach().requires_grad_()
            start, end = self.ends(position)
            log_prob = start + power * (end - start)
            (gradient,) = torch.autograd.grad(log_prob.sum(), position)
        return GradientState(position.detach(), log_prob.detach(), gradient), (end - start).detach()


class Moves(NamedTuple):
    """Hamiltonian moves at each power between the ends: scales (n, dim) of each, and leapfrog steps."""

    scales: list[Tensor]
    leapfrog_steps: int

    def step(
        self, bridge: Bridge, state: GradientState, power: float, place: int, generator: torch.Generator
    ) -> tuple[GradientState, HamiltonianInfo]:
        """Move chains once by the scale at a place, keeping the law at a power."""
        return move(bridge.at(power), state, self.scales[place], self.leapfrog_steps, generator)

    def reversed(self) -> Moves:
        """Return the moves of the path that is walked backwards."""
        return Moves(self.scales[::-1], self.leapfrog_steps)


def move(
    density: Density, state: GradientState, scale: Tensor, steps: int, generator: torch.Generator
) -> tuple[GradientState, HamiltonianInfo]:
    """Move chains once by a trajectory with a scale (n, dim)."""
    return hmc_kernel(density, leapfrog(density), steps=steps, jitter=JITTER).move(state, scale, generator)


def tuned(bridge: Bridge, draws: Tensor, pilots: int, powers: Sequence[float], leapfrog_steps: int) -> Moves:
    """Return moves whose step sizes suit each row and power, found by pilot chains.

    Args:
        bridge: the path.
        draws: of its start, (draws, n, dim); their spread is the unit of each coordinate.
        pilots: how many of the draws go on as chains.
        powers: β₀ to β_T.
        leapfrog_steps: of each trajectory.
    """
    generator = default_generator(draws.device)
    spread = draws.std(0)
    spread = torch.where(spread > 0, spread, 1.0)
    size = torch.full_like(draws[0, :, 0], draws.shape[-1] ** -0.25)
    inner = powers[1:-1]
    repeats = -(-TRIES // max(1, len(inner)))
    position, scales = draws[:pilots], []
    for power in inner:
        # At each power chains move, and log ε follows the acceptance, pooled over the chains of a row.
        density = bridge.at(power)
        state, _ = bridge.evaluate(position, power)
        for _ in range(repeats):
            scale = size.unsqueeze(-1) * spread
            state, info = move(density, state, scale, leapfrog_steps, generator)
            size = size * (GAIN * (info.acceptance.mean(0) - TARGET)).exp().to(size.dtype)
        scales.append(size.unsqueeze(-1) * spread)
        position = state.position
    return Moves(scales, leapfrog_steps)


def bridge_of(pair: Pair, density: PairDensity, batch: tuple[Tensor, ...], start: str) -> Bridge:
    """Return the path from the prior or the guide of a pair to its posterior.

    Raises:
        ValueError: for a guide that is a point, or whose support is another than the prior's.
    """
    story = pair.model if start == "prior" else pair.guide
    with seeded(0):  # of laws, shapes and supports alone
        trace = poutine.trace(story).get_trace(*batch)
    sites = {name: site for name, site in sample_sites(trace).items() if name in density.names}
    if start == "guide":
        with seeded(0):
            model = sample_sites(poutine.trace(pair.model).get_trace(*batch))
        refuse_points(model, sites)
        _check_supports(model, sites)
    nesting, rows = plate_nesting(trace), len(batch[0])
    only = next(iter(sites.values())) if len(sites) == 1 else None

    def log_prob(values: Mapping[str, Tensor]) -> Tensor:
        # The law of an only site depends on x alone; those of several depend on one another.
        if only is not None and only["mask"] is None:
            return only["fn"].log_prob(values[only["name"]])
        data = {
            name: value.reshape(*value.shape[: -1 - len(event)], *[1] * (nesting - 1), rows, *event)
            for name, value in values.items()
            for event in [density.shapes[name]]
        }
        told = poutine.trace(poutine.condition(story, data=data)).get_trace(*batch)
        found: dict[str, Any] = sample_sites(told)
        return log_joint_prob(told, rows, nesting=nesting, sites={name: found[name] for name in sites})

    return Bridge(density, log_prob)


def check_together(density: PairDensity) -> None:
    """Raise unless the log-density of one chain, (n, dim), is that which it has among others."""
    words = "networks of the model should take codes of shape (chains, n, ...) and map each by itself but "
    shape = (3, *density.batch_shape, density.dim)
    with seeded(0):
        positions = torch.randn(shape, dtype=density.dtype, device=density.device)
    alone, tolerance = density.unconstrained_log_prob(positions[0]), torch.finfo(density.dtype).eps ** (2 / 3)
    try:
        among = density.unconstrained_log_prob(positions)[0]
    except RuntimeError as error:
        raise ValueError(f"{words}fail: {str(error).splitlines()[0]}") from error
    if not torch.allclose(among, alone, rtol=tolerance, atol=tolerance, equal_nan=True):
        raise ValueError(f"{words}give others there: do they take dimension 0 for the rows?")


def _check_supports(model: Mapping[str, Any], guide: Mapping[str, Any]) -> None:
    for name, site in guide.items():
        p, q = support_of(model[name]["fn"]), support_of(site["fn"])
        if str(p) != str(q):
            raise ValueError(
                f"guide site {name!r} should have the support of the prior, {p}, to start from, but has {q}: "
                "start from the prior"
            )
