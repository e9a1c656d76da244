"""Running moments of many chains, from which proposals take their shape."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

ENOUGH = 4
"""Independent draws per coordinate from which correlations are taken as they are."""


class Moments:
    r"""Moments of positions and gradients, pooled over chains and steps, in float64.

    The shape of a proposal is the covariance C of the positions; where states have gradients, it is the
    matrix Σ with Σ G Σ = C, G the covariance of the gradients: the geometric mean of C and G⁻¹. For a
    Gaussian target that is its covariance wherever the chains are, so that it is right before they arrive.
    Where there are fewer than four independent draws per coordinate, correlations are shrunk to 0.

    See Haario, Saksman and Tamminen (2001); Seyboldt, Carlson and Carpenter (2024), Preconditioning
    Hamiltonian Monte Carlo by minimizing Fisher divergence.
    """

    def __init__(self, *, dense: bool) -> None:
        self._dense, self._count = dense, 0
        self._sums: dict[str, _Sums] = {}

    def add(self, state: Any) -> None:
        r"""Take in a state's positions, (chains, \*batch, dim), and its gradients if it has any."""
        self._count += len(state.position)
        for name in ("position", "gradient"):
            if name in state._fields:
                sums = self._sums.setdefault(name, _Sums(getattr(state, name), dense=self._dense))
                sums.add(getattr(state, name))

    def shape(self, *, correlated: float) -> Tensor | None:
        r"""Return standard deviations, (\*batch, dim), or a Cholesky factor, (\*batch, dim, dim).

        None where a coordinate stood still, or moments are not finite. One in ``correlated`` draws counts as
        independent of the others.
        """
        position, gradient = self._sums["position"], self._sums.get("gradient")
        variance = position.variance()
        if gradient is not None and not (gradient.variance() > 0).all():  # a log-density that is linear
            gradient = None
        if gradient is not None:
            variance = (variance / gradient.variance()).sqrt()
        if not ((variance > 0) & variance.isfinite()).all():
            return None
        deviation = variance.sqrt()
        if not self._dense:
            return deviation.to(position.dtype)
        dim = deviation.shape[-1]
        weight = min(1.0, self._count / (correlated * ENOUGH * dim))
        scaled = position.covariance(deviation, weight)
        if gradient is not None:
            scaled = _geometric_mean(scaled, gradient.covariance(1 / deviation, weight))
        factor, failed = torch.linalg.cholesky_ex(scaled)
        if failed.any() or not factor.isfinite().all():
            return torch.diag_embed(deviation).to(position.dtype)
        return (deviation.unsqueeze(-1) * factor).to(position.dtype)


class _Sums:
    """Sums of numbers and of their products, about the first mean."""

    def __init__(self, values: Tensor, *, dense: bool) -> None:
        self.dtype, self._dense, self._count = values.dtype, dense, 0
        self._centre = values.to(torch.float64).mean(0)
        self._sum = torch.zeros_like(self._centre)
        self._products: Tensor = torch.zeros((), dtype=torch.float64, device=values.device)

    def add(self, values: Tensor) -> None:
        apart = values.to(torch.float64) - self._centre
        self._count += len(apart)
        self._sum += apart.sum(0)
        products = torch.einsum("c...i,c...j->...ij", apart, apart) if self._dense else (apart**2).sum(0)
        self._products = self._products + products

    def variance(self) -> Tensor:
        squares = self._products.diagonal(dim1=-2, dim2=-1) if self._dense else self._products
        return squares / self._count - (self._sum / self._count) ** 2

    def covariance(self, unit: Tensor, weight: float) -> Tensor:
        """Return the covariance in given units, what is off its diagonal times a weight."""
        mean = (self._sum / self._count) / unit
        products = self._products / self._count / (unit.unsqueeze(-1) * unit.unsqueeze(-2))
        covariance = products - mean.unsqueeze(-1) * mean.unsqueeze(-2)
        return weight * covariance + (1 - weight) * torch.diag_embed(covariance.diagonal(dim1=-2, dim2=-1))


def _geometric_mean(covariance: Tensor, gradients: Tensor) -> Tensor:
    """Return Σ with Σ G Σ = C: L⁻ᵀ (Lᵀ C L)^½ L⁻¹, where G = L Lᵀ."""
    factor, failed = torch.linalg.cholesky_ex(gradients)
    if failed.any():
        return covariance
    inverse = torch.linalg.inv_ex(factor).inverse
    root = factor.mT @ covariance @ factor
    values, vectors = torch.linalg.eigh((root + root.mT) / 2)
    root = (vectors * values.clamp(min=0).sqrt().unsqueeze(-2)) @ vectors.mT
    return inverse.mT @ root @ inverse
