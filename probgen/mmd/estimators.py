"""Estimators of the squared maximum mean discrepancy MMD²(P, Q) = E k(X, X') + E k(Y, Y') − 2 E k(X, Y)."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, Literal

import torch
from torch import Tensor

from probgen.core import Estimate, taking_arrays
from probgen.mmd.algebra import Kernel
from probgen.mmd.bandwidths import default_gaussian
from probgen.mmd.kernels import Energy
from probgen.mmd.pairwise import symmetric_product
from probgen.mmd.pooled import Pooled, checked_share
from probgen.mmd.scaling import Scale, scaled
from probgen.mmd.spread import any_weights, equal_weights, standard_error

Estimator = Literal["unbiased", "biased"]


@taking_arrays("x", "y")
def mmd2(
    x: Tensor,
    y: Tensor,
    kernel: Kernel | None = None,
    *,
    estimator: Estimator = "unbiased",
    weights_x: Tensor | None = None,
    weights_y: Tensor | None = None,
    scale: Scale = "auto",
) -> Estimate:
    r"""Estimate MMD² between the laws of two samples, with its standard error.

    The unbiased estimator (a U-statistic) leaves out k(x_i, x_i) and is often negative where the laws agree;
    it is returned as it is. The biased one (a V-statistic) is the MMD² between the empirical laws, never
    negative. Memory is O(n + m), time O((n + m)²).

    The variance comes from the Hoeffding decomposition, 4 Var h(X) / n + 4 Var h'(Y) / m, where
    h(x) = E k(x, X') − E k(x, Y) and h'(y) = E k(y, Y') − E k(X, y), plus
    2 Q_xx / n(n−1) + 2 Q_yy / m(m−1) + 4 Q_xy / nm, where Q is the mean square of the doubly centred kernel.
    Each part is estimated without bias. The first two rule where the laws differ and are taken as 0 where
    their estimate is negative; the others rule where the laws agree.

    With weights w, Σ_{i≠j} w_i w_j k(x_i, x_j) / Σ_{i≠j} w_i w_j stands for the mean within x, and so on.
    That is unbiased for weights that are fixed, and for importance weights to O(1 / n_eff), where
    n_eff = (Σw)² / Σw²; the variance then is the plug-in one of self-normalised sums, good for n_eff ≥ 30.

    Args:
        x, y: samples of shape (n, \*event) and (m, \*event), n and m at least 4; kernels of the distance or
            of the inner product flatten events.
        kernel: by default the mean of Gaussians over :func:`bandwidth_grid`. Values are comparable only under
            one kernel: name it where several samples are compared.
        estimator: "unbiased" or "biased".
        weights_x, weights_y: of the points, shapes (n,) and (m,), not negative; they need not sum to 1.
        scale: as for :func:`mmd_test`: by default columns are divided by their standard deviations in the
            pooled sample, but for images and where a kernel is given, whose widths are in the samples' units.

    Raises:
        TypeError, ValueError: for samples that are too small, not finite or not alike, for weights that are
            negative or stand on fewer than 2 points, and for a kernel that returns NaN or infinite values.

    Source: Gretton, Borgwardt, Rasch, Schölkopf and Smola (2012); Székely and Rizzo (2014) for Q.

    >>> x = torch.tensor([0.0, 1.0, 2.0, 3.0])
    >>> round(mmd2(x, x + 1, Energy(), estimator="biased").value, 6)
    0.5
    """
    (x, y), _ = scaled(scale, own_units=kernel is not None, x=x, y=y)
    kernels = [default_gaussian(x, y) if kernel is None else kernel]
    (found,) = mmd2_profile(x, y, kernels, estimator=estimator, weights_x=weights_x, weights_y=weights_y)
    return found


@taking_arrays("x", "y")
def mmd2_profile(
    x: Tensor,
    y: Tensor,
    kernels: Sequence[Kernel],
    *,
    estimator: Estimator = "unbiased",
    weights_x: Tensor | None = None,
    weights_y: Tensor | None = None,
) -> list[Estimate]:
    r"""Estimate MMD² under each of several kernels in one pass over the pairs: at which scale do laws differ?

    Arguments and errors are those of :func:`mmd2`; samples are taken as they are.

    >>> from probgen.mmd import Gaussian
    >>> x = torch.arange(40.0)
    >>> scales = [Gaussian(0.1), Gaussian(100.0)]
    >>> narrow, wide = mmd2_profile(x, x + 0.5, scales, estimator="biased")
    >>> narrow.value > 0.01 > wide.value  # the laws differ in their fine structure only
    True
    """
    pooled = Pooled(kernels, x, y)
    for name, size in (("x", pooled.n), ("y", pooled.m)):
        if size < 4:
            raise ValueError(f"{name} should hold at least 4 points for a standard error but has {size}")
    weighted = not (weights_x is None and weights_y is None)
    a, b = checked_share("weights_x", weights_x, x), checked_share("weights_y", weights_y, y)
    # All that is needed are sums over rows of k and k², against the indicators of both samples: one pass.
    right = pooled.indicators()
    if weighted:
        both = torch.cat([a, b])[:, None]
        right = torch.cat([right * both, right * both.square()], 1)

    def values_and_squares(rows: slice, columns: slice) -> Tensor:
        values = pooled.block(rows, columns)
        return torch.stack([values, values.square()])

    sums, squares = symmetric_product(values_and_squares, right)
    diagonal = pooled.diagonal()
    # The weight of pairs within a sample; by weights w it has the effective size 1 / Σ w².
    inner_x, inner_y = (
        inner_weight(estimator, size if not weighted else 1 / float(shares.square().sum()))
        for size, shares in ((pooled.n, a), (pooled.m, b))
    )
    estimates = []
    for i in range(len(kernels)):
        if weighted:
            value = _weighted_value(sums[i], diagonal[i], a, b, inner_x, inner_y)
            variance = any_weights(sums[i], squares[i, :, 2:], a, b)
        else:
            value = _value(sums[i], diagonal[i], pooled.n, inner_x, inner_y)
            variance = equal_weights(sums[i], squares[i], diagonal[i], pooled.n, inner_x, inner_y)
        if not torch.isfinite(value):
            raise ValueError(f"kernel should return finite values but gave an MMD² of {float(value)}")
        estimates.append(Estimate(float(value), standard_error(variance, sums[i], squares[i])))
    return estimates


@taking_arrays("x", "y")
def energy_distance(x: Tensor, y: Tensor, *, scale: Scale = "auto") -> Estimate:
    r"""Estimate the energy distance 2 E‖X − Y‖ − E‖X − X'‖ − E‖Y − Y'‖ without bias, with its standard error.

    It is 0 only where the laws agree, and not square-rooted; in one dimension it is 2 ∫ (F − G)². By default
    it is in standard deviations of the pooled sample, for images in the units of the data; ``scale`` and the
    errors are those of :func:`mmd2`.

    Source: Székely and Rizzo (2013).

    >>> x = torch.tensor([0.0, 1.0, 2.0, 3.0])
    >>> round(energy_distance(x, x + 10, scale=None).value, 6)
    16.666667
    """
    (x, y), _ = scaled(scale, x=x, y=y)
    return mmd2(x, y, Energy(), scale=None)


def confidence_interval(estimate: Estimate, *, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of the normal law around an estimate; for MMD², where the laws differ.

    Where they agree, the law of MMD² is skewed and its quantiles come from :func:`mmd_test`.

    Raises:
        ValueError: for a level outside (0, 1).

    >>> low, high = confidence_interval(Estimate(1.0, 0.1))
    >>> round(low, 3), round(high, 3)
    (0.804, 1.196)
    """
    if not 0 < level < 1:
        raise ValueError(f"level should be between 0 and 1 but got {level}")
    reach = NormalDist().inv_cdf((1 + level) / 2) * estimate.stderr
    return estimate.value - reach, estimate.value + reach


def inner_weight(estimator: Estimator, n: Any) -> Any:
    """The weight of pairs of different points in the mean of k(x_i, x_j); equal ones have the rest."""
    if estimator not in ("unbiased", "biased"):
        raise ValueError(f"estimator should be 'unbiased' or 'biased' but got {estimator!r}")
    return 1.0 if estimator == "unbiased" else (n - 1) / n


def _value(sums: Tensor, diagonal: Tensor, n: int, inner_x: float, inner_y: float) -> Tensor:
    m = len(sums) - n
    (xx, xy), (_, yy) = sums[:n].T, sums[n:].T
    value = inner_x * xx.mean() / (n - 1) + inner_y * yy.mean() / (m - 1) - 2 * xy.mean() / m
    return value + (1 - inner_x) * diagonal[:n].mean() + (1 - inner_y) * diagonal[n:].mean()


def _weighted_value(
    sums: Tensor, diagonal: Tensor, a: Tensor, b: Tensor, inner_x: float, inner_y: float
) -> Tensor:
    n, within = len(a), []
    parts = ((a, sums[:n, 0], diagonal[:n], inner_x), (b, sums[n:, 1], diagonal[n:], inner_y))
    for shares, row_sums, same, inner in parts:
        squares = shares.square()
        different = (shares * row_sums).sum() / (1 - squares.sum())
        within.append(inner * different + (1 - inner) * (squares * same).sum() / squares.sum())
    return within[0] + within[1] - 2 * (a * sums[:n, 1]).sum()
