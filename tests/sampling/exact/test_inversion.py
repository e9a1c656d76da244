"""Laws given by their log-density alone: quantiles, normaliser, moments, and what is refused."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch.distributions import StudentT, constraints

from probgen.sampling import InverseCDF
from probgen.sampling.exact.implicit_derivatives import slope
from tests import laws
from tests.gallery import GALLERY, Law, errors, levels

float64 = torch.float64


def built(law: Law, **other) -> InverseCDF:
    return InverseCDF(log_prob=law.log_prob, support=law.support, points=law.points, dtype=float64, **other)


# Accuracy. The whole gallery is judged by tests/benchmarks/exact_sampling.py.

HARD = [
    "normal", "normal(1e6, 1e-3)", "gamma(0.05)", "gamma(1e4)", "beta(0.5, 0.5)", "beta(3, 0.5)", "cauchy",
    "student(1.5)", "laplace(0.3, 1/7)", "skewed laplace", "x^-0.5 inside", "two bumps with a gap",
    "three bumps", "spike of 1e-6 on a slab", "spike of 1e-6 on a normal", "spike of 1e-9, named",
    "normal beyond 8", "normal beyond 30", "uniform on the real line", "comb",
]  # fmt: skip


@pytest.mark.parametrize("name", HARD)
def test_quantiles_are_exact(name):
    law = GALLERY[name]
    found = built(law)
    z = levels()
    u = torch.from_numpy(np.where(z > 0, z, 1 + z))
    upper = (z < 0) & (z > -(2.0**-20))  # u is too coarse there: the tail is tested by the report
    x = found.icdf(u).numpy()
    density = found.log_prob(torch.from_numpy(x)).exp().numpy()
    u_error, x_error = errors(law, density[~upper], z[~upper], x[~upper])
    assert u_error < 1e-10
    assert x_error < 1e-7
    report = found.report()
    assert report.u_error < 1e-10
    assert report.x_error < 1e-7
    assert report.log_normaliser_error < 1e-10


NORMALISERS = {
    "normal": 0.5 * math.log(2 * math.pi),
    "gamma(0.05)": math.lgamma(0.05),
    "gamma(1e4)": math.lgamma(1e4),
    "beta(0.5, 0.5)": math.log(math.pi),
    "cauchy": math.log(math.pi),
    "spike of 1e-9, named": 0.0,
    "spike of 1e-6 on a slab": 0.0,
    "uniform on the real line": 0.0,
    "x^-0.5 inside": math.log(4),
}


@pytest.mark.parametrize("name", NORMALISERS)
def test_normaliser(name):
    log_normaliser = built(GALLERY[name]).report().log_normaliser
    assert float(log_normaliser) == pytest.approx(NORMALISERS[name], abs=1e-10, rel=1e-14)


@pytest.mark.parametrize(("a", "b"), [(2.0, 0.05), (50.0, 0.3)])
def test_normaliser_with_a_pole_away_from_0(a, b):
    """There the density beside the pole is no pure power at the least distance that float64 resolves."""
    law = InverseCDF(
        log_prob=lambda x: (a - 1) * x.log() + (b - 1) * torch.log1p(-x), support=constraints.unit_interval
    )
    exact = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    assert float(law.report().log_normaliser) == pytest.approx(exact, abs=1e-12)


def test_half_the_mass_lies_beyond_a_gap():
    """SciPy's PINV puts none there."""
    law = built(GALLERY["two bumps with a gap"])
    assert 1 - law.cdf(torch.tensor(2.0, dtype=float64)) == pytest.approx(0.5, abs=1e-12)
    assert (law.sample((100_000,)) > 2).double().mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("name", ["gamma(0.3)", "student(1.5)", "two bumps with a gap", "beta(3, 0.5)"])
def test_cdf_inverts_the_quantiles(name):
    law = built(GALLERY[name])
    u = torch.tensor([1e-25, 1e-12, 0.2, 0.5, 0.8], dtype=float64)
    torch.testing.assert_close(law.cdf(law.icdf(u)), u, rtol=1e-7, atol=0)


# Draws: some by inversion of the panels' series, many by the table.


@pytest.mark.parametrize("n", [20_000, 400_000])
@pytest.mark.parametrize("name", ["gamma(0.5)", "laplace(0.3, 1/7)", "two bumps with a gap"])
def test_draws_have_the_law(name, n, dtype, device):
    law = GALLERY[name]
    draws = InverseCDF(log_prob=law.log_prob, support=law.support, dtype=dtype, device=device).sample((n,))
    assert draws.dtype == dtype
    assert law.support.check(draws).all()

    def cdf(x):
        return torch.from_numpy(law.cdf(x.numpy()))

    laws.check_goodness_of_fit(draws, cdf)
    laws.assert_power(draws, cdf, shift=0.02 * math.sqrt(400_000 / n))


@pytest.mark.parametrize("dtype", [torch.float32, float64])
def test_shapes(dtype, device):
    rate = torch.tensor([[0.5], [2.0]], dtype=dtype, device=device)
    laws.check_shapes(InverseCDF(log_prob=lambda x: -rate * x, support=constraints.positive), dtype)


def test_a_batch_is_its_laws(device):
    shape = torch.tensor([[0.05, 0.7, 3.0], [20.0, 1.0, 1e4]], dtype=float64, device=device)
    family = InverseCDF(log_prob=lambda x: (shape - 1) * x.log() - x, support=constraints.positive)
    u = torch.rand((50, 2, 3), dtype=float64, device=device)
    x = family.icdf(u)
    assert family.report().log_normaliser.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            a = float(shape[i, j])
            law = InverseCDF(
                log_prob=lambda x, a=a: (a - 1) * x.log() - x, support=constraints.positive, dtype=float64
            )
            torch.testing.assert_close(x[:, i, j].cpu(), law.icdf(u[:, i, j].cpu()), rtol=1e-9, atol=0)
            torch.testing.assert_close(
                family.log_prob(x)[:, i, j].cpu(), law.log_prob(x[:, i, j].cpu()), rtol=1e-9, atol=1e-9
            )


def test_broadcasting_of_an_expanded_family(device):
    scale = torch.tensor([[1.0], [100.0]], dtype=float64, device=device)
    law = InverseCDF(log_prob=lambda x: -x / scale, support=constraints.positive).expand((3, 2, 4))
    u = torch.rand((5, 3, 2, 4), dtype=float64, device=device)
    torch.testing.assert_close(law.icdf(u), -scale * torch.log1p(-u))
    torch.testing.assert_close(law.cdf(law.icdf(u)), u)
    torch.testing.assert_close(
        law.icdf(u[0, 0, :, :1]), (-scale * torch.log1p(-u[0, 0, :, :1])).expand(3, 2, 4)
    )


def test_ends_of_the_support_may_differ_in_a_family():
    low = torch.tensor([-3.0, 0.0, 7.0], dtype=float64)
    law = InverseCDF(log_prob=lambda x: -x, support=constraints.greater_than(low), dtype=float64)
    u = torch.tensor(0.3, dtype=float64)
    torch.testing.assert_close(law.icdf(u), low - torch.log1p(-u))
    torch.testing.assert_close(law.report().log_normaliser, -low)


def test_quantiles_at_the_ends():
    law = built(GALLERY["gamma(2.5)"])
    assert law.icdf(torch.tensor([0.0, 1.0])).tolist() == [0.0, math.inf]
    with pytest.raises(ValueError, match="log_prob should be a number everywhere but is nan for u = 1e-31"):
        law.icdf(torch.tensor(1e-31, dtype=float64))


def test_both_tails():
    """Of the exponential law 1 − F(x) = exp(−x): far upper quantiles are told apart, as u cannot."""
    law = built(GALLERY["exponential"])
    s = torch.tensor([1.0, 0.9, 0.5, 1e-3, 1e-20, 1e-30], dtype=float64)
    x = law.isf(s)
    torch.testing.assert_close(x, -s.log(), rtol=1e-9, atol=0)
    torch.testing.assert_close(law.sf(x[1:]), s[1:], rtol=1e-7, atol=0)
    by_cdf = InverseCDF(cdf=lambda x: -torch.expm1(-x), support=constraints.positive, dtype=float64)
    torch.testing.assert_close(by_cdf.isf(s[:4]), x[:4])
    torch.testing.assert_close(by_cdf.sf(x[1:4]), s[1:4])


def test_a_log_prob_in_float32_is_known_to_fewer_digits():
    law = InverseCDF(log_prob=lambda x: -(x.float() ** 2) / 2, dtype=float64)
    report = law.report()
    assert 1e-12 < report.u_error < 1e-5
    assert float(report.log_normaliser) == pytest.approx(0.5 * math.log(2 * math.pi), abs=1e-6)


# Moments.


@pytest.mark.parametrize(
    ("name", "mean", "variance", "entropy"),
    [
        ("normal", 0.0, 1.0, 0.5 * math.log(2 * math.pi * math.e)),
        ("gamma(0.05)", 0.05, 0.05, -16.454073540683144),
        ("gamma(1e4)", 1e4, 1e4, 6.024075385026085),
        ("beta(0.5, 0.5)", 0.5, 0.125, math.log(math.pi / 4)),
        ("laplace(0.3, 1/7)", 0.3, 2 / 49, 1 + math.log(2 / 7)),
        ("two bumps with a gap", 0.0, 25.01, None),
        ("normal beyond 30", 30.033259667433677, None, None),
    ],
)
def test_moments(name, mean, variance, entropy):
    law = built(GALLERY[name])
    assert float(law.mean) == pytest.approx(mean, rel=1e-10, abs=1e-12)
    if variance is not None:
        assert float(law.variance) == pytest.approx(variance, rel=1e-9)
    if entropy is not None:
        assert float(law.entropy()) == pytest.approx(entropy, rel=1e-9)


@pytest.mark.parametrize("validate_args", [True, False])
def test_moments_that_do_not_exist_are_nan(validate_args):
    """As those of torch's Cauchy; the others of the law, and of its batch, are there."""
    df = torch.tensor([0.9, 1.5, 2.5], dtype=float64)
    law = InverseCDF(
        log_prob=lambda x: -(df + 1) / 2 * torch.log1p(x**2 / df), dtype=float64, validate_args=validate_args
    )
    assert law.mean.isnan().tolist() == [True, False, False]
    assert law.variance.isnan().tolist() == [True, True, False]
    torch.testing.assert_close(law.mean[1:], torch.zeros(2, dtype=float64), rtol=0, atol=1e-10)
    assert float(law.variance[2]) == pytest.approx(5.0, rel=1e-7)
    torch.testing.assert_close(law.entropy(), StudentT(df).entropy(), rtol=1e-9, atol=0)


def test_moments_of_a_law_by_its_cdf():
    def log_prob(x):
        return -x - 2 * torch.nn.functional.softplus(-x)

    law = InverseCDF(cdf=torch.sigmoid, log_prob=log_prob, dtype=float64).expand((2,))
    torch.testing.assert_close(law.variance, torch.full((2,), math.pi**2 / 3, dtype=float64))


# Bad input.


def masked(low, high):
    return lambda x: torch.where((x > low) & (x < high), 0.0, -torch.inf).to(x.dtype)


BAD = {
    "below inf but is nan at x = ": {"log_prob": lambda x: (x - 1).log()},
    "be a number but is nan at x = 1e": {
        "log_prob": lambda x: torch.where(x < 1e14, -(1 + x**2).log(), torch.nan)
    },
    r"below inf but is inf at x = \S+; a pole inside the support is named by points=": {
        "log_prob": lambda x: torch.where((x > 0) & (x < 1), torch.inf, -(x**2))
    },
    r"below inf but is inf at x = 0.0; a pole": {"log_prob": lambda x: -0.5 * x.abs().log() - x.abs()},
    r"is -inf wherever it was looked at between -inf and inf; name a place with mass": {
        "log_prob": lambda x: torch.full_like(x, -torch.inf)
    },
    r"is -inf wherever it was looked at between 0.0 and inf": {
        "log_prob": masked(-2.0, -1.0), "support": constraints.positive
    },
    "integrable but falls too slowly: there is mass beyond x = 1e\\+140": {"log_prob": torch.zeros_like},
    "integrable but falls too slowly": {"log_prob": lambda x: -0.5 * torch.log1p(x**2)},
    r"integrable but the density grows like \|x - a\|\^\(-1\) at a = 0": {
        "log_prob": lambda x: -x.log(), "support": constraints.unit_interval
    },
    r"integrable but the density grows like \|x - a\|\^\(-1.2\) at a = 1": {
        "log_prob": lambda x: -1.2 * torch.log1p(-x), "support": constraints.unit_interval
    },
    r"grow like a power of \|x - a\| at its pole a = 0.0 but does not within .*, where 0.00052 of the mass": {
        "log_prob": lambda x: -x.log() - 2 * (-x.log()).log(), "support": constraints.interval(0.0, 0.5)
    },
    r"its pole a = 1.0 but does not within 1.5e-11, where 0.52 of the mass lies; shift or reflect the line": {
        "log_prob": lambda x: 99999 * x.log() - 0.95 * torch.log1p(-x), "support": constraints.unit_interval
    },
    r"return shape \(3,\) for x of that shape but returned \(\)": {"log_prob": lambda x: -x.square().sum()},
    r"support should go from a lower to a higher number but is Interval\(lower_bound=1.0, upper_bound=1.0": {
        "log_prob": torch.zeros_like, "support": constraints.interval(1.0, 1.0)
    },
    r"points should lie inside the support but got 2.0": {
        "log_prob": torch.zeros_like, "support": constraints.unit_interval, "points": [0.5, 2.0]
    },
    "the ends of the support of a log_prob alone should need no gradient": {
        "log_prob": torch.zeros_like,
        "support": constraints.interval(0.0, torch.tensor(1.0, requires_grad=True)),
    },
}  # fmt: skip


@pytest.mark.parametrize("a", [20.0, 1000.0])
def test_a_pole_where_float64_numbers_are_sparse(a):
    """Of Beta(a, 0.05) a fifth lies within 2⁻⁵³ of 1, half within 1e-9: x stands at the number next to 1."""
    law = InverseCDF(
        log_prob=lambda x: (a - 1) * x.log() - 0.95 * torch.log1p(-x),
        support=constraints.unit_interval,
        dtype=float64,
    )
    report = law.report()
    known = math.lgamma(a) + math.lgamma(0.05) - math.lgamma(a + 0.05)
    assert float(report.log_normaliser) == pytest.approx(known, abs=2e-12 * a**0.5)
    assert abs(float(report.log_normaliser) - known) < report.log_normaliser_error < 1e-10
    u = torch.cat([torch.linspace(0.001, 0.999, 999, dtype=float64), 1 - 0.5 ** torch.arange(10, 50)])
    x = law.icdf(u)
    reflected = scipy.stats.beta(0.05, a)
    before, after = (torch.nextafter(x, torch.full_like(x, end)) for end in (0.0, 1.0))
    over, under = (torch.as_tensor(reflected.sf(1 - end.numpy())) - u for end in (before, after))
    assert over.max() < 1e-12
    assert under.min() > -1e-12
    last = 1 - 2.0**-53
    share = (law.sample((100_000,)) == last).double().mean()
    between = [reflected.cdf(k * 2.0**-53) for k in (1, 2)]
    assert between[0] - 0.006 < share < between[1] + 0.006  # 4.5 standard errors


def test_draws_in_float32_do_not_round_to_a_pole():
    """A third of the mass of x^-0.99 lies below the least float32 number: there the density is infinite."""
    law = InverseCDF(log_prob=lambda x: -0.99 * x.log(), support=constraints.unit_interval)
    mirrored = InverseCDF(log_prob=lambda x: -0.99 * torch.log1p(-x), support=constraints.unit_interval)
    for one, end in ((law, 0.0), (mirrored, 1.0)):
        x = one.sample((100_000,))
        assert x.dtype == torch.float32
        assert (x != end).all()
        assert one.log_prob(x).isfinite().all()
        assert one.icdf(torch.tensor(end)) == end
    beside = torch.nextafter(torch.tensor(0.0), torch.tensor(1.0))
    assert (law.sample((100_000,)) == beside).double().mean() == pytest.approx(0.357, abs=0.01)


@pytest.mark.parametrize("validate_args", [True, False])
def test_poles_at_both_ends_in_a_batch(validate_args):
    """Neighbours that need many more panels must not cut what was fitted beside the poles."""
    a = torch.tensor([0.5, 0.5, 3.0, 300.0], dtype=float64)
    b = torch.tensor([0.5, 0.2, 0.5, 2.0], dtype=float64)
    law = InverseCDF(
        log_prob=lambda x: (a - 1) * x.log() + (b - 1) * torch.log1p(-x),
        support=constraints.unit_interval,
        validate_args=validate_args,
        dtype=float64,
    )
    u = torch.linspace(0.01, 0.99, 99, dtype=float64)[:, None]
    x = law.icdf(u.expand(-1, 4)).numpy()
    level = scipy.stats.beta(b.numpy(), a.numpy()).sf(1 - x)
    slack = 2.0**-53 * law.log_prob(torch.as_tensor(x)).exp().numpy()  # of the rounding of x
    assert (abs(level - u.numpy()) < 1e-12 + slack).all()


@pytest.mark.parametrize("message", BAD)
def test_bad_densities(message):
    with pytest.raises(ValueError, match=message):
        InverseCDF(**BAD[message])


def test_a_density_that_is_no_tensor():
    with pytest.raises(TypeError, match="log_prob should return a tensor but returned"):
        InverseCDF(log_prob=lambda x: -(x.numpy() ** 2))


def test_nothing_wrong_is_silent_without_validation():
    for log_prob in (torch.zeros_like, lambda x: torch.where(x > 1, torch.nan, -(x**2))):
        law = InverseCDF(log_prob=log_prob, validate_args=False)
        assert law.log_prob(torch.tensor(0.3)).isnan()
        assert law.sample((3,)).isnan().all()


def test_density_by_autograd_of_the_cdf():
    law = built(GALLERY["gamma(2.5)"])
    x = torch.tensor([1e-6, 0.3, 2.0, 20.0], dtype=float64)
    torch.testing.assert_close(slope(law.cdf, x, "cdf"), law.log_prob(x).exp())
