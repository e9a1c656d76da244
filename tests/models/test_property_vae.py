"""Sequences with properties: bounds against quadrature, and codes that tell what they were told."""

import math

import pyro.distributions as dist
import pytest
import torch

from probgen import data, fit, nets, priors
from probgen.data import END, PAD
from probgen.evaluation.likelihood.importance import log_likelihoods
from probgen.models import PropertyVAE
from probgen.objectives import SVI

SIZE, STEPS = 6, 5
X = torch.tensor([[2, 3, END, PAD, PAD], [4, 4, 5, 2, END], [END, PAD, PAD, PAD, PAD]])
Y = torch.tensor([[0.5, -1.0], [2.0, 0.3], [0.0, 0.0]])


def vae(latent=1, **options):
    torch.manual_seed(0)
    return PropertyVAE(
        nets.NormalHead(nets.TokenReader(SIZE, latent, width=8, embedding=8)),
        priors.Sentences(nets.TokenGRU(SIZE, STEPS, context=latent, width=16, embedding=8, **options)),
        head=nets.NormalHead(nets.MLP(latent, 2, hidden=(8,)), scale="shared"),
    )


@pytest.mark.parametrize("told", [True, False])
def test_the_likelihood_of_both_and_of_sequences_alone_is_that_of_quadrature(told):
    pair = vae().eval()
    z = torch.linspace(-8, 8, 801)[:, None]
    with torch.no_grad():
        log_p = dist.Normal(0.0, 1.0).log_prob(z) + pair.decoder(z).log_prob(X[:, None]).T
        if told:
            log_p = log_p + pair.head(z).log_prob(Y[:, None]).T
    exact = torch.logsumexp(log_p.double(), 0) + math.log(16 / 800)
    context = (Y,) if told else ()
    estimates = torch.stack(
        [log_likelihoods(pair, X, *context, particles=2000, seed=s) for s in range(5)]
    ).double()
    assert ((estimates.mean(0) - exact).abs() < 0.03).all()


def test_lengths_beside_properties_change_nothing():
    pair = vae().eval()
    losses = []
    for context in ((Y,), (data.lengths_of(X), Y)):
        torch.manual_seed(1)
        losses.append(float(SVI(pair)(X, *context)[0].detach()))
    assert losses[0] == losses[1]
    with pytest.raises(ValueError, match="a row for each of 3 sequences, but has shape"):
        pair.model(X, Y[:2])


def test_a_code_learns_to_tell_a_property_that_the_tokens_tell():
    pair = vae(latent=2, word_dropout=0.5)
    gen = torch.Generator().manual_seed(0)
    symbol = torch.randint(2, 4, (200, 1), generator=gen)
    x = torch.cat([symbol, symbol, torch.full((200, 1), END)], 1)
    y = (symbol - 2.5) * 2 + 0.1 * torch.randn(200, 2, generator=gen)
    adam = lambda weights: torch.optim.Adam(weights, lr=0.02)  # noqa: E731
    fit(SVI(pair), (x, y), steps=150, batch_size=50, optimizer=adam, seed=0, progress=False)
    told = pair.predict(pair.encode(x).mean).mean
    assert float((told - y).square().mean()) < 0.1, "the variance of y is 1"
    assert pair.sample(4, seed=0).shape == (4, STEPS)
