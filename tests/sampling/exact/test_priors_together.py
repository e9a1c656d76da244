"""Laws of one's own as priors: many chains in one run, with the values that single runs give."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import constraints

from probgen import sampling
from probgen.core import Density
from probgen.sampling import Empirical, EmpiricalCopula, GaussianCopula, InverseCDF, Rosenblatt, truncate

CORRELATION = torch.tensor([[1.0, 0.5], [0.5, 1.0]])
NORMAL = dist.Normal(0.0, 1.0)
DATA = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
MADE_ONCE = InverseCDF(log_prob=lambda x: -(x.abs() ** 3))


def power(a):
    return InverseCDF(log_prob=lambda x: -(x.abs() ** a))


def logistic(a):
    return {"cdf": lambda x: torch.sigmoid(x / a), "icdf": lambda u: a * torch.logit(u)}


def with_margin(margin):
    return GaussianCopula([margin, NORMAL], correlation=CORRELATION)


def funnel(a):
    def second(y):
        return InverseCDF(log_prob=lambda x: -((x - y).abs() ** a), batch_shape=y.shape)

    return Rosenblatt([NORMAL, second])


def triangle(a):
    return Rosenblatt([dist.Uniform(0.0, 1.0), lambda x: dist.Uniform(-a * x, x)])


def two_normals(a):
    return dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), dist.Normal(torch.tensor([-2.0, 2.0]), a))


def two_intervals(a):
    ends = torch.stack([-1 + 0 * a, a, 3 + a])
    parts = dist.Uniform(ends[:2], ends[1:], validate_args=False)
    return dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), parts, validate_args=False)


def turned(law, scale):
    return dist.TransformedDistribution(law, [dist.transforms.AffineTransform(0.0, scale)])


def bell(a):
    return lambda x: -a * x**2 / 2


def bell_area(a):
    return (2 * math.pi / a).log() / 2


LAWS = {
    "log-density": power,
    "log-density of a batch": lambda a: InverseCDF(
        log_prob=lambda x: -(x.abs() ** (a + torch.arange(2.0))), batch_shape=(2,)
    ).to_event(1),
    "log-density on an interval": lambda a: InverseCDF(
        log_prob=lambda x: -a * x, support=constraints.interval(0.0, 3.0)
    ),
    "truncated log-density": lambda a: truncate(power(a), -0.5, 2.0),
    "truncated at a latent end": lambda a: truncate(NORMAL, -a),
    "log-density truncated at a latent end": lambda a: truncate(MADE_ONCE, -a, 1.0),
    "CDF": lambda a: InverseCDF(cdf=logistic(a)["cdf"]),
    "quantile function": lambda a: InverseCDF(icdf=logistic(a)["icdf"]),
    "Gamma": lambda a: sampling.Gamma(a, torch.tensor(1.0)),
    "truncated Beta": lambda a: truncate(dist.Beta(a, 1.0), 0.2, 0.9),
    "truncated normal": lambda a: truncate(dist.Normal(a, 1.0), -1.0, 2.0),
    "copula of Gamma": lambda a: with_margin(dist.Gamma(a, a)),
    "copula of Beta": lambda a: with_margin(dist.Beta(a, a)),
    "copula of a log-density": lambda a: with_margin(MADE_ONCE),
    "copula of hierarchical log-densities": lambda a: with_margin(power(a)),
    "copula of a CDF": lambda a: with_margin(InverseCDF(cdf=logistic(a)["cdf"])),
    "copula of Weibull and Pareto": lambda a: GaussianCopula(
        [dist.Weibull(torch.tensor(1.0), a), dist.Pareto(a / 10, a)], correlation=CORRELATION
    ),
    "copula of a law that is turned round": lambda a: with_margin(turned(dist.Gumbel(0.0, 1.0), 1.6 - a)),
    "copula of a mixture": lambda a: with_margin(two_normals(a)),
    "copula of a mixture of uniform laws": lambda a: with_margin(two_intervals(a / 10)),
    "copula with a learned correlation": lambda a: GaussianCopula(
        [NORMAL, NORMAL], correlation=torch.eye(2) + a.tanh() * (1 - torch.eye(2))
    ),
    "empirical copula": lambda a: EmpiricalCopula(DATA, [dist.Beta(a, 1.0), dist.Gamma(a, a)]),
    "empirical copula with ties": lambda a: EmpiricalCopula(DATA.round(), [NORMAL, dist.Gamma(a, a)]),
    "Rosenblatt": funnel,
    "Rosenblatt with moving support": triangle,
    "adaptive rejection": lambda a: sampling.AdaptiveRejection(bell(a), log_normaliser=bell_area(a)),
    "ratio of uniforms": lambda a: sampling.RatioOfUniforms(bell(a), log_normaliser=bell_area(a)),
    "rejection": lambda a: sampling.Rejection(
        bell(a), proposal=dist.Cauchy(0.0, 1.0), log_bound=4.0, log_normaliser=bell_area(a)
    ),
    "transformed density rejection": lambda a: sampling.TransformedDensityRejection(bell(a)),
    "smoothed sample": lambda a: Empirical(DATA[:, 0]).smoothed(a),
}


def model_of(law):
    def model():
        a = pyro.sample("a", dist.Gamma(20.0, 10.0))
        pyro.sample("x", law(a))

    return model


@pytest.mark.parametrize("name", LAWS)
def test_one_run_evaluates_all_chains(name):
    """It gives what one law after the other gives, and all derivatives."""
    density = Density.from_model(model_of(LAWS[name]))
    assert density.vectorised
    position = 0.4 * torch.randn(3, density.dim, generator=torch.Generator().manual_seed(1))
    together, alone = position.clone().requires_grad_(), position.clone().requires_grad_()
    values = density.unconstrained_log_prob(together)
    density.vectorised = False
    expected = density.unconstrained_log_prob(alone)
    torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-4)
    values.sum().backward()
    expected.sum().backward()
    assert together.grad.isfinite().all()
    torch.testing.assert_close(together.grad, alone.grad, rtol=1e-3, atol=1e-3)


def correlated(*margins):
    return GaussianCopula(list(margins), correlation=CORRELATION.double())


MOVING = {  # laws whose supports have ends that depend on a
    "low": lambda a: truncate(dist.Normal(0 * a, 1.0), a - 2),
    "high": lambda a: truncate(dist.Normal(0 * a, 1.0), high=a),
    "both": lambda a: truncate(dist.StudentT(3 + 0 * a), a - 3, a),
    "of the law": lambda a: truncate(dist.Uniform(0 * a, a), 0.1),
    "of the law, a scale": lambda a: truncate(dist.Pareto(a, 2 + 0 * a), high=9.0),
    "twice": lambda a: truncate(truncate(dist.Normal(0 * a, 1.0), -a), high=1 + a),
    "of a log-density": lambda a: truncate(InverseCDF(log_prob=lambda x: -(x**4), dtype=a.dtype), a - 2),
    "of a margin": lambda a: correlated(truncate(dist.Normal(0 * a, 1.0), -a), dist.Gamma(1 + a, 1.0)),
    "of a condition": lambda a: Rosenblatt([
        dist.Gamma(a, 1.0 + 0 * a), lambda x: truncate(dist.Normal(0 * x, 1.0), x - 2)
    ]),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVING)
def test_where_a_support_moves_its_ends_have_gradients(name):
    """The gradient at positions on the line is the slope of the values there."""

    def model():
        a = pyro.sample("a", dist.Gamma(torch.tensor(20.0, dtype=torch.float64), 10.0))
        pyro.sample("x", MOVING[name](a))

    density = Density.from_model(model)
    assert density.vectorised
    start = torch.randn(4, density.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    start = (0.4 * start).requires_grad_()
    (gradient,) = torch.autograd.grad(density.unconstrained_log_prob(start).sum(), start)
    with torch.no_grad():
        steps = 1e-5 * torch.eye(density.dim, dtype=torch.float64)[:, None]
        higher, lower = (density.unconstrained_log_prob(start + step * steps) for step in (1, -1))
    torch.testing.assert_close(gradient, (higher - lower).T / 2e-5, rtol=1e-6, atol=1e-6)


def test_gradients_of_many_laws_at_once():
    """vmap of grad, as each law by itself."""
    low = torch.tensor([-1.0, 0.3, 2.0], dtype=torch.float64)

    def score(low):
        law = correlated(truncate(dist.Normal(0 * low, 1.0), low), dist.Weibull(1.0, low.exp()))
        return law.log_prob(torch.tensor([2.5, 0.7], dtype=torch.float64))

    with pyro.validation_enabled(False):
        found = torch.vmap(torch.func.grad(score))(low)
        alone = torch.stack([torch.func.grad(score)(one) for one in low])
    torch.testing.assert_close(found, alone, rtol=1e-12, atol=1e-12)


def test_a_hierarchical_log_density_is_normalised():
    """∫ exp(−|x|ᵃ) dx = 2 Γ(1 + 1/a), whatever the other chains have."""
    a = torch.tensor([0.3, 0.375, 0.5, 1.0, 2.0, 8.0], dtype=torch.float64, requires_grad=True)

    def log_prob(a):
        law = InverseCDF(log_prob=lambda x: -(x.abs() ** a), validate_args=False)
        return law.log_prob(torch.tensor(0.5, dtype=torch.float64))

    expected = -(0.5**a) - math.log(2) - torch.lgamma(1 + 1 / a)
    slopes = torch.autograd.grad(expected.sum(), a)[0]
    for values in (torch.vmap(log_prob)(a), torch.stack([log_prob(one) for one in a])):
        torch.testing.assert_close(values, expected, rtol=1e-7, atol=1e-7)
        torch.testing.assert_close(torch.autograd.grad(values.sum(), a)[0], slopes, rtol=1e-4, atol=1e-4)


def test_discrete_probabilities_that_are_latent():
    """The number is summed out: p(y | q) = Σ_k q_k N(y; k, 1)."""

    def model():
        q = pyro.sample("q", dist.Dirichlet(torch.ones(3)))
        k = pyro.sample("k", sampling.DiscreteInverse(q))
        pyro.sample("y", dist.Normal(k.to(torch.float32), 1.0), obs=torch.tensor(1.2))

    density = Density.from_model(model)
    assert density.vectorised
    q = dist.Dirichlet(torch.ones(3)).sample((5,))
    each = dist.Normal(torch.arange(3.0), 1.0).log_prob(torch.tensor(1.2))
    expected = dist.Dirichlet(torch.ones(3)).log_prob(q) + (q.log() + each).logsumexp(-1)
    torch.testing.assert_close(density.log_prob({"q": q}), expected)


def test_a_law_whose_support_moves_can_be_walked_on():
    """T(u) in turn, with its volume; chains have the law of exact draws."""
    law = Rosenblatt([
        dist.Uniform(0.0, 1.0), lambda x: dist.Uniform(0 * x, x), lambda x, y: dist.Gamma(1 + x, 1 + 0 * y)
    ])  # fmt: skip
    density = Density.from_distribution(law)
    u = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x = density.constrain(u)["x"]
    assert law.support.check(x).all()
    torch.testing.assert_close(density.unconstrain(x), u)
    for row, volume in zip(u, density.log_volume(u), strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda u: density.constrain(u)["x"], row)
        torch.testing.assert_close(volume, jacobian.det().abs().log())
    torch.testing.assert_close(
        density.unconstrained_log_prob(u), law.log_prob(x) + density.log_volume(u), rtol=1e-12, atol=1e-12
    )
    assert torch.equal(law.support.check(x.flip(-1)), (x.flip(-1)[:, 0] < 1) & (x[:, 1] < x[:, 2]))
    generator = torch.Generator().manual_seed(2)
    chains = sampling.sample(density, chains=200, warmup=150, draws=1, generator=generator, progress=False)
    drawn, exact = chains["x"].flatten(0, -2), law.sample((20_000,), generator=generator)
    error = (drawn.std(0).square() / len(drawn) + exact.std(0).square() / len(exact)).sqrt()
    assert ((drawn.mean(0) - exact.mean(0)) / error).abs().max() < 5


def test_normalisers_of_many_chains_are_right_also_at_sharp_kinks():
    """exp(−|x|^a) has the integral 2 Γ(1 + 1 / a), whose logarithm has the derivative −ψ(1 + 1 / a) / a²."""
    a = torch.linspace(0.3, 6.0, 64, dtype=torch.float64, requires_grad=True)

    def log_normaliser(a):
        law = InverseCDF(log_prob=lambda x: -(x.abs() ** a), validate_args=False)
        return -law.log_prob(torch.zeros((), dtype=torch.float64))

    found = torch.vmap(log_normaliser)(a)
    (slope,) = torch.autograd.grad(found.sum(), a)
    a = a.detach()
    truth = math.log(2) + torch.lgamma(1 + 1 / a)
    torch.testing.assert_close(found.detach(), truth, rtol=0, atol=1e-11)
    torch.testing.assert_close(slope, -torch.digamma(1 + 1 / a) / a**2, rtol=0, atol=1e-10)


def test_a_prior_of_64_chains_is_looked_at_in_few_places():
    places = 0

    def model():
        a = pyro.sample("a", dist.Gamma(20.0, 10.0))

        def log_prob(x):
            nonlocal places
            places += x.numel()
            return -(x.abs() ** a)

        pyro.sample("x", InverseCDF(log_prob=log_prob))

    density = Density.from_model(model)
    positions = 0.3 * torch.randn(64, density.dim, generator=torch.Generator().manual_seed(0))
    places = 0
    density.unconstrained_log_prob(positions)
    assert 0 < places < 20_000  # for each chain
