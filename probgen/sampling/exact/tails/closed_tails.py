"""Both tails of laws on the line that have them in closed form, in logs, and their quantiles from them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pyro.distributions as dist
import torch
import torch.distributions as td
from torch import Tensor

from probgen.core.density.mapped import needs_gradient
from probgen.sampling.exact.tails.tail_operators import log1mexp

_LOG_2 = math.log(2.0)
_LOG_SQRT_2_PI = math.log(2 * math.pi) / 2


class Tails(NamedTuple):
    """``of`` maps float64 x to log F(x) and log (1 − F(x)), ``quantile`` these two to x; all differentiable.

    Where ``exact`` each tail has its full relative precision; else both come from the law's own CDF, which is
    trusted to 1e-16. Unless ``endless`` a tail that is too small to be known is given as empty.
    """

    of: Callable[[Tensor], tuple[Tensor, Tensor]]
    quantile: Callable[[Tensor, Tensor], Tensor]
    exact: bool
    endless: bool


def normal_log_tails(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return log Φ(z) and log Φ(−z)."""
    return log_ndtr(z), log_ndtr(-z)


def log_ndtr(z: Tensor) -> Tensor:
    """Return log Φ(z) as torch's operator does, which ``torch.vmap`` would apply row by row."""
    t, low = z * math.sqrt(0.5), z < -1
    tail = (torch.special.erfcx(torch.where(low, -t, 1.0)) / 2).log() - t * t
    return torch.where(low, tail, (-torch.special.erfc(torch.where(low, 0.0, t)) / 2).log1p())


def normal_quantile(log_lower: Tensor, log_upper: Tensor) -> Tensor:
    """Return the z with log Φ(z) = log_lower and log Φ(−z) = log_upper, which may be below log 1e-308."""
    lower = log_lower <= log_upper
    level = torch.where(lower, log_lower, log_upper)
    empty = level == -torch.inf
    level = torch.where(empty, -1.0, level)
    with torch.no_grad():
        deep = (-2 * level.clamp(max=-1)).sqrt()
        far = -(deep**2 - 2 * (deep.log() + _LOG_SQRT_2_PI)).clamp(min=0).sqrt()
        z = torch.where(level > -500, torch.special.ndtri(level.exp()), far)
        for _ in range(2):
            z = z + (level - log_ndtr(z)) * _mills(z)
    if needs_gradient(level):
        z = z + (level - level.detach()) * _mills(z)
    z = torch.where(empty, -torch.inf, z)
    return torch.where(lower, z, -z)


def _mills(z: Tensor) -> Tensor:
    """Return Φ(z) / φ(z)."""
    return (log_ndtr(z) + z**2 / 2 + _LOG_SQRT_2_PI).exp()


def _located(
    of: Callable[[Tensor], tuple[Tensor, Tensor]], quantile: Callable[[Tensor, Tensor], Tensor]
) -> Callable[[Any], Tails]:
    """Return what builds the tails of loc + scale Z from those of Z; loc is 0 where the law has none."""

    def build(law: Any) -> Tails:
        scale = (1 / law.rate if hasattr(law, "rate") else law.scale).to(torch.float64)
        loc = 0.0 if not hasattr(law, "loc") else law.loc.to(torch.float64)
        return Tails(lambda x: of((x - loc) / scale), lambda *logs: loc + scale * quantile(*logs), True, True)

    return build


def _mirrored(
    below: Callable[[Tensor], Tensor],
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the quantile function of a symmetric law from its lower half, a function of log F ≤ log ½."""

    def quantile(log_lower: Tensor, log_upper: Tensor) -> Tensor:
        lower = log_lower <= log_upper
        z = below(torch.where(lower, log_lower, log_upper))
        return torch.where(lower, z, -z)

    return quantile


def _laplace(z: Tensor) -> tuple[Tensor, Tensor]:
    near = -z.abs() - _LOG_2
    far = (-near.exp()).log1p()
    return torch.where(z < 0, near, far), torch.where(z < 0, far, near)


def _cauchy(z: Tensor) -> tuple[Tensor, Tensor]:
    one = torch.ones_like(z)
    return (torch.atan2(one, -z) / math.pi).log(), (torch.atan2(one, z) / math.pi).log()


def _gumbel(z: Tensor) -> tuple[Tensor, Tensor]:
    return -(-z).exp(), log1mexp(-(-z).exp())


def _half_normal(z: Tensor) -> tuple[Tensor, Tensor]:
    return torch.erf(z / math.sqrt(2)).log(), log_ndtr(-z) + _LOG_2


def _half_normal_quantile(log_lower: Tensor, log_upper: Tensor) -> Tensor:
    lower = log_lower <= log_upper
    inner = math.sqrt(2) * torch.erfinv(torch.where(lower, log_lower, -1.0).exp())
    half = torch.where(lower, -1.0, log_upper) - _LOG_2
    return torch.where(lower, inner, -normal_quantile(half, log1mexp(half)))


def _half_cauchy(z: Tensor) -> tuple[Tensor, Tensor]:
    one = torch.ones_like(z)
    return (torch.atan2(z, one) * 2 / math.pi).log(), (torch.atan2(one, z) * 2 / math.pi).log()


def _half_cauchy_quantile(log_lower: Tensor, log_upper: Tensor) -> Tensor:
    lower = log_lower <= log_upper
    slope = (torch.where(lower, log_lower, log_upper).exp() * math.pi / 2).tan()
    return torch.where(lower, slope, 1 / slope)


def _uniform(law: Any) -> Tails:
    low, high = law.low.to(torch.float64), law.high.to(torch.float64)

    def of(x: Tensor) -> tuple[Tensor, Tensor]:
        return ((x - low) / (high - low)).log(), ((high - x) / (high - low)).log()

    def quantile(log_lower: Tensor, log_upper: Tensor) -> Tensor:
        from_low, from_high = log_lower.exp() * (high - low), log_upper.exp() * (high - low)
        return torch.where(log_lower <= log_upper, low + from_low, high - from_high)

    return Tails(of, quantile, True, True)


def _logistic(z: Tensor) -> tuple[Tensor, Tensor]:
    return torch.nn.functional.logsigmoid(z), torch.nn.functional.logsigmoid(-z)


def _logistic_quantile(log_lower: Tensor, log_upper: Tensor) -> Tensor:
    return log_lower - log_upper


def _kumaraswamy(law: Any) -> Tails:
    """F(x) = 1 − (1 − xᵃ)ᵇ."""
    a, b = law.concentration1.to(torch.float64), law.concentration0.to(torch.float64)

    def of(x: Tensor) -> tuple[Tensor, Tensor]:
        log_upper = b * log1mexp(a * x.log())
        return log1mexp(log_upper), log_upper

    def quantile(log_lower: Tensor, log_upper: Tensor) -> Tensor:
        return (log1mexp(log_upper / b) / a).exp()

    return Tails(of, quantile, True, True)


LOGISTIC = Tails(_logistic, _logistic_quantile, True, True)
"""Of the standard logistic law."""

CLOSED: dict[type, Callable[[Any], Tails]] = {
    td.Normal: _located(normal_log_tails, normal_quantile),
    td.Laplace: _located(_laplace, _mirrored(lambda level: level + _LOG_2)),
    td.Cauchy: _located(_cauchy, _mirrored(lambda level: -1 / (math.pi * level.exp()).tan())),
    td.Gumbel: _located(_gumbel, lambda log_lower, _: -(-log_lower).log()),
    td.HalfNormal: _located(_half_normal, _half_normal_quantile),
    td.HalfCauchy: _located(_half_cauchy, _half_cauchy_quantile),
    td.Exponential: _located(lambda z: (log1mexp(-z), -z), lambda _, log_upper: -log_upper),
    td.Uniform: _uniform,
    td.Kumaraswamy: _kumaraswamy,
    dist.Logistic: _located(_logistic, _logistic_quantile),
}
"""What builds the tails of a law, by its kind."""
