import math

import pyro
import pyro.distributions as dist
import pytest
import scipy.special
import scipy.stats
import torch
from torch import nn
from torch.distributions import biject_to, constraints

import probgen as pg
from probgen.sampling.exact.copulas import EmpiricalCopula, GaussianCopula
from probgen.sampling.exact.rosenblatt import Rosenblatt
from tests import laws

float64 = torch.float64


EYE = torch.eye(2)
TWO = [dist.Normal(0.0, 1.0)] * 2


def tensor(*values):
    return torch.tensor(values if len(values) > 1 else values[0], dtype=float64)


def normal(loc, scale, dtype=float64, device="cpu"):
    return dist.Normal(*torch.tensor([loc, scale], dtype=dtype, device=device))


def banana(dtype=float64, device="cpu"):
    def second(x):
        return dist.Gamma(1 + x**2, torch.ones_like(x))

    def third(x, y):
        return dist.Uniform(torch.zeros_like(y), y)

    return Rosenblatt([normal(0.0, 1.0, dtype, device), second, third])


def gaussian(dtype=float64, device="cpu"):
    correlation = torch.tensor(
        [[1.0, 0.6, -0.3], [0.6, 1.0, 0.2], [-0.3, 0.2, 1.0]], dtype=dtype, device=device
    )
    one = torch.ones((), dtype=dtype, device=device)
    margins = [dist.Normal(0 * one, 2 * one), dist.Gamma(2 * one, one), dist.StudentT(3 * one)]
    return GaussianCopula(margins, correlation=correlation)


def empirical(dtype=float64, device="cpu", n=30):
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(4))
    samples = torch.stack([x[:, 0], x[:, 0] ** 2 + 0.3 * x[:, 1]], -1).to(device, dtype)
    one = torch.ones((), dtype=dtype, device=device)
    return EmpiricalCopula(samples, [dist.Exponential(one), dist.Beta(2 * one, one)])


ALL = {"Rosenblatt": banana, "GaussianCopula": gaussian, "EmpiricalCopula": empirical}
MARGINS = {
    "GaussianCopula": [scipy.stats.norm(scale=2), scipy.stats.gamma(2), scipy.stats.t(3)],
    "EmpiricalCopula": [scipy.stats.expon(), scipy.stats.beta(2, 1)],
}


def cdf_of(law):
    return lambda x: torch.from_numpy(law.cdf(x.numpy()))


def to_the_cube(x):
    return x.clamp(0, 1)


# Draws.


@pytest.mark.parametrize("name", MARGINS)
def test_margins_are_those_given(name, dtype, device):
    draws = ALL[name](dtype, device).sample((30_000,))
    assert draws.dtype == dtype
    for column, margin in zip(draws.unbind(-1), MARGINS[name], strict=True):
        laws.check_goodness_of_fit(column, cdf_of(margin))
        laws.assert_power(column.double(), cdf_of(margin), shift=0.1)


@pytest.mark.parametrize("build", [banana, gaussian])
def test_uniforms_of_draws_are_uniform_and_independent(build, device):
    law = build(float64, device)
    u = law.to_uniform(law.sample((30_000,))).cpu()
    for one in u.unbind(-1):
        laws.check_goodness_of_fit(one, to_the_cube)
        laws.assert_power(one, to_the_cube, shift=0.1)
    z = torch.special.ndtri(u)
    correlation = torch.corrcoef(torch.cat([z, z**2], -1).T).fill_diagonal_(0)
    assert correlation.abs().max() < 5.5 / math.sqrt(30_000)


@pytest.mark.parametrize("build", [banana, gaussian])
def test_uniforms_are_inverted(build):
    law = build()
    x = law.sample((200,))
    torch.testing.assert_close(law.from_uniform(law.to_uniform(x)), x, rtol=1e-9, atol=1e-12)
    u = torch.rand(200, 3, dtype=float64)
    torch.testing.assert_close(law.to_uniform(law.from_uniform(u)), u, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("build", ALL.values(), ids=ALL)
def test_shapes(build, dtype, device):
    laws.check_shapes(build(dtype, device), dtype)


@pytest.mark.parametrize("build", ALL.values(), ids=ALL)
def test_a_generator_fixes_the_draws(build, device):
    law = build(float64, device)
    first, second = (law.sample((50,), generator=torch.Generator(device).manual_seed(1)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, law.sample((50,), generator=torch.Generator(device).manual_seed(2)))


# Densities.


def test_a_gaussian_copula_of_normal_margins_is_normal():
    scale, correlation = tensor(1.0, 2.0), torch.tensor([[1.0, -0.7], [-0.7, 1.0]], dtype=float64)
    loc = tensor(0.5, -1.0)
    covariance = scale * correlation * scale[:, None]
    exact = dist.MultivariateNormal(loc, covariance)
    margins = [dist.Normal(loc[k], scale[k]) for k in range(2)]
    far = loc + scale * tensor(30.0, -25.0)  # beyond what a uniform number could tell
    x = torch.cat([exact.sample((50,)), far[None]])
    for law in (
        GaussianCopula(margins, correlation=correlation),
        GaussianCopula(margins, scale_tril=torch.linalg.cholesky(correlation)),
        Rosenblatt([
            margins[0],
            lambda x: dist.Normal(
                loc[1] + scale[1] * -0.7 * (x - loc[0]) / scale[0], scale[1] * math.sqrt(1 - 0.49)
            ),
        ]),
    ):  # fmt: skip
        torch.testing.assert_close(law.log_prob(x), exact.log_prob(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("build", [banana, gaussian])
def test_the_density_is_the_jacobian_of_the_uniforms(build):
    law = build()
    for x in law.sample((3,)):
        jacobian = torch.autograd.functional.jacobian(law.to_uniform, x)
        torch.testing.assert_close(law.log_prob(x), jacobian.det().abs().log(), rtol=1e-9, atol=1e-9)


# Ends and tails.


@pytest.mark.parametrize("number", [torch.float32, float64])
@pytest.mark.parametrize("name", ["GaussianCopula", "EmpiricalCopula"])
def test_draws_lie_between_the_ends_where_the_density_is_a_number(name, number):
    """A quarter of these draws, or more, is nearer to the upper end than the numbers of the dtype."""
    margins = [
        dist.Beta(*torch.tensor([0.5, 0.03], dtype=number)),
        dist.Uniform(*torch.tensor([2.0, 3.0], dtype=number)),
    ]
    if name == "GaussianCopula":
        law = GaussianCopula(margins, correlation=torch.tensor([[1.0, 0.9], [0.9, 1.0]]))
    else:
        law = EmpiricalCopula(torch.randn(20, 2), margins)
    x = law.sample((20_000,))
    assert x.dtype == number
    assert (x[:, 0] > 1 - 4 * torch.finfo(number).eps).to(float64).mean() > 0.25
    assert (x[:, 0] < 1).all()
    assert ((x > tensor(0.0, 2.0)) & (x < tensor(1.0, 3.0))).all()
    assert law.log_prob(x).isfinite().all()


def test_the_density_at_an_end():
    """It counts as 0 where the coordinate depends on others, and is the margins' product where not."""
    matrix = torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=float64)
    law = GaussianCopula(
        [dist.Uniform(0.0, 1.0), dist.Beta(0.5, 0.5), dist.Exponential(2.0)], correlation=matrix
    )
    ends = torch.tensor([[0.0, 0.5, 1.0], [1.0, 1.0, 1.0], [0.3, 0.0, 1.0], [0.3, 1.0, 0.0]])
    assert law.log_prob(ends).isneginf().all()
    near, at = law.log_prob(torch.tensor([[0.3, 0.4, 1e-30], [0.3, 0.4, 0.0]]))
    torch.testing.assert_close(at, near)
    normal_law = GaussianCopula(TWO, correlation=torch.tensor([[1.0, -0.4], [-0.4, 1.0]]))
    assert normal_law.log_prob(torch.tensor([math.inf, 0.0])).isneginf()


def two_margins(location, rate, correlation):
    matrix = torch.stack(
        [torch.ones_like(correlation), correlation, correlation, torch.ones_like(correlation)]
    )
    margins = [dist.Normal(location, 1.0), dist.Gamma(torch.tensor(1.7, dtype=float64), rate)]
    return GaussianCopula(margins, correlation=matrix.reshape(2, 2))


def test_gradients():
    u, x = tensor(0.2, 0.9), tensor(0.4, 0.8)
    laws.check_gradient(lambda *p: two_margins(*p).from_uniform(u), 0.3, 1.4, 0.5)
    laws.check_gradient(lambda *p: two_margins(*p).log_prob(x), 0.3, 1.4, 0.5)
    laws.check_gradient(
        lambda a, b: two_margins(*tensor(0.3, 1.4, 0.5)).log_prob(torch.stack([a, b])), 0.4, 0.8
    )

    def chain(location, slope):
        return Rosenblatt([dist.Normal(location, 1.0), lambda y: dist.Gamma(1 + y**2, slope)])

    laws.check_gradient(lambda *p: chain(*p).from_uniform(u), 0.3, 1.4)
    laws.check_gradient(lambda *p: chain(*p).log_prob(x), 0.3, 1.4)

    def of_data(rate):
        samples = torch.randn(20, 2, generator=torch.Generator().manual_seed(1))
        return EmpiricalCopula(samples, [dist.Exponential(rate), normal(0.0, 1.0)])

    laws.check_gradient(lambda rate: of_data(rate).from_uniform(tensor(0.3, 0.2, 0.9)), 1.4)
    laws.check_gradient(lambda rate: of_data(rate).log_prob(x), 1.4)


# Batches, supports, Pyro.


def test_a_batch_of_correlations():
    rho = tensor(-0.5, 0.0, 0.8)
    matrix = torch.stack([torch.ones(3), rho, rho, torch.ones(3)], -1).reshape(3, 2, 2).to(float64)
    margins = [normal(0.0, 1.0), dist.Exponential(tensor(1.0))]
    law = GaussianCopula(margins, correlation=matrix)
    assert law.batch_shape == (3,)
    u = torch.rand(10, 3, 2, dtype=float64)
    for k in range(3):
        alone = GaussianCopula(margins, correlation=matrix[k])
        torch.testing.assert_close(alone.from_uniform(u[:, k]), law.from_uniform(u)[:, k])
        torch.testing.assert_close(
            alone.log_prob(law.from_uniform(u)[:, k]), law.log_prob(law.from_uniform(u))[:, k]
        )


def test_supports():
    assert (
        biject_to(GaussianCopula([normal(0.0, 1.0)] * 2, correlation=torch.eye(2)).support).domain.event_dim
        == 1
    )
    law = empirical()
    x = law.sample((5,))
    walked = biject_to(law.support)
    torch.testing.assert_close(walked(walked.inv(x)), x)
    moving = banana()
    assert moving.support.check(moving.sample((5,))).all()
    assert not moving.support.check(tensor(0.0, 1.0, 2.0))
    x = moving.sample((5,))
    walked = biject_to(moving.support)
    torch.testing.assert_close(walked(walked.inv(x)), x)
    fixed = Rosenblatt([dist.Gamma(tensor(2.0), tensor(1.0)), lambda x: dist.Gamma(x, torch.ones_like(x))])
    assert biject_to(fixed.support)(torch.zeros(2)).gt(0).all()
    assert fixed.support.base_constraint is constraints.positive or fixed.support.check(tensor(1.0, 1.0))


class TwoSkewed(pg.Pair):
    """z from a Gaussian copula of Gamma margins, x = z + noise; the guide is a copula too."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(2))
        self.raw = nn.Parameter(torch.tensor(0.0))

    def model(self, x=None, *context, n=1):
        margins = [dist.Gamma(torch.tensor(4.0), torch.tensor(2.0), validate_args=False)] * 2
        correlation = torch.tensor([[1.0, 0.9], [0.9, 1.0]])
        with pyro.plate("data", n if x is None else len(x)):
            law = GaussianCopula(margins, correlation=correlation, validate_args=False)
            z = pyro.sample("z", law)
            return pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(self, x=None, *context, n=1):
        rho = self.raw.tanh()
        correlation = torch.stack([torch.ones_like(rho), rho, rho, torch.ones_like(rho)]).reshape(2, 2)
        with pyro.plate("data", len(x)):
            mean = (x.clamp(min=0) * 0.3 + 1.4) * self.shift.exp()
            margins = [dist.LogNormal(mean[:, k].log(), 0.35, validate_args=False) for k in range(2)]
            pyro.sample("z", GaussianCopula(margins, correlation=correlation, validate_args=False))


def test_a_copula_as_prior_and_as_guide():
    pair = TwoSkewed()
    x = pair.sample(100, seed=1)
    pg.fit(
        pg.SVI(pair), x, steps=60, optimizer=lambda p: torch.optim.Adam(p, 0.05), seed=1, compile="eager",
        progress=False,
    )  # fmt: skip
    assert 0.5 < pair.raw.tanh().item() < 0.99  # the posterior keeps much of the prior's correlation


# Bad input.


@pytest.mark.parametrize(
    ("build", "kind", "message"),
    [
        (lambda: Rosenblatt([]), ValueError, "at least one conditional but got none"),
        (lambda: Rosenblatt([TWO[0], lambda x: x]), TypeError, "conditional 1 should give a law on the line"),
        (
            lambda: Rosenblatt([dist.Dirichlet(torch.ones(3))]),
            TypeError, "conditional 0 should give a law on the line",
        ),
        (lambda: Rosenblatt(TWO).from_uniform(torch.rand(3)), ValueError, "have 2 coordinates but has 3"),
        (lambda: Rosenblatt(TWO).from_uniform(torch.ones(2)), ValueError, r"inside \(0, 1\) but got 1.0"),
        (lambda: GaussianCopula(TWO), ValueError, "one of correlation and scale_tril .* but got neither"),
        (
            lambda: GaussianCopula(TWO, correlation=EYE, scale_tril=EYE),
            ValueError, "one of correlation and scale_tril .* but got both",
        ),
        (lambda: GaussianCopula(TWO[:1], correlation=EYE[:1, :1]), ValueError, "at least 2 margins but got"),
        (lambda: GaussianCopula(TWO, correlation=torch.eye(3)), ValueError, r"2, 2\) but has \(3, 3\)"),
        (lambda: GaussianCopula(TWO, correlation=2 * EYE), ValueError, "ones on its diagonal but is off"),
        (
            lambda: GaussianCopula(TWO, correlation=torch.tensor([[1.0, 2.0], [2.0, 1.0]])),
            ValueError, "correlation should be positive definite",
        ),
        (lambda: GaussianCopula(TWO, scale_tril=torch.ones(2, 2)), ValueError, "should be a Cholesky factor"),
        (lambda: GaussianCopula(TWO, scale_tril=2 * EYE), ValueError, "rows of length 1 but one is off by 3"),
        (
            lambda: GaussianCopula([dist.Poisson(1.0)] * 2, correlation=EYE),
            TypeError, "a law should be continuous, and on the line, but got Poisson",
        ),
        (lambda: EmpiricalCopula(torch.ones(5, 3), TWO), ValueError, r"n ≥ 2, but have \(5, 3\)"),
        (lambda: EmpiricalCopula(torch.ones(1, 2), TWO), ValueError, r"n ≥ 2, but have \(1, 2\)"),
        (lambda: EmpiricalCopula(torch.full((5, 2), math.nan), TWO), ValueError, "samples should be finite"),
    ],
)  # fmt: skip
def test_bad_input(build, kind, message):
    with pytest.raises(kind, match=message):
        build()


@pytest.mark.parametrize("empirical", [False, True])
def test_outside_the_density_is_0_without_validation_too(empirical):
    """And no gradient is NaN there."""
    rate = torch.tensor(1.5, dtype=float64, requires_grad=True)
    margins = [
        dist.Exponential(rate, validate_args=False),
        dist.Uniform(tensor(0.0), tensor(1.0), validate_args=False),
    ]
    if empirical:
        law = EmpiricalCopula(torch.eye(2).repeat(5, 1), margins, validate_args=False)
    else:
        law = GaussianCopula(margins, correlation=0.5 * EYE + 0.5, validate_args=False)
    x = tensor([[-1.0, 0.5], [1.0, 1.5], [-2.0, -0.5], [1.0, 0.5]])
    value = law.log_prob(x)
    assert torch.equal(value[:3], tensor([-math.inf] * 3))
    inside = law.log_prob(x[3:])
    assert torch.equal(value[3:], inside)
    (gradient,) = torch.autograd.grad(value[3], rate, retain_graph=True)
    (masked,) = torch.autograd.grad(value.sum(), rate)
    torch.testing.assert_close(masked, gradient)


def test_a_margin_may_be_a_mixture_of_uniform_laws():
    """Of which each has ends of its own, with a gap between them."""
    parts = dist.Uniform(tensor(0.0, 2.0), tensor(1.0, 3.0), validate_args=False)
    margin = dist.MixtureSameFamily(dist.Categorical(tensor(0.3, 0.7)), parts, validate_args=False)
    law = GaussianCopula([margin, dist.Normal(tensor(0.0), 1.0)], correlation=0.8 * EYE + 0.2)
    x = law.sample((20_000,), generator=torch.Generator().manual_seed(0))
    share = (x[:, 0] > 2).to(float64).mean()
    assert abs(share - 0.7) < 5 * math.sqrt(0.21 / len(x))
    assert not ((x[:, 0] > 1) & (x[:, 0] < 2)).any()
    # E log c(U) = −½ log(1 − ρ²), with variance ρ²
    margins = torch.where(x[:, 0] > 1, math.log(0.7), math.log(0.3)) + law.margins[1].log_prob(x[:, 1])
    dependence = (law.log_prob(x) - margins).mean()
    assert abs(dependence + 0.5 * math.log(1 - 0.2**2)) < 5 * 0.2 / math.sqrt(len(x))
