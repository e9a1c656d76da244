"""The stationarity law of every transition, one row of a table each, and the bugs that it would see."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor
from torch.distributions import Dirichlet, Gamma, MultivariateNormal, Normal, constraints

from probgen.core import Density, Transition
from probgen.sampling import random_walk
from tests import laws

CHAINS = 50_000
COVARIANCE = torch.tensor([[1.0, 1.2], [1.2, 4.0]])


class Target(NamedTuple):
    density: Density
    draw: Callable[[int], Tensor]
    marginals: list[tuple[Callable[[Tensor], Tensor], laws.Cdf]]


def of_scipy(law) -> laws.Cdf:
    return lambda x: torch.from_numpy(np.asarray(law.cdf(x.numpy())))


def part(*index):
    return lambda x: x[(..., *index)]


def targets(dtype, device) -> dict[str, Target]:
    def on(law: torch.distributions.Distribution) -> Target:
        return Target(Density.from_distribution(law), lambda n: law.sample((n,)), [])

    def t(values) -> Tensor:
        return torch.as_tensor(values, dtype=dtype, device=device)

    means, scales = t([-3.0, 0.0, 50.0]), t([0.5, 1.0, 2.0])
    two = Normal(t([-2.0, 2.0]), t([0.7, 1.0]))
    share = t([0.3, 0.7])

    def mixture_log_prob(x: Tensor) -> Tensor:
        return (two.log_prob(x.unsqueeze(-1)) + share.log()).logsumexp(-1)

    def mixture_draw(n: int) -> Tensor:
        which = (torch.rand(n, device=device) > 0.3).long()
        return two.sample((n,)).gather(-1, which.unsqueeze(-1)).squeeze(-1)

    normal = of_scipy(scipy.stats.norm())
    apart = math.sqrt(1 + 4 - 2 * 1.2)
    return {
        "normal": on(Normal(t(1.0), t(2.0)))._replace(marginals=[(lambda x: (x - 1) / 2, normal)]),
        "correlated normal": on(MultivariateNormal(t([0.0, 0.0]), t(COVARIANCE)))._replace(
            marginals=[
                (part(0), normal),
                (lambda x: x[..., 1] / 2, normal),
                (lambda x: (x[..., 0] - x[..., 1]) / apart, normal),
            ]
        ),
        "gamma": on(Gamma(t(0.7), t(2.0)))._replace(
            marginals=[(lambda x: x, of_scipy(scipy.stats.gamma(0.7, scale=0.5)))]
        ),
        "dirichlet": on(Dirichlet(t([0.8, 2.0, 3.0])))._replace(
            marginals=[
                (part(0), of_scipy(scipy.stats.beta(0.8, 5.0))),
                (part(2), of_scipy(scipy.stats.beta(3.0, 2.8))),
            ]
        ),
        "mixture": Target(
            Density(mixture_log_prob, dtype=dtype, device=device),
            mixture_draw,
            [
                (
                    lambda x: x,
                    lambda x: 0.3 * normal((x + 2) / 0.7) + 0.7 * normal(x - 2),
                )
            ],
        ),
        "batch": on(Normal(means, scales))._replace(
            marginals=[
                (lambda x, i=i: (x[:, i] - means[i]) / scales[i], normal) for i in range(3)
            ]
        ),
    }  # fmt: skip


def scalar(density: Density) -> Transition:
    return random_walk(density, scale=1.5)


def diagonal(density: Density) -> Transition:
    return random_walk(density, scale=torch.linspace(0.8, 1.6, density.dim))


def dense(density: Density) -> Transition:
    factor = torch.eye(density.dim).mul(1.2) + torch.ones(density.dim, density.dim).tril(-1) * 0.6
    return random_walk(density, scale=factor.expand(*density.batch_shape, -1, -1))


ALGORITHMS = {"random walk": scalar, "diagonal random walk": diagonal, "dense random walk": dense}
TARGETS = ["normal", "correlated normal", "gamma", "dirichlet", "mixture", "batch"]


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=ALGORITHMS)
def test_the_target_is_stationary(algorithm, name, dtype, device, generator):
    density, draw, marginals = targets(dtype, device)[name]
    laws.check_stationary(density, algorithm(density), draw(CHAINS), marginals, generator=generator)


def without_jacobian(density: Density) -> Density:
    wrong = Density(
        density.log_prob,
        support=density.support,
        event_shape=density.shapes[density.names[0]],
        dtype=density.dtype,
    )
    wrong.unconstrained_log_prob = lambda u: density.log_prob(*density.constrain(u).values())
    return wrong


def tempered(density: Density) -> Density:
    """As if a proposal were accepted with min(1, (π(y)/π(x))²)."""
    wrong = Density(density.log_prob, dtype=density.dtype)
    wrong.unconstrained_log_prob = lambda u: 2 * density.unconstrained_log_prob(u)
    return wrong


@pytest.mark.parametrize(("bug", "name"), [(without_jacobian, "gamma"), (tempered, "normal")])
def test_planted_bugs_are_seen(bug, name, device, generator):
    density, draw, marginals = targets(torch.float64, device)[name]
    with pytest.raises(AssertionError, match="the draws are"):
        laws.check_stationary(density, scalar(bug(density)), draw(CHAINS), marginals, generator=generator)


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
def test_a_broken_density_stops_the_chain_where_it_is(value, generator):
    density = Density(lambda x: torch.where(x > 1, value, -0.5 * x**2))
    transition = random_walk(density, scale=2.0)
    state = transition.init(torch.zeros(100, 1))
    for _ in range(20):
        state, _ = transition.step(state, generator)
    broken = ~state.log_prob.isfinite()
    assert broken.any()
    assert (state.position[broken] > 1).all()
    assert (state.position[~broken] <= 1).all()


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
