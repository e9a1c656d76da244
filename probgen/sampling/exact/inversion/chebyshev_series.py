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


def gauss_lobatto(order: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes, −1 and 1 among them, and weights that are exact for degree 2 order − 3."""
    legendre = np.polynomial.Legendre.basis(order - 1)
    nodes = np.concatenate([[-1.0], legendre.deriv().roots(), [1.0]])
    return nodes, 2 / (order * (order - 1) * legendre(nodes) ** 2)


def derivative(nodes: np.ndarray) -> np.ndarray:
    """Return the matrix from values at nodes to the derivative there of the polynomial through them."""
    degree = len(nodes) - 1
    from_values = np.linalg.inv(chebyshev.chebvander(nodes, degree))
    return chebyshev.chebvander(nodes, degree - 1) @ chebyshev.chebder(np.eye(degree + 1)) @ from_values


DERIVATIVE = derivative(NODES)


EDGES = chebyshev.chebvander(np.array([-1.0, 1.0]), ORDER - 1) @ COEFFICIENTS
MEASURES = np.stack([WEIGHTS, *COEFFICIENTS[-2:] / 2, *EDGES])
"""From values to the integral, how far the series may be off (in two parts), and its values at −1 and 1."""

MARGIN = 1 - NODES[-1]
"""What lies between the outermost node and the edge."""


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


def basis(xi: Tensor) -> Tensor:
    """Return T_k(ξ), k = 0 ... ORDER, along a new first dimension, by T_{n+k} = 2 T_n T_k − T_{n−k}."""
    known = torch.stack([torch.ones_like(xi), xi])
    while len(known) <= ORDER:
        known = torch.cat([known, 2 * known[-1] * known[1:] - known[:-1].flip(0)])
    return known
