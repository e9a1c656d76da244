"""Shapes of proposals from the moments of chains."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from probgen.core import Density
from probgen.sampling.markov.moves.metropolis import GradientState, State, with_gradient
from probgen.sampling.markov.warmup.running_moments import Moments

DOUBLE = {"dtype": torch.float64}
COVARIANCE = torch.tensor([[1e-4, 0.0099, 0.0], [0.0099, 1.0, 5.0], [0.0, 5.0, 1e4]], **DOUBLE)
TARGET = Density.from_distribution(MultivariateNormal(torch.zeros(3, **DOUBLE), COVARIANCE))


def shape_of(*states, dense=True, correlated=1.0):
    moments = Moments(dense=dense)
    for state in states:
        moments.add(state)
    return moments.shape(correlated=correlated)


def test_gradients_tell_the_shape_of_a_gaussian_target_from_anywhere(generator):
    """Wherever the chains are, and however they lie: Σ G Σ = C has the one solution Σ."""
    start = 1e3 + torch.randn(20, 3, generator=generator, **DOUBLE) * torch.tensor([1.0, 10.0, 0.1], **DOUBLE)
    factor = shape_of(with_gradient(TARGET)(start))
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(COVARIANCE), factor, upper=False)
    torch.testing.assert_close(white @ white.T, torch.eye(3, **DOUBLE), rtol=1e-4, atol=1e-4)
    deviation = shape_of(with_gradient(TARGET)(start), dense=False)
    assert deviation.shape == (3,)


def test_without_gradients_the_shape_is_that_of_the_draws(generator):
    draws = MultivariateNormal(torch.zeros(3, **DOUBLE), COVARIANCE).sample((4, 500)) + 1e3
    factor = shape_of(*(State(x, x[:, 0]) for x in draws))
    torch.testing.assert_close(factor @ factor.T, draws.flatten(0, 1).T.cov(correction=0))
    deviation = shape_of(*(State(x, x[:, 0]) for x in draws), dense=False)
    torch.testing.assert_close(deviation, draws.flatten(0, 1).std(0, correction=0))


def test_members_of_a_batch_have_their_own(generator):
    x = torch.randn(50, 2, 3, generator=generator, **DOUBLE) * torch.tensor([[1.0], [100.0]], **DOUBLE)
    both = shape_of(State(x, x[..., 0]))
    for member in (0, 1):
        torch.testing.assert_close(both[member], shape_of(State(x[:, member], x[:, member, 0])))


def test_few_draws_have_weaker_correlations(generator):
    x = torch.randn(6, 1, generator=generator, **DOUBLE).expand(-1, 3)
    factor = shape_of(State(x, x[:, 0]), correlated=2.0)
    covariance = factor @ factor.T / x[:, 0].var(correction=0)
    torch.testing.assert_close(covariance.diagonal(), torch.ones(3, **DOUBLE))
    torch.testing.assert_close(covariance[0, 1], torch.tensor(6 / (2 * 4 * 3), **DOUBLE))


def test_a_linear_log_density_leaves_the_shape_to_the_draws(generator):
    x = torch.randn(50, 2, generator=generator, **DOUBLE)
    with_constant = GradientState(x, -x.sum(-1), -torch.ones_like(x))
    torch.testing.assert_close(shape_of(with_constant), shape_of(State(x, x[:, 0])))


@pytest.mark.parametrize("dense", [True, False])
def test_no_shape_where_a_coordinate_stood_still(dense, generator):
    x = torch.randn(50, 2, generator=generator, **DOUBLE) * torch.tensor([1.0, 0.0], **DOUBLE)
    assert shape_of(State(x, x[:, 0]), dense=dense) is None
