"""Chains where values round at an end of their support: the right law, or a finding that says so."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import constraints, transforms

from probgen import Density
from probgen.core.density.at_positions import log_prob_at
from probgen.core.density.bijectors import bijector_of
from probgen.core.supports import support_of
from probgen.sampling import sample

float64 = torch.float64


def moved(law, loc, scale):
    return dist.TransformedDistribution(law, [transforms.AffineTransform(loc, scale)])


LAWS = {
    "beta": (dist.Beta, (0.1, 0.1), 0.5),
    "beta, high": (dist.Beta, (0.3, 0.08), 0.3 / 0.38),
    "beta on an interval": (dist.AffineBeta, (0.1, 0.2, 5.0, 2.0), 5 + 2 / 3),
    "gamma from 3 down": (lambda a, b: moved(dist.Gamma(a, b), 3.0, -2.0), (0.1, 0.5), 2.6),
    "beta from 1 to 6": (lambda a, b: moved(dist.Beta(a, b), 1.0, 5.0), (0.1, 0.2), 1 + 5 / 3),
    "beta, the other way": (lambda a, b: moved(dist.Beta(a, b), 1.0, -5.0), (0.1, 0.2), 1 - 5 / 3),
    "kumaraswamy": (dist.Kumaraswamy, (0.5, 0.1), None),
    "gamma": (dist.Gamma, (0.02, 0.5), 0.04),
    "weibull": (dist.Weibull, (1.0, 0.1), None),
    "inverse gamma": (dist.InverseGamma, (0.02, 1.0), None),
    "relaxed label": (lambda t, p: dist.RelaxedBernoulli(t, probs=p), (0.05, 0.3), None),
    "logit-normal": (
        lambda m, s: dist.TransformedDistribution(dist.Normal(m, s), [transforms.SigmoidTransform()]),
        (5.0, 30.0),
        None,
    ),
    "log-normal": (dist.LogNormal, (0.0, 60.0), None),
    "two betas": (
        lambda a, b: dist.MixtureSameFamily(
            dist.Categorical(torch.tensor([0.3, 0.7]).to(a)),
            dist.Beta(torch.stack([a, b]), torch.stack([b, a])),
        ),
        (0.1, 2.0),
        None,
    ),
    "uniform": (dist.Uniform, (-3.0, 2.0), -0.5),
}


def law_of(name, dtype):
    make, numbers, mean = LAWS[name]
    return make(*(torch.tensor(x, dtype=dtype) for x in numbers)), mean


@pytest.mark.parametrize("name", LAWS)
def test_a_law_at_positions_has_all_its_mass(name):
    """By quadrature on the line, to where values have long been rounded to an end; in float32 as well."""
    law, mean = law_of(name, float64)
    density = Density.from_distribution(law)
    middle, u = torch.linspace(-3, 3, 7, dtype=float64), torch.linspace(-1500, 1500, 600_001, dtype=float64)
    torch.testing.assert_close(log_prob_at(law, middle), law.log_prob(bijector_of(density.support)(middle)))
    mass = density.unconstrained_log_prob(u.unsqueeze(-1)).exp().nan_to_num()
    assert abs(torch.trapezoid(mass, u) - 1) < 1e-6
    if mean is not None:
        x = density.constrain(u.unsqueeze(-1))["x"]
        torch.testing.assert_close(
            torch.trapezoid(torch.where(mass > 0, mass * x, 0), u), torch.tensor(mean).to(u)
        )
    near = u[(mass > 1e-25) & (u.abs() < 700)][::1000]
    single = Density.from_distribution(law_of(name, torch.float32)[0])
    at = near.float().unsqueeze(-1).requires_grad_()
    log_prob = single.unconstrained_log_prob(at)
    torch.testing.assert_close(
        log_prob.double(), density.unconstrained_log_prob(at.detach().double()), rtol=2e-5, atol=2e-3
    )
    (gradient,) = torch.autograd.grad(log_prob.sum(), at)
    assert gradient.isfinite().all()


def volume_of(density, u):
    """Return the volume by automatic differentiation, in coordinates that are free."""
    size = density.shapes["x"][-1]

    def free(v):
        x = density.constrain(v)["x"]
        return x[:-1] if x.dim() == 1 and len(v) < size else x if x.dim() == 1 else x[below(size)]

    return torch.autograd.functional.jacobian(free, u).det().abs().log()


def below(size):
    return tuple(torch.tril_indices(size, size, -1))


VECTORS = {
    "dirichlet": lambda: dist.Dirichlet(torch.tensor([0.1, 0.5, 2.0, 1.0], dtype=float64)),
    "logistic normal": lambda: dist.LogisticNormal(*torch.rand(2, 3, dtype=float64)),
    "relaxed label": lambda: dist.RelaxedOneHotCategorical(
        torch.tensor(0.5, dtype=float64), probs=torch.tensor([0.2, 0.3, 0.5], dtype=float64)
    ),
    "ordered": lambda: dist.TransformedDistribution(
        dist.Normal(torch.zeros(3, dtype=float64), 1.0), dist.transforms.OrderedTransform()
    ),
    "correlation factor": lambda: dist.LKJCholesky(4, torch.tensor(0.3, dtype=float64)),
    "correlations": lambda: dist.LKJ(4, torch.tensor(0.3, dtype=float64)),
}


@pytest.mark.parametrize("name", VECTORS)
def test_vectors_at_positions(name):
    law = VECTORS[name]()
    density = Density.from_distribution(law)
    u = torch.randn(5, density.dim, dtype=float64)
    x = density.constrain(u)["x"]
    assert density.support.check(x).all()
    torch.testing.assert_close(density.unconstrain(x), u)
    torch.testing.assert_close(density.unconstrained_log_prob(u), law.log_prob(x) + density.log_volume(u))
    torch.testing.assert_close(density.log_volume(u[0]), volume_of(density, u[0]))


def test_no_corner_of_a_simplex_is_special():
    """In float32, at positions whose first, second or third coordinate rounds to 1."""
    density = Density.from_distribution(dist.Dirichlet(torch.full((3,), 0.1)))
    corners = 40 * torch.eye(3) - 40 / 3
    basis = torch.tensor([[1, -1, 0], [1, 1, -2]]) / torch.tensor([2.0, 6.0]).sqrt().unsqueeze(-1)
    u = corners @ basis.mT
    found = density.unconstrained_log_prob(u)
    torch.testing.assert_close(found, found[:1].expand(3))
    assert torch.equal(density.constrain(u)["x"], torch.eye(3).clamp(min=density.constrain(u)["x"].min()))


def z_of(draws, mean):
    of_chains = draws.double().mean(1)
    return (of_chains.mean(0) - mean) / (of_chains.std(0) / math.sqrt(len(of_chains)))


def short(density, generator):
    return sample(
        density, method="barker", warmup=250, draws=100, thin=3, compile="graph", generator=generator
    )


METHODS = ["hmc", "mala", "barker", "random_walk", "component_wise", "tempered", "stretch"]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_the_mean(method, dtype, generator):
    density = Density.from_distribution(dist.Beta(*torch.full((2, 2), 0.1, dtype=dtype)))
    chains = sample(density, method=method, warmup=250, draws=200, compile="graph", generator=generator)
    assert z_of(chains["x"], 0.5).abs().max() < 5
    assert not any("at an end" in words for words in chains.diagnose())


@pytest.mark.parametrize("name", [name for name, (_, _, mean) in LAWS.items() if mean is not None])
def test_every_law_has_its_mean(name, generator):
    law, mean = law_of(name, torch.float32)
    chains = short(Density.from_distribution(law), generator)
    assert abs(z_of(chains["x"], mean)) < 5


def test_a_dirichlet_has_its_mean(generator):
    shares = torch.tensor([0.1, 0.3, 0.05])
    chains = short(Density.from_distribution(dist.Dirichlet(shares)), generator)
    assert z_of(chains["x"], shares / shares.sum()).abs().max() < 5


def test_correlations_next_to_one(generator):
    """r² of two is Beta(1/2, η) under an LKJ law, and 1 − r² has mean η / (η + 1/2)."""
    density = Density.from_distribution(dist.LKJCholesky(2, torch.tensor(0.1)), name="L")
    chains = short(density, generator)
    assert abs(z_of(chains["L"][..., 1, 1] ** 2, 0.1 / 0.6)) < 5
    assert not any("at an end" in words for words in chains.diagnose())


def coins(heads):
    """p ~ Beta(.1, .1), thrown 20 times; q of a plate, and the support of r, in its own terms."""
    p = pyro.sample("p", dist.Beta(0.1, 0.1))
    with pyro.plate("others", 2):
        pyro.sample("q", dist.Beta(torch.tensor([0.3, 0.1]), 0.08))
    pyro.sample("shares", dist.Dirichlet(torch.full((2, 3), 0.1)).to_event(1))
    top = pyro.sample("top", dist.Uniform(1.0, 2.0))
    pyro.sample("r", dist.AffineBeta(0.1, 0.1, 0.0, top))
    pyro.sample("heads", dist.Binomial(20, p), obs=heads)


def test_priors_of_models(generator):
    heads = 20.0
    density = Density.from_model(coins, torch.tensor(heads))
    assert density.vectorised
    chains = short(density, generator)
    assert abs(z_of(1 - chains["p"].double(), (20.1 - heads) / 20.2)) < 5
    assert z_of(chains["q"], torch.tensor([0.3 / 0.38, 0.1 / 0.18])).abs().max() < 5
    assert z_of(chains["shares"], 1 / 3).abs().max() < 5
    assert abs(z_of(chains["r"] / chains["top"], 0.5)) < 5
    assert not any("at an end" in words for words in chains.diagnose())


def poles(x):
    return -0.9 * (x.log() + torch.log1p(-x))


@pytest.mark.parametrize(
    ("support", "log_prob"),
    [
        (constraints.unit_interval, poles),
        (constraints.interval(10.0, 11.0), lambda x: poles((x - 10).clamp(min=1e-30))),
        (constraints.half_open_interval(0.0, 1.0), poles),
    ],
    ids=["unit", "interval", "half-open"],
)
@pytest.mark.parametrize("method", ["hmc", "random_walk"])
def test_what_a_function_of_values_loses_is_told(support, log_prob, method, generator):
    density = Density(log_prob, support=support)
    chains = sample(density, method=method, warmup=200, draws=100, compile="graph", generator=generator)
    assert any(
        "of the draws of x lie at an end of its support, where float32" in w for w in chains.diagnose()
    )


def test_bounded_densities_are_no_finding(generator):
    density = Density(lambda x: x.log() + 2 * torch.log1p(-x), support=constraints.unit_interval)
    chains = sample(density, warmup=200, draws=200, compile="graph", generator=generator)
    assert chains.diagnose() == []
    assert abs(z_of(chains["x"], 2 / 5)) < 5


def test_what_a_factor_loses_under_a_known_prior_is_told(generator):
    """(1 - p)^-0.9 is a factor, which sees values; as a prior it is known at positions."""

    def model(power):
        p = pyro.sample("p", dist.Beta(1.0, 1.0 - power))
        pyro.factor("rest", (power - 0.9) * torch.log1p(-p))

    for power, told in ((0.0, True), (0.9, False)):
        chains = short(Density.from_model(model, power), generator)
        assert any("of the draws of p lie at an end" in w for w in chains.diagnose()) == told
        assert (abs(z_of(chains["p"], 1 / 1.1)) > 5) == told


def test_uniform_laws_of_a_batch(generator):
    law = dist.Uniform(torch.tensor([0.0, 1.0]), torch.tensor([2.0, 3.0]))
    density = Density.from_distribution(law)
    assert density.dim == 1
    assert z_of(short(density, generator)["x"], torch.tensor([1.0, 2.0])).abs().max() < 5


EXACT_SUPPORTS = {
    "from the shift on": (lambda: moved(dist.Gamma(2.0, 1.0), 3.0, 2.0), 3.0, None),
    "below the shift": (lambda: moved(dist.Exponential(1.0), 3.0, -2.0), None, 3.0),
    "an interval": (lambda: moved(dist.Uniform(0.0, 1.0), 1.0, -5.0), -4.0, 1.0),
    "the exponential of an interval": (
        lambda: dist.TransformedDistribution(dist.Uniform(0.0, 1.0), [transforms.ExpTransform()]),
        1.0,
        math.e,
    ),
    "the exponential of a half-line": (
        lambda: dist.TransformedDistribution(
            dist.Gamma(2.0, 1.0), [transforms.AffineTransform(0.0, -1.0), transforms.ExpTransform()]
        ),
        0.0,
        1.0,
    ),
    "reciprocals": (
        lambda: dist.TransformedDistribution(
            dist.Beta(2.0, 3.0), [transforms.PowerTransform(torch.tensor(-1.0))]
        ),
        1.0,
        None,
    ),
    "the logit of the unit interval": (
        lambda: dist.TransformedDistribution(dist.Uniform(0.0, 1.0), [transforms.SigmoidTransform().inv]),
        None,
        None,
    ),
    "a mixture of one support": (
        lambda: dist.MixtureSameFamily(
            dist.Categorical(torch.ones(3)), dist.Uniform(torch.zeros(3), torch.full((3,), 2.0))
        ),
        0.0,
        2.0,
    ),
}


@pytest.mark.parametrize(("make", "lower", "upper"), EXACT_SUPPORTS.values(), ids=EXACT_SUPPORTS)
def test_the_support_of_a_law_is_where_its_values_are(make, lower, upper):
    law = make()
    support = support_of(law)
    for name, end in (("lower_bound", lower), ("upper_bound", upper)):
        found = getattr(support, name, None)
        assert found is None if end is None else math.isclose(float(found), end, rel_tol=1e-6)
    x = law.sample((64,))
    density = Density.from_distribution(law)
    torch.testing.assert_close(density.constrain(density.unconstrain(x.unsqueeze(-1)[..., 0]))["x"], x)


@pytest.mark.parametrize(
    ("law", "words"),
    [
        (lambda: moved(dist.Dirichlet(torch.ones(3)), 0.0, 7.0), "a transformed Dirichlet should have"),
        (lambda: moved(dist.Poisson(2.0), 0.0, 7.0), "a transformed Poisson should have"),
        (lambda: moved(dist.Gamma(2.0, 1.0), 0.0, torch.tensor([1.0, -1.0])), "a transformed Gamma should"),
    ],
)
def test_a_support_that_is_not_known_is_refused(law, words):
    with pytest.raises(ValueError, match=words):
        Density.from_distribution(law())


def test_a_prior_whose_support_moves_with_another(generator):
    def model():
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        pyro.sample("x", moved(dist.Gamma(0.5, 1.0), a, -2.0))

    density = Density.from_model(model)
    assert density.vectorised
    chains = short(density, generator)
    assert abs(z_of(chains["a"] - chains["x"], 1.0)) < 5


MOVING = {
    "pareto": (lambda a, s: dist.Pareto(s, 1.5), lambda a, s: 4.5 * s.log() - s),
    "exponential": (lambda a, s: moved(dist.Exponential(1.0), a, 1.0), lambda a, s: 3 * a - a**2 / 2),
}


@pytest.mark.parametrize("name", MOVING)
def test_data_bound_what_moves_their_support(name, generator):
    """By quadrature: beyond the least datum the posterior is 0, where torch's laws have ever more density."""
    law, log_posterior = MOVING[name]
    data = torch.tensor([2.0, 3.0, 5.0])

    def model():
        s = pyro.sample("s", dist.Exponential(1.0))
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        with pyro.plate("data", 3):
            pyro.sample("y", law(a, s), obs=data)

    density, site = Density.from_model(model), "s" if name == "pareto" else "a"
    assert density.vectorised
    beyond = {n: torch.tensor([1.0, 2.1 if n == site else 1.0]) for n in ("s", "a")}
    assert density.log_prob(beyond).isfinite().tolist() == [True, False]
    grid = torch.linspace(1e-6 if site == "s" else -8, 2, 20_001, dtype=float64)
    weight = log_posterior(grid, grid).exp()
    mean = float((grid * weight).sum() / weight.sum())
    chains = sample(density, method="random_walk", warmup=200, draws=200, generator=generator)
    assert abs(z_of(chains[site], mean)) < 5


def test_data_outside_of_ends_that_do_not_move_are_refused():
    def model(y):
        p = pyro.sample("p", dist.Beta(1.0, 1.0))
        pyro.sample("y", dist.Binomial(torch.tensor(10.0), p), obs=torch.tensor(y))

    Density.from_model(model, 10.0)
    with pytest.raises(ValueError, match="site 'y' should observe values of its law's support"):
        Density.from_model(model, 2.5)
