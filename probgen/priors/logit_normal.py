"""The logit-normal law: a share whose logit is normal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.transforms import SigmoidTransform

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(64)


class LogitNormal(dist.TransformedDistribution):
    r"""The law of σ(Z), Z ~ N(loc, scale²), σ the logistic function: a share with a normal logit.

    Args:
        loc, scale: of the logit, scale positive; broadcast.

    See Atchison and Shen (1980), Logistic-normal distributions: some properties and uses.

    >>> law = LogitNormal(0.0, 1.0)
    >>> law.icdf(torch.tensor([0.05, 0.5])), law.mean, law.stddev
    (tensor([0.1618, 0.5000]), tensor(0.5000), tensor(0.2083))
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012
    support = constraints.unit_interval
    has_rsample = True

    def __init__(
        self, loc: Tensor | float, scale: Tensor | float, *, validate_args: bool | None = None
    ) -> None:
        base = dist.Normal(loc, scale, validate_args=validate_args)
        super().__init__(base, [SigmoidTransform()], validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> LogitNormal:
        return super().expand(batch_shape, self._get_checked_instance(LogitNormal, _instance))

    @property
    def loc(self) -> Tensor:
        """The mean of the logit."""
        return self.base_dist.loc

    @property
    def scale(self) -> Tensor:
        """The standard deviation of the logit."""
        return self.base_dist.scale

    @property
    def mean(self) -> Tensor:
        """E σ(Z), by quadrature; to 1e-6 where the scale is at most 3."""
        return self._expectation(torch.zeros_like(self.loc), 1)

    @property
    def variance(self) -> Tensor:
        """Var σ(Z), by quadrature."""
        return self._expectation(self.mean, 2)

    def _expectation(self, centre: Tensor, power: int) -> Tensor:
        nodes, weights = (torch.as_tensor(row, device=self.loc.device) for row in (_NODES, _WEIGHTS))
        x = (self.loc.double()[..., None] + self.scale.double()[..., None] * nodes).sigmoid()
        x = (x - centre.double()[..., None]) ** power
        return ((x * weights).sum(-1) / math.sqrt(2 * math.pi)).to(self.loc.dtype)
