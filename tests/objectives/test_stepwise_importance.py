"""Importance weights step by step: exact evidence, the filter's estimate, padding, graphs."""

import pytest
import torch
from torch import nn

from probgen import SVI, fit
from probgen.core import seeded
from probgen.data import Ragged
from probgen.evaluation import filtered_log_likelihoods
from probgen.models import VRNN
from probgen.nets import GRU, History
from probgen.objectives import ELBO, IWAE, StepwiseIWAE
from tests.models.test_sequences import LENGTHS, Code, data, deep_markov, vrnn


@pytest.fixture
def pair():
    torch.manual_seed(0)
    made = vrnn().double().eval()
    with torch.no_grad():
        for weight in made.decoder.parameters():
            weight.mul_(4.0)
    return made


def mean_of(pair, bound, *batch, repeats):
    with seeded(1), torch.no_grad():
        return torch.stack([-SVI(pair, bound)(*batch)[0] for _ in range(repeats)]).mean()


@pytest.mark.parametrize("particles", [1, 3])
def test_an_exact_guide_has_the_evidence_itself(particles):
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(5, 1, dtype=torch.float64))
    history = History(GRU(1, 5)).double().eval()
    linear = VRNN(history, prior=Code(weight), encoder=Code(weight, 0.5, 0.5**0.5), decoder=Code(weight, 1.0))
    x = torch.randn(3, 4, 1, dtype=torch.float64)
    exact = filtered_log_likelihoods(linear, x, LENGTHS, particles=1, seed=0).mean()
    loss, terms = SVI(linear, StepwiseIWAE(particles))(x, LENGTHS)
    torch.testing.assert_close(-loss.detach(), exact)
    torch.testing.assert_close(terms["iwae"], exact)
    assert float(terms["ess"]) == pytest.approx(particles)


def test_it_lies_between_the_elbo_and_the_evidence_and_above_whole_sequences(pair):
    batch = data(), LENGTHS
    evidence = filtered_log_likelihoods(pair, *batch, particles=20_000, resample_below=1.0, seed=0).mean()
    one, other = (mean_of(pair, bound, *batch, repeats=3) for bound in (StepwiseIWAE(1), IWAE(1)))
    torch.testing.assert_close(one, other)  # of the same draws
    elbo = mean_of(pair, ELBO(particles=500), *batch, repeats=4)
    stepwise = mean_of(pair, StepwiseIWAE(8), *batch, repeats=200)
    whole = mean_of(pair, IWAE(8), *batch, repeats=200)
    assert elbo + 0.05 < whole < stepwise - 0.01
    assert stepwise < evidence
    many = mean_of(pair, StepwiseIWAE(20_000), *batch, repeats=1)
    assert float(many) == pytest.approx(float(evidence), abs=0.02)


def test_padding_has_no_influence_and_every_weight_a_gradient(pair):
    x = data()
    dirty = torch.cat([x, torch.ones_like(x)], 1).requires_grad_()
    loss, terms = SVI(pair, StepwiseIWAE(4))(dirty, LENGTHS)
    slope, *slopes = torch.autograd.grad(loss, [dirty, *pair.parameters()])
    outside = torch.arange(8) >= LENGTHS[:, None]
    assert not slope[outside].any()
    assert slope[~outside].any()
    assert all(bool(each.isfinite().all()) and bool(each.any()) for each in slopes)
    torch.testing.assert_close(terms["nats_per_step"], torch.stack([-terms["elbo"], LENGTHS.double().mean()]))
    assert 1 < float(terms["ess"]) < 4


def test_a_graph_learns_what_the_loss_does(pair):
    sequences = [row[:length] for row, length in zip(data(), LENGTHS.tolist(), strict=True)] * 4
    state = {name: value.clone() for name, value in pair.state_dict().items()}
    found = []
    for how in ("eager", "graph"):
        pair.load_state_dict(state)
        rows = Ragged(sequences, multiple=4)
        objective = SVI(pair, StepwiseIWAE(3))
        fit(objective, rows, steps=3, batch_size=4, seed=0, compile=how, progress=False)
        found.append([weight.detach().clone() for weight in pair.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_a_pair_whose_codes_follow_from_each_other_is_refused():
    with pytest.raises(
        TypeError, match="by a method 'laws_of_steps', which DeepMarkov has not: IWAE needs none"
    ):
        SVI(deep_markov(), StepwiseIWAE())(data().float(), LENGTHS)
