"""Maps from vectors of real numbers to matrices: triangular, symmetric, positive definite."""

from __future__ import annotations

import math

import torch
from pyro.distributions import constraints as pyro_constraints
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint
from torch.distributions.transforms import IndependentTransform, Transform, identity_transform
from torch.distributions.utils import tril_matrix_to_vec, vec_to_tril_matrix


class OfVectors(Transform):
    r"""A map from vectors of the numbers on and below the diagonal, row by row, to p x p matrices.

    The volume in which densities of the matrices are given is that of these same places.
    """

    domain = constraints.real_vector
    bijective = True
    diagonal = 0
    """The highest diagonal with free numbers: −1 where that of the matrix is fixed."""

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        size = round((math.sqrt(8 * shape[-1] + 1) - 1) / 2) - self.diagonal
        return torch.Size((*shape[:-1], size, size))

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        size = shape[-1] + self.diagonal
        return torch.Size((*shape[:-2], size * (size + 1) // 2))


class Triangular(OfVectors):
    """A lower triangular matrix of any numbers."""

    codomain: Constraint = constraints.lower_triangular

    def _call(self, x: Tensor) -> Tensor:
        return vec_to_tril_matrix(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return tril_matrix_to_vec(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return x.new_zeros(x.shape[:-1])


class UnitTriangular(Triangular):
    """A lower triangular matrix with ones on the diagonal."""

    codomain = constraints.lower_cholesky
    diagonal = -1

    def _call(self, x: Tensor) -> Tensor:
        below = vec_to_tril_matrix(x, -1)
        return below + torch.eye(below.shape[-1], dtype=x.dtype, device=x.device)

    def _inverse(self, y: Tensor) -> Tensor:
        return tril_matrix_to_vec(y, -1)


class Symmetric(Triangular):
    """A symmetric matrix of any numbers."""

    codomain = constraints.symmetric

    def _call(self, x: Tensor) -> Tensor:
        lower = vec_to_tril_matrix(x)
        return lower + lower.tril(-1).mT


class CholeskyFactor(OfVectors):
    """A lower triangular matrix L with the diagonal exp u_ii; log |det| = Σ u_ii."""

    codomain = constraints.lower_cholesky

    def _call(self, x: Tensor) -> Tensor:
        lower = vec_to_tril_matrix(x)
        return lower.tril(-1) + torch.diag_embed(lower.diagonal(dim1=-2, dim2=-1).exp())

    def _inverse(self, y: Tensor) -> Tensor:
        return tril_matrix_to_vec(y.tril(-1) + torch.diag_embed(y.diagonal(dim1=-2, dim2=-1).log()))

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return _diagonal(x).sum(-1)


class PositiveDefinite(OfVectors):
    """The matrix L Lᵀ of a :class:`CholeskyFactor`; log |det| = p log 2 + Σ_i (p + 2 − i) u_ii, i from 1."""

    codomain = constraints.positive_definite

    def _call(self, x: Tensor) -> Tensor:
        lower = CholeskyFactor()(x)
        return lower @ lower.mT

    def _inverse(self, y: Tensor) -> Tensor:
        return CholeskyFactor().inv(torch.linalg.cholesky(y))

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        size = y.shape[-1]
        times = torch.arange(size + 1, 1, -1, dtype=x.dtype, device=x.device)
        return size * math.log(2) + (times * _diagonal(x)).sum(-1)


MAPS: dict[Constraint, type[Transform]] = {
    constraints.lower_triangular: Triangular,
    constraints.symmetric: Symmetric,
    constraints.lower_cholesky: CholeskyFactor,
    pyro_constraints.softplus_lower_cholesky: CholeskyFactor,  # another map to the same matrices
    pyro_constraints.unit_lower_cholesky: UnitTriangular,
    constraints.positive_definite: PositiveDefinite,
    constraints.positive_semidefinite: PositiveDefinite,  # but for matrices of no volume
}
"""The maps by the support that they fill."""


def biject_to(support: Constraint) -> Transform:
    """Return the map from the real line to a support: one of this module's, or torch's own.

    Raises:
        NotImplementedError: for a support that no map is registered for.
    """
    if support is constraints.square:
        return IndependentTransform(identity_transform, 2)
    if isinstance(support, constraints.independent):
        return IndependentTransform(biject_to(support.base_constraint), support.reinterpreted_batch_ndims)
    if support in MAPS:
        return MAPS[support]()
    found: Transform = torch.distributions.biject_to(support)
    return found


def _diagonal(x: Tensor) -> Tensor:
    return vec_to_tril_matrix(x).diagonal(dim1=-2, dim2=-1)
