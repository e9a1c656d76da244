import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, constraints

from probgen.core import Density
from probgen.sampling import adapt_random_walk, run


def normal(scales, dtype=torch.float64):
    scales = torch.tensor(scales, dtype=dtype)
    return Density(
        lambda x: -0.5 * ((x / scales) ** 2).sum(-1),
        support=constraints.real_vector,
        event_shape=scales.shape,
        dtype=dtype,
    )


def acceptance(density, transition, position, generator):
    return run(transition, position, draws=200, generator=generator).statistics["acceptance"].mean((0, 1))


@pytest.mark.parametrize(("scales", "target"), [([1e-3], 0.44), ([1e3], 0.44), ([1e-2, 1.0, 1e2], 0.234)])
@pytest.mark.parametrize("covariance", ["dense", "diagonal"])
def test_the_acceptance_reaches_its_target(scales, target, covariance, generator):
    density = normal(scales)
    start = torch.randn(64, len(scales), generator=generator, dtype=torch.float64)
    transition, position = adapt_random_walk(
        density, start, steps=800, covariance=covariance, generator=generator
    )
    assert abs(acceptance(density, transition, position, generator) - target) < 0.04


def test_a_single_chain_is_tuned_too(generator):
    density = normal([0.1])
    transition, position = adapt_random_walk(
        density, torch.zeros(1, 1, dtype=torch.float64), generator=generator
    )
    drawn = run(transition, position, draws=5000, generator=generator)
    assert abs(drawn.statistics["acceptance"].mean() - 0.44) < 0.06


def test_the_covariance_of_a_narrow_ridge_is_learned(generator):
    covariance = torch.tensor([[1.0, 0.999], [0.999, 1.0]], dtype=torch.float64)
    density = Density.from_distribution(MultivariateNormal(torch.zeros(2, dtype=torch.float64), covariance))
    start = torch.randn(64, 2, generator=generator, dtype=torch.float64)
    tuned, position = adapt_random_walk(density, start, steps=600, generator=generator)
    by_coordinate, other = adapt_random_walk(
        density, start, steps=600, covariance="diagonal", generator=generator
    )
    far = (tuned.step(tuned.init(position), generator)[0].position - position).norm(dim=-1).mean()
    near = (by_coordinate.step(by_coordinate.init(other), generator)[0].position - other).norm(dim=-1).mean()
    assert far > 3 * near


def test_members_of_a_batch_are_tuned_apart(generator):
    scales = torch.tensor([1e-2, 1.0, 1e2], dtype=torch.float64)
    density = Density.from_distribution(Normal(torch.zeros_like(scales), scales))
    start = torch.randn(64, 3, 1, generator=generator, dtype=torch.float64)
    transition, position = adapt_random_walk(density, start, steps=800, generator=generator)
    assert (acceptance(density, transition, position, generator) - 0.44).abs().max() < 0.04


def test_proposals_that_are_not_finite_do_not_freeze_the_warm_up(generator):
    density = Density(lambda x: torch.where(x > 1.5, torch.nan, -0.5 * x**2))
    transition, position = adapt_random_walk(density, torch.zeros(16, 1), steps=300, generator=generator)
    assert abs(acceptance(density, transition, position, generator) - 0.44) < 0.06


def test_tuning_ends_with_the_warm_up(generator):
    """The transition returned is a plain random walk: the same noise gives the same move at any time."""
    density = normal([1.0])
    transition, position = adapt_random_walk(
        density, torch.zeros(8, 1, dtype=torch.float64), generator=generator
    )
    state = transition.init(position)
    once, _ = transition.step(state, torch.Generator().manual_seed(1))
    for _ in range(100):
        transition.step(state, generator)
    again, _ = transition.step(state, torch.Generator().manual_seed(1))
    assert torch.equal(once.position, again.position)


@pytest.mark.parametrize(
    ("log_prob", "options", "message"),
    [
        (lambda x: -(x**2), {"steps": 10}, "warm-up should have at least 20 steps but got 10"),
        (
            lambda x: -(x**2),
            {"covariance": "full"},
            "covariance should be 'dense' or 'diagonal' but got 'full'",
        ),
        (lambda x: x * math.nan, {}, r"log_prob should be finite but is nan at x = 0\.0 \(chain 0\)"),
        (
            lambda x: torch.where(x == 0, 0.0, -torch.inf),
            {},
            "chains should move during warm-up but some stood still",
        ),
    ],
)
@pytest.mark.parametrize("chains", [1, 8])
def test_bad_input(log_prob, options, message, chains, generator):
    with pytest.raises(ValueError, match=message):
        adapt_random_walk(Density(log_prob), torch.zeros(chains, 1), generator=generator, **options)
