"""Moves of an ensemble: the joint law of its chains, affine maps, modes, what is refused."""

import copy
from typing import NamedTuple

import pytest
import scipy.stats
import torch
from torch import Tensor
from torch.distributions import Normal, constraints

from probgen.core import Density, Transition, seeded
from probgen.sampling import differential_evolution, random_walk, run, sample, stretch
from probgen.sampling.markov.moves.ensemble import chosen, ensemble_kernel, taken
from probgen.sampling.markov.moves.metropolis import Info, choose, judge
from tests import laws
from tests.sampling.markov.targets import NAMES, of_scipy, target

ENSEMBLES = 50_000
MOVES = {
    "stretch": lambda d: stretch(d),
    "wide stretch": lambda d: stretch(d, a=4.0),
    "differential evolution": lambda d: differential_evolution(d),
}


class First(NamedTuple):
    """The first chain of each ensemble: chains of one are not independent, those of many are."""

    position: Tensor
    log_prob: Tensor
    ensembles: object


def of_many_ensembles(make, density, draw) -> Transition:
    """Fill each ensemble up with exact draws, and show one chain of each."""
    many, walkers = copy.copy(density), 2 * (density.dim + 1)
    many.batch_shape = torch.Size((ENSEMBLES, *density.batch_shape))
    transition = make(many)

    def shown(state):
        return First(state.position[0], state.log_prob[0], state)

    def init(position):
        with seeded(8):
            others = density.unconstrain(draw(ENSEMBLES * (walkers - 1)))
        others = others.reshape(walkers - 1, *position.shape)
        return shown(transition.init(torch.cat([position.unsqueeze(0), others])))

    def step(state, generator):
        state, info = transition.step(state.ensembles, generator)
        return shown(state), info

    return Transition(init, step)


def exact(draw):
    with seeded(7):
        return draw(ENSEMBLES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("move", ["stretch", "differential evolution"])
def test_the_target_is_stationary(move, name, dtype, device, generator):
    density, draw, marginals = target(name, dtype, device)
    transition = of_many_ensembles(MOVES[move], density, draw)
    laws.check_stationary(density, transition, exact(draw), marginals, generator=generator, steps=2)


@pytest.mark.parametrize("name", ["dirichlet", "banana"])
@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_balance_is_detailed(move, name, dtype, device, generator):
    density, draw, _ = target(name, dtype, device)
    transition = of_many_ensembles(move, density, draw)
    laws.check_reversible(density, transition, exact(draw), generator=generator)


def without_volume(density):
    """A stretch whose change of volume, z^(dim − 1), is forgotten."""

    def propose(position, others, scale, noise):
        other, z = taken(others, chosen(noise[0], len(others))), (noise[1] + 1) ** 2 / 2
        return other + z.unsqueeze(-1) * (position - other), torch.zeros_like(z)

    kernel = ensemble_kernel(density, propose, numbers=2, target=0.3, scale=2.0)
    return Transition(kernel.init, lambda state, generator: kernel.move(state, torch.tensor(2.0), generator))


def from_where_they_were(density):
    """Both halves move at once, each by where the other was."""
    init, _ = stretch(density)

    def step(state, generator):
        half = len(state.position) // 2
        u = torch.rand(state.log_prob.shape, dtype=state.log_prob.dtype, generator=generator)
        other, z = state.position.roll(half, 0), (u + 1) ** 2 / 2
        proposal = init(other + z.unsqueeze(-1) * (state.position - other))
        log_ratio = proposal.log_prob - state.log_prob + (density.dim - 1) * z.log()
        info = judge(log_ratio, proposal.log_prob, torch.rand(z.shape, generator=generator))
        return choose(info.accepted, proposal, state), info

    return Transition(init, step)


def test_a_forgotten_volume_is_seen(device, generator):
    density, draw, marginals = target("correlated normal", torch.float64, device)
    transition = of_many_ensembles(without_volume, density, draw)
    with pytest.raises(AssertionError, match="the draws are"):
        laws.check_stationary(density, transition, exact(draw), marginals, generator=generator)


@pytest.mark.parametrize("move", ["stretch", "differential evolution", "from where they were"])
def test_the_joint_law_of_an_ensemble_is_stationary(move, device, generator):
    """Chains in equilibrium spread about their own mean as independent ones do."""
    density, draw, _ = target("normal", torch.float64, device)
    transition = of_many_ensembles(
        (MOVES | {"from where they were": from_where_they_were})[move], density, draw
    )
    state = transition.init(density.unconstrain(exact(draw)))
    for _ in range(20):
        state, _ = transition.step(state, generator)
    x = (state.ensembles.position[..., 0] - 1) / 2
    spread, law = ((x - x.mean(0)) ** 2).sum(0), of_scipy(scipy.stats.chi2(len(x) - 1))
    if move == "from where they were":
        assert laws.dkw_distance(spread, law) > 2 * laws.dkw_radius(ENSEMBLES)
    else:
        laws.check_goodness_of_fit(spread, law)


def test_an_ensemble_knows_no_affine_map():
    """Whatever a map does to the target and the start, it does to the chains."""
    factor, shift = torch.tensor([[1.0, 0.0], [3.0, 0.1]], dtype=torch.float64), torch.tensor([5.0, -100.0])
    plain = Density(
        lambda x: -0.5 * (x**2).sum(-1) - 0.1 * (x**4).sum(-1),
        support=constraints.real_vector,
        event_shape=(2,),
        dtype=torch.float64,
    )

    def white(y):
        return torch.linalg.solve_triangular(factor, (y - shift).mT, upper=False).mT

    mapped = copy.copy(plain)
    mapped.log_prob = lambda y: plain.log_prob(white(y))
    start = torch.randn(20, 2, dtype=torch.float64)
    for move in MOVES.values():
        x, y = (
            run(move(density), position, draws=20, generator=torch.Generator().manual_seed(1))["position"]
            for density, position in ((plain, start), (mapped, start @ factor.T + shift))
        )
        torch.testing.assert_close(white(y.flatten(0, 1)), x.flatten(0, 1), rtol=1e-6, atol=1e-6)


def test_differences_lead_from_mode_to_mode(generator):
    """Modes 40 standard deviations apart: chains change sides, and the shares come out right."""
    centres = torch.tensor([[-20.0, 0.0], [20.0, 10.0]], dtype=torch.float64)
    weights = torch.tensor([0.3, 0.7], dtype=torch.float64)

    def log_prob(x):
        near = -0.5 * ((x.unsqueeze(-2) - centres) ** 2).sum(-1)
        return (near + weights.log()).logsumexp(-1)

    density = Density(
        log_prob, support=constraints.real_vector, event_shape=(2,), batch_shape=(50,), dtype=torch.float64
    )
    start = centres[torch.arange(40) % 2].unsqueeze(1) + torch.randn(
        40, 50, 2, generator=generator, dtype=torch.float64
    )
    chains = run(differential_evolution(density), start, draws=400, generator=generator)["position"]
    share = (chains[:, 100:, :, 0] > 0).double().mean((0, 1))
    assert ((chains[:, 1:, :, 0] > 0) != (chains[:, :-1, :, 0] > 0)).any(1).double().mean() > 0.9
    z = (share.mean() - 0.7) / (share.std() / 50**0.5)
    assert share.std() < 0.1
    assert abs(z) < 5


@pytest.mark.parametrize("method", ["stretch", "differential_evolution"])
def test_sample(method, generator):
    """Members of a batch are tuned apart; chains that start far away catch up."""
    scales = torch.tensor([1e-3, 1.0, 1e3], dtype=torch.float64)
    density = Density.from_distribution(Normal(torch.full_like(scales, 50.0), scales))
    chains = sample(
        density, method=method, chains=256, warmup=200, draws=150, compile="eager", generator=generator
    )
    z = (chains["x"] - 50) / scales
    assert z.mean((0, 1)).abs().max() < 0.15
    assert (z.flatten(0, 1).std(0) - 1).abs().max() < 0.1
    assert (chains.statistics["acceptance"].mean((0, 1)) - chains.target_acceptance).abs().max() < 0.05


@pytest.mark.parametrize("chains", [6, 7, 33])
def test_odd_and_even_ensembles_in_a_batch(chains, dtype, device, generator):
    density = Density.from_distribution(Normal(torch.zeros(3, dtype=dtype, device=device), 1.0))
    for move in MOVES.values():
        drawn = run(
            move(density), torch.randn(chains, 3, 1, dtype=dtype, device=device), draws=5, generator=generator
        )
        assert drawn["position"].shape == (chains, 5, 3, 1)
        assert drawn["position"].dtype == dtype
        assert drawn.statistics["acceptance"].shape == (chains, 5, 3)
        state = drawn.state.state
        torch.testing.assert_close(state.log_prob, density.unconstrained_log_prob(state.position))


def on_a_line(n, dim, dtype, shift=0.0):
    return shift + torch.randn(n, 1, dtype=dtype) * torch.linspace(1, 3, dim, dtype=dtype)


@pytest.mark.parametrize("shift", [0.0, 1000.0])
@pytest.mark.parametrize("move", [stretch, differential_evolution])
def test_chains_on_a_line_or_plane_are_refused(move, shift, dtype):
    """They would stay there; who starts with independent noise, however small, is let through."""
    density = Density(
        lambda x: -(x**2).sum(-1), support=constraints.real_vector, event_shape=(3,), dtype=dtype
    )
    line = on_a_line(32, 3, dtype, shift)
    for start, directions in (
        (line, 1),
        (line + on_a_line(32, 3, dtype).flip(-1), 2),
        (torch.randn(32, 3, dtype=dtype) * torch.tensor([1.0, 1.0, 0.0], dtype=dtype) + shift, 2),
        (torch.ones(32, 3, dtype=dtype), 0),
    ):
        with pytest.raises(ValueError, match=f"all 3 directions but its 32 chains lie apart in {directions}"):
            move(density).init(start)
    move(density).init(line + 0.05 * torch.randn(32, 3, dtype=dtype))
    move(density).init(shift + torch.randn(32, 3, dtype=dtype) * torch.tensor([0.05, 1.0, 1e4], dtype=dtype))


def test_each_member_of_a_batch_has_its_own_rank(dtype):
    density = Density(
        lambda x: -(x**2).sum(-1),
        support=constraints.real_vector,
        event_shape=(2,),
        batch_shape=(2, 3),
        dtype=dtype,
    )
    start = torch.randn(16, 2, 3, 2, dtype=dtype)
    stretch(density).init(start)
    start[:, 1, 2] = on_a_line(16, 2, dtype)
    with pytest.raises(ValueError, match=r"lie apart in 1 only in batch row 1, 2, and would never"):
        stretch(density).init(start)


def test_draws_on_a_line_are_told(generator):
    """By whatever move they came there."""
    density = Density(lambda x: -(x**2).sum(-1), support=constraints.real_vector, event_shape=(3,))
    start, along = on_a_line(32, 3, torch.float32), torch.linspace(1, 3, 3)

    def step(state, generator):
        to = state.position + torch.randn(32, 1, generator=generator) * along
        return type(state)(to, density.unconstrained_log_prob(to)), Info(*torch.ones(3, 32))

    moved = run(
        Transition(random_walk(density, scale=1.0).init, step),
        start,
        draws=20,
        density=density,
        generator=generator,
    )
    assert any("their last positions differ in 1 directions of 3" in words for words in moved.diagnose())
    right = sample(density, method="stretch", chains=32, warmup=50, draws=20, generator=generator)
    assert not any("on a plane" in words for words in right.diagnose())


@pytest.mark.parametrize(
    ("make", "position", "message"),
    [
        (lambda d: stretch(d, a=1.0), None, r"a should be above 1 and finite but got 1\.0"),
        (lambda d: differential_evolution(d, scale=0.0), None, r"positive and finite but got 0\.0"),
        (lambda d: differential_evolution(d, scale=torch.ones(2)), None, r"shape \(\) but has \(2,\)"),
        (stretch, torch.zeros(5, 2), r"at least 2 \(dim \+ 1\) = 6 chains but has 5"),
        (stretch, torch.zeros(2, 8, 2), r"\(chains, \*batch, dim\) but has \(2, 8, 2\)"),
    ],
    ids=["a", "scale", "shape", "few chains", "dims"],
)
def test_bad_input(make, position, message):
    density = Density(lambda x: -(x**2).sum(-1), support=constraints.real_vector, event_shape=(2,))
    with pytest.raises(ValueError, match=message):
        make(density).init(position)
