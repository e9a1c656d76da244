"""Spike and slab: an effect is nothing, or next to nothing, or it is something."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.utils import broadcast_all

from probgen.core.density.mapped import is_mapped

_HALF_LOG_2_PI = math.log(2 * math.pi) / 2


class SpikeAndSlab(TorchDistribution):
    r"""The law of an effect that is normal with a wide scale, with probability w, and else is in the spike.

    The spike is the point 0 (``spike=0``): ``log_prob`` is log (1 − w) at 0 and log w + log N(x; 0, slab²)
    elsewhere, the density by δ₀ plus Lebesgue's measure. Or it is a narrow normal law, and the density is
    w N(x; 0, slab²) + (1 − w) N(x; 0, spike²).

    In a model sampled by chains an effect with a point is found by its normal score z: x = F⁻(Φ(z)) is 0 on
    a whole stretch of z, so that chains of gradients come there and back, and P(x = 0 | data) is the share
    of draws that are 0.

    Args:
        inclusion: w in [0, 1].
        slab: standard deviation of the slab, positive.
        spike: standard deviation of the spike, 0 for a point; all three are broadcast.

    See Mitchell and Beauchamp (1988), Bayesian variable selection in linear regression, for the point, and
    George and McCulloch (1993), Variable selection via Gibbs sampling, for the narrow law.

    >>> law = SpikeAndSlab(0.25, slab=2.0)
    >>> law.log_prob(torch.tensor([0.0, 1.0])).exp(), law.cdf(torch.tensor([-1e-6, 0.0]))
    (tensor([0.7500, 0.0440]), tensor([0.1250, 0.8750]))
    """

    arg_constraints = {  # noqa: RUF012
        "inclusion": constraints.unit_interval,
        "slab": constraints.positive,
        "spike": constraints.nonnegative,
    }
    support = constraints.real

    def __init__(
        self,
        inclusion: Tensor | float = 0.5,
        *,
        slab: Tensor | float = 1.0,
        spike: Tensor | float = 0.0,
        validate_args: bool | None = None,
    ) -> None:
        points = spike == 0
        if isinstance(points, Tensor):
            if is_mapped(points) or bool(points.any()) != bool(points.all()):
                raise ValueError("spike should be 0 for all laws of a batch or for none, and not be latent")
            points = bool(points.all())
        self.has_atoms: bool = points
        """Whether the spike is a point: no chain that walks on x itself would ever be there."""
        self.inclusion, self.slab, self.spike = broadcast_all(inclusion, slab, spike)
        super().__init__(self.slab.shape, validate_args=validate_args)

    @property
    def best_by_scores(self) -> bool:
        """Whether chains should walk on the normal score of x: where the spike is a point."""
        return self.has_atoms

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> SpikeAndSlab:
        new = self._get_checked_instance(SpikeAndSlab, _instance)
        new.has_atoms = self.has_atoms
        for name in ("inclusion", "slab", "spike"):
            setattr(new, name, getattr(self, name).expand(tuple(batch_shape)))
        super(SpikeAndSlab, new).__init__(torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def sample(self, sample_shape: Sequence[int] = (), *, generator: torch.Generator | None = None) -> Tensor:
        """Draw without gradient; ``generator`` is torch's global one where not given."""
        shape = self._extended_shape(torch.Size(sample_shape))
        like: dict[str, Any] = {"dtype": self.slab.dtype, "device": self.slab.device, "generator": generator}
        with torch.no_grad():
            included = torch.rand(shape, **like) < self.inclusion
            return torch.where(included, self.slab, self.spike) * torch.randn(shape, **like)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density at x; at the point of a spike the log of its mass."""
        if self._validate_args:
            self._validate_sample(value)
        slab, spike = self._log_parts(value)
        return torch.where(value == 0, spike, slab) if self.has_atoms else torch.logaddexp(slab, spike)

    def log_odds(self, value: Tensor) -> Tensor:
        """Return log P(slab | x) − log P(spike | x): whether an effect of this size is one."""
        slab, spike = self._log_parts(value)
        if not self.has_atoms:
            return slab - spike
        return torch.where(value == 0, -torch.inf, torch.full_like(slab, torch.inf))

    def cdf(self, value: Tensor) -> Tensor:
        """Return F(x)."""
        slab = _ndtr(value / self.slab)
        spike = (value >= 0).to(slab.dtype) if self.has_atoms else _ndtr(value / self.spike)
        return self.inclusion * slab + (1 - self.inclusion) * spike

    def at_normal_scores(self, z: Tensor) -> Tensor:
        """Return x = F⁻(Φ(z)) of a law with a point, in the dtype of z."""
        w = self.inclusion.to(torch.float64)
        tail = _ndtr(-z.to(torch.float64).abs())  # of the slab as of the whole law, but for its weight
        beyond = tail < w / 2
        share = torch.where(beyond, tail / torch.where(w > 0, w, 1.0), 0.5)
        return torch.where(beyond, -z.sign() * self.slab * torch.special.ndtri(share), 0.0).to(z.dtype)

    def normal_scores(self, value: Tensor) -> Tensor:
        """Return a z with x = F⁻(Φ(z)), 0 at the point, in the dtype of x."""
        lower = self.inclusion * _ndtr(-(value.to(torch.float64) / self.slab).abs())
        return torch.where(value == 0, 0.0, -value.sign() * torch.special.ndtri(lower)).to(value.dtype)

    @property
    def mean(self) -> Tensor:
        return torch.zeros_like(self.slab)

    @property
    def variance(self) -> Tensor:
        return self.inclusion * self.slab**2 + (1 - self.inclusion) * self.spike**2

    def _log_parts(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logs of w times the slab's density and of 1 − w times the spike's."""
        slab = self.inclusion.log() - (value / self.slab) ** 2 / 2 - self.slab.log() - _HALF_LOG_2_PI
        left = (-self.inclusion).log1p()
        if self.has_atoms:
            return slab, left.expand_as(slab)
        return slab, left - (value / self.spike) ** 2 / 2 - self.spike.log() - _HALF_LOG_2_PI


def _ndtr(z: Tensor) -> Tensor:
    """Return Φ(z), to all digits of a low tail."""
    return torch.special.erfc(-z * math.sqrt(0.5)) / 2
