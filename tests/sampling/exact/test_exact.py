"""The laws of every exact sampler: one row of the table per sampler.

A row builds its law from parameters; two sets of them, stacked, are a batch. Laws of vectors have a table of
their own in test_copulas.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor
from torch.distributions import constraints

from probgen import sampling
from probgen.sampling import (
    AdaptiveRejection,
    Beta,
    Chi2,
    DiscreteInverse,
    Empirical,
    Gamma,
    InverseCDF,
    RatioOfUniforms,
    Rejection,
    StudentT,
    TransformedDensityRejection,
    VonMises,
    truncate,
)
from tests import laws

N = 250_000
SHIFT = 0.02
float64 = torch.float64


class Steps:
    """The law of values with given weights."""

    def __init__(self, values, weights) -> None:
        self._values = np.asarray(values, dtype=float)
        self._mass = np.asarray(weights, dtype=float) / np.sum(weights)

    def cdf(self, x):
        return (self._mass * (x[..., None] >= self._values)).sum(-1)

    def mean(self):
        return (self._mass * self._values).sum()

    def var(self):
        return (self._mass * (self._values - self.mean()) ** 2).sum()


class Mixture:
    """A mixture of laws of SciPy, or of this module."""

    def __init__(self, *parts) -> None:
        self._parts = parts

    def cdf(self, x):
        return sum(weight * law.cdf(x) for weight, law in self._parts)

    def mean(self):
        return sum(weight * law.mean() for weight, law in self._parts)

    def var(self):
        return sum(weight * (law.var() + (law.mean() - self.mean()) ** 2) for weight, law in self._parts)


class Case(NamedTuple):
    build: Callable[..., torch.distributions.Distribution]  # of tensors
    exact: Callable[..., object]  # of numbers; has cdf, mean and var
    parameters: tuple[tuple[float, ...], tuple[float, ...]]


def atom_and_gap(mass):
    """An atom at 0, a flat stretch on [1, 2], the rest uniform on [0, 1] and [2, 3]."""

    def cdf(x: Tensor) -> Tensor:
        rest = (1 - mass) / 2
        return torch.where(x < 0, 0.0, mass + rest * x.clamp(0, 1) + rest * (x - 2).clamp(0, 1))

    return InverseCDF(cdf=cdf, dtype=mass.dtype)


def normal_by_rejection(scale):
    normal = torch.distributions.Normal(0 * scale, scale)
    cauchy = torch.distributions.Cauchy(0 * scale, 1 + 0 * scale)
    farthest = (2 * scale**2 - 1).sqrt()
    bound = (normal.log_prob(farthest) - cauchy.log_prob(farthest)).double() + 1e-6
    return Rejection(normal.log_prob, proposal=cauchy, log_bound=bound, log_normaliser=0.0)


def gamma_by_adaptive_rejection(shape):
    return AdaptiveRejection(
        lambda x: (shape - 1) * x.log() - x,
        support=constraints.positive,
        log_normaliser=torch.lgamma(shape.double()),
    )


def two_bumps(weight):
    """The log-density of weight N(-2, 1/2) + (1 - weight) N(1, 1)."""

    def log_prob(x: Tensor) -> Tensor:
        left, right = 2 * weight * torch.exp(-2 * (x + 2) ** 2), (1 - weight) * torch.exp(-((x - 1) ** 2) / 2)
        return (left + right).log() - 0.5 * math.log(2 * math.pi)

    return log_prob


def two_bumps_of_scipy(weight):
    return Mixture((weight, scipy.stats.norm(-2, 0.5)), (1 - weight, scipy.stats.norm(1, 1)))


CASES = {
    "icdf": Case(
        lambda rate: InverseCDF(icdf=lambda u: -torch.log1p(-u) / rate, support=constraints.nonnegative),
        lambda rate: scipy.stats.expon(scale=1 / rate),
        ((2.0,), (0.5,)),
    ),
    "cdf": Case(
        lambda shape: InverseCDF(
            cdf=torch.distributions.Gamma(shape, 1 + 0 * shape).cdf,
            support=constraints.positive,
            dtype=shape.dtype,
        ),
        scipy.stats.gamma,
        ((0.5,), (3.0,)),
    ),
    "cdf of an atom and a gap": Case(
        atom_and_gap,
        lambda mass: Mixture(
            (mass, Steps([0], [1])),
            ((1 - mass) / 2, scipy.stats.uniform(0, 1)),
            ((1 - mass) / 2, scipy.stats.uniform(2, 1)),
        ),
        ((0.3,), (0.8,)),
    ),
    "density": Case(
        lambda shape, rate: InverseCDF(
            log_prob=lambda x: (shape - 1) * x.log() - rate * x,
            support=constraints.positive,
            dtype=rate.dtype,
        ),
        lambda shape, rate: scipy.stats.gamma(shape, scale=1 / rate),
        ((0.3, 2.0), (7.0, 1.0)),
    ),
    "density of two bumps": Case(
        lambda weight: InverseCDF(log_prob=two_bumps(weight), dtype=weight.dtype),
        two_bumps_of_scipy,
        ((0.3,), (0.6,)),
    ),
    "Gamma": Case(Gamma, lambda a, rate: scipy.stats.gamma(a, scale=1 / rate), ((0.3, 2.0), (5.0, 1.0))),
    "Chi2": Case(Chi2, scipy.stats.chi2, ((3.0,), (0.7,))),
    "Beta": Case(Beta, scipy.stats.beta, ((0.5, 2.0), (3.0, 4.0))),
    "StudentT": Case(StudentT, scipy.stats.t, ((5.0, 1.0, 2.0), (3.0, 0.0, 1.0))),
    "VonMises": Case(VonMises, lambda loc, k: scipy.stats.vonmises(k, loc), ((0.5, 3.0), (0.0, 0.2))),
    "truncated": Case(
        lambda low, high: truncate(torch.distributions.Normal(0 * low, 1 + 0 * low), low, high),
        scipy.stats.truncnorm,
        ((2.0, 4.0), (-1.0, 0.5)),
    ),
    "truncated density": Case(
        lambda low, high: truncate(InverseCDF(log_prob=lambda x: -x.abs() + 0 * low), low, high),
        lambda low, high: scipy.stats.truncexpon(high - low, loc=low),
        ((2.0, 4.0), (0.5, 9.0)),
    ),
    "empirical": Case(
        lambda *samples: Empirical(torch.stack(samples)),
        lambda *samples: Steps(samples, [1] * 4),
        ((1.0, 3.0, 2.0, 2.0), (0.0, 0.5, 0.5, -4.0)),
    ),
    "weighted empirical": Case(
        lambda a, b, c, *weights: Empirical(torch.stack([a, b, c]), weights=torch.stack(weights)),
        lambda a, b, c, *weights: Steps([a, b, c], weights),
        ((5.0, -1.0, 2.0, 3.0, 1.0, 0.0), (1.0, 2.0, 3.0, 0.2, 0.3, 0.5)),
    ),
    "smoothed": Case(
        lambda h, *samples: Empirical(torch.stack(samples)).smoothed(h),
        lambda h, *samples: Mixture(*((1 / len(samples), scipy.stats.norm(x, h)) for x in samples)),
        ((0.3, 1.0, 3.0, 2.0, 2.0), (1.0, 0.0, 5.0, 2.0, -4.0)),
    ),
    "discrete": Case(
        lambda *probs: DiscreteInverse(torch.stack(probs, -1)),
        lambda *probs: Steps(range(4), probs),
        ((0.1, 0.0, 0.6, 0.3), (0.4, 0.3, 0.3, 0.0)),
    ),
    "rejection": Case(normal_by_rejection, lambda scale: scipy.stats.norm(0, scale), ((1.0,), (0.8,))),
    "transformed rejection": Case(
        lambda df: TransformedDensityRejection(lambda x: -(df + 1) / 2 * torch.log1p(x**2 / df)),
        scipy.stats.t,
        ((1.5,), (7.0,)),
    ),
    "adaptive rejection": Case(gamma_by_adaptive_rejection, scipy.stats.gamma, ((2.5,), (9.0,))),
    "ratio of uniforms": Case(
        lambda weight: RatioOfUniforms(
            two_bumps(weight), support=constraints.interval(-6.0, 6.0), log_normaliser=0.0
        ),
        two_bumps_of_scipy,
        ((0.3,), (0.6,)),
    ),
}  # fmt: skip
BY_REJECTION = {"rejection", "transformed rejection", "adaptive rejection", "ratio of uniforms"}
STEPS = {"empirical", "weighted empirical", "discrete"}
WITHOUT_DENSITY = {"cdf of an atom and a gap"} | STEPS
OF_ANGLES = {"VonMises"}  # whose moments are circular
NAMES = list(CASES)
WITHOUT_MOMENTS = {"icdf", "cdf", "cdf of an atom and a gap"} | BY_REJECTION
VECTORS = {"EmpiricalCopula", "GaussianCopula", "Rosenblatt"}


def single(name, dtype, device, row=0):
    case = CASES[name]
    return case.build(*torch.tensor(case.parameters[row], dtype=dtype, device=device))


def batch(name, dtype, device):
    case = CASES[name]
    return case.build(*torch.tensor(case.parameters, dtype=dtype, device=device).T)


def exact(name, row=0):
    return CASES[name].exact(*CASES[name].parameters[row])


def test_every_exact_law_has_a_row():
    public = [getattr(sampling, name) for name in sampling.__all__]
    public = [
        kind
        for kind in public
        if isinstance(kind, type) and issubclass(kind, torch.distributions.Distribution)
    ]
    tested = {type(single(name, float64, "cpu")) for name in NAMES}
    assert {kind.__name__ for kind in public if kind not in tested} == VECTORS


@pytest.mark.parametrize("name", NAMES)
def test_draws_have_the_law(name, dtype, device):
    law, known = single(name, dtype, device), exact(name)
    draws = law.sample((N,)).cpu()
    cdf = laws.of_scipy(known)
    laws.check_goodness_of_fit(draws, cdf)
    laws.assert_power(draws.to(float64), cdf, shift=SHIFT)
    if name not in OF_ANGLES and math.isfinite(known.var()):
        laws.check_moments(draws, known.mean(), known.var())


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_draws_from_each_of_its_laws(name, dtype, device):
    law = batch(name, dtype, device)
    assert law.batch_shape == (2,)
    draws, levels = law.sample((50_000,)).cpu(), []
    for row in range(2):
        cdf = laws.of_scipy(exact(name, row))
        laws.check_goodness_of_fit(draws[:, row], cdf)
        laws.assert_power(draws[:, row].to(float64), cdf, shift=0.06)
        levels.append(cdf(draws[:, row].to(float64)))
    correlation = torch.corrcoef(torch.stack(levels))[0, 1]
    assert correlation.abs() < 5.5 / math.sqrt(50_000)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_a_loop(name, device):
    law, alone = batch(name, float64, device), [single(name, float64, device, row) for row in range(2)]
    x = law.sample((9,))
    for method in ("log_prob", "cdf"):
        if method == "cdf" and name in BY_REJECTION:
            continue
        if method == "log_prob" and name in WITHOUT_DENSITY - STEPS:
            continue
        found = getattr(law, method)(x)
        each = torch.stack([getattr(one, method)(x[:, row]) for row, one in enumerate(alone)], -1)
        torch.testing.assert_close(found, each, rtol=1e-8, atol=1e-10)
    if name not in BY_REJECTION:
        u = torch.tensor([1e-9, 0.2, 0.5, 0.81, 1 - 1e-9], dtype=float64, device=device)
        each = torch.stack([one.icdf(u) for one in alone], -1)
        torch.testing.assert_close(law.icdf(u[:, None]), each, rtol=1e-8, atol=1e-10)


GRIDS = {
    "icdf": torch.linspace(1e-9, 15, 20_001, dtype=float64),
    "cdf": torch.logspace(-14, 1.5, 20_001, dtype=float64),
    "density": torch.logspace(-40, 1.5, 20_001, dtype=float64),
    "density of two bumps": torch.linspace(-8, 8, 20_001, dtype=float64),
    "Gamma": torch.logspace(-40, 1.5, 20_001, dtype=float64),
    "Chi2": torch.linspace(1e-9, 60, 20_001, dtype=float64),
    "Beta": torch.logspace(-14, 0, 20_001, dtype=float64)[:-1],
    "StudentT": torch.linspace(-8, 8, 20_001, dtype=float64).sinh(),
    "VonMises": torch.linspace(-math.pi, math.pi, 20_001, dtype=float64),
    "truncated": torch.linspace(2, 4, 20_001, dtype=float64),
    "truncated density": torch.linspace(2, 4, 20_001, dtype=float64),
    "smoothed": torch.linspace(-2, 6, 20_001, dtype=float64),
    "rejection": torch.linspace(-8, 8, 20_001, dtype=float64),
    "transformed rejection": torch.linspace(-16, 16, 40_001, dtype=float64).sinh(),
    "adaptive rejection": torch.linspace(1e-9, 40, 20_001, dtype=float64),
    "ratio of uniforms": torch.linspace(-6, 6, 20_001, dtype=float64),
}


@pytest.mark.parametrize("name", GRIDS)
def test_the_density_is_the_slope_of_the_law(name, device):
    """∫ exp(log_prob) over a grid, by trapezoids, against the exact CDF."""
    law, known, grid = single(name, float64, device), exact(name), GRIDS[name]
    cdf = laws.cdf_from_log_prob(lambda x: law.log_prob(x.to(device)).detach().cpu(), grid)
    expected = laws.of_scipy(known)(grid)
    torch.testing.assert_close(cdf(grid), expected - expected[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_shapes(name, dtype, device):
    for law in (single(name, dtype, device), batch(name, dtype, device)):
        laws.check_shapes(law, torch.int64 if isinstance(law, DiscreteInverse) else dtype)


@pytest.mark.parametrize("name", NAMES)
def test_a_generator_fixes_the_draws(name, dtype, device):
    law, again = single(name, dtype, device), single(name, dtype, device)
    first, second = (
        one.sample((50,), generator=torch.Generator(device).manual_seed(1)) for one in (law, again)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, law.sample((50,), generator=torch.Generator(device).manual_seed(2)))
    if name != "adaptive rejection":
        assert torch.equal(first, law.sample((50,), generator=torch.Generator(device).manual_seed(1)))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in BY_REJECTION])
def test_icdf_is_the_generalised_inverse(name, device):
    """F(x⁻) ≤ u ≤ F(x) at x = F⁻(u), for the exact F and for the law's own."""
    law, known = single(name, float64, device), laws.of_scipy(exact(name))
    u = torch.tensor([1e-9, 0.1, 0.25, 0.3, 0.65, 0.7, 0.999], dtype=float64)
    x = law.icdf(u.to(device)).double().cpu()
    before = torch.nextafter(x, torch.full_like(x, -torch.inf))
    for cdf in (known, lambda x: law.cdf(x.to(device)).cpu()):
        assert (cdf(x) >= u - 1e-12).all()
        if cdf is known or name != "truncated":
            assert (cdf(before) <= u + 1e-12).all()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in BY_REJECTION])
def test_quantiles_keep_the_digits_of_u(name, device):
    """Of a float32 law at float64 u they are float64, as torch's own are; its draws stay float32."""
    law, u = single(name, torch.float32, device), torch.linspace(0.05, 0.95, 19, device=device, dtype=float64)
    draws = law.sample().dtype
    assert draws == (torch.int64 if name == "discrete" else torch.float32)
    for quantile in (law.icdf, getattr(law, "isf", law.icdf)):
        assert quantile(u.to(torch.float32)).dtype == draws
        assert quantile(u).dtype == (draws if name == "discrete" else float64)
    if name not in STEPS | {"cdf of an atom and a gap", "cdf"}:  # torch's Gamma.cdf computes in float32
        torch.testing.assert_close(law.cdf(law.icdf(u)), u, rtol=1e-13, atol=0)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITHOUT_MOMENTS | OF_ANGLES])
def test_moments(name, device):
    law = batch(name, float64, device)
    for row in range(2):
        known = exact(name, row)
        for ours, theirs in ((law.mean[row], known.mean()), (law.variance[row], known.var())):
            assert float(ours) == pytest.approx(theirs, rel=1e-7, abs=1e-9)
