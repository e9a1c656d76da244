"""A coordinate at a time, each with a scale of its own; densities of whole numbers."""

import math

import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from torch.distributions import constraints

from probgen.core import Density, seeded
from probgen.sampling import (
    adapt_component_wise,
    component_wise,
    discrete_random_walk,
    metropolis_hastings,
    run,
    sample,
)
from probgen.sampling.markov.moves.component_wise import blocks_of, sweeper
from probgen.sampling.markov.moves.integer_steps import integer_steps
from tests import laws
from tests.sampling.markov.targets import DISCRETE, of_scipy, target

CHAINS = 50_000


def mixed(dtype=torch.float64):
    """P(k = 1) = 0.3 and x | k ~ N(3k, (1 + k)²)."""

    def log_prob(v):
        k = v["k"]
        return torch.tensor([0.7, 0.3], dtype=dtype)[k].log() + dist.Normal(3.0 * k, 1.0 + k).log_prob(v["x"])

    return Density(
        log_prob,
        support={"k": constraints.boolean, "x": constraints.real},
        event_shape={"k": (), "x": ()},
        dtype=dtype,
    )


def proposed(x):
    return {"k": dist.Bernoulli(0.2 + 0.5 * x["k"]), "x": dist.Normal(x["x"] + 0.2, 2.0)}


@pytest.mark.parametrize(
    "make",
    [
        lambda d: component_wise(d, scale=2.0),
        lambda d: component_wise(d, scale=torch.tensor([1.0, 2.0]), scan="systematic"),
        lambda d: metropolis_hastings(d, proposed),
    ],
    ids=["random", "systematic", "metropolis hastings"],
)
def test_continuous_and_whole_numbers_together(make, generator):
    density = mixed()
    with seeded(7):
        k = (torch.rand(CHAINS) < 0.3).long()
        x = 3.0 * k + (1.0 + k) * torch.randn(CHAINS, dtype=torch.float64)
    init, step = make(density)
    state = init(density.unconstrain({"k": k, "x": x}))
    for _ in range(3):
        state, _ = step(state, generator)
    values = density.constrain(state.position)
    assert (values["k"] != k).any()
    assert (values["x"] != x).double().mean() > 0.2
    normal = of_scipy(scipy.stats.norm())
    laws.check_goodness_of_fit(values["k"], of_scipy(scipy.stats.bernoulli(0.3)))
    laws.check_goodness_of_fit((values["x"] - 3.0 * values["k"]) / (1.0 + values["k"]), normal)


@pytest.mark.parametrize("scan", ["random", "systematic"])
def test_every_coordinate_moves_by_a_step_of_its_own(scan, generator):
    scales = torch.tensor([1e-3, 1.0, 1e3], dtype=torch.float64)
    density = Density(
        lambda x: -0.5 * ((x / scales) ** 2).sum(-1),
        support=constraints.real_vector,
        event_shape=(3,),
        dtype=torch.float64,
    )
    start = torch.randn(64, 3, generator=generator, dtype=torch.float64)
    transition, position, target = adapt_component_wise(
        density, start, steps=200, scan=scan, generator=generator
    )
    chains = run(transition, position, draws=200, generator=generator)
    assert abs(chains.statistics["acceptance"].mean() - target) < 0.03
    ratio = chains["position"].diff(dim=1).abs().mean((0, 1)) / scales
    assert ratio.max() / ratio.min() < 1.1


def test_members_of_a_batch_are_tuned_apart(generator):
    scales = torch.tensor([1e-2, 1e2], dtype=torch.float64)
    density = Density.from_distribution(dist.Normal(torch.zeros(2, dtype=torch.float64), scales))
    start = torch.randn(64, 2, 1, generator=generator, dtype=torch.float64)
    transition, position, _ = adapt_component_wise(density, start, steps=400, generator=generator)
    acceptance = run(transition, position, draws=200, generator=generator).statistics["acceptance"]
    assert (acceptance.mean((0, 1)) - 0.44).abs().max() < 0.04


def test_a_systematic_sweep_goes_in_order(generator):
    density = Density(lambda x: -x.abs().sum(-1), support=constraints.real_vector, event_shape=(3,))
    seen = []
    log_prob = density.unconstrained_log_prob
    density.unconstrained_log_prob = lambda u: (seen.append(u), log_prob(u))[1]
    init, step = component_wise(density, scale=1.0, scan="systematic")
    state = init(torch.zeros(5, 3))
    step(state, generator)
    assert (seen[1][:, 0] != 0).all()
    assert (seen[1][:, 1:] == 0).all()
    assert (seen[2][:, 2] == 0).all()
    assert (seen[2][:, 1] != 0).all()
    assert (seen[3][:, 2] != 0).all()


def test_a_site_moves_as_one(generator):
    density = Density(
        lambda v: -(v["a"] ** 2) - (v["b"] ** 2).sum(-1),
        support={"a": constraints.real, "b": constraints.real_vector},
        event_shape={"a": (), "b": (2,)},
    )
    assert blocks_of(density, "site").tolist() == [[1, 0, 0], [0, 1, 1]]
    init, step = component_wise(density, scale=1.0, by="site")
    start = torch.zeros(100, 3)
    moved = step(init(start), generator)[0].position != start
    assert torch.equal(moved[:, 1], moved[:, 2])
    assert not torch.equal(moved[:, 0], moved[:, 1])
    transition, position, target = adapt_component_wise(
        density, torch.randn(64, 3, generator=generator), steps=200, by="site", generator=generator
    )
    acceptance = run(transition, position, draws=200, generator=generator).statistics["acceptance"]
    assert abs(acceptance.mean() - target) < 0.05


def test_what_became_of_each_block_is_known_by_block(generator):
    density = Density(
        lambda x: torch.where(x[..., 1] == 0, -(x[..., 0] ** 2), -torch.inf),
        support=constraints.real_vector,
        event_shape=(2,),
    )
    sweep = sweeper(density, blocks_of(density, "coordinate"), "random", lambda f: f)
    init, _ = component_wise(density, scale=1.0)
    _, swept = sweep(init(torch.zeros(200, 2)), torch.tensor(1.0), generator)
    assert ((swept.acceptance == 0) == (swept.order == 1)).all()
    assert 50 < (swept.order[:, 0] == 1).sum() < 150


@pytest.mark.parametrize("compile", ["eager", "graph"])
def test_sample_takes_it_for_whole_numbers(compile, generator, caplog):
    """Started anywhere; compared in standard errors of the chains' means."""
    density = mixed()
    chains = sample(density, chains=300, warmup=100, draws=150, compile=compile, generator=generator)
    assert chains["k"].dtype == torch.int64
    for values, truth in ((chains["k"].double(), 0.3), (chains["x"], 0.9)):
        of_chains = values.mean(1)
        assert abs(of_chains.mean() - truth) < 5.5 * of_chains.std() / 300**0.5
    assert chains.to_arviz()["posterior"]["k"].values.dtype.kind == "i"
    assert not caplog.messages
    assert chains.summary().loc["k", "mean"] == pytest.approx(float(chains["k"].double().mean()))
    assert 0.1 < chains.autocorrelation("k")[1] < 0.9


def test_a_fair_coin_does_not_alternate(generator):
    """A walk that always flips it would, and every second draw would be the same."""
    density = Density.from_distribution(dist.Bernoulli(torch.full((2,), 0.5)).to_event(1))
    draws = sample(density, chains=500, warmup=20, draws=20, thin=2, generator=generator)["x"].double()
    assert abs(torch.corrcoef(torch.stack([draws[:, 1:].flatten(), draws[:, :-1].flatten()]))[0, 1]) < 0.05


def test_labels_do_not_lead_the_warm_up_astray(generator):
    """All alike, every step is accepted; one nearly alone, none is: no scale grows or shrinks for ever."""
    weights = torch.tensor([[1.0, 1.0, 1.0, 1.0, 1.0], [1.0, 1e-9, 1e-9, 1e-9, 1e-9]])
    density = Density.from_distribution(dist.Categorical(weights))
    chains = sample(density, chains=50, warmup=400, draws=10, generator=generator)
    assert chains.target_acceptance is None
    share = (chains["x"] == 0).double().mean((0, 1))
    assert abs(share[0] - 0.2) < 0.09
    assert share[1] == 1


def test_sample_of_a_law_of_counts(generator):
    law = Density.from_distribution(dist.Poisson(torch.tensor([0.3, 40.0])))
    draws = sample(law, chains=200, warmup=100, draws=80, generator=generator)["x"].double()
    of_chains = draws.mean(1)
    z = (of_chains.mean(0) - torch.tensor([0.3, 40.0])) / (of_chains.std(0) / 200**0.5)
    assert z.abs().max() < 5.5


@pytest.mark.parametrize("scan", ["random", "systematic"])
def test_each_block_is_judged_by_noise_of_its_own(scan, generator):
    """Coordinates that know nothing of each other are accepted, and moved, independently."""
    density = Density(lambda x: -(x**2).sum(-1), support=constraints.real_vector, event_shape=(2,))
    init, _ = component_wise(density, scale=1.0)
    sweep = sweeper(density, blocks_of(density, "coordinate"), scan, lambda f: f)
    state, swept = sweep(init(torch.full((CHAINS, 2), 0.5)), torch.tensor(1.0), generator)
    for pairs in (swept.accepted.double(), state.position - 0.5):
        assert torch.corrcoef(pairs.T)[0, 1].abs() < 4.9 / CHAINS**0.5  # P(|N(0, 1)| > 4.9) = 1e-6


def test_values_are_whole_numbers_in_their_support(device, generator):
    for name in DISCRETE:
        density, draw, _ = target(name, torch.float32, device)
        x = draw(100).long()
        positions = density.unconstrain(x)
        assert torch.equal(density.constrain(positions)["x"], x)
        assert torch.equal(density.constrain(positions + 0.49)["x"], x)
        assert torch.equal(
            density.unconstrained_log_prob(positions - 0.49), density.unconstrained_log_prob(positions)
        )
        assert (density.unconstrained_log_prob(positions - 100) == -torch.inf).all()


def test_steps_of_whole_numbers_are_symmetric(generator):
    """On each of 4 labels alike; in a wide support, ±(1 + ⌊3 U⌋) and now and then anywhere."""
    position = torch.zeros(CHAINS, 3)
    cells = torch.tensor([-torch.inf, 0.0, 0.0]), torch.tensor([torch.inf, 4.0, 400.0])
    steps = integer_steps(position, torch.tensor(3.0), cells, generator)
    far = steps[:, 2].abs() > 3
    assert abs(far.double().mean() - 0.05) < 0.006  # 20 / 400
    for of_one, values in ((steps[:, 0], [-3, -2, -1, 1, 2, 3]), (steps[:, 1], [0, 1, 2, 3])):
        counts = torch.stack([(of_one == value).sum() for value in values]).double()
        assert counts.sum() == CHAINS
        chi2 = ((counts - CHAINS / len(values)) ** 2 / (CHAINS / len(values))).sum()
        assert scipy.stats.chi2.sf(float(chi2), len(values) - 1) > 1e-6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0.0}, "scale should be positive and finite but got 0"),
        ({"scale": torch.eye(2)}, r"a number or one per coordinate but has shape \(2, 2\)"),
        ({"scan": "backwards"}, "scan should be 'random' or 'systematic' but got 'backwards'"),
        ({"by": "block"}, "by should be 'coordinate' or 'site' but got 'block'"),
    ],
)
def test_bad_options(options, message):
    density = Density(lambda x: -(x**2).sum(-1), support=constraints.real_vector, event_shape=(2,))
    with pytest.raises(ValueError, match=message):
        component_wise(density, **{"scale": 1.0} | options)


def test_a_continuous_site_is_not_for_a_discrete_walk():
    with pytest.raises(ValueError, match="every site should be discrete for a discrete random walk"):
        discrete_random_walk(mixed())


def test_a_discrete_support_without_whole_numbers():
    with pytest.raises(ValueError, match=r"a discrete support should hold whole numbers but is OneHot\(\)"):
        Density(lambda x: -math.inf * x, support=constraints.one_hot, event_shape=(3,))
