"""Laws of token sequences against enumeration: mass, draws, causality, contexts, particles."""

import itertools
import logging
import math

import pytest
import torch
from scipy.stats import chi2
from torch import nn

import probgen as pg
from probgen import models, nets, objectives, priors
from tests import laws

K, T = 3, 3
EVERY = torch.tensor(list(itertools.product(range(K), repeat=T)))


def law_of(context=None, *, seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    size = 0 if context is None else context.shape[-1]
    net = nets.CausalTransformer(K, T, context=size, width=8, heads=2).to(dtype)
    with torch.no_grad():
        net.last[1].weight.mul_(1.5)  # far from uniform
    return priors.Autoregressive(net)(*(() if context is None else (context,)))


def test_the_mass_of_all_sequences_is_one_and_each_is_a_product_of_conditionals():
    law = law_of()
    log_probs = law.log_prob(EVERY)
    assert log_probs.logsumexp(0).item() == pytest.approx(0, abs=1e-12)
    assert log_probs.exp().max() > 3 / K**T  # far from uniform
    sequence = EVERY[5]
    steps = [law.net(sequence[:t])[-1].log_softmax(-1)[sequence[t]] for t in range(T)]
    torch.testing.assert_close(log_probs[5], torch.stack(steps).sum())


def chi_square(draws, probabilities):
    counts = torch.bincount((draws * torch.tensor([K**2, K, 1])).sum(-1), minlength=K**T)
    expected = probabilities * len(draws)
    return float(((counts - expected) ** 2 / expected).sum())


def test_draws_have_the_law_that_scores_them():
    """Pearson's test at a false-alarm rate of 1e-6; it would see a tenth of the draws being uniform."""
    law, n = law_of(), 20_000
    probabilities = law.log_prob(EVERY).exp().detach()
    assert probabilities.min() * n > 5
    torch.manual_seed(3)
    draws = law.sample((n,))
    assert draws.dtype == torch.int64
    bound = chi2.isf(1e-6, K**T - 1)
    assert chi_square(draws, probabilities) < bound
    mixed = torch.where(torch.rand(n, 1) < 0.1, torch.randint(K, (n, T)), draws)
    assert chi_square(mixed, probabilities) > bound


def test_logits_depend_on_the_tokens_before_alone():
    net = law_of().net
    tokens = torch.randint(K, (5, T - 1))
    other = tokens.clone()
    other[:, -1] = (other[:, -1] + 1) % K
    assert torch.equal(net(tokens)[:, :-1], net(other)[:, :-1])
    assert not torch.equal(net(tokens)[:, -1], net(other)[:, -1])
    torch.testing.assert_close(net(tokens[:, :1]), net(tokens)[:, :2])


@pytest.mark.parametrize("context", [None, torch.randn(4, 2, dtype=torch.float64)])
def test_shapes_of_batches_draws_and_events(context):
    laws.check_shapes(law_of(context), torch.int64)


def test_each_row_of_a_context_has_its_own_law_and_particles_stand_left_of_it():
    context = torch.randn(6, 4, 2, dtype=torch.float64)
    law = law_of(context)
    assert law.batch_shape == (6, 4)
    log_probs = law.log_prob(EVERY[:, None, None])
    torch.testing.assert_close(log_probs.logsumexp(0), torch.zeros(6, 4, dtype=torch.float64))
    assert log_probs.std((1, 2)).min() > 0
    one = priors.Autoregressive(law.net)(context[2, 3])
    torch.testing.assert_close(one.log_prob(EVERY), log_probs[:, 2, 3])


def test_tokens_outside_have_no_law():
    law = law_of()
    for wrong in (torch.tensor([0, 1, 3]), torch.tensor([0, -1, 2]), torch.tensor([0.0, 0.5, 1.0])):
        with pytest.raises((ValueError, TypeError), match=r"tokens should be (from 0 to 2|whole numbers)"):
            law.log_prob(wrong)


def sentences(mode):
    """A VAE of tokens whose decoder is autoregressive."""
    torch.manual_seed(0)
    encoder = nets.NormalHead(nn.Sequential(nn.Embedding(K, 4), nn.Flatten(-2), nn.Linear(4 * T, 4)))
    decoder = priors.Autoregressive(nets.CausalTransformer(K, T, context=2, width=8, heads=2, dropout=0.1))
    vae = models.VAE(encoder, decoder, prior=priors.StandardNormal(2))
    data = law_of().sample((60,))
    history = pg.fit(
        pg.SVI(vae, objectives.IWAE(3, gradient="plain")),
        data,
        steps=12,
        batch_size=20,
        seed=1,
        compile=mode,
        progress=False,
    )
    return vae, history


def test_a_decoder_of_sentences_trains_captured_to_the_bits_of_eager(caplog):
    torch.manual_seed(2)
    state = torch.get_rng_state()
    eager, _ = sentences("eager")
    torch.set_rng_state(state)
    with caplog.at_level(logging.WARNING):
        graph, _ = sentences("graph")
    assert "eagerly" not in caplog.text
    assert all(map(torch.equal, eager.parameters(), graph.parameters()))
    assert eager.sample(5, seed=1).shape == (5, T)


def test_a_learned_law_comes_near_the_entropy_of_its_data():
    data = law_of(seed=4).sample((4000,))
    counts = torch.bincount((data * torch.tensor([K**2, K, 1])).sum(-1), minlength=K**T).double() / len(data)
    entropy = float(-torch.special.xlogy(counts, counts).sum())
    torch.manual_seed(5)
    prior = priors.Autoregressive(nets.CausalTransformer(K, T, width=16, heads=2))
    objective = objectives.MaximumLikelihood(prior)

    before = float(objective(data)[0].detach())
    adam = lambda weights: torch.optim.Adam(weights, lr=1e-2)  # noqa: E731
    pg.fit(objective, data, steps=150, batch_size=500, optimizer=adam, seed=0, progress=False)
    after = float(objective(data)[0].detach())
    assert before > T * math.log(K) - 1
    assert entropy < after < entropy + 0.03


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda: nets.CausalTransformer(1, 3), "size should be at least 2 but got 1"),
        (lambda: nets.CausalTransformer(4, 0), "steps should be at least 1 but got 0"),
        (
            lambda: nets.CausalTransformer(4, 3, width=10),
            "width should be a multiple of the 4 heads but is 10",
        ),
        (lambda: nets.CausalTransformer(4, 3)(EVERY), "at most 3 tokens, 2 before the last, but 3 are given"),
        (
            lambda: nets.CausalTransformer(4, 3, context=2)(EVERY[:, :2]),
            r"should get a context of 2 numbers but got \[\]",
        ),
        (
            lambda: priors.TokenSequence(nets.CausalTransformer(4, 3), steps=3, size=5).log_prob(EVERY),
            r"logits of 5 tokens after each prefix, shape \(27, 3, 5\), but returned \(27, 3, 4\)",
        ),
    ],
)
def test_what_does_not_fit_is_said(made, sentence):
    with pytest.raises(ValueError, match=sentence):
        made()


def test_a_net_that_does_not_tell_its_sizes_is_named():
    with pytest.raises(TypeError, match="net should tell its size, a whole number, but Linear has none"):
        priors.Autoregressive(nn.Linear(2, 2))


def test_under_autocast_a_density_has_the_digits_of_float32(device):
    torch.manual_seed(0)
    prior = priors.Autoregressive(nets.CausalTransformer(3, 4, width=16, heads=2)).to(device)
    for weight in prior.parameters():
        torch.nn.init.normal_(weight, std=0.6)
    every = torch.tensor(list(itertools.product(range(3), repeat=4)), device=device)
    with torch.autocast(device.type, torch.bfloat16):
        total = prior().log_prob(every).exp().sum()
    torch.testing.assert_close(total, torch.ones((), device=device))
    assert total.dtype == torch.float32
