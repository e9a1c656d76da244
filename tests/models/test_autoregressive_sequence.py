"""A recurrent network without codes: probabilities of whole sequences, padding, draws, the order of time."""

import itertools

import pytest
import torch

from probgen import fit
from probgen.data import Ragged
from probgen.models import AutoregressiveSequence, HiddenMarkov
from probgen.nets import GRU, MLP, AutoregressiveBernoulliHead, BernoulliHead, BernoulliMixtureHead, History
from probgen.objectives import MaximumLikelihood

LENGTHS = torch.tensor([4, 1, 3])
HEADS = {
    "independent": lambda size: BernoulliHead(MLP(5, size, hidden=8)),
    "autoregressive": lambda size: AutoregressiveBernoulliHead(5, size, hidden=16),
    "mixture": lambda size: BernoulliMixtureHead(MLP(5, 4, hidden=8), size),
}


def made(name, size=2):
    torch.manual_seed(0)
    model = AutoregressiveSequence(History(GRU(size, 5)), HEADS[name](size)).double().eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2.0)
    return model


def sequences(steps, size):
    cells = itertools.product((0.0, 1.0), repeat=steps * size)
    return torch.tensor(list(cells), dtype=torch.float64).reshape(-1, steps, size)


@pytest.mark.parametrize("name", HEADS)
def test_probabilities_of_all_sequences_sum_to_one(name):
    model, every = made(name), sequences(3, 2)
    p = model.log_prob(every).exp().detach()
    assert float(p.sum()) == pytest.approx(1.0)
    assert float(p.max()) > 2 * float(p.min())


@pytest.mark.parametrize("name", HEADS)
def test_draws_are_as_frequent_as_their_probability(name):
    model, n = made(name, size=1), 20_000
    drawn = model.sample(n, torch.full((n,), 3), seed=0)
    p = model.log_prob(sequences(3, 1)).exp().detach()
    counts = (drawn[..., 0].long() @ torch.tensor([4, 2, 1])).bincount(minlength=8)
    assert float(((counts - n * p) ** 2 / (n * p)).sum()) < 29.9  # χ² of 7 degrees: one in 10⁴
    ragged = model.sample(3, LENGTHS, seed=1)
    assert ragged.shape == (3, 4, 1)
    assert not ragged[1, 1:].any()


@pytest.mark.parametrize("name", HEADS)
def test_padding_and_company_have_no_influence(name):
    model = made(name)
    x = torch.randint(2, (3, 4, 2), generator=torch.Generator().manual_seed(0)).double()
    padded = torch.cat([x, torch.ones_like(x)], 1)
    padded[1, 1:] = 1
    found = model.log_prob(x, LENGTHS)
    torch.testing.assert_close(model.log_prob(padded, LENGTHS), found)
    alone = [model.log_prob(row[None, :length])[0] for row, length in zip(x, LENGTHS.tolist(), strict=True)]
    torch.testing.assert_close(torch.stack(alone), found)


def test_a_step_knows_those_before_it_and_their_order():
    """Of sequences that a chain has drawn the network finds the likelihood; of shuffled ones it does not."""
    torch.manual_seed(1)
    chain = HiddenMarkov(2, 3)
    with torch.no_grad():
        chain.emission.copy_(torch.tensor([[3.0, -3.0, 3.0], [-3.0, 3.0, -3.0]]))
        chain.transition.copy_(torch.tensor([[-3.0, 0.0], [0.0, -3.0]]))  # states take turns
    lengths = torch.arange(1, 201) % 9 + 4
    x = chain.sample(200, lengths, seed=0)
    test, own = chain.sample(200, lengths, seed=1), chain.steps_of(x, lengths)
    model = AutoregressiveSequence(History(GRU(3, 16)), AutoregressiveBernoulliHead(16, 3, hidden=16))
    adam = lambda weights: torch.optim.Adam(weights, lr=0.02)  # noqa: E731
    rows = Ragged([row[:length] for row, length in zip(x, own.tolist(), strict=True)])
    fit(MaximumLikelihood(model), rows, steps=150, batch_size=50, optimizer=adam, seed=0, progress=False)

    def nats(law, x):
        return -float(law.log_prob(x, lengths).sum().detach()) / int(lengths.sum())

    shuffled = torch.zeros_like(test)
    for row, length in enumerate(lengths.tolist()):
        order = torch.randperm(length, generator=torch.Generator().manual_seed(row))
        shuffled[row, :length] = test[row, :length][order]
    assert nats(chain, test) < nats(model, test) < nats(chain, test) + 0.12
    assert nats(model, shuffled) > nats(model, test) + 0.3
    assert nats(chain, shuffled) > nats(chain, test) + 0.3


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match="lengths of the sequences to be drawn"):
        made("independent").sample(3)
