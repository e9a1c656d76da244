"""The VAE given a context: linear and Gaussian, against the conditional normal law in closed form."""

import math
from functools import partial

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from probgen import SVI, fit
from probgen.evaluation import input_use, log_likelihood
from probgen.evaluation.likelihood.importance import log_likelihoods
from probgen.models import VAE
from probgen.priors import Conditional
from probgen.training import schedules
from tests.pairs import ppca_best_evidence


class Linear(nn.Module):
    """(a, c) ↦ N(Aa + Bc + d, s²): one scale for all coordinates, or one for each."""

    def __init__(self, inputs, context, outputs, *, scales):
        super().__init__()
        self.linear = nn.Linear(inputs + context, outputs)
        self.log_scale = nn.Parameter(torch.full((scales,), -0.5))
        self.outputs = outputs

    def forward(self, a, c):
        c = c.expand(*a.shape[:-1], c.shape[-1])
        mean = self.linear(torch.cat([a, c], -1))
        return dist.Normal(mean, self.log_scale.exp().expand(self.outputs)).to_event(1)


def linear_pair(device):
    torch.manual_seed(0)
    prior = Conditional(Context(2, 2))
    vae = VAE(Linear(4, 2, 2, scales=2), Linear(2, 2, 4, scales=1), prior)
    return vae.double().to(device)


class Context(nn.Module):
    """A linear net of the context with as many blocks of numbers as a head asks for."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.outputs, self.linear = outputs, nn.Linear(inputs, outputs)

    def widen(self, factor):
        self.linear = nn.Linear(self.linear.in_features, factor * self.outputs)

    def forward(self, c):
        return self.linear(c)


def conditional(vae, x, c):
    """Return log p(x | c): N(A m(c) + Bc + d, A diag(s(c)²) Aᵀ + σ² I)."""
    weight, own = vae.decoder.linear.weight, vae.decoder.log_scale
    a, b = weight.split([2, 2], 1)
    law = vae.prior(c)
    mean = law.mean @ a.T + c @ b.T + vae.decoder.linear.bias
    covariance = (a * law.variance.unsqueeze(-2)) @ a.T + (2 * own).exp() * torch.eye(4).to(x)
    return dist.MultivariateNormal(mean, covariance).log_prob(x)


def data(device):
    generator = torch.Generator().manual_seed(1)
    normal = partial(torch.randn, generator=generator, dtype=torch.float64)
    c, z = normal(500, 2), normal(500, 2)
    x = c @ normal(2, 4) + z @ normal(2, 4) + 0.5 * normal(500, 4) + 1
    return x.to(device), c.to(device)


class Posterior(nn.Module):
    """p(z | x, c) of a linear pair, in closed form."""

    def __init__(self, vae):
        super().__init__()
        self.decoder, self.prior = vae.decoder, vae.prior

    def forward(self, x, c):
        a, b = self.decoder.linear.weight.split([2, 2], 1)
        prior, noise = self.prior(c), (2 * self.decoder.log_scale).exp()
        precision = prior.variance.reciprocal().diag_embed() + a.T @ a / noise
        linear = prior.mean / prior.variance + (x - c @ b.T - self.decoder.linear.bias) @ a / noise
        mean = torch.linalg.solve(precision, linear.unsqueeze(-1)).squeeze(-1)
        return dist.MultivariateNormal(mean, precision_matrix=precision)


def test_by_the_posterior_each_weight_is_the_conditional_density(device):
    """Mean and scale of the prior depend on c: log p(x, z | c) − log p(z | x, c) = log p(x | c)."""
    vae, (x, c) = linear_pair(device), data(device)
    with torch.no_grad():
        for weight in vae.prior.parameters():
            weight += 0.5 * torch.randn_like(weight)
        exact = conditional(vae, x, c)
    vae.encoder = Posterior(vae)
    torch.testing.assert_close(log_likelihoods(vae, x, c, particles=1, seed=0), exact)
    torch.testing.assert_close(-SVI(vae)(x, c)[0].detach(), exact.mean())
    shuffled = log_likelihoods(vae, x, c.flip(0), particles=1, seed=0)
    torch.testing.assert_close(shuffled, conditional(vae, x, c.flip(0)).detach())


def test_learned_it_is_the_best_regression_with_factors(device):
    """The best law of this family is least squares on c, and probabilistic PCA of what that leaves."""
    vae, (x, c) = linear_pair(device), data(device)
    rate = schedules.cosine(0.05, 1e-3, steps=600)
    options = {"steps": 600, "batch_size": 500, "schedules": {"lr": rate}, "seed": 0, "progress": False}
    fit(SVI(vae), (x, c), optimizer=partial(torch.optim.Adam, lr=0.05), **options)
    told = torch.cat([c, torch.ones(500, 1).to(c)], 1)
    left = x - told @ torch.linalg.lstsq(told, x).solution
    best = ppca_best_evidence(left.cpu(), 2)
    with torch.no_grad():
        evidence = conditional(vae, x, c).mean().item()
    assert best - 0.05 < evidence <= best + 0.02  # a scale of z that follows c may gain a little by chance
    assert log_likelihood(vae, x, c, particles=300, seed=0).value == pytest.approx(evidence, abs=0.02)
    use = input_use(vae, x, c)
    assert min(use.code.value, use.context.value) > 0.5
    assert math.isfinite(use.code.stderr)
