"""Scores of pairs of nodes that are computed, not learned: what a model of links has to beat.

Each takes a graph x (n, n), symmetric, of 0 and 1, without the links that are to be predicted, and returns
scores (n, n), more where a link is more probable.
"""

from __future__ import annotations

import torch
from torch import Tensor

from probgen.core import check_count


def adamic_adar(x: Tensor) -> Tensor:
    r"""Return Σ_k 1/log deg(k) over the common neighbours k of two nodes.

    A common neighbour has two links at least, so that the logarithm is positive.

    Source: Adamic and Adar (2003), Friends and neighbors on the Web.

    >>> path = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    >>> float(adamic_adar(path)[0, 2])  # 1/log 2
    1.4426950408889634
    """
    x = x.double()
    degrees = x.sum(1)
    weights = torch.where(degrees > 1, 1 / degrees.clamp(min=2).log(), 0.0)
    return (x * weights) @ x


def degree_product(x: Tensor) -> Tensor:
    """Return deg(i) deg(j): what is known of a link where only degrees are.

    Source: Barabási and others (2002), Evolution of the social network of scientific collaborations.

    >>> degree_product(torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]))[0].tolist()
    [1.0, 2.0, 1.0]
    """
    degrees = x.double().sum(1)
    return degrees.outer(degrees)


def low_rank(x: Tensor, rank: int) -> Tensor:
    """Return the matrix of a rank that is nearest to x, from its singular value decomposition.

    Raises ValueError for a rank below 1 or above n.

    >>> low_rank(torch.eye(3), 3).allclose(torch.eye(3, dtype=torch.float64))
    True
    """
    check_count("rank", rank)
    if rank > len(x):
        raise ValueError(f"rank should be at most the {len(x)} nodes but is {rank}")
    left, values, right = torch.linalg.svd(x.double())
    return (left[:, :rank] * values[:rank]) @ right[:rank]
