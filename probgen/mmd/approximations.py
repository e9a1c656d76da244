"""Estimators of MMD² for samples too large for all pairs. None is cut off at 0, each has a standard error."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from probgen.core import Estimate, check_count, source_of
from probgen.mmd.algebra import Features, Kernel, PairKernel, as_pair_kernel, rows_of
from probgen.mmd.kernels import OfBandwidths
from probgen.mmd.pairwise import accurate_squared_distances, centred_matrices, check_finite, check_near
from probgen.mmd.spread import equal_weights


def mmd2_blocks(x: Tensor, y: Tensor, kernel: Kernel, *, block_size: int = 2) -> Estimate:
    r"""Estimate MMD² by the mean of unbiased estimates from blocks of points, in time O(n · block_size).

    The blocks are independent, so that the estimate is normal even where the laws agree, once there are some
    dozens. With ``block_size`` 2 this is the linear-time estimator; √n is a good trade. Points should stand
    in random order; those that fill no block, or have no partner in the other sample, are left out.

    Args:
        x, y: samples of shape (n, \*event) and (m, \*event).
        kernel: as for :func:`mmd2`.
        block_size: the points of each sample in a block, at least 2.

    Raises:
        TypeError, ValueError: for samples that are not finite or not alike or fill fewer than 2 blocks.

    Source: Gretton and others (2012), section 6; Zaremba, Gretton and Blaschko (2013).

    >>> from probgen.mmd import Linear
    >>> x, y = torch.randn(2, 1000, 3, generator=torch.Generator().manual_seed(0))
    >>> found = mmd2_blocks(x, y + 1, Linear(), block_size=10)  # ‖E X − E Y‖² = 3
    >>> abs(found.value - 3) < 3 * found.stderr
    True
    """
    block_size = check_count("block_size", block_size, least=2)
    blocks = min(len(x), len(y)) // block_size
    if blocks < 2:
        raise ValueError(
            f"x and y should each fill at least 2 blocks of {block_size} points "
            f"but have {len(x)} and {len(y)}"
        )
    pair_kernel, u, v = _features(x, y, kernel)
    u, v = (rows_of(features, slice(blocks * block_size)) for features in (u, v))
    by_point = torch.zeros_like(u[0][:, 0])
    with torch.no_grad():
        for shift in range(block_size):
            a, b = (_turned(features, block_size, shift) for features in (u, v))
            if shift:
                by_point += (pair_kernel.paired(u, a) + pair_kernel.paired(v, b)) / (block_size - 1)
            by_point -= 2 * pair_kernel.paired(u, b) / block_size
    found = by_point.reshape(blocks, block_size).mean(1)
    return _finite(found.mean(), found.var() / blocks)


def mmd2_incomplete(x: Tensor, y: Tensor, kernel: Kernel, *, neighbours: int) -> Estimate:
    r"""Estimate MMD² by an incomplete U-statistic, in time and memory O(n · neighbours).

    It is the mean of h_ij = k(x_i, x_j) + k(y_i, y_j) − k(x_i, y_j) − k(x_j, y_i) over j = i + 1, …,
    i + neighbours around a circle, so that each point counts equally often. Points should stand in random
    order; those of the larger sample that have no partner are left out. With h_1 the projection of h, the
    variance is 4 Var h_1 / n + Var(h − h_1 − h_1') / (n · neighbours), both parts from the same h_ij.

    Args:
        x, y: samples of shape (n, \*event) and (m, \*event), both of at least 4 points.
        kernel: as for :func:`mmd2`.
        neighbours: at least 1 and less than half of the smaller sample.

    Raises:
        TypeError, ValueError: for samples that are too small, not finite or not alike, or such a number.

    Source: Blom (1976); Schrab, Kim, Guedj and Gretton (2022), Efficient aggregated kernel tests.

    >>> x = torch.arange(1000.0) % 10
    >>> round(mmd2_incomplete(x, x + 1, lambda squared: -squared / 2, neighbours=3).value, 6)
    1.0
    """
    n = min(len(x), len(y))
    if not 1 <= neighbours < n / 2:
        raise ValueError(
            f"neighbours should be at least 1 and less than half of the {n} points of the smaller sample "
            f"but got {neighbours}"
        )
    pair_kernel, u, v = _features(x, y, kernel)
    u, v = rows_of(u, slice(n)), rows_of(v, slice(n))
    total, squares = torch.zeros_like(u[0][:, 0]), torch.zeros_like(u[0][:, 0])
    with torch.no_grad():
        for shift in range(1, neighbours + 1):
            a, b = (tuple(matrix.roll(-shift, 0) for matrix in features) for features in (u, v))
            paired = pair_kernel.paired
            h = paired(u, a) + paired(v, b) - paired(u, b) - paired(a, v)
            total += h + h.roll(shift)
            squares += h.square()
    pairs, per_point = n * neighbours, 2 * neighbours
    value = total.sum() / (2 * pairs)
    of_pairs = squares.sum() / pairs - value**2  # 2 Var h_1 + the rest
    of_points = (total / per_point).var()  # Var h_1 + (Var h_1 + the rest) / per_point
    first = ((of_points - of_pairs / per_point) / (1 - 1 / per_point)).clamp_min(0)
    rest = (of_pairs - 2 * first).clamp_min(0)
    return _finite(value, 4 * first / n + rest / pairs)


def mmd2_fourier(
    x: Tensor,
    y: Tensor,
    kernel: OfBandwidths,
    *,
    frequencies: int = 500,
    generator: torch.Generator | None = None,
    seed: int | None = None,
) -> Estimate:
    r"""Estimate MMD² from random Fourier features, in time O(n · frequencies) and without bias.

    k(x, y) = E cos ωᵀ(x − y), over a law of ω that belongs to the kernel. The variance is that of the samples
    given the frequencies and that of the mean over frequencies given the samples.

    Args:
        x, y: samples of shape (n, \*event) and (m, \*event), both of at least 4 points.
        kernel: a Gaussian, Laplace, Matérn, rational quadratic or inverse multiquadric.
        frequencies: their number, at least 2.
        generator, seed: one at most, of the frequencies, on the device of the samples.

    Raises:
        TypeError, ValueError: for samples that are too small, not finite or not alike, another kernel, and
            fewer than 2 frequencies.

    Source: Rahimi and Recht (2007); Sutherland and Schneider (2015).

    >>> from probgen.mmd import Gaussian
    >>> rng = torch.Generator().manual_seed(0)
    >>> x = torch.randn(500, 3, generator=rng)
    >>> found = mmd2_fourier(x, x + 10, Gaussian(1.0), frequencies=99, generator=rng)
    >>> abs(found.value - 2 * 3**-1.5) < 4 * found.stderr  # 2 E k(X, X') = 2 · 3^−3/2
    True
    """
    if not isinstance(kernel, OfBandwidths):
        raise TypeError(f"kernel should be one of the bounded kernels of the distance but is {kernel!r}")
    frequencies = check_count("frequencies", frequencies, least=2)
    _, (u,), (v,) = _features(x, y, kernel)
    omega = kernel.frequencies(frequencies, u, source_of(generator, seed, u.device))
    waves = [torch.stack([phase.cos(), phase.sin()]) for phase in (u @ omega.T, v @ omega.T)]
    n, m = len(u), len(v)
    sums = [wave.sum(1) for wave in waves]
    within = ((sums[0].square().sum(0) - n) / (n * (n - 1))) + (sums[1].square().sum(0) - m) / (m * (m - 1))
    per_frequency = within - 2 * (sums[0] * sums[1]).sum(0) / (n * m)
    of_x, of_y = (wave.permute(1, 0, 2).flatten(1) / math.sqrt(frequencies) for wave in waves)
    value, variance = _of_features(of_x, of_y)
    return _finite(value, variance + per_frequency.var() / frequencies)


def mmd2_nystrom(
    x: Tensor,
    y: Tensor,
    kernel: Kernel,
    *,
    landmarks: int = 100,
    generator: torch.Generator | None = None,
    seed: int | None = None,
) -> Estimate:
    r"""Estimate MMD² after projection on the span of the kernel at landmarks, in time O(n · landmarks).

    The landmarks are drawn from the pooled sample. What lies outside their span is lost, so that MMD² is on
    the small side; the standard error is that of the projected MMD² and knows nothing of this loss. Where the
    kernel is nearly constant or the sample clustered, few landmarks suffice.

    Args:
        x, y: samples of shape (n, \*event) and (m, \*event), both of at least 4 points.
        kernel: as for :func:`mmd2`, positive definite.
        landmarks: their number, at least 1 and at most n + m.
        generator, seed: one at most, of the landmarks, on the device of the samples.

    Raises:
        TypeError, ValueError: for samples that are too small, not finite or not alike, and such a number.

    Source: Chatalic, Schreuder, Rudi and Rosasco (2022).

    >>> from probgen.mmd import Gaussian, mmd2
    >>> x = torch.linspace(0, 1, 300)
    >>> exact = mmd2(x, x + 0.5, Gaussian(1.0)).value
    >>> abs(mmd2_nystrom(x, x + 0.5, Gaussian(1.0), landmarks=20).value - exact) < 1e-6
    True
    """
    pair_kernel, u, v = _features(x, y, kernel)
    size = len(x) + len(y)
    if not 1 <= landmarks <= size:
        raise ValueError(f"landmarks should be between 1 and the {size} points but got {landmarks}")
    generator = source_of(generator, seed, x.device)
    rows = torch.randperm(size, generator=generator, device=x.device)[:landmarks]
    chosen = tuple(torch.cat(both)[rows] for both in zip(u, v, strict=True))
    with torch.no_grad():
        gram = pair_kernel.values(chosen, chosen, accurate_squared_distances)
        variances, axes = torch.linalg.eigh(gram)
        kept = variances > 1e-12 * variances[-1]
        if not kept.any():
            raise ValueError("kernel should be positive definite but has no positive eigenvalue at landmarks")
        whiten = axes[:, kept] / variances[kept].sqrt()
        of_x, of_y = (pair_kernel.values(z, chosen, accurate_squared_distances) @ whiten for z in (u, v))
    return _finite(*_of_features(of_x, of_y))


def _features(x: Tensor, y: Tensor, kernel: Kernel) -> tuple[PairKernel, Features, Features]:
    check_finite(x=x, y=y)
    pair_kernel = as_pair_kernel(kernel)
    for name, sample in (("x", x), ("y", y)):
        if len(sample) < 4:
            raise ValueError(
                f"{name} should hold at least 4 points for a standard error but has {len(sample)}"
            )
    with torch.no_grad():
        u, v = pair_kernel.features((x, y), torch.float64)
    check_near((*u, *v), "the features of x and y")
    return pair_kernel, u, v


def _of_features(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Return the unbiased MMD² under k(x, y) = uᵀv and its variance, in time O(n · features²)."""
    u, v = centred_matrices(u, v, dtype=torch.float64)
    n, m = len(u), len(v)
    points = torch.cat([u, v])
    norms = points.square().sum(1)
    sums = points @ torch.stack([u.sum(0), v.sum(0)], 1)
    squares = torch.stack([(points @ (z.T @ z) * points).sum(1) for z in (u, v)], 1)
    sums[:n, 0] -= norms[:n]
    sums[n:, 1] -= norms[n:]
    squares[:n, 0] -= norms[:n].square()
    squares[n:, 1] -= norms[n:].square()
    within = sums[:n, 0].sum() / (n * (n - 1)) + sums[n:, 1].sum() / (m * (m - 1))
    return within - 2 * sums[:n, 1].mean() / m, equal_weights(sums, squares, norms, n, 1.0, 1.0)


def _turned(features: Features, block_size: int, shift: int) -> Features:
    """Return the features of the point that stands ``shift`` places on, around each block of rows."""
    blocks = (matrix.reshape(-1, block_size, matrix.shape[1]) for matrix in features)
    return tuple(block.roll(-shift, 1).flatten(0, 1) for block in blocks)


def _finite(value: Tensor, variance: Tensor) -> Estimate:
    if not torch.isfinite(value):
        raise ValueError(f"kernel should return finite values but gave an MMD² of {float(value)}")
    return Estimate(float(value), math.sqrt(variance))
