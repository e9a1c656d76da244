"""Discrete sites by the bounds themselves: weighed by the guide, or summed out of the model, against sums."""

import math

import pyro
import pyro.distributions as dist
import pyro.infer
import pytest
import torch
from pyro import poutine
from torch import nn

from probgen import Pair, sampling
from probgen.evaluation import guide_against_chains, log_likelihood, log_likelihoods
from probgen.objectives import ELBO, IWAE, SVI, BetaELBO, FreeBits, Renyi
from tests.objectives.test_enumeration import Mixture, Nested, TwoPlates

PRIOR = (0.3, 0.7)


class Clusters(Pair):
    """k ~ Categorical, z | k ~ N(c_k, 1), x | z ~ N(z, 0.8²); the guide has k and z given k, or z alone."""

    def __init__(self, *, guided, size=None):
        super().__init__()
        self.centre = nn.Parameter(torch.tensor([-1.5, 1.0], dtype=torch.float64))
        self.of_k = nn.Parameter(torch.tensor([[0.2, -0.4], [0.0, 0.3]], dtype=torch.float64))
        self.of_z = nn.Parameter(torch.tensor([0.5, -0.1, 0.2], dtype=torch.float64))
        self.guided, self.size = guided, size

    def data(self, x):
        return pyro.plate("data", self.size or len(x), subsample=torch.arange(len(x), device=x.device))

    def model(self, x=None, *context, n=1):
        with self.data(x):
            k = pyro.sample("k", dist.Categorical(x.new_tensor(PRIOR)))
            z = pyro.sample("z", dist.Normal(self.centre[k], 1.0))
            return pyro.sample("x", dist.Normal(z, 0.8), obs=x)

    def guide(self, x=None, *context, n=1):
        shift = 0.0
        with self.data(x):
            if self.guided:
                k = pyro.sample("k", dist.Categorical(logits=self.of_k[0] + self.of_k[1] * x[:, None]))
                shift = self.of_z[2] * k
            pyro.sample("z", dist.Normal(self.of_z[0] * x + self.of_z[1] + shift, 0.7))

    def evidence(self, x):
        law = dist.Normal(self.centre, math.sqrt(1 + 0.8**2))
        return dist.MixtureSameFamily(dist.Categorical(x.new_tensor(PRIOR)), law).log_prob(x)

    def prior(self, z):
        law = dist.Normal(self.centre, 1.0)
        return dist.MixtureSameFamily(dist.Categorical(z.new_tensor(PRIOR)), law).log_prob(z)

    def bound_over_z(self, x):
        """Return the KL from the mixture and E[log p(x | z)] of the guide without k, by a sum over a grid."""
        z = torch.linspace(-12, 12, 4001, dtype=x.dtype, device=x.device)[:, None]
        log_q = dist.Normal(self.of_z[0] * x + self.of_z[1], 0.7).log_prob(z)
        q = log_q.exp() * (z[1] - z[0])
        kl = (q * (log_q - self.prior(z))).sum(0).mean()
        return kl, (q * dist.Normal(z, 0.8).log_prob(x)).sum(0).mean()


PYROS = pyro.infer.TraceEnum_ELBO(max_plate_nesting=1)


@pytest.fixture
def x(device):
    return torch.tensor([0.0, 1.0, 3.0, -2.0], dtype=torch.float64, device=device)


@pytest.mark.parametrize("where", ["guide", "model"])
@pytest.mark.parametrize("size", [None, 600])
@pytest.mark.parametrize("particles", [1, 3])
def test_svi_finds_what_is_discrete_and_enumerates_it(where, size, particles, x):
    pair = Mixture(where, how=None, size=size).to(x.device)
    loss, terms = SVI(pair, ELBO(particles=particles))(x)
    expected, exact = SVI(Mixture(where, size=size).to(x.device), PYROS)(x)
    torch.testing.assert_close(terms, exact)
    for weight in ("location", "logits")[: 2 if where == "guide" else 1]:
        ours = torch.autograd.grad(loss, getattr(pair, weight), retain_graph=True)
        assert ours[0].abs().sum() > 0
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("bound", [BetaELBO(2.0), FreeBits(0.5)], ids=repr)
def test_weighted_bounds_of_what_is_enumerated(bound, x):
    pair = Mixture(how=None).to(x.device)
    loss, terms = SVI(pair, bound).to(x.device)(x)
    kl = float(terms["kl"])
    expected = (2 * kl if isinstance(bound, BetaELBO) else max(0.5, kl)) - float(terms["reconstruction"])
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("elbo", ["ours", "pyro"])
def test_what_depends_on_a_site_that_is_summed_out_is_told_apart(elbo, x):
    pair = Clusters(guided=False).to(x.device)
    kl, log_x = (part.detach() for part in pair.bound_over_z(x))
    torch.manual_seed(0)
    many = {"num_particles": 20_000, "vectorize_particles": True}
    marked = pyro.infer.config_enumerate(pair.model)
    bound = (
        ELBO(particles=20_000) if elbo == "ours" else pyro.infer.TraceEnum_ELBO(max_plate_nesting=1, **many)
    )
    if elbo == "pyro":
        pair.model = marked
    terms = SVI(pair, bound)(x)[1]
    assert abs(float(terms["kl"] - kl)) < 0.02  # 5 standard errors
    assert abs(float(terms["reconstruction"] - log_x)) < 0.04
    torch.testing.assert_close(terms["elbo"], terms["reconstruction"] - terms["kl"])


def test_inner_plates(x):
    for kind in (TwoPlates, Nested):
        pair = kind().to(x.device)
        exact = SVI(pair, pyro.infer.TraceEnum_ELBO(max_plate_nesting=2))(x)[1]
        torch.testing.assert_close(SVI(pair)(x)[1], exact)


class Many(Pair):
    """Forty tosses, each by itself; x is the last of them, with noise."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.linspace(-1, 1, 40, dtype=torch.float64))

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            ks = [pyro.sample(f"k{i}", dist.Bernoulli(x.new_tensor(0.5))) for i in range(40)]
            return pyro.sample("x", dist.Normal(ks[-1], 1.0), obs=x)

    def guide(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            for i in range(40):
                pyro.sample(f"k{i}", dist.Bernoulli(logits=self.logits[i]))


def test_many_sites_cost_what_they_depend_on(x):
    pair = Many().to(x.device)
    terms = SVI(pair)(x)[1]
    q = pair.logits.sigmoid().detach()
    kl = (q * (2 * q).log() + (1 - q) * (2 - 2 * q).log()).sum()
    last = q[-1] * dist.Normal(1.0, 1.0).log_prob(x) + (1 - q[-1]) * dist.Normal(0.0, 1.0).log_prob(x)
    torch.testing.assert_close(terms["kl"], kl)
    torch.testing.assert_close(terms["reconstruction"], last.mean())


def test_a_site_whose_probabilities_depend_on_another_is_weighed_by_both(x):
    class InTurn(Many):
        """k39 given k38: x depends on k39 alone, whose probabilities are those of both."""

        def guide(self, x=None, *context, n=1):
            before = 0.0
            with pyro.plate("data", len(x)):
                for i in range(40):
                    law = dist.Bernoulli(logits=self.logits[i] + (before if i == 39 else 0.0))
                    before = pyro.sample(f"k{i}", law)

    pair = InTurn().to(x.device)
    q = pair.logits.sigmoid().detach()
    last = q[38] * (pair.logits[39] + 1).sigmoid().detach() + (1 - q[38]) * q[39]
    log_x = last * dist.Normal(1.0, 1.0).log_prob(x) + (1 - last) * dist.Normal(0.0, 1.0).log_prob(x)
    torch.testing.assert_close(SVI(pair)(x)[1]["reconstruction"], log_x.mean())


@pytest.mark.parametrize("by_law", [False, True])
def test_a_mask_of_what_is_summed_out_leaves_its_probabilities(by_law, x):
    """Else the values of what is masked would count one each, and log 2 be added to the evidence."""

    class Masked(Mixture):
        def model(self, x=None, *context, n=1):
            seen = x < 2
            with self.data(x):
                law = dist.Categorical(self.location.new_tensor(PRIOR)).expand([len(x)])
                with poutine.mask(mask=True if by_law else seen):
                    k = pyro.sample("k", law.mask(seen) if by_law else law)
                with poutine.mask(mask=seen):
                    return pyro.sample("x", dist.Normal(self.location[k], 1.0), obs=x)

    pair = Masked("model").to(x.device)
    parts = dist.Normal(pair.location, 1.0).log_prob(x[:, None]) + x.new_tensor(PRIOR).log()
    exact = (parts.logsumexp(1) * (x < 2)).mean()
    torch.testing.assert_close(-SVI(pair)(x)[0], exact)
    assert log_likelihood(pair, x, particles=2).value == pytest.approx(float(exact.detach()), abs=1e-6)


def test_a_guide_in_pyro_markov_is_named(x):
    class Markov(Many):
        def guide(self, x=None, *context, n=1):
            with pyro.plate("data", len(x)):
                for i in pyro.markov(range(40)):
                    law = dist.Bernoulli(logits=self.logits[i])
                    pyro.sample(f"k{i}", law, infer={"enumerate": "parallel"})

    with pytest.raises(ValueError, match="guide site 'k2' should have a dimension of its own"):
        SVI(Markov().to(x.device))(x)


def test_too_many_combinations_are_named(x, monkeypatch):
    monkeypatch.setattr("probgen.objectives.enumeration.ELEMENTS", 2**10)

    class Sum(Many):
        def model(self, x=None, *context, n=1):
            with pyro.plate("data", len(x)):
                ks = [pyro.sample(f"k{i}", dist.Bernoulli(x.new_tensor(0.5))) for i in range(40)]
                return pyro.sample("x", dist.Normal(sum(ks[:10]), 1.0), obs=x)

    with pytest.raises(
        ValueError, match="site 'x' should depend on few values of discrete sites but depends"
    ):
        SVI(Sum().to(x.device))(x)


def test_a_site_outside_of_the_plate_on_which_it_depends_is_named(x):
    class Sums(Nested):
        def model(self, x=None, *context, n=1):
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("k", dist.Categorical(self.location.new_tensor(PRIOR)))
                with pyro.plate("repeats", 3, dim=-2):
                    j = pyro.sample("j", dist.Categorical(self.location.new_tensor(PRIOR)))
                mean = self.location[j].sum(-2, keepdim=True)
                return pyro.sample("x", dist.Normal(mean, 1.0), obs=x)

    with pytest.raises(ValueError, match="site 'x' should stand in the plates of 'j', on which it depends"):
        SVI(Sums().to(x.device))(x)


@pytest.mark.parametrize(
    "bound", [IWAE(400), IWAE(400, gradient="plain"), Renyi(0.0, particles=400)], ids=repr
)
def test_weights_of_a_model_that_is_summed_over(bound, x):
    pair = Clusters(guided=False).to(x.device)
    x = x[:2].repeat(50)
    torch.manual_seed(1)
    loss, terms = SVI(pair, bound)(x)
    assert abs(float(-loss.detach() - pair.evidence(x).mean().detach())) < 0.02
    kl, log_x = (part.detach() for part in pair.bound_over_z(x))
    assert abs(float(terms["elbo"] - (log_x - kl))) < 0.05
    exact = torch.autograd.grad(-pair.evidence(x).mean(), pair.centre)[0]
    assert (torch.autograd.grad(loss, pair.centre)[0] - exact).abs().max() < 0.03


@pytest.mark.parametrize("guided", [True, False])
def test_likelihoods_and_posteriors_sum_discrete_sites_out(guided, x):
    pair = Clusters(guided=guided).to(x.device)
    found = log_likelihood(pair, x, particles=20_000, seed=0)
    assert abs(found.value - float(pair.evidence(x).mean().detach())) < 0.03
    z = torch.randn(3, 2, 4, dtype=torch.float64, device=x.device)
    exact = pair.prior(z) + dist.Normal(z, 0.8).log_prob(x)
    torch.testing.assert_close(pair.posterior(x).log_prob(z), exact)


@pytest.mark.parametrize("guided", [True, False])
def test_a_site_of_one_value_adds_nothing(guided, x):
    class One(Clusters):
        def model(self, x=None, *context, n=1):
            with self.data(x):
                k = pyro.sample("k", dist.Categorical(x.new_ones(1)))
                z = pyro.sample("z", dist.Normal(self.centre[k], 1.0))
                return pyro.sample("x", dist.Normal(z, 0.8), obs=x)

        def guide(self, x=None, *context, n=1):
            with self.data(x):
                if self.guided:
                    pyro.sample("k", dist.Categorical(x.new_ones(len(x), 1)))
                pyro.sample("z", dist.Normal((x - 1.5 * 0.64) / 1.64, math.sqrt(0.64 / 1.64)))  # p(z | x)

    pair = One(guided=guided).to(x.device)
    exact = dist.Normal(-1.5, math.sqrt(1.64)).log_prob(x)
    torch.testing.assert_close(log_likelihoods(pair, x, particles=3, seed=0), exact)
    z = torch.randn(3, 2, 4, dtype=torch.float64, device=x.device)
    joint = dist.Normal(-1.5, 1.0).log_prob(z) + dist.Normal(z, 0.8).log_prob(x)
    torch.testing.assert_close(pair.posterior(x).log_prob(z), joint.detach())


def test_a_guide_is_held_against_chains_without_its_discrete_sites(x):
    class Exact(Clusters):
        def guide(self, x=None, *context, n=1):
            log_k = x.new_tensor(PRIOR).log() + dist.Normal(self.centre, 1.64**0.5).log_prob(x[:, None])
            with self.data(x):
                k = pyro.sample("k", dist.Categorical(logits=log_k))
                mean = (0.64 * self.centre[k] + x) / 1.64
                pyro.sample("z", dist.Normal(mean, (0.64 / 1.64) ** 0.5))

    pair, x = Exact(guided=True).to(x.device), x[1:3]
    exact = float(pair.evidence(x).mean().detach())
    assert log_likelihood(pair, x, particles=2).value == pytest.approx(exact, abs=1e-9)
    chains = sampling.sample(pair.posterior(x), draws=100, warmup=100, chains=2, seed=0, progress=False)
    found = guide_against_chains(pair, x, chains, particles=500, permutations=100)
    assert (found.rows.k_hat == -math.inf).all()  # equal weights
    assert found.rows.p_value.min() > 0.01 / 2


def test_the_first_call_leaves_noise_as_it_is(x):
    states = []
    for first in (True, False):
        pair = Clusters(guided=True).to(x.device)
        if not first:
            SVI(pair)(x)
        torch.manual_seed(0)
        states.append(float(SVI(pair)(x)[0].detach()))
    assert states[0] == states[1]


def test_infinitely_many_values_are_named(x):
    class Counts(Mixture):
        def model(self, x=None, *context, n=1):
            with self.data(x):
                k = pyro.sample("k", dist.Poisson(x.new_tensor(2.0)))
                return pyro.sample("x", dist.Normal(k, 1.0), obs=x)

        def guide(self, x=None, *context, n=1):
            with self.data(x):
                pyro.sample("k", dist.Poisson(x.new_tensor(2.0)))

    pair = Counts().to(x.device)
    with pytest.raises(
        ValueError, match="guide site 'k' should be reparameterised but Poisson has no rsample"
    ):
        SVI(pair)(x)
    with pytest.raises(ValueError, match="latent site for a density to walk on but has"):
        pair.posterior(x)
    k = torch.arange(40.0, dtype=x.dtype, device=x.device)[:, None]
    exact = (dist.Poisson(2.0).log_prob(k) + dist.Normal(k, 1.0).log_prob(x)).logsumexp(0).mean()
    assert log_likelihood(pair, x, particles=5000, seed=0).value == pytest.approx(float(exact), abs=0.1)
