"""The horseshoe: a spike at 0 that is infinite, and tails like those of a Cauchy law."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

_EULER = 0.5772156649015329
_NEAR, _TERMS, _DEPTH = 2.0, 30, 60
_LOG_CONSTANT = -0.5 * math.log(2 * math.pi**3)


class Horseshoe(TorchDistribution):
    r"""The law of β = τ λ ε, ε standard normal and λ half-Cauchy: most of many effects small, a few large.

    Its density is p(β) = eˣ E₁(x) / (τ √(2π³)), x = β² / 2τ², E₁ the exponential integral: λ is integrated
    out. It is infinite at 0, as log 1/|β|, and falls as 1/β². There is no mean. Chains of gradients take
    tiny steps near 0: give them λ and ε as sites of their own, where the posterior is to be sampled.

    Args:
        scale: τ > 0, about the share of effects that are not small times the noise.

    See Carvalho, Polson and Scott (2010), The horseshoe estimator for sparse signals.

    >>> Horseshoe(1.0).log_prob(torch.tensor([0.0, 1e-6, 1.0, 100.0])).exp()
    tensor([       inf, 3.5235e+00, 1.1720e-01, 2.5392e-05])
    """

    arg_constraints = {"scale": constraints.positive}  # noqa: RUF012
    support = constraints.real
    has_rsample = True

    def __init__(self, scale: Tensor | float = 1.0, *, validate_args: bool | None = None) -> None:
        self.scale = torch.as_tensor(
            scale, dtype=None if isinstance(scale, Tensor) else torch.get_default_dtype()
        )
        super().__init__(self.scale.shape, validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Horseshoe:
        new = self._get_checked_instance(Horseshoe, _instance)
        new.scale = self.scale.expand(tuple(batch_shape))
        super(Horseshoe, new).__init__(torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def rsample(
        self, sample_shape: Sequence[int] = (), *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw with derivatives to the scale; ``generator`` is torch's global one where not given."""
        shape = self._extended_shape(torch.Size(sample_shape))
        like: dict[str, Any] = {
            "dtype": self.scale.dtype,
            "device": self.scale.device,
            "generator": generator,
        }
        # a half-Cauchy number is the ratio of two normal ones
        noise, above, below = (torch.randn(shape, **like) for _ in range(3))
        return self.scale * noise * above.abs() / below.abs()

    def sample(self, sample_shape: Sequence[int] = (), *, generator: torch.Generator | None = None) -> Tensor:
        """Draw without gradient; ``generator`` is torch's global one where not given."""
        with torch.no_grad():
            return self.rsample(sample_shape, generator=generator)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density, +inf at 0, in the dtype of x."""
        if self._validate_args:
            self._validate_sample(value)
        x = (value.to(torch.float64) / self.scale).square() / 2
        return (_ScaledIntegral.apply(x).log() + _LOG_CONSTANT - self.scale.log()).to(value.dtype)

    @property
    def mean(self) -> Tensor:
        """NaN: there is none, as of a Cauchy law."""
        return torch.full_like(self.scale, torch.nan)

    @property
    def variance(self) -> Tensor:
        """NaN: there is none."""
        return torch.full_like(self.scale, torch.nan)


class _ScaledIntegral(torch.autograd.Function):
    """The function eˣ E₁(x) of x > 0, whose derivative is eˣ E₁(x) − 1/x; to 1e-14."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        near = x.clamp(max=_NEAR)
        series = torch.zeros_like(x)
        for k in range(_TERMS, 0, -1):  # E₁(x) = −γ − log x − Σ (−x)ᵏ / (k k!), by Horner's rule
            series = near * ((-1.0) ** (k + 1) / (k * math.factorial(k)) + series)
        far = x.clamp(min=_NEAR)
        fraction = torch.zeros_like(x)
        for k in range(_DEPTH, 0, -1):  # eˣ E₁(x) = 1 / (x + 1 − 1² / (x + 3 − 2² / (x + 5 − ...
            fraction = k**2 / (far + (2 * k + 1) - fraction)
        return torch.where(x < _NEAR, near.exp() * (series - _EULER - near.log()), 1 / (far + 1 - fraction))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        x, value = ctx.saved_tensors
        return gradient * (value - 1 / x)
