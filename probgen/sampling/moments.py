"""Running moments of many chains, from which proposals take their shape."""

from __future__ import annotations

import torch
from torch import Tensor


class Moments:
    """Running moments of positions, pooled over chains and steps, in float64 about the first mean."""

    def __init__(self, position: Tensor, *, dense: bool) -> None:
        self._dtype, self._dense = position.dtype, dense
        self._centre = position.to(torch.float64).mean(0)
        self._count = 0
        self._sum = torch.zeros_like(self._centre)
        self._squares: Tensor = torch.zeros((), dtype=torch.float64, device=position.device)

    def add(self, position: Tensor) -> None:
        r"""Take in positions (chains, \*batch, dim)."""
        apart = position.to(torch.float64) - self._centre
        self._count += len(apart)
        self._sum += apart.sum(0)
        squares = torch.einsum("c...i,c...j->...ij", apart, apart) if self._dense else (apart**2).sum(0)
        self._squares = self._squares + squares

    def factor(self) -> Tensor:
        """Return standard deviations, or the Cholesky factor of the covariance, shrunk to its diagonal.

        Raises:
            ValueError: for a coordinate in which the chains stood still.
        """
        mean = self._sum / self._count
        if not self._dense:
            return _deviation(self._squares / self._count - mean**2).to(self._dtype)
        covariance = self._squares / self._count - mean.unsqueeze(-1) * mean.unsqueeze(-2)
        deviation = _deviation(covariance.diagonal(dim1=-2, dim2=-1))
        dim = mean.shape[-1]
        independent = self._count / (5 * dim)
        weight = independent / (independent + dim)
        correlation = weight * covariance / (deviation.unsqueeze(-1) * deviation.unsqueeze(-2))
        correlation.diagonal(dim1=-2, dim2=-1).fill_(1.0)
        return (deviation.unsqueeze(-1) * torch.linalg.cholesky(correlation)).to(self._dtype)


def _deviation(variance: Tensor) -> Tensor:
    if not (variance > 0).all():
        coordinate = (~(variance > 0)).nonzero()[0].tolist()
        raise ValueError(f"chains should move during warm-up but stood still in coordinate {coordinate}")
    return variance.sqrt()
