"""Likelihood of held-out data by importance sampling."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor

from probgen.core import (
    Estimate,
    Pair,
    check_count,
    evaluating,
    log_joint_prob,
    sample_sites,
    seed_of,
    seeded,
    takes_missing,
    weights_dtype,
)
from probgen.core.summed_out import enumerated_dim
from probgen.data import Source, source
from probgen.objectives.discrete_sites import discrete_sites
from probgen.objectives.masks_of_latent_sites import masked_as_in_model
from probgen.objectives.particles import forget, summed_at, traces_of
from probgen.objectives.traced_pair import check_sites, drawn_sites, refuse_points
from probgen.training.settings import check_dtype, whole_numbers

COMBINATIONS = 1024
"""Of values of the guide's discrete sites, up to which they are summed out; more are drawn."""
ELEMENTS = 2**22
"""Particles times data times event size in one pass: bounds memory, not the result."""


def log_likelihood(
    pair: Pair,
    x: Any,
    *context: Any,
    particles: int = 1000,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> Estimate:
    r"""Estimate the mean of log p(x) over data, in nats per datum, by importance sampling.

    log p(x) ≈ log (1/K) Σ_k p(x, z_k) / q(z_k | x) with z_k ~ q(z | x): a lower bound in expectation that
    tightens with K. The standard error is over data.

    Args:
        pair: the model/guide pair, which is run in evaluation mode and left in its own. What ``pyro.factor``
            adds in its guide is no part of q(z | x) and left out.
        x: data, shape (n, \*event), or in another form that :func:`probgen.fit` takes, such as
            :class:`~probgen.data.MemoryMapped`; ``context`` what else model and guide are given.
        particles: K, the draws of z per datum.
        seed, generator: of the draws, one at most; torch's global state where not given.

    Raises:
        ValueError: for a guide that is a point (Delta) in a continuous space and so has no density, and a
            log p(x) that is not finite. Draws need not be reparameterised: guides of discrete sites do too.

    Source: Burda, Grosse and Salakhutdinov (2016), Importance weighted autoencoders.
    """
    seed = seed_of(seed, generator)
    values = log_likelihoods(pair, x, *context, particles=particles, seed=seed).double()
    stderr = float(values.std() / math.sqrt(len(values))) if len(values) > 1 else math.nan
    return Estimate(float(values.mean()), stderr)


@torch.no_grad()
def log_likelihoods(
    pair: Pair,
    x: Any,
    *context: Any,
    particles: int = 1000,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Estimate log p(x) for each row of x, shape (n,), as :func:`log_likelihood` does."""
    check_pair(pair)
    particles = check_count("particles", particles)
    data = source(
        (x, *context) if context else x, name="x", missing=takes_missing(pair), dtype=weights_dtype(pair)
    )
    forget(pair)  # its weights may be others by now
    with seeded(seed_of(seed, generator)), evaluating(pair):
        values = torch.cat([_evidence(pair, batch, particles) for batch in batches_in_order(pair, data)])
    if not torch.isfinite(values).all():
        row = int((~torch.isfinite(values)).nonzero()[0])
        raise ValueError(f"log p(x) should be finite but is {float(values[row])} at row {row} of x")
    return values


def batches_in_order(pair: Pair, data: Source, draws: int = 1) -> Iterator[tuple[Tensor, ...]]:
    """Yield data in their order, no more rows at a time than memory should hold with so many draws."""
    device = None if data.tensors else next((weight.device for weight in pair.parameters()), None)
    rows = None
    if not data.own_batches:
        (x, *_) = next(data.batches(1, shuffle=False))
        rows = max(1, min(data.rows or 1, ELEMENTS // (draws * x[0].numel())))
    for batch in data.batches(rows, shuffle=False, device=device):
        check_dtype(pair, batch[0], "x")
        yield batch


def _evidence(pair: Pair, batch: tuple[Tensor, ...], particles: int) -> Tensor:
    """Estimate log p(x) for each row of a batch."""
    x = batch[0]
    values = min(discrete_sites(pair, batch).combinations, COMBINATIONS)
    block = max(1, min(particles, ELEMENTS // (x.numel() * values)))
    total = torch.tensor(-torch.inf, device=x.device)
    for drawn in range(0, particles, block):
        with whole_numbers(x, "x"):
            weights = _log_weights(pair, batch, min(block, particles - drawn))
        total = torch.logaddexp(total.to(weights), weights.logsumexp(0))
    return total - math.log(particles)


def check_pair(pair: Pair) -> None:
    """Raise unless something is a model with a guide, of which there are importance weights."""
    if not isinstance(pair, Pair):
        raise TypeError(f"pair should be a probgen.Pair but is a {type(pair).__name__}")


def _log_weights(pair: Pair, batch: tuple[Tensor, ...], particles: int) -> Tensor:
    """Return log p(x, z) − log q(z | x), shape (particles, n)."""
    _, log_p, log_q = weighted_draws(pair, batch, particles)
    return log_p - log_q


def weighted_draws(
    pair: Pair, batch: tuple[Tensor, ...], particles: int, *, drawn: Collection[str] = ()
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    r"""Draw z from the guide, by site (particles, n, \*event), with log p(x, z) and log q(z | x).

    The draws of a site in plates within that of the data have shape (particles, values, n, \*event).
    Discrete sites of finitely many values, up to 1,024 combinations for a datum, are summed out of both,
    unless some of them are to be ``drawn``.
    """
    rows = len(batch[0])
    draws: dict[str, list[Tensor]] = {}
    log_p, log_q = [], []
    discrete = discrete_sites(pair, batch)
    few = discrete.combinations <= COMBINATIONS and discrete.guided.isdisjoint(drawn)
    for traces in traces_of(pair, particles, *batch, guided=False):
        if discrete.guided and few:
            traces = summed_at(pair, traces, discrete, *batch)
        model_sites, guide_sites = sample_sites(traces.model), sample_sites(traces.guide)
        latent = check_sites(model_sites, guide_sites, reparameterised=False)
        refuse_points(model_sites, guide_sites)
        shape, nesting = (traces.particles, rows), traces.nesting
        proposed = drawn_sites(masked_as_in_model(model_sites, guide_sites))
        log_p.append(log_joint_prob(traces.model, rows, nesting=nesting).expand(shape))
        log_q.append(log_joint_prob(traces.guide, rows, nesting=nesting, sites=proposed).expand(shape))
        for name in latent:
            site = guide_sites[name]
            if enumerated_dim(site) is None:
                # Values in plates within the data's come between the particles and the rows.
                value = site["value"].reshape(traces.particles, -1, rows, *site["fn"].event_shape)
                draws.setdefault(name, []).append(value.squeeze(1))
    return {name: torch.cat(parts) for name, parts in draws.items()}, torch.cat(log_p), torch.cat(log_q)
