"""Separated attribute predictability: how much better the best coordinate tells a factor than the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from probgen.core import seed_of
from probgen.evaluation.codes.disentanglement.codes_and_factors import Array, codes_and_factors

PENALTY = 0.01


class SeparatedAttributes(NamedTuple):
    """The mean gap, the gap of each factor, and how well each coordinate tells it, (coordinates, factors)."""

    score: float
    gaps: Tensor
    predictability: Tensor


def sap_score(
    codes: Any,
    factors: Any,
    *,
    continuous: Sequence[int] = (),
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> SeparatedAttributes:
    r"""Return the separated attribute predictability (SAP) of codes.

    S_jk says how well coordinate j alone tells factor k; the gap of a factor is that between its largest and
    its second largest S, and the score is the mean over factors. For classes S is the accuracy, on the half
    of the rows that it has not seen, of a linear support-vector machine with balanced classes and C = 0.01,
    as in Locatello and others (2019); for continuous factors it is the squared correlation.

    On one coordinate a linear machine tells little more than the first and the last of many values, and a
    guess is right for one in K: the score of a class is at most 1 − 1/K, and far below that for many values
    in a row, also where the coordinate is the factor. Such factors are better named continuous. Codes are
    taken in their own units, which the penalty C depends on.

    Args:
        codes: shape (n, coordinates), at least 2 coordinates.
        factors: classes, integers of shape (n, factors).
        continuous: the columns of factors whose values are in an order and evenly apart.
        seed, generator: of the halves, one at most; seed 0 where not given.

    Raises:
        ValueError: for codes and factors that do not fit, and columns that there are not.

    Source: Kumar, Sattigeri and Balakrishnan (2018), Variational inference of disentangled latent concepts
    from unlabeled observations.

    >>> factors = torch.cartesian_prod(torch.arange(5), torch.arange(6))
    >>> round(sap_score(factors, factors, continuous=[0, 1]).score, 6)
    1.0
    """
    z, classes = codes_and_factors(codes, factors, least=2)
    unknown = sorted(set(continuous) - set(range(classes.shape[1])))
    if unknown:
        raise ValueError(
            f"continuous should be columns of factors, 0 to {classes.shape[1] - 1}, but has {unknown[0]}"
        )
    if len(z) < 2:
        raise ValueError("codes should have at least 2 rows but have 1")
    order = np.random.default_rng(seed_of(seed, generator, default=0) % 2**64).permutation(len(z))
    seen, held_out = order[: len(z) // 2], order[len(z) // 2 :]
    table = np.empty((z.shape[1], classes.shape[1]))
    for j, code in enumerate(z.T):
        for k, factor in enumerate(classes.T):
            if k in continuous:
                table[j, k] = _squared_correlation(code, factor)
            else:
                table[j, k] = _accuracy(code[:, None], factor, seen, held_out)
    ordered = np.sort(table, 0)
    gaps = ordered[-1] - ordered[-2]
    return SeparatedAttributes(float(gaps.mean()), torch.from_numpy(gaps), torch.from_numpy(table))


def _squared_correlation(code: Array, factor: Array) -> float:
    """Return the squared correlation, 0 of a coordinate that does not vary."""
    code, factor = code - code.mean(), factor - factor.mean()
    if np.ptp(code) == 0:
        return 0.0
    return float((code @ factor) ** 2 / ((code @ code) * (factor @ factor)))


def _accuracy(code: Array, factor: Array, seen: Array, held_out: Array) -> float:
    from sklearn.svm import LinearSVC

    known = np.unique(factor[seen])
    if len(known) < 2:
        raise ValueError("codes should have more rows: half of them has one value of a factor alone")
    machine = LinearSVC(C=PENALTY, class_weight="balanced", dual=False).fit(code[seen], factor[seen])
    return float(machine.score(code[held_out], factor[held_out]))
