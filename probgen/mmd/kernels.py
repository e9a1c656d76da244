"""Kernels: functions of the squared distance between two points, and bandwidths for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from probgen.mmd.pairwise import centred, tiles

_BINS = 4096
_LOG2_RANGE = (-60.0, 4.0)  # of squared distances over their mean; a median is at most twice the mean


class Kernel(Protocol):
    """Maps squared distances to kernel values, element by element."""

    def __call__(self, squared_distance: Tensor) -> Tensor: ...


class Gaussian:
    r"""The Gaussian kernel, or the mean of several: k(x, y) = mean over σ of exp(−‖x − y‖² / 2σ²).

    Args:
        bandwidth: σ, a standard deviation (not a variance), in the units of the data; several make a mixture
            with equal weights.

    Raises:
        ValueError: if there is no bandwidth, or one outside [1e-15, 1e15], where float32 would overflow.

    >>> Gaussian([1.0, 2.0])(torch.tensor([0.0, 8.0]))
    tensor([1.0000, 0.1931])
    """

    def __init__(self, bandwidth: float | Sequence[float]) -> None:
        several = bandwidth if isinstance(bandwidth, Sequence) else (bandwidth,)
        self.bandwidth = tuple(float(width) for width in several)
        if not self.bandwidth:
            raise ValueError("bandwidth should hold at least one value but is empty")
        for width in self.bandwidth:
            if not 1e-15 <= width <= 1e15:
                raise ValueError(f"bandwidth should be between 1e-15 and 1e15 but got {width}")

    def __call__(self, squared_distance: Tensor) -> Tensor:
        first, *others = (torch.exp(squared_distance * (-0.5 / width**2)) for width in self.bandwidth)
        return sum(others, first) / len(self.bandwidth)

    def __repr__(self) -> str:
        return f"Gaussian({list(self.bandwidth)})"


class Energy:
    """The energy kernel k(x, y) = −‖x − y‖, with which MMD² is the energy distance.

    Its gradient at equal points is taken to be 0, one of its subgradients.

    Source: Sejdinovic, Sriperumbudur, Gretton and Fukumizu (2013).

    >>> Energy()(torch.tensor([0.0, 4.0]))
    tensor([ 0., -2.])
    """

    def __call__(self, squared_distance: Tensor) -> Tensor:
        equal = squared_distance == 0
        distance = torch.where(equal, 1, squared_distance).sqrt()
        return torch.where(equal, 0, -distance)

    def __repr__(self) -> str:
        return "Energy()"


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
    points = torch.cat(centred(x=x, y=y))
    scale = 2 * points.square().sum() / len(points)  # the mean squared distance over all ordered pairs
    if scale == 0:
        raise ValueError("x and y should hold at least two different points for a median bandwidth")
    low, high = _LOG2_RANGE
    counts = points.new_zeros(_BINS)
    different = points.new_zeros(())
    for _, block in tiles(points, points):
        found = block.count_nonzero()
        different += found
        counts += torch.histc((block / scale).log2_().clamp_min_(low), _BINS, low, high)
        counts[0] -= block.numel() - found  # pairs of equal points
    rank = torch.searchsorted(counts.cumsum(0), different / 2)
    if rank == 0:
        raise ValueError(
            "the median distance should exceed 1e-9 of the root mean squared distance but does not"
        )
    log2_median = low + (rank + 0.5) * (high - low) / _BINS
    return float((scale * torch.exp2(log2_median)).sqrt())


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
