"""Delayed rejection and multiple tries: acceptance, places that are not finite, how far they go."""

import math

import pytest
import scipy.stats
import torch
from torch.distributions import constraints

from probgen.core import Density
from probgen.sampling import delayed_rejection, multiple_try, random_walk, sample
from tests import laws
from tests.sampling.markov.targets import of_scipy

CHAINS = 50_000
DOUBLE = {"dtype": torch.float64}
TRANSITIONS = {
    "delayed rejection": lambda d: delayed_rejection(d, scale=3.0),
    "multiple try": lambda d: multiple_try(d, scale=3.0, tries=4),
}
each = pytest.mark.parametrize("transition", TRANSITIONS.values(), ids=TRANSITIONS)


@each
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_places_that_are_not_finite_are_as_if_outside(transition, value, generator):
    """The law is the normal one up to 0.5, also where most proposals are beyond."""
    density = Density(lambda x: torch.where(x > 0.5, value, -0.5 * x**2), **DOUBLE)
    law = scipy.stats.truncnorm(-math.inf, 0.5)
    uniform = torch.rand(CHAINS, generator=generator, **DOUBLE)
    exact = torch.as_tensor(law.ppf(uniform.numpy()))
    step = transition(density)
    laws.check_stationary(density, step, exact, [(lambda x: x, of_scipy(law))], generator=generator, steps=3)
    _, info = step.step(step.init(exact.unsqueeze(-1)), generator)
    assert info.not_finite.any() == (value != -math.inf)
    assert info.acceptance.isfinite().all()


@each
def test_the_acceptance_is_a_probability_and_is_met(transition, generator):
    density = Density(lambda x: -0.5 * x**2, **DOUBLE)
    step = transition(density)
    state, info = step.step(step.init(torch.full((CHAINS, 1), 0.3, **DOUBLE)), generator)
    assert (info.acceptance >= 0).all()
    assert (info.acceptance <= 1).all()
    assert torch.equal(info.accepted, state.position[:, 0] != 0.3)
    apart = info.accepted.double() - info.acceptance
    assert abs(apart.mean()) < 5 * apart.std() / math.sqrt(CHAINS)
    torch.testing.assert_close(state.log_prob, density.unconstrained_log_prob(state.position))


def test_the_second_stage_is_that_of_tierney_and_mira(generator):
    """On two points at hand: its acceptance by the formula, with the density of the first proposal."""
    scale, shrink = 1.5, 0.5
    density = Density(lambda x: -(x**4) + x, **DOUBLE)
    x = torch.full((CHAINS, 1), 0.2, **DOUBLE)
    step = delayed_rejection(density, scale=scale, shrink=shrink)
    state, _ = step.step(step.init(x), torch.Generator().manual_seed(5))
    same = torch.Generator().manual_seed(5)
    noise = torch.randn(2, CHAINS, 1, generator=same, **DOUBLE)
    uniform = torch.rand(2, CHAINS, generator=same, **DOUBLE)
    first, second = x + scale * noise[0], x + scale * shrink * noise[1]
    law = torch.distributions.Normal

    def pi(y):
        return density.log_prob(y[:, 0]).exp()

    def q(start, end):
        return law(start, scale).log_prob(end)[:, 0].exp()

    def alpha(start, end):
        return (pi(end) / pi(start)).clamp(max=1)

    numerator = pi(second) * q(second, first) * (1 - alpha(second, first))
    ratio = numerator / (pi(x) * q(x, first) * (1 - alpha(x, first)))
    moved = torch.where((uniform[1] < ratio).unsqueeze(-1), second, x)
    expected = torch.where((uniform[0] < alpha(x, first)).unsqueeze(-1), first, moved)
    assert (state.position == second).double().mean() > 0.1
    torch.testing.assert_close(state.position, expected)


def test_they_go_farther_than_the_best_random_walk(generator):
    """By the mean square of a step on a Gaussian target in five dimensions, as the docstrings say."""
    density = Density(
        lambda x: -0.5 * (x**2).sum(-1), support=constraints.real_vector, event_shape=(5,), **DOUBLE
    )
    start = torch.randn(CHAINS, 5, generator=generator, **DOUBLE)

    def far(transition):
        state, _ = transition.step(transition.init(start), generator)
        return (state.position - start).square().sum(-1).mean()

    best = far(random_walk(density, scale=2.5 / math.sqrt(5)))
    assert 1.1 < far(delayed_rejection(density, scale=3 / math.sqrt(5))) / best < 1.35
    assert 2.2 < far(multiple_try(density, scale=3 / math.sqrt(5))) / best < 2.8


@pytest.mark.parametrize("method", ["delayed_rejection", "multiple_try"])
def test_sample_by_name(method, generator):
    means, scales = torch.tensor([-3.0, 5.0], **DOUBLE), torch.tensor([0.1, 10.0], **DOUBLE)
    density = Density.from_distribution(torch.distributions.Normal(means, scales))
    chains = sample(
        density, method=method, chains=200, warmup=300, draws=100, compile="graph", generator=generator
    )
    of_chains = chains["x"].mean(1)
    assert ((of_chains.mean(0) - means).abs() < 5.5 * of_chains.std(0) / math.sqrt(200)).all()
    torch.testing.assert_close(chains["x"].flatten(0, 1).std(0), scales, rtol=0.06, atol=0)
    assert abs(chains.statistics["acceptance"].mean() - chains.target_acceptance) < 0.05


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda d: delayed_rejection(d, scale=1.0, shrink=0.0),
            r"shrink should be above 0 and at most 1 but got 0\.0",
        ),
        (lambda d: delayed_rejection(d, scale=-1.0), r"scale should be positive and finite but got -1\.0"),
        (lambda d: multiple_try(d, scale=1.0, tries=1), "tries should be at least 2 but got 1"),
    ],
)
def test_bad_options(make, message):
    with pytest.raises(ValueError, match=message):
        make(Density(lambda x: -(x**2)))
