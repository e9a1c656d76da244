"""Draws at a temperature against renormalised probabilities, beams against all sequences there are."""

import itertools

import pytest
import torch
from scipy import stats

from probgen import nets, priors
from probgen.data import END, PAD

STEPS, SIZE = 3, 5
EVERY = torch.tensor(
    [
        [*before, *[END] * (length < STEPS), *[PAD] * (STEPS - 1 - length)]
        for length in range(STEPS + 1)
        for before in itertools.product(range(2, SIZE), repeat=length)
    ]
)
"""All sequences of three steps, (40, 3)."""


def law(name="gru", batch=()):
    torch.manual_seed(4)
    net = {
        "gru": lambda: nets.TokenGRU(SIZE, STEPS, context=2, width=16, embedding=8, dropout=0.5),
        "transformer": lambda: nets.CausalTransformer(
            SIZE, STEPS, context=2, width=16, layers=1, dropout=0.5
        ),
    }[name]()
    with torch.no_grad():
        net.last[-1].weight.mul_(4) if name == "transformer" else net.last.weight.mul_(6)
    return priors.Sentences(net).eval()(torch.randn(*batch, 2))


def at_temperature(sentence, temperature):
    """Return the mass of each sequence: at each step the tempered law of the token, by hand."""
    logits = priors.sentences.without_pad(sentence._logits(EVERY[:, :-1])) / temperature
    p = logits.softmax(-1).gather(-1, EVERY[..., None])[..., 0]
    ended = ((EVERY == END).cumsum(1) - (EVERY == END).long()) > 0
    return torch.where(ended, 1.0, p).prod(1).detach()


def p_value(counts, masses):
    expected = masses * counts.sum()
    often = expected > 2
    rest = [float(part[~often].sum()) for part in (counts, expected)]
    statistic = float(((counts - expected) ** 2 / expected)[often].sum())
    if rest[1] > 0:
        statistic += (rest[0] - rest[1]) ** 2 / rest[1]
    return stats.chi2.sf(statistic, int(often.sum()) - (rest[1] == 0))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_have_the_tempered_law(temperature):
    """At a false-alarm rate of 1e-4 each; another temperature is told apart."""
    sentence = law()
    draws = priors.tempered(sentence, (3000,), temperature=temperature, seed=1)
    assert torch.equal(draws, priors.tempered(sentence, (3000,), temperature=temperature, seed=1))
    counts = (draws[:, None] == EVERY).all(-1).sum(0).double()
    assert counts.sum() == 3000
    masses = at_temperature(sentence, temperature)
    assert float(masses.sum()) == pytest.approx(1, abs=1e-5)
    assert p_value(counts, masses.double()) > 1e-4
    assert p_value(counts, at_temperature(sentence, temperature * 1.3).double()) < 1e-4
    if temperature == 1.0:
        torch.testing.assert_close(masses, sentence.log_prob(EVERY).exp().detach())


@pytest.mark.parametrize("name", ["gru", "transformer"])
def test_wide_beams_find_the_likeliest_of_all_sequences(name):
    sentence = law(name, (2,))
    scores, order = sentence.log_prob(EVERY[:, None]).detach().T.sort(descending=True, stable=True)
    found, log_p = priors.beam_search(sentence, beams=40)
    assert found.shape == (2, 40, STEPS)
    torch.testing.assert_close(log_p, scores)
    torch.testing.assert_close(sentence.log_prob(found.movedim(1, 0)).T, log_p)
    assert torch.equal(found[:, 0], EVERY[order[:, 0]])
    assert all(len(rows.unique(dim=0)) == 40 for rows in found)
    more, its = priors.beam_search(sentence, beams=60)
    assert torch.equal(more[:, :40], found)
    assert (its[:, 40:] == -torch.inf).all()


def test_one_beam_is_greedy_and_more_are_never_worse():
    sentence = law(batch=(30,))
    one, score = priors.beam_search(sentence, beams=1)
    assert torch.equal(one[:, 0], priors.greedy(sentence))
    few = priors.beam_search(sentence, beams=3)[1][:, 0]
    assert (few >= score[:, 0] - 1e-5).all()
    best = sentence.log_prob(EVERY[:, None]).amax(0)
    assert (best - score[:, 0] > 0.1).any()  # greedy misses some
    assert (best >= few - 1e-5).all()


def test_a_law_that_was_made_in_evaluation_mode_stays_in_it():
    torch.manual_seed(0)
    decoder = priors.Sentences(nets.TokenGRU(SIZE, STEPS, dropout=0.5, word_dropout=0.5))
    made = decoder.eval()()
    wanted = made.log_prob(EVERY)
    drawn = priors.tempered(made, (20,), temperature=1.0, seed=0)
    decoder.train()
    assert torch.equal(made.log_prob(EVERY), wanted)
    assert torch.equal(priors.tempered(made, (20,), temperature=1.0, seed=0), drawn)
    assert decoder.training
    assert decoder.net.training
    assert not torch.equal(decoder().log_prob(EVERY), wanted)


def test_no_temperature_of_zero():
    with pytest.raises(
        ValueError, match=r"temperature should be above 0 and finite but got 0: greedy\(law\)"
    ):
        priors.tempered(law(), temperature=0)
    with pytest.raises(ValueError, match="beams should be at least 1"):
        priors.beam_search(law(), beams=0)
