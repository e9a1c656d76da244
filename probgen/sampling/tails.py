"""Both tails of a law on the line, in logs, and its quantiles from them, for torch's and Pyro's laws."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.distributions as td
from torch import Tensor
from torch.distributions import Distribution

from probgen.core import seeded
from probgen.core.density import support_of
from probgen.sampling.by_inversion import ByInversion
from probgen.sampling.given_density import GivenDensity
from probgen.sampling.inverse_cdf import InverseCDF
from probgen.sampling.panels import TAIL
from probgen.sampling.quantiles import with_quantiles
from probgen.sampling.steps import StepLaw
from probgen.sampling.two_tails import log1mexp

_LOG_2 = math.log(2.0)
_LOG_SQRT_2_PI = math.log(2 * math.pi) / 2


class Tails(NamedTuple):
    """``of`` maps float64 x to log F(x) and log (1 − F(x)), ``quantile`` these two to x; all differentiable.

    Where ``exact`` each tail has its full relative precision; else both come from the law's own CDF, which is
    trusted to 1e-16.
    """

    of: Callable[[Tensor], tuple[Tensor, Tensor]]
    quantile: Callable[[Tensor, Tensor], Tensor]
    exact: bool


def tails(law: Distribution) -> Tails:
    """Return the two tails of a continuous law on the line.

    Raises:
        TypeError: for a law that is discrete, has events, or has no CDF.
    """
    if law.event_shape or isinstance(law, StepLaw) or support_of(law).is_discrete:
        raise TypeError(f"a law should be continuous, and on the line, but got {type(law).__name__}")
    law = with_quantiles(law)
    if isinstance(law, ByInversion):
        return Tails(law._log_tails, law._quantile, True)
    if isinstance(law, InverseCDF) and law.by_density is not None:
        return _of_density(law.by_density)
    for kind, build in _EXACT.items():
        if isinstance(law, kind):
            return build(law)
    if isinstance(law, td.TransformedDistribution) and not isinstance(law.base_dist, td.Uniform):
        return _transformed(law)
    return _by_cdf(law)


def quantile(law: Distribution, u: Tensor) -> Tensor:
    """Return the quantile of any law on the line at u in (0, 1), in its dtype, as exactly as is known."""
    law = with_quantiles(law)
    if isinstance(law, (ByInversion, InverseCDF, StepLaw)):
        return law.icdf(u)
    u = u.to(torch.float64)
    return tails(law).quantile(u.log(), (-u).log1p()).to(example(law).dtype)


def example(law: Distribution) -> Tensor:
    """Return a tensor, empty or a draw, with the dtype and device of a law's draws."""
    if isinstance(law, ByInversion):
        return law._ends()[0].to(law._dtype)
    given = [getattr(law, name) for name in law.arg_constraints if name in vars(law)]
    inner = getattr(law, "base_dist", getattr(law, "component_distribution", None))
    if given:
        return sum(given[1:], given[0]).detach().new_empty(())
    if inner is not None:
        return example(inner)
    with seeded(0), torch.no_grad():
        return law.sample()


def normal_log_tails(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return log Φ(z) and log Φ(−z)."""
    return torch.special.log_ndtr(z), torch.special.log_ndtr(-z)


def normal_quantile(log_lower: Tensor, log_upper: Tensor) -> Tensor:
    """Return the z with log Φ(z) = log_lower and log Φ(−z) = log_upper, which may be below log 1e-308."""
    lower = log_lower <= log_upper
    level = torch.where(lower, log_lower, log_upper)
    with torch.no_grad():
        deep = (-2 * level.clamp(max=-1)).sqrt()
        far = -(deep**2 - 2 * (deep.log() + _LOG_SQRT_2_PI)).clamp(min=0).sqrt()
        z = torch.where(level > -500, torch.special.ndtri(level.exp()), far)
        for _ in range(2):
            z = z + (level - torch.special.log_ndtr(z)) * _mills(z)
    if level.requires_grad:
        z = z + (level - level.detach()) * _mills(z)
    return torch.where(lower, z, -z)


def _mills(z: Tensor) -> Tensor:
    """Return Φ(z) / φ(z)."""
    return (torch.special.log_ndtr(z) + z**2 / 2 + _LOG_SQRT_2_PI).exp()


def _located(
    of: Callable[[Tensor], tuple[Tensor, Tensor]], quantile: Callable[[Tensor, Tensor], Tensor]
) -> Callable[[Any], Tails]:
    """Return what builds the tails of loc + scale Z from those of Z; loc is 0 where the law has none."""

    def build(law: Any) -> Tails:
        scale = (1 / law.rate if hasattr(law, "rate") else law.scale).to(torch.float64)
        loc = 0.0 if not hasattr(law, "loc") else law.loc.to(torch.float64)
        return Tails(lambda x: of((x - loc) / scale), lambda *logs: loc + scale * quantile(*logs), True)

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
    return torch.erf(z / math.sqrt(2)).log(), torch.special.log_ndtr(-z) + _LOG_2


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

    return Tails(of, quantile, True)


_EXACT: dict[type, Callable[[Any], Tails]] = {
    td.Normal: _located(normal_log_tails, normal_quantile),
    td.Laplace: _located(_laplace, _mirrored(lambda level: level + _LOG_2)),
    td.Cauchy: _located(_cauchy, _mirrored(lambda level: -1 / (math.pi * level.exp()).tan())),
    td.Gumbel: _located(_gumbel, lambda log_lower, _: -(-log_lower).log()),
    td.HalfNormal: _located(_half_normal, _half_normal_quantile),
    td.HalfCauchy: _located(_half_cauchy, _half_cauchy_quantile),
    td.Exponential: _located(lambda z: (log1mexp(-z), -z), lambda _, log_upper: -log_upper),
    td.Uniform: _uniform,
}


def _transformed(law: td.TransformedDistribution) -> Tails:
    base, rises = tails(law.base_dist), True
    for transform in law.transforms:
        if not transform.bijective or transform.codomain.event_dim:
            return _by_cdf(law)
        sign = torch.as_tensor(transform.sign)
        if not (sign == sign.reshape(-1)[0]).all():
            return _by_cdf(law)
        rises = rises == bool(sign.reshape(-1)[0] > 0)

    def of(x: Tensor) -> tuple[Tensor, Tensor]:
        for transform in reversed(law.transforms):
            x = transform.inv(x)
        lower, upper = base.of(x)
        return (lower, upper) if rises else (upper, lower)

    def quantile(log_lower: Tensor, log_upper: Tensor) -> Tensor:
        x = base.quantile(log_lower, log_upper) if rises else base.quantile(log_upper, log_lower)
        for transform in law.transforms:
            x = transform(x)
        return x

    return Tails(of, quantile, base.exact)


def _of_density(law: GivenDensity) -> Tails:
    """Return tails that are known down to 2⁻¹⁰⁰; beyond they are taken as empty."""

    def of(x: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = (
            torch.where(level < TAIL, -torch.inf, level.clamp(min=TAIL).log()) for level in law.tails(x)
        )
        return lower, upper

    def quantile(log_lower: Tensor, log_upper: Tensor) -> Tensor:
        lower = log_lower <= log_upper
        return law.quantile_from(torch.where(lower, log_lower, log_upper).exp(), lower)

    return Tails(of, quantile, True)


def _by_cdf(law: Distribution) -> Tails:
    try:
        with seeded(0), torch.no_grad():
            law.cdf(law.sample())
    except NotImplementedError:
        raise TypeError(
            f"{type(law).__name__} should have a CDF but has none; InverseCDF makes one from its log_prob"
        ) from None

    def of(x: Tensor) -> tuple[Tensor, Tensor]:
        level = law.cdf(x).to(torch.float64)
        return level.log(), (-level).log1p()

    def quantile(log_lower: Tensor, log_upper: Tensor) -> Tensor:
        try:
            return law.icdf(log_lower.exp()).to(torch.float64)
        except NotImplementedError:
            return inverted.icdf(log_lower.exp())

    inverted = InverseCDF(
        cdf=law.cdf,
        log_prob=law.log_prob,
        support=support_of(law),
        batch_shape=law.batch_shape,
        dtype=torch.float64,
        validate_args=False,
    )
    return Tails(of, quantile, False)
