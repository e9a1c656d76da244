"""Truncation: a law given that it falls into an interval, exact in far tails."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.constraints import Constraint

from probgen.core.density.mapped import is_mapped, needs_gradient
from probgen.core.descriptions import described
from probgen.sampling.exact.families import with_quantiles
from probgen.sampling.exact.given_density import GivenDensity
from probgen.sampling.exact.inverse_cdf import InverseCDF
from probgen.sampling.exact.laws_from_quantiles import ByInversion
from probgen.sampling.exact.tails.both_tails import ends_of, example, moving_ends, tails
from probgen.sampling.exact.tails.tail_operators import log1mexp
from probgen.sampling.exact.verification import first, somewhere

_NARROW = 1e-7
"""The least share of the tail beyond its near end that an interval may hold: float64 knows it to 1e-9."""


def truncate(
    law: Distribution,
    low: Tensor | float | None = None,
    high: Tensor | float | None = None,
    *,
    validate_args: bool | None = None,
) -> Truncated | InverseCDF:
    r"""Return the law of X given low ≤ X ≤ high, density f(x) / (F(high) − F(low)) there.

    All is computed in the logs of the tail that holds the interval, F or 1 − F, and drawn by inversion, so
    that a normal cut to beyond 8 or 30 standard deviations, or 300, is as exact as one cut at its mean. Both
    tails are known of the laws of ``exact.families`` (torch's Gamma, Beta, StudentT, Chi2 and
    VonMises are turned into them), of Normal, Laplace, Cauchy, Gumbel, Exponential, Uniform, HalfNormal and
    HalfCauchy, Logistic and Kumaraswamy, of their transformations (LogNormal, Weibull, Pareto, ...), of
    their mixtures (MixtureSameFamily) and of truncated laws. Of an
    :class:`InverseCDF` given by its log-density alone, one by the same density between the ends is returned,
    exact however far out; where an end needs a gradient, the tails of the whole law serve, which are known
    down to 2⁻¹⁰⁰. Of any other law the CDF is trusted to 1e-16, and an interval of which that does not
    determine the mass is refused.

    Args:
        law: on the line, continuous, with a CDF.
        low, high: the ends; none where not given. Broadcast with the law's batch; gradients flow to them.

    Raises:
        ValueError: for an interval that is empty, reversed, without mass, or too narrow for float64; and when
            a law is drawn from whose draws would be few different numbers in its dtype.
        TypeError: for a law that is discrete, has events, or has no CDF.

    See Robert (1995), Simulation of Truncated Normal Variables.

    >>> from torch.distributions import Normal
    >>> law = truncate(Normal(0.0, 1.0), 30.0)
    >>> law.icdf(torch.tensor([0.5, 0.9])), law.mean
    (tensor([30.0231, 30.0766]), tensor(30.0333))
    """
    ends = [end for end in (low, high) if isinstance(end, Tensor)]
    if isinstance(law, InverseCDF) and law.by_density and not (needs_gradient(*ends) or _chosen(law, ends)):
        return _found_anew(law, law.by_density, low, high, validate_args)
    return Truncated(law, low, high, validate_args=validate_args)


def _chosen(law: InverseCDF, ends: Sequence[Tensor]) -> bool:
    """Say whether which named points lie between the ends is a question that ``torch.vmap`` forbids."""
    return law.by_density is not None and len(law.by_density.points) > 0 and is_mapped(*ends)


def _found_anew(
    law: InverseCDF,
    given: GivenDensity,
    low: Tensor | float | None,
    high: Tensor | float | None,
    validate_args: bool | None,
) -> InverseCDF:
    """Return the law that has the same log-density between the ends."""
    lower, upper = (
        torch.as_tensor(infinite if end is None else end, dtype=torch.float64, device=given.device)
        for end, infinite in ((low, -torch.inf), (high, torch.inf))
    )
    _check_order(lower, upper)
    lowest, highest = ends_of(law, lower)
    lower, upper = torch.broadcast_tensors(lower.maximum(lowest), upper.minimum(highest))
    shape = torch.broadcast_shapes(given.shape, lower.shape)
    points = given.points.reshape(
        len(given.points), *[1] * (1 + len(shape) - given.points.dim()), *given.points.shape[1:]
    )
    if len(points):
        inside = (points > lower) & (points < upper)
        points = torch.where(inside, points, somewhere(lower, upper))[inside[..., None].flatten(1).any(1)]
    found = InverseCDF(
        log_prob=given.given,
        support=_interval(lower, upper),
        points=points,
        batch_shape=shape,
        dtype=given.dtype,
        device=given.device,
        validate_args=law._validate_args if validate_args is None else validate_args,
    )
    return found.expand(torch.broadcast_shapes(law.batch_shape, shape))


class Truncated(ByInversion, TorchDistribution):
    """What :func:`truncate` returns: log_prob, cdf, sf, icdf, isf, rsample, mean and variance.

    Quantiles and draws have first derivatives to the law's parameters and to both ends.
    """

    arg_constraints = {}  # noqa: RUF012

    def __init__(
        self,
        law: Distribution,
        low: Tensor | float | None = None,
        high: Tensor | float | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.law = with_quantiles(law)
        self._tails = tails(self.law)
        self._draw = example(self.law)
        with torch.no_grad():
            half = torch.full(law.batch_shape, -math.log(2.0), dtype=torch.float64, device=self._draw.device)
            self._middle = self._tails.quantile(half, half)
        self.low, self.high = (
            end if isinstance(end, Tensor) else self._draw.new_tensor(end)
            for end in (-math.inf if low is None else low, math.inf if high is None else high)
        )
        shape = torch.broadcast_shapes(law.batch_shape, self.low.shape, self.high.shape)
        super().__init__(shape, validate_args=validate_args)
        if self._validate_args:
            _check_order(self.low, self.high)
        self._measure()
        if self._validate_args:
            self._check_mass()

    def __repr__(self) -> str:
        return described(self, self.law, low=self.low, high=self.high)

    @torch.no_grad()
    def _middle_and_spread(self) -> tuple[Tensor, Tensor]:
        lower = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64, device=self._near.device).log()
        lower = lower.reshape(-1, *[1] * self._near.dim()).expand(-1, *self._near.shape)
        first, middle, last = self._quantile(lower, lower.flip(0))
        return middle, (last - first) / 2

    def _measure(self) -> None:
        """Find the tail that holds the interval, its log-mass at the near end and the step to the far end."""
        lower, upper = zip(self._at(self.low), self._at(self.high), strict=True)
        self._upper = upper[0] <= lower[1]
        self._near = torch.where(self._upper, upper[0], lower[1])
        self._beyond = torch.where(self._upper, upper[1], lower[0])
        self._log_mass = self._near + log1mexp(self._beyond - self._near)

    def _at(self, end: Tensor) -> tuple[Tensor, Tensor]:
        """Return the law's log-tails at an end of the interval, which may lie outside the support."""
        x = end.to(torch.float64)
        low, high = ends_of(self.law, x)
        inside = (x > low) & (x < high)
        lower, upper = self._tails.of(torch.where(inside, x, self._middle))
        below = torch.where(x <= low, -torch.inf, 0.0)
        above = torch.where(x >= high, -torch.inf, 0.0)
        return torch.where(inside, lower, below), torch.where(inside, upper, above)

    def _check_mass(self) -> None:
        share = -(self._beyond - self._near).expm1()
        mass = share if self._tails.exact else self._log_mass.exp()
        mass = torch.where(self._near > -torch.inf, mass, 0.0)
        enough = mass >= _NARROW
        if not enough.all():
            place = f"[{first(self.low, ~enough)}, {first(self.high, ~enough)}]"
            name = type(self.law).__name__
            if self._tails.exact:
                raise ValueError(
                    f"{place} should hold some of the tail of {name} that begins there, but holds a share of "
                    f"{first(mass, ~enough):.3g}, less than {_NARROW:g}"
                )
            raise ValueError(
                f"{place} should hold at least {_NARROW:g} of {name}, with tails known by a CDF only, but "
                f"holds {first(mass, ~enough):.3g}; InverseCDF with its log_prob and that support is exact"
            )

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Constraint:
        low, high = moving_ends(self.law, self._near)
        ends = self.low.to(torch.float64).maximum(low), self.high.to(torch.float64).minimum(high)
        return _interval(*(end.to(self._dtype) for end in ends))

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Truncated:
        new = self._get_checked_instance(Truncated, _instance)
        new.__dict__.update(self.__dict__)
        shape = torch.empty(self.batch_shape, device="meta").expand(tuple(batch_shape)).shape
        super(Truncated, new).__init__(shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density at x, with gradients to x, the parameters and the ends; −∞ outside."""
        if self._validate_args:
            self._validate_sample(value)
        x = value.to(torch.float64).expand(torch.broadcast_shapes(value.shape, self.batch_shape))
        inside = (x >= self.low) & (x <= self.high)
        result = self.law.log_prob(torch.where(inside, x, self._middle)) - self._log_mass
        return torch.where(inside, result, -torch.inf).to(value.dtype)

    @property
    def mean(self) -> Tensor:
        """E X, by double-exponential quadrature of the quantile function."""
        return self._expectation(lambda x: x, "mean").to(self._dtype)

    @property
    def variance(self) -> Tensor:
        """Var X, by double-exponential quadrature of the quantile function."""
        mean = self._expectation(lambda x: x, "mean")
        return self._expectation(lambda x: (x - mean) ** 2, "variance").to(self._dtype)

    def _expectation(self, function: Callable[[Tensor], Tensor], name: str) -> Tensor:
        r"""Return ∫₀¹ function(F⁻¹(v)) dv, v = σ(π sinh t), by trapezoids in t (Takahasi and Mori, 1974)."""
        t = torch.linspace(-6, 6, 129, dtype=torch.float64, device=self._near.device)
        t = t.reshape(-1, *[1] * len(self.batch_shape)).expand(-1, *self.batch_shape)
        logit = math.pi * t.sinh()
        log_lower, log_upper = -torch.nn.functional.softplus(-logit), -torch.nn.functional.softplus(logit)
        weight = (log_lower + log_upper).exp() * math.pi * t.cosh() * (12 / 128)
        terms = weight * function(self._quantile(log_lower, log_upper))
        total, size = terms.sum(0), terms.detach().abs().sum(0)
        rough = 2 * terms.detach()[::2].sum(0)
        edge = terms.detach()[[0, -1]].abs().amax(0)
        if not (((rough - total).abs() <= 1e-6 * size) & (edge <= 1e-10 * size)).all():
            raise ValueError(f"the {name} of a truncated {type(self.law).__name__} should exist but diverges")
        return total

    def _ends(self) -> tuple[Tensor, Tensor]:
        low, high = ends_of(self.law, self._near)
        own = (self.low.detach().to(torch.float64), self.high.detach().to(torch.float64))
        return own[0].maximum(low), own[1].minimum(high)

    @property
    def _dtype(self) -> torch.dtype:
        return self._draw.dtype

    def _log_tails(self, x: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = self._at(x)
        here = torch.where(self._upper, upper, lower).minimum(self._near).maximum(self._beyond)
        share = log1mexp(self._beyond - self._near)
        outer = here - self._near + log1mexp(self._beyond - here) - share
        inner = log1mexp(here - self._near) - share
        return torch.where(self._upper, inner, outer), torch.where(self._upper, outer, inner)

    def _quantile(self, log_lower: Tensor, log_upper: Tensor) -> Tensor:
        v, s = log_lower.exp(), log_upper.exp()
        out, back = torch.where(self._upper, v, s), torch.where(self._upper, s, v)
        step = self._beyond - self._near
        small = out < 0.5
        few = (torch.where(small, out, 0.0) * step.expm1()).log1p()
        many = (torch.where(small, 1.0, back) + out * step.exp()).log()
        target = self._near + torch.where(small, few, many)
        far = log1mexp(target)
        return self._tails.quantile(
            torch.where(self._upper, far, target), torch.where(self._upper, target, far)
        )


def _check_order(low: Tensor, high: Tensor) -> None:
    wrong = ~(low < high)
    if not is_mapped(wrong) and wrong.any():
        raise ValueError(
            f"low should be below high but got low = {first(low, wrong)} and high = {first(high, wrong)}"
        )


def _interval(low: Tensor, high: Tensor) -> Constraint:
    endless = [not is_mapped(end) and bool(end.isinf().all()) for end in (low, high)]
    if all(endless):
        return constraints.real
    if endless[1]:
        return constraints.greater_than_eq(low)
    return constraints.less_than(high) if endless[0] else constraints.interval(low, high)
