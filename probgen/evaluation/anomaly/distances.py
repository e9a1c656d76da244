"""Scores of rows, or of their codes, by their distance to training rows; the higher the more anomalous."""

from __future__ import annotations

import torch
from torch import Tensor

from probgen.core import check_count
from probgen.evaluation.codes.transfer import principal_axes
from probgen.mmd.pairwise import centred, nearest_squared_distances


def neighbour_distance(train: Tensor, x: Tensor, neighbours: int) -> Tensor:
    """Return the Euclidean distance of each row of x to its k-th nearest training row, shape (n,)."""
    neighbours = check_count("neighbours", neighbours)
    points, rows = centred(train=train, x=x)
    if neighbours > len(points):
        raise ValueError(
            f"neighbours should be at most {len(points)}, the rows of train, but is {neighbours}"
        )
    return nearest_squared_distances(rows, points, neighbours)[:, -1].sqrt()


def mahalanobis_distance(train: Tensor, x: Tensor) -> Tensor:
    """Return √((x − μ)ᵀ S⁻¹ (x − μ)) of each row, S shrunk as Ledoit and Wolf (2004) say, shape (n,)."""
    from sklearn.covariance import LedoitWolf

    points, rows = centred(train=train, x=x)
    found = LedoitWolf().fit(points.cpu().numpy())
    return torch.from_numpy(found.mahalanobis(rows.cpu().numpy())).sqrt()


def principal_residual(train: Tensor, x: Tensor, size: int) -> Tensor:
    """Return the distance of each row of x to the plane of the first principal components, shape (n,)."""
    points, rows = centred(train=train, x=x)
    centre, axes = principal_axes(points, size)
    apart = rows - centre
    return (apart - apart @ axes @ axes.T).norm(dim=1)


def isolation(train: Tensor, x: Tensor, seed: int) -> Tensor:
    """Return the score of an isolation forest of 100 trees, 2^(−depth / expected depth), shape (n,)."""
    from sklearn.ensemble import IsolationForest

    points, rows = centred(train=train, x=x)
    forest = IsolationForest(random_state=seed % 2**32).fit(points.cpu().numpy())
    return -torch.from_numpy(forest.score_samples(rows.cpu().numpy()))
