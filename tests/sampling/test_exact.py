"""The laws of every exact sampler: one row of the table per sampler."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor
from torch.distributions import constraints

from probgen.sampling import DiscreteInverse, Empirical, InverseCDF, Rejection
from probgen.sampling.adaptive_rejection import AdaptiveRejection
from probgen.sampling.quantiles import Beta, Chi2, Gamma, StudentT, VonMises
from probgen.sampling.ratio_of_uniforms import RatioOfUniforms
from probgen.sampling.transformed_rejection import TransformedDensityRejection
from probgen.sampling.truncate import truncate
from tests import laws

N = 400_000


def of_scipy(law) -> laws.Cdf:
    return lambda x: torch.from_numpy(np.asarray(law.cdf(x.numpy())))


class Case(NamedTuple):
    build: Callable[[torch.dtype, torch.device], torch.distributions.Distribution]
    cdf: laws.Cdf
    n: int = N


def mixed(x: Tensor) -> Tensor:
    """An atom of 0.3 at 0, a flat stretch on [1, 2], the rest uniform on [0, 1] and [2, 3]."""
    return torch.where(x < 0, 0.0, 0.3 + 0.35 * x.clamp(0, 1) + 0.35 * (x - 2).clamp(0, 1))


def exponential_icdf(dtype, device):
    rate = torch.tensor(2.0, dtype=dtype, device=device)
    return InverseCDF(icdf=lambda u: -torch.log1p(-u) / rate, support=constraints.nonnegative)


def gamma_cdf(dtype, device):
    return InverseCDF(cdf=gamma(0.5, dtype, device).cdf, support=constraints.positive, dtype=dtype)


def gamma(shape, dtype, device):
    return torch.distributions.Gamma(
        torch.tensor(shape, dtype=dtype, device=device), torch.tensor(1.0, dtype=dtype, device=device)
    )


def normal_rejection(dtype, device):
    cauchy = torch.distributions.Cauchy(*torch.tensor([0.0, 1.0], dtype=dtype, device=device))
    bound = 0.5 * math.log(2 * math.pi) - 0.5
    return Rejection(
        lambda x: -0.5 * x**2 - 0.5 * math.log(2 * math.pi),
        proposal=cauchy,
        log_bound=bound,
        log_normaliser=0.0,
    )


def student_transformed(dtype, device):
    freedom = torch.tensor(1.5, dtype=dtype, device=device)
    return TransformedDensityRejection(lambda x: -(freedom + 1) / 2 * torch.log1p(x**2 / freedom))


def gamma_adaptive(dtype, device):
    shape = torch.tensor(2.5, dtype=dtype, device=device)
    log_z = math.lgamma(2.5)
    return AdaptiveRejection(
        lambda x: (shape - 1) * x.log() - x, support=constraints.positive, log_normaliser=log_z
    )


def two_bumps(x: Tensor) -> Tensor:
    """The log-density of 0.3 N(-2, 1/2) + 0.7 N(1, 1)."""
    left, right = 0.3 * torch.exp(-2 * (x + 2) ** 2) * 2, 0.7 * torch.exp(-((x - 1) ** 2) / 2)
    return (left + right).log() - 0.5 * math.log(2 * math.pi)


def two_bumps_cdf(x: Tensor) -> Tensor:
    return 0.3 * torch.special.ndtr(2 * (x + 2)) + 0.7 * torch.special.ndtr(x - 1)


def shaped(kind, *parameters):
    return lambda dtype, device: kind(*torch.tensor(parameters, dtype=dtype, device=device))


CASES = {
    "icdf": Case(exponential_icdf, of_scipy(scipy.stats.expon(scale=0.5))),
    "cdf": Case(gamma_cdf, of_scipy(scipy.stats.gamma(0.5)), n=100_000),
    "cdf of an atom and a gap": Case(lambda dtype, device: InverseCDF(cdf=mixed, dtype=dtype), mixed),
    "empirical": Case(
        lambda dtype, device: Empirical(torch.tensor([1.0, 3.0, 2.0, 2.0], dtype=dtype, device=device)),
        lambda x: ((x >= 1) * 0.25 + (x >= 2) * 0.5 + (x >= 3) * 0.25).double(),
    ),
    "weighted empirical": Case(
        lambda dtype, device: Empirical(
            torch.tensor([5.0, -1.0, 2.0], dtype=dtype, device=device),
            weights=torch.tensor([3.0, 1.0, 0.0], device=device),
        ),
        lambda x: ((x >= -1) * 0.25 + (x >= 5) * 0.75).double(),
    ),
    "discrete": Case(
        lambda dtype, device: DiscreteInverse(torch.tensor([0.1, 0.0, 0.6, 0.3], dtype=dtype, device=device)),
        lambda x: ((x >= 0) * 0.1 + (x >= 2) * 0.6 + (x >= 3) * 0.3).double(),
    ),
    "Gamma": Case(shaped(Gamma, 0.3, 2.0), of_scipy(scipy.stats.gamma(0.3, scale=0.5)), n=100_000),
    "Chi2": Case(shaped(Chi2, 3.0), of_scipy(scipy.stats.chi2(3)), n=100_000),
    "Beta": Case(shaped(Beta, 0.5, 2.0), of_scipy(scipy.stats.beta(0.5, 2)), n=100_000),
    "StudentT": Case(shaped(StudentT, 5.0, 1.0, 2.0), of_scipy(scipy.stats.t(5, 1, 2)), n=100_000),
    "VonMises": Case(shaped(VonMises, 0.5, 3.0), of_scipy(scipy.stats.vonmises(3, 0.5)), n=100_000),
    "truncated": Case(
        lambda dtype, device: truncate(shaped(torch.distributions.Normal, 0.0, 1.0)(dtype, device), 2.0, 4.0),
        of_scipy(scipy.stats.truncnorm(2, 4)),
        n=100_000,
    ),
    "rejection": Case(normal_rejection, of_scipy(scipy.stats.norm())),
    "transformed rejection": Case(student_transformed, of_scipy(scipy.stats.t(1.5))),
    "adaptive rejection": Case(gamma_adaptive, of_scipy(scipy.stats.gamma(2.5))),
    "ratio of uniforms": Case(
        lambda dtype, device: RatioOfUniforms(
            two_bumps, support=constraints.interval(-6.0, 6.0), dtype=dtype, device=device, log_normaliser=0.0
        ),
        two_bumps_cdf,
    ),
    "smoothed": Case(
        lambda dtype, device: Empirical(
            torch.tensor([1.0, 3.0, 2.0, 2.0], dtype=dtype, device=device)
        ).smoothed(0.3),
        lambda x: sum(w * torch.special.ndtr((x - m) / 0.3) for m, w in ((1, 0.25), (2, 0.5), (3, 0.25))),
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_draws_have_the_law(case, dtype, device):
    draws = case.build(dtype, device).sample((case.n,))
    laws.check_goodness_of_fit(draws, case.cdf)
    laws.assert_power(draws.to(torch.float64), case.cdf, shift=0.02 * math.sqrt(N / case.n))


GRIDS = {
    "icdf": torch.linspace(1e-9, 15, 20_001, dtype=torch.float64),
    "cdf": torch.logspace(-14, 1.5, 20_001, dtype=torch.float64),
    "rejection": torch.linspace(-8, 8, 20_001, dtype=torch.float64),
    "transformed rejection": torch.linspace(-16, 16, 40_001, dtype=torch.float64).sinh(),
    "adaptive rejection": torch.linspace(1e-9, 40, 20_001, dtype=torch.float64),
    "ratio of uniforms": torch.linspace(-6, 6, 20_001, dtype=torch.float64),
    "smoothed": torch.linspace(-2, 6, 20_001, dtype=torch.float64),
}
BY_REJECTION = {"rejection", "transformed rejection", "adaptive rejection", "ratio of uniforms"}


@pytest.mark.parametrize("name", GRIDS)
def test_draws_have_the_density(name, device):
    law = CASES[name].build(torch.float64, device)
    draws = law.sample((N // 4,)).cpu()
    cdf = laws.cdf_from_log_prob(lambda x: law.log_prob(x.to(device)).cpu(), GRIDS[name])
    laws.check_goodness_of_fit(draws, cdf)
    laws.assert_power(draws, cdf, shift=0.05)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_shapes(case, dtype, device):
    law = case.build(dtype, device)
    laws.check_shapes(law, torch.int64 if isinstance(law, DiscreteInverse) else dtype)


@pytest.mark.parametrize("name", CASES)
def test_a_generator_fixes_the_draws(name, dtype, device):
    law, again = CASES[name].build(dtype, device), CASES[name].build(dtype, device)
    first, second = (
        one.sample((50,), generator=torch.Generator(device).manual_seed(1)) for one in (law, again)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, law.sample((50,), generator=torch.Generator(device).manual_seed(2)))
    if name != "adaptive rejection":
        assert torch.equal(first, law.sample((50,), generator=torch.Generator(device).manual_seed(1)))


@pytest.mark.parametrize("name", [name for name in CASES if name not in BY_REJECTION])
def test_icdf_is_the_generalised_inverse(name, device):
    """F(x⁻) ≤ u ≤ F(x) at x = F⁻(u)."""
    law = CASES[name].build(torch.float64, device)
    u = torch.tensor([1e-9, 0.1, 0.25, 0.3, 0.65, 0.7, 0.999], dtype=torch.float64, device=device)
    x = law.icdf(u).double()
    before = torch.nextafter(x, torch.full_like(x, -torch.inf))
    cdf = CASES[name].cdf
    assert (cdf(x.cpu()) >= u.cpu() - 1e-12).all()
    assert (cdf(before.cpu()) <= u.cpu() + 1e-12).all()
