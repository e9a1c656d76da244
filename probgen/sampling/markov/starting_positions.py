"""Where chains start, and where they go wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from probgen.core import Density, ModelDensity
from probgen.sampling.markov.moves.metropolis import has_gradient, standard_normal
from probgen.sampling.markov.starting_modes import CLIMBS, modes

logger = logging.getLogger("probgen")

_TRIES = 200
_DRAWS = 256
"""Draws of a prior; chains beyond share them."""
_JITTER = 0.1


@torch.no_grad()
def initial_positions(
    density: Density,
    chains: int,
    *,
    start: Literal["normal", "prior", "optimum"] = "normal",
    generator: torch.Generator,
) -> Tensor:
    r"""Draw positions (chains, \*batch, dim) to start from, where the log-density is finite.

    Where the log-density is not finite others are tried, every second time pulled closer to their centre.
    That it was NaN is logged, with the place and, of a Pyro model, the site at fault.

    Args:
        density: the target.
        chains: how many.
        start: ``"normal"``, standard normal positions on the unconstrained scale. ``"prior"``, draws from
            the prior of a Pyro model, at most 256 different ones, and standard normal ones at sites with an
            improper prior: they lie wider than the posterior, as R-hat presupposes, but a vague prior puts
            them where chains need a longer warm-up, and longer trajectories. ``"optimum"``, modes that at
            most 100 steps of L-BFGS find from four standard normal positions, with normal noise of standard
            deviation 0.1: for posteriors far from 0 on that scale. Chains that start so near do not show by
            R-hat a mode that none of them has found; and the density of a hierarchical model grows without
            bound where a scale goes to 0, far from where its mass is.
        generator: source of randomness.

    Raises:
        ValueError: where no finite log-density is found in 200 tries, with the sites' values and, of a Pyro
            model, the site at fault; for the prior of a density that is not a Pyro model's, and the optimum
            of one without gradients.

    >>> import pyro, pyro.distributions as dist
    >>> def broken(y):
    ...     rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
    ...     pyro.sample("y", dist.Normal(0.0, -rate), obs=y)
    >>> density = Density.from_model(broken, torch.tensor(1.0))
    >>> initial_positions(density, 8, generator=torch.Generator())  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: no initial point ... 'y': its scale is -..., not in GreaterThan(lower_bound=0.0); give init=
    """
    batch = density.batch_shape
    position = torch.zeros(chains, *batch, density.dim, dtype=density.dtype, device=density.device)
    missing = torch.ones(position.shape[:-1], dtype=torch.bool, device=density.device)
    draw, centre = _draws(density, position, start, generator)
    for attempt in range(_TRIES):
        pull = 0.9 ** (attempt // 2) if attempt % 2 else 1.0
        fresh = centre + pull * (draw(attempt) - centre)
        position = torch.where(missing.unsqueeze(-1), fresh, position)
        log_prob = density.unconstrained_log_prob(position)
        if attempt == 0 and (unknown := log_prob.isnan()).any():
            logger.warning(
                f"log_prob was NaN at {int(unknown.sum())} of {unknown.numel()} starting points, for which "
                f"others are sought: {_place(density, position, unknown)}"
            )
        missing = ~log_prob.isfinite()
        if not missing.any():
            return position
    raise ValueError(
        f"no initial point with a finite log_prob was found in {_TRIES} tries; at the last one it was "
        f"{float(log_prob[missing][0])} at {_place(density, position, missing)}; give init="
    )


def _draws(
    density: Density, like: Tensor, start: str, generator: torch.Generator
) -> tuple[Callable[[int], Tensor], Tensor]:
    """Return what draws positions at each attempt, and their centre."""
    if start == "normal":
        return lambda attempt: standard_normal(like, generator), like.new_zeros(density.dim)
    if start == "optimum":
        few = initial_positions(density, min(len(like), CLIMBS), generator=generator)
        if not has_gradient(density, few):
            raise ValueError("the optimum is climbed to by gradients, which log_prob has not")
        centre = modes(density, few)[torch.arange(len(like), device=like.device) % len(few)]
        return lambda attempt: centre + _JITTER * standard_normal(like, generator), centre
    if not isinstance(density, ModelDensity):
        raise ValueError("only the density of a Pyro model has a prior to start from: see Density.from_model")
    seed = int(torch.randint(2**62, (), device=generator.device, generator=generator))
    pool = density.prior_positions(min(_DRAWS, max(len(like), 64)), seed=seed)
    pool = torch.where(pool.isfinite(), pool, standard_normal(pool, generator))
    places = torch.arange(len(like), device=like.device)
    for size in density.batch_shape:
        places = places.unsqueeze(-1) + torch.arange(size, device=like.device)
    return lambda attempt: pool[(places + attempt) % len(pool)], pool.median(0).values


def given_positions(density: Density, init: Tensor | Mapping[str, Tensor], chains: int) -> Tensor:
    r"""Return the positions of given values (chains, \*batch, \*event), or of a mapping of them.

    Raises:
        ValueError: for values of another shape or outside the support, with the site.
    """
    named = dict(init) if isinstance(init, Mapping) else dict.fromkeys(density.names, init)
    if set(named) != set(density.names):
        raise ValueError(f"init should name the sites {list(density.names)} but names {list(named)}")
    supports = (
        density.support if isinstance(density.support, Mapping) else {density.names[0]: density.support}
    )
    for name, value in named.items():
        shape = (chains, *density.batch_shape, *density.shapes[name])
        if value.shape != shape:
            raise ValueError(f"init of site {name!r} should have shape {shape} but has {tuple(value.shape)}")
        if not supports[name].check(value).all():
            raise ValueError(f"init of site {name!r} should be in the support {supports[name]} but is not")
    position = density.unconstrain({name: v.to(density.device, density.dtype) for name, v in named.items()})
    return position


def require_finite(density: Density | None, state: Any) -> None:
    """Raise where a state's log-density, or its gradient, is not finite, with the sites' values there."""
    wrong = ~state.log_prob.isfinite()
    if wrong.any():
        value, where = float(state.log_prob[wrong][0]), _place(density, state.position, wrong)
        raise ValueError(f"log_prob should be finite but is {value} at {where}")
    if "gradient" in state._fields and (wrong := ~state.gradient.isfinite().all(-1)).any():
        value, where = state.gradient[wrong][0].tolist(), _place(density, state.position, wrong)
        raise ValueError(f"the gradient of log_prob should be finite but is {value} at {where}")


def _place(density: Density | None, position: Tensor, wrong: Tensor) -> str:
    """Name the first place that is wrong, and of a Pyro model the site at fault there."""
    place = tuple(wrong.nonzero()[0].tolist())
    values = {"position": position} if density is None else density.constrain(position)
    sites = ", ".join(f"{name} = {value[place].tolist()}" for name, value in values.items())
    found = f"{sites} (chain {place[0]}{''.join(f', batch row {i}' for i in place[1:])})"
    if isinstance(density, ModelDensity) and (fault := density.fault_at(position[place], *place[1:])):
        return f"{found}: {fault}"
    return found
