"""The VQ-VAE's bound by hand, exact evidence by enumeration, draws of its story, what does not fit."""

import itertools
import logging
import math

import pyro.distributions as dist
import pytest
import torch

import probgen as pg
from probgen import evaluation, nets, priors
from probgen.models import VQVAE
from probgen.objectives import IWAE, VQ

T, K, D, X = 2, 4, 3, 5
EVERY = torch.tensor(list(itertools.product(range(K), repeat=T)))


def learned():
    return priors.Autoregressive(nets.CausalTransformer(K, T, width=8, heads=2))


def model_of(prior=lambda: None, codebook=None, seed=0):
    torch.manual_seed(seed)
    codebook = codebook or nets.Codebook(K, D)
    with torch.no_grad():
        if isinstance(codebook, nets.Codebook):
            codebook.atoms.normal_()
    encoder = nets.MLP(X, T * codebook.dim, hidden=8)
    decoder = nets.BernoulliHead(nets.MLP(T * codebook.dim, X, hidden=8))
    return VQVAE(encoder, codebook, decoder, prior())


def x_of(n=30):
    return torch.rand(n, X, generator=torch.Generator().manual_seed(0)).round()


PRIORS = {
    "uniform": (lambda: None, lambda model, z: torch.full((len(z),), -T * math.log(K))),
    "given": (
        lambda: dist.Categorical(probs=torch.tensor([[0.1, 0.2, 0.3, 0.4]] * T)).to_event(1),
        lambda model, z: ((z + 1) / 10).log().sum(-1),
    ),
    "learned": (learned, lambda model, z: model.prior().log_prob(z)),
}


@pytest.mark.parametrize("codebook", [None, "levels"])
@pytest.mark.parametrize("name", PRIORS)
def test_the_bound_is_the_two_log_probabilities_at_the_codes(name, codebook):
    prior, log_prior = PRIORS[name]
    model, x = model_of(prior, nets.FiniteScalar([2, 2]) if codebook else None).double(), x_of().double()
    z = model.encode(x).mean
    assert z.dtype == torch.int64
    vectors = model.encoder(x).reshape(30, T, 1, -1)
    atoms = model.codebook.embed(torch.arange(K))
    apart = (vectors.tanh() if codebook else vectors) - atoms
    assert torch.equal(z, apart.square().sum(-1).argmin(-1))
    likelihood = model.decode(z).log_prob(x)
    loss, terms = pg.SVI(model)(x)
    torch.testing.assert_close(terms["kl"], -log_prior(model, z).double().mean().detach())
    torch.testing.assert_close(terms["reconstruction"], likelihood.mean())
    torch.testing.assert_close(loss, terms["kl"] - terms["reconstruction"])
    torch.testing.assert_close(
        evaluation.log_likelihoods(model, x, particles=3), (likelihood + log_prior(model, z)).detach()
    )
    for gradient in ("plain", "dreg"):  # all particles are the same
        found, _ = pg.SVI(model, IWAE(3, gradient=gradient))(x)
        torch.testing.assert_close(found, loss)
        bias = model.decoder.net.last.bias
        own, expected = (torch.autograd.grad(v, bias, retain_graph=True)[0] for v in (found, loss))
        torch.testing.assert_close(own, expected)


def test_it_is_a_bound_on_the_evidence_and_draws_have_that_law():
    """Data of 2^5 values, codes of 16: both sides added up; a chi-square test at a rate of 1e-6."""
    model = model_of(learned)
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=X)))
    joint = model.prior().log_prob(EVERY) + model.decode(EVERY).log_prob(every[:, None])
    evidence = joint.logsumexp(1).detach()
    assert evidence.exp().sum().item() == pytest.approx(1, abs=1e-5)
    bound = evaluation.log_likelihoods(model, every)
    assert (bound < evidence).all()
    draws = model.sample(20_000, seed=1)
    counts = torch.bincount((draws * 2 ** torch.arange(X - 1, -1, -1)).sum(1).long(), minlength=2**X)
    expected = evidence.exp() * len(draws)
    assert expected.min() > 5
    assert ((counts - expected) ** 2 / expected).sum() < 91  # χ² of 31 degrees, at 1e-7


def test_a_prior_of_frozen_codes_is_learned_and_nothing_else_moves(caplog):
    ends = []
    for mode in ("eager", "graph"):
        model = model_of(learned)
        model.requires_grad_(False)
        model.prior.requires_grad_(True)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        start = pg.SVI(model)(x_of())[1]["elbo"]
        with caplog.at_level(logging.WARNING):
            pg.fit(pg.SVI(model), x_of(), steps=30, seed=0, compile=mode, progress=False)
        after = model.state_dict()
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        assert moved == {name for name in before if name.startswith("prior.")}
        assert pg.SVI(model)(x_of())[1]["elbo"] > start
        ends.append(after)
    assert "eagerly" not in caplog.text
    assert all(map(torch.equal, ends[0].values(), ends[1].values()))


def test_draws_follow_their_seed_and_codes_are_points():
    model = model_of().train()
    assert torch.equal(model.sample(8, seed=1), model.sample(8, seed=1))
    assert not torch.equal(model.sample(8, seed=1), model.sample(8, seed=2))
    codes = model.encode(x_of())
    assert codes.event_shape == (T,)
    assert model.decode(codes.mean).batch_shape == (30,)
    assert model.training


def test_a_context_reaches_encoder_prior_and_decoder():
    torch.manual_seed(0)
    net = nets.CausalTransformer(K, T, context=1, width=8, heads=2)
    encoder = nets.Joined(nets.MLP(X + 1, T * D, hidden=8))
    decoder = nets.BernoulliHead(nets.Joined(nets.MLP(T * D + 1, X, hidden=8)))
    model = VQVAE(encoder, nets.Codebook(K, D), decoder, priors.Autoregressive(net), steps=T)
    x, context = x_of(), torch.linspace(-1, 1, 30)[:, None]
    z = model.encode(x, context).mean
    expected = model.prior(context).log_prob(z) + model.decode(z, context).log_prob(x)
    torch.testing.assert_close(-pg.SVI(model)(x, context)[0], expected.mean())
    assert not torch.equal(model.prior(context).log_prob(z), model.prior(-context).log_prob(z))
    assert model.sample(30, context, seed=0).shape == (30, X)


@pytest.mark.parametrize(
    ("made", "kind", "sentence"),
    [
        (
            lambda: VQVAE(nets.MLP(X, 7), nets.Codebook(K, D), nets.MLP(7, X)),
            ValueError,
            "the encoder should give the 3 numbers of an atom but gives 7",
        ),
        (
            lambda: VQVAE(nets.MLP(X, 6), nets.Codebook(K, D), nets.MLP(6, X), steps=3),
            ValueError,
            "the encoder should give 3 times the 3 numbers of an atom but gives 6",
        ),
        (
            lambda: VQVAE(nets.MLP(X, 6), nets.MLP(6, X), nets.Codebook(K, D)),
            TypeError,
            r"codebook should be a nets\.Codebook, a nets\.FiniteScalar or like one but is a MLP",
        ),
        (
            lambda: VQVAE(torch.nn.Linear(X, 6), nets.Codebook(K, D), nets.MLP(6, X)),
            TypeError,
            "steps should be given, as Linear has no size ``outputs``",
        ),
        (
            lambda: model_of(lambda: dist.Categorical(torch.ones(3, K)).to_event(1)),
            ValueError,
            r"prior should have .* event shape \(2,\)",
        ),
        (
            lambda: model_of(lambda: dist.Categorical(torch.ones(T, 9)).to_event(1)).sample(2),
            ValueError,
            r"prior should be a law of 2 codes below 4 but has event shape \(2,\) and 9 codes",
        ),
        (
            lambda: model_of(lambda: priors.StandardNormal(T)).sample(2),
            ValueError,
            r"prior should be a law of 2 codes below 4 but has event shape \(2,\) and no codes",
        ),
        (
            lambda: model_of(lambda: dist.Poisson(torch.ones(T)).to_event(1)).sample(2),
            ValueError,
            "prior should be a law of 2 codes below 4 but .* no known number of codes",
        ),
        (lambda: model_of().decode(torch.tensor([[0, 4]])), ValueError, "codes below 4 but has 0 to 4"),
        (lambda: model_of().decode(torch.zeros(3, T)), ValueError, "2 whole numbers a datum but is"),
        (lambda: model_of().guide(), ValueError, "the guide needs x"),
    ],
)
def test_what_does_not_fit_is_said(made, kind, sentence):
    with pytest.raises(kind, match=sentence):
        made()


def test_no_markov_chain_walks_on_codes():
    with pytest.raises(ValueError, match="z"):
        model_of(learned).posterior(x_of())


def test_levels_come_into_use_where_vectors_are_spread():
    torch.manual_seed(0)
    x = torch.randn(600, 1, generator=torch.Generator().manual_seed(0)) * torch.ones(X)  # a line
    encoder = torch.nn.Sequential(nets.MLP(X, 2, hidden=8), torch.nn.BatchNorm1d(2, affine=False))
    decoder = nets.NormalHead(nets.MLP(2, X, hidden=8), scale="shared")
    model = VQVAE(encoder, nets.FiniteScalar([5, 4]), decoder, steps=1)
    pg.fit(VQ(model), x, steps=100, seed=0, progress=False)
    usage = evaluation.code_usage(evaluation.encoded(model, x), model.size)
    assert usage.perplexity > 3
