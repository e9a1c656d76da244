"""Guides on sites of every form and law, held against draws from the posterior that is known."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

import probgen as pg
from probgen.evaluation import guide_against_chains, log_likelihoods
from probgen.sampling import Chains, RunState, sample

SHARES = torch.tensor([0.2, 0.3, 0.5])


class Story(pg.Pair):
    """A pair whose model and guide are functions of x, in the plate of the data."""

    def __init__(self, model, guide):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.parts = model, guide

    def model(self, x=None, n=1):
        with pyro.plate("data", len(x)):
            return self.parts[0](x)

    def guide(self, x=None, n=1):
        with pyro.plate("data", len(x)):
            self.parts[1](x)


def gamma_poisson(power):
    return Story(
        lambda x: pyro.sample("x", dist.Poisson(pyro.sample("z", dist.Gamma(2.0, 1.0))), obs=x),
        lambda x: pyro.sample("z", dist.Gamma((x + 2) * power, torch.tensor(2.0) * power)),
    )


def dirichlet(power):
    def guide(x):
        seen = torch.nn.functional.one_hot(x.long(), 3)
        pyro.sample("z", dist.Dirichlet((1 + seen) * power))

    return Story(
        lambda x: pyro.sample("x", dist.Categorical(pyro.sample("z", dist.Dirichlet(torch.ones(3)))), obs=x),
        guide,
    )


def angle(power):
    def guide(x):
        cosine, sine = 1 + 2 * x.cos(), 2 * x.sin()
        pyro.sample("z", dist.VonMises(torch.atan2(sine, cosine), torch.hypot(cosine, sine) * power))

    return Story(
        lambda x: pyro.sample("x", dist.VonMises(pyro.sample("z", dist.VonMises(0.0, 1.0)), 2.0), obs=x),
        guide,
    )


def component(power):
    def model(x):
        z = pyro.sample("z", dist.Categorical(SHARES))
        return pyro.sample("x", dist.Normal(z.float(), 1.0), obs=x)

    def guide(x):
        logits = SHARES.log() + dist.Normal(torch.arange(3.0), 1.0).log_prob(x[:, None])
        pyro.sample("z", dist.Categorical(logits=power * logits))

    return Story(model, guide)


def cholesky(power):
    def model(x):
        pyro.sample("z", dist.LKJCholesky(3, 2.0))
        return pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    return Story(model, lambda x: pyro.sample("z", dist.LKJCholesky(3, torch.full((len(x),), 2.0) * power)))


def two_sites(power):
    def model(x):
        rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
        pyro.sample("idle", dist.Normal(torch.zeros(2, 2), 1.0).to_event(2))
        return pyro.sample("x", dist.Poisson(rate), obs=x)

    def guide(x):
        pyro.sample("rate", dist.Gamma((x + 2) * power, torch.tensor(2.0) * power))
        pyro.sample("idle", dist.Normal(torch.zeros(len(x), 2, 2), power**-0.5).to_event(2))

    return Story(model, guide)


KINDS = {
    f.__name__: f for f in (gamma_poisson, dirichlet, angle, component, cholesky, two_sites)
}  # each maps a power to a pair whose guide is about the posterior to that power
X = torch.tensor([0.0, 1.0, 2.0])


def chains_of(guide):
    """Return 16 chains of 100 independent draws."""
    with torch.no_grad(), pyro.plate("draws", 1600, dim=-2):
        trace = poutine.trace(guide).get_trace(X)
    names = [name for name in trace.stochastic_nodes if name not in ("data", "draws")]
    draws = {name: trace.nodes[name]["value"].unflatten(0, (16, 100)) for name in names}
    shape = (16, 100, len(X))
    statistics = {"log_prob": torch.randn(shape), "acceptance": torch.full(shape, 0.6)}
    return Chains(draws, statistics=statistics, state=RunState(None, torch.empty(0)))


def of_the_guide(failures):
    return [failure for failure in failures if not failure.startswith("The chains")]


@pytest.mark.parametrize("kind", KINDS)
def test_the_posterior_is_found_right_and_another_law_is_not(kind):
    """The exact guide has equal weights; at alpha = 0.001 it is failed wrongly once in a thousand runs."""
    make = KINDS[kind]
    chains = chains_of(make(1.0).guide)
    exact = guide_against_chains(make(1.0), X, chains, particles=1000, permutations=1000)
    assert of_the_guide(exact.failures(alpha=0.001)) == []
    assert exact.rows.k_hat.tolist() == [-math.inf] * 3
    assert set(exact.numbers.row) == {0, 1, 2}
    finite = exact.numbers[["shift", "stderr", "sd_ratio"]]
    assert (finite.abs() < math.inf).all(axis=None)
    wrong = guide_against_chains(make(0.2), X, chains, particles=1000, permutations=1000)
    assert any("(MMD test)" in failure for failure in wrong.failures())


def test_chains_on_a_scalar_site_of_counts():
    """Data of whole numbers: the chains walk in the dtype in which the prior draws."""
    pair, x = gamma_poisson(1.0), torch.tensor([0, 1, 2])
    density = pair.posterior(x)
    assert density.dtype == torch.float32
    chains = sample(density, chains=16, warmup=150, draws=150, generator=torch.Generator().manual_seed(1))
    found = guide_against_chains(pair, x.float(), chains, particles=1000)
    assert of_the_guide(found.failures(alpha=0.001)) == []


def test_the_likelihood_of_a_guide_without_gradient():
    """p(x) = Σ_z p(z) p(x | z) of three components, by a guide of whole numbers."""
    x = torch.tensor([-1.0, 0.5, 4.0])
    with torch.no_grad():
        found = log_likelihoods(component(1.0), x, particles=50, seed=0)
    exact = (SHARES.log() + dist.Normal(torch.arange(3.0), 1.0).log_prob(x[:, None])).logsumexp(1)
    torch.testing.assert_close(found, exact)  # by the posterior all weights are p(x)


def test_few_values_of_a_discrete_site_are_no_heavy_tail():
    """Weights that take three values have no tail to fit, and are worth most of their draws."""
    chains = chains_of(component(1.0).guide)
    found = guide_against_chains(component(0.9), X, chains, particles=1000)
    assert found.rows.k_hat.tolist() == [math.inf] * 3
    assert (found.rows.ess > 0.9).all()
    assert not any("k-hat" in failure for failure in found.failures())


@pytest.mark.parametrize("size", [6, 50])
def test_an_exact_guide_is_exact_in_any_dimension(size):
    """log p − log q is rounding alone, which grows with the dimension."""

    def model(x):
        z = pyro.sample("z", dist.Normal(torch.zeros(size), 1.0).to_event(1))
        return pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    pair = Story(model, lambda x: pyro.sample("z", dist.Normal(x / 2, 0.5**0.5).to_event(1)))
    x = torch.randn(2, size)
    draws = {"z": (x / 2 + 0.5**0.5 * torch.randn(16, 20, 2, size))}
    statistics = {"log_prob": torch.randn(16, 20, 2), "acceptance": torch.full((16, 20, 2), 0.6)}
    chains = Chains(draws, statistics=statistics, state=RunState(None, torch.empty(0)))
    found = guide_against_chains(pair, x, chains, particles=500, permutations=10)
    assert found.rows.k_hat.tolist() == [-math.inf] * 2
    assert found.rows.ess.tolist() == pytest.approx([1.0] * 2)


def test_points_and_shared_sites_are_refused():
    point = Story(gamma_poisson(1.0).parts[0], lambda x: pyro.sample("z", dist.Delta(x + 1)))
    with pytest.raises(ValueError, match=r"guide site 'z' should be a law with a density but is a point"):
        log_likelihoods(point, X)

    class Shared(Story):
        def model(self, x=None, n=1):
            mean = pyro.sample("z", dist.Normal(0.0, 1.0))
            with pyro.plate("data", len(x)):
                return pyro.sample("x", dist.Normal(mean, 1.0), obs=x)

    pair = Shared(None, None)
    with pytest.raises(ValueError, match=r"'z' should have batch shape \(3,\).*Density.from_model knows"):
        pair.posterior(X)


def test_what_has_no_weight_is_told():
    outside = Story(gamma_poisson(1.0).parts[0], lambda x: pyro.sample("z", dist.Normal(-5.0 + 0 * x, 0.1)))
    chains = chains_of(gamma_poisson(1.0).guide)
    with (
        pyro.validation_enabled(False),
        pytest.raises(ValueError, match=r"log p\(x, z\) should be finite but is .* for row 1"),
    ):
        guide_against_chains(outside, X, chains)
    chains["z"][3, 4, 0] = math.nan
    with pytest.raises(ValueError, match=r"'z' should be finite but hold NaN .* at draw 4 of chain 3"):
        guide_against_chains(gamma_poisson(1.0), X, chains)
