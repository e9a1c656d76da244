"""What chains cost, counted where log-densities are evaluated, as they are written and as graphs."""

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from probgen.core import Density, Transition, evaluations
from probgen.sampling import hmc, random_walk, run, sample, tempered

CHAINS, DRAWS, LADDER = 6, 5, [1.0, 0.5, 0.25]


class Counted:
    """A normal log-density that counts its own rows, to count against."""

    def __init__(self) -> None:
        self.rows = 0

    def __call__(self, x: Tensor) -> Tensor:
        self.rows += x.shape[:-1].numel()
        return -0.5 * (x**2).sum(-1)

    @property
    def density(self) -> Density:
        return Density(self, support=torch.distributions.constraints.real_vector, event_shape=(2,))


@pytest.mark.parametrize(
    ("make", "evaluated", "gradients"),
    [
        (lambda density: hmc(density, scale=0.3, steps=7), 7, 7),
        (lambda density: random_walk(density, scale=1.0), 1, 0),
        (lambda density: tempered(density, lambda d: random_walk(d, scale=1.0), ladder=LADDER), 3, 0),
    ],
    ids=["hmc", "random walk", "tempered"],
)
@pytest.mark.parametrize("thin", [1, 3])
def test_a_draw_of_fixed_transitions(
    make: Callable[[Density], Transition], evaluated: int, gradients: int, thin: int
) -> None:
    own = Counted()
    start, generator = torch.zeros(CHAINS, 2), torch.Generator().manual_seed(0)
    chains = run(make(own.density), start, draws=DRAWS, thin=thin, density=own.density, generator=generator)
    found = chains.statistics["evaluations"]
    assert found.shape == (CHAINS, DRAWS)
    assert (found == evaluated * thin).all()
    assert ("gradients" in chains.statistics) == bool(gradients)
    if gradients:
        assert (chains.statistics["gradients"] == gradients * thin).all()
        steps = chains.to_arviz()["sample_stats"]["n_steps"].values
        assert (steps == gradients * thin).all()
    assert int(found.sum()) + chains.warm_up.log_probs == own.rows


@pytest.mark.parametrize(
    "method", ["hmc", "mala", "delayed_rejection", "stretch", "component_wise", "haario"]
)
@pytest.mark.parametrize("compile", ["graph", "eager"])
def test_all_evaluations_are_counted_as_graphs_too(method: str, compile: str) -> None:
    """As it is written, every row that the function sees is counted; as a graph, the same are."""
    own = Counted()
    options = {"method": method, "chains": 8, "warmup": 40, "draws": 10, "seed": 0, "progress": False}
    chains = sample(own.density, compile=compile, **options)
    counted = round(float(chains.statistics["evaluations"].sum())) + chains.warm_up.log_probs
    if compile == "eager":
        assert counted == own.rows
    else:
        eager = sample(Counted().density, compile="eager", **options)
        assert chains.warm_up == eager.warm_up
        assert torch.equal(chains.statistics["evaluations"], eager.statistics["evaluations"])
        assert own.rows < counted / 2, "the function itself is called seldom"


def test_models_and_batches_count_each_row_once() -> None:
    def model() -> None:
        scale = pyro.sample("scale", dist.HalfNormal(1.0))
        pyro.sample("x", dist.Uniform(-scale, scale))  # a support that depends on another site

    chains = sample(model, method="random_walk", chains=4, warmup=20, draws=5, seed=0, progress=False)
    assert (chains.statistics["evaluations"] == 1).all()
    family = Density(lambda x: -0.5 * x**2, batch_shape=(3,))
    chains = sample(family, method="hmc", chains=4, warmup=20, draws=5, seed=0, progress=False)
    assert chains.statistics["gradients"].shape == (4, 5, 3)
    assert (chains.statistics["gradients"] == chains.statistics["evaluations"]).all()
    assert chains.statistics["gradients"].frac().eq(0).all()


def test_threads_count_for_themselves() -> None:
    from threading import Thread

    before = evaluations()
    other = Thread(target=lambda: Counted().density.unconstrained_log_prob(torch.zeros(4, 2)))
    other.start()
    other.join()
    assert evaluations() == before
