"""Tokens: x of whole numbers goes through training, bounds, likelihood, posterior and calibration."""

import itertools
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from probgen import Pair, evaluation, nets, sampling
from probgen.data import MemoryMapped
from probgen.evaluation.likelihood.importance import log_likelihoods
from probgen.models import VAE
from probgen.objectives import ELBO, IWAE, SVI
from probgen.priors import StandardNormal
from probgen.training import fit

LENGTH, WORDS, COMPONENTS = 2, 3, 4
EVERY = torch.tensor(list(itertools.product(range(WORDS), repeat=LENGTH)))
"""All the sequences that there are, (9, 2)."""


class TokensHead(nn.Module):
    """p(x | z): independent tokens given z, event shape (LENGTH,)."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, z):
        logits = self.net(z).unflatten(-1, (LENGTH, WORDS))
        return dist.Categorical(logits=logits).to_event(1)


def vae(seed=0):
    """Return a VAE of tokens: an encoder that embeds them, a real code, a Categorical decoder."""
    torch.manual_seed(seed)
    embedding = nn.Sequential(nn.Embedding(WORDS, 4), nn.Flatten(-2))
    encoder = nets.NormalHead(nn.Sequential(embedding, nn.Linear(4 * LENGTH, 2)))
    return VAE(encoder, TokensHead(nn.Linear(1, LENGTH * WORDS)), prior=StandardNormal(1))


class Mixture(Pair):
    """A finite story, z among COMPONENTS, then tokens; all of it can be added up."""

    def __init__(self, *, exact=True):
        super().__init__()
        torch.manual_seed(3)
        self.weights = nn.Parameter(torch.randn(COMPONENTS))
        self.logits = nn.Parameter(torch.randn(COMPONENTS, LENGTH, WORDS))
        self.table = nn.Embedding(WORDS**LENGTH, COMPONENTS)
        self.exact = exact

    def joint(self, x):
        """Return log p(z, x) for each row and z, (n, COMPONENTS)."""
        words = self.logits.log_softmax(-1)[:, torch.arange(LENGTH), x].sum(-1)  # (COMPONENTS, n)
        return self.weights.log_softmax(-1) + words.mT

    def guide_logits(self, x):
        return self.joint(x) if self.exact else self.table(x[:, 0] * WORDS + x[:, 1])

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", n if x is None else len(x)) as rows:
            z = pyro.sample("z", dist.Categorical(logits=self.weights.expand(len(rows), -1)))
            return pyro.sample("x", dist.Categorical(logits=self.logits[z]).to_event(1), obs=x)

    def guide(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            return pyro.sample("z", dist.Categorical(logits=self.guide_logits(x)))


def exact(pair):
    """Return log p(x) of every sequence under a VAE with a code on the line, by quadrature."""
    z = torch.linspace(-9, 9, 2001, dtype=torch.float64)[:, None]
    with torch.no_grad():
        law = pair.decoder(z.to(torch.get_default_dtype()))
        log_p = dist.Normal(0.0, 1.0).log_prob(z) + law.log_prob(EVERY[:, None]).double().mT
    return torch.logsumexp(log_p, 0) + math.log(18 / 2000)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_the_likelihood_of_a_finite_story_is_what_adding_up_gives(dtype):
    pair = Mixture()
    evidence = pair.joint(EVERY).logsumexp(-1).detach()
    assert evidence.exp().sum().item() == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(log_likelihoods(pair, EVERY.to(dtype), particles=3), evidence)


def test_a_bound_of_a_finite_story_is_what_adding_up_gives():
    pair = Mixture(exact=False)
    joint, logits = pair.joint(EVERY).detach(), pair.table.weight.detach().log_softmax(-1)
    terms = SVI(pair)(EVERY)[1]
    torch.testing.assert_close(terms["elbo"], (logits.exp() * (joint - logits)).sum(-1).mean())
    found = log_likelihoods(pair, EVERY, particles=1)  # whatever the guide is, which is summed over
    torch.testing.assert_close(found, joint.logsumexp(-1))


def test_the_likelihood_of_a_vae_of_tokens_is_that_of_quadrature():
    pair = vae()
    with torch.no_grad():
        pair.encoder.net[1].weight.mul_(0.1)  # a guide near the prior, by whose draws weights vary little
    estimates = torch.stack([log_likelihoods(pair, EVERY, particles=2000, seed=s) for s in range(10)])
    error = estimates.std(0) / math.sqrt(10)
    bias = estimates.var(0) / 2
    assert ((estimates.mean(0).double() - exact(pair)).abs() < 6 * error + 2 * bias).all()
    assert (error < 0.02).all()
    stored = MemoryMapped(EVERY.numpy(), dtype=torch.int64)
    assert torch.equal(log_likelihoods(pair, stored, particles=20, seed=1),
                       log_likelihoods(pair, EVERY, particles=20, seed=1))  # fmt: skip


@pytest.mark.parametrize("elbo", [ELBO(), ELBO(particles=3), IWAE(4)], ids=["elbo", "particles", "iwae"])
def test_tokens_train_captured_to_the_bits_of_eager_and_resume(elbo, tmp_path):
    data = Mixture().sample(60, seed=1)
    assert data.dtype == torch.int64
    options = {"batch_size": 20, "seed": 2, "progress": False, "validation": data[:20]}
    runs = {}
    for mode in ("eager", "graph"):
        runs[mode] = vae()
        fit(SVI(runs[mode], elbo), data, steps=12, compile=mode, **options)
    fit(SVI(vae(), elbo), data, steps=7, compile="graph", checkpoint=tmp_path, **options)
    runs["resumed"] = vae()
    where = {"checkpoint": tmp_path, "resume": True}
    fit(SVI(runs["resumed"], elbo), data, steps=12, compile="graph", **where, **options)
    for name in ("graph", "resumed"):
        assert all(map(torch.equal, runs[name].parameters(), runs["eager"].parameters())), name
    draws = runs["graph"].sample(5, seed=1)
    assert draws.dtype == torch.int64
    assert draws.shape == (5, LENGTH)


def test_training_on_tokens_learns_their_law():
    data = EVERY[torch.multinomial(torch.tensor([6.0, 1, 1, 1, 6, 1, 1, 1, 6]), 600, replacement=True)]
    pair = vae()
    adam = lambda parameters: torch.optim.Adam(parameters, lr=0.03)  # noqa: E731
    before = exact(pair)[_number(data)].mean()
    fit(SVI(pair), data, steps=300, optimizer=adam, seed=0, progress=False, compile="graph")
    after = exact(pair)[_number(data)].mean()
    counts = torch.bincount(_number(data), minlength=9).double() / len(data)
    entropy = -(counts * counts.log()).sum()
    assert before < after < -entropy  # no law does better than the frequencies


def _number(x):
    return x[:, 0] * WORDS + x[:, 1]


def test_hmc_and_the_guide_see_the_posterior_of_tokens():
    pair = vae(seed=5)
    x = EVERY[[0, 5]]
    density = pair.posterior(x)
    assert density.dtype == torch.get_default_dtype()
    gen = torch.Generator().manual_seed(0)
    chains = sampling.sample(density, draws=200, chains=16, warmup=100, generator=gen, compile="eager")
    z = torch.linspace(-9, 9, 2001)[:, None]
    with torch.no_grad():
        log_p = dist.Normal(0.0, 1.0).log_prob(z) + pair.decoder(z).log_prob(x[:, None]).mT  # (z, row)
    weights = log_p.double().softmax(0)
    mean = (weights * z).sum(0)
    draws = chains["z"].double().reshape(-1, 2)
    sd = (weights * (z - mean).square()).sum(0).sqrt()
    assert ((draws.mean(0) - mean).abs() < 5 * sd / math.sqrt(300)).all()
    found = evaluation.guide_against_chains(pair, x, chains, particles=500, permutations=200)
    assert len(found.rows) == 2


def test_calibration_on_data_of_tokens():
    def story(words=None):
        z = pyro.sample("z", dist.Beta(2.0, 2.0))
        with pyro.plate("words", 5):
            return pyro.sample("x", dist.Bernoulli(z), obs=words)

    def infer(density, data):
        heads = data["x"].sum(-1)
        return {"z": dist.Beta(2 + heads, 7 - heads).sample((30,))}

    found = evaluation.simulation_based_calibration(story, infer=infer, observed=["x"], simulations=200)
    assert found.failures(alpha=1e-6) == []
