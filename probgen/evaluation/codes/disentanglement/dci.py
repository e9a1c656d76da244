"""Disentanglement, completeness and informativeness, from what trees need of a code to tell factors."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from probgen.core import check_count, seed_of
from probgen.evaluation.codes.disentanglement.codes_and_factors import (
    codes_and_factors,
    concentration,
    standardised,
)

DEPTH = 10


class DCI(NamedTuple):
    """The three scores, and the importance of coordinates for factors, shape (coordinates, factors)."""

    disentanglement: float
    completeness: float
    informativeness: float
    importance: Tensor


def dci(
    codes: Any,
    factors: Any,
    *,
    trees: int = 100,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> DCI:
    r"""Return whether a coordinate is needed for one factor alone, and a factor needs one coordinate alone.

    A forest tells each factor from the codes; R_jk is the importance of coordinate j for factor k, the share
    of the drop in entropy at its splits. Disentanglement is Σ_j ρ_j (1 − H(R_j·) / log K) over K factors, ρ_j
    the share of coordinate j in all importance; completeness the mean over factors of 1 − H(R_·k) / log d
    over d coordinates, H the entropy of shares; informativeness the mean accuracy on the third of the rows
    that no tree has seen. A guess has the accuracy of the commonest value.

    The forest is bagged, of trees of depth 10 at most that split by entropy and look at all coordinates at
    each split. Importances depend on the learner: the scores of boosted trees, as in Locatello and others
    (2019), or of the lasso are others, and not comparable.

    Args:
        codes: shape (n, d), d ≥ 2.
        factors: classes, integers of shape (n, K), K ≥ 2.
        trees: of a forest.
        seed, generator: of the split and the forests, one at most; seed 0 where not given.

    Raises:
        ValueError: for codes and factors that do not fit.

    Source: Eastwood and Williams (2018), A framework for the quantitative evaluation of disentangled
    representations.

    >>> factors = torch.cartesian_prod(torch.arange(3), torch.arange(3)).repeat(20, 1)
    >>> dci(factors, factors, trees=5)[:3]
    (1.0, 1.0, 1.0)
    """
    from sklearn.ensemble import RandomForestClassifier

    z, classes = codes_and_factors(codes, factors, least=2)
    if classes.shape[1] < 2:
        raise ValueError("factors should have at least 2 columns but have 1")
    trees = check_count("trees", trees)
    seed = seed_of(seed, generator, default=0) % 2**32  # for scikit-learn
    z = standardised(z)  # trees are made of float32, and take what is 1e-7 apart for equal
    order = np.random.default_rng(seed).permutation(len(z))
    held_out, seen = np.split(order, [len(z) // 3])
    if not len(held_out):
        raise ValueError(f"codes should have at least 3 rows but have {len(z)}")
    importance, accuracies = [], []
    for column in classes.T:
        forest = RandomForestClassifier(
            trees, criterion="entropy", max_depth=DEPTH, max_features=None, random_state=seed
        ).fit(z[seen], column[seen])
        importance.append(forest.feature_importances_)
        accuracies.append(forest.score(z[held_out], column[held_out]))
    weights = np.stack(importance, 1)
    of_codes = weights.sum(1)
    total = of_codes.sum()
    shares = of_codes / total if total > 0 else of_codes
    return DCI(
        disentanglement=float((shares * concentration(weights)).sum()),
        completeness=float(concentration(weights.T).mean()),
        informativeness=float(np.mean(accuracies)),
        importance=torch.from_numpy(weights),
    )
