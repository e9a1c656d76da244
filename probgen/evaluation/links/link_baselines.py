"""Scores of pairs of nodes that are computed, not learned: what a model of links has to beat.

Each takes a graph x (n, n), symmetric, of 0 and 1 with 0 on the diagonal, without the links that are to be
predicted, and returns scores (n, n), more where a link is more probable; other matrices are a ValueError.
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
    x = _graph(x)
    degrees = x.sum(1)
    weights = torch.where(degrees > 1, 1 / degrees.clamp(min=2).log(), 0.0)
    return (x * weights) @ x


def degree_product(x: Tensor) -> Tensor:
    """Return deg(i) deg(j): what is known of a link where only degrees are.

    Source: Barabási and others (2002), Evolution of the social network of scientific collaborations.

    >>> degree_product(torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]))[0].tolist()
    [1.0, 2.0, 1.0]
    """
    degrees = _graph(x).sum(1)
    return degrees.outer(degrees)


def katz(x: Tensor, share: float) -> Tensor:
    r"""Return Σ_k β^k (number of walks of k links) over k ≥ 1, with β a share of 1/λ.

    λ is the largest eigenvalue of x, from which on the sum has no limit: (I − β x)^(−1) − I.

    Args:
        x: (n, n).
        share: β λ, in (0, 1): near 0 short walks decide, near 1 long ones, which many links make.

    Raises ValueError for a share outside of (0, 1).

    Source: Katz (1953), A new status index derived from sociometric analysis.

    >>> path = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    >>> round(float(katz(path, 0.5)[0, 2]), 4)  # β^2/(1 − 2 β^2) with β^2 = 1/8
    0.1667
    """
    if not 0 < share < 1:
        raise ValueError(f"share should be in (0, 1) but is {share}")
    x = _graph(x)
    largest = torch.linalg.eigvalsh(x)[-1]
    none = torch.eye(len(x), dtype=x.dtype, device=x.device)
    weight = torch.where(largest > 0, share / largest, 0.0)  # of a graph without links there are no walks
    return torch.linalg.inv(none - weight * x) - none


def low_rank(x: Tensor, rank: int) -> Tensor:
    """Return the matrix of a rank that is nearest to x, from its singular value decomposition.

    Raises ValueError for a rank below 1 or above n.

    >>> path = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    >>> low_rank(path, 2).allclose(path.double())
    True
    """
    x = _graph(x)
    check_count("rank", rank)
    if rank > len(x):
        raise ValueError(f"rank should be at most the {len(x)} nodes but is {rank}")
    left, values, right = torch.linalg.svd(x)
    return (left[:, :rank] * values[:rank]) @ right[:rank]


def _graph(x: Tensor) -> Tensor:
    """Return a graph in double precision; what is none is refused."""
    if x.dim() != 2 or x.shape[0] != x.shape[1]:
        raise ValueError(f"a graph should be a square matrix but has shape {tuple(x.shape)}")
    wrong = ((x != 0) & (x != 1)).nonzero()
    if len(wrong):
        i, j = wrong[0].tolist()
        raise ValueError(f"links of a graph should be 0 or 1 but x[{i}, {j}] is {float(x[i, j])}")
    wrong = (x != x.T).nonzero()
    if len(wrong):
        i, j = wrong[0].tolist()
        raise ValueError(f"a graph should be symmetric but x[{i}, {j}] and x[{j}, {i}] differ")
    own = x.diagonal().nonzero()
    if len(own):
        i = int(own[0])
        raise ValueError(f"no node should be linked to itself but x[{i}, {i}] is 1")
    return x.double()
