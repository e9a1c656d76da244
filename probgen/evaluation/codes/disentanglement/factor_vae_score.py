"""The score of FactorVAE: does the coordinate that varies least say which factor is fixed?"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from probgen.core import check_count, seed_of
from probgen.evaluation.codes.disentanglement.codes_and_factors import Array, codes_and_factors
from probgen.evaluation.codes.disentanglement.with_a_factor_fixed import sets_of_rows


class FactorVAEScore(NamedTuple):
    """The accuracy of the vote, and how many coordinates take part in it."""

    score: float
    active: int


def factor_vae_score(
    codes: Any,
    factors: Any,
    *,
    rows: int = 64,
    train: int = 10_000,
    test: int = 5_000,
    least_scale: float = 0.05,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> FactorVAEScore:
    r"""Return how often the coordinate of least relative variance tells which factor is fixed.

    A point is a set of rows that have one factor in common: the coordinate j of least Var(z_j in the set) /
    Var(z_j) votes. The factor that each coordinate stands for is that of most of its points, and the score is
    the accuracy of this rule on other points: from 1/K for a guess of K factors to 1. Two coordinates for one
    factor cost nothing.

    A coordinate that hardly varies takes no part: its quotient is chance, or 0/0, and would win each vote.

    Args:
        codes: shape (n, coordinates), such as the means of q(z | x).
        factors: classes, integers of shape (n, factors). Rows of a set are drawn from those at hand, with
            replacement: each value should have far more than a set.
        rows: of a set.
        train, test: points by which the rule is made, and on which it is scored.
        least_scale: the standard deviation, in units of the codes, below which a coordinate takes no part;
            the default is for codes whose prior is a standard normal law.
        seed, generator: of the sets, one at most; seed 0 where not given.

    Raises:
        ValueError: for codes and factors that do not fit, and where no coordinate varies so much.

    Source: Kim and Mnih (2018), Disentangling by factorising; the threshold is that of Locatello and others
    (2019).

    >>> factors = torch.cartesian_prod(torch.arange(3), torch.arange(3)).repeat(20, 1)
    >>> factor_vae_score(factors, factors, train=100, test=100)
    FactorVAEScore(score=1.0, active=2)
    """
    z, classes = codes_and_factors(codes, factors)
    rows = check_count("rows", rows, least=2)
    train, test = check_count("train", train), check_count("test", test)
    scales = z.std(0)
    active = (scales >= least_scale) & (np.ptp(z, 0) > 0)
    if not active.any():
        raise ValueError(
            f"codes should have a coordinate whose standard deviation is at least least_scale = {least_scale}"
            f" but the largest is {scales.max():.3g}"
        )
    z = z[:, active] / scales[active]
    draws = np.random.default_rng(seed_of(seed, generator, default=0) % 2**64)
    sets = sets_of_rows(classes, train + test, rows, draws)
    votes = _least_variable(z, sets.rows)
    counts = np.zeros((z.shape[1], classes.shape[1]), dtype=np.int64)
    np.add.at(counts, (votes[:train], sets.factor[:train]), 1)
    told = counts.argmax(1)[votes[train:]]
    return FactorVAEScore(float((told == sets.factor[train:]).mean()), int(active.sum()))


def _least_variable(z: Array, sets: Array) -> Array:
    """Return for each set of rows the coordinate that varies least in it, block by block."""
    block = max(1, 10**7 // (sets.shape[1] * z.shape[1]))
    parts = np.split(sets, range(block, len(sets), block))
    return np.concatenate([z[part].var(1).argmin(1) for part in parts])
