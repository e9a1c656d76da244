"""A head whose law is a normal one with a full covariance."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from probgen.core import check_count
from probgen.nets.heads import Head, Widens
from probgen.nets.laws import log_scale


class MultivariateNormalHead(Head):
    r"""The law N(mean, L Lᵀ), all of it given by the net: normal, its coordinates dependent on each other.

    L = diag(s) (I + N), N strictly lower triangular. s is the standard deviation of each coordinate given
    those before it, in the form of :class:`NormalHead`, so that no covariance is singular. As a guide it
    loses nothing where the posterior is normal; the best one with independent coordinates then loses
    ½ (Σ_i log M_ii − log |M|), M the posterior's precision. The net gives d + 1 numbers per coordinate, of
    which the d (d − 1) / 2 above the diagonal count nothing: it suits codes of up to some tens of numbers.

    Args:
        net: with ``widen`` or with d (d + 1) outputs: the mean, then L row by row.
        dim: d, where the net does not tell it by ``outputs``.

    Raises:
        TypeError: where neither tells d.
        ValueError: for a net of another number of outputs.

    >>> from probgen.nets import MLP
    >>> law = MultivariateNormalHead(MLP(64, 3))(torch.zeros(5, 64))
    >>> law.batch_shape, law.covariance_matrix.shape
    (torch.Size([5]), torch.Size([5, 3, 3]))
    """

    def __init__(self, net: nn.Module, *, dim: int | None = None) -> None:
        if dim is None:
            if not isinstance(net, Widens):
                raise TypeError(f"dim should be given, as a {type(net).__name__} has no size ``outputs``")
            dim = net.outputs
        super().__init__(net, 1 + check_count("dim", dim))

    def forward(self, *context: Tensor) -> dist.MultivariateNormal:
        blocks = self.blocks(*context)
        numbers, size = blocks.shape[-2:]
        if numbers != size + 1:
            dim = numbers - 1
            raise ValueError(
                f"{type(self).__name__} needs {dim} x {numbers} numbers for a law of {dim} coordinates, but "
                f"its net returned {numbers * size}"
            )
        mean, rows = blocks[..., 0, :], blocks[..., 1:, :]
        scale = log_scale(rows.diagonal(dim1=-2, dim2=-1)).exp()
        identity = torch.eye(rows.shape[-1], dtype=rows.dtype, device=rows.device)
        return dist.MultivariateNormal(
            mean, scale_tril=scale.unsqueeze(-1) * (identity + rows.tril(-1)), validate_args=False
        )
