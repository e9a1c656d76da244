"""Hamiltonian Monte Carlo: the leapfrog step, what it says of its trajectories, its warm-up."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, constraints
from torch.func import jacrev

from probgen.core import Density
from probgen.sampling import adapt_hmc, hmc, run
from probgen.sampling.markov.moves.hmc import leapfrog, trajectory
from probgen.sampling.markov.moves.metropolis import GradientState, with_gradient
from probgen.sampling.markov.warmup.step_size_and_shape import catch_up
from probgen.sampling.markov.warmup.trajectory_lengths import Lengths, Worth
from tests.sampling.markov.targets import target

DOUBLE = {"dtype": torch.float64}


def gaussian(covariance):
    return Density.from_distribution(MultivariateNormal(torch.zeros(len(covariance), **DOUBLE), covariance))


def ridge(dim=4):
    """Standard deviations from 1e-2 to 1e2, every correlation 0.95."""
    scales = torch.logspace(-2, 2, dim, **DOUBLE)
    return (0.05 * torch.eye(dim, **DOUBLE) + 0.95) * scales * scales.unsqueeze(-1)


@pytest.mark.parametrize("name", ["banana", "funnel", "dirichlet"])
def test_a_trajectory_can_be_walked_back(name, generator):
    density = target(name, torch.float64, torch.device("cpu")).density
    scale = torch.tensor([[0.3, 0.0], [0.1, 0.2]], **DOUBLE)
    start = with_gradient(density)(torch.randn(50, 2, generator=generator, **DOUBLE))
    momentum = torch.randn(50, 2, generator=generator, **DOUBLE)
    leap, size = leapfrog(density), torch.ones(50, 1, **DOUBLE)
    end, last = trajectory(leap, start, momentum, scale, size, 7)
    back, first = trajectory(leap, end, -last, scale, size, 7)
    assert (end.position - start.position).abs().mean() > 0.1
    torch.testing.assert_close(back.position, start.position, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(first, -momentum, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["banana", "funnel", "dirichlet"])
def test_a_leapfrog_step_keeps_volume(name):
    density = target(name, torch.float64, torch.device("cpu")).density
    scale = torch.tensor([[0.3, 0.0], [0.1, 0.2]], **DOUBLE)

    def gradient(x):
        return jacrev(density.unconstrained_log_prob)(x)

    def leap(phase):  # the step by hand, which autograd can follow
        x, p = phase.split(2)
        half = p + scale.T @ gradient(x) / 2
        x = x + scale @ half
        return torch.cat([x, half + scale.T @ gradient(x) / 2])

    phase = torch.tensor([0.3, -0.4, 1.0, 0.7], **DOUBLE)
    start = with_gradient(density)(phase[None, :2])
    ours = leapfrog(density)(
        start.position, phase[None, 2:], start.gradient, scale, torch.ones(1, 1, **DOUBLE)
    )
    torch.testing.assert_close(torch.cat(ours[:2], -1)[0], leap(phase))
    assert abs(torch.linalg.det(jacrev(leap)(phase)) - 1) < 1e-10


def test_energy_and_divergence(generator):
    density = Density(lambda x: -0.5 * x**2, dtype=torch.float64)
    init, step = hmc(density, scale=1.0, steps=2)
    state, info = step(init(torch.randn(10_000, 1, generator=generator, **DOUBLE)), generator)
    assert (info.energy + state.log_prob >= 0).all()
    assert abs(info.energy.mean() - 1) < 0.05  # half a nat each for position and momentum
    assert not info.divergent.any()
    init, step = hmc(density, scale=50.0, steps=2)
    state, info = step(init(torch.ones(1000, 1, **DOUBLE)), generator)
    assert info.divergent.all()
    assert (state.position == 1).all()


def test_divergences_and_energies_are_statistics(generator):
    density = Density(lambda x: torch.where(x > 1.5, torch.nan, -0.5 * x**2), name="w")
    chains = run(
        hmc(density, scale=0.9, steps=2), torch.zeros(8, 1), draws=50, density=density, generator=generator
    )
    assert chains.statistics["energy"].shape == (8, 50)
    assert chains.statistics["divergent"].any()
    assert torch.equal(chains.statistics["divergent"], chains.statistics["not_finite"])


@pytest.mark.parametrize("covariance", [ridge(), torch.eye(1, **DOUBLE), 1e-6 * torch.eye(3, **DOUBLE)])
@pytest.mark.parametrize("far", [0.0, 1e3])
def test_warm_up_makes_draws_nearly_independent(covariance, far, generator):
    """From far away too: shape by the gradients, step size, and length near the π/2 of a Gaussian target."""
    density = gaussian(covariance)
    start = far + torch.randn(64, len(covariance), generator=generator, **DOUBLE)
    transition, position, _ = adapt_hmc(density, start, steps=300, generator=generator)
    chains = run(transition, position, draws=200, generator=generator)
    white = torch.linalg.solve_triangular(
        torch.linalg.cholesky(covariance), chains["position"].flatten(0, 1).T, upper=False
    ).T.reshape(64, 200, -1)
    assert (white[:, 1:] * white[:, :-1]).mean().abs() < 0.4
    assert (white.flatten(0, 1).std(0) - 1).abs().max() < 0.05
    assert 0.7 < chains.statistics["acceptance"].mean() < 0.99


def test_members_of_a_batch_are_tuned_apart(generator):
    scales = torch.tensor([1e-2, 1.0, 1e2], **DOUBLE)
    density = Density.from_distribution(Normal(torch.zeros_like(scales), scales))
    start = torch.randn(64, 3, 1, generator=generator, **DOUBLE)
    transition, position, _ = adapt_hmc(density, start, steps=200, generator=generator)
    chains = run(transition, position, draws=200, density=density, generator=generator)
    x = chains["x"] / scales
    assert ((x[:, 1:] * x[:, :-1]).mean((0, 1)).abs() < 0.4).all()
    assert (chains.statistics["acceptance"].mean((0, 1)) > 0.7).all()


def test_trajectories_grow_where_that_pays(generator):
    """A metric that is ten times too short: a trajectory should be ten times longer than π/2."""
    density = Density(
        lambda x: -0.5 * (x**2).sum(-1), support=constraints.real_vector, event_shape=(3,), **DOUBLE
    )
    lengths = Lengths(density, leapfrog(density), target=0.8, steps=400)
    state = with_gradient(density)(torch.randn(256, 3, generator=generator, **DOUBLE))
    shape, size = torch.full((3,), 0.1, **DOUBLE), torch.tensor(8.0, **DOUBLE)
    for _ in range(400):
        state, _ = lengths.move(state, shape, size, generator)
    size, many = lengths.found(size)
    assert 12 < float(size) * many < 21


def test_trajectories_at_the_second_peak_are_cut(generator):
    """Of a Gaussian target 3π/2 is as good an end as π/2, the criterion flat there too, at thrice thecost."""
    density = Density(
        lambda x: -0.5 * (x**2).sum(-1), support=constraints.real_vector, event_shape=(3,), **DOUBLE
    )
    lengths = Lengths(density, leapfrog(density), target=0.8, steps=200)
    lengths._log_length += math.log(3)
    state = with_gradient(density)(torch.randn(64, 3, generator=generator, **DOUBLE))
    shape, size = torch.ones(3, **DOUBLE), torch.tensor(0.4, **DOUBLE)
    for _ in range(200):
        state, _ = lengths.move(state, shape, size, generator)
    size, many = lengths.found(size)
    assert 1.2 < float(size) * many < 2.0


def test_what_a_number_of_steps_is_worth(generator):
    """On circles of a Gaussian target 1 − ρ is 1 − cos t, and a length is cut where that pays."""
    start, momentum = torch.randn(2, 4000, 2, generator=generator, **DOUBLE).unbind()
    angles = (math.pi / 6 * torch.arange(10, **DOUBLE)).reshape(-1, 1, 1)
    path = angles.cos() * start + angles.sin() * momentum
    size, sure = torch.tensor(math.pi / 6, **DOUBLE), torch.ones(9, 4000, **DOUBLE)
    worth = Worth(start)
    worth.add(path, sure, size)
    assert abs(float(worth.cut(torch.tensor(9.0, **DOUBLE))) - math.pi / 2) < 1e-9
    assert float(worth.cut(torch.tensor(1.0, **DOUBLE))) == 1.0
    worth = Worth(start)
    worth.add(path[:4], sure[:3], size)
    assert float(worth.cut(torch.tensor(1.7, **DOUBLE))) == 1.7
    worth = Worth(start)
    worth.add(path[:4], torch.tensor([1.0, 1.0, 0.1], **DOUBLE).unsqueeze(-1) * sure[:3], size)
    assert abs(float(worth.cut(torch.tensor(1.7, **DOUBLE))) - math.pi / 3) < 1e-9


def test_chains_that_are_left_behind_catch_up(generator):
    log_prob = torch.tensor([[0.0, 0.0], [-1.0, -1e4], [-2.0, -2.0], [-1e3, -3.0], [-3.0, -1.0]])
    position = log_prob.unsqueeze(-1).repeat(1, 1, 2)
    state = catch_up(GradientState(position, log_prob, 2 * position), 50, generator)
    moved = state.log_prob != log_prob
    assert moved.nonzero().tolist() == [[1, 1], [3, 0]]
    assert state.log_prob[moved].min() >= -2
    assert torch.equal(state.position, state.log_prob.unsqueeze(-1).repeat(1, 1, 2))
    assert torch.equal(state.gradient, 2 * state.position)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps should be at least 1 but got 0"),
        ({"jitter": 1.0}, r"jitter should be at least 0 and below 1 but got 1\.0"),
        ({"scale": -1.0}, r"scale should be positive and finite but got -1\.0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        hmc(Density(lambda x: -(x**2)), **{"scale": 1.0, "steps": 2} | options)


@pytest.mark.parametrize(
    ("log_prob", "options", "message"),
    [
        (lambda x: -(x**2), {"target": 1.0}, r"target acceptance should be between 0 and 1 but got 1\.0"),
        (
            lambda x: -x.abs().sqrt(),
            {},
            r"the gradient of log_prob should be finite but is \[nan\] at x = 0\.0",
        ),
        (lambda x: x * math.nan, {}, r"log_prob should be finite but is nan at x = 0\.0 \(chain 0\)"),
    ],
)
def test_bad_warm_up(log_prob, options, message, generator):
    with pytest.raises(ValueError, match=message):
        adapt_hmc(Density(log_prob), torch.zeros(8, 1), generator=generator, **options)


def test_a_short_trajectory_does_not_wind_up_the_step_size(generator):
    """Where a neighbour in the batch needs many steps, this one's are short: size stays what it was."""
    scales = torch.tensor([1.0, 30.0], **DOUBLE)
    density = Density(lambda x: -0.5 * ((x / scales) ** 2), batch_shape=(2,), **DOUBLE)
    lengths = Lengths(density, leapfrog(density), target=0.8, steps=300)
    state = with_gradient(density)(torch.randn(64, 2, 1, generator=generator, **DOUBLE))
    shape = torch.ones(2, 1, **DOUBLE)
    for _ in range(299):
        state, acceptance = lengths.move(state, shape, torch.ones(2, **DOUBLE), generator)
    assert acceptance[0] == 0.8
    assert lengths.acceptance > 0.9


def test_few_trajectories_diverge_where_the_curvature_varies(generator):
    """The mean acceptance alone is content with 10 % of them here, all at the ends of the banana."""

    def log_prob(x):
        return -(x[..., 0] ** 2) / 2 - 2 * (x[..., 1] - x[..., 0] ** 2) ** 2

    density = Density(log_prob, support=constraints.real_vector, event_shape=(2,), **DOUBLE)
    start = 0.5 * torch.randn(64, 2, generator=generator, **DOUBLE)
    transition, position, _ = adapt_hmc(density, start, steps=200, generator=generator)
    chains = run(transition, position, draws=40, density=density, generator=generator)
    assert chains.statistics["divergent"].double().mean() < 0.01
    assert "not_finite" not in chains.statistics or not chains.statistics["not_finite"].any()
