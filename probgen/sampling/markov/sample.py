"""Draw from a density in one call: starting points, warm-up, run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from probgen.capture.recorded_function import Wrap, wrapper
from probgen.core import Density, check_count, evaluations, source_of
from probgen.sampling.markov.chains import Chains
from probgen.sampling.markov.moves.barker import barker_kernel
from probgen.sampling.markov.moves.cache_pieces import pieces
from probgen.sampling.markov.moves.delayed_rejection import delayed_rejection_kernel
from probgen.sampling.markov.moves.differential_evolution import differential_evolution_kernel
from probgen.sampling.markov.moves.mala import mala_kernel
from probgen.sampling.markov.moves.metropolis import Kernel, has_gradient
from probgen.sampling.markov.moves.multiple_try import multiple_try_kernel
from probgen.sampling.markov.moves.random_walk import random_walk_kernel
from probgen.sampling.markov.moves.stretch import stretch_kernel
from probgen.sampling.markov.run import run
from probgen.sampling.markov.starting_positions import given_positions, initial_positions
from probgen.sampling.markov.target_density import Target, density_of
from probgen.sampling.markov.warmup.adaptive_metropolis import adapt_haario, adapt_robust
from probgen.sampling.markov.warmup.component_wise_adaptation import adapt_component_wise
from probgen.sampling.markov.warmup.step_size_and_shape import WarmedUp, adapt, adapt_size
from probgen.sampling.markov.warmup.temperature_ladder import adapt_tempered
from probgen.sampling.markov.warmup.trajectory_lengths import adapt_hmc
from probgen.sampling.markov.warmup.until_agreement import warm_up_until_agreed

DENSE = 100
"""Dimensions up to which a proposal takes its correlations from the chains."""


class Method(NamedTuple):
    """A warm-up, and what it is like.

    Whether it needs gradients, about how often a step calls the log-density, and whether the warm-up finds a
    shape, whose form it is then told by ``covariance``.
    """

    warm_up: Callable[..., WarmedUp]
    gradient: bool
    calls: int
    shape: bool = True


def _tuned(
    make_kernel: Callable[..., Kernel], tuning: Callable[..., WarmedUp] = adapt
) -> Callable[..., WarmedUp]:
    def warm_up(density: Density, position: Tensor, *, wrap: Wrap, **options: Any) -> WarmedUp:
        return tuning(density, make_kernel(density, wrap=wrap), position, **options)

    return warm_up


METHODS = {
    "hmc": Method(adapt_hmc, gradient=True, calls=2),
    "mala": Method(_tuned(mala_kernel), gradient=True, calls=1),
    "barker": Method(_tuned(barker_kernel), gradient=True, calls=1),
    "random_walk": Method(_tuned(random_walk_kernel), gradient=False, calls=1),
    "component_wise": Method(adapt_component_wise, gradient=False, calls=10, shape=False),
    "stretch": Method(_tuned(stretch_kernel, adapt_size), gradient=False, calls=2, shape=False),
    "differential_evolution": Method(
        _tuned(differential_evolution_kernel, adapt_size), gradient=False, calls=2, shape=False
    ),
    "haario": Method(adapt_haario, gradient=False, calls=1, shape=False),
    "robust": Method(adapt_robust, gradient=False, calls=1, shape=False),
    "delayed_rejection": Method(_tuned(delayed_rejection_kernel), gradient=False, calls=1),
    "multiple_try": Method(_tuned(multiple_try_kernel), gradient=False, calls=2),
    "tempered": Method(adapt_tempered, gradient=False, calls=1),
}


def sample(
    target: Target,
    *arguments: Any,
    dim: int | None = None,
    support: Constraint | None = None,
    method: str | None = None,
    chains: int = 64,
    warmup: int | Literal["auto"] = 1000,
    draws: int = 1000,
    thin: int = 1,
    keep: Collection[str] | None = None,
    init: Tensor | Mapping[str, Tensor] | Literal["prior", "optimum"] | None = None,
    target_acceptance: float | None = None,
    compile: str = "auto",
    generator: torch.Generator | None = None,
    seed: int | None = None,
    progress: bool = True,
) -> Chains:
    r"""Draw from a density by Markov chains: find starting points, warm up, run.

    ============================  ========================================================================
    ``method``                    how chains move, once tuned
    ============================  ========================================================================
    ``"hmc"``                     Hamiltonian Monte Carlo, its trajectories' length tuned on all chains
                                  (ChEES)
    ``"mala"``                    a Langevin step, corrected
    ``"barker"``                  Barker's proposal, slower than MALA and harder to mislead
    ``"random_walk"``             Metropolis with a Gaussian proposal
    ``"haario"``                  the same, tuned at every step of the warm-up (adaptive Metropolis)
    ``"robust"``                  the same, tuned by its acceptance alone (RAM), for heavy tails
    ``"delayed_rejection"``       a second, smaller step where the first is refused (tuned, DRAM)
    ``"multiple_try"``            a choice among five Gaussian proposals
    ``"component_wise"``          Metropolis a coordinate at a time, each with a step of its own; for
                                  whole numbers and labels too
    ``"stretch"``                 the affine-invariant move of an ensemble, in few dimensions
    ``"differential_evolution"``  steps along the difference of two other chains of the ensemble
    ``"tempered"``                parallel tempering, for separate modes: many temperatures that swap,
                                  each moved by Barker's proposal, or a random walk where there are no
                                  gradients
    ============================  ========================================================================

    Args:
        target: what is drawn from: a :class:`Density`, maybe unnormalised (with a batch, ``chains`` chains
            for each member); a torch or Pyro distribution; a Pyro model, its arguments after it; or a
            function that returns log-densities, with its ``support`` or ``dim``.
        arguments: of a Pyro model: the data, say.
        dim: of a function of vectors, the numbers of one; without it the function is of single numbers.
        support: of a function, the constraint that values satisfy; all numbers where not given.
        method: from the table, in any spelling of capitals and dashes; where not given, "component_wise"
            where a site is discrete, else "hmc" where the log-density has gradients and "random_walk"
            elsewhere.
        chains: how many at once.
        warmup: steps of tuning, thrown away; ``"auto"`` warms up for 250, 500, 1000, ... steps until the
            chains agree in a trial run (R-hat at most 1.05), and says so in the log where they do not.
        draws: kept draws per chain.
        thin: steps per kept draw.
        keep: names of the sites to keep, where not all.
        init: where to start, on the constrained scale, (chains, \*batch, \*event) or a mapping of such by
            site; ``"prior"`` draws from the prior of a Pyro model, ``"optimum"`` are modes, jittered; where
            not given, standard normal draws on the unconstrained scale (:func:`initial_positions`).
        target_acceptance: what the step size is tuned for; the method's own where not given.
        compile: ``"eager"`` runs the log-density as it is written, ``"graph"`` records it as operations
            without Python, to the same bits, ``"compile"`` compiles them; ``"auto"`` chooses by the length
            of the run, the size of the graph and the length of trajectories that the warm-up of "hmc" finds.
        generator, seed: source of randomness, one at most; torch's global generator where not given.
        progress: show a bar with the acceptance, R-hat and divergences.

    Raises:
        TypeError: for a target that is none of these.
        ValueError: for an unknown method, bad counts, a method whose gradients are missing, no finite
            starting point, or a log-density that is not finite at the start, with its place.

    >>> from torch.distributions import Gamma
    >>> chains = sample(Gamma(3.0, 1.0), warmup=100, draws=100, seed=0, progress=False)
    >>> chains
    Chains(64 chains x 100 draws; x: ())
    >>> bool(abs(chains["x"].mean() - 3) < 0.1)
    True
    """
    method = None if method is None else method_called(method)
    if isinstance(warmup, str) and warmup != "auto":
        raise ValueError(f"warmup should be a number of steps or 'auto' but got {warmup!r}")
    # The target, and where the chains start.
    chains = check_count("chains", chains)
    draws = check_count("draws", draws)
    thin = check_count("thin", thin)
    density = density_of(target, arguments, dim=dim, support=support)
    generator = source_of(generator, seed, density.device)
    begun = evaluations()
    if isinstance(init, str) and init not in ("prior", "optimum"):
        raise ValueError(f"init should be values, 'prior' or 'optimum' but got {init!r}")
    if init is None or isinstance(init, str):
        position = initial_positions(density, chains, start=init or "normal", generator=generator)
    else:
        position = given_positions(density, init, chains)
    # The method: what the target's form allows, unless it is named.
    smooth = has_gradient(density, position)
    if method is None:
        method = "component_wise" if density.cells is not None else "hmc" if smooth else "random_walk"
    warm_up, gradient, calls, shape = METHODS[method]
    if gradient and not smooth:
        raise ValueError(f"method {method!r} needs a log_prob with gradients: use method='random_walk'")
    # Warm-up finds scale and shape of the steps, which are then fixed: draws are from a Markov chain.
    if target_acceptance is not None:
        warm_up = partial(warm_up, target=target_acceptance)
    if warmup == "auto":
        warm_up, expected = partial(warm_up_until_agreed, warm_up), 1000
    else:
        warm_up, expected = partial(warm_up, steps=warmup), warmup
    if shape:
        warm_up = partial(warm_up, covariance="dense" if density.dim <= DENSE else "diagonal")
    # Whether compiling pays depends on how many steps are to come, in all pieces.
    transition, position, acceptance = warm_up(
        density,
        position,
        wrap=wrapper(compile, calls=calls, steps=expected + draws * thin * len(pieces(position))),
        generator=generator,
        progress=progress,
    )
    tuned = evaluations()
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
    drawn.target_acceptance = acceptance
    drawn.warm_up = drawn.warm_up.plus(tuned.since(begun))
    return drawn


def method_called(method: str) -> str:
    """Return the name of a method as the table has it."""
    name = method.lower().replace("-", "_").replace(" ", "_")
    if name == "nuts":
        raise ValueError(
            f"method {method!r} is not here, since trajectories that end at different steps make chains wait "
            f"for each other: use method='hmc', whose length of trajectories is tuned on all chains"
        )
    if name not in METHODS:
        raise ValueError(f"method should be one of {', '.join(METHODS)} but got {method!r}")
    return name
