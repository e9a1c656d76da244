"""Maps from the real line to supports, which keep the digits at every end of a support."""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro.distributions import constraints as pyro_constraints
from pyro.distributions.transforms import CorrMatrixCholeskyTransform
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint
from torch.distributions.transforms import (
    CatTransform,
    ComposeTransform,
    IndependentTransform,
    StackTransform,
    Transform,
)
from torch.distributions.utils import tril_matrix_to_vec, vec_to_tril_matrix
from torch.nn.functional import pad, softplus

from probgen.core.density.matrices import OfVectors, biject_to


def bijector_of(support: Constraint) -> Transform:
    """Return the map from the real line to a support: one of this module's, of matrices', or torch's own.

    Raises:
        NotImplementedError: for a support that no map is registered for.
    """
    if isinstance(support, constraints.independent):
        return IndependentTransform(bijector_of(support.base_constraint), support.reinterpreted_batch_ndims)
    if isinstance(support, constraints.cat):
        return CatTransform([bijector_of(part) for part in support.cseq], support.dim, support.lengths)
    if isinstance(support, constraints.stack):
        return StackTransform([bijector_of(part) for part in support.cseq], support.dim)
    if isinstance(support, constraints.interval | constraints.half_open_interval):
        return Logistic(support.lower_bound, support.upper_bound)
    if support is constraints.simplex:
        return LogRatios()
    if support is constraints.corr_cholesky:
        return CorrelationFactor()
    if support is pyro_constraints.corr_matrix:
        return ComposeTransform([CorrelationFactor(), CorrMatrixCholeskyTransform().inv])
    return biject_to(support)


def at_ends(transform: Transform, value: Tensor) -> Tensor:
    r"""Say which values are at an end of their support, beyond which rounding tells no places apart.

    Args:
        transform: the map to the support.
        value: shape (\*batch, \*event), the event that of the map.

    Returns:
        shape (\*batch).
    """
    if isinstance(transform, IndependentTransform):
        inner = at_ends(transform.base_transform, value)
        dims = transform.reinterpreted_batch_ndims
        return inner.flatten(-dims).any(-1) if dims else inner
    if isinstance(transform, Logistic | LogRatios | CorrelationFactor):
        return transform.at_ends(value)
    beyond = ~transform.inv(value).isfinite()
    dims = transform.domain.event_dim
    return beyond.flatten(-dims).any(-1) if dims else beyond


def innermost(transform: Transform) -> Transform:
    """Return the map of one element, of a map of several that are independent."""
    while isinstance(transform, IndependentTransform):
        transform = transform.base_transform
    return transform


class Logistic(Transform):
    r"""x = a + (b − a) σ(u), computed from the end that is nearer, the last number inside where it rounds.

    log |dx/du| = log(b − a) + log σ(u) + log σ(−u), to all digits.

    Args:
        lower, upper: the ends a < b, numbers or tensors.
    """

    domain = constraints.real
    bijective = True
    sign = 1

    def __init__(self, lower: float | Tensor, upper: float | Tensor) -> None:
        super().__init__()
        self._lower, self._upper = lower, upper
        self._unit = (
            not isinstance(lower, Tensor) and not isinstance(upper, Tensor) and (lower, upper) == (0, 1)
        )

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def codomain(self) -> Constraint:
        return constraints.interval(self._lower, self._upper)

    def at_ends(self, value: Tensor) -> Tensor:
        """Say which values are the first or the last number inside."""
        first, last = self._inside(value)
        return (value <= first) | (value >= last)

    def _call(self, x: Tensor) -> Tensor:
        if self._unit:
            value = x.sigmoid()
        else:
            small, width = (-x.abs()).sigmoid(), self._upper - self._lower
            value = torch.where(x < 0, self._lower + width * small, self._upper - width * small)
        first, last = self._inside(value)
        return value.clamp(first, last)

    def _inverse(self, y: Tensor) -> Tensor:
        first, last = self._inside(y)
        y = y.clamp(first, last)
        return (y - self._lower).log() - (self._upper - y).log()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        volume = -softplus(x) - softplus(-x)
        if self._unit:
            return volume
        width = self._upper - self._lower
        return volume + (width.log() if isinstance(width, Tensor) else math.log(width))

    def _inside(self, like: Tensor) -> tuple[Any, Any]:
        """Return the first and the last number inside, in the dtype of a tensor."""
        info = torch.finfo(like.dtype)
        if self._unit:
            return info.tiny, 1 - info.eps / 2
        lower, upper = (
            torch.as_tensor(end, dtype=like.dtype, device=like.device).detach()
            for end in (self._lower, self._upper)
        )
        first, last = torch.nextafter(lower, upper), torch.nextafter(upper, lower)
        # Next to 0 the first normal number, since processors may flush smaller ones to 0.
        return torch.where(lower == 0, info.tiny, first), torch.where(upper == 0, -info.tiny, last)


class LogRatios(Transform):
    r"""x = softmax(V u), V the K x (K − 1) Helmert basis of the vectors that sum to 0: no corner is special.

    u are the isometric log-ratios of x, and log |det ∂x/∂u| = Σ log x_i + ½ log K, in the first K − 1 of x.

    See Egozcue et al. (2003), Isometric logratio transformations for compositional data analysis.
    """

    domain = constraints.real_vector
    codomain = constraints.simplex
    bijective = True

    def at_ends(self, value: Tensor) -> Tensor:
        """Say where a coordinate is the least number: near a corner the others hold the digits."""
        return (value <= torch.finfo(value.dtype).tiny).any(-1)

    def log_value(self, x: Tensor) -> Tensor:
        """Return log x of positions, which does not round where x does."""
        return _helmert(x).log_softmax(-1)

    def forward_shape(self, shape: Any) -> torch.Size:
        return torch.Size((*shape[:-1], shape[-1] + 1))

    def inverse_shape(self, shape: Any) -> torch.Size:
        return torch.Size((*shape[:-1], shape[-1] - 1))

    def _call(self, x: Tensor) -> Tensor:
        return self.log_value(x).exp().clamp(min=torch.finfo(x.dtype).tiny)

    def _inverse(self, y: Tensor) -> Tensor:
        z = y.clamp(min=torch.finfo(y.dtype).tiny).log()
        n, length = _steps(z[..., 1:])
        return (z[..., :-1].cumsum(-1) - n * z[..., 1:]) / length

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.log_value(x).sum(-1) + 0.5 * math.log(x.shape[-1] + 1)


def _steps(u: Tensor) -> tuple[Tensor, Tensor]:
    """Return n = 1, 2, ... and √(n (n + 1)), as long as the last dimension."""
    n = torch.arange(1, u.shape[-1] + 1, dtype=u.dtype, device=u.device)
    return n, (n * (n + 1)).sqrt()


def _helmert(u: Tensor) -> Tensor:
    """Return z = V u: u_n / √(n (n + 1)) is added to the first n of z, and taken n times from the next."""
    n, length = _steps(u)
    raised = u / length
    return pad(raised.flip(-1).cumsum(-1).flip(-1), (0, 1)) - pad(n * raised, (1, 0))


class CorrelationFactor(OfVectors):
    r"""The Cholesky factor of a correlation matrix, row by row of unit length, from the correlations' artanh.

    L_ij = tanh(u_ij) Π_{k<j} sech(u_ik) and L_ii = Π_{k<i} sech(u_ik): the diagonal keeps its digits where a
    correlation rounds to ±1. Positions are those of torch's map.

    See Lewandowski, Kurowicka and Joe (2009), Generating random correlation matrices.
    """

    codomain = constraints.corr_cholesky
    diagonal = -1

    def at_ends(self, value: Tensor) -> Tensor:
        """Say where a number of the diagonal is the least: correlations of ±1 have their digits there."""
        return (value.diagonal(dim1=-2, dim2=-1) <= torch.finfo(value.dtype).tiny).any(-1)

    def _call(self, x: Tensor) -> Tensor:
        matrix = vec_to_tril_matrix(x, diag=-1)
        rest = pad(_log_sech(matrix).cumsum(-1)[..., :-1], (1, 0)).exp()
        diagonal = torch.eye(matrix.shape[-1], dtype=torch.bool, device=x.device)
        return torch.where(diagonal, rest.clamp(min=torch.finfo(x.dtype).tiny), matrix.tanh() * rest)

    def _inverse(self, y: Tensor) -> Tensor:
        squares = (2 * y.abs().log()).flip(-1).logcumsumexp(-1).flip(-1)
        rest = pad(squares[..., 1:] / 2, (0, 1)).exp()
        return (tril_matrix_to_vec(y, diag=-1) / tril_matrix_to_vec(rest, diag=-1)).asinh()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        row, column = torch.tril_indices(y.shape[-1], y.shape[-1], -1, device=x.device)
        return (_log_sech(x) * (row - column + 1)).sum(-1)


def _log_sech(x: Tensor) -> Tensor:
    far = x.abs()
    return math.log(2) - far - (-2 * far).exp().log1p()
