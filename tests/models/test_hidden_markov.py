"""The hidden Markov model: sums over all paths, gradients, padding, draws, expectation maximisation."""

import itertools

import pytest
import torch
from torch.autograd import gradcheck

from probgen import fit
from probgen.data import Ragged
from probgen.models import GMMN, HiddenMarkov
from probgen.objectives import MaximumLikelihood

LENGTHS = torch.tensor([4, 1, 3])


def made(emission, states=3, size=2, seed=0):
    torch.manual_seed(seed)
    hmm = HiddenMarkov(states, size, emission=emission).double()
    with torch.no_grad():
        hmm.start.normal_()
    x = torch.randint(2, (3, 4, size) if emission == "bernoulli" else (3, 4))
    return hmm, x.double() if emission == "bernoulli" else x


def over_all_paths(hmm, x, length):
    """log Σ_s p(s) p(x | s), path by path."""
    start, transition = hmm.start.softmax(-1), hmm.transition.softmax(-1)
    total = 0.0
    for path in itertools.product(range(len(start)), repeat=length):
        p = start[path[0]]
        for before, after in itertools.pairwise(path):
            p = p * transition[before, after]
        for t, state in enumerate(path):
            if hmm.tokens:
                p = p * hmm.emission[state].softmax(-1)[x[t]]
            else:
                on = hmm.emission[state].sigmoid()
                p = p * (on * x[t] + (1 - on) * (1 - x[t])).prod()
        total = total + p
    return total.log()


@pytest.mark.parametrize("emission", ["bernoulli", "categorical"])
def test_the_likelihood_is_the_sum_over_all_paths(emission):
    hmm, x = made(emission)
    exact = torch.stack([over_all_paths(hmm, x[row], length) for row, length in enumerate(LENGTHS.tolist())])
    found = hmm.log_prob(x, LENGTHS)
    torch.testing.assert_close(found, exact)
    weights = list(hmm.parameters())
    for one, other in zip(
        torch.autograd.grad(found.sum(), weights), torch.autograd.grad(exact.sum(), weights), strict=True
    ):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(hmm.log_prob(x), hmm.log_prob(x, torch.tensor([4, 4, 4])))


def test_the_gradient_is_that_of_finite_differences():
    hmm, x = made("bernoulli")

    def loss(*weights):
        names = [name for name, _ in hmm.named_parameters()]
        call = torch.func.functional_call
        return call(MaximumLikelihood(hmm), {f"law.{n}": w for n, w in zip(names, weights, strict=True)},
                    (x, LENGTHS))[0]  # fmt: skip

    assert gradcheck(loss, [weight.detach().requires_grad_() for weight in hmm.parameters()])


@pytest.mark.parametrize("emission", ["bernoulli", "categorical"])
def test_padding_has_no_influence(emission):
    hmm, x = made(emission)
    padded = torch.cat([x, torch.ones_like(x[:, :2])], 1)
    padded[1, 1:] = 1
    torch.testing.assert_close(hmm.log_prob(padded, LENGTHS), hmm.log_prob(x, LENGTHS))
    torch.testing.assert_close(hmm.log_prob(x[2:, :3], LENGTHS[2:]), hmm.log_prob(x, LENGTHS)[2:])


def test_states_that_nothing_leads_to_have_no_slope():
    """A start and a transition of probability 0: the sum is right and no gradient is NaN."""
    hmm, x = made("bernoulli", states=2)
    with torch.no_grad():
        hmm.start.copy_(torch.tensor([0.0, -torch.inf]))
        hmm.transition.copy_(torch.tensor([[0.0, -torch.inf], [0.0, -torch.inf]]))
    found = hmm.log_prob(x, LENGTHS)
    torch.testing.assert_close(found[0], over_all_paths(hmm, x[0], 4))
    slopes = torch.autograd.grad(found.sum(), [hmm.emission, hmm.transition])
    assert all(bool(slope.isfinite().all()) for slope in slopes)


@pytest.mark.parametrize("emission", ["bernoulli", "categorical"])
def test_draws_are_as_frequent_as_their_probability(emission):
    hmm, _ = made(emission, states=2, size=1 if emission == "bernoulli" else 2)
    n = 20_000
    drawn = hmm.sample(n, torch.full((n,), 3), seed=0).reshape(n, 3)
    every = torch.tensor(list(itertools.product((0, 1), repeat=3)))
    p = hmm.log_prob(every if hmm.tokens else every.double().unsqueeze(-1)).exp().detach()
    assert float(p.sum()) == pytest.approx(1.0)
    counts = (drawn.long() @ torch.tensor([4, 2, 1])).bincount(minlength=8)
    assert float(((counts - n * p) ** 2 / (n * p)).sum()) < 29.9  # χ² of 7 degrees: one in 10⁴
    ragged = hmm.sample(2, torch.tensor([3, 1]), seed=1)
    assert ragged.shape[:2] == (2, 3)
    assert not ragged[1, 1:].any()


@pytest.mark.parametrize("emission", ["bernoulli", "categorical"])
def test_em_never_lowers_what_it_climbs(emission):
    truth, _ = made(emission, states=3, size=4, seed=1)
    with torch.no_grad():
        truth.emission.mul_(3)
        truth.transition.mul_(2)
    lengths = torch.randint(1, 9, (60,), generator=torch.Generator().manual_seed(0))
    x = truth.sample(60, lengths, seed=0)
    hmm, _ = made(emission, states=3, size=4, seed=2)
    rows = x[torch.arange(x.shape[1]) < lengths[:, None]]
    count = 1.5
    if hmm.tokens:
        mean = (rows.bincount(minlength=4) + 0.5) / (len(rows) + 2)
    else:
        mean = (rows.sum(0) + 0.5) / (len(rows) + 1)
    climbed = []
    for _ in range(15):
        if hmm.tokens:
            prior = (mean * hmm.emission.log_softmax(-1)).sum()
        else:
            law = torch.distributions.Bernoulli(logits=hmm.emission, validate_args=False)
            prior = law.log_prob(mean.expand_as(hmm.emission)).sum()
        (before,) = hmm.fit_em(x, lengths, iterations=1, pseudo_count=count)
        climbed.append(before + count * float(prior.detach()))
    gains = torch.tensor(climbed).diff()
    assert (gains > -1e-8).all()
    assert float(gains[0]) > 1
    other, _ = made(emission, states=3, size=4, seed=2)
    found = other.fit_em(x, lengths, iterations=15, pseudo_count=1e-6)
    assert (torch.tensor(found).diff() > -1e-3).all()
    assert found[-1] > float(truth.log_prob(x, lengths).sum().detach()) - 1  # as good as the truth


def test_it_is_trained_by_maximum_likelihood_and_reports_nats_per_step(caplog):
    truth, _ = made("bernoulli", states=2, size=3, seed=1)
    truth = truth.float()
    with torch.no_grad():
        truth.emission.mul_(4)
    lengths = torch.arange(1, 65) % 7 + 1
    x = truth.sample(64, lengths, seed=0)
    hmm = made("bernoulli", states=2, size=3, seed=3)[0].float()
    objective = MaximumLikelihood(hmm)
    loss, terms = objective(x, lengths)
    nats, steps = terms["nats_per_step"]
    assert float(nats / steps) == pytest.approx(
        -float(hmm.log_prob(x, lengths).sum().detach()) / int(lengths.sum())
    )
    sequences = [row[:length] for row, length in zip(x, lengths.tolist(), strict=True)]
    adam = lambda weights: torch.optim.Adam(weights, lr=0.05)  # noqa: E731
    history = fit(
        objective, Ragged(sequences), steps=300, batch_size=64, optimizer=adam, seed=0, progress=False
    )
    assert history.step == 300
    after = float(objective(x, lengths)[0].detach())
    assert after < -float(truth.log_prob(x, lengths).mean().detach()) + 0.1 < float(loss.detach()) - 0.5


@pytest.mark.parametrize("emission", ["bernoulli", "categorical"])
def test_states_start_at_steps_of_the_data(emission):
    """Three sorts of steps, in three states that follow each other: EM from there finds them."""
    sorts = torch.tensor([[1.0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]])
    order = torch.arange(12).repeat(20, 1) % 3
    x = sorts[order] if emission == "bernoulli" else order
    lengths = torch.arange(20) % 10 + 3
    inside = torch.arange(12) < lengths[:, None]
    x = torch.where(inside[..., None] if emission == "bernoulli" else inside, x, 0)
    hmm = HiddenMarkov(6, 4, emission=emission)
    hmm.start_at(x, lengths, seed=1)
    first = hmm.emission.detach().clone()
    if emission == "bernoulli":
        mean = (x[inside].sum(0) + 0.5) / (int(inside.sum()) + 1)
        found = 3 * first.sigmoid() - 2 * mean
        nearest = torch.cdist(found, sorts)
    else:
        mean = (x[inside].bincount(minlength=4) + 0.5) / (int(inside.sum()) + 2)
        nearest = torch.cdist(3 * first.softmax(-1) - 2 * mean, torch.eye(4)[:3])
    assert (nearest.amin(1) < 1e-4).all()
    assert len(nearest.argmin(1).unique()) == 3  # each sort was drawn
    hmm.fit_em(x, lengths, iterations=30, pseudo_count=1e-3)
    assert float(hmm.log_prob(x, lengths).mean().detach()) > -0.1  # all is known but the pseudo-counts
    hmm.start_at(x, lengths, seed=1)
    assert torch.equal(hmm.emission, first)


def test_what_is_wrong_is_said():
    hmm, x = made("bernoulli")
    with pytest.raises(ValueError, match=r"shape \(n, T, 2\) but has \(3, 4\)"):
        hmm.log_prob(x[..., 0])
    assert hmm.log_prob(x + torch.tensor([0.0, 0, 0.5])[:, None, None], LENGTHS).isinf().tolist() == [0, 0, 1]
    with pytest.raises(ValueError, match="'bernoulli' or 'categorical' but got 'normal'"):
        HiddenMarkov(2, 3, emission="normal")
    with pytest.raises(ValueError, match="lengths of the sequences to be drawn"):
        hmm.sample(3)
    with pytest.raises(ValueError, match="pseudo_count should be above 0 but got 0"):
        hmm.fit_em(x, iterations=1, pseudo_count=0)
    with pytest.raises(TypeError, match="should have a log_prob but GMMN has none"):
        MaximumLikelihood(GMMN(torch.nn.Linear(1, 1), noise=1))
