"""The law of links: its masses, its draws, what it refuses."""

import itertools
import math

import pytest
import torch

from probgen.nets import InnerProduct, Links

PAIRS = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]


def every_graph():
    """All 64 graphs of four nodes."""
    x = torch.zeros(64, 4, 4, dtype=torch.float64)
    for number, links in enumerate(itertools.product([0, 1], repeat=6)):
        for (i, j), link in zip(PAIRS, links, strict=True):
            x[number, i, j] = x[number, j, i] = link
    return x


def logits(seed=0):
    found = torch.randn(4, 4, generator=torch.Generator().manual_seed(seed)).double()
    return found + found.T


def test_masses_sum_to_one_and_each_pair_counts_once():
    x, given = every_graph(), logits()
    found = Links(given).log_prob(x)
    torch.testing.assert_close(found.exp().sum(), torch.ones((), dtype=torch.float64))
    p = given.sigmoid()
    for number in (0, 21, 63):
        mass = 1.0
        for i, j in PAIRS:
            mass *= float(p[i, j] if x[number, i, j] else 1 - p[i, j])
        assert float(found[number].exp()) == pytest.approx(mass)


def test_pairs_that_are_not_seen_are_summed_out():
    x, given = every_graph(), logits()
    seen = torch.ones(4, 4, dtype=torch.bool)
    seen[0, 2] = seen[2, 0] = False
    all_seen, part = Links(given).log_prob(x).exp(), Links(given, seen).log_prob(x).exp()
    for number in range(64):
        same = (x.where(seen, 0) == x[number].where(seen, 0)).all((1, 2))
        torch.testing.assert_close(part[number], all_seen[same].sum())


def test_draws_are_graphs_with_the_shares_of_the_mean():
    law = Links(logits()).expand((3,))
    torch.manual_seed(0)
    x = law.sample((20_000,))
    assert x.shape == (20_000, 3, 4, 4)
    law.log_prob(x[:10])  # each is a graph
    error = (x.mean((0, 1)) - law.mean[0]).abs()
    assert error.max() < 4.5 * 0.5 / 60_000**0.5  # 6 shares: a false alarm in 20,000
    assert not law.mean.diagonal(dim1=-2, dim2=-1).any()


def test_what_is_no_graph_is_refused():
    law = Links(torch.zeros(3, 3), validate_args=True)
    for place, value, words in (
        ((0, 1), 0.5, "should be 0 or 1 but got 0.5"),
        ((0, 1), 1.0, "should be symmetric"),
        ((1, 1), 1.0, "should not be linked to itself"),
    ):
        x = torch.zeros(3, 3)
        x[place] = value
        with pytest.raises(ValueError, match=words):
            law.log_prob(x)
    one_sided = torch.ones(3, 3, dtype=torch.bool).triu()
    with pytest.raises(ValueError, match="seen should be symmetric, seen_ij"):
        Links(torch.zeros(3, 3), one_sided, validate_args=True).log_prob(torch.zeros(3, 3))


@pytest.mark.parametrize("repelling", [0, 1])
@pytest.mark.parametrize("effects", [True, False])
def test_logits_written_out(effects, repelling):
    net, z = InnerProduct(effects=effects, repelling=repelling).double(), torch.randn(2, 5, 3).double()
    with torch.no_grad():
        net.bias.fill_(-1.5)
        if effects:
            net.log_scale.fill_(0.3)
    found = net(z).logits.detach()
    for g, i, j in itertools.product(range(2), range(5), range(5)):
        u, v = z[g, i], z[g, j]
        own = float((u[2] + v[2]) * math.exp(0.3)) if effects else 0.0
        terms = [u[0] * v[0], u[1] * v[1]] + ([] if effects else [u[2] * v[2]])
        places = sum(terms) - 2 * repelling * terms[-1]
        assert float(found[g, i, j]) == pytest.approx(-1.5 + own + float(places))


def test_more_coordinates_that_repel_than_there_are():
    with pytest.raises(ValueError, match="repelling should be at most the 2 coordinates of a place but is 3"):
        InnerProduct(repelling=3)(torch.zeros(4, 3))
