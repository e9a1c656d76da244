"""Metrics from nearest neighbours: fidelity and variety of draws, and whether they copy the training set.

Distances are Euclidean, between columns in units of their own: by default each is divided by its standard
deviation in all the samples together, but for images (:func:`probgen.mmd.mmd_test` says more of ``scale``).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from probgen.core import check_count, taking_arrays
from probgen.mmd.pairwise import by_rows, centred, nearest_squared_distances
from probgen.mmd.scaling import Scale, scaled

_ON_THE_SPHERE = 1 + 1e-8  # squared distances have nine digits


class PrecisionRecall(NamedTuple):
    """The share of draws that look real, and the share of real points that the draws reach."""

    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    """How densely draws fall among the real points, and the share of real points with a draw nearby."""

    density: float
    coverage: float


@taking_arrays("real", "generated")
def precision_recall(
    real: Tensor, generated: Tensor, *, neighbours: int = 3, scale: Scale = "auto"
) -> PrecisionRecall:
    r"""Measure fidelity and variety by balls around points that reach to their k-th neighbours.

    Precision is the share of draws within a ball of a real point; recall the share of real points within a
    ball of a draw. A k-th neighbour is one within the point's own sample. Both are in [0, 1] and below 1
    where the laws agree: read them against those of two real samples. One outlier, with its large ball,
    moves them much (as in the example); :func:`density_coverage` suffers less.

    Args:
        real, generated: samples of shape (n, \*event) and (m, \*event); events are flattened.
        neighbours: k, at least 1 and less than n and m.
        scale: what columns are divided by: "pooled", a tensor of shape event, None, or "auto".

    Raises:
        TypeError, ValueError: for samples that are too small, not finite or not alike, or a wrong
            ``neighbours``.

    Source: Kynkäänniemi, Karras, Laine, Lehtinen and Aila (2019).

    >>> import torch
    >>> real = torch.arange(10.0)
    >>> precision_recall(real, torch.tensor([1.5, 2.5, 3.5, 90.0]), neighbours=1)
    PrecisionRecall(precision=0.75, recall=0.9)
    """
    (real, generated), _ = scaled(scale, real=real, generated=generated)
    points, draws = centred(real=real, generated=generated)
    real_radii = _squared_radii("real", points, neighbours)
    generated_radii = _squared_radii("generated", draws, neighbours)
    precision = by_rows(lambda _, block: (block <= real_radii).any(1).double(), draws, points).mean()
    recall = by_rows(lambda _, block: (block <= generated_radii).any(1).double(), points, draws).mean()
    return PrecisionRecall(float(precision), float(recall))


@taking_arrays("real", "generated")
def density_coverage(
    real: Tensor, generated: Tensor, *, neighbours: int = 5, scale: Scale = "auto"
) -> DensityCoverage:
    r"""Measure fidelity and variety by balls around the real points that reach to their k-th neighbours.

    Density is the mean number of balls that hold a draw, divided by k; it may exceed 1. Coverage is the share
    of the balls that hold a draw. Where the laws agree and are continuous, their expectations are 1 and
    1 − (n − 1) ⋯ (n − k) / ((n + m − 1) ⋯ (n + m − k)).

    Args:
        real, generated: samples of shape (n, \*event) and (m, \*event); events are flattened.
        neighbours: k, at least 1 and less than n.
        scale: as for :func:`precision_recall`.

    Raises:
        TypeError, ValueError: for samples that are too small, not finite or not alike, or a wrong
            ``neighbours``.

    Source: Naeem, Oh, Uh, Choi and Yoo (2020).

    >>> import torch
    >>> real = torch.arange(10.0)
    >>> density_coverage(real, torch.tensor([1.5, 2.5, 3.5, 90.0]), neighbours=1)
    DensityCoverage(density=1.5, coverage=0.4)
    """
    (real, generated), _ = scaled(scale, real=real, generated=generated)
    points, draws = centred(real=real, generated=generated)
    radii = _squared_radii("real", points, neighbours)
    counts = by_rows(lambda rows, block: (block <= radii[rows, None]).sum(1), points, draws)
    return DensityCoverage(
        density=float(counts.sum()) / (neighbours * len(draws)), coverage=float((counts > 0).double().mean())
    )


@taking_arrays("draws", "train", "held_out")
def nearest_neighbour_ratio(
    draws: Tensor, train: Tensor, held_out: Tensor, *, scale: Scale = "auto"
) -> float:
    r"""Return a draw's mean distance to its nearest training point over that of held-out real data.

    1 where draws are as far from the training set as new real data, towards 0 where they are copies of it;
    above 1 they are farther from it than real data are.

    Args:
        draws, train, held_out: samples of shape (\*, \*event), of any sizes; events are flattened.
        scale: as for :func:`precision_recall`, by the three samples together.

    Raises:
        TypeError, ValueError: for samples that are empty, not finite or not alike, and where all held-out
            points are themselves training points.

    >>> import torch
    >>> round(nearest_neighbour_ratio(torch.tensor([0.5, 5.0]), torch.arange(10.0), torch.tensor([2.5])), 6)
    0.5
    """
    (draws, train, held_out), _ = scaled(scale, draws=draws, train=train, held_out=held_out)
    draws, train, held_out = centred(draws=draws, train=train, held_out=held_out)
    mine, theirs = (nearest_squared_distances(x, train, 1).sqrt().mean() for x in (draws, held_out))
    if theirs == 0:
        raise ValueError("held_out should hold points that are not in train but holds none")
    return float(mine / theirs)


def _squared_radii(name: str, points: Tensor, neighbours: int) -> Tensor:
    """Return each point's squared distance to its k-th neighbour among the others, a shade enlarged."""
    neighbours = check_count("neighbours", neighbours)
    if neighbours >= len(points):
        raise ValueError(
            f"neighbours should be less than the {len(points)} points of {name} but got {neighbours}"
        )
    return nearest_squared_distances(points, points, neighbours + 1)[:, -1] * _ON_THE_SPHERE
