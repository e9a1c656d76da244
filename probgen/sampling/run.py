"""Run transitions on many chains at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from probgen.core import Density, Transition
from probgen.sampling.adaptation import adapt_random_walk, target_acceptance
from probgen.sampling.chains import Chains, RunState
from probgen.sampling.positions import given_positions, initial_positions, require_finite
from probgen.sampling.uniforms import default_generator

_BLOCK = 50
"""Draws between two looks at the chains, each of which waits for the device."""

_METHODS = ("random_walk",)


@torch.no_grad()
def run(
    transition: Transition,
    init: Tensor | RunState,
    *,
    draws: int,
    thin: int = 1,
    density: Density | None = None,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> Chains:
    r"""Step every chain ``draws`` x ``thin`` times and keep each ``thin``-th position.

    Ctrl-C ends the run early and returns what was drawn.

    Args:
        transition: how chains move.
        init: positions (chains, \*batch, dim), on the unconstrained scale; or ``chains.state`` of an earlier
            run, which then goes on to the bit, with its own generator where none is given.
        draws: kept draws per chain.
        thin: steps per kept draw.
        density: names the draws and maps them to their support; without it they are one site, ``position``.
        generator: source of randomness; torch's global one where not given.
        progress: show a bar with the acceptance.

    Raises:
        ValueError: for a log-density that is not finite, at the start or on the way, with its place.
    """
    _at_least("draws", draws, 1)
    _at_least("thin", thin, 1)
    if isinstance(init, RunState):
        state, device = init.state, init.state.position.device
        if generator is None:
            generator = torch.Generator(device)
            generator.set_state(init.generator_state)
    else:
        state, device = transition.init(init), init.device
        generator = default_generator(device) if generator is None else generator
    _same_device(generator, device)
    require_finite(density, state.position, state.log_prob)

    position = state.position.new_empty(draws, *state.position.shape)
    log_prob = state.log_prob.new_empty(draws, *state.log_prob.shape)
    acceptance = torch.zeros_like(log_prob)
    done, interrupted = 0, False
    with tqdm(total=draws, disable=not progress, unit="draw") as bar:
        try:
            for done in range(draws):
                for _ in range(thin):
                    state, info = transition.step(state, generator)
                    acceptance[done] += info.acceptance / thin
                position[done], log_prob[done] = state.position, state.log_prob
                if done % _BLOCK == _BLOCK - 1:
                    require_finite(density, state.position, state.log_prob)
                    bar.set_postfix(acceptance=f"{float(acceptance[done].mean()):.3f}", refresh=False)
                    bar.update(_BLOCK)
            done = draws
        except KeyboardInterrupt:
            interrupted = True
            if done == 0:
                raise
        bar.update(done - bar.n)
    require_finite(density, state.position, state.log_prob)

    kept = position[:done].transpose(0, 1)
    return Chains(
        {"position": kept} if density is None else density.constrain(kept),
        statistics={
            "log_prob": log_prob[:done].transpose(0, 1),
            "acceptance": acceptance[:done].transpose(0, 1),
        },
        state=RunState(state, generator.get_state()),
        interrupted=interrupted,
    )


def sample(
    density: Density,
    *,
    method: str = "random_walk",
    chains: int = 64,
    warmup: int = 1000,
    draws: int = 1000,
    thin: int = 1,
    init: Tensor | Mapping[str, Tensor] | None = None,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> Chains:
    r"""Draw from a density by Markov chains: find starting points, warm up, run.

    Args:
        density: the target, maybe unnormalised; with a batch, ``chains`` chains for each member.
        method: ``"random_walk"``: Metropolis with a Gaussian proposal, tuned in the warm-up.
        chains: how many at once.
        warmup: steps of tuning, thrown away.
        draws: kept draws per chain.
        thin: steps per kept draw.
        init: where to start, on the constrained scale, (chains, \*batch, \*event) or a mapping of such by
            site; standard normal draws on the unconstrained scale where not given.
        generator: source of randomness; torch's global one where not given.
        progress: show a bar with the acceptance.

    Raises:
        ValueError: for an unknown method, bad counts, no finite starting point, or a log-density that is
            not finite, with its place.

    >>> from torch.distributions import Gamma
    >>> density = Density.from_distribution(Gamma(3.0, 1.0), name="rate")
    >>> chains = sample(density, warmup=200, draws=500, generator=torch.Generator().manual_seed(0))
    >>> chains
    Chains(64 chains x 500 draws; rate: ())
    >>> bool(abs(chains["rate"].mean() - 3) < 0.1)
    True
    """
    if method not in _METHODS:
        raise ValueError(f"method should be one of {', '.join(_METHODS)} but got {method!r}")
    _at_least("chains", chains, 1)
    generator = default_generator(density.device) if generator is None else generator
    _same_device(generator, density.device)
    if init is None:
        position = initial_positions(density, chains, generator=generator)
    else:
        position = given_positions(density, init, chains)
    transition, position = adapt_random_walk(density, position, steps=warmup, generator=generator)
    drawn = run(
        transition, position, draws=draws, thin=thin, density=density, generator=generator, progress=progress
    )
    drawn.target_acceptance = target_acceptance(density.dim)
    return drawn


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} should be at least {least} but got {value}")


def _same_device(generator: torch.Generator, device: Any) -> None:
    if generator.device.type != torch.device(device).type:
        raise ValueError(f"generator should be on {device} but is on {generator.device}")
