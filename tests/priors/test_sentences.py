"""Laws of sequences that end: masses sum to 1, padding changes nothing, draws follow the law."""

import itertools

import pytest
import torch
from scipy import stats

from probgen import nets, priors
from probgen.data import END, PAD

STEPS, SIZE = 3, 5


def nets_by_name():
    torch.manual_seed(0)
    wide = {"width": 16, "embedding": 8}
    return {
        "gru": nets.TokenGRU(SIZE, STEPS, context=2, **wide),
        "two layers": nets.TokenGRU(SIZE, STEPS, context=2, layers=2, word_dropout=0.5, **wide),
        "transformer": nets.CausalTransformer(SIZE, STEPS, context=2, width=16, layers=1),
    }


@pytest.fixture(params=["gru", "two layers", "transformer"])
def net(request):
    return nets_by_name()[request.param].eval()


def every_sequence():
    """Return all that there is of three steps: those that end, with PAD after, and those that have not."""
    symbols = range(2, SIZE)
    rows = []
    for length in range(STEPS):
        for before in itertools.product(symbols, repeat=length):
            rows.append([*before, END, *[PAD] * (STEPS - 1 - length)])
    rows += [list(row) for row in itertools.product(symbols, repeat=STEPS)]
    return torch.tensor(rows)


def test_masses_of_all_sequences_sum_to_one(net):
    c = torch.randn(4, 2, generator=torch.Generator().manual_seed(1))
    law = priors.Sentences(net)(c)
    every = every_sequence()
    assert len(every) == 1 + 3 + 9 + 27
    masses = law.log_prob(every[:, None]).double().exp()
    assert masses.shape == (40, 4)
    torch.testing.assert_close(masses.sum(0), torch.ones(4, dtype=torch.float64), atol=1e-5, rtol=0)
    not_one = torch.tensor([[END, 2, PAD], [PAD, END, PAD], [2, PAD, END], [END, END, PAD]])
    assert (law.log_prob(not_one[:, None]) == -torch.inf).all()


def test_padding_that_is_added_or_cut_off_changes_nothing(net):
    law = priors.Sentences(net)(torch.ones(2))
    short = torch.tensor([[3, END], [END, PAD]])
    longer = torch.cat([short, torch.full((2, 1), PAD)], 1)
    torch.testing.assert_close(law.log_prob(short), law.log_prob(longer))


@pytest.mark.parametrize("name", ["gru", "transformer"])
def test_draws_follow_the_law(name):
    """Chi-square over all sequences, at a false-alarm rate of 1e-4."""
    law = priors.Sentences(nets_by_name()[name].eval())(torch.ones(2))
    every = every_sequence()
    torch.manual_seed(2)
    draws = law.sample((4000,))
    assert draws.dtype == torch.int64
    places = (draws[:, None] == every).all(-1)
    assert places.any(1).all()  # each draw is a sequence
    counts, expected = places.sum(0), 4000 * law.log_prob(every).exp()
    assert stats.chi2.sf(float(((counts - expected) ** 2 / expected).sum().detach()), 39) > 1e-4


def test_token_by_token_is_what_one_call_gives(net):
    law = priors.Sentences(net)(torch.randn(2, 2))
    tokens = torch.tensor([[2, 4], [3, 3]])
    state = law.begin((2,))
    found = [law.next_logits(state)]
    for t in range(2):
        state = law.advance(state, tokens[:, t])
        found.append(law.next_logits(state))
    wanted = priors.sentences.without_pad(law._logits(tokens))
    torch.testing.assert_close(torch.stack(found, 1), wanted)


def test_batches_of_any_shape(net):
    c = torch.randn(6, 4, 2)
    law = priors.Sentences(net)(c)
    assert law.sample((7,)).shape == (7, 6, 4, STEPS)
    x = every_sequence()[[0, 5, 9, 30]]
    rows = torch.stack([priors.Sentences(net)(c[i]).log_prob(x) for i in range(6)])
    torch.testing.assert_close(law.log_prob(x), rows)
    assert law.expand((2, 6, 4)).log_prob(x).shape == (2, 6, 4)


def test_wrong_tokens_in_one_sentence():
    law = priors.Sentences(nets_by_name()["gru"])(torch.ones(2))
    for wrong, told in ((torch.tensor([7, 1]), "go from 1 to 7"), (torch.tensor([1.0]), "torch.float32")):
        with pytest.raises((ValueError, TypeError), match=f"tokens should be .*{told}"):
            law.log_prob(wrong)
    with pytest.raises(TypeError, match="net should tell its size"):
        priors.Sentences(torch.nn.Linear(2, 2))
