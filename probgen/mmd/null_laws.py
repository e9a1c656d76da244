r"""Approximate null laws of MMD², for samples so large that permutations take too long.

Where the laws agree, unbiased MMD² is for large n and m like (1/n + 1/m) Σ_l λ_l (z_l² − 1), with λ the
eigenvalues of the centred kernel under the common law and z standard normal. Both functions take λ from the
pooled sample.
"""

from __future__ import annotations

import torch
from torch import Tensor

from probgen.mmd.pairwise import accurate_squared_distances, symmetric_product
from probgen.mmd.pooled import Pooled
from probgen.mmd.result import TestResult, check_statistics, drawn_result
from probgen.mmd.spread import centred_square_within

_POINTS = 1000  # for eigenvalues
_BLIND = "kernel should tell some of the points apart but does not vary over the samples"


def gamma_test(pooled: Pooled) -> TestResult:
    r"""Return the test by a Gamma law with the mean Σ λ_l and the variance 2 Σ λ_l² of Σ λ_l z_l².

    One pass over the pairs. It is exact in the limit where the positive eigenvalues are equal, as with the
    linear kernel and a covariance matrix that is a multiple of the identity.

    Source: Johnson, Kotz and Balakrishnan (1994), section 18.8; Gretton, Fukumizu, Harchaoui and
    Sriperumbudur (2009).
    """
    from scipy import stats

    def values_and_squares(rows: slice, columns: slice) -> Tensor:
        values = pooled.block(rows, columns)
        return torch.stack([values, values.square()])

    sums, squares = symmetric_product(values_and_squares, pooled.indicators())[:, 0]
    statistic = _unbiased(pooled, sums)
    row_sums, row_squares = sums.sum(1), squares.sum(1)
    size = pooled.size
    trace = pooled.diagonal()[0].mean() - row_sums.mean() / (size - 1)
    of_squares = centred_square_within(row_sums, row_squares)
    check_statistics(torch.stack([statistic, trace, of_squares]))
    if not (trace > 0 and of_squares > 0):
        raise ValueError(_BLIND)
    scale = 1 / pooled.n + 1 / pooled.m
    law = stats.gamma(float(trace**2 / (2 * of_squares)), scale=float(2 * of_squares / trace))
    p_value = law.sf(float(statistic / scale + trace))
    return TestResult(float(statistic), float(p_value), statistic.new_zeros(0))


def spectral_test(pooled: Pooled, draws: int, generator: torch.Generator | None) -> TestResult:
    r"""Return the test by draws of (1/n + 1/m) Σ_l λ_l (z_l² − 1), λ from at most 1,000 of the points.

    Source: Gretton, Fukumizu, Harchaoui and Sriperumbudur (2009).
    """
    statistic = _unbiased(pooled, symmetric_product(pooled.block, pooled.indicators())[0])
    device = statistic.device
    chosen = torch.randperm(pooled.size, generator=generator, device=device)[:_POINTS]
    (kernel,), points = pooled.kernels, tuple(matrix[chosen] for matrix in pooled.features[0])
    with torch.no_grad():
        gram = kernel.values(points, points, accurate_squared_distances)
    check_statistics(torch.stack([statistic, gram.sum()]))
    largest = gram.abs().max()
    gram = gram - gram.mean(0)
    gram = gram - gram.mean(1, keepdim=True)
    eigenvalues = torch.linalg.eigvalsh(gram) / len(chosen)
    if not eigenvalues[-1] > 1e-14 * largest:
        raise ValueError(_BLIND)
    normal = torch.randn(len(chosen), draws, generator=generator, device=device, dtype=torch.float64)
    null = (1 / pooled.n + 1 / pooled.m) * (eigenvalues @ (normal.square() - 1))
    return drawn_result(torch.cat([statistic[None], null]))


def _unbiased(pooled: Pooled, sums: Tensor) -> Tensor:
    n, m = pooled.n, pooled.m
    within = sums[:n, 0].sum() / (n * (n - 1)) + sums[n:, 1].sum() / (m * (m - 1))
    return within - 2 * sums[:n, 1].sum() / (n * m)
