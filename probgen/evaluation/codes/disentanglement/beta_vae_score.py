"""The score of β-VAE: do differences of codes say which factor is the same?"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from probgen.core import check_count, seed_of
from probgen.evaluation.codes.disentanglement.codes_and_factors import codes_and_factors, standardised
from probgen.evaluation.codes.disentanglement.with_a_factor_fixed import sets_of_pairs


def beta_vae_score(
    codes: Any,
    factors: Any,
    *,
    pairs: int = 64,
    train: int = 10_000,
    test: int = 5_000,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> float:
    r"""Return how often a linear classifier tells from differences of codes which factor is the same.

    A point is the mean of |z_j − z'_j| over pairs of rows that have one factor in common. The score is the
    accuracy of a logistic regression on other points: from 1/K for a guess of K factors to 1. It is close to
    1 soon, also for codes whose coordinates mix factors: it says that factors can be told, and little of
    disentanglement.

    Args:
        codes: shape (n, coordinates), such as the means of q(z | x); each is divided by its standard
            deviation where it varies.
        factors: classes, integers of shape (n, factors). Pairs are drawn from the rows at hand.
        pairs: of a point.
        train, test: points by which the classifier is made, and on which it is scored.
        seed, generator: of the pairs, one at most; seed 0 where not given.

    Raises:
        ValueError: for codes and factors that do not fit, or fewer than 2 factors.

    Source: Higgins and others (2017), beta-VAE; the numbers of points are those of Locatello and others
    (2019).

    >>> factors = torch.cartesian_prod(torch.arange(3), torch.arange(3)).repeat(20, 1)
    >>> beta_vae_score(factors, factors, train=100, test=100)
    1.0
    """
    from sklearn.linear_model import LogisticRegression

    z, classes = codes_and_factors(codes, factors)
    if classes.shape[1] < 2:
        raise ValueError("factors should have at least 2 columns but have 1")
    pairs, train, test = (check_count(n, v) for n, v in (("pairs", pairs), ("train", train), ("test", test)))
    draws = np.random.default_rng(seed_of(seed, generator, default=0) % 2**64)
    z = standardised(z)
    factor, first, second = sets_of_pairs(classes, train + test, pairs, draws)
    block = max(1, 10**7 // (pairs * z.shape[1]))
    places = range(block, len(factor), block)
    blocks = zip(np.split(first, places), np.split(second, places), strict=True)
    apart = np.concatenate([np.abs(z[one] - z[other]).mean(1) for one, other in blocks])
    if len(np.unique(factor[:train])) < 2:
        raise ValueError(f"train should be more points than {train}: one factor alone is fixed in them")
    apart = (apart - apart[:train].mean(0)) / np.where(np.ptp(apart[:train], 0) > 0, apart[:train].std(0), 1)
    model = LogisticRegression(max_iter=1000).fit(apart[:train], factor[:train])
    return float(model.score(apart[train:], factor[train:]))
