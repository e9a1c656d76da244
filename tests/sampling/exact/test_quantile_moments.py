"""Mean, variance and entropy of laws given by their CDF or quantile function alone, against closed forms."""

import math

import pytest
import scipy.stats
import torch
from torch.distributions import Weibull, constraints

from probgen.sampling import InverseCDF

float64 = torch.float64
HALF_LOG_2PI = math.log(2 * math.pi) / 2


def student3_cdf(x):
    return 0.5 + (x / 3**0.5 / (1 + x**2 / 3) + (x / 3**0.5).atan()) / math.pi


def two_bumps_cdf(x):
    return (torch.special.ndtr(10 * (x - 5)) + torch.special.ndtr(10 * (x + 5))) / 2


def sine(u):
    return (math.pi * u / 2).sin().square()


LAWS = {
    "normal by icdf": ({"icdf": torch.special.ndtri}, scipy.stats.norm()),
    "normal by cdf": ({"cdf": torch.special.ndtr}, scipy.stats.norm()),
    "normal far away": ({"icdf": lambda u: 1e6 + torch.special.ndtri(u) / 1e3}, scipy.stats.norm(1e6, 1e-3)),
    "logistic": ({"cdf": torch.sigmoid}, scipy.stats.logistic()),
    "exponential": ({"icdf": lambda u: -torch.log1p(-u)}, scipy.stats.expon()),
    "student(3)": ({"cdf": student3_cdf}, scipy.stats.t(3)),
    "log-normal": ({"icdf": lambda u: torch.special.ndtri(u).exp()}, scipy.stats.lognorm(1.0)),
    "pareto(3)": ({"icdf": lambda u: (1 - u) ** (-1 / 3)}, scipy.stats.pareto(3.0)),
    "beta(1/2, 1/2)": ({"icdf": sine, "support": constraints.unit_interval}, scipy.stats.beta(0.5, 0.5)),
    "uniform": ({"icdf": lambda u: 3 * u - 1}, scipy.stats.uniform(-1, 3)),
}  # fmt: skip


@pytest.mark.parametrize("name", LAWS)
def test_moments(name):
    given, known = LAWS[name]
    law = InverseCDF(**given, dtype=float64)
    size = float(known.std())
    assert float(law.mean) == pytest.approx(known.mean(), rel=1e-12, abs=1e-9 * size)
    assert float(law.variance) == pytest.approx(known.var(), rel=1e-6 if name == "pareto(3)" else 1e-8)
    assert float(law.entropy()) == pytest.approx(float(known.entropy()), abs=1e-10)


def test_two_bumps_with_a_gap():
    law = InverseCDF(cdf=two_bumps_cdf, dtype=float64)
    assert float(law.mean) == pytest.approx(0.0, abs=1e-10)
    assert float(law.variance) == pytest.approx(25.01, rel=1e-11)
    assert float(law.entropy()) == pytest.approx(HALF_LOG_2PI + 0.5 - math.log(10) + math.log(2), rel=1e-8)


def test_a_jump_and_a_slope():
    """A third of the mass stands at 0, the rest is uniform on (0, 1); and the same from its quantiles."""

    def cdf(x):
        return torch.where(x < 0, 0.0, torch.where(x < 1, (1 + 2 * x) / 3, 1.0))

    def icdf(u):
        return ((3 * u - 1) / 2).clamp(min=0)

    for law in (InverseCDF(cdf=cdf, dtype=float64), InverseCDF(icdf=icdf, dtype=float64)):
        assert float(law.mean) == pytest.approx(1 / 3, rel=1e-9)
        assert float(law.variance) == pytest.approx(2 / 9 - 1 / 9, rel=1e-9)
        with pytest.raises(ValueError, match=r"entropy needs a .* at x = 0.0"):
            law.entropy()


def test_a_discrete_law():
    law = InverseCDF(
        icdf=lambda u: torch.where(u <= 0.3, 0.0, torch.where(u <= 0.7, 1.0, 5.0)), dtype=float64
    )
    assert float(law.mean) == pytest.approx(1.9, rel=1e-10)
    assert float(law.variance) == pytest.approx(0.4 + 7.5 - 1.9**2, rel=1e-10)
    constant = InverseCDF(icdf=lambda u: 0 * u + 3, dtype=float64)
    assert (float(constant.mean), float(constant.variance)) == (3.0, 0.0)


def test_a_density_that_is_not_all_of_the_law():
    """The log_prob beside this CDF holds 0.7 of the mass; the rest stands at 2."""
    law = InverseCDF(
        cdf=lambda x: 0.3 * (x >= 2).double() + 0.7 * torch.special.ndtr(x),
        log_prob=lambda x: math.log(0.7) - x**2 / 2 - HALF_LOG_2PI,
        dtype=float64,
    )
    assert float(law.mean) == pytest.approx(0.6, rel=1e-9)
    assert float(law.variance) == pytest.approx(0.7 + 0.3 * 4 - 0.36, rel=1e-9)
    with pytest.raises(ValueError, match=r"entropy needs a continuous law but the cdf jumps at x = 2.0"):
        law.entropy()


@pytest.mark.parametrize("given", ["icdf", "cdf"])
def test_moments_that_do_not_exist_are_nan(given):
    """Pareto laws with tail index 0.8 and 1.5, in one batch; Cauchy's."""
    index = torch.tensor([0.8, 1.5], dtype=float64)
    if given == "icdf":
        law = InverseCDF(icdf=lambda u: (1 - u) ** (-1 / index), dtype=float64)
        cauchy = InverseCDF(icdf=lambda u: (math.pi * (u - 0.5)).tan(), dtype=float64)
    else:
        law = InverseCDF(cdf=lambda x: 1 - x**-index, support=constraints.greater_than(1.0), dtype=float64)
        cauchy = InverseCDF(cdf=lambda x: 0.5 + x.atan() / math.pi, dtype=float64)
    assert law.mean.isnan().tolist() == [True, False]
    assert float(law.mean[1]) == pytest.approx(3.0, rel=1e-7)
    assert law.variance.isnan().all()
    torch.testing.assert_close(law.entropy(), 1 + 1 / index - index.log(), rtol=1e-9, atol=0)
    assert cauchy.mean.isnan()
    assert cauchy.variance.isnan()
    assert float(cauchy.entropy()) == pytest.approx(math.log(4 * math.pi), rel=1e-10)


def test_what_float64_cannot_know_raises():
    """Of a log-normal with σ = 3, 2 % of the variance lies beyond u = 1 − 2⁻⁴²."""
    law = InverseCDF(icdf=lambda u: (3 * torch.special.ndtri(u)).exp(), dtype=float64)
    with pytest.raises(ValueError, match=r"the variance should be found to 1e-06 but from the icdf .* only"):
        _ = law.variance
    infinite = InverseCDF(icdf=lambda u: torch.special.ndtri(u.float()))
    with pytest.raises(
        ValueError, match=r"the quantile should be finite but icdf gives inf at u = 0.99999999"
    ):
        _ = infinite.mean


def test_a_batch_and_its_gradients(device):
    concentration = torch.tensor([[0.7], [1.5], [3.0]], dtype=float64, device=device, requires_grad=True)
    known = Weibull(torch.ones_like(concentration), concentration)
    wanted = [known.mean, known.variance, known.entropy()]
    by_icdf = InverseCDF(icdf=lambda u: (-torch.log1p(-u)) ** (1 / concentration))
    by_cdf = InverseCDF(
        cdf=lambda x: -torch.expm1(-(x**concentration)), support=constraints.positive, dtype=float64
    )
    for law in (by_icdf, by_cdf):
        assert law.expand((3, 2)).mean.shape == (3, 2)
        for found, exact in zip([law.mean, law.variance, law.entropy()], wanted, strict=True):
            torch.testing.assert_close(found, exact, rtol=1e-7, atol=0)
            slopes = [
                torch.autograd.grad(y.sum(), concentration, retain_graph=True)[0] for y in (found, exact)
            ]
            torch.testing.assert_close(*slopes, rtol=1e-6, atol=0)


def test_a_jump_that_moves_has_no_gradient():
    p = torch.tensor(0.3, dtype=float64, requires_grad=True)
    coin = InverseCDF(icdf=lambda u: (u > 1 - p).double() + 0 * p)
    with pytest.raises(ValueError, match=r"the mean has a gradient only where .* jumps at u = 0.7;"):
        _ = coin.mean
    inflated = InverseCDF(cdf=lambda x: p * (x >= 0).double() + (1 - p) * torch.special.ndtr(x))
    with pytest.raises(ValueError, match=r"a gradient needs a continuous law but the cdf jumps at x = 0.0"):
        inflated.rsample((100,))
    with torch.no_grad():
        assert float(coin.mean) == pytest.approx(0.3, rel=1e-10)
        assert float(inflated.mean) == pytest.approx(0.0, abs=1e-10)


def test_the_error_of_a_table_is_no_jump():
    """So many draws come from a table, where F(x) is u to 5e-12 only."""
    gap = torch.tensor(2.0, dtype=float64, requires_grad=True)
    law = InverseCDF(
        cdf=lambda x: (torch.special.ndtr(x - gap) + torch.special.ndtr(x + gap)) / 2, dtype=float64
    )
    x = law.rsample((50_000,), generator=torch.Generator().manual_seed(1))
    (slope,) = torch.autograd.grad(x.square().mean(), gap)
    assert float(slope) == pytest.approx(4.0, abs=0.1)  # of E x² = 1 + gap²
