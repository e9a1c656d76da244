"""Proposals of the user: several sites, dependent supports, one-sided moves, noise from the generator."""

import math

import pyro
import pyro.distributions as dist
import pytest
import scipy.stats
import torch

from probgen.core import Density, seeded
from probgen.sampling import independence, metropolis_hastings, run
from tests import laws
from tests.sampling.markov.targets import of_scipy

CHAINS = 20_000


def nested():
    """A length, and a place on it."""
    length = pyro.sample("length", dist.Gamma(2.0, 1.0))
    pyro.sample("place", dist.Uniform(torch.zeros(()), length))


def steps_of(transition, position, generator, steps=3):
    state = transition.init(position)
    for _ in range(steps):
        state, info = transition.step(state, generator)
    return state, info


@pytest.mark.parametrize("joint", [False, True])
def test_sites_with_laws_of_their_own(joint, generator):
    """The support of one site depends on the other."""
    density = Density.from_model(nested)
    with seeded(7):
        length = dist.Gamma(2.0, 1.0).sample((CHAINS,))
        start = density.unconstrain({"length": length, "place": length * torch.rand(CHAINS)})

    def proposal(x):
        return {"length": dist.LogNormal(x["length"].log(), 0.4), "place": dist.Normal(x["place"], 0.5)}

    law = {"length": dist.Gamma(1.5, 1.0), "place": dist.Exponential(1.0)}
    transition = independence(density, law) if joint else metropolis_hastings(density, proposal)
    state, info = steps_of(transition, start, generator)
    values = density.constrain(state.position)
    torch.testing.assert_close(state.log_volume, density.log_volume(state.position))
    assert info.accepted.float().mean() > 0.1
    assert not info.not_finite.any()
    laws.check_goodness_of_fit(values["length"], of_scipy(scipy.stats.gamma(2.0)))
    laws.check_goodness_of_fit(values["place"] / values["length"], of_scipy(scipy.stats.uniform()))


@pytest.mark.parametrize(
    "upward",
    [lambda x: dist.Uniform(x, x + 1), lambda x: dist.Exponential(1 + x**2)],
    ids=["uniform", "exponential"],
)
def test_a_move_that_cannot_be_undone_is_refused(upward, generator):
    """The density that an exponential law gives to negative values, if asked, is not 0."""
    density = Density(lambda x: -0.5 * x**2)
    transition = metropolis_hastings(density, upward)
    start = torch.full((100, 1), -0.5)
    state, info = steps_of(transition, start, generator, steps=1)
    assert (info.acceptance == 0).all()
    assert not info.not_finite.any()
    assert torch.equal(state.position, start)


def test_a_value_outside_the_support_is_refused_without_a_mark(generator):
    density = Density.from_distribution(dist.Exponential(1.0))
    transition = metropolis_hastings(density, lambda x: dist.Normal(x, 2.0))
    state, info = steps_of(transition, torch.zeros(1000, 1), generator)
    assert state.position.isfinite().all()
    assert (info.acceptance == 0).any()
    assert info.accepted.any()
    assert not info.not_finite.any()


def test_noise_comes_from_the_generator_alone():
    density = Density(lambda x: -0.5 * x**2)
    transition = metropolis_hastings(density, lambda x: dist.Normal(0.5 * x, 1.0))

    def drawn(draws, start, seed=None):
        before = torch.get_rng_state()
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        chains = run(transition, start, draws=draws, generator=generator)
        assert torch.equal(torch.get_rng_state(), before)
        return chains

    whole = drawn(9, torch.zeros(4, 1), seed=1)
    first = drawn(5, torch.zeros(4, 1), seed=1)
    torch.rand(3)
    rest = drawn(4, first.state)
    assert torch.equal(whole["position"], torch.cat([first["position"], rest["position"]], 1))
    assert not torch.equal(whole["position"], drawn(9, torch.zeros(4, 1), seed=2)["position"])
    torch.manual_seed(1)
    globally = run(transition, torch.zeros(4, 1), draws=9)
    assert torch.equal(globally["position"], whole["position"])
    assert not torch.equal(torch.get_rng_state(), torch.Generator().manual_seed(1).get_state())


def test_a_density_that_is_not_finite_is_marked(generator):
    density = Density(lambda x: torch.where(x > 1, math.nan, -0.5 * x**2))
    transition = independence(density, dist.Normal(0.0, 2.0))
    state, info = steps_of(transition, torch.zeros(1000, 1), generator)
    assert info.not_finite.any()
    assert (state.position <= 1).all()


@pytest.mark.parametrize(
    ("proposal", "message"),
    [
        (
            dist.Normal(torch.zeros(2), 1.0),
            r"proposal of site 'x' should have event shape \(2,\) but has \(\)",
        ),
        ({"y": dist.Normal(0.0, 1.0)}, r"proposal should have laws of the sites \['x'\] but has \['y'\]"),
    ],
)
def test_bad_proposals(proposal, message, generator):
    density = Density(lambda x: -(x**2).sum(-1), support=dist.constraints.real_vector, event_shape=(2,))
    with pytest.raises(ValueError, match=message):
        steps_of(independence(density, proposal), torch.zeros(5, 2), generator)
