"""The variance of an estimate of MMD², from the row sums of the kernel and of its square.

By Hoeffding's decomposition it has a part that rules where the laws differ, from the variances of
h(x) = E k(x, X') − E k(x, Y) and its like for y, and one that rules where they agree, from the mean squares
of the doubly centred kernel. The first may be estimated below 0, and is then taken as 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_SMALLEST = 1e-290
"""Sums of squares below this have lost digits."""


def standard_error(variance: Tensor, sums: Tensor, squares: Tensor) -> float:
    """Return the root of a variance, which has digits only where the squares of the kernel's values have.

    Raises:
        ValueError: where float64 cannot hold them.
    """
    if not torch.isfinite(variance) or (sums.any() and squares.abs().max() < _SMALLEST):
        raise ValueError(
            "kernel should return values whose squares float64 can hold, for a standard error, but does not: "
            "write the data in other units"
        )
    return math.sqrt(variance)


def equal_weights(
    sums: Tensor, squares: Tensor, diagonal: Tensor, n: int, inner_x: float, inner_y: float
) -> Tensor:
    """Return the variance where points have equal weights; each of its parts is estimated without bias.

    Args:
        sums, squares: Σ_j of k and of k² over the points j ≠ i of x and of y, shape (points, 2).
        diagonal: k(z_i, z_i).
        n: the number of points of x, which come first.
        inner_x, inner_y: the weights of pairs of different points in the means within a sample.
    """
    m = len(sums) - n
    (xx, xy), (yx, yy) = sums[:n].T, sums[n:].T
    q_xx = centred_square_within(xx, squares[:n, 0])
    q_yy = centred_square_within(yy, squares[n:, 1])
    q_xy = centred_square_between(xy, yx, squares[:n, 1])
    of_x = inner_x * xx / (n - 2) - xy / m + (1 - inner_x) / 2 * diagonal[:n]
    of_y = inner_y * yy / (m - 2) - yx / n + (1 - inner_y) / 2 * diagonal[n:]
    h_x = of_x.var() - inner_x**2 * q_xx / (n - 2) - q_xy / m
    h_y = of_y.var() - inner_y**2 * q_yy / (m - 2) - q_xy / n
    where_laws_differ = 4 * h_x / n + 4 * h_y / m
    where_laws_agree = (
        2 * inner_x**2 * q_xx / (n * (n - 1)) + 2 * inner_y**2 * q_yy / (m * (m - 1)) + 4 * q_xy / (n * m)
    )
    return where_laws_differ.clamp_min(0) + where_laws_agree


def any_weights(sums: Tensor, squares: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the variance where points have weights a and b that sum to 1: self-normalised or fixed ones.

    Args:
        sums: Σ_j of k times a, b, a² and b² over j ≠ i, shape (points, 4).
        squares: Σ_j of k² times a² and b², shape (points, 2).
        a, b: the weights of x, which come first, and of y.
    """
    n = len(a)
    q_xx = _weighted_square_within(sums[:n, 0], sums[:n, 2], squares[:n, 0], a)
    q_yy = _weighted_square_within(sums[n:, 1], sums[n:, 3], squares[n:, 1], b)
    q_xy = _weighted_square_between(sums[:n, 1], sums[n:, 0], sums[:n, 3], sums[n:, 2], squares[:n, 1], a, b)
    h_x = _weighted_scatter(sums[:n, 0] / (1 - a) - sums[:n, 1], a) - q_xx - q_xy
    h_y = _weighted_scatter(sums[n:, 1] / (1 - b) - sums[n:, 0], b) - q_yy - q_xy
    return (4 * h_x + 4 * h_y).clamp_min(0) + 2 * q_xx + 2 * q_yy + 4 * q_xy


def variance_within(sums: Tensor, squares: Tensor, a: Tensor) -> Tensor:
    """Return the variance of Σ_{i≠j} a_i a_j k_ij / Σ_{i≠j} a_i a_j, weights a summing to 1.

    Args:
        sums: Σ_j of k times a and a² over j ≠ i, shape (points, 2).
        squares: Σ_j of k² times a² over j ≠ i.
        a: the weights.
    """
    q = _weighted_square_within(sums[:, 0], sums[:, 1], squares, a)
    h = _weighted_scatter(sums[:, 0] / (1 - a), a) - q
    return (4 * h).clamp_min(0) + 2 * q


def centred_square_within(row_sums: Tensor, row_squares: Tensor) -> Tensor:
    """Unbiased E k̃(X, X')², k̃ the doubly centred kernel, from sums over j ≠ i (Székely and Rizzo 2014)."""
    n, total = len(row_sums), row_sums.sum()
    centred_squares = (
        row_squares.sum() - 2 * row_sums.square().sum() / (n - 2) + total**2 / ((n - 1) * (n - 2))
    )
    return centred_squares.clamp_min(0) / (n * (n - 3))


def centred_square_between(row_sums: Tensor, column_sums: Tensor, row_squares: Tensor) -> Tensor:
    """Unbiased E k̃(X, Y)²: the mean square of the residuals of a two-way layout."""
    n, m, total = len(row_sums), len(column_sums), row_sums.sum()
    residuals = (
        row_squares.sum() - row_sums.square().sum() / m - column_sums.square().sum() / n + total**2 / (n * m)
    )
    return residuals.clamp_min(0) / ((n - 1) * (m - 1))


def _weighted_scatter(values: Tensor, a: Tensor) -> Tensor:
    """Σ a_i² (f_i − f̄)², with the degree of freedom that the mean takes."""
    deviations = values - (a * values).sum()
    return (a * deviations).square().sum() / (1 - a.square().sum())


def _weighted_square_within(means: Tensor, sums: Tensor, squares: Tensor, a: Tensor) -> Tensor:
    """Σ_{i≠j} a_i² a_j² k̃_ij², from Σ_j of a_j k_ij, a_j² k_ij and a_j² k_ij² over j ≠ i."""
    u = a.square()
    mu = means / (1 - a)
    mean = (a * mu).sum()
    centre = mu - mean / 2  # k̃_ij = k_ij − centre_i − centre_j
    total, first, second = u.sum(), (u * centre).sum(), (u * centre.square()).sum()
    of_centres = 2 * total * second + 2 * first**2 - 4 * (u * centre).square().sum()
    return ((u * squares).sum() - 4 * (u * centre * sums).sum() + of_centres).clamp_min(0)


def _weighted_square_between(
    rows: Tensor,
    columns: Tensor,
    row_sums: Tensor,
    column_sums: Tensor,
    squares: Tensor,
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """Σ_ij a_i² b_j² k̃_ij², from the sums over j (rows) and over i (columns)."""
    u, v = a.square(), b.square()
    mean = (a * rows).sum()
    over_rows, over_columns = rows - mean / 2, columns - mean / 2
    first = (u * over_rows * row_sums).sum() + (v * over_columns * column_sums).sum()
    of_centres = (
        (u * over_rows.square()).sum() * v.sum()
        + (v * over_columns.square()).sum() * u.sum()
        + 2 * (u * over_rows).sum() * (v * over_columns).sum()
    )
    return ((u * squares).sum() - 2 * first + of_centres).clamp_min(0)
