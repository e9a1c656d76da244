"""The sequence VAE: bounds against quadrature, padding, training, codes that are used."""

import math

import pyro.distributions as dist
import pytest
import torch

from probgen import data, evaluation, fit, nets, priors
from probgen.data import END, PAD, Ragged, lengths_of
from probgen.evaluation.likelihood.importance import log_likelihoods
from probgen.models import LanguageModel, SequenceVAE
from probgen.objectives import ELBO, IWAE, SVI, BetaELBO, MaximumLikelihood

SIZE, STEPS = 6, 5


def vae(*, latent=1, decoder="gru", seed=0, **options):
    torch.manual_seed(seed)
    net = {
        "gru": lambda: nets.TokenGRU(SIZE, STEPS, context=latent, width=16, embedding=8, **options),
        "transformer": lambda: nets.CausalTransformer(SIZE, STEPS, context=latent, width=16, layers=1),
    }[decoder]()
    reader = nets.TokenReader(SIZE, latent, width=8, embedding=8)
    return SequenceVAE(nets.NormalHead(reader), priors.Sentences(net))


def two_kinds(rows=200, seed=0):
    """Return sequences of one symbol, which the first token tells: 2 2 2 END or 3 3 3 3 END."""
    gen = torch.Generator().manual_seed(seed)
    symbol = torch.randint(2, 4, (rows, 1), generator=gen)
    place = torch.arange(STEPS)
    length = symbol + 1
    return torch.where(place < length, symbol, torch.where(place == length, END, PAD))


X = torch.tensor([[2, 3, END, PAD, PAD], [4, 4, 5, 2, END], [END, PAD, PAD, PAD, PAD], [2, 2, 2, 2, 2]])


@pytest.mark.parametrize("decoder", ["gru", "transformer"])
def test_the_likelihood_is_that_of_quadrature(decoder):
    pair = vae(decoder=decoder).eval()
    z = torch.linspace(-8, 8, 801)[:, None]
    with torch.no_grad():
        log_p = dist.Normal(0.0, 1.0).log_prob(z) + pair.decoder(z).log_prob(X[:, None]).T
    exact = torch.logsumexp(log_p.double(), 0) + math.log(16 / 800)
    estimates = torch.stack([log_likelihoods(pair, X, particles=2000, seed=s) for s in range(5)]).double()
    assert ((estimates.mean(0) - exact).abs() < 0.03).all()
    bound = float(SVI(pair, ELBO(particles=500))(X)[1]["elbo"])
    assert bound < float(exact.mean()) + 0.02


def test_bounds_do_not_change_with_padding_and_are_told_per_token():
    pair = vae(latent=2).eval()
    bounds = {}
    for x in (X[:3], torch.cat([X[:3], torch.full((3, 4), PAD)], 1)):
        for elbo in (BetaELBO(), IWAE(4)):
            torch.manual_seed(1)
            loss, terms = SVI(pair, elbo)(x)
            bounds.setdefault(type(elbo), []).append(float(loss.detach()))
            _, steps = terms["nats_per_step"].tolist()
            assert steps == pytest.approx((3 + 5 + 1) / 3)
    for one, other in bounds.values():
        assert one == pytest.approx(other, abs=1e-5)
    x, lengths = Ragged([row[: int(n)] for row, n in zip(X[:3], lengths_of(X[:3]), strict=True)])[
        torch.arange(3)
    ]
    torch.manual_seed(1)
    assert float(SVI(pair)(x, lengths)[0].detach()) == pytest.approx(bounds[BetaELBO][0], abs=1e-5)


def test_draws_codes_and_words_left_out():
    pair = vae(latent=2, dropout=0.3, word_dropout=0.5).train()
    draws = pair.sample(50, seed=3)
    assert draws.shape == (50, STEPS)
    assert torch.equal(draws, pair.sample(50, seed=3))
    codes = pair.encode(X)
    law = pair.decode(codes.mean)
    assert torch.equal(law.log_prob(X), law.log_prob(X))  # in evaluation mode, though it was in training
    assert pair.training
    assert not torch.equal(pair.decoder(codes.mean).log_prob(X), pair.decoder(codes.mean).log_prob(X))
    assert priors.greedy(law).shape == X.shape
    density = pair.posterior(X)
    assert density.log_prob(codes.mean).shape == (4,)


def test_codes_learn_to_tell_what_a_decoder_without_words_does_not_know():
    """Two kinds of sequences, and no words to read: the code alone can tell them, log 2 nats."""
    pair = vae(latent=2, word_dropout=0.9)
    x = two_kinds()
    adam = lambda weights: torch.optim.Adam(weights, lr=0.02)  # noqa: E731
    history = fit(SVI(pair), x, steps=150, batch_size=50, optimizer=adam, seed=0, progress=False)
    assert history.values("kl")[-1] > 0.4
    told = priors.greedy(pair.decode(pair.encode(x[:40]).mean))
    assert float((told == x[:40]).all(1).float().mean()) > 0.9
    found = evaluation.active_units(pair, x)
    assert "z" in str(found)


def test_a_language_model_learns_the_law_of_its_data():
    torch.manual_seed(0)
    model = LanguageModel(priors.Sentences(nets.TokenGRU(SIZE, STEPS, width=16, embedding=8)))
    x = two_kinds()
    adam = lambda weights: torch.optim.Adam(weights, lr=0.02)  # noqa: E731
    history = fit(
        MaximumLikelihood(model), x, steps=120, batch_size=50, optimizer=adam, seed=0, progress=False
    )
    share = float((x[:, 0] == 2).float().mean())
    entropy = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert entropy < -float(model.log_prob(x).mean().detach()) < entropy + 0.05
    assert history.values("nats_per_step")[-1] < 0.3
    assert {tuple(row) for row in model.sample(20, seed=0).tolist()} <= {tuple(row) for row in x.tolist()}


def test_a_stream_is_scored_step_by_step():
    torch.manual_seed(0)
    model = LanguageModel(priors.Autoregressive(nets.TokenGRU(SIZE, 4, width=16, embedding=8, dropout=0.5)))
    text = torch.randint(SIZE, (11,))
    found = model.stream_log_prob(text)
    assert found.shape == (11,)
    assert model.training
    torch.testing.assert_close(found[:4].sum(), model.eval().log_prob(text[None, :4])[0].detach())


def test_lines_of_a_users_text_train_it(tmp_path):
    (tmp_path / "my.txt").write_text("a line of words\nand another line\n" * 30)
    lines = data.read(tmp_path / "my.txt").lines()
    size, steps = lines.vocabulary.size, lines.train.shape[1]
    encoder = nets.NormalHead(nets.TokenReader(size, 2, width=8))
    pair = SequenceVAE(encoder, priors.Sentences(nets.TokenGRU(size, steps, context=2, width=16)))
    fit(SVI(pair), lines.train, steps=2, batch_size=8, seed=0, progress=False, validation=lines.test)
    assert all(
        isinstance(line, str) for line in lines.vocabulary.decode(pair.sample(3, seed=0).clamp(min=END))
    )
