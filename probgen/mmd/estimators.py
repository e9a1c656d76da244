"""Estimators of the squared maximum mean discrepancy MMD²(P, Q) = E k(X, X') + E k(Y, Y') − 2 E k(X, Y)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from probgen.core import Estimate
from probgen.mmd.kernels import Energy, Gaussian, Kernel, bandwidth_grid
from probgen.mmd.pairwise import centred, check_alike, product, squared_distances

Estimator = Literal["unbiased", "biased"]


def mmd2(
    x: Tensor, y: Tensor, kernel: Kernel | None = None, *, estimator: Estimator = "unbiased"
) -> Estimate:
    r"""Estimate MMD² between the laws of two samples, with its standard error.

    The unbiased estimator (a U-statistic) leaves out k(x_i, x_i) and is often negative where the laws agree;
    it is returned as it is. The biased one (a V-statistic) is the MMD² between the empirical laws, never
    negative.

    The variance comes from the Hoeffding decomposition, 4 Var h(X) / n + 4 Var h'(Y) / m, where
    h(x) = E k(x, X') − E k(x, Y) and h'(y) = E k(y, Y') − E k(X, y), plus
    2 Q_xx / n(n−1) + 2 Q_yy / m(m−1) + 4 Q_xy / nm, where Q is the mean square of the doubly centred kernel.
    Each part is estimated without bias. The first two rule where the laws differ and are taken as 0 where
    their estimate is negative; the others rule where the laws agree.

    Args:
        x, y: samples of shape (n, \*event) and (m, \*event), n and m at least 4; events are flattened.
        kernel: of the squared distance; by default the mean of Gaussians over :func:`bandwidth_grid`. Values
            are comparable only under one kernel: name it where several samples are compared.
        estimator: "unbiased" or "biased".

    Raises:
        TypeError, ValueError: for samples that are too small, not finite or not alike, and for a kernel that
            returns NaN or infinite values.

    Source: Gretton, Borgwardt, Rasch, Schölkopf and Smola (2012); Székely and Rizzo (2014) for Q.

    >>> x = torch.tensor([0.0, 1.0, 2.0, 3.0])
    >>> round(mmd2(x, x + 1, Energy(), estimator="biased").value, 6)
    0.5
    """
    points = centred(x=x, y=y)
    for name, sample in zip("xy", points, strict=True):
        if len(sample) < 4:
            raise ValueError(
                f"{name} should hold at least 4 points for a standard error but has {len(sample)}"
            )
    kernel = Gaussian(bandwidth_grid(x, y)) if kernel is None else kernel
    pooled, groups = pool(*points)
    shift = typical_value(kernel, pooled)

    def value_and_square(squared_distance: Tensor) -> Tensor:
        value = kernel(squared_distance) - shift
        return torch.stack([value, value.square()])

    sums, squares = product(value_and_square, pooled, groups)
    n, m = len(x), len(y)
    (xx, xy), (yx, yy) = sums[:n].T, sums[n:].T
    inner_x, inner_y = _inner_weight(estimator, n), _inner_weight(estimator, m)
    at_zero = kernel(pooled.new_zeros(())) - shift
    value = inner_x * xx.mean() / (n - 1) + inner_y * yy.mean() / (m - 1) - 2 * xy.mean() / m
    value = value + (2 - inner_x - inner_y) * at_zero

    q_xx = _centred_square_within(xx, squares[:n, 0])
    q_yy = _centred_square_within(yy, squares[n:, 1])
    q_xy = _centred_square_between(xy, yx, squares[:n, 1])
    h_x = (inner_x * xx / (n - 2) - xy / m).var() - inner_x**2 * q_xx / (n - 2) - q_xy / m
    h_y = (inner_y * yy / (m - 2) - yx / n).var() - inner_y**2 * q_yy / (m - 2) - q_xy / n
    where_laws_differ = 4 * h_x / n + 4 * h_y / m
    where_laws_agree = (
        2 * inner_x**2 * q_xx / (n * (n - 1)) + 2 * inner_y**2 * q_yy / (m * (m - 1)) + 4 * q_xy / (n * m)
    )
    estimate = Estimate(float(value), math.sqrt(where_laws_differ.clamp_min(0) + where_laws_agree))
    if not math.isfinite(estimate.value):
        raise ValueError(f"kernel should return finite values but gave an MMD² of {estimate.value}")
    return estimate


def energy_distance(x: Tensor, y: Tensor) -> Estimate:
    r"""Estimate the energy distance 2 E‖X − Y‖ − E‖X − X'‖ − E‖Y − Y'‖ without bias, with its standard error.

    It is in the units of the data, 0 only where the laws agree, and not square-rooted; in one dimension it is
    2 ∫ (F − G)². Arguments and errors are those of :func:`mmd2`.

    Source: Székely and Rizzo (2013).

    >>> x = torch.tensor([0.0, 1.0, 2.0, 3.0])
    >>> round(energy_distance(x, x + 10).value, 6)
    16.666667
    """
    return mmd2(x, y, Energy())


def mmd2_loss(x: Tensor, y: Tensor, kernel: Kernel, *, estimator: Estimator = "unbiased") -> Tensor:
    r"""Return MMD² between two batches as a differentiable scalar, in the dtype of the batches.

    All the distances of the batches are held at once, so that the memory is O((n + m)²). There is no control
    flow that depends on values, and no check of them: a NaN in a batch is a NaN in the loss.

    Args:
        x, y: batches of shape (n, \*event) and (m, \*event), n and m at least 2; gradients flow to both.
        kernel: of the squared distance, say ``Gaussian(bandwidth_grid(data, data))``.
        estimator: "unbiased", or "biased", which is never negative and so may be square-rooted.

    Raises:
        TypeError, ValueError: for batches that are too small or not alike.

    Source: Li, Swersky and Zemel (2015); Dziugaite, Roy and Ghahramani (2015).

    >>> x = torch.tensor([0.0, 1.0], requires_grad=True)
    >>> mmd2_loss(x, torch.tensor([0.0, 2.0]), Energy()).backward()
    >>> x.grad
    tensor([ 0.5000, -1.0000])
    """
    check_alike(x=x, y=y)
    for name, batch in (("x", x), ("y", y)):
        if len(batch) < 2:
            raise ValueError(f"{name} should hold at least 2 points but has {len(batch)}")
    x, y = x.reshape(len(x), -1), y.reshape(len(y), -1)
    centre = torch.cat([x, y]).detach().mean(0)
    x, y = x - centre, y - centre
    between = kernel(squared_distances(x, y)).mean(dtype=torch.float64)
    within = _within(x, kernel, estimator) + _within(y, kernel, estimator)
    return (within - 2 * between).to(x.dtype)


def pool(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pooled points, shape (n + m, d), and the indicators of the two samples, (n + m, 2)."""
    in_x = torch.cat([x.new_ones(len(x)), x.new_zeros(len(y))])
    return torch.cat([x, y]), torch.stack([in_x, 1 - in_x], 1)


def typical_value(kernel: Kernel, points: Tensor) -> Tensor:
    """Return the kernel at the mean squared distance of centred points.

    MMD² does not change when a constant is subtracted from the kernel; sums of values near 0 lose no digits.
    """
    return kernel(2 * points.square().sum() / len(points))


def _inner_weight(estimator: Estimator, n: int) -> float:
    """The weight of pairs of different points in the mean of k(x_i, x_j); equal ones have the rest."""
    if estimator not in ("unbiased", "biased"):
        raise ValueError(f"estimator should be 'unbiased' or 'biased' but got {estimator!r}")
    return 1.0 if estimator == "unbiased" else (n - 1) / n


def _within(x: Tensor, kernel: Kernel, estimator: Estimator) -> Tensor:
    n = len(x)
    weight = _inner_weight(estimator, n)
    same = torch.eye(n, dtype=torch.bool, device=x.device)
    values = kernel(squared_distances(x, x)).masked_fill(same, 0)
    different = values.sum(dtype=torch.float64) / (n * (n - 1))
    return weight * different + (1 - weight) * kernel(x.new_zeros(()))


def _centred_square_within(row_sums: Tensor, row_squares: Tensor) -> Tensor:
    """Unbiased E k̃(X, X')², k̃ the doubly centred kernel, from sums over j ≠ i (Székely and Rizzo 2014)."""
    n, total = len(row_sums), row_sums.sum()
    centred_squares = (
        row_squares.sum() - 2 * row_sums.square().sum() / (n - 2) + total**2 / ((n - 1) * (n - 2))
    )
    return centred_squares.clamp_min(0) / (n * (n - 3))


def _centred_square_between(row_sums: Tensor, column_sums: Tensor, row_squares: Tensor) -> Tensor:
    """Unbiased E k̃(X, Y)²: the mean square of the residuals of a two-way layout."""
    n, m, total = len(row_sums), len(column_sums), row_sums.sum()
    residuals = (
        row_squares.sum() - row_sums.square().sum() / m - column_sums.square().sum() / n + total**2 / (n * m)
    )
    return residuals.clamp_min(0) / ((n - 1) * (m - 1))
