"""Random-walk Metropolis: acceptance, members of a batch, what is refused."""

import math

import pytest
import torch
from torch.distributions import constraints

from probgen.core import Density
from probgen.sampling import random_walk

CHAINS = 50_000


def test_acceptance_is_that_of_the_ratio(generator):
    density = Density(lambda x: -0.5 * x**2, dtype=torch.float64)
    start = torch.zeros(CHAINS, 1, dtype=torch.float64)
    transition = random_walk(density, scale=2.0)
    state, info = transition.step(transition.init(start), generator)
    torch.testing.assert_close(state.log_prob, -0.5 * state.position[:, 0] ** 2)
    assert torch.equal(info.accepted, state.position[:, 0] != 0)
    expected = 1 / math.sqrt(1 + 2.0**2)  # E exp(−ε²s²/2)
    assert abs(info.acceptance.mean() - expected) < 0.01
    assert abs(info.accepted.double().mean() - expected) < 0.015


def test_members_of_a_batch_are_accepted_apart(generator):
    density = Density(
        lambda x: torch.where(torch.tensor([True, False]) | (x == 0), 0.0, -torch.inf), batch_shape=(2,)
    )
    transition = random_walk(density, scale=1.0)
    state, _ = transition.step(transition.init(torch.zeros(100, 2, 1)), generator)
    assert (state.position[:, 0] != 0).all()
    assert (state.position[:, 1] == 0).all()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_proposal_that_is_not_finite_is_refused_and_marked(value, generator):
    density = Density(lambda x: torch.where(x > 1, value, -0.5 * x**2))
    transition = random_walk(density, scale=2.0)
    state, marked, moved = transition.init(torch.zeros(100, 1)), 0, torch.zeros(100, dtype=torch.bool)
    for _ in range(20):
        state, info = transition.step(state, generator)
        assert not (info.not_finite & info.accepted).any()
        assert (info.acceptance[info.not_finite] == 0).all()
        marked, moved = marked + info.not_finite.sum(), moved | info.accepted
    assert 500 < marked < 1000  # P(2ε > 1 − x), where −∞ < x < 1
    assert (state.position <= 1).all()
    assert moved.all()


def test_a_proposal_outside_the_support_is_refused_without_a_mark(generator):
    density = Density(lambda x: torch.where(x > 0, -x, -torch.inf))
    transition = random_walk(density, scale=2.0)
    _, info = transition.step(transition.init(torch.full((100, 1), 0.1)), generator)
    assert (info.acceptance == 0).any()
    assert not info.not_finite.any()


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (0.0, "scale should be positive and finite but got 0"),
        (math.nan, "scale should be positive and finite but got nan"),
        (torch.tensor([1.0, -1.0]), r"scale should be positive and finite but got -1\.0"),
        (torch.ones(3), r"shape \(2,\), \(2,\) or \(2, 2\) but has \(3,\)"),
        (torch.tensor([[1.0, 0.5], [0.0, 1.0]]), "scale should be a lower Cholesky factor"),
    ],
)
def test_bad_scales(scale, message):
    density = Density(lambda x: -(x**2).sum(-1), support=constraints.real_vector, event_shape=(2,))
    with pytest.raises(ValueError, match=message):
        random_walk(density, scale=scale)
