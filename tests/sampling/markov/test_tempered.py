"""Parallel tempering: stationarity at every target, weights of modes, swaps, round trips, the ladder."""

import math
from typing import NamedTuple

import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.distributions import (
    Beta,
    Categorical,
    Gamma,
    Independent,
    MixtureSameFamily,
    Normal,
    constraints,
)

from probgen.core import Density, Transition, seeded
from probgen.sampling import (
    adapt_tempered,
    barker,
    mala,
    random_walk,
    run,
    sample,
    tempered,
)
from probgen.sampling.markov.moves.metropolis import State
from probgen.sampling.markov.moves.random_walk import random_walk_kernel
from probgen.sampling.markov.moves.tempered import swapping
from probgen.sampling.markov.warmup.temperature_ladder import default_ladder, equal_swaps
from tests import laws
from tests.sampling.markov.targets import COVARIANCE, NAMES, of_scipy, target

CHAINS = 50_000
LADDER = [1.0, 0.6, 0.4]
DOUBLE = {"dtype": torch.float64}


def flattened(name: str, power: float, n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Draw from a target of the table with its density on the unconstrained scale to a power, exactly."""
    where = {"dtype": dtype, "device": device}
    z, root = torch.randn(n, 2, **where), power**-0.5
    if name == "normal":
        return 1 + 2 * root * z[:, 0]
    if name == "correlated normal":
        return root * z @ torch.linalg.cholesky(COVARIANCE.to(**where)).T
    if name == "gamma":
        return Gamma(*torch.tensor([0.7 * power, 2 * power], **where)).sample((n,))
    if name == "dirichlet":
        one, two = Beta(*(power * torch.tensor([[0.8, 2.0], [5.0, 3.0]], **where))).sample((n,)).unbind(-1)
        return torch.stack([one, (1 - one) * two, (1 - one) * (1 - two)], -1)
    if name == "mixture":
        grid = torch.linspace(-12, 12, 200_001, device=device)
        density = target(name, torch.float64, device).density
        sums = (power * density.log_prob(grid.double())).exp().cumsum(0)
        return grid[torch.searchsorted(sums, torch.rand(n, **DOUBLE, device=device) * sums[-1])].to(dtype)
    if name == "banana":
        return root * z + torch.stack([torch.zeros_like(z[:, 0]), (root * z[:, 0]) ** 2], -1)
    if name == "funnel":
        x = (1 - power) / (2 * power) + root * z[:, 0]
        return torch.stack([x, (x / 2).exp() * root * z[:, 1]], -1)
    assert name == "batch"
    return torch.tensor([-3.0, 0.0, 50.0], **where) + root * torch.randn(n, 3, **where) * torch.tensor(
        [0.5, 1.0, 2.0], **where
    )


class Noted(NamedTuple):
    """A state that says where it has its log-density from: only ``init`` can make it."""

    position: Tensor
    log_prob: Tensor
    twice: Tensor


def noted(density: Density) -> Transition:
    inner = random_walk(density, scale=1.5)

    def note(state: State) -> Noted:
        return Noted(*state, 2 * state.log_prob)

    def step(state, generator):
        assert torch.equal(state.twice, 2 * state.log_prob)
        moved, info = inner.step(State(state.position, state.log_prob), generator)
        return note(moved), info

    return Transition(lambda position: note(inner.init(position)), step)


TRANSITIONS = {
    "random walk": lambda d: random_walk(d, scale=1.5),
    "mala": lambda d: mala(d, scale=torch.linspace(0.8, 1.6, d.dim)),
    "fields of its own": noted,
}


def with_exact_levels(name, transition, dtype, device) -> Transition:
    """Start the chains of the other levels at exact draws too."""
    density = target(name, dtype, device).density
    with seeded(11):
        hot = [density.unconstrain(flattened(name, p, CHAINS, dtype, device)) for p in LADDER[1:]]
    return Transition(
        lambda position: transition.init(torch.stack([position, *hot], 1)),
        transition.step,
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_target_is_stationary(name, dtype, device, generator):
    check("random walk", name, dtype, device, generator)


@pytest.mark.parametrize("transition", ["random walk", "mala"])
def test_the_target_is_stationary_with_a_reference(transition, dtype, device, generator):
    """π and q are normal, so that all levels are, of precision β + (1 − β) / 4 and mean β / precision."""
    where = {"dtype": dtype, "device": device}
    two, one = torch.full((1,), 2.0, **where), torch.ones(1, **where)
    density = Density.from_distribution(Independent(Normal(one, 1.0), 1))
    reference = Independent(Normal(0 * one, two), 1)
    power = torch.tensor(LADDER, **where).unsqueeze(-1)
    precision = power + (1 - power) / 4
    with seeded(11):
        exact = power / precision + torch.randn(CHAINS, 3, 1, **where) / precision.sqrt()
    inner = tempered(density, TRANSITIONS[transition], ladder=LADDER, reference=reference)
    step = Transition(
        lambda position: inner.init(torch.cat([position.unsqueeze(1), exact[:, 1:]], 1)), inner.step
    )
    marginals = [(lambda x: x[..., 0], of_scipy(stats.norm(1.0)))]
    laws.check_stationary(density, step, exact[:, 0], marginals, generator=generator, steps=3)


@pytest.mark.parametrize("name", ["funnel", "batch"])
@pytest.mark.parametrize("transition", ["mala", "fields of its own"])
def test_the_target_is_stationary_by_other_transitions(transition, name, dtype, device, generator):
    check(transition, name, dtype, device, generator)


def check(transition, name, dtype, device, generator):
    density, draw, marginals = target(name, dtype, device)
    with seeded(8):
        exact = draw(CHAINS)
    step = with_exact_levels(name, tempered(density, TRANSITIONS[transition], ladder=LADDER), dtype, device)
    laws.check_stationary(density, step, exact, marginals, generator=generator, steps=3)


def two_modes(dim: int, gap: float, share: float = 0.2) -> Density:
    """Two normal laws of unit scale, ``gap`` apart, one with a fifth of the mass."""
    low, high = math.log(1 - share), math.log(share)

    def log_prob(x):
        rest, first = -0.5 * (x[..., 1:] ** 2).sum(-1), x[..., 0]
        low_part = low - 0.5 * (first + gap / 2) ** 2
        return rest + torch.logaddexp(low_part, high - 0.5 * (first - gap / 2) ** 2)

    return Density(log_prob, support=constraints.real_vector, event_shape=(dim,), **DOUBLE)


def share_above(chains) -> tuple[float, float]:
    """Return the mean share of draws in the smaller mode, and its standard error by chains."""
    of_chains = (chains["x"][..., 0] > 0).double().mean(1)
    return float(of_chains.mean()), float(of_chains.std() / math.sqrt(len(of_chains)))


@pytest.mark.parametrize("make_kernel", [None, random_walk_kernel], ids=["barker", "random walk"])
def test_modes_far_apart_have_their_weights(make_kernel, generator):
    """All chains start in the smaller mode, 14 standard deviations from the other."""
    density = two_modes(2, 14.0)
    start = torch.randn(64, 2, generator=generator, **DOUBLE) + torch.tensor([7.0, 0.0], **DOUBLE)
    tuned = adapt_tempered(density, start, make_kernel=make_kernel, steps=400, generator=generator)
    chains = run(tuned.transition, tuned.position, draws=500, density=density, generator=generator)
    share, error = share_above(chains)
    assert error < 0.03
    assert abs(share - 0.2) < 5 * error
    assert (chains.statistics["round_trip"].sum(1) > 0).all()
    swapped = chains.statistics["swapped"].double().mean((0, 1))
    assert swapped.max() - swapped.min() < 0.05
    plain = random_walk(density, scale=1.7)
    assert share_above(run(plain, start, draws=500, density=density, generator=generator)) == (1.0, 0.0)


def mixture(dim: int, widths: list[float], shares: list[float], **where) -> MixtureSameFamily:
    """Two normal laws, 20 apart in the first coordinate."""
    centre = torch.zeros(2, dim, **where)
    centre[:, 0] = torch.tensor([-10.0, 10.0])
    laws = Independent(Normal(centre, torch.tensor(widths, **where).unsqueeze(-1)), 1)
    return MixtureSameFamily(Categorical(torch.tensor(shares, **where)), laws)


@pytest.mark.parametrize("dim", [10, 30])
def test_modes_of_different_width_have_their_weights_with_a_reference(dim, generator):
    """Widths 1 and 0.1, the narrow one with 0.3 of the mass; false alarms 1 in 10⁵ (4.4 standard errors).

    The reference is a quarter too wide and gives both modes one half. All chains start in the wide mode.
    """
    density = Density.from_distribution(mixture(dim, [1.0, 0.1], [0.7, 0.3], **DOUBLE))
    start = torch.randn(64, dim, generator=generator, **DOUBLE)
    start[:, 0] -= 10
    rough = mixture(dim, [1.25, 0.125], [0.5, 0.5], **DOUBLE)
    tuned = adapt_tempered(
        density,
        start,
        make_kernel=random_walk_kernel,
        ladder=[1.0, 0.4, 0.1],
        reference=rough,
        steps=250,
        generator=generator,
    )
    chains = run(tuned.transition, tuned.position, draws=300, density=density, generator=generator)
    share, error = share_above(chains)
    assert error < 0.02
    assert abs(share - 0.3) < 4.4 * error
    narrow = chains["x"][chains["x"][..., 0] > 0]
    assert abs(narrow[:, 1].std() - 0.1) < 0.01


def test_modes_of_different_width_are_lost_without_a_reference(generator):
    """What the docstring warns of: the same target by powers alone, chains starting in both modes."""
    density = Density.from_distribution(mixture(10, [1.0, 0.1], [0.7, 0.3], **DOUBLE))
    start = density.log_prob.__self__.sample((64,))
    tuned = adapt_tempered(
        density, start, make_kernel=random_walk_kernel, ladder=[1.0, 0.4, 0.1], steps=250, generator=generator
    )
    chains = run(tuned.transition, tuned.position, draws=300, density=density, generator=generator)
    share, error = share_above(chains)
    assert abs(share - 0.3) > 4.4 * error or error > 0.05


def test_swaps_are_accepted_by_their_ratio(generator):
    powers = torch.tensor([1.0, 0.5, 0.25], **DOUBLE)
    height = torch.tensor([-3.0, -1.0, -4.0], **DOUBLE)  # swap 0 and 1 surely; then 1 and 2 by exp(-0.25)
    position = torch.arange(3.0, **DOUBLE).reshape(1, 3, 1).repeat(CHAINS, 1, 1)
    state = State(position, (height * powers).repeat(CHAINS, 1))
    state, place, acceptance, swapped = swapping(lambda x: x, powers)(state, generator)
    assert swapped[:, 0].all()
    torch.testing.assert_close(acceptance[0], torch.tensor([1.0, math.exp(-0.25 * 1)], **DOUBLE))
    assert abs(swapped[:, 1].double().mean() - math.exp(-0.25)) < 0.01
    expected = torch.where(swapped[:, 1:], torch.tensor([1, 2, 0]), torch.tensor([1, 0, 2]))
    assert torch.equal(place, expected)
    assert torch.equal(state.position[..., 0], expected.double())
    torch.testing.assert_close(state.log_prob, height[expected] * powers)


def test_fields_are_those_of_the_level(generator):
    """After many swaps, log-density and gradient are still those that the level would compute."""
    density = Density(lambda x: -(x**4) - x, batch_shape=(2,), **DOUBLE)
    ladder = torch.tensor([[1.0, 1.0], [0.5, 0.7], [0.2, 0.3], [0.1, 0.05]])
    made = []
    init, step = tempered(density, lambda d: made.append(d) or barker(d, scale=0.5), ladder=ladder)
    state = init(torch.randn(30, 2, 1, generator=generator, **DOUBLE))
    for _ in range(20):
        state, info = step(state, generator)
    assert state.levels.gradient.shape == (30, 4, 2, 1)
    assert info.swapped.shape == (30, 3, 2)
    again = barker(made[0], scale=0.5).init(state.levels.position)
    torch.testing.assert_close(state.levels, again, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(state.log_prob, density.unconstrained_log_prob(state.position))


def test_round_trips_are_counted(generator):
    """Levels of one law always swap: three replicas go round in three steps."""
    density = Density(lambda x: 0 * x)
    init, step = tempered(density, lambda d: random_walk(d, scale=1.0), ladder=[1.0, 0.5, 0.25])
    state, trips = init(torch.zeros(4, 1)), []
    for _ in range(9):
        state, info = step(state, generator)
        trips.append(info.round_trip)
    # replica 0 is at the end after the 1st step and back after the 3rd, replica 1 a step later, ...
    expected = [False] * 2 + [True] * 7
    assert torch.stack(trips).equal(torch.tensor(expected).unsqueeze(1).expand(9, 4))


def test_few_round_trips_are_said(generator):
    density = two_modes(1, 14.0)
    transition = tempered(density, lambda d: random_walk(d, scale=2.0), ladder=[1.0, 0.9, 1e-6])
    start = torch.tensor([7.0, 7.0, 1e4], **DOUBLE).repeat(4, 1).unsqueeze(-1)  # of each level
    chains = run(transition, start, draws=30, density=density, generator=generator)
    (said,) = (finding for finding in chains.diagnose() if "round trips" in finding)
    assert "levels 1 and 2 swap least" in said
    assert "0 round trips between the target and the flattest level in 4 chains, 0 each" in said
    (said,) = (finding for finding in chains.diagnose() if "swap at fewer" in finding)
    assert said.startswith("Levels 1 and 2 (0.0")


def test_sample_by_name(generator):
    density = Density(
        lambda x: torch.logaddexp(-0.5 * (x - 7) ** 2, -0.5 * (x + 7) ** 2), batch_shape=(2,), **DOUBLE
    )
    chains = sample(
        density, method="tempered", chains=16, warmup=250, draws=250, compile="eager", generator=generator
    )
    assert chains["x"].shape == (16, 250, 2)
    assert chains.statistics["swapped"].shape == (16, 250, 4, 2)
    of_chains = (chains["x"] > 0).double().mean(1)
    assert ((of_chains.mean(0) - 0.5).abs() < 5 * of_chains.std(0) / 4).all()
    assert (of_chains.std(0) < 0.25).all()
    assert not [finding for finding in chains.diagnose() if "round trips" in finding]


def test_a_run_resumed_from_a_file_is_the_longer_run(tmp_path):
    density = two_modes(1, 6.0)
    transition = tempered(density, lambda d: random_walk(d, scale=2.0), ladder=LADDER)

    def start(draws):
        generator = torch.Generator().manual_seed(1)
        return run(transition, torch.zeros(4, 1, **DOUBLE), draws=draws, density=density, generator=generator)

    torch.save((first := start(20)).state, tmp_path / "state.pt")
    rest = run(transition, torch.load(tmp_path / "state.pt", weights_only=True), draws=30, density=density)
    assert torch.equal(torch.cat([first["x"], rest["x"]], 1), start(50)["x"])


def test_a_density_that_is_not_a_number_at_another_level_is_counted(generator):
    """The target's chains stay far from where it is NaN; the last level's do not."""
    density = Density(lambda x: torch.where(x.abs() > 10, torch.nan, -0.5 * x**2))
    transition = tempered(density, lambda d: random_walk(d, scale=4.0), ladder=[1.0, 0.02])
    chains = run(transition, torch.zeros(20, 1), draws=200, density=density, generator=generator)
    assert chains.statistics["not_finite"].sum() > 100
    assert chains["x"].abs().max() < 10


def test_the_ladder_of_a_batch_is_set_for_each_member(generator):
    powers = torch.tensor([[1.0, 1.0], [0.1, 0.1], [0.01, 0.01]], **DOUBLE)
    refused = torch.tensor([[0.6, 0.2], [0.2, 0.6]], **DOUBLE)
    found = equal_swaps(powers, refused)
    torch.testing.assert_close(found[1].log10(), torch.tensor([-2 / 3, -4 / 3], **DOUBLE))
    assert torch.equal(found[[0, 2]], powers[[0, 2]])


def test_the_default_ladder_swaps_about_half_of_a_gaussian(generator):
    for dim in (2, 20):
        powers = default_ladder(dim)
        x = torch.randn(2000, len(powers), dim, generator=generator, **DOUBLE) / powers.sqrt().unsqueeze(-1)
        state = State(x, -0.5 * powers * (x**2).sum(-1))
        *_, acceptance, _ = swapping(lambda x: x, powers)(state, generator)
        assert 0.45 < acceptance.mean() < 0.65


@pytest.mark.parametrize(
    ("ladder", "message"),
    [
        ([1.0], r"shape \(levels,\) or \('levels',\), with at least 2 levels, but has \(1,\)"),
        (1.0, r"at least 2 levels, but has \(\)"),
        ([[1.0, 0.5]], r"at least 2 levels, but has \(1, 2\)"),
        ([0.9, 0.5], "ladder should start at 1 but starts at 0.9"),
        ([1.0, 0.5, 0.5], "ladder should fall and stay above 0 but its level 2 is 0.5"),
        ([1.0, 0.5, 0.0], "ladder should fall and stay above 0 but its level 2 is 0"),
        ([1.0, math.nan], "ladder should fall and stay above 0 but its level 1 is nan"),
    ],
)
def test_bad_ladders(ladder, message):
    with pytest.raises(ValueError, match=message):
        tempered(Density(lambda x: -(x**2)), lambda d: random_walk(d, scale=1.0), ladder=ladder)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (
            Normal(torch.zeros(2), 1.0),
            r"law of positions \(2,\) but has batch shape \(2,\) and event shape \(\)",
        ),
        (
            Independent(Normal(torch.zeros(2), 1.0), 1),
            r"draw torch.float64, as .* does, but draws torch.float32",
        ),
    ],
    ids=["shape", "type"],
)
def test_bad_references(reference, message):
    density = two_modes(2, 6.0)
    with pytest.raises(ValueError, match=message):
        tempered(density, lambda d: random_walk(d, scale=1.0), ladder=LADDER, reference=reference)


def test_levels_without_a_finite_integral_are_refused(dtype, device, generator):
    """(1 + x²)^(−β) has one above β = ½ only."""
    density = Density(lambda x: -torch.log1p(x**2), dtype=dtype, device=device)
    start = torch.randn(32, 1, generator=generator, dtype=dtype, device=device)
    with pytest.raises(ValueError, match=r"at level \d, 0\.\d*, the chains run away, as they do where tails"):
        adapt_tempered(density, start, steps=250, generator=generator)
    tuned = adapt_tempered(density, start, ladder=[1.0, 0.85, 0.7], steps=250, generator=generator)
    assert tuned.position.shape == (32, 3, 1)


@pytest.mark.parametrize(
    ("log_prob", "steps", "message"),
    [
        (lambda x: -(x**2), 200, "warm-up of parallel tempering should have at least 250 steps but got 200"),
        (lambda x: x * math.nan, 300, r"log_prob should be finite but is nan at rate = 0\.0 \(chain 0\)"),
    ],
)
def test_bad_warm_up(log_prob, steps, message, generator):
    with pytest.raises(ValueError, match=message):
        adapt_tempered(Density(log_prob, name="rate"), torch.zeros(8, 1), steps=steps, generator=generator)
