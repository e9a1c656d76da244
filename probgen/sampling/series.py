"""Chebyshev series on [−1, 1], from values at Gauss–Legendre nodes."""

from __future__ import annotations

import numpy as np
import torch
from numpy.polynomial import chebyshev
from torch import Tensor

ORDER = 16
"""Nodes of a panel: its integral is exact for polynomials of degree 31, its series has degree 15."""

NODES, WEIGHTS = np.polynomial.legendre.leggauss(ORDER)
LADDER = np.cos(np.pi * np.arange(ORDER, -1, -1) / ORDER)
"""Points from −1 to 1 at which the antiderivative is tabulated, to bracket its inverse."""

COEFFICIENTS = np.linalg.inv(chebyshev.chebvander(NODES, ORDER - 1))
ANTIDERIVATIVE = chebyshev.chebint(np.eye(ORDER), lbnd=-1) @ COEFFICIENTS
LEVELS = chebyshev.chebvander(LADDER, ORDER) @ ANTIDERIVATIVE


def derivative(nodes: np.ndarray) -> np.ndarray:
    """Return the matrix from values at nodes to the derivative there of the polynomial through them."""
    degree = len(nodes) - 1
    from_values = np.linalg.inv(chebyshev.chebvander(nodes, degree))
    return chebyshev.chebvander(nodes, degree - 1) @ chebyshev.chebder(np.eye(degree + 1)) @ from_values


DERIVATIVE = derivative(NODES)


def column(constant: np.ndarray, like: Tensor) -> Tensor:
    """Return a vector of constants along a new first dimension of ``like``."""
    return torch.as_tensor(constant, device=like.device).reshape(-1, *[1] * like.dim())


def apply(matrix: np.ndarray, values: Tensor) -> Tensor:
    """Apply one of the matrices to values at the nodes, along the first dimension.

    COEFFICIENTS gives the Chebyshev coefficients, ANTIDERIVATIVE those of the integral from −1, LEVELS that
    integral on the ladder, DERIVATIVE the derivative at the nodes.
    """
    product = torch.as_tensor(matrix, device=values.device) @ values.flatten(1)
    return product.reshape(-1, *values.shape[1:])


def evaluate(coefficients: Tensor, angle: Tensor) -> Tensor:
    """Return Σ_k c_k T_k(cos angle) = Σ_k c_k cos(k angle), with c along the first dimension."""
    degrees = column(np.arange(len(coefficients), dtype=np.float64), angle)
    return (coefficients * (degrees * angle).cos()).sum(0)
