"""How likely models make held-out sequences, in nats a step: exact, or bounds by particles."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from probgen.core import GenerativeModel, Pair, seeded
from probgen.evaluation import filtered_log_likelihoods, log_likelihoods
from probgen.evaluation.likelihood.particle_filter import Filtered
from probgen.objectives import SVI

DRAWS = 10
"""Of the guide, over which the ELBO is averaged."""


def how(model: GenerativeModel, *, particles: int) -> str:
    """Say how the likelihood of a model's sequences is found."""
    if not isinstance(model, Pair):
        return "exact"
    kind = "a particle filter" if isinstance(model, Filtered) else "importance sampling"
    return f"an upper bound of −log p(x) by {kind} of {particles} particles"


@torch.no_grad()
def per_step(model: GenerativeModel, batch: Any, *, particles: int, seed: int) -> dict[str, float]:
    """Return −log p(x) in nats a step with its standard error over sequences and, of a pair, −ELBO.

    Args:
        model: a pair, or a model with ``log_prob(x, *context)``.
        batch: x and its context, such as lengths.
        particles: of bounds.
        seed: of draws.

    Raises TypeError for a model that has neither guide nor likelihood.
    """
    x, *context = batch
    if isinstance(model, Pair):
        estimate = filtered_log_likelihoods if isinstance(model, Filtered) else log_likelihoods
        nats = -estimate(model, x, *context, particles=particles, seed=seed).double()
    elif hasattr(model, "log_prob"):
        nats = -model.log_prob(x, *context).double()  # type: ignore[operator]
    else:
        raise TypeError(f"model should have a guide or a log_prob but {type(model).__name__} has neither")
    steps = _steps(model, x, *context).double()
    ratio = float(nats.sum() / steps.sum())
    found = {"nats_per_step": ratio}
    if len(nats) > 1:  # of a ratio of sums: the error of the mean of what each sequence is above or below it
        off = (nats - ratio * steps).std() / steps.mean()
        found["nats_per_step_stderr"] = float(off) / math.sqrt(len(nats))
    if isinstance(model, Pair):
        was, svi = model.training, SVI(model.eval())
        with seeded(seed):
            bounds = torch.stack([svi(x, *context)[1]["elbo"].double() for _ in range(DRAWS)])
        model.train(was)
        found["elbo_per_step"] = -float(bounds.mean() / steps.mean())
    return found


def _steps(model: GenerativeModel, x: Tensor, *context: Tensor) -> Tensor:
    """Return how many steps each sequence has."""
    steps_of = getattr(model, "steps_of", None)
    return (
        x.new_full(x.shape[:1], x.shape[1], dtype=torch.int64) if steps_of is None else steps_of(x, *context)
    )
