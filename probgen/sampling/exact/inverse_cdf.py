"""Inverse transform sampling: Y = F⁻¹(U) has the CDF F."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from probgen.core.descriptions import described
from probgen.sampling.exact import verification
from probgen.sampling.exact.given_cdf import GivenCdf
from probgen.sampling.exact.given_density import GivenDensity
from probgen.sampling.exact.given_icdf import GivenIcdf
from probgen.sampling.exact.inversion import quantile_moments
from probgen.sampling.exact.rounded_draws import rounded
from probgen.sampling.uniforms import uniform

Elementwise = Callable[[Tensor], Tensor]

_WHOLE = 1e-5  # by which log ∫ exp(log_prob) may differ from 0 where a law is all density


class InverseReport(NamedTuple):
    """What was measured of an inverse-CDF law on a grid of quantiles, the worst batch row.

    ``u_error`` is the largest max(F(x⁻) − u, u − F(x⁺)) at x = F⁻(u), before x is rounded to the law's
    dtype, and ``worst_u`` its place; NaN where neither CDF nor log-density alone was given. Between x⁻ and
    x⁺, the float64 numbers beside x, no quantile can tell. ``density_error`` is the median relative
    difference between ∫ exp(log_prob) over a panel of the grid and the panel's probability; NaN where no
    log_prob was given beside a CDF or a quantile function.

    Of a law given by its log-density alone, F is found by a second quadrature, on other panels with other
    nodes. ``x_error`` is the largest error of a quantile in the tails (u from 2⁻⁵² to 0.01 from either end),
    relative to its distance from the median. ``log_normaliser`` is log ∫ exp(log_prob), one number per law,
    and ``log_normaliser_error`` its largest error. Between the quantiles at 0.001 and 0.999 log_prob was
    looked at ``narrowest`` apart (one number per law); outside, as far as a million times half that range,
    every ``narrowest_beyond`` times the distance from its middle. A mode that dominates on a shorter stretch,
    or lies farther out, may be missing from all numbers if it was not named. With validation off nothing was
    verified: all are NaN but ``log_normaliser``.
    """

    u_error: float
    worst_u: float
    density_error: float
    x_error: float = torch.nan
    log_normaliser: Tensor | None = None
    log_normaliser_error: float = torch.nan
    narrowest: Tensor | None = None
    narrowest_beyond: float = torch.nan


class InverseCDF(TorchDistribution):
    r"""A law on the line given by its log-density, its CDF or its quantile function, sampled by x = F⁻(u).

    Uniforms have 52 bits: quantiles from 1.1e-16 to 1 − 1.1e-16 are drawn. Every callable is elementwise on
    tensors of shape (\*sample, \*batch_shape) and may close over parameters, learned ones too.

    **From a log-density alone**, p(x) = exp(log_prob(x)) / Z, maybe unnormalised, and for a batch of laws at
    once. Ends, poles at the ends and modes are found, the line is cut into panels graded towards them, and
    panels are split until a polynomial of degree 15 represents the density on each; F and F⁻ come from these
    polynomials, from the nearer end, so that tails keep their digits down to u = 2⁻¹⁰⁰. ``log_prob`` is
    normalised; ``rsample``, ``log_prob`` and ``cdf`` have gradients to the density's parameters, those of Z
    included. With validation on (Pyro's default) an independent quadrature measures each new law, and one
    whose u-error is above 1e-10 raises with its place (1e-4 where log_prob computes in float32).

    A pole is fitted as a power of the distance to it. At an end other than 0 much mass may lie nearer to it
    than float64 numbers: it is drawn as the number next to the end. Reflect the line to tell it apart.

    What is found: all modes that a lattice shows, up to 4096; it becomes finer around each, and goes on
    beyond them, until it shows no more. So a comb or a kernel estimate is found whole where log_prob rises
    towards each tooth from halfway to the next, as a sum of normals does. A feature on flat ground, or on
    none, is found where it dominates log_prob on a stretch wide enough: at an end, at 0 or at a mode on any;
    beside one or two of these on 1/700 of the distance; between the quantiles at 0.001 and 0.999 on
    ``report().narrowest``, about 10⁻⁵ of the range; outside, as far as a million times half that range, on
    ``report().narrowest_beyond``, 1/4000, of the distance from its middle. Of several, equal ones are looked
    for, half the width of the narrowest apart, and the law is refused if that takes more than two million
    steps. Nothing tells of a narrower one: name it, and poles inside the support, by ``points``. Of a
    thousand laws at once the shares are 1/256 and 1/9; with validation off the five highest modes count.

    ``mean``, ``variance`` and ``entropy()`` are integrated on the panels, with gradients; ``sf`` and ``isf``
    know the upper tail as ``cdf`` and ``icdf`` the lower one. Beside a CDF or a quantile function a
    ``log_prob`` gives the same moments; without one, and where the law has atoms beside its density, they are
    integrated over u: E g(X) = ∫₀¹ g(F⁻(u)) du, and the entropy as ∫₀¹ log (dF⁻/du) du, each to 1e-6 of
    ∫ |g| or better, else they raise: of a tail so heavy that what float64 u cannot reach matters.

    **From a CDF**, F⁻(u) = inf{x : F(x) ≥ u} is the generalised inverse, so that F may jump or be flat. It is
    found by bisection to the last bit of float64 (66 evaluations a draw). A CDF that begins and ends within
    1e-5 of 0 and 1, as a mixture does whose weights are a softmax in float32, is stretched to go from 0 to 1.

    **From a quantile function** a draw is one evaluation; chains in a model walk on z, x = F⁻(Φ(z)).

    From 48,000 quantiles at once of a law given by its log-density or CDF a table of polynomials is made and
    held against the exact quantiles: it adds at most 1e-11 to the error in u, 1e-7 of the tail's probability,
    and two units in the last place of x. What no polynomial represents, at a jump or a kink, stays exact.

    ``rsample`` goes through ``icdf`` by autograd, and otherwise by implicit reparameterisation,
    ∂x/∂θ = −∂_θ F(x; θ) / f(x; θ). Both are right for laws without jumps. A ``log_prob`` beside a CDF or a
    quantile function is the normalised density. Without one it is log F′(x) by autograd from a CDF (jumps
    have no density and are not counted), or −log Q′(F(x)) from a quantile function Q, with F(x) found by
    bisection. The latter is as exact as u can tell: to a relative 1e-16 / (1 − F(x)) in the upper tail;
    beyond 1 − 1e-16 it raises (NaN where validation is off). A ``log_prob`` beside is exact, and faster.

    With validation on each draw is checked, and each new law verified: in part of a millisecond from a
    quantile function, some from a CDF, 20 to 40 from a log-density, of which a million values are asked for.
    ``validate_args=False`` leaves that out; then no control flow depends on data, and ``make_fx`` can capture
    ``sample``, ``rsample`` and ``log_prob`` of a law that has a ``log_prob``, and ``rsample`` of any with
    ``icdf``. The panels of a log-density are then found anew at each call, by a fixed number of steps; a law
    whose integral they do not give to 1e-6 is NaN. Derivatives by autograd cannot be captured, and say so.

    Args:
        log_prob: the log-density, of float64 x in the support, maybe unnormalised; or, beside ``cdf`` or
            ``icdf``, the normalised log-density, of x in the law's dtype.
        cdf: the CDF, of float64 x in the support.
        icdf: the quantile function, of u in (0, 1), float64. Not both ``cdf`` and ``icdf`` are given.
        support: an interval: ``real``, ``positive``, ``interval(a, b)``, ...
        points: places inside the support, shape (n) or (n, \*batch_shape), where a log-density has poles,
            kinks, or features too narrow to be found: for all that is made of one alone, and for the moments
            of one beside ``cdf`` or ``icdf``; the cost grows in proportion to their number.
        batch_shape: shape of the family of laws; broadcast with what the callables return.
        dtype, device: of the draws; those that the callable returns where not given. Quantiles at float64 u
            are float64.

    Raises:
        ValueError: where a callable is NaN, where a CDF or quantile function decreases, leaves [0, 1] or the
            support, where ``log_prob`` is not the density of the law or, alone, is zero everywhere, infinite
            or not integrable, where draws of the law would be few different numbers in its dtype, each with
            the place.

    See Devroye (1986), Non-Uniform Random Variate Generation, ch. II; Derflinger, Hörmann and Leydold (2010)
    for inversion when only the density is known; Figurnov et al. (2018) for implicit gradients.

    >>> two_modes = InverseCDF(log_prob=lambda x: torch.logaddexp(-(x - 3) ** 2, -(x + 3) ** 2))
    >>> two_modes.icdf(torch.tensor([0.25, 0.75])), two_modes.report().log_normaliser
    (tensor([-3.,  3.]), tensor(1.2655, dtype=torch.float64))
    >>> logistic = InverseCDF(cdf=torch.sigmoid)
    >>> logistic.icdf(torch.tensor([0.25, 0.75])), logistic.log_prob(torch.tensor(0.0)).exp()
    (tensor([-1.0986,  1.0986]), tensor(0.2500))
    """

    arg_constraints = {}  # noqa: RUF012
    has_rsample = True

    def __init__(
        self,
        *,
        log_prob: Elementwise | None = None,
        cdf: Elementwise | None = None,
        icdf: Elementwise | None = None,
        support: Constraint = constraints.real,
        points: Sequence[float] | Tensor = (),
        batch_shape: Sequence[int] = (),
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if icdf is None and cdf is None and log_prob is None:
            raise ValueError("InverseCDF should be given a log_prob, a cdf or an icdf but got none")
        if icdf is not None and cdf is not None:
            raise ValueError("InverseCDF should be given one of icdf and cdf but got both")
        if len(points) and log_prob is None:
            raise ValueError("points should come with a log_prob but came with a cdf or an icdf alone")
        validate = bool(self._validate_args if validate_args is None else validate_args)
        self._source: GivenDensity | GivenCdf | GivenIcdf
        if icdf is not None:
            self._source = GivenIcdf(icdf, support, batch_shape, dtype, device)
        elif cdf is not None:
            self._source = GivenCdf(cdf, log_prob, support, batch_shape, dtype, device, validate=validate)
        elif log_prob is not None:
            self._source = GivenDensity(
                log_prob, support, points, batch_shape, dtype, device, validate=validate
            )
        self._log_prob = None if icdf is None and cdf is None else log_prob
        self._points = points
        self._support = support
        super().__init__(self._source.shape, validate_args=validate_args)
        if self._validate_args:
            self._verify()

    def __repr__(self) -> str:
        return described(self, f"by its {self._source.name}", support=self._support)

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
        shape = self._extended_shape(torch.Size(sample_shape))
        with torch.no_grad():
            if not isinstance(self._source, GivenIcdf):
                x = self._source.drawn(shape, generator)
                if x is not None:
                    return self._rounded(x, self._dtype)
            return self.rsample(sample_shape, generator=generator)

    def rsample(
        self, sample_shape: Sequence[int] = (), *, generator: torch.Generator | None = None
    ) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        return self.placed(uniform(shape, device=self._source.device, generator=generator), self._dtype)

    def icdf(self, value: Tensor) -> Tensor:
        """Return the generalised inverse F⁻(u) at u in [0, 1]; float64 where u or the law is.

        At 0 and 1 these are the ends of the support, but where F jumps to 1 or a quantile function says else.
        """
        return self.placed(value, torch.promote_types(self._dtype, value.dtype))

    def placed(self, value: Tensor, dtype: torch.dtype) -> Tensor:
        """Return F⁻(u) in a dtype, inside the support."""
        return self._checked(value, self._source.quantile, dtype)

    def cdf(self, value: Tensor) -> Tensor:
        """Return F at x in the support, in the dtype of x."""
        if self._validate_args:
            self._validate_sample(value)
        x = value.to(torch.float64).expand(torch.broadcast_shapes(value.shape, self.batch_shape))
        return self._source.cdf(x).to(value.dtype)

    def sf(self, value: Tensor) -> Tensor:
        """Return 1 − F(x), in the dtype of x; from a log-density to its own relative precision."""
        if not isinstance(self._source, GivenDensity):
            return 1 - self.cdf(value)
        if self._validate_args:
            self._validate_sample(value)
        x = value.to(torch.float64).expand(torch.broadcast_shapes(value.shape, self.batch_shape))
        return self._source.tails(x)[1].to(value.dtype)

    def isf(self, value: Tensor) -> Tensor:
        """Return the x with 1 − F(x) = s; from a log-density far upper quantiles are told apart."""
        s = value.to(torch.float64)
        if not isinstance(self._source, GivenDensity):
            return self.placed(1 - s, torch.promote_types(self._dtype, value.dtype))
        return self._checked(s, self._source.upper_quantile, torch.promote_types(self._dtype, value.dtype))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density at x, in the dtype of x, with gradients to x and to parameters."""
        if self._validate_args:
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape, self.batch_shape)
        if self._log_prob is not None:
            result = self._log_prob(value)
        else:
            result = self._source.log_prob(value.to(torch.float64).expand(shape)).to(value.dtype)
        if self._validate_args and result.isnan().any():
            place = verification.first(value.expand(shape), result.isnan().expand(shape))
            cause = self._source.unreached if self._log_prob is None else "the log_prob given is nan there"
            raise ValueError(f"log_prob should be a number but is nan at x = {place}: {cause}")
        return result.expand(shape)

    @property
    def mean(self) -> Tensor:
        """E X, with gradients; NaN where E |X| is infinite, as torch's ``Cauchy.mean`` is."""
        return self._expectation("mean")

    @property
    def variance(self) -> Tensor:
        """Var X, with gradients; NaN where E X² is infinite."""
        return self._expectation("variance")

    def entropy(self) -> Tensor:
        """Return −E log p(X) in nats, with gradients; NaN where it is infinite. A law with atoms raises."""
        return self._expectation("entropy")

    def report(self) -> InverseReport:
        """Measure the law on a grid of quantiles; see :class:`InverseReport`."""
        if isinstance(self._source, GivenDensity):
            u_error, worst_u, _, x_error, normaliser = self._source.errors()
            total, beyond = self._source.log_normaliser().detach(), self._source.narrowest_beyond
            narrowest = self._source.narrowest.reshape(self._source.shape)
            return InverseReport(u_error, worst_u, torch.nan, x_error, total, normaliser, narrowest, beyond)
        u, x = self._grid()
        error = worst = density = torch.nan
        if isinstance(self._source, GivenCdf):
            error, worst = verification.u_error(self._source.cdf, u, x)
        if self._log_prob is not None:
            density = verification.density_error(self._log_prob, u, x)
        return InverseReport(error, worst, density)

    @property
    def best_by_scores(self) -> bool:
        """Whether chains should walk on normal scores: only quantiles are known."""
        return isinstance(self._source, GivenIcdf) and self._log_prob is None

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of draws."""
        return self._source.dtype

    _dtype = dtype

    @property
    def device(self) -> torch.device:
        """The device of draws."""
        return self._source.device

    @property
    def by_density(self) -> GivenDensity | None:
        """The law as found from its log-density; None where its CDF or quantile function was given."""
        return self._source if isinstance(self._source, GivenDensity) else None

    def _expectation(self, name: str) -> Tensor:
        source, density = self._source, self._density()
        value = getattr(quantile_moments, name)(source) if density is None else density.expectation(name)
        return value.to(source.dtype).expand(self.batch_shape)

    def _density(self) -> GivenDensity | None:
        """Return the law by its log-density; None where that is not given, or the law is not all of it."""
        source = self._source
        if isinstance(source, GivenDensity):
            return source
        if self._log_prob is None:
            return None
        found = GivenDensity(
            self._log_prob,
            self._support,
            self._points,
            source.shape,
            source.dtype,
            source.device,
            validate=self._validate_args,
        )
        return found if (found.log_normaliser().detach().abs() < _WHOLE).all() else None

    def _checked(self, value: Tensor, quantile: Elementwise, dtype: torch.dtype) -> Tensor:
        """Return quantiles at a level in [0, 1], in a dtype."""
        u = value.to(torch.float64)
        if self._validate_args and not ((u >= 0) & (u <= 1)).all():
            raise ValueError(f"u should be in [0, 1] but got {verification.first(u, ~((u >= 0) & (u <= 1)))}")
        x = quantile(u.expand(torch.broadcast_shapes(u.shape, self.batch_shape)))
        if self._validate_args:
            verification.check_draws(u, x, self._support, self._source.name)
        return self._rounded(x, dtype)

    def _rounded(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        return rounded(x, dtype, self._support, validate=self._validate_args)

    @torch.no_grad()
    def _check_spacing(self) -> None:
        """Raise where the law is too narrow for the numbers of the dtype of its draws."""
        if self._dtype != torch.float64:
            u = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64, device=self._source.device)
            u = u.reshape(-1, *[1] * len(self.batch_shape)).expand(-1, *self.batch_shape)
            verification.check_quartiles(self._source.quantile(u), self._support, self._dtype)

    def _grid(self) -> tuple[Tensor, Tensor]:
        u = torch.linspace(-16, 16, 129, dtype=torch.float64, device=self._source.device).sigmoid()
        u = u.reshape(-1, *[1] * len(self.batch_shape)).expand(-1, *self.batch_shape)
        with torch.no_grad():
            return u, self._source.quantile(u)

    def _verify(self) -> None:
        if not isinstance(self._source, GivenIcdf):
            self._source.verify()
        self._check_spacing()
        if isinstance(self._source, GivenDensity):
            return
        u, x = self._grid()
        verification.check_quantiles(u, x, self._support, self._source.name)
        if isinstance(self._source, GivenCdf):
            verification.check_cdf(self._source.cdf, verification.refined(x))
        if self._log_prob is not None:
            error = verification.density_error(self._log_prob, u, x)
            if not error < 0.01:
                raise ValueError(
                    f"log_prob should be the normalised density of the {self._source.name} but its integrals "
                    f"between quantiles are off by {error:.2g} (median, relative)"
                )
