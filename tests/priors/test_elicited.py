"""Priors from quantiles, tables and draws: what is given comes back, and density, CDF and draws agree."""

import math

import pyro
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from torch.distributions import Gamma, LogNormal, Normal, constraints

from probgen import priors
from probgen.core import Density
from probgen.priors.monotone_spline import through
from probgen.sampling import truncate
from tests import laws

double = torch.float64
ASKED = {0.05: -1.0, 0.5: 0.6, 0.95: 3.0}
CASES = {
    "three": (ASKED, constraints.real),
    "skewed": ({0.01: -30.0, 0.1: -2.0, 0.4: 0.0, 0.6: 0.01, 0.9: 0.5, 0.999: 1.0}, constraints.real),
    "positive": ({0.1: 0.2, 0.5: 1.0, 0.9: 30.0}, constraints.positive),
    "share": ({0.25: 0.01, 0.5: 0.2, 0.75: 0.9}, constraints.unit_interval),
    "below": ({0.1: -50.0, 0.5: -1.0, 0.75: 2.9}, constraints.less_than(3.0)),
}
STEEP = {
    "steep and flat": ({0.05: 0.0, 0.5: 1e-6, 0.95: 1e6}, constraints.real),
    "levels close by": ({0.05: -10.0, 0.5: -0.01, 0.5001: 10.0, 0.95: 20.0}, constraints.real),
    "end at 0": ({0.05: -1000.0, 0.25: -10.0, 0.5: -1.0, 0.75: -0.1, 0.95: 0.0}, constraints.real),
}
EXACT = {
    "normal": (scipy.stats.norm(1, 2), Normal(1.0, 2.0), constraints.real),
    "log-normal": (scipy.stats.lognorm(0.7), LogNormal(0.0, 0.7), constraints.positive),
}


@pytest.fixture(params=CASES)
def case(request):
    quantiles, support = CASES[request.param]
    return quantiles, support, priors.from_quantiles(quantiles, support=support)


def test_quantiles_come_back(case):
    quantiles, _, law = case
    levels, values = (torch.tensor(list(part), dtype=double) for part in zip(*quantiles.items(), strict=True))
    torch.testing.assert_close(law.icdf(levels), values, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(law.cdf(values), levels, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("quantiles_and_support", (CASES | STEEP).values(), ids=CASES | STEEP)
def test_single_precision_keeps_its_digits_between_steep_and_flat(quantiles_and_support):
    quantiles, support = quantiles_and_support
    law = priors.from_quantiles(quantiles, support=support)
    wide = priors.from_quantiles(quantiles, support=support, dtype=double)
    x = wide.at_normal_scores(torch.linspace(-3, 3, 601, dtype=double)).float()
    x = x[support.check(x)]
    z = wide.normal_scores(x.double())
    torch.testing.assert_close(wide.at_normal_scores(z), x.double(), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(law.normal_scores(x).double(), z, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(law.log_prob(x).double(), wide.log_prob(x.double()), rtol=1e-5, atol=1e-5)


def test_the_density_is_the_slope_of_the_cdf(case):
    _, _, law = case
    tail = torch.logspace(-9, -1, 9, dtype=double)
    u = torch.cat([tail / 1000, tail, torch.linspace(0.11, 0.89, 30, dtype=double), 1 - tail.flip(0)[:6]])
    x = law.icdf(u).requires_grad_()
    (slope,) = torch.autograd.grad(law.cdf(x).sum(), x)
    torch.testing.assert_close(law.log_prob(x).exp(), slope, rtol=1e-6, atol=0)
    assert (slope > 0).all()


def test_the_density_integrates_to_one(case):
    _, _, law = case
    z = torch.linspace(-5.5, 5.5, 200_001, dtype=double)
    x = law.icdf(torch.special.ndtr(z))
    mass = torch.trapezoid(law.log_prob(x).exp(), x)
    assert mass.item() == pytest.approx(1, abs=1e-6)


def test_draws_have_the_law(case):
    _, _, law = case
    draws = law.sample((200_000,), generator=torch.Generator().manual_seed(1))

    def cdf(x):
        return law._log_tails(x)[0].exp()

    laws.check_goodness_of_fit(draws, cdf)
    laws.assert_power(draws, cdf, shift=0.25)
    laws.check_shapes(law, torch.float32)


def test_the_density_has_a_derivative_at_the_quantiles(case):
    quantiles, _, law = case
    x = torch.tensor(list(quantiles.values()), dtype=double)
    slopes = []
    for sign in (-1, 1):
        near = (x + sign * 1e-9 * x.abs()).requires_grad_()
        slopes.append(torch.autograd.grad(law.log_prob(near).sum(), near)[0])
    torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("levels", [(0.1, 0.6), (0.001, 0.2, 0.21, 0.5, 0.95)])
def test_quantiles_of_a_law_give_the_law(name, levels):
    exact, torchs, support = EXACT[name]
    law = priors.from_quantiles({u: float(exact.ppf(u)) for u in levels}, support=support, dtype=double)
    x = torch.as_tensor(exact.ppf([1e-30, 1e-6, 0.3, 0.9, 1 - 1e-12]))
    torch.testing.assert_close(law.log_prob(x), torch.as_tensor(exact.logpdf(x)), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(law.isf(torch.tensor(1e-40, dtype=double)), torch.tensor(exact.isf(1e-40)))
    assert law.mean.item() == pytest.approx(exact.mean(), rel=1e-10)
    assert law.variance.item() == pytest.approx(exact.var(), rel=1e-10)
    assert law.mean.dtype == double
    assert torchs.mean.item() == pytest.approx(law.mean.item(), rel=1e-6)


def test_a_batch_of_laws_has_gradients_to_its_quantiles():
    middle = torch.tensor([0.0, 1.0], dtype=double, requires_grad=True)
    law = priors.from_quantiles({0.1: middle - 1, 0.5: middle, 0.9: middle + 3})
    assert law.batch_shape == (2,)
    assert law.sample((3,)).dtype == double
    (gradient,) = torch.autograd.grad(law.icdf(torch.tensor(0.3)).sum(), middle, retain_graph=True)
    torch.testing.assert_close(gradient, torch.ones(2, dtype=double))
    x = torch.tensor([0.4, 0.4], dtype=double)
    (slope,) = torch.autograd.grad(law.log_prob(x).sum(), middle)
    step = 1e-6
    up, down = (
        priors.from_quantiles({0.1: m - 1, 0.5: m, 0.9: m + 3}).log_prob(x)
        for m in (middle.detach() + step, middle.detach() - step)
    )
    torch.testing.assert_close(slope, (up - down) / (2 * step), rtol=1e-6, atol=1e-6)


def test_the_spline_has_two_derivatives_and_an_inverse():
    generator = torch.Generator().manual_seed(2)
    z = torch.rand(9, dtype=double, generator=generator).cumsum(0) - 4
    y = (6 * torch.rand(3, 9, dtype=double, generator=generator)).exp().cumsum(-1)
    spline = through(z, y)
    grid = torch.linspace(-7, 7, 501, dtype=double)[:, None].expand(-1, 3)
    value, slope = spline.value(grid), spline.log_slope(grid).exp()
    near = grid.clone().requires_grad_()
    torch.testing.assert_close(
        torch.autograd.grad(spline.value(near).sum(), near)[0], slope, rtol=1e-9, atol=0
    )
    torch.testing.assert_close(spline.inverse(value), grid, rtol=1e-9, atol=1e-9)
    assert (slope > 0).all()
    bends = []
    for side in (-1e-10, 1e-10):
        near = (z + side)[:, None].expand(-1, 3).clone().requires_grad_()
        bends.append(torch.autograd.grad(spline.log_slope(near).exp().sum(), near)[0])
    torch.testing.assert_close(*bends, rtol=1e-5, atol=1e-4)


def test_truncation_is_exact():
    cut = truncate(priors.from_quantiles({0.1: -1.2815515655446004, 0.9: 1.2815515655446004}), 9.0)
    exact = truncate(Normal(0.0, 1.0), 9.0)
    u = torch.tensor([0.1, 0.9], dtype=double)
    torch.testing.assert_close(cut.icdf(u), exact.icdf(u), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("quantiles", "support", "message"),
    [
        ({0.5: 1.0}, constraints.real, "at least two levels"),
        ({0.5: 1.0, 1.0: 2.0}, constraints.real, r"inside \(0, 1\)"),
        ({0.1: 1.0, 0.9: 1.0}, constraints.real, "1.0 at 0.1 is followed by 1.0 at 0.9"),
        ({0.1: -1.0, 0.9: 1.0}, constraints.positive, "at 0.1 is -1.0"),
    ],
)
def test_quantiles_of_no_law_are_refused(quantiles, support, message):
    with pytest.raises(ValueError, match=message):
        priors.from_quantiles(quantiles, support=support)


def test_quantiles_are_a_mapping():
    for given in ([0.1, 0.2], {"5%": 1.0, "95%": 2.0}):
        with pytest.raises(TypeError, match="map levels to values"):
            priors.from_quantiles(given)


def test_chains_run_together_and_know_the_law():
    law = priors.from_quantiles(CASES["share"][0], support=constraints.unit_interval)
    density = Density.from_distribution(law)
    position = torch.linspace(-3, 3, 7)[:, None]
    expected = law.log_prob(density.constrain(position)["x"]) + density.log_volume(position)
    torch.testing.assert_close(density.unconstrained_log_prob(position), expected)


TABLE = (torch.tensor([0.0, 1.0, 2.0, 4.0, 5.0]), torch.tensor([0.0, 2.0, 2.0, 0.0, 1.0]))


def test_a_table_is_interpolated_and_normalised():
    law = priors.from_table(*TABLE)
    area = 1 + 2 + 2 + 0.5
    x = torch.tensor([0.5, 1.5, 3.0, 4.5], dtype=double)
    torch.testing.assert_close(law.log_prob(x).exp() * area, torch.tensor([1.0, 2.0, 1.0, 0.5], dtype=double))
    torch.testing.assert_close(law.cdf(x) * area, torch.tensor([0.25, 2.0, 4.5, 5.125], dtype=double))
    torch.testing.assert_close(law.icdf(law.cdf(x)), x)
    laws.check_goodness_of_fit(law.sample((200_000,), generator=torch.Generator().manual_seed(1)), law.cdf)
    laws.check_shapes(law, torch.float32)


def test_a_table_may_be_zero_for_a_while():
    law = priors.from_table([0, 1, 2, 3, 4, 5], [0, 0, 5e200, 0, 0, 0], dtype=double)
    assert law.mean.item() == pytest.approx(2)
    assert law.variance.item() == pytest.approx(1 / 6)
    assert law.entropy().item() == pytest.approx(0.5)
    assert law.log_prob(torch.tensor([0.5, 3.5])).tolist() == [-math.inf, -math.inf]


def test_a_table_may_be_of_numpy_and_lists():
    law = priors.from_table(TABLE[0].double().numpy(), TABLE[1].tolist())
    assert law.log_prob(torch.tensor(1.5)).exp().item() == pytest.approx(2 / 5.5)


@pytest.mark.parametrize(
    ("x", "density", "message"),
    [
        ([0.0, 1.0], [1.0], "as many"),
        ([0.0, 0.0], [1.0, 1.0], "increase"),
        ([0.0, 1.0], [1.0, -1.0], "not negative"),
        ([0.0, 1.0], [0.0, 0.0], "above 0 somewhere"),
    ],
)
def test_tables_of_no_density_are_refused(x, density, message):
    with pytest.raises(ValueError, match=message):
        priors.from_table(x, density)


def test_draws_give_a_law_of_their_mean_and_covariance():
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(500, 3, generator=generator) @ torch.tensor([[1.0, 0.8, 0], [0, 0.5, 9], [0, 0, 20]])
    law = priors.from_draws(draws)
    assert (law.batch_shape, law.event_shape) == ((), (3,))
    torch.testing.assert_close(law.mean, draws.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(law.variance, draws.var(0, correction=0), rtol=1e-4, atol=1e-4)
    again = law.sample((30_000,))
    root = torch.linalg.cholesky(draws.T.cov(correction=0))
    spread = torch.linalg.solve_triangular(root, (again - again.mean(0)).T, upper=False).cov()
    torch.testing.assert_close(spread, torch.eye(3), rtol=0.03, atol=0.03)


def test_draws_inside_a_support_stay_inside():
    draws = Gamma(3.0, 1.0).sample((500,))
    law = priors.from_draws(draws, support=constraints.positive)
    x = torch.linspace(1e-3, 60, 3_001, dtype=double)
    density = law.log_prob(x).exp()
    assert torch.trapezoid(density, x).item() == pytest.approx(1, abs=2e-3)
    gap = (density - torch.as_tensor(scipy.stats.gamma(3).pdf(x))).abs()
    assert torch.trapezoid(gap, x).item() < 0.15
    assert (law.sample((1000,)) > 0).all()


def test_draws_of_a_few_points_are_refused():
    with pytest.raises(ValueError, match="differ"):
        priors.from_draws(torch.ones(50))
    for hold, support in (
        ([1.0, -1.0], constraints.positive),
        ([0.0, 0.3, 0.4], constraints.unit_interval),  # at an end, where no number of the line is
        ([0.0, 0.3, 0.4], constraints.nonnegative),
    ):
        with pytest.raises(ValueError, match="inside the support"):
            priors.from_draws(torch.tensor(hold), support=support)
    assert math.isfinite(priors.from_draws([0.0, 1.0, 3.0]).log_prob(torch.tensor(0.0)))


def test_quantiles_may_hang_on_latent_sites():
    """In a hierarchical model, many chains in one run."""

    def model():
        middle = pyro.sample("middle", dist.Normal(0.0, 1.0))
        pyro.sample("x", priors.from_quantiles({0.1: middle - 1, 0.5: middle, 0.9: middle + 3}))

    density = Density.from_model(model)
    assert density.vectorised
    position = torch.tensor([[0.3, 0.7], [-1.0, -2.0]])
    torch.testing.assert_close(
        density.unconstrained_log_prob(position), Normal(0.0, 1.0).log_prob(position).sum(-1)
    )
    values = density.constrain(position)
    law = priors.from_quantiles({0.1: -1.0, 0.5: 0.0, 0.9: 3.0})
    expected = law.icdf(torch.special.ndtr(position[:, 1]))
    torch.testing.assert_close(values["x"] - values["middle"], expected)
