"""Draw from a density in one call: starting points, warm-up, run."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from probgen.core import Density
from probgen.sampling.adaptation import adapt_random_walk
from probgen.sampling.chains import Chains
from probgen.sampling.positions import given_positions, initial_positions
from probgen.sampling.random_walk import target_acceptance
from probgen.sampling.run import at_least, run, same_device
from probgen.sampling.uniforms import default_generator

_METHODS = ("random_walk",)


def sample(
    density: Density,
    *,
    method: str = "random_walk",
    chains: int = 64,
    warmup: int = 1000,
    draws: int = 1000,
    thin: int = 1,
    keep: Collection[str] | None = None,
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
        keep: names of the sites to keep, where not all.
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
    at_least("chains", chains, 1)
    generator = default_generator(density.device) if generator is None else generator
    same_device(generator, density.device)
    if init is None:
        position = initial_positions(density, chains, generator=generator)
    else:
        position = given_positions(density, init, chains)
    transition, position = adapt_random_walk(density, position, steps=warmup, generator=generator)
    drawn = run(
        transition,
        position,
        draws=draws,
        thin=thin,
        keep=keep,
        density=density,
        generator=generator,
        progress=progress,
    )
    drawn.target_acceptance = target_acceptance(density.dim)
    return drawn
