"""Inverse transform sampling: Y = F⁻¹(U) has the CDF F."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from probgen.sampling import verification
from probgen.sampling.bisection import first_reaching
from probgen.sampling.uniforms import uniform

Elementwise = Callable[[Tensor], Tensor]


class InverseReport(NamedTuple):
    """What was measured of an inverse-CDF law on a grid of quantiles, the worst batch row.

    ``u_error`` is the largest max(F(x⁻) − u, u − F(x)) at x = F⁻(u), before x is rounded to the law's
    dtype, and ``worst_u`` its place; NaN where no CDF was given. ``density_error`` is the median relative
    difference between ∫ exp(log_prob) over a panel of the grid and the panel's probability; NaN where no
    log_prob was given.
    """

    u_error: float
    worst_u: float
    density_error: float


class InverseCDF(TorchDistribution):
    r"""A law on the line given by its quantile function or by its CDF, sampled by x = F⁻(u).

    F⁻(u) = inf{x : F(x) ≥ u} is the generalised inverse, so that a CDF may jump or be flat. From a CDF it is
    found by bisection to the last bit of float64 (66 evaluations a draw); from a quantile function it is one
    evaluation. Uniforms have 52 bits: quantiles from 1.1e-16 to 1 − 1.1e-16 are drawn.

    Every callable is elementwise on tensors of shape (\*sample, \*batch_shape) and may close over parameters,
    with gradients: ``rsample`` goes through ``icdf`` by autograd, and through ``cdf`` by implicit
    reparameterisation, ∂x/∂θ = −∂_θ F(x; θ) / f(x; θ). Both are right for laws without jumps.

    ``log_prob`` is the density given; without one it is log F′(x) by autograd from a CDF (jumps have no
    density and are not counted), or −log Q′(F(x)) from a quantile function Q, with F(x) found by bisection.
    The latter is as exact as u can tell: to a relative 1e-16 / (1 − F(x)) in the upper tail; beyond
    1 − 1e-16 it raises (NaN where validation is off). A ``log_prob`` beside is exact everywhere, and faster.

    With validation on (Pyro's default) each new law is verified on a grid of quantiles, which takes part of
    a millisecond from a quantile function and some milliseconds from a CDF, and each draw is checked.
    ``validate_args=False`` leaves that out; then nothing has control flow that depends on data, and
    ``make_fx`` can capture ``sample``, ``rsample`` and ``log_prob`` of a law that has a ``log_prob``, and
    ``rsample`` of any with ``icdf``. Derivatives by autograd cannot be captured, and say so.

    Args:
        icdf: the quantile function, of u in (0, 1), float64. Exactly one of ``icdf`` and ``cdf`` is given.
        cdf: the CDF, of float64 x in the support.
        log_prob: the normalised log-density, of x in the law's dtype.
        support: an interval: ``real``, ``positive``, ``interval(a, b)``, ...
        batch_shape: shape of the family of laws; broadcast with what the callables return.
        dtype, device: of the draws; those that the callable returns where not given.

    Raises:
        ValueError: where a callable is NaN, decreases, leaves [0, 1] or the support, or where ``log_prob``
            is not the density of the law, each with the place.

    See Devroye (1986), Non-Uniform Random Variate Generation, ch. II; Figurnov et al. (2018), Implicit
    Reparameterization Gradients.

    >>> logistic = InverseCDF(cdf=torch.sigmoid)
    >>> logistic.icdf(torch.tensor([0.25, 0.75])), logistic.log_prob(torch.tensor(0.0)).exp()
    (tensor([-1.0986,  1.0986]), tensor(0.2500))
    """

    arg_constraints = {}  # noqa: RUF012
    has_rsample = True

    def __init__(
        self,
        *,
        icdf: Elementwise | None = None,
        cdf: Elementwise | None = None,
        log_prob: Elementwise | None = None,
        support: Constraint = constraints.real,
        batch_shape: Sequence[int] = (),
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if icdf is None and cdf is None and log_prob is not None:
            raise ValueError("InverseCDF cannot invert a log_prob alone yet: give cdf= or icdf= beside it")
        if (icdf is None) == (cdf is None):
            given = "neither" if cdf is None else "both"
            raise ValueError(f"InverseCDF should be given exactly one of icdf and cdf but got {given}")
        self._icdf, self._cdf, self._log_prob, self._support = icdf, cdf, log_prob, support
        low, high = _bounds(support)
        if icdf is not None:
            probe = icdf(torch.full(tuple(batch_shape), 0.5, dtype=dtype, device=device))
        elif cdf is not None:
            inside = _inside(low, high).to(dtype=dtype or torch.get_default_dtype(), device=device)
            probe = cdf(inside.expand(torch.broadcast_shapes(tuple(batch_shape), inside.shape)))
        self._dtype = probe.dtype if dtype is None else dtype
        self._low, self._high = low.to(probe.device), high.to(probe.device)
        super().__init__(torch.broadcast_shapes(tuple(batch_shape), probe.shape), validate_args=validate_args)
        if self._validate_args:
            self._verify()

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Constraint:
        return self._support

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> InverseCDF:
        new = self._get_checked_instance(InverseCDF, _instance)
        new.__dict__.update(self.__dict__)
        shape = torch.empty(self.batch_shape, device="meta").expand(tuple(batch_shape)).shape
        super(InverseCDF, new).__init__(shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def sample(self, sample_shape: Sequence[int] = (), *, generator: torch.Generator | None = None) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape, generator=generator)

    def rsample(
        self, sample_shape: Sequence[int] = (), *, generator: torch.Generator | None = None
    ) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        return self.icdf(uniform(shape, device=self._low.device, generator=generator))

    def icdf(self, value: Tensor) -> Tensor:
        """Return the generalised inverse F⁻(u) at u in [0, 1], in the law's dtype."""
        u = value.to(torch.float64)
        if self._validate_args and not ((u >= 0) & (u <= 1)).all():
            raise ValueError(f"u should be in [0, 1] but got {verification.first(u, ~((u >= 0) & (u <= 1)))}")
        x = self._quantile(u.expand(torch.broadcast_shapes(u.shape, self.batch_shape)))
        if self._validate_args:
            verification.check_draws(u, x, self._support, self._name)
        return self._rounded(x)

    def cdf(self, value: Tensor) -> Tensor:
        """Return F at x in the support, in the dtype of x."""
        if self._validate_args:
            self._validate_sample(value)
        x = value.to(torch.float64).expand(torch.broadcast_shapes(value.shape, self.batch_shape))
        level = self._level(x)[0] if self._cdf is None else self._cdf(x)
        return level.to(value.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density at x, in the dtype of x, with gradients to x and to parameters."""
        if self._validate_args:
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape, self.batch_shape)
        if self._log_prob is not None:
            result = self._log_prob(value)
        elif self._cdf is not None:
            x = value.to(torch.float64).expand(shape)
            result = self._slope(self._cdf, x).log().to(value.dtype)
        else:
            x = value.to(torch.float64).expand(shape)
            result = self._log_density(x).to(value.dtype)
        if self._validate_args and result.isnan().any():
            place = verification.first(value.expand(shape), result.isnan().expand(shape))
            cause = (
                "the log_prob given is nan there" if self._log_prob is not None
                else "the cdf decreases there" if self._cdf is not None
                else "float64 quantiles do not reach it; give log_prob="
            )  # fmt: skip
            raise ValueError(f"log_prob should be a number but is nan at x = {place}: {cause}")
        return result.expand(shape)

    def report(self) -> InverseReport:
        """Measure the law on a grid of quantiles; see :class:`InverseReport`."""
        u, x = self._grid()
        error = worst = density = torch.nan
        if self._cdf is not None:
            error, worst = verification.u_error(self._cdf, u, x)
        if self._log_prob is not None:
            density = verification.density_error(self._log_prob, u, x)
        return InverseReport(error, worst, density)

    @property
    def _name(self) -> str:
        return "icdf" if self._cdf is None else "cdf"

    def _quantile(self, u: Tensor) -> Tensor:
        if self._icdf is not None:
            return self._icdf(u)
        assert self._cdf is not None
        with torch.no_grad():
            x = first_reaching(self._cdf, u, self._low, self._high)
        if not torch.is_grad_enabled():
            return x
        level = self._cdf(x)
        if not (level.requires_grad or u.requires_grad):
            return x
        if self._log_prob is not None:
            slope = self._log_prob(x).detach().exp()
        else:
            slope = self._slope(self._cdf, x.detach()).detach()
        if self._validate_args and not (slope > 0).all():
            raise ValueError(
                f"rsample needs a positive density but the cdf has slope "
                f"{verification.first(slope, ~(slope > 0))} at x = {verification.first(x, ~(slope > 0))}"
            )
        move = (u - level) / slope
        return x + (move - move.detach())

    def _level(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Invert the quantile function Q: return F(x), u = F(x) strictly inside (0, 1), and Q(u) = x.

        The first two have gradients; the third is False where x lies in a gap of the law or beyond its
        quantiles.
        """
        assert self._icdf is not None
        with torch.no_grad():
            above = torch.nextafter(x, torch.full_like(x, torch.inf))
            after = first_reaching(self._icdf, above, x.new_zeros(()), x.new_ones(()))
            below = torch.nextafter(after, torch.zeros_like(after))
            inner = below.clamp(min=torch.finfo(torch.float64).tiny)
            slope = self._slope(self._icdf, inner).detach()
            room = 1e-3 * torch.minimum(inner, 1 - inner) + inner.clamp(max=2.0**-51)
            reached = ((x - self._icdf(inner)) / slope).abs() <= room
        move = torch.where(reached, (x - self._icdf(inner)) / slope, 0.0)
        shift = move - move.detach()
        return torch.where(after == 1, 1.0, below) + shift, inner + shift, reached

    def _log_density(self, x: Tensor) -> Tensor:
        assert self._icdf is not None
        _, u, reached = self._level(x)
        result = -self._slope(self._icdf, u).log()
        beyond = ~reached & (torch.minimum(u, 1 - u) <= 2.0**-52) & self._support.check(x)
        return torch.where(reached, result, torch.where(beyond, torch.nan, -torch.inf))

    def _slope(self, function: Elementwise, x: Tensor) -> Tensor:
        """Return dF/dx elementwise, with a graph of its own where something needs a gradient."""
        if get_proxy_mode() is not None:
            raise RuntimeError(
                f"a law given by its {self._name} alone cannot be captured as a graph; give log_prob= too"
            )
        keep = torch.is_grad_enabled() and (x.requires_grad or function(x).requires_grad)
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            y = function(x)
            if not y.requires_grad:
                raise ValueError(f"{self._name} should be differentiable by autograd; else give log_prob=")
            (slope,) = torch.autograd.grad(y.sum(), x, create_graph=keep)
        return slope

    def _rounded(self, x: Tensor) -> Tensor:
        """Round to the law's dtype, without leaving the support: a tiny positive x does not become 0."""
        near = x.to(self._dtype)
        if near.dtype == x.dtype or self._support is constraints.real:
            return near
        with torch.no_grad():
            left = self._support.check(x) & ~self._support.check(near)
            side = torch.where(x > near, torch.inf, -torch.inf).to(near.dtype)
            inside = torch.nextafter(near, side)
        return torch.where(left, inside, near)

    def _grid(self) -> tuple[Tensor, Tensor]:
        u = torch.linspace(-16, 16, 129, dtype=torch.float64, device=self._low.device).sigmoid()
        u = u.reshape(-1, *[1] * len(self.batch_shape)).expand(-1, *self.batch_shape)
        with torch.no_grad():
            return u, self._quantile(u)

    def _verify(self) -> None:
        shape = self.batch_shape
        if self._cdf is not None:
            verification.check_cdf(
                self._cdf, verification.spread(self._low.expand(shape), self._high.expand(shape))
            )
        u, x = self._grid()
        verification.check_quantiles(u, x, self._support, self._name)
        if self._cdf is not None:
            verification.check_cdf(self._cdf, verification.refined(x))
        if self._log_prob is not None:
            error = verification.density_error(self._log_prob, u, x)
            if not error < 0.01:
                raise ValueError(
                    f"log_prob should be the normalised density of the {self._name} but its integrals "
                    f"between quantiles are off by {error:.2g} (median, relative)"
                )


def _bounds(support: Constraint) -> tuple[Tensor, Tensor]:
    """Return the support's ends in float64, the lower one below a value that belongs to the support."""
    intervals = (
        type(constraints.real), constraints.greater_than, constraints.greater_than_eq, constraints.less_than,
        constraints.interval, constraints.half_open_interval,
    )  # fmt: skip
    if not isinstance(support, intervals):
        raise ValueError(f"support should be an interval of the real line but got {support}")
    low = torch.as_tensor(getattr(support, "lower_bound", -torch.inf), dtype=torch.float64).detach()
    high = torch.as_tensor(getattr(support, "upper_bound", torch.inf), dtype=torch.float64).detach()
    if not isinstance(support, constraints.greater_than):
        low = torch.nextafter(low, torch.full_like(low, -torch.inf))
    return low, high


def _inside(low: Tensor, high: Tensor) -> Tensor:
    """Return a value inside the bounds."""
    one_sided = torch.where(low.isfinite(), low + 1, torch.where(high.isfinite(), high - 1, 0.0))
    return torch.where(low.isfinite() & high.isfinite(), (low + high) / 2, one_sided)
