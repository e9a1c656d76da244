"""Likelihood of sequences by a particle filter."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from probgen.core import Estimate, Pair, check_count, evaluating, seed_of, seeded, weights_dtype
from probgen.data import source
from probgen.evaluation.likelihood.importance import batches_in_order, check_pair


@runtime_checkable
class Filtered(Protocol):
    r"""A pair of sequences that can be run step by step.

    ``filtering(x, \*context)`` returns a function of t and of z_{t−1}, shape (particles, n, d), or None
    before the first step, to p(z_t | z_{t−1}), q(z_t | z_{t−1}, x), of batch shape (particles, n), before the
    first step (n,), and a function from z_t to log p(x_t | z_t), shape (particles, n).
    """

    def filtering(self, x: Tensor, *context: Tensor) -> Callable[[int, Tensor | None], Any]: ...

    def steps_of(self, x: Tensor, *context: Tensor) -> Tensor: ...


class _Particles(NamedTuple):
    """Weighted states, shape (K, n, d) and (K, n), and log p(x) up to the last resampling, (n,)."""

    z: Tensor
    log_weights: Tensor
    log_evidence: Tensor


def filtered_log_likelihood(
    pair: Pair,
    x: Any,
    *context: Any,
    particles: int = 100,
    resample_below: float = 0.5,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> Estimate:
    r"""Estimate the mean of log p(x) over sequences, in nats a sequence, by a particle filter.

    K particles go along each sequence, drawn from the guide's steps, w_t = p(z_t | z_{t−1}) p(x_t | z_t) /
    q(z_t | z_{t−1}, x); where their effective number is low, they are drawn anew by their weights
    (systematically). The product over resamplings of the mean weight is an unbiased estimate of p(x), so that
    its logarithm is in expectation a lower bound, one that tightens with K and does not loosen with length as
    that of :func:`log_likelihood` does. The standard error is over sequences.

    Args:
        pair: with a method ``filtering``, as ``VRNN`` and ``DeepMarkov``; it is run in evaluation mode.
        x: sequences (n, T, \*event), or ``data.Ragged``, which tells lengths; ``context`` their lengths.
        particles: K.
        resample_below: the effective number of particles, as a share of K, below which they are drawn anew;
            1 for at each step, 0 for never, which is importance sampling.
        seed, generator: of the draws, one at most; torch's global state where not given.

    Raises:
        TypeError: for a pair that cannot be run step by step.
        ValueError: for a share outside of [0, 1], and a log p(x) that is not finite.

    Source: Gordon, Salmond and Smith (1993); Maddison and others (2017), Filtering variational objectives.
    """
    seed = seed_of(seed, generator)
    values = filtered_log_likelihoods(
        pair, x, *context, particles=particles, resample_below=resample_below, seed=seed
    ).double()
    stderr = float(values.std() / math.sqrt(len(values))) if len(values) > 1 else math.nan
    return Estimate(float(values.mean()), stderr)


@torch.no_grad()
def filtered_log_likelihoods(
    pair: Pair,
    x: Any,
    *context: Any,
    particles: int = 100,
    resample_below: float = 0.5,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Estimate log p(x) of each sequence, shape (n,), as :func:`filtered_log_likelihood` does."""
    check_pair(pair)
    if not isinstance(pair, Filtered):
        raise TypeError(
            f"pair should be run step by step, by a method 'filtering', which {type(pair).__name__} has not: "
            "log_likelihood needs none"
        )
    particles = check_count("particles", particles)
    if not 0 <= resample_below <= 1:
        raise ValueError(
            f"resample_below should be a share of the particles, 0 to 1, but is {resample_below}"
        )
    data = source((x, *context) if context else x, name="x", dtype=weights_dtype(pair))
    with seeded(seed_of(seed, generator)), evaluating(pair):
        parts = batches_in_order(pair, data, -(-particles // 100))
        values = torch.cat([_evidence(pair, batch, particles, resample_below) for batch in parts])
    if not torch.isfinite(values).all():
        row = int((~torch.isfinite(values)).nonzero()[0])
        raise ValueError(f"log p(x) should be finite but is {float(values[row])} at sequence {row}")
    return values


def filtered_states(pair: Filtered, batch: tuple[Tensor, ...], particles: int) -> tuple[Tensor, Tensor]:
    """Draw the last states of sequences given all of their steps, (particles, n, d), and log p(x), (n,)."""
    found = _filtered(pair, batch, particles, 0.5)
    return _resampled(found, 1.0).z, found.log_evidence + _log_mean(found.log_weights)


def _evidence(pair: Filtered, batch: tuple[Tensor, ...], particles: int, below: float) -> Tensor:
    """Estimate log p(x) of the sequences of a batch."""
    found = _filtered(pair, batch, particles, below)
    return found.log_evidence + _log_mean(found.log_weights)


def _filtered(pair: Filtered, batch: tuple[Tensor, ...], particles: int, below: float) -> _Particles:
    """Lead particles along the sequences of a batch; each stays where its sequence ends."""
    step, lengths = pair.filtering(*batch), pair.steps_of(*batch)
    found: _Particles | None = None
    for t in range(int(lengths.max())):
        prior, proposal, emitted = step(t, None if found is None else found.z)
        z = proposal.sample((particles,) if found is None else ())
        ratio = prior.log_prob(z) + emitted(z) - proposal.log_prob(z)
        ratio = torch.where(t < lengths, ratio, 0.0).double()
        if found is None:
            found = _Particles(z, ratio, torch.zeros_like(ratio[0]))
        else:
            z = torch.where((t < lengths).reshape(-1, *[1] * (z.dim() - 2)), z, found.z)
            found = found._replace(z=z, log_weights=found.log_weights + ratio)
        found = _resampled(found, below)
    assert found is not None
    return found


def _resampled(found: _Particles, below: float) -> _Particles:
    """Draw particles anew, by their weights, of the sequences whose effective number is low."""
    count, rows = found.log_weights.shape
    weights = found.log_weights.softmax(0)
    low = 1 / weights.square().sum(0) < below * count * (1 + 1e-9) if below else torch.zeros(rows).bool()
    low = low.to(weights.device)
    # Systematic: one uniform number a sequence, and a comb of K teeth through the sum of the weights.
    teeth = (torch.arange(count).to(weights) + torch.rand(rows, 1, dtype=weights.dtype).to(weights)) / count
    sums = weights.T.cumsum(1).contiguous()
    chosen = torch.searchsorted(sums, teeth * sums[:, -1:]).clamp_(max=count - 1).T
    chosen = torch.where(low, chosen, torch.arange(count, device=low.device)[:, None])
    index = chosen.reshape(count, rows, *[1] * (found.z.dim() - 2)).expand(found.z.shape)
    return _Particles(
        found.z.gather(0, index),
        torch.where(low, 0.0, found.log_weights),
        torch.where(low, found.log_evidence + _log_mean(found.log_weights), found.log_evidence),
    )


def _log_mean(log_weights: Tensor) -> Tensor:
    return log_weights.logsumexp(0) - math.log(len(log_weights))
