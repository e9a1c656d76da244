"""Importance-sampled likelihood against exact evidence."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from probgen.core import Estimate, Pair
from probgen.evaluation.likelihood import importance as likelihood
from probgen.evaluation.likelihood.importance import log_likelihood, log_likelihoods
from tests.pairs import LinearGaussian, Subsampled


@pytest.fixture
def pair(device):
    return LinearGaussian().to(device).double()


@pytest.fixture
def x(pair):
    return torch.randn(6, 3, dtype=torch.float64, device=pair.bias.device)


def test_the_exact_posterior_gives_the_exact_evidence_from_one_draw(pair, x):
    pair.exact_guide = True
    torch.testing.assert_close(log_likelihoods(pair, x, particles=1), pair.evidence(x).detach())


def test_the_scale_of_a_subsampled_plate_is_left_out(pair, x):
    subsampled = Subsampled(exact_guide=True).to(x.device).double()
    subsampled.load_state_dict(pair.state_dict())
    torch.testing.assert_close(log_likelihoods(subsampled, x, particles=3), pair.evidence(x).detach())


def test_another_guide_converges_to_the_exact_evidence(pair, x):
    with torch.no_grad():
        pair.guide_log_scale.fill_(0.5)  # wide enough for weights of finite variance
    particles, exact = 4000, pair.evidence(x).detach()
    repeats = torch.stack([log_likelihoods(pair, x, particles=particles, seed=s) for s in range(30)])
    error = repeats.std(0) / math.sqrt(30)
    bias = repeats.var(0) / 2  # of the log of an unbiased estimate, to first order
    assert ((repeats.mean(0) - exact).abs() < 5 * error + 2 * bias).all()
    assert (error < 0.02).all()


def test_one_particle_is_the_bound_below_the_evidence(pair, x):
    ones = torch.stack([log_likelihoods(pair, x, particles=1, seed=s) for s in range(400)])
    gap = pair.evidence(x).detach() - ones.mean(0)
    assert (gap > 5 * ones.std(0) / 20).all()


def test_blocks_do_not_change_the_estimate(pair, x, monkeypatch):
    pair.exact_guide = True
    whole = log_likelihoods(pair, x, particles=7)
    monkeypatch.setattr(likelihood, "ELEMENTS", 12)  # two rows at a time, two particles at a time
    torch.testing.assert_close(log_likelihoods(pair, x, particles=7), whole)


def test_the_mean_comes_with_its_standard_error_over_data(pair, x):
    values = log_likelihoods(pair, x, particles=10, seed=3)
    estimate = log_likelihood(pair, x, particles=10, seed=3)
    assert isinstance(estimate, Estimate)
    assert estimate.value == pytest.approx(float(values.mean()))
    assert estimate.stderr == pytest.approx(float(values.std()) / math.sqrt(6))


def test_bad_input_is_named(pair, x):
    with pytest.raises(ValueError, match="particles should be at least 1 but got 0"):
        log_likelihood(pair, x, particles=0)
    with pytest.raises(ValueError, match="x should have at least one row"):
        log_likelihood(pair, x[:0])
    x[2] = torch.inf
    with pytest.raises(ValueError, match="x should be finite but row 2 holds NaN or infinity"):
        log_likelihood(pair, x)


class WithinPlates(Pair):
    """x = z₁ + z₂ + z₃ + noise, the z in a plate of their own at -2: x ~ N(0, 3 + 1/4)."""

    def model(self, x=None, *, n=1):
        n = n if x is None else len(x)
        with pyro.plate("data", n, dim=-1):
            with pyro.plate("parts", 3, dim=-2):
                z = pyro.sample("z", dist.Normal(torch.zeros(3, 1, dtype=torch.float64), 1.0))
            return pyro.sample("x", dist.Normal(z.sum(-2), 0.5), obs=x)

    def guide(self, x=None, *, n=1):
        with pyro.plate("data", len(x), dim=-1), pyro.plate("parts", 3, dim=-2):
            pyro.sample("z", dist.Normal(x / 3.25, 0.9))


def test_latent_sites_may_be_in_plates_within_that_of_the_data():
    x = torch.tensor([0.5, 4.0], dtype=torch.float64)
    found = log_likelihoods(WithinPlates(), x, particles=400, seed=0)
    exact = dist.Normal(0.0, 3.25**0.5).log_prob(x)
    torch.testing.assert_close(found, exact, rtol=0, atol=0.4)  # of 400 draws
