"""Nats a step of models whose likelihood is known."""

import math

import pytest
import torch

from probgen.models import GMMN, HiddenMarkov
from probgen.recipes import sequence_likelihood
from tests.models.test_sequences import LENGTHS, kalman, linear


def test_a_bound_is_above_the_truth_and_the_elbo_above_the_bound():
    x = torch.randn(3, 4, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    nats = -kalman(x, LENGTHS)
    truth = float(nats.sum() / LENGTHS.sum())
    exact = sequence_likelihood.per_step(linear(), (x, LENGTHS), particles=5, seed=0)
    assert exact["nats_per_step"] == pytest.approx(truth)
    assert exact["elbo_per_step"] == pytest.approx(truth, abs=0.1)  # of ten draws
    off = (nats - truth * LENGTHS) / LENGTHS.double().mean()
    assert exact["nats_per_step_stderr"] == pytest.approx(float(off.std()) / math.sqrt(3))
    loose = sequence_likelihood.per_step(linear(1.4), (x, LENGTHS), particles=5000, seed=0)
    assert loose["nats_per_step"] == pytest.approx(truth, abs=0.02)
    assert loose["elbo_per_step"] > truth + 0.03
    assert "5000 particles" in sequence_likelihood.how(linear(), particles=5000)


def test_a_likelihood_that_is_known_is_exact():
    torch.manual_seed(0)
    hmm = HiddenMarkov(2, 3)
    x = torch.zeros(3, 4, 3)
    found = sequence_likelihood.per_step(hmm, (x, LENGTHS), particles=1, seed=0)
    assert found["nats_per_step"] == pytest.approx(-float(hmm.log_prob(x, LENGTHS).sum().detach()) / 8)
    assert set(found) == {"nats_per_step", "nats_per_step_stderr"}
    assert sequence_likelihood.how(hmm, particles=1) == "exact"


def test_what_has_neither_is_refused():
    model = GMMN(torch.nn.Linear(1, 1), noise=1)
    with pytest.raises(TypeError, match="a guide or a log_prob but GMMN has neither"):
        sequence_likelihood.per_step(model, (torch.zeros(2, 1),), particles=1, seed=0)
