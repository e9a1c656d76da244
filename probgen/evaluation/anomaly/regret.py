"""Likelihood regret: what a code of one's own would win a datum over the code that the guide gives it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from probgen.core import Pair, check_count, seed_of, takes_missing, weights_dtype
from probgen.data import source
from probgen.evaluation.likelihood.annealed import in_evaluation
from probgen.evaluation.likelihood.importance import batches_in_order, check_pair
from probgen.evaluation.likelihood.inference_gaps import DRAWS, bounds_of_rows
from probgen.objectives.particles import forget
from probgen.training.settings import whole_numbers


def likelihood_regret(
    pair: Pair,
    x: Any,
    *context: Any,
    steps: int = 100,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Return the regret of each row of x, in nats, the higher the more anomalous, shape (n,).

    It is ELBO(x; q*) − ELBO(x; q(z | x)), q* the normal law with independent coordinates, on the
    unconstrained scale, that is best for the row alone, as in :func:`inference_gaps`. The guide has learned
    codes of normal data, so that others are wrong about what is not; how likely simple data are, whatever
    their kind, is in both bounds and cancels. It is not quite 0 on normal data, and below 0 where a guide has
    better laws than the normal ones. The estimate is of 1,000 draws for each bound.

    Args:
        pair: the model/guide pair, run in evaluation mode, with continuous latent sites.
        x: data as for :func:`log_likelihood`; ``context`` what else model and guide are given.
        steps: of Adam, on all rows of a batch at once, from the guide's own law.
        seed, generator: of all draws, one at most; torch's global state where not given.

    Raises:
        ValueError: for discrete latent sites, and a guide that is a point (Delta).

    Source: Xiao, Yan and Amit (2020), Likelihood regret: an out-of-distribution detection score for
    variational auto-encoder.
    """
    check_pair(pair)
    steps = check_count("steps", steps)
    data = source(
        (x, *context) if context else x, name="x", missing=takes_missing(pair), dtype=weights_dtype(pair)
    )
    forget(pair)  # its weights may be others by now
    parts = []
    with in_evaluation(pair, seed_of(seed, generator)):
        for batch in batches_in_order(pair, data, DRAWS):
            with whole_numbers(batch[0], "x"):
                guide, local = bounds_of_rows(pair, batch, dense=False, steps=steps)
            parts.append(local - guide)
    return torch.cat(parts)
