"""Two-sample tests: are two samples draws from one law?"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from probgen.mmd.algebra import Kernel
from probgen.mmd.bandwidths import bandwidth_grid
from probgen.mmd.kernels import Gaussian
from probgen.mmd.pairwise import symmetric_product
from probgen.mmd.pooled import Pooled


class TestResult(NamedTuple):
    """The outcome of a test: its statistic, its p-value and the statistic's values under the permutations."""

    statistic: float
    p_value: float
    null: Tensor


def mmd_test(
    x: Tensor,
    y: Tensor,
    *,
    kernel: Kernel | None = None,
    permutations: int = 1000,
    generator: torch.Generator | None = None,
) -> TestResult:
    r"""Test whether two samples of independent points come from one law, by permutations of unbiased MMD².

    The p-value is (k + 1) / (B + 1), where k of the B permuted statistics reach the observed one (ties,
    to rounding, count), so that P(p ≤ α) ≤ α where the laws agree, for any sizes. All permutations are taken
    in one pass over the distances; memory is O((n + m) B). The points of each sample should be independent:
    the draws of a Markov chain are not.

    Args:
        x, y: samples of shape (n, \*event) and (m, \*event), n and m at least 2; events are flattened.
        kernel: chosen without a look at which point came from where; by default the
            mean of Gaussians over :func:`bandwidth_grid`, which depends on the pooled sample alone.
        permutations: B.
        generator: of the permutations, on the device of the samples.

    Raises:
        TypeError, ValueError: for samples that are too small, not finite or not alike, fewer than one
            permutation, and for a kernel that returns NaN or infinite values.

    Source: Gretton et al. (2012); Phipson and Smyth (2010) for the p-value.

    >>> rng = torch.Generator().manual_seed(1)
    >>> x = torch.randn(50, generator=rng)
    >>> mmd_test(x, x + 2, permutations=99, generator=rng).p_value
    0.01
    """
    pooled = Pooled([Gaussian(bandwidth_grid(x, y)) if kernel is None else kernel], x, y)
    n, m = pooled.n, pooled.m
    for name, size in (("x", n), ("y", m)):
        if size < 2:
            raise ValueError(f"{name} should hold at least 2 points but has {size}")
    if permutations < 1:
        raise ValueError(f"permutations should be at least 1 but got {permutations}")
    groups = pooled.indicators()
    indicators = torch.cat([groups, _permuted_indicators(n, permutations, generator, groups)], 1)
    (sums,) = symmetric_product(pooled.block, indicators)

    row_sums = sums[:, 0] + sums[:, 1]
    within_x = (indicators * sums).sum(0)
    x_to_all = row_sums @ indicators
    within_y = row_sums.sum() - 2 * x_to_all + within_x
    statistics = within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2 * (x_to_all - within_x) / (n * m)
    observed, null = statistics[0], statistics[2:]
    if not torch.isfinite(statistics).all():
        raise ValueError("kernel should return finite values but returned NaN or infinite ones")
    largest = torch.maximum(pooled.diagonal().abs().max(), pooled.shifts.abs().max())
    rounding = 4 * pooled.size * torch.finfo(torch.float64).eps * largest
    reached = (null >= observed - rounding).sum()
    return TestResult(float(observed), (int(reached) + 1) / (permutations + 1), null)


def _permuted_indicators(
    n: int, permutations: int, generator: torch.Generator | None, points: Tensor
) -> Tensor:
    """Return a float64 matrix (len(points), permutations): in each column n random rows are 1, the rest 0."""
    rows = [
        torch.randperm(len(points), generator=generator, device=points.device)[:n]
        for _ in range(permutations)
    ]
    indicators = points.new_zeros(len(points), permutations)
    return indicators.scatter_(0, torch.stack(rows, 1), 1.0)
