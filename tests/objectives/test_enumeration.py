"""Discrete sites by Pyro's enumeration: exact bounds, exact terms, per datum whatever the plates."""

import math

import pyro
import pyro.distributions as dist
import pyro.infer
import pytest
import torch
from torch import nn

from probgen import Pair
from probgen.objectives import ELBO, IWAE, SVI, Renyi
from tests.objectives.test_elbo import mean_and_error
from tests.pairs import LinearGaussian

enumerated = pyro.infer.TraceEnum_ELBO(max_plate_nesting=1)
PRIOR = (0.3, 0.7)


class Mixture(Pair):
    """k ~ Categorical(0.3, 0.7), x | k ~ N(m_k, 1), with k guided, or summed out by the model."""

    def __init__(self, where="guide", how="parallel", size=None):
        super().__init__()
        self.location = nn.Parameter(torch.tensor([-1.0, 2.0], dtype=torch.float64))
        self.logits = nn.Parameter(torch.tensor([0.4, 0.0], dtype=torch.float64))
        self.where, self.how, self.size = where, how, size

    def data(self, x):
        size = self.size or len(x)
        return pyro.plate("data", size, subsample=torch.arange(len(x), device=x.device))

    def model(self, x=None, *context, n=1):
        infer = {"enumerate": self.how} if self.where == "model" else {}
        with self.data(x):
            k = pyro.sample("k", dist.Categorical(self.location.new_tensor(PRIOR)), infer=infer)
            return pyro.sample("x", dist.Normal(self.location[k], 1.0), obs=x)

    def guide(self, x=None, *context, n=1):
        if self.where == "model":
            return None
        with self.data(x):
            return pyro.sample("k", dist.Categorical(logits=self.logits), infer={"enumerate": self.how})


@pytest.fixture
def x(device):
    return torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64, device=device)


def evidence(pair, x):
    law = dist.MixtureSameFamily(dist.Categorical(x.new_tensor(PRIOR)), dist.Normal(pair.location, 1.0))
    return law.log_prob(x).mean().detach()


@pytest.mark.parametrize("size", [None, 600])  # of the whole, of which x is a part
def test_what_the_guide_enumerates_is_reported_exactly(size, x):
    pair = Mixture(size=size).to(x.device)
    loss, terms = SVI(pair, enumerated)(x)
    q = pair.logits.softmax(0).detach()
    log_x = dist.Normal(pair.location.detach(), 1.0).log_prob(x[:, None])
    kl = (q * (q / q.new_tensor(PRIOR)).log()).sum()
    torch.testing.assert_close(terms["kl"], kl)
    torch.testing.assert_close(terms["reconstruction"], (log_x @ q).mean())
    torch.testing.assert_close(terms["elbo"], (log_x @ q).mean() - kl)
    torch.testing.assert_close(loss.detach(), -terms["elbo"])
    assert (float(terms["active"]), float(terms["inactive"])) == (1.0, 0.0)


@pytest.mark.parametrize("size", [None, 600])
def test_what_the_model_enumerates_is_summed_out_of_the_likelihood(size, x):
    pair = Mixture("model", size=size).to(x.device)
    loss, terms = SVI(pair, enumerated)(x)
    torch.testing.assert_close(-loss.detach(), evidence(pair, x))
    torch.testing.assert_close(terms["reconstruction"], evidence(pair, x))
    assert float(terms["kl"]) == 0.0


def test_one_value_after_the_other_reports_the_bound_alone(x):
    pair = Mixture(how="sequential").to(x.device)
    parallel = SVI(Mixture().to(x.device), enumerated)(x)[1]["elbo"]
    terms = SVI(pair, enumerated)(x)[1]
    assert list(terms) == ["elbo"]
    torch.testing.assert_close(terms["elbo"], parallel)


class Clusters(LinearGaussian):
    """k ~ Categorical, z | k ~ N(c_k, I), x | z, all guided: k first, then z given k."""

    def __init__(self, where="guide"):
        super().__init__()
        self.centre = nn.Parameter(torch.tensor([[-1.0, 0.0], [1.0, 0.5]]))
        self.logits = nn.Parameter(torch.tensor([0.4, 0.0]))
        self.where = where

    def model(self, x=None, *context, n=1):
        infer = {"enumerate": "parallel"} if self.where == "model" else {}
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(self.logits.new_tensor(PRIOR)), infer=infer)
            z = pyro.sample("z", dist.Normal(self.centre[k], 1.0).to_event(1))
            mean = z @ self.weight.T + self.bias
            return pyro.sample("x", dist.Normal(mean, self.log_sigma.exp()).to_event(1), obs=x)

    def laws(self, x):
        means = torch.stack([self.guide_map(x), self.guide_map(x) + 0.5])
        return dist.Normal(means, self.guide_log_scale.exp()).to_event(1)

    def guide(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            if self.where == "model":
                return pyro.sample("z", dist.Normal(self.guide_map(x), 1.0).to_event(1))
            k = pyro.sample("k", dist.Categorical(logits=self.logits), infer={"enumerate": "parallel"})
            mean = self.guide_map(x) + 0.5 * k.unsqueeze(-1)
            return pyro.sample("z", dist.Normal(mean, self.guide_log_scale.exp()).to_event(1))


@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.parametrize("vectorised", [False, True])
def test_the_kl_is_its_expectation_over_what_the_guide_enumerates(particles, vectorised, device):
    pair = Clusters().to(device).double()
    x = torch.randn(5, 3, dtype=torch.float64, device=device)
    elbo = pyro.infer.TraceEnum_ELBO(
        max_plate_nesting=1, num_particles=particles, vectorize_particles=vectorised
    )
    terms = SVI(pair, elbo)(x)[1]
    q = pair.logits.softmax(0).detach()
    prior = dist.Normal(pair.centre[:, None], 1.0).to_event(1).expand([2, 5])
    kl_z = torch.distributions.kl_divergence(pair.laws(x), prior).detach()
    torch.testing.assert_close(terms["kl/z"], (q @ kl_z).mean())
    torch.testing.assert_close(terms["kl/k"], (q * (q / q.new_tensor(PRIOR)).log()).sum())
    torch.testing.assert_close(terms["kl"], terms["kl/z"] + terms["kl/k"])
    torch.testing.assert_close(terms["elbo"], terms["reconstruction"] - terms["kl"])


def test_the_reconstruction_is_its_expectation_over_what_the_guide_enumerates(device):
    pair = Clusters().to(device).double()
    x = torch.randn(5, 3, dtype=torch.float64, device=device)
    with torch.no_grad():
        pair.guide_log_scale.fill_(-1.5)
    elbo = pyro.infer.TraceEnum_ELBO(max_plate_nesting=1, num_particles=100, vectorize_particles=True)
    found, error = mean_and_error(SVI(pair, elbo), x, "reconstruction", repeats=20)
    z = pair.laws(x).sample((4000,))
    log_x = dist.Normal(z @ pair.weight.T + pair.bias, pair.log_sigma.exp()).to_event(1).log_prob(x)
    values = (log_x * pair.logits.softmax(0)[:, None]).sum(1).mean(-1).detach()
    expected, other_error = float(values.mean()), float(values.std() / math.sqrt(4000))
    assert abs(found - expected) < 5 * math.hypot(error, other_error)
    assert error < 0.05  # power: the two clusters differ by more


class TwoPlates(Mixture):
    """k for each datum, and three x for each k in a plate of their own."""

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", len(x), dim=-1):
            k = pyro.sample("k", dist.Categorical(self.location.new_tensor(PRIOR)))
            with pyro.plate("repeats", 3, dim=-2):
                return pyro.sample("x", dist.Normal(self.location[k], 1.0), obs=x.expand(3, len(x)))


def test_inner_plates_are_weighed_by_what_is_enumerated_outside(x):
    pair = TwoPlates().to(x.device)
    terms = SVI(pair, pyro.infer.TraceEnum_ELBO(max_plate_nesting=2))(x)[1]
    q = pair.logits.softmax(0).detach()
    log_x = dist.Normal(pair.location.detach(), 1.0).log_prob(x[:, None])
    torch.testing.assert_close(terms["reconstruction"], 3 * (log_x @ q).mean())


class Nested(Mixture):
    """k for each datum, and j given k for each of its three repeats, both enumerated in the guide."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Parameter(torch.tensor([[0.2, 0.0], [-0.6, 0.0]], dtype=torch.float64))

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("k", dist.Categorical(self.location.new_tensor(PRIOR)))
            with pyro.plate("repeats", 3, dim=-2):
                j = pyro.sample("j", dist.Categorical(self.location.new_tensor(PRIOR)))
                return pyro.sample("x", dist.Normal(self.location[j], 1.0), obs=x.expand(3, len(x)))

    def guide(self, x=None, *context, n=1):
        how = {"enumerate": "parallel"}
        with pyro.plate("data", len(x), dim=-1):
            k = pyro.sample("k", dist.Categorical(logits=self.logits), infer=how)
            with pyro.plate("repeats", 3, dim=-2):
                pyro.sample("j", dist.Categorical(logits=self.inner[k]), infer=how)


def test_what_is_enumerated_in_an_inner_plate_weighs_only_there(x):
    pair = Nested().to(x.device)
    terms = SVI(pair, pyro.infer.TraceEnum_ELBO(max_plate_nesting=2))(x)[1]
    prior, q = x.new_tensor(PRIOR), pair.logits.softmax(0).detach()
    inner = pair.inner.softmax(1).detach()
    torch.testing.assert_close(terms["kl/k"], (q * (q / prior).log()).sum())
    torch.testing.assert_close(terms["kl/j"], 3 * (q * (inner * (inner / prior).log()).sum(1)).sum())
    log_x = dist.Normal(pair.location.detach(), 1.0).log_prob(x[:, None])
    torch.testing.assert_close(terms["reconstruction"], 3 * (log_x @ (q @ inner)).mean())


@pytest.mark.parametrize("elbo", [pyro.infer.Trace_ELBO(), pyro.infer.TraceMeanField_ELBO()], ids=type)
def test_the_other_bounds_of_pyro_report_the_same_terms(elbo, device):
    pair = LinearGaussian().to(device).double()
    x = torch.randn(5, 3, dtype=torch.float64, device=device)
    outcomes = []
    for bound in (ELBO(), elbo):
        torch.manual_seed(2)
        outcomes.append(SVI(pair, bound)(x)[1])
    ours, pyros = outcomes
    assert list(ours) == list(pyros)
    torch.testing.assert_close(pyros["elbo"], pyros["reconstruction"] - pyros["kl"])
    for term in ("kl", "active", "inactive"):
        torch.testing.assert_close(pyros[term], ours[term])
    if isinstance(elbo, pyro.infer.TraceMeanField_ELBO):
        torch.testing.assert_close(pyros, ours)


def test_the_posterior_of_a_discrete_site_is_named(x):
    with pytest.raises(ValueError, match=r"has \['k'\] alone, which log_likelihood sums out"):
        Mixture().to(x.device).posterior(x)


@pytest.mark.parametrize("elbo", [IWAE(2), Renyi(0.5)], ids=["iwae", "renyi"])
def test_a_discrete_site_that_weights_cannot_learn_is_named(elbo, x):
    sentence = "guide site 'k' should be reparameterised but Categorical has no rsample: where it has"
    with pytest.raises(ValueError, match=sentence):
        SVI(Mixture().to(x.device), elbo)(x)
