"""Laws of pixels that torch has not, or not exactly, or not with a clear word about wrong values."""

from __future__ import annotations

from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

_EVEN_SERIES = (1 / 24, -1 / 2880, 1 / 181440, -1 / 9676800, 1 / 479001600, -691 / 15692092416000)
"""log(sinh(l/2) / (l/2)) = sum over k >= 1 of the k-th coefficient times l^(2k)."""


class StrictBernoulli(dist.Bernoulli):
    """A Bernoulli that says what to do when it is shown grey values."""

    def _validate_sample(self, value: Tensor) -> None:
        refuse(
            value,
            (value == 0) | (value == 1),
            "a Bernoulli needs values 0 or 1",
            "train on data.Binarised(x), or choose ContinuousBernoulliHead, NormalHead or CategoricalHead",
        )
        super()._validate_sample(value)


class ContinuousBernoulli(dist.TorchDistribution):
    r"""The continuous Bernoulli on [0, 1] (Loaiza-Ganem and Cunningham, 2019), exact for all logits.

    With logit l, log p(x) = l x - log((exp(l) - 1)/l): an exponential law cut to [0, 1], uniform at l = 0.
    Near l = 0 the normaliser and its derivatives come from their series, elsewhere from expm1, so that value
    and gradient are accurate to rounding. (torch's own law works in float32 from clamped probabilities: its
    gradient is off by up to 4e-4 near l = 0.005, and log p is off by 0.2 at l = 20 and by 1.1 at l = 50.)

    Args:
        logits: real, any shape.
    """

    arg_constraints: ClassVar = {"logits": constraints.real}
    support = constraints.unit_interval

    def __init__(self, logits: Tensor, *, validate_args: bool | None = None) -> None:
        self.logits = logits
        super().__init__(logits.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> ContinuousBernoulli:
        new = ContinuousBernoulli(self.logits.expand(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        small, near, far = self._split()
        square = near**2
        inner = near * (value - 0.5) - square * _horner(square, _EVEN_SERIES)
        outer = self.logits * (value - (self.logits > 0).to(value)) - (-torch.expm1(-far) / far).log()
        return torch.where(small, inner, outer)

    @property
    def mean(self) -> Tensor:
        small, near, far = self._split()
        inner = 0.5 + near * _horner(near**2, [2 * k * c for k, c in enumerate(_EVEN_SERIES, 1)])
        rising = -1 / torch.expm1(-far) - 1 / far
        return torch.where(small, inner, torch.where(self.logits > 0, rising, 1 - rising))

    @property
    def variance(self) -> Tensor:
        small, near, far = self._split()
        inner = _horner(near**2, [2 * k * (2 * k - 1) * c for k, c in enumerate(_EVEN_SERIES, 1)])
        return torch.where(small, inner, 1 / far**2 - (-far).exp() / torch.expm1(-far) ** 2)

    def cdf(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        rate = self.logits.abs()
        uniform = rate < torch.finfo(rate.dtype).eps
        rate = torch.where(uniform, 1, rate)
        falling = torch.expm1(-rate * torch.where(self.logits > 0, 1 - value, value)) / torch.expm1(-rate)
        return torch.where(uniform, value, torch.where(self.logits > 0, 1 - falling, falling))

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        u = torch.rand(shape, dtype=self.logits.dtype, device=self.logits.device)
        rate = self.logits.abs()
        uniform = rate < torch.finfo(rate.dtype).eps
        rate = torch.where(uniform, 1, rate)
        falling = torch.where(uniform, u, -torch.log1p(u * torch.expm1(-rate)) / rate)
        return torch.where(self.logits > 0, 1 - falling, falling)

    def _split(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return where |l| < 1/2, l there (else 0), and |l| elsewhere (else 1)."""
        size = self.logits.abs()
        small = size < 0.5
        return small, torch.where(small, self.logits, 0), torch.where(small, 1, size)

    def _validate_sample(self, value: Tensor) -> None:
        refuse(value, (value >= 0) & (value <= 1), "a continuous Bernoulli needs values in [0, 1]")
        super()._validate_sample(value)


class Levels(constraints.Constraint):
    """The grey levels 0, 1/(L-1), ..., 1, to a thousandth of a step."""

    is_discrete = True
    event_dim = 0
    lower_bound, upper_bound = 0, 1

    def __init__(self, levels: int) -> None:
        self.levels = levels
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        steps = value * (self.levels - 1)
        return (value >= 0) & (value <= 1) & ((steps - steps.round()).abs() < 1e-3)

    def __repr__(self) -> str:
        return f"Levels(0, 1/{self.levels - 1}, ..., 1)"


class GreyLevels(dist.TorchDistribution):
    r"""A categorical law over the grey levels 0, 1/(L-1), ..., 1: values, not indices.

    Args:
        logits: unnormalised log-probabilities, shape (\*batch, L), L >= 2.
    """

    arg_constraints: ClassVar = {"logits": constraints.real_vector}

    def __init__(self, logits: Tensor, *, validate_args: bool | None = None) -> None:
        self.logits = logits
        self.levels = logits.shape[-1]
        super().__init__(logits.shape[:-1], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> GreyLevels:
        new = GreyLevels(self.logits.expand(*batch_shape, self.levels), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape, self.batch_shape)
        index = (value * (self.levels - 1)).round().long().expand(shape)
        chosen = self.logits.expand(*shape, self.levels).gather(-1, index.unsqueeze(-1)).squeeze(-1)
        return chosen - self.logits.logsumexp(-1)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Levels:
        """The grid, to a thousandth of a step."""
        return Levels(self.levels)

    @property
    def grid(self) -> Tensor:
        """The levels themselves, shape (L,)."""
        index = torch.arange(self.levels, dtype=self.logits.dtype, device=self.logits.device)
        return index / (self.levels - 1)

    @property
    def mean(self) -> Tensor:
        return self.logits.softmax(-1) @ self.grid

    @property
    def variance(self) -> Tensor:
        spread = (self.grid - self.mean.unsqueeze(-1)) ** 2
        return (self.logits.softmax(-1) * spread).sum(-1)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        index = dist.Categorical(logits=self.logits, validate_args=False).sample(sample_shape)
        return index.to(self.logits) / (self.levels - 1)

    def _validate_sample(self, value: Tensor) -> None:
        refuse(
            value,
            self.support.check(value),
            f"a law of {self.levels} grey levels needs values 0, 1/{self.levels - 1}, ..., 1",
        )
        super()._validate_sample(value)


def of_a_law(numbers: Tensor) -> Tensor:
    """Return what a net gives for a law: under autocast in float32, or masses would not sum to 1."""
    if torch.is_autocast_enabled(numbers.device.type):
        return numbers.to(torch.promote_types(numbers.dtype, torch.float32))
    return numbers


def log_scale(s: Tensor) -> Tensor:
    """Return 5 asinh(s/5): s near 0, growing like a logarithm, so that its exponential stays finite.

    exp(5 asinh(s/5)) is smooth, increasing and onto (0, oo), without a floor; for |s| < 1e7 it neither
    overflows nor vanishes in float32, where exp(s) does beyond 88 and softplus(s) below -103.
    """
    return 5 * torch.asinh(s / 5)


def refuse(value: Tensor, good: Tensor, rule: str, advice: str = "") -> None:
    if not good.all():
        found = value[~good][0].item()
        raise ValueError(f"{rule} but got {found:g}" + (f": {advice}" if advice else ""))


def _horner(x: Tensor, coefficients: Any) -> Tensor:
    total = torch.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = total * x + coefficient
    return total
