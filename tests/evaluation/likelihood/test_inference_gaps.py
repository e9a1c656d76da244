"""Gaps of guides against closed forms, on models whose posterior is normal."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from probgen import models, nets
from probgen.core import Pair
from probgen.evaluation import inference_gaps
from tests.pairs import LinearGaussian

double = torch.float64
Z_LIMIT = 4.4
QUICK = {"temperatures": 20, "chains": 4, "steps": 300, "leapfrog_steps": 2}


def lost_by_the_best_diagonal(pair):
    """½ (Σ log M_ii − log |M|), M = I + WᵀW / σ²."""
    w = pair.weight.detach()
    m = torch.eye(2, dtype=double) + w.T @ w / (2 * pair.log_sigma.detach()).exp()
    return float(0.5 * (m.diagonal().log().sum() - m.logdet()))


@pytest.fixture(scope="module")
def found():
    pair = LinearGaussian().double().requires_grad_(False)
    with torch.no_grad():
        pair.guide_log_scale.fill_(-0.5)
        pair.guide_map.weight.mul_(0.2)
        pair.weight.copy_(torch.tensor([[1.0, 0.9], [0.8, 1.0], [0.3, 0.5]]))
    x = pair.sample(15, seed=1).detach()
    return pair, x, inference_gaps(pair, x, **QUICK, seed=0)


def test_the_approximation_gap_is_that_of_the_best_diagonal_law(found):
    pair, x, gaps = found
    exact, lost = float(pair.evidence(x).mean()), lost_by_the_best_diagonal(pair)
    assert lost > 0.2
    assert gaps.local.value == pytest.approx(exact - lost, abs=0.02)
    assert exact - 1 < gaps.evidence.value < exact + 0.1
    assert gaps.approximation.value == pytest.approx(gaps.evidence.value - gaps.local.value)


def test_the_amortisation_gap_is_the_divergence_of_the_guide_beyond_it(found):
    pair, x, gaps = found
    with torch.no_grad():
        q = pyro.poutine.trace(pair.guide).get_trace(x).nodes["z"]["fn"]
        full = dist.MultivariateNormal(q.mean, torch.diag_embed(q.variance))
        kl = torch.distributions.kl_divergence(full, pair.exact_posterior(x)).mean()
    assert gaps.guide.value == pytest.approx(float(pair.evidence(x).mean() - kl), abs=0.15)
    assert gaps.amortisation.value == pytest.approx(gaps.local.value - gaps.guide.value)
    assert gaps.amortisation.value > 0.5


def test_chains_refine_a_guide_and_the_refined_bound_is_one(found):
    pair, x, gaps = found
    assert gaps.guide.value + 0.3 < gaps.refined.value
    assert gaps.refined.value < float(pair.evidence(x).mean()) + Z_LIMIT * gaps.refined.stderr
    assert gaps.refinement.value == pytest.approx(gaps.refined.value - gaps.guide.value)


def test_a_dense_local_law_closes_the_gap(found):
    pair, x, _ = found
    gaps = inference_gaps(pair, x[:5], covariance="dense", **QUICK, seed=0)
    assert gaps.local.value == pytest.approx(float(pair.evidence(x[:5]).mean()), abs=5e-3)


class Positive(Pair):
    """z ~ LogNormal(0, 1), x ~ N(log z, 1): on the unconstrained scale the posterior is N(x / 2, 1 / 2)."""

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", n if x is None else len(x)):
            z = pyro.sample("z", dist.LogNormal(torch.zeros(1, dtype=double), 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(z.log(), 1.0).to_event(1), obs=x)

    def guide(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            return pyro.sample("z", dist.LogNormal(0.3 + 0 * x, 1.0).to_event(1))


def test_codes_on_a_half_line_are_fitted_on_the_line():
    x = torch.tensor([[0.4], [-0.5]], dtype=double)
    gaps = inference_gaps(Positive(), x, **QUICK, seed=0)
    exact = float(dist.Normal(0.0, math.sqrt(2)).log_prob(x).mean())
    assert gaps.local.value == pytest.approx(exact, abs=2e-3)


def test_bad_input_is_named():
    vae = models.VAE(nets.PointHead(nets.MLP(1, 2)), nets.NormalHead(nets.MLP(2, 1)))
    with pytest.raises(ValueError, match="covariance should be 'diagonal' or 'dense' but is 'full'"):
        inference_gaps(vae, torch.ones(2, 1), covariance="full")
    with pytest.raises(ValueError, match="'z' should be a law with a density but is a point"):
        inference_gaps(vae, torch.ones(2, 1))
    with pytest.raises(ValueError, match="steps should be at least 1"):
        inference_gaps(vae, torch.ones(2, 1), steps=0)
