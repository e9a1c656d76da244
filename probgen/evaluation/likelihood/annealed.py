"""Likelihood by annealed importance sampling, from prior or guide to the posterior, and back from a draw."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import pyro
import torch
from pyro import poutine
from torch import Tensor

from probgen.core import (
    Estimate,
    Pair,
    PairDensity,
    check_count,
    default_generator,
    evaluating,
    sample_sites,
    seed_of,
    seeded,
    takes_missing,
    weights_dtype,
)
from probgen.core.supports import Supported
from probgen.data import source
from probgen.evaluation.likelihood.bridge import Bridge, Moves, bridge_of, check_together, tuned
from probgen.evaluation.likelihood.importance import (
    ELEMENTS,
    batches_in_order,
    check_pair,
    weighted_draws,
)
from probgen.objectives.discrete_sites import discrete_sites
from probgen.objectives.particles import forget
from probgen.training.settings import whole_numbers

Start = Literal["prior", "guide"]

PILOTS, SPREAD = 4, 64
"""Chains a row by which step sizes are found, and draws of the start by which its spread is."""

STEEPNESS = 4.0
"""The schedule is a sigmoid of numbers from minus this to this."""


class AnnealedLikelihood(NamedTuple):
    r"""What annealing found of log p(x), in nats per datum.

    Attributes:
        value, stderr: the mean over rows of x, and its standard error over them.
        values: log p(x) of each row, (n,), as the log of the mean weight of its chains.
        stderrs: the standard error of each of these by its chains, (n,), to first order; NaN of one chain.
        ess: the effective sample size (Σ w)² / Σ w² of each row's chains, (n,). Near 1 one chain decides,
            and neither value nor error is to be trusted.
        log_weights: of each chain, (chains, n), in float64; their mean is a bound too, a looser one.
        acceptance: the mean over temperatures of the probability with which a trajectory was accepted, (n,);
            NaN of one temperature, where nothing moves.
    """

    value: float
    stderr: float
    values: Tensor
    stderrs: Tensor
    ess: Tensor
    log_weights: Tensor
    acceptance: Tensor


class Bracket(NamedTuple):
    """Bounds on the mean of log p(x) over draws of a model, from below and from above, and their distance."""

    lower: AnnealedLikelihood
    upper: AnnealedLikelihood
    gap: Estimate


@torch.no_grad()
def annealed_log_likelihood(
    pair: Pair,
    x: Any,
    *context: Any,
    temperatures: int = 500,
    chains: int = 16,
    leapfrog_steps: int = 5,
    start: Start = "prior",
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> AnnealedLikelihood:
    r"""Estimate the mean of log p(x) over data, in nats per datum, by annealed importance sampling.

    Chains start at z₀ ~ π₀(z), the prior p(z) or the guide q(z | x), and are led to the posterior past the
    laws f_t(z) ∝ π₀(z)^(1 − β_t) p(z, x)^(β_t), 0 = β₀ < β₁ < ... < β_T = 1, by a trajectory of Hamiltonian
    Monte Carlo at each. The weight w = Π_t (p(z_{t−1}, x) / π₀(z_{t−1}))^(β_t − β_{t−1}) has the mean p(x)
    whatever T and however badly chains mix, so that the log of the mean of K weights is a lower bound in
    expectation. With T = 1 it is importance sampling; from the guide with a few T, that of a guide that
    Markov chains have refined. The β_t lie on a sigmoid, dense at both ends.

    Step sizes, one a row and temperature, are found beforehand by other chains that follow the same path
    until 65 % of trajectories are accepted. The chains that are weighed take them as given and draw numbers
    of their own: each of their moves keeps its f_t, and the weights' mean is p(x) given whatever was found.

    Args:
        pair: the model/guide pair, run in evaluation mode and left in its own; its networks should take
            codes of shape (chains, n, \*event).
        x: data as for :func:`log_likelihood`; ``context`` what else model and guide are given.
        temperatures: T. The cost is T (leapfrog_steps + 1) gradients of all chains.
        chains: K, chains of each row.
        leapfrog_steps: of each trajectory.
        start: "prior" or "guide". From the prior no guide is looked at; from a good guide the path is short.
        seed, generator: of the draws, one at most; torch's global state where not given.

    Raises:
        ValueError: for discrete latent sites, a guide to start from that is a point (Delta) or has another
            support than the prior, networks that take no codes of that shape, and a log p(x) that is not
            finite, as for x outside the support.

    Source: Neal (2001), Annealed importance sampling; Wu, Burda, Salakhutdinov and Grosse (2017), On the
    quantitative analysis of decoder-based generative models.

    >>> from probgen import models, nets
    >>> vae = models.VAE(nets.NormalHead(nets.MLP(3, 2)), nets.NormalHead(nets.MLP(2, 3)))
    >>> found = annealed_log_likelihood(vae, torch.zeros(4, 3), temperatures=10, chains=5, seed=0)
    >>> found.log_weights.shape
    torch.Size([5, 4])
    """
    check_pair(pair)
    path = _path(temperatures, chains, leapfrog_steps, start)
    data = source(
        (x, *context) if context else x, name="x", missing=takes_missing(pair), dtype=weights_dtype(pair)
    )
    forget(pair)  # its weights may be others by now
    with in_evaluation(pair, seed_of(seed, generator)):
        parts = []
        for batch in batches_in_order(pair, data, path.chains):
            bridge, moves = _prepared(pair, batch, path)
            begin = _starts(pair, bridge.density, batch, path.start, path.chains)
            parts.append(_weights(bridge, begin, moves, path.powers))
    return _likelihood(*(torch.cat(part, -1) for part in zip(*parts, strict=True)))


@torch.no_grad()
def bracketed_log_likelihood(
    pair: Pair,
    n: int,
    *context: Tensor,
    temperatures: int = 500,
    chains: int = 16,
    leapfrog_steps: int = 5,
    start: Start = "prior",
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> Bracket:
    r"""Bound the mean of log p(x) over ``n`` draws of the model, from below and from above.

    The model draws z* and x together, so that z* is an exact draw of the posterior given x. Chains that
    start at z* and follow the path of :func:`annealed_log_likelihood` backwards have weights 1 / w of mean
    1 / p(x): minus the log of their mean is an upper bound in expectation. The truth lies between the two
    means, and their distance says how well annealing with these settings does; on data that the model has
    not drawn, where no z* is known, it suggests as much as far as the posteriors are alike.

    Args:
        pair, temperatures, chains, leapfrog_steps, start: as of :func:`annealed_log_likelihood`.
        n: draws of the model; ``context`` has a row for each.
        seed, generator: of all draws, one at most; torch's global state where not given.

    Source: Grosse, Ghahramani and Adams (2015), Sandwiching the marginal likelihood using bidirectional
    Monte Carlo.
    """
    check_pair(pair)
    n, path = check_count("n", n), _path(temperatures, chains, leapfrog_steps, start)
    forget(pair)
    with in_evaluation(pair, seed_of(seed, generator)):
        story = poutine.trace(pair.model)
        x = story(None, *context, n=n)
        drawn = sample_sites(story.trace)
        rows = max(1, ELEMENTS // (path.chains * x[0].numel()))
        up, down = [], []
        for some in (slice(first, first + rows) for first in range(0, n, rows)):
            batch = (x[some], *(part[some] for part in context))
            bridge, moves = _prepared(pair, batch, path)
            begin = _starts(pair, bridge.density, batch, path.start, path.chains)
            up.append(_weights(bridge, begin, moves, path.powers))
            # The same path from its end: at z*, by the same moves in the opposite order.
            shapes = bridge.density.shapes
            exact = {name: drawn[name]["value"].reshape(n, *shapes[name])[some] for name in shapes}
            end = bridge.density.unconstrain(exact).expand(path.chains, -1, -1).contiguous()
            down.append(_weights(bridge, end, moves.reversed(), path.powers[::-1]))
    lower = _likelihood(*(torch.cat(part, -1) for part in zip(*up, strict=True)))
    upper = _likelihood(*(torch.cat(part, -1) for part in zip(*down, strict=True)), sign=-1)
    return Bracket(lower, upper, mean_over_rows(upper.values - lower.values))


@contextlib.contextmanager
def in_evaluation(pair: Pair, seed: int | None = None) -> Iterator[None]:
    """Seed, evaluate, and let a law give −∞ outside of its support, not an error."""
    with seeded(seed), evaluating(pair), Supported(), pyro.validation_enabled(False):
        yield


def mean_over_rows(values: Tensor) -> Estimate:
    """Return the mean of a number of each row, with its standard error over rows."""
    stderr = float(values.std() / math.sqrt(len(values))) if len(values) > 1 else math.nan
    return Estimate(float(values.mean()), stderr)


class _Path(NamedTuple):
    """The powers β₀ = 0 to β_T = 1, the chains, their trajectories, and where they start."""

    powers: list[float]
    chains: int
    leapfrog_steps: int
    start: Start


def _path(temperatures: int, chains: int, leapfrog_steps: int, start: Start) -> _Path:
    if start not in ("prior", "guide"):
        raise ValueError(f"start should be 'prior' or 'guide' but is {start!r}")
    steps = check_count("temperatures", temperatures)
    ends = torch.linspace(-STEEPNESS, STEEPNESS, steps + 1, dtype=torch.float64).sigmoid()
    powers = ((ends - ends[0]) / (ends[-1] - ends[0])).tolist()
    leapfrog_steps = check_count("leapfrog_steps", leapfrog_steps)
    return _Path(powers, check_count("chains", chains), leapfrog_steps, start)


def _prepared(pair: Pair, batch: tuple[Tensor, ...], path: _Path) -> tuple[Bridge, Moves]:
    """Return the path of some rows, and its moves with step sizes found by chains that are then let go."""
    refuse_discrete(pair, batch)
    with whole_numbers(batch[0], "x"):
        density = pair.posterior(*batch)
        check_together(density)
        bridge = bridge_of(pair, density, batch, path.start)
        pilots = _starts(pair, density, batch, path.start, SPREAD)
        return bridge, tuned(bridge, pilots, PILOTS, path.powers, path.leapfrog_steps)


def refuse_discrete(pair: Pair, batch: tuple[Tensor, ...]) -> None:
    """Raise for a pair with discrete latent sites."""
    found = discrete_sites(pair, batch)
    if found.guided or found.summed:
        raise ValueError(
            "annealing moves along gradients, so that latent sites should be continuous, but "
            f"{sorted(found.guided | found.summed)} are discrete: use log_likelihood, which sums them out"
        )


def _starts(pair: Pair, density: PairDensity, batch: tuple[Tensor, ...], start: Start, chains: int) -> Tensor:
    """Draw positions (chains, n, dim) from the prior or the guide."""
    if start == "prior":
        seed = int(torch.randint(2**62, ()))
        return density.unconstrain(density.simulate(chains, seed=seed)[0]).to(density.dtype)
    return density.unconstrain(weighted_draws(pair, batch, chains)[0]).to(density.dtype)


def _weights(
    bridge: Bridge, position: Tensor, moves: Moves, powers: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Lead chains along the powers, up or down; return log-weights (chains, n) and the acceptance (n,)."""
    generator = default_generator(position.device)
    log_weights = torch.zeros(position.shape[:-1], dtype=torch.float64, device=position.device)
    between = range(len(powers) - 2)
    acceptance = torch.full_like(log_weights[0], 0.0 if between else math.nan)
    for t in between:
        # log w += (β_{t+1} − β_t) (log p(z, x) − log π₀(z)), where z is a draw of about f_t ...
        state, height = bridge.evaluate(position, powers[t + 1])
        log_weights += (powers[t + 1] - powers[t]) * height.double()
        # ... then z moves by a transition that keeps f_{t+1}.
        state, info = moves.step(bridge, state, powers[t + 1], t, generator)
        position, acceptance = state.position, acceptance + info.acceptance.mean(0) / len(between)
    _, height = bridge.evaluate(position, powers[-1])
    log_weights += (powers[-1] - powers[-2]) * height.double()
    return log_weights, acceptance


def _likelihood(log_weights: Tensor, acceptance: Tensor, *, sign: int = 1) -> AnnealedLikelihood:
    """Return log p(x) by weights of mean p(x), or with sign −1 of mean 1 / p(x)."""
    chains = len(log_weights)
    total = log_weights.logsumexp(0)
    values = sign * (total - math.log(chains))
    if not values.isfinite().all():
        row = int((~values.isfinite()).nonzero()[0])
        raise ValueError(
            f"log p(x) should be finite but is {float(values[row])} at row {row} of x: is it in the support "
            "of the model's law of x?"
        )
    # Of shares s = w / Σ w: the effective sample size 1 / Σ s², and the standard deviation of K s.
    shares = (log_weights - total).exp()
    stderrs = shares.std(0) * math.sqrt(chains) if chains > 1 else torch.full_like(values, math.nan)
    mean, stderr = mean_over_rows(values)
    return AnnealedLikelihood(
        mean, stderr, values, stderrs, 1 / shares.square().sum(0), log_weights, acceptance
    )
