"""Annealed importance sampling against exact evidence, quadrature, and its own two sides."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from probgen import models, nets
from probgen.core import Pair, log_joint_prob
from probgen.evaluation import annealed_log_likelihood, bracketed_log_likelihood, log_likelihood
from probgen.evaluation.likelihood import annealed
from tests.pairs import LinearGaussian, Plated, Subsampled

double = torch.float64
Z_LIMIT = 4.4
"""Of a standard normal number, exceeded with probability 1e-5."""


@pytest.fixture
def pair(device):
    return LinearGaussian().to(device).double()


@pytest.fixture
def x(pair):
    return pair.sample(6, seed=1).detach()


def z_score(differences):
    """Say how far the mean of numbers is from 0, in its standard errors."""
    return float(differences.mean() / (differences.std() / math.sqrt(differences.numel())))


@pytest.mark.parametrize("temperatures", [1, 4])
def test_the_exact_posterior_as_guide_gives_the_exact_evidence(pair, x, temperatures):
    pair.exact_guide = True
    found = annealed_log_likelihood(pair, x, temperatures=temperatures, chains=3, start="guide", seed=0)
    evidence = pair.evidence(x).detach()
    torch.testing.assert_close(found.log_weights, evidence.expand(3, -1))
    torch.testing.assert_close(found.values, evidence)
    torch.testing.assert_close(found.ess, torch.full_like(evidence, 3.0))
    assert found.value == pytest.approx(float(evidence.mean()))
    assert found.stderr == pytest.approx(float(evidence.std()) / math.sqrt(6))


@pytest.mark.parametrize("start", ["prior", "guide"])
def test_weights_there_and_back_are_those_of_one_ratio_of_densities(pair, start):
    """Of r = w / p(x), E r / (1 + r) on the way there is E 1 / (1 + r) on the way back (Crooks, 1999).

    That holds for few temperatures too, whose chains are far from each posterior.
    """
    found = bracketed_log_likelihood(pair, 800, temperatures=8, chains=4, start=start, seed=0)
    with annealed.in_evaluation(pair, 0):  # the draws of the model by the same seed
        evidence = pair.evidence(pair.model(n=800)).detach()

    def score(log_evidence):
        there = (found.lower.log_weights - log_evidence).sigmoid().mean(0)
        back = (found.upper.log_weights + log_evidence).sigmoid().mean(0)
        return abs(z_score(there - back))

    assert score(evidence) < Z_LIMIT
    assert score(evidence + 0.15) > Z_LIMIT
    assert score(evidence - 0.15) > Z_LIMIT
    assert found.gap.value > 0.1


def test_weights_have_the_mean_p_of_x(pair, x):
    found = annealed_log_likelihood(pair, x, temperatures=8, chains=1000, leapfrog_steps=2, seed=0)
    off = found.values - pair.evidence(x).detach()
    assert (off.abs() < Z_LIMIT * found.stderrs).all()
    assert (found.stderrs < 0.1).all()
    assert (found.ess < 700).all()


def test_more_temperatures_come_nearer_and_the_bracket_holds_the_truth(pair):
    gaps = []
    for temperatures in (2, 10, 60):
        found = bracketed_log_likelihood(
            pair, 40, temperatures=temperatures, chains=4, leapfrog_steps=3, seed=2
        )
        with annealed.in_evaluation(pair, 2):
            exact = pair.evidence(pair.model(n=40)).detach()
        for bound, sign in ((found.lower, 1), (found.upper, -1)):
            above = sign * (bound.values - exact)  # its mean should not be above 0
            assert above.mean() < Z_LIMIT * above.std() / math.sqrt(40)
        assert found.gap.value > -Z_LIMIT * found.gap.stderr
        gaps.append(found.gap.value)
    assert gaps[0] > 0.5  # so that the bounds were not the truth from the start
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 0.2


def test_a_bracket_of_a_small_vae_holds_the_evidence_of_quadrature_within_a_tenth_of_a_nat():
    torch.manual_seed(3)
    decoder = nets.BernoulliHead(nets.MLP(2, 12, hidden=16))
    vae = models.VAE(nets.NormalHead(nets.MLP(12, 2, hidden=8)), decoder).double()
    for name, weight in decoder.named_parameters():
        torch.nn.init.normal_(weight, std=1.5 if "weight" in name else 0.5)
    found = bracketed_log_likelihood(vae, 30, temperatures=100, chains=20, leapfrog_steps=4, seed=1)
    with annealed.in_evaluation(vae, 1), torch.no_grad():
        x = vae.model(n=30)
        side = torch.linspace(-6, 6, 241, dtype=double)
        grid = torch.cartesian_prod(side, side)
        joint = decoder(grid).base_dist.logits
        joint = joint @ x.T - torch.nn.functional.softplus(joint).sum(1, keepdim=True)
        joint = joint + vae.prior().log_prob(grid)[:, None]
        exact = joint.logsumexp(0) + 2 * math.log(0.05)
    for bound in (found.lower, found.upper):
        off = bound.values - exact
        assert abs(float(off.mean())) < 0.1
        assert abs(float(off.mean())) < Z_LIMIT * float(off.std()) / math.sqrt(30) + 0.05
        assert float(off.abs().max()) < 1.0
    # and is worth having: importance sampling from the guide, which has not learned, is further off
    assert log_likelihood(vae, x, particles=20, seed=0).value < float(exact.mean()) - 0.1


class TwoLevels(Pair):
    """w ~ N(0, 1), s | w ~ LogNormal(w, 1), x | w ~ N(w, 1): s is in the path but not in the evidence."""

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", n if x is None else len(x)):
            w = pyro.sample("w", dist.Normal(torch.zeros(1, dtype=double), 1.0).to_event(1))
            pyro.sample("s", dist.LogNormal(w, 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(w, 1.0).to_event(1), obs=x)

    def guide(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            w = pyro.sample("w", dist.Normal(x / 2, 0.5**0.5).to_event(1))
            pyro.sample("s", dist.LogNormal(w, 1.0).to_event(1))


@pytest.mark.parametrize("start", ["prior", "guide"])
def test_sites_that_depend_on_each_other_and_on_half_lines(start):
    x = torch.tensor([[0.3], [-1.2]], dtype=double)
    found = annealed_log_likelihood(TwoLevels(), x, temperatures=20, chains=50, start=start, seed=0)
    exact = dist.Normal(0.0, 2**0.5).log_prob(x)[:, 0]
    assert ((found.values - exact).abs() < Z_LIMIT * found.stderrs + 1e-6).all()
    assert (found.stderrs < 0.1).all()
    if start == "guide":
        torch.testing.assert_close(found.log_weights, exact.expand(50, -1))


@pytest.mark.parametrize(("kind", "start"), [(Plated, "prior"), (Plated, "guide"), (Subsampled, "guide")])
def test_other_plates_and_scales_change_nothing(pair, x, kind, start):
    other, z = kind().double(), torch.randn(5, 6, 2, dtype=double)
    other.load_state_dict(pair.state_dict())
    settings = {"temperatures": 1, "chains": 3, "start": start, "seed": 0}
    found, expected = (annealed_log_likelihood(one, x, **settings) for one in (other, pair))
    torch.testing.assert_close(found.log_weights, expected.log_weights)
    ends = [annealed.bridge_of(one, one.posterior(x), (x,), start).ends(z) for one in (other, pair)]
    torch.testing.assert_close(*ends)


def test_its_start_is_the_law_of_the_guide(pair, x):
    density = pair.posterior(x)
    z = torch.randn(5, 6, 2, dtype=double)
    trace = pyro.poutine.trace(pyro.poutine.condition(pair.guide, {"z": z})).get_trace(x)
    start, end = annealed.bridge_of(pair, density, (x,), "guide").ends(z)
    torch.testing.assert_close(start, log_joint_prob(trace, 6))
    torch.testing.assert_close(end, density.log_prob(z))


def test_blocks_keep_every_row(pair, x, monkeypatch):
    pair.exact_guide = True
    monkeypatch.setattr("probgen.evaluation.likelihood.importance.ELEMENTS", 24)
    found = annealed_log_likelihood(
        pair, x, temperatures=2, chains=2, leapfrog_steps=1, start="guide", seed=0
    )
    torch.testing.assert_close(found.values, pair.evidence(x).detach())
    monkeypatch.setattr(annealed, "ELEMENTS", 24)
    both = bracketed_log_likelihood(
        pair, 7, temperatures=2, chains=2, leapfrog_steps=1, start="guide", seed=0
    )
    torch.testing.assert_close(both.lower.values, both.upper.values)
    assert both.gap.value == pytest.approx(0, abs=1e-9)


def test_in_float32_it_is_that_of_float64(x, pair):
    pair.exact_guide = True
    settings = {"temperatures": 20, "chains": 2, "start": "guide", "seed": 0}
    found = annealed_log_likelihood(pair.float(), x.float(), **settings)
    evidence = pair.double().evidence(x).detach()
    torch.testing.assert_close(found.values, evidence, atol=2e-4, rtol=0)


class OnHalfLine(LinearGaussian):
    """A law of positive data."""

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", n if x is None else len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            return pyro.sample("x", dist.LogNormal(z, 1.0).to_event(1), obs=x)

    def guide(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            return pyro.sample("z", dist.LogNormal(torch.zeros(1), 1.0).to_event(1))


def classes():
    class Discrete(LinearGaussian):
        def model(self, x=None, *context, n=1):
            with pyro.plate("data", n if x is None else len(x)):
                k = pyro.sample("k", dist.Bernoulli(0.3))
                z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
                return pyro.sample("x", dist.Normal(z + k[..., None], 1.0).to_event(1), obs=x)

        def guide(self, x=None, *context, n=1):
            with pyro.plate("data", len(x)):
                return pyro.sample("z", dist.Normal(x, 1.0).to_event(1))

    return Discrete()


class Across(torch.nn.Module):
    """A decoder whose net looks along dimension 0."""

    def __init__(self, look):
        super().__init__()
        self.look = look

    def forward(self, z):
        return dist.Normal(self.look(z), 1.0).to_event(1)


def looking(look):
    return models.VAE(nets.NormalHead(nets.MLP(1, 1)), Across(look))


POINT = models.VAE(nets.PointHead(nets.MLP(1, 2)), nets.NormalHead(nets.MLP(2, 1)))
ONE = torch.ones(2, 1)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: annealed_log_likelihood(POINT, ONE, start="guide"), "'z' should be a law with a density"),
        (lambda: annealed_log_likelihood(classes(), ONE), r"continuous, but \['k'\] are discrete: use log_"),
        (
            lambda: annealed_log_likelihood(OnHalfLine(), -ONE, temperatures=2),
            "should be finite but is -inf at row 0 of x: is it in the support",
        ),
        (
            lambda: annealed_log_likelihood(OnHalfLine(), ONE, start="guide"),
            "'z' should have the support of the prior",
        ),
        (
            lambda: annealed_log_likelihood(looking(lambda z: z - z.mean(0)), ONE),
            "map each by itself but give others there",
        ),
        (
            lambda: annealed_log_likelihood(looking(lambda z: z.reshape(2, 1)), ONE),
            "map each by itself but fail: shape",
        ),
        (lambda: annealed_log_likelihood(POINT, ONE, start="post"), "start should be 'prior' or 'guide'"),
        (lambda: annealed_log_likelihood(POINT, ONE, temperatures=0), "temperatures should be at least 1"),
        (lambda: annealed_log_likelihood(POINT, ONE, chains=0), "chains should be at least 1"),
        (lambda: bracketed_log_likelihood(POINT, 0), "n should be at least 1"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_a_point_for_a_guide_is_no_matter_from_the_prior():
    assert annealed_log_likelihood(POINT, ONE, temperatures=2, chains=2).values.isfinite().all()


def test_one_chain_has_no_error_and_one_temperature_no_moves(pair, x):
    found = annealed_log_likelihood(pair, x, temperatures=1, chains=1, seed=0)
    assert found.values.isfinite().all()
    assert found.stderrs.isnan().all()
    assert found.acceptance.isnan().all()
    moved = annealed_log_likelihood(pair, x, temperatures=2, chains=1, seed=0)
    assert ((moved.acceptance >= 0) & (moved.acceptance <= 1)).all()  # of one trajectory, it may round to 0
    assert (moved.acceptance > 0).any()
