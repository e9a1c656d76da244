"""Bandwidths chosen from the pooled sample, so that no test is told which point came from where."""

from __future__ import annotations

import torch
from torch import Tensor

from probgen.core import taking_arrays
from probgen.mmd.kernels import Gaussian
from probgen.mmd.pairwise import accurate_squared_distances, centred, check_finite, row_spans
from probgen.mmd.processes import summed, turns

_BINS = 4096
_LOG2_RANGE = (-60.0, 4.0)  # of squared distances over their mean; a median is at most twice the mean


@taking_arrays("x", "y")
def median_bandwidth(x: Tensor, y: Tensor) -> float:
    r"""Return the median distance between two points of the pooled sample, to within 0.3 %.

    It depends on the pooled sample alone, not on which point came from where, so that a permutation test
    with this bandwidth keeps its level. Pairs of equal points are left out.

    Args:
        x, y: samples of shape (n, \*event) and (m, \*event).

    Raises:
        ValueError: if all points are equal, or if most pairs are nearer than 10⁻⁹ of the root mean squared
            distance: a median then says nothing about the sample.

    >>> round(median_bandwidth(torch.tensor([0.0, 1.0]), torch.tensor([2.0])), 2)  # of distances 1, 1, 2
    1.0
    """
    return float(_quantiles(x, y, 0.5))


@taking_arrays("x", "y")
def bandwidth_grid(x: Tensor, y: Tensor) -> tuple[float, ...]:
    """Return the median bandwidth of the pooled sample times 1/8, 1/4, 1/2, 1 and 2.

    The small ones are there for laws with several modes, whose median distance is that between modes.

    Arguments and errors are those of :func:`median_bandwidth`.

    >>> grid = bandwidth_grid(torch.tensor([0.0, 1.0]), torch.tensor([2.0]))
    >>> [round(width / grid[0]) for width in grid]
    [1, 2, 4, 8, 16]
    """
    median = median_bandwidth(x, y)
    return tuple(median * 2.0**power for power in (-3, -2, -1, 0, 1))


def bandwidths_between_quantiles(x: Tensor, y: Tensor, *, number: int = 5) -> tuple[float, ...]:
    """Return bandwidths from half the 5 % quantile of the pooled sample's distances to twice the 95 % one.

    Their ratios are equal. Where points lie in narrow clusters they reach further down than
    :func:`bandwidth_grid`. Arguments and errors are those of :func:`median_bandwidth`.

    >>> grid = bandwidths_between_quantiles(torch.tensor([0.0, 1.0]), torch.tensor([1000.0]))
    >>> [round(grid[i + 1] / grid[i]) for i in range(4)]  # from 0.5 to 2000
    [8, 8, 8, 8]
    """
    low, high = _quantiles(x, y, 0.05, 0.95).log2().tolist()
    first, last = low - 1, high + 1
    return tuple(2 ** (first + (last - first) * step / (number - 1)) for step in range(number))


def default_gaussian(x: Tensor, y: Tensor) -> Gaussian:
    """Return the mean of Gaussians over :func:`bandwidth_grid`; where all points are equal any will do."""
    return Gaussian(1.0 if all_equal(x, y) else bandwidth_grid(x, y))


def all_equal(x: Tensor, y: Tensor) -> bool:
    """Say whether all points of two samples, which are alike and finite, are one."""
    check_finite(x=x, y=y)
    return bool((x == x[0]).all()) and bool((y == x[0]).all())


def _quantiles(x: Tensor, y: Tensor, *shares: float) -> Tensor:
    """Return quantiles of the distances between different points of a pooled sample."""
    points = torch.cat(centred(x=x, y=y))
    scale = 2 * points.square().sum() / len(points)  # the mean squared distance over all ordered pairs
    if scale == 0 or all_equal(x, y):
        raise ValueError(
            "x and y should hold at least two different points for a median bandwidth: give a bandwidth"
        )
    low, high = _LOG2_RANGE
    counts = points.new_zeros(_BINS + 1)  # the last one: of pairs of different points
    for rows in turns(row_spans(len(points), len(points), points.device)):
        block = accurate_squared_distances(points[rows], points)
        found = block.count_nonzero()
        counts[:_BINS] += torch.histc((block / scale).log2_().clamp_min_(low), _BINS, low, high)
        counts[0] -= block.numel() - found  # pairs of equal points
        counts[_BINS] += found
    different = summed(counts)[_BINS]
    ranks = torch.searchsorted(counts[:_BINS].cumsum(0), different * points.new_tensor(shares))
    if ranks.min() == 0:
        raise ValueError(
            f"the {'median' if shares == (0.5,) else '5 % quantile of the'} distance should exceed 1e-9 of "
            "the root mean squared distance but does not: give bandwidths, or see what lies far out"
        )
    return (scale * torch.exp2(low + (ranks.double() + 0.5) * (high - low) / _BINS)).sqrt()
