"""The law of every transition: stationarity and detailed balance, and the bugs that these would see."""

from collections.abc import Callable

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from probgen.core import Density, Transition, seeded
from probgen.sampling import (
    barker,
    component_wise,
    delayed_rejection,
    discrete_random_walk,
    hmc,
    independence,
    mala,
    metropolis_hastings,
    multiple_try,
    random_walk,
)
from probgen.sampling.markov.moves.metropolis import (
    choose,
    judge,
    standard_normal,
    standard_uniform,
    with_gradient,
)
from probgen.sampling.markov.moves.random_walk import random_walk_kernel
from tests import laws
from tests.sampling.markov.targets import COVARIANCE, DISCRETE, NAMES, target

CHAINS = 50_000


def exact(draw: Callable[[int], Tensor]) -> Tensor:
    """Draw with another seed than the generator's, else the chains' noise would be their start."""
    with seeded(7):
        return draw(CHAINS)


def diagonal(density: Density) -> Tensor:
    return torch.linspace(0.8, 1.6, density.dim).expand(*density.batch_shape, -1)


def dense(density: Density) -> Tensor:
    dim = density.dim
    factor = torch.eye(dim).mul(1.2) + torch.ones(dim, dim).tril(-1) * 0.6
    return factor.expand(*density.batch_shape, -1, -1)


def skewed(density: Density) -> Callable[[Tensor], dist.Distribution]:
    """Proposals that drift, and whose width depends on where they start."""

    def on_the_line(x: Tensor) -> dist.Distribution:
        return dist.Normal(x + 0.3, 1.2 + 0.5 * x.sin()).to_event(len(density.shapes["x"]))

    return {
        dist.constraints.positive: lambda x: dist.LogNormal(x.log() + 0.3, 0.8),
        dist.constraints.simplex: lambda x: dist.Dirichlet(5 * x + 0.5),
    }.get(density.support, on_the_line)


def wide(density: Density) -> dist.Distribution:
    """Draw from anywhere, with heavier tails than the target."""
    one = torch.ones((*density.batch_shape, *density.shapes["x"]), dtype=density.dtype, device=density.device)
    if density.support is dist.constraints.positive:
        return dist.Gamma(0.5 * one, one)
    if density.support is dist.constraints.simplex:
        return dist.Dirichlet(one)
    centre = one.new_tensor([-3.0, 0.0, 50.0]) if density.batch_shape else 0 * one
    return dist.StudentT(2 * one, centre, 3 * one).to_event(len(density.shapes["x"]))


def poisson_steps(density: Density) -> Callable[[Tensor], dist.Distribution]:
    return lambda k: dist.Poisson(k.to(density.dtype) + 0.5).to_event(len(density.shapes["x"]))


TRANSITIONS: dict[str, Callable[[Density], Transition]] = {
    "random walk": lambda d: random_walk(d, scale=1.5),
    "mala": lambda d: mala(d, scale=1.0),
    "barker": lambda d: barker(d, scale=1.2),
    "hmc": lambda d: hmc(d, scale=0.6, steps=3),
    "metropolis hastings": lambda d: metropolis_hastings(d, skewed(d)),
    "independence": lambda d: independence(d, wide(d)),
    "delayed rejection": lambda d: delayed_rejection(d, scale=2.0, shrink=0.7),
    "multiple try": lambda d: multiple_try(d, scale=2.0, tries=3),
    "component-wise": lambda d: component_wise(d, scale=1.5),
}
VARIANTS: dict[str, Callable[[Density], Transition]] = {
    "diagonal random walk": lambda d: random_walk(d, scale=diagonal(d)),
    "dense random walk": lambda d: random_walk(d, scale=dense(d)),
    "dense delayed rejection": lambda d: delayed_rejection(d, scale=dense(d), shrink=0.7),
    "dense multiple try": lambda d: multiple_try(d, scale=dense(d), tries=2),
    "diagonal mala": lambda d: mala(d, scale=diagonal(d)),
    "dense mala": lambda d: mala(d, scale=dense(d)),
    "diagonal barker": lambda d: barker(d, scale=diagonal(d)),
    "dense barker": lambda d: barker(d, scale=dense(d)),
    "diagonal hmc": lambda d: hmc(d, scale=diagonal(d) / 2, steps=2, jitter=0.0),
    "dense hmc": lambda d: hmc(d, scale=dense(d) / 2, steps=2, jitter=0.5),
    "diagonal component-wise": lambda d: component_wise(d, scale=diagonal(d)),
    "site-wise": lambda d: component_wise(d, scale=diagonal(d), by="site"),
}
ON_WHOLE_NUMBERS: dict[str, Callable[[Density], Transition]] = {
    "discrete random walk": lambda d: discrete_random_walk(d, scale=2.0),
    "component-wise": lambda d: component_wise(d, scale=0.3),
    "all at once": lambda d: component_wise(d, scale=5.0, by="site"),
    "metropolis hastings": lambda d: metropolis_hastings(d, poisson_steps(d)),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("transition", TRANSITIONS.values(), ids=TRANSITIONS)
def test_the_target_is_stationary(transition, name, dtype, device, generator):
    density, draw, marginals = target(name, dtype, device)
    laws.check_stationary(density, transition(density), exact(draw), marginals, generator=generator, steps=3)


@pytest.mark.parametrize("name", ["funnel", "batch"])
@pytest.mark.parametrize("transition", VARIANTS.values(), ids=VARIANTS)
def test_the_target_is_stationary_at_every_form_of_scale(transition, name, dtype, device, generator):
    density, draw, marginals = target(name, dtype, device)
    laws.check_stationary(density, transition(density), exact(draw), marginals, generator=generator, steps=3)


@pytest.mark.parametrize("name", ["dirichlet", "banana"])
@pytest.mark.parametrize("transition", (TRANSITIONS | VARIANTS).values(), ids=TRANSITIONS | VARIANTS)
def test_balance_is_detailed(transition, name, dtype, device, generator):
    density, draw, _ = target(name, dtype, device)
    laws.check_reversible(density, transition(density), exact(draw), generator=generator)


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.parametrize("transition", ON_WHOLE_NUMBERS.values(), ids=ON_WHOLE_NUMBERS)
def test_enumerated_probabilities_are_stationary(transition, name, dtype, device, generator):
    density, draw, marginals = target(name, dtype, device)
    laws.check_stationary(density, transition(density), exact(draw), marginals, generator=generator, steps=3)
    laws.check_reversible(density, transition(density), exact(draw), generator=generator)


@pytest.mark.parametrize("name", DISCRETE)
def test_a_walk_on_the_line_is_right_for_whole_numbers(name, dtype, device, generator):
    """It may be anywhere in a number's cell."""
    density, draw, marginals = target(name, dtype, device)
    line = Density(
        density.unconstrained_log_prob, support=dist.constraints.real_vector, event_shape=(density.dim,)
    )
    middle = density.unconstrain(exact(draw))
    start = middle + torch.rand(middle.shape, generator=generator, dtype=dtype, device=device) - 0.5
    of_values = [(lambda u, f=f: f(density.constrain(u)["x"]), cdf) for f, cdf in marginals]
    laws.check_stationary(line, random_walk(line, scale=1.5), start, of_values, generator=generator, steps=3)


def without_jacobian(density: Density) -> Transition:
    density.unconstrained_log_prob = lambda u: density.log_prob(*density.constrain(u).values())
    return random_walk(density, scale=1.5)


def without_square_root(density: Density) -> Transition:
    """As if a proposal were accepted with min(1, (π(y)/π(x))²)."""
    log_prob = density.unconstrained_log_prob
    density.unconstrained_log_prob = lambda u: 2 * log_prob(u)
    return random_walk(density, scale=1.5)


def without_hastings_ratio(density: Density) -> Transition:
    """Langevin's proposal, accepted as if it were symmetric."""
    evaluate = with_gradient(density)

    def wrong(state, generator):
        noise = standard_normal(state.position, generator)
        proposal = evaluate(state.position + state.gradient / 2 + noise)
        uniform = standard_uniform(state.log_prob, generator)
        info = judge(proposal.log_prob - state.log_prob, proposal.log_prob, uniform)
        return choose(info.accepted, proposal, state), info

    return Transition(evaluate, wrong)


def with_endless_adaptation(density: Density) -> Transition:
    """Each chain's scale grows where it accepts and shrinks where it refuses, for ever."""
    kernel = random_walk_kernel(density)
    scale = torch.ones(CHAINS, 1, dtype=density.dtype)

    def wrong(state, generator):
        noise = scale * standard_normal(state.position, generator)
        proposal = kernel.init(state.position + noise)
        uniform = standard_uniform(state.log_prob, generator)
        info = judge(proposal.log_prob - state.log_prob, proposal.log_prob, uniform)
        scale.mul_(torch.where(info.accepted, 2.0, 0.5).unsqueeze(-1))
        return choose(info.accepted, proposal, state), info

    return Transition(kernel.init, wrong)


@pytest.mark.parametrize(
    ("bug", "name"),
    [
        (without_jacobian, "gamma"),
        (without_square_root, "normal"),
        (without_hastings_ratio, "normal"),
        (with_endless_adaptation, "funnel"),
    ],
)
def test_planted_bugs_are_seen(bug, name, device, generator):
    density, draw, marginals = target(name, torch.float64, device)
    with pytest.raises(AssertionError, match="the draws are"):
        laws.check_stationary(density, bug(density), exact(draw), marginals, generator=generator, steps=20)


def test_a_step_that_cannot_be_reversed_is_seen(device, generator):
    """A rotation leaves the normal law as it is, but always turns the same way."""
    density, draw, _ = target("correlated normal", torch.float64, device)
    factor = torch.linalg.cholesky(COVARIANCE.double())
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]], dtype=torch.float64)
    init, _ = random_walk(density, scale=1.0)

    def rotate(state, generator):
        white = torch.linalg.solve_triangular(factor, state.position.T, upper=False)
        return init((factor @ turn @ white).T), None

    with pytest.raises(AssertionError, match="signs add up"):
        laws.check_reversible(density, Transition(init, rotate), exact(draw), generator=generator)
