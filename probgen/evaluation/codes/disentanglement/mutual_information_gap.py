"""The mutual information gap: how much more the best coordinate says of a factor than the second best."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from probgen.core import check_count, seed_of, seeded
from probgen.evaluation.codes.disentanglement.codes_and_factors import (
    Array,
    classes_of,
    codes_and_factors,
    entropy,
)

BLOCK = 10**6
"""Numbers of a block of densities."""


class MutualInformationGap(NamedTuple):
    """The mean gap, the gap of each factor, and I(z_j; v_k) / H(v_k), shape (coordinates, factors)."""

    score: float
    gaps: Tensor
    information: Tensor


@torch.no_grad()
def mutual_information_gap(
    law: Distribution,
    factors: Any,
    *,
    draws: int = 10_000,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> MutualInformationGap:
    r"""Return the mutual information gap of drawn codes, by the densities of their laws.

    The gap of a factor is (I(z_j; v) − the next I(z_i; v)) / H(v), j the coordinate that says most of it, and
    the score is the mean over factors: 1 where each factor is in one coordinate alone, 0 where two say the
    same. I(z_j; v) = E[log q(z_j | v) − log q(z_j)] over drawn codes, where q(z_j) is the mean of q(z_j | x)
    over all N rows and q(z_j | v) that over the rows with the value v. The rows should be an even sample of
    all combinations, or all of them. A coordinate tells rows of one value apart by at most the log of their
    number: with fewer than some hundred rows a value, laws that are narrower than the rows lie apart seem to
    say more than they do.

    Chen and others leave the shape of dSprites out of the factors; Locatello and others keep it.

    Args:
        law: of the codes of N rows, with independent coordinates, such as ``vae.encode(x)``.
        factors: classes, integers of shape (N, factors).
        draws: rows that a code is drawn for, drawn without replacement, all of them where these are fewer.
            The cost is draws · N · coordinates densities.
        seed, generator: of the draws, one at most; seed 0 where not given.

    Raises:
        ValueError: for a law whose coordinates depend on each other or that is a point, and for factors that
            do not fit.

    Source: Chen, Li, Grosse and Duvenaud (2018), Isolating sources of disentanglement in VAEs.

    >>> from torch.distributions import Independent, Normal
    >>> factors = torch.cartesian_prod(torch.arange(2), torch.arange(2)).repeat(50, 1)
    >>> law = Independent(Normal(10.0 * factors, 1.0), 1)
    >>> round(mutual_information_gap(law, factors).score, 3)
    1.0
    """
    by_coordinate, (rows, size) = _by_coordinate(law)
    classes = classes_of(factors, rows)
    draws = min(check_count("draws", draws), rows)
    seed = seed_of(seed, generator, default=0)
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))[:draws]
    with seeded(seed):
        codes = by_coordinate.sample()
    values = torch.from_numpy(classes)
    members = [[(v == u).nonzero().squeeze(1).to(codes.device) for u in range(v.max() + 1)] for v in values.T]
    total = codes.new_zeros(len(members), size, dtype=torch.float64)
    for chosen in order.split(max(1, BLOCK // (rows * size))):
        # q(z_j | x_n) over its largest value for a code, (drawn, N, coordinates): sums of it do not overflow.
        densities = by_coordinate.log_prob(codes[chosen, None]).double()
        densities = (densities - densities.amax(1, keepdim=True)).exp()
        marginal = densities.mean(1).log()
        for factor, groups in enumerate(members):
            own = values[chosen, factor]
            for value in own.unique().tolist():
                some = (own == value).nonzero().squeeze(1).to(codes.device)
                given = densities[some][:, groups[value]].mean(1).log()
                total[factor] += (given - marginal[some]).sum(0)
    return _gap((total.T / draws).cpu().numpy(), classes)


def binned_mutual_information_gap(codes: Any, factors: Any, *, bins: int = 20) -> MutualInformationGap:
    r"""Return the mutual information gap of codes put into bins.

    As :func:`mutual_information_gap`, with I(z_j; v) of the counts in bins of equal width between the least
    and the largest z_j. Counts alone make it too large by about (bins − 1)(values − 1) / 2n, and bins lose
    what is finer than they are. For means of codes, points and codes of models without densities.

    Args:
        codes: shape (n, coordinates).
        factors: classes, integers of shape (n, factors).
        bins: of each coordinate.

    Raises:
        ValueError: for fewer than 2 coordinates, and for codes and factors that do not fit.

    Source: Locatello and others (2019), Challenging common assumptions in the unsupervised learning of
    disentangled representations, whose bins these are, of the gap of Chen and others (2018).

    >>> factors = torch.cartesian_prod(torch.arange(3), torch.arange(4))
    >>> round(binned_mutual_information_gap(factors, factors).score, 6)
    1.0
    """
    z, classes = codes_and_factors(codes, factors, least=2)
    bins = check_count("bins", bins, least=2)
    placed = [np.digitize(column, np.histogram_bin_edges(column, bins)[1:-1]) for column in z.T]
    return _gap(np.array([[_of_counts(j, v) for v in classes.T] for j in placed]), classes)


def _of_counts(bins: Array, classes: Array) -> float:
    """Return the mutual information of two columns of classes, in nats."""
    joint = np.zeros((bins.max() + 1, classes.max() + 1))
    np.add.at(joint, (bins, classes), 1 / len(bins))
    apart = joint.sum(1, keepdims=True) * joint.sum(0)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / apart[seen])).sum())


def _gap(information: Array, classes: Array) -> MutualInformationGap:
    shares = information / np.array([entropy(column) for column in classes.T])
    ordered = np.sort(shares, 0)
    gaps = ordered[-1] - ordered[-2]
    return MutualInformationGap(float(gaps.mean()), torch.from_numpy(gaps), torch.from_numpy(shares))


def _by_coordinate(law: Distribution) -> tuple[Distribution, tuple[int, int]]:
    """Return the law of each coordinate of each row, and how many rows and coordinates there are."""
    shape = (*law.batch_shape, *law.event_shape)
    whole = isinstance(law, Independent) and tuple(law.base_dist.batch_shape) == shape
    if not whole or len(shape) != 2 or len(law.event_shape) != 1:
        raise ValueError(
            "law should be of the codes of N rows, with independent coordinates that have densities, such as "
            f"that of nets.NormalHead, but is {type(law).__name__} of batch shape {tuple(law.batch_shape)} "
            f"and event shape {tuple(law.event_shape)}: binned_mutual_information_gap takes codes of any kind"
        )
    if shape[1] < 2:
        raise ValueError("law should have at least 2 coordinates but has 1")
    assert isinstance(law, Independent)
    return law.base_dist, (shape[0], shape[1])
