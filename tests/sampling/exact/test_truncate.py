import math

import pyro
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from pyro.infer import Trace_ELBO
from torch.distributions import MixtureSameFamily, constraints
from torch.fx.experimental.proxy_tensor import make_fx

from probgen.sampling import DiscreteInverse, Empirical, InverseCDF
from probgen.sampling.exact.tails.both_tails import tails
from probgen.sampling.exact.truncate import truncate
from tests import laws

float64 = torch.float64
LEVELS = torch.tensor([1e-12, 1e-3, 0.25, 0.5, 0.9, 1 - 1e-9], dtype=float64)


def tensor(*values):
    return torch.tensor(values if len(values) > 1 else values[0], dtype=float64)


NORMAL = dist.Normal(tensor(0.0), tensor(1.0))
LAWS = {
    "Normal": (NORMAL, scipy.stats.norm()),
    "Laplace": (dist.Laplace(tensor(0.5), tensor(2.0)), scipy.stats.laplace(0.5, 2)),
    "Cauchy": (dist.Cauchy(tensor(0.5), tensor(2.0)), scipy.stats.cauchy(0.5, 2)),
    "Gumbel": (dist.Gumbel(tensor(0.5), tensor(2.0)), scipy.stats.gumbel_r(0.5, 2)),
    "Exponential": (dist.Exponential(tensor(0.5)), scipy.stats.expon(scale=2)),
    "HalfNormal": (dist.HalfNormal(tensor(2.0)), scipy.stats.halfnorm(scale=2)),
    "HalfCauchy": (dist.HalfCauchy(tensor(2.0)), scipy.stats.halfcauchy(scale=2)),
    "Uniform": (dist.Uniform(tensor(1.0), tensor(9.0)), scipy.stats.uniform(1, 8)),
    "LogNormal": (dist.LogNormal(tensor(0.5), tensor(2.0)), scipy.stats.lognorm(2, scale=math.exp(0.5))),
    "Weibull": (dist.Weibull(tensor(2.0), tensor(1.5)), scipy.stats.weibull_min(1.5, scale=2)),
    "Pareto": (dist.Pareto(tensor(2.0), tensor(1.5)), scipy.stats.pareto(1.5, scale=2)),
    "Gamma": (dist.Gamma(tensor(2.5), tensor(0.5)), scipy.stats.gamma(2.5, scale=2)),
    "Chi2": (dist.Chi2(tensor(3.0)), scipy.stats.chi2(3)),
    "StudentT": (dist.StudentT(tensor(3.0), tensor(0.5), tensor(2.0)), scipy.stats.t(3, 0.5, 2)),
    "mirrored": (
        dist.TransformedDistribution(
            dist.Exponential(tensor(1.0)), [dist.transforms.AffineTransform(9.0, tensor(-2.0))]
        ),
        None,
    ),
}


@pytest.mark.parametrize("name", LAWS)
def test_both_tails_of_known_laws(name):
    """Both tails are exact to their own precision, and the quantile is their inverse."""
    law, exact = LAWS[name]
    known = tails(law)
    assert known.exact
    for log_tail in tensor(-600.0, -40.0, -2.0, -0.7, -0.1):
        far = torch.log1p(-log_tail.exp())
        for logs in ((log_tail, far), (far, log_tail)):
            x = known.quantile(*logs)
            if exact is not None and 1e-300 < abs(x) < 1e300 and not (name == "Uniform" and log_tail < -30):
                ours = exact.isf if logs[1] < logs[0] else exact.ppf
                level = torch.minimum(*logs).exp().item()
                if name not in (
                    "Gumbel",
                    "Weibull",
                    "HalfCauchy",
                    "Cauchy",
                    "Pareto",
                    "StudentT",
                ):  # SciPy's lose digits
                    assert x.item() == pytest.approx(float(ours(level)), rel=1e-9)
            back = known.of(x)
            if name not in ("Uniform", "mirrored", "Pareto") or log_tail > -30:  # x itself rounds
                torch.testing.assert_close(torch.minimum(*back), torch.minimum(*logs), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", LAWS)
def test_truncated_laws(name):
    law, _ = LAWS[name]
    low, high = 3.0, 7.0
    cut = truncate(law, low, high)
    x = cut.icdf(LEVELS)
    assert ((x >= low) & (x <= high)).all()
    torch.testing.assert_close(cut.cdf(x), LEVELS, rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(cut.sf(cut.isf(LEVELS)), LEVELS, rtol=1e-9, atol=1e-15)
    grid = torch.linspace(low, high, 40_001, dtype=float64)
    density = cut.log_prob(grid).exp()
    mass = torch.trapezoid(density, grid)
    mean = torch.trapezoid(density * grid, grid)
    assert mass.item() == pytest.approx(1, abs=1e-6)
    assert cut.mean.item() == pytest.approx(mean.item(), rel=1e-6)
    assert cut.variance.item() == pytest.approx(
        torch.trapezoid(density * (grid - mean) ** 2, grid).item(), rel=1e-5
    )


@pytest.mark.parametrize("place", [0.0, 8.0, 30.0, 300.0, 1e4])
@pytest.mark.parametrize("side", [1, -1])
def test_a_normal_cut_in_its_tail(place, side):
    """The truth is the Mills ratio, R(t) = erfcx(t / √2) √(π / 2)."""
    cut = truncate(NORMAL, place, None) if side > 0 else truncate(NORMAL, None, -place)

    def mills(t):
        return torch.special.erfcx(torch.as_tensor(t, dtype=float64) / math.sqrt(2)) * math.sqrt(math.pi / 2)

    excess = tensor(0.01, 0.5, 2.0) / max(place, 1.0)
    log_sf = torch.log(mills(place + excess) / mills(place)) - place * excess - excess**2 / 2
    x = side * (place + excess)
    ours = cut.log_sf(x) if side > 0 else cut.log_cdf(x)
    torch.testing.assert_close(ours, log_sf, rtol=1e-12 * max(1.0, place**2), atol=0)
    torch.testing.assert_close(cut.log_prob(x), -(excess**2) / 2 - place * excess - mills(place).log())
    mean = 1 / mills(place)
    rounding = 1e-12 + 1e-15 * place**2
    assert cut.mean.item() * side == pytest.approx(mean.item(), rel=1e-13)
    u = tensor(1e-9, 0.3, 0.999)
    far = cut.isf(u) if side > 0 else cut.icdf(u)
    back = cut.sf(far) if side > 0 else cut.cdf(far)
    torch.testing.assert_close(back, u, rtol=max(1e-9, 10 * rounding), atol=0)


def test_draws_of_a_far_tail_have_the_law(device, dtype):
    cut = truncate(dist.Normal(*torch.tensor([0.0, 1.0], dtype=dtype, device=device)), 8.0)
    draws = cut.sample((100_000,))
    assert draws.dtype == dtype

    def cdf(x):
        return 1 - (torch.special.log_ndtr(-x) - torch.special.log_ndtr(tensor(-8.0))).exp().where(x > 8, 1.0)

    laws.check_goodness_of_fit(draws, cdf)
    laws.assert_power(draws.double(), cdf, shift=0.05)


@pytest.mark.parametrize("place", [8.0, 300.0])
def test_densities_of_float32_laws_in_far_tails(place):
    """log f(x) − log P(X ≥ t) cancels: it is taken in float64."""
    single, double = (
        truncate(dist.Normal(torch.zeros((), dtype=dt), 1.0), place) for dt in (torch.float32, float64)
    )
    x = (place + torch.tensor([0.01, 1.0]) / place).to(torch.float32)
    torch.testing.assert_close(single.log_prob(x), double.log_prob(x.double()).float(), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("build", "parameters"),
    [
        (lambda a, b, low, high: truncate(dist.Normal(a, b), low, high), (0.3, 1.2, -0.5, 2.0)),
        (lambda a, b, low, high: truncate(dist.Normal(a, b), low, None), (0.3, 1.2, 12.0, 0.0)),
        (lambda a, b, low, high: truncate(dist.Gamma(a, b), low, high), (2.5, 1.5, 0.4, 3.0)),
        (lambda a, b, low, high: truncate(dist.StudentT(a, 0.0, b), None, high), (3.0, 1.5, 0.0, -4.0)),
    ],
)
def test_gradients_to_parameters_and_ends(build, parameters):
    u = tensor(0.05, 0.4, 0.9)
    x = build(*tensor(*parameters)).icdf(u)
    laws.check_gradient(lambda *p: build(*p).icdf(u), *parameters)
    laws.check_gradient(lambda *p: build(*p).log_prob(x), *parameters)
    laws.check_gradient(lambda *p: build(*p).cdf(x), *parameters)
    laws.check_gradient(lambda *p: build(*p).mean, *parameters)


def test_a_batch_is_a_loop(dtype, device):
    low = torch.tensor([-3.0, 0.0, 6.0], dtype=dtype, device=device)
    law = dist.Normal(torch.zeros(2, 1, dtype=dtype, device=device), 1.0)
    cut = truncate(law, low, low + 1)
    assert cut.batch_shape == (2, 3)
    u = torch.rand(100, 1, 1, device=device)
    for k in range(3):
        alone = truncate(law, low[k], low[k] + 1)
        assert torch.equal(cut.icdf(u)[..., k], alone.icdf(u)[..., 0])


def test_a_law_known_by_its_cdf_and_one_without_quantiles():
    logistic = InverseCDF(cdf=torch.sigmoid, dtype=float64)
    cut = truncate(logistic, 1.0, 4.0)
    torch.testing.assert_close(cut.cdf(cut.icdf(LEVELS)), LEVELS, rtol=1e-9, atol=1e-15)
    mixture = MixtureSameFamily(
        dist.Categorical(torch.ones(2, dtype=float64)), dist.Normal(tensor(-2.0, 2.0), tensor(1.0))
    )
    cut = truncate(mixture, 0.0, 3.0)
    torch.testing.assert_close(cut.cdf(cut.icdf(LEVELS)), LEVELS, rtol=1e-9, atol=1e-12)


def normal_by_density(**other):
    return InverseCDF(log_prob=lambda x: -(x**2) / 2, dtype=float64, **other)


@pytest.mark.parametrize(
    ("low", "high"), [(-1.0, 2.0), (8.0, None), (30.0, None), (30.0, 30.5), (None, -300.0), (1e-9, 1.0)]
)
def test_a_law_by_its_density_is_exact_however_far_out(low, high):
    expected, cut = truncate(NORMAL, low, high), truncate(normal_by_density(), low, high)
    x = expected.icdf(LEVELS)
    torch.testing.assert_close(cut.icdf(LEVELS), x, rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(cut.isf(LEVELS), expected.isf(LEVELS), rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(cut.log_prob(x), expected.log_prob(x), rtol=0, atol=1e-9)
    rounding = expected.log_prob(x).exp() * x.abs() * torch.finfo(float64).eps
    assert ((cut.sf(x) - expected.sf(x)).abs() <= 1e-7 * expected.sf(x) + rounding).all()
    torch.testing.assert_close(cut.mean, expected.mean, rtol=1e-10, atol=1e-12)


def test_a_family_by_its_density_keeps_its_support_and_its_points():
    law = InverseCDF(
        log_prob=lambda x: -0.5 * (x - 0.3).abs().log() - x,
        support=constraints.positive,
        points=[0.3],
        dtype=float64,
    )
    cut = truncate(law, tensor(-1.0, 0.2, 2.0), 5.0).expand((2, 3))
    level = torch.tensor([[0.1], [0.9]], dtype=float64)
    torch.testing.assert_close(cut.cdf(cut.icdf(level)), level.expand(2, 3))
    x = tensor(2.5)
    between = law.cdf(tensor(5.0)) - law.cdf(tensor(0.2))
    torch.testing.assert_close(cut.cdf(x)[0, 1], (law.cdf(x) - law.cdf(tensor(0.2))) / between)
    outside = truncate(law, 0.2, 5.0, validate_args=False)
    assert outside.log_prob(tensor(0.1, 6.0)).tolist() == [-math.inf, -math.inf]
    assert outside.cdf(tensor(0.1, 6.0)).tolist() == pytest.approx([0, 1])


def test_learned_ends_of_a_law_by_its_density():
    """The derivatives of a quantile to both ends are those of the normal law."""
    gradients = []
    for law in (NORMAL, normal_by_density()):
        low, high = tensor(7.0).requires_grad_(), tensor(7.4).requires_grad_()
        gradients.append(
            torch.stack(torch.autograd.grad(truncate(law, low, high).icdf(tensor(0.4)), (low, high)))
        )
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-7, atol=0)
    with pytest.raises(ValueError, match="should hold some of the tail of InverseCDF"):
        truncate(normal_by_density(), tensor(30.0).requires_grad_())


def test_tails_of_a_law_by_its_density():
    exact, found = tails(NORMAL), tails(normal_by_density())
    x = tensor(-11.0, -3.0, 0.5, 11.0)
    for expected, level in zip(exact.of(x), found.of(x), strict=True):
        torch.testing.assert_close(level, expected, rtol=0, atol=1e-7)
    torch.testing.assert_close(found.quantile(*exact.of(x)), x, rtol=1e-10, atol=0)


def test_truncated_twice():
    once, twice = truncate(NORMAL, 9.0, 12.0), truncate(truncate(NORMAL, 9.0), None, 12.0)
    torch.testing.assert_close(twice.icdf(LEVELS), once.icdf(LEVELS), rtol=1e-11, atol=0)


def test_nothing_cut_is_the_law():
    u = tensor(1e-12, 0.3, 1 - 1e-12)
    torch.testing.assert_close(truncate(NORMAL).icdf(u), torch.special.ndtri(u), rtol=1e-12, atol=0)
    assert truncate(NORMAL).support is constraints.real


def test_the_support():
    assert truncate(dist.Exponential(1.0), high=2.0).support.lower_bound == 0
    assert truncate(dist.Exponential(1.0), high=2.0).support.upper_bound == 2
    assert truncate(NORMAL, 1.0).support.lower_bound == 1
    assert truncate(NORMAL, high=1.0).support.upper_bound == 1


def test_in_a_model_and_a_guide():
    place = torch.tensor(1.0, requires_grad=True)

    def model():
        with pyro.plate("data", 5):
            pyro.sample("z", truncate(dist.Normal(0.0, 1.0), 2.0))

    def guide():
        with pyro.plate("data", 5):
            pyro.sample("z", truncate(dist.Normal(place, 1.0), 2.0, 9.0))

    Trace_ELBO().differentiable_loss(model, guide).backward()
    assert place.grad.isfinite()
    assert place.grad != 0


def test_capture():
    def loss(loc):
        law = truncate(dist.Normal(loc, 1.0, validate_args=False), 2.0, 5.0, validate_args=False)
        return law.rsample((4,)).sum() + law.log_prob(torch.full((4,), 3.0)).sum()

    captured = make_fx(loss, pre_dispatch=True)(torch.tensor(0.5, requires_grad=True))
    results = []
    for function in (loss, captured):
        loc = torch.tensor(1.5, requires_grad=True)
        torch.manual_seed(1)
        results.append(torch.autograd.grad(function(loc), loc)[0])
    torch.testing.assert_close(*results)


BAD = [
    (lambda: truncate(NORMAL, 2.0, 1.0), "low should be below high but got low = 2.0 and high = 1.0"),
    (lambda: truncate(NORMAL, 1.0, 1.0), "low should be below high but got low = 1.0 and high = 1.0"),
    (lambda: truncate(NORMAL, math.nan), "low should be below high but got low = nan"),
    (lambda: truncate(dist.Exponential(1.0), -3.0, -1.0), r"\[-3.0, -1.0\] should hold some .* share of 0,"),
    (lambda: truncate(NORMAL, 5.0, 5 + 1e-12), r"some of the tail of Normal .* share of 5\.\d+e-12"),
    (lambda: truncate(dist.SoftLaplace(0.0, 1.0), 40.0), "1e-07 of SoftLaplace, .* InverseCDF with its"),
    (lambda: truncate(dist.Cauchy(0.0, 1.0), 1.0).mean, "mean of a truncated Cauchy should exist but"),
    (lambda: truncate(dist.StudentT(2.0), 1.0).variance, "the variance of a truncated StudentT should exist"),
]  # fmt: skip


@pytest.mark.parametrize(("build", "message"), BAD)
def test_bad_intervals(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("law", "message"),
    [
        (dist.Poisson(1.0), "continuous, and on the line, but got Poisson"),
        (DiscreteInverse(torch.ones(3)), "continuous, and on the line, but got DiscreteInverse"),
        (Empirical(torch.zeros(3)), "continuous, and on the line, but got Empirical"),
        (dist.Dirichlet(torch.ones(3)), "continuous, and on the line, but got Dirichlet"),
        (dist.SoftLaplace(0.0, 1.0).mask(True), "should have a CDF but has none"),
    ],
)
def test_bad_laws(law, message):
    with pytest.raises(TypeError, match=message):
        truncate(law, 1.0)


def test_outside_the_interval():
    cut = truncate(NORMAL, 1.0, 2.0, validate_args=False)
    assert cut.log_prob(tensor(0.5, 3.0)).tolist() == [-math.inf, -math.inf]
    assert cut.cdf(tensor(0.5, 3.0)).tolist() == [0, 1]
    with pytest.raises(ValueError, match="within the support"):
        truncate(NORMAL, 1.0).log_prob(tensor(0.5))
