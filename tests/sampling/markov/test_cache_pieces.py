"""Large runs in pieces: the same law, the same bits after a resume, one graph for all."""

import pytest
import torch

from probgen.core import Density
from probgen.sampling import random_walk, run, stretch
from probgen.sampling.markov.moves import cache_pieces as of_pieces
from probgen.sampling.markov.moves.cache_pieces import cut, joined, pieces


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(of_pieces, "PIECE", 10)


@pytest.mark.parametrize(
    ("chains", "sizes"), [(30, [30]), (100, [10] * 10), (96, [8] * 12), (53, [11] * 4 + [9])]
)
def test_chains_are_cut_evenly_where_that_is_possible(chains, sizes, small):
    found = pieces(torch.zeros(chains, 1))
    assert [piece.stop - piece.start for piece in found] == sizes
    assert [piece.start for piece in found] == [sum(sizes[:i]) for i in range(len(sizes))]


def test_cut_and_joined_are_inverse(small):
    state = random_walk(Density(lambda x: -0.5 * x**2), scale=1.0).init(torch.randn(53, 1))
    again = joined([cut(state, rows) for rows in pieces(state.position)])
    assert all(torch.equal(a, b) for a, b in zip(again, state, strict=True))


def normal():
    return Density(lambda x: -0.5 * x**2, dtype=torch.float64)


def drawn(transition, init, draws, thin=3):
    return run(transition, init, draws=draws, thin=thin, generator=torch.Generator().manual_seed(5))


def test_a_run_in_pieces_keeps_each_chain_in_its_place(small):
    steps = []

    def log_prob(x):
        steps.append(len(x))
        return -0.5 * x**2

    start = 100.0 * torch.arange(53, dtype=torch.float64).unsqueeze(-1)
    density = Density(log_prob, dtype=torch.float64)
    steps.clear()
    found = drawn(random_walk(density, scale=0.01), start, 4)
    assert steps[1:] == ([11] * 12 + [9] * 3) * 4
    assert float((found["position"] - start.unsqueeze(1)).abs().max()) < 1
    exact = -0.5 * found["position"].squeeze(-1) ** 2
    assert torch.equal(found.statistics["log_prob"], exact)
    acceptance = found.statistics["acceptance"]
    assert bool(((acceptance > 0) & (acceptance <= 1)).all())
    assert bool((acceptance[0] > 0.95).all())


def test_a_run_in_pieces_goes_on_to_the_bit(small):
    transition, start = random_walk(normal(), scale=1.0), torch.zeros(53, 1, dtype=torch.float64)
    whole, first = drawn(transition, start, 6), drawn(transition, start, 2)
    rest = run(transition, first.state, draws=4, thin=3)
    assert torch.equal(torch.cat([first["position"], rest["position"]], 1), whole["position"])


def test_an_ensemble_is_not_cut(small):
    transition, start = stretch(normal()), torch.randn(54, 1, dtype=torch.float64)
    found = drawn(transition, start, 5)
    state, generator = transition.init(start), torch.Generator().manual_seed(5)
    for _ in range(15):
        state, _ = transition.step(state, generator)
    assert torch.equal(state.position, found["position"][:, -1])
