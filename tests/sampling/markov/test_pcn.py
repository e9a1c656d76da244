"""Preconditioned Crank–Nicolson: conjugate posteriors, and an acceptance that knows no dimension."""

import math

import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from torch.distributions import constraints

from probgen.core import Density, seeded
from probgen.sampling import adapt_pcn, pcn, random_walk, run
from tests import laws
from tests.sampling.markov.targets import of_scipy

CHAINS = 50_000
NORMAL = of_scipy(scipy.stats.norm())


def line(n, dtype=torch.float64):
    """A Brownian path from a standard normal start, at n times in (0, 1]."""
    times = torch.arange(1, n + 1, dtype=dtype) / n
    covariance = 1 + torch.minimum(times, times.unsqueeze(-1))
    return dist.MultivariateNormal(torch.full((n,), 0.5, dtype=dtype), covariance)


def ends_at(value, spread):
    return lambda x: -0.5 * ((x[..., -1] - value) / spread) ** 2


def posterior(prior, value, spread):
    """Condition a Gaussian law on its last number, seen with noise."""
    column = prior.covariance_matrix[:, -1]
    gain = column / (column[-1] + spread**2)
    covariance = prior.covariance_matrix - gain.unsqueeze(-1) * column
    return dist.MultivariateNormal(prior.mean + gain * (value - prior.mean[-1]), covariance)


@pytest.mark.parametrize("scale", [0.3, 0.8, 1.0])
def test_a_conjugate_posterior_is_stationary(scale, dtype, device, generator):
    prior = line(3, dtype)
    exact = posterior(prior, 1.5, 0.7)
    prior = dist.MultivariateNormal(prior.mean.to(device), prior.covariance_matrix.to(device))
    density = Density(
        ends_at(1.5, 0.7), support=constraints.real_vector, event_shape=(3,), dtype=dtype, device=device
    )
    transition = pcn(prior, ends_at(1.5, 0.7), scale=scale)
    with seeded(7):
        start = exact.sample((CHAINS,)).to(device)
    marginals = [(lambda x, i=i: (x[:, i].cpu() - exact.mean[i]) / exact.stddev[i], NORMAL) for i in range(3)]
    laws.check_stationary(density, transition, start, marginals, generator=generator, steps=5)
    laws.check_reversible(density, transition, start, generator=generator)


def test_a_prior_for_each_member_of_a_batch(generator):
    means, sds = torch.tensor([[-3.0, 1.0], [0.0, 50.0]]), torch.tensor([[1.0, 0.2], [2.0, 5.0]])
    prior = dist.Normal(means, sds).to_event(1)
    transition = pcn(prior, lambda x: 0 * x[..., 0], scale=torch.tensor([0.2, 0.9]))
    with seeded(7):
        start = prior.sample((CHAINS,))
    chains = run(transition, start, draws=3, generator=generator)
    assert (chains.statistics["acceptance"] == 1).all()
    for i in range(2):
        for j in range(2):
            laws.check_goodness_of_fit((chains["position"][:, -1, i, j] - means[i, j]) / sds[i, j], NORMAL)
    moved = (chains["position"][:, 0] - start) / sds
    expected = torch.tensor([2 - 2 * math.sqrt(1 - b**2) for b in (0.2, 0.9)])
    torch.testing.assert_close((moved**2).mean((0, 2)), expected, rtol=0.05, atol=0)


def test_the_acceptance_knows_no_dimension(generator):
    """The same path on finer grids: pCN accepts alike, a random walk of the same steps ever less."""
    rates, walks = [], []
    for n in (8, 32, 128):
        prior = line(n)
        factor = torch.linalg.cholesky(prior.covariance_matrix)
        density = Density(
            lambda x, p=prior: p.log_prob(x) + ends_at(1.5, 0.1)(x),
            support=constraints.real_vector,
            event_shape=(n,),
            dtype=torch.float64,
        )
        with seeded(7):
            start = posterior(prior, 1.5, 0.1).sample((5000,))
        for rate, transition in (
            (rates, pcn(prior, ends_at(1.5, 0.1), scale=0.25)),
            (walks, random_walk(density, scale=0.25 * factor)),
        ):
            _, info = transition.step(transition.init(start), generator)
            rate.append(float(info.acceptance.mean()))
    assert max(rates) - min(rates) < 0.04  # 5 standard errors of a difference
    assert min(rates) > 0.3
    assert walks[2] < walks[0] / 3


@pytest.mark.parametrize(("spread", "expected"), [(0.05, 0.3), (100.0, None)])
def test_warm_up(spread, expected, generator):
    prior = line(4)
    start = prior.sample((64,))
    transition, position, target = adapt_pcn(
        prior, ends_at(1.5, spread), start, steps=300, generator=generator
    )
    acceptance = run(transition, position, draws=100, generator=generator).statistics["acceptance"].mean()
    assert target == 0.3
    if expected is None:  # nothing to refuse: proposals are draws of the prior
        assert acceptance > 0.99
        fresh = transition.step(transition.init(position), generator)[0].position
        assert torch.corrcoef(torch.stack([fresh[:, 0], position[:, 0]]))[0, 1].abs() < 0.5
    else:
        assert abs(acceptance - expected) < 0.05


def test_a_likelihood_that_is_not_finite_is_refused_and_marked(generator):
    transition = pcn(line(2), lambda x: torch.where(x[..., 0] > 1, math.nan, 0.0), scale=0.8)
    state, info = transition.step(transition.init(torch.zeros(500, 2, dtype=torch.float64)), generator)
    assert info.not_finite.any()
    assert (state.position[:, 0] <= 1).all()


@pytest.mark.parametrize(
    ("prior", "options", "error", "message"),
    [
        (dist.Laplace(torch.zeros(2), 1.0).to_event(1), {}, TypeError, "Gaussian law but is Independent"),
        (dist.Normal(0.0, 1.0), {}, ValueError, r"a law of vectors but has event shape \(\)"),
        (line(2), {"scale": 0.0}, ValueError, r"scale should be above 0 and at most 1 but got 0\.0"),
        (line(2), {"scale": 1.5}, ValueError, r"scale should be above 0 and at most 1 but got 1\.5"),
        (line(2), {"scale": torch.ones(3)}, ValueError, r"a number or have shape \(\) but has \(3,\)"),
    ],
    ids=["not gaussian", "scalar", "zero", "large", "shape"],
)
def test_bad_input(prior, options, error, message):
    with pytest.raises(error, match=message):
        pcn(prior, lambda x: 0 * x[..., 0], **{"scale": 0.5} | options)


def test_a_likelihood_of_another_shape():
    transition = pcn(line(2), lambda x: x.sum(), scale=0.5)
    with pytest.raises(ValueError, match=r"log_likelihood should return shape \(5,\) but returned \(\)"):
        transition.init(torch.zeros(5, 2, dtype=torch.float64))
