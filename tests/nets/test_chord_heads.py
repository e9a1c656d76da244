"""Laws of 0/1 vectors whose coordinates depend on one another: sums over all vectors, draws, masks."""

import itertools
import math

import pyro
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from probgen.nets import MLP, AutoregressiveBernoulliHead, BernoulliMixtureHead, ChordHead

SIZE = 4
EVERY = torch.tensor(list(itertools.product((0.0, 1.0), repeat=SIZE)))
HEADS = {
    "autoregressive": lambda: AutoregressiveBernoulliHead(3, SIZE, hidden=16),
    "autoregressive, deep": lambda: AutoregressiveBernoulliHead(3, SIZE, hidden=(8, 8)),
    "intervals": lambda: ChordHead(3, keys=SIZE, chords=2, channels=6, reach=2),
    "mixture": lambda: BernoulliMixtureHead(MLP(3, 6, hidden=8), SIZE),
}


@pytest.fixture(params=HEADS)
def head(request, device, dtype):
    torch.manual_seed(0)
    head = HEADS[request.param]().to(device, dtype)
    with torch.no_grad():
        if isinstance(head, ChordHead):
            head.within.weight.mul_(4.0), head.count.normal_()
        for weight in head.parameters():
            weight.mul_(1.0 if isinstance(head, ChordHead) else 3.0)
    return head


@pytest.fixture
def context(head, device, dtype):
    size = 3 + 2 * SIZE if isinstance(head, ChordHead) else 3
    return torch.randn(2, size, generator=torch.Generator().manual_seed(1)).to(device, dtype)


def test_probabilities_sum_to_one(head, context):
    log_probs = head(context).log_prob(EVERY.to(context)[:, None])
    assert log_probs.shape == (2**SIZE, 2)
    torch.testing.assert_close(log_probs.exp().sum(0), torch.ones(2).to(context))
    assert (log_probs[:, 0] - log_probs[:, 1]).abs().max() > 0.1  # the context is told


def test_draws_are_as_frequent_as_their_probability(head, context):
    law, n = head(context), 20_000
    torch.manual_seed(0)
    drawn = law.sample((n,))
    assert drawn.shape == (n, 2, SIZE)
    places = (drawn @ (2.0 ** torch.arange(SIZE - 1, -1, -1)).to(context)).long()
    for row in range(2):
        expected = n * law.log_prob(EVERY.to(context)[:, None])[:, row].exp()
        counts = places[:, row].bincount(minlength=2**SIZE)
        assert (
            float(((counts - expected) ** 2 / expected).sum().detach()) < 47.6
        )  # χ² of 15 degrees: 1 in 30,000


def test_coordinates_are_not_independent(head, context):
    p = head(context[:1]).log_prob(EVERY.to(context)).exp()
    on = EVERY.to(context)
    both, single = on.T @ (p[:, None] * on), p @ on
    assert (both - single[:, None] * single).triu(1).abs().max() > 0.01


def test_any_batch_and_particles(head, context):
    law = head(context)
    assert (law.batch_shape, law.event_shape) == ((2,), (SIZE,))
    x = law.sample()
    several = law.expand((5, 2))
    assert several.sample().shape == (5, 2, SIZE)
    torch.testing.assert_close(several.log_prob(x), law.log_prob(x).expand(5, 2))
    wide = head(context.expand(7, *context.shape))
    torch.testing.assert_close(wide.log_prob(x)[3], law.log_prob(x))
    masked = law.mask(torch.tensor([True, False], device=x.device)).to_event(1)
    torch.testing.assert_close(masked.log_prob(x), law.log_prob(x)[0])


def test_it_is_captured(head, context):
    x = EVERY[:2].to(context)

    def loss(c):
        return head(c).log_prob(x).sum()

    with pyro.validation_enabled(False):
        torch.testing.assert_close(make_fx(loss)(context)(2 * context), loss(2 * context))


def test_values_other_than_0_and_1_are_refused(head, context):
    with pytest.raises(ValueError, match="0 or 1"):
        head(context).log_prob(0.5 * torch.ones(2, SIZE).to(context))


@pytest.mark.parametrize("hidden", [16, (8, 8), ()])
def test_a_coordinate_knows_those_before_it_alone(hidden, device):
    torch.manual_seed(0)
    head = AutoregressiveBernoulliHead(3, SIZE, hidden=hidden).to(device).double()
    context = torch.randn(1, 3, device=device, dtype=torch.float64)
    slopes = torch.func.jacrev(lambda x: head.logits(x, head.told(context[0])))(
        0.5 * torch.ones(SIZE).to(context)
    )
    assert not slopes.triu().any()
    assert slopes.tril(-1).ne(0).sum() == SIZE * (SIZE - 1) / 2


def test_intervals_are_the_same_in_all_keys_and_lower_keys_alone_are_known(device):
    torch.manual_seed(0)
    head = ChordHead(3, keys=12, chords=1, channels=6, reach=3).to(device).double()
    with torch.no_grad():
        head.count.normal_()
    h, before = torch.randn(3), (torch.rand(12) < 0.3).double()
    told = head.told(torch.cat([h, before])[None].to(device).double())
    slopes = torch.func.jacrev(lambda x: head.logits(x, *told)[0])(0.5 * torch.ones(12).to(device).double())
    assert not slopes.triu().any()
    assert slopes.tril(-1).ne(0).sum() == 12 * 11 / 2  # those out of reach are counted
    with torch.no_grad():
        head.told_keys.weight.zero_(), head.told_keys.bias.zero_(), head.count.zero_()
    chord = torch.zeros(1, 12, device=device).double()
    chord[0, [4, 5]] = 1
    h = h.to(device).double()[None]
    found = head.logits(chord, *head.told(torch.cat([h, chord], 1)))
    moved = chord.roll(2, 1)
    higher = head.logits(moved, *head.told(torch.cat([h, moved], 1)))
    torch.testing.assert_close(higher[0, 2:], found[0, :-2])


def test_a_mixture_of_one_is_independent_and_its_weights_are_those_of_the_net():
    one = BernoulliMixtureHead(MLP(3, 1), SIZE)
    law = one(torch.zeros(1, 3))
    expected = torch.distributions.Bernoulli(logits=one.templates[0]).log_prob(EVERY).sum(-1)
    torch.testing.assert_close(law.log_prob(EVERY), expected)
    net = MLP(3, 6, hidden=8)
    two, c = BernoulliMixtureHead(net, SIZE), torch.randn(5, 3)
    each = torch.distributions.Bernoulli(logits=two.templates).log_prob(EVERY[:5, None]).sum(-1)
    torch.testing.assert_close(two(c).log_prob(EVERY[:5]), (each + net(c).log_softmax(-1)).logsumexp(-1))
    torch.testing.assert_close(two(c).mean, net(c).softmax(-1) @ two.templates.sigmoid())


def test_a_step_of_expectation_maximisation_by_hand():
    head = BernoulliMixtureHead(MLP(3, 2), 2).double()
    with torch.no_grad():
        head.templates.copy_(torch.tensor([[0.9, 0.5], [0.2, 0.5]]).logit())
    (before,) = head.fit_em(torch.tensor([[1.0, 1.0], [0.0, 0.0]]).double(), iterations=1, pseudo_count=0.5)
    first, second = 0.9 / (0.9 + 0.2), 0.1 / (0.1 + 0.8)  # how much either row belongs to the first part
    assert before == pytest.approx(math.log(0.25 * (0.9 + 0.2)) + math.log(0.25 * (0.1 + 0.8)))
    ones = (first + 0.25) / (first + second + 0.5)
    torch.testing.assert_close(head.templates.detach().sigmoid()[0], torch.full((2,), ones).double())


def test_expectation_maximisation_finds_the_parts_and_never_goes_back():
    generator = torch.Generator().manual_seed(0)
    truth = torch.tensor([[0.9, 0.9, 0.1, 0.1], [0.1, 0.1, 0.9, 0.9]]).double()
    part = torch.randint(2, (4000,), generator=generator)
    x = torch.bernoulli(truth[part], generator=generator)
    head = BernoulliMixtureHead(MLP(3, 2), SIZE).double()
    with torch.no_grad():
        head.templates.copy_(torch.tensor([[0.6, 0.5, 0.5, 0.5], [0.4, 0.5, 0.5, 0.5]]).logit())
    mean = (x.sum(0) + 0.5) / (len(x) + 1)
    steps, penalised = [], []
    for _ in range(60):
        p = head.templates.detach().sigmoid()
        penalty = 2.0 * (mean * p.log() + (1 - mean) * (1 - p).log()).sum()
        steps += head.fit_em(x, iterations=1)
        penalised.append(steps[-1] + float(penalty))
    assert all(after >= before - 1e-6 for before, after in itertools.pairwise(penalised))
    assert steps[-1] > steps[0] + 500
    p = head.templates.detach().sigmoid()
    p = p[p[:, 0].argsort(descending=True)]
    assert (p - truth).abs().max() < 0.05
    with pytest.raises(ValueError, match="pseudo_count should be above 0"):
        head.fit_em(x, iterations=1, pseudo_count=0.0)
