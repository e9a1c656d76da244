"""The logistic law on grey levels, each with the mass of the interval around it."""

from __future__ import annotations

from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import logsigmoid

from probgen.nets.laws import Levels, refuse


class DiscretisedLogistic(dist.TorchDistribution):
    r"""A logistic law rounded to the grey levels 0, 1/(L−1), ..., 1, with open intervals at both ends.

    With step w = 1/(L−1), location m, scale s and the logistic function S, level v has the mass
    S((v + w/2 − m)/s) − S((v − w/2 − m)/s); level 0 has all below w/2 and level 1 all above 1 − w/2, so
    that the masses sum to 1. With b and a for the two arguments

        log p(v) = log S(b) + log S(−a) + log(1 − exp(−w/s)),

    in which nothing cancels: it is exact to rounding far out in the tails and for any scale. Where the
    location moves away, log p falls linearly, not as the square.

    Args:
        loc: m, real, in the units of the grey levels.
        log_scale: log s.
        levels: L, at least 2; 256 for bytes.

    Source: Salimans, Karpathy, Chen and Kingma (2017), PixelCNN++; Kingma et al. (2016), Improved variational
    inference with inverse autoregressive flow.

    >>> law = DiscretisedLogistic(torch.tensor(0.3), torch.tensor(-3.0), 256)
    >>> float(law.log_prob(law.grid).exp().sum())
    1.0
    """

    arg_constraints: ClassVar = {"loc": constraints.real, "log_scale": constraints.real}

    def __init__(
        self, loc: Tensor, log_scale: Tensor, levels: int, *, validate_args: bool | None = None
    ) -> None:
        self.loc, self.log_scale = torch.broadcast_tensors(loc, log_scale)
        self.levels = levels
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> DiscretisedLogistic:
        numbers = (self.loc.expand(batch_shape), self.log_scale.expand(batch_shape))
        new = DiscretisedLogistic(*numbers, self.levels, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return self._log_mass(value)

    def _log_mass(self, value: Tensor) -> Tensor:
        # In steps: level k has the interval k ± ½, whose ends are the same numbers for its neighbours.
        last = self.levels - 1
        k, loc, rate = (value * last).round(), self.loc * last, (-self.log_scale).exp() / last
        below = logsigmoid((k + 0.5 - loc) * rate)
        above = logsigmoid((loc - (k - 0.5)) * rate)
        inner = below + above + (-torch.expm1(-rate)).log()
        return torch.where(k == 0, below, torch.where(k == last, above, inner))

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Levels:
        """The grid, to a thousandth of a step."""
        return Levels(self.levels)

    @property
    def grid(self) -> Tensor:
        """The levels themselves, shape (L,)."""
        return torch.arange(self.levels, dtype=self.loc.dtype, device=self.loc.device) / (self.levels - 1)

    @property
    def mean(self) -> Tensor:
        # E[v] = w Σ_k P(v ≥ k w), k = 1, ..., L − 1: level by level, as all at once take L times the room.
        ends, rate = (self.grid[1:] + self.grid[:-1]) / 2, (-self.log_scale).exp()
        total = torch.zeros_like(self.loc)
        for end in ends:
            total = total + ((self.loc - end) * rate).sigmoid()
        return total / len(ends)

    @property
    def variance(self) -> Tensor:
        mean, total = self.mean, torch.zeros_like(self.loc)
        for level in self.grid:
            total = total + self._log_mass(level.expand(self.loc.shape)).exp() * (level - mean).square()
        return total

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        uniform = torch.rand(self._extended_shape(sample_shape), dtype=self.loc.dtype, device=self.loc.device)
        real = self.loc + self.log_scale.exp() * (uniform.log() - (-uniform).log1p())
        return (real * (self.levels - 1)).round().clamp(0, self.levels - 1) / (self.levels - 1)

    def _validate_sample(self, value: Tensor) -> None:
        refuse(
            value,
            self.support.check(value),
            f"a law of {self.levels} grey levels needs values 0, 1/{self.levels - 1}, ..., 1",
        )
        super()._validate_sample(value)
