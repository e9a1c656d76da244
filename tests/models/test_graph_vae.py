"""The graph VAE: its bound and evidence against quadrature, and what it may not know."""

import math

import numpy as np
import pyro.distributions as dist
import pytest
import torch

from probgen import SVI, fit
from probgen.core import seeded
from probgen.data import graph, split_links
from probgen.evaluation import link_prediction, log_likelihood
from probgen.models import GraphVAE
from probgen.nets import GraphNet, InnerProduct, NormalHead


def made(nodes, latent, *, device="cpu"):
    with seeded(0):
        pair = GraphVAE(
            NormalHead(GraphNet(nodes, latent)), InnerProduct(start=-0.5), nodes=nodes, latent=latent
        )
    return pair.to(device)


def two_graphs(device="cpu"):
    """A chain of three nodes and a single link, with a pair of the first not seen."""
    x = torch.tensor([[[0, 1, 0], [1, 0, 1], [0, 1, 0]], [[0, 1, 0], [1, 0, 0], [0, 0, 0]]])
    seen = torch.ones(2, 3, 3, dtype=torch.bool)
    seen[0, 0, 2] = seen[0, 2, 0] = False
    return x.double().to(device), seen.to(device)


def evidence(x, seen):
    """log p of the seen links of three nodes with effects alone, by Gauss-Hermite quadrature."""
    points, weights = (torch.tensor(a) for a in np.polynomial.hermite_e.hermegauss(40))
    weights = weights / weights.sum()
    a = torch.cartesian_prod(points, points, points)
    total = torch.cartesian_prod(weights, weights, weights).prod(1).log()
    for i, j in ((0, 1), (0, 2), (1, 2)):
        if seen[i, j]:
            p = (-0.5 + a[:, i] + a[:, j]).sigmoid()
            total = total + (p if x[i, j] else 1 - p).log()
    return float(total.logsumexp(0))


def test_the_evidence_is_that_of_quadrature_and_the_bound_below(device):
    pair, (x, seen) = made(3, 1, device=device).double(), two_graphs(device)
    exact = [evidence(x[i], seen[i]) for i in range(2)]
    for i in range(2):
        estimate = log_likelihood(pair, x[i : i + 1], seen[i : i + 1], particles=40_000, seed=0)
        assert estimate.value == pytest.approx(exact[i], abs=0.02)
    with seeded(0):
        many = x.repeat(2000, 1, 1), seen.repeat(2000, 1, 1)
        loss, terms = SVI(pair)(*many)
    assert float(loss.detach()) > -sum(exact) / 2
    codes = pair.encode(x, seen)
    kl = torch.distributions.kl_divergence(codes.base_dist, dist.Normal(torch.zeros_like(x[:, :, :1]), 1.0))
    torch.testing.assert_close(terms["kl"], kl.sum() / 2)  # of all nodes, with weight 1


def test_pairs_that_are_not_seen_have_no_influence():
    pair, (x, seen) = made(3, 2).double(), two_graphs()
    other = x.clone()
    other[0, 0, 2] = other[0, 2, 0] = 1
    losses, codes, probabilities = [], [], []
    for given in (x, other):
        with seeded(1):
            losses.append(SVI(pair)(given, seen)[0].detach())
        codes.append(pair.encode(given, seen).mean)
        probabilities.append(pair.link_probabilities(given, seen, draws=5))
    for first, second in (losses, codes, probabilities):
        assert torch.equal(first, second)
    assert not torch.equal(pair.encode(other).mean, codes[0])


def test_draws_are_graphs():
    drawn = made(5, 3).sample(400, seed=0)
    assert drawn.shape == (400, 5, 5)
    assert torch.equal(drawn, drawn.transpose(1, 2))
    assert not drawn.diagonal(dim1=1, dim2=2).any()
    assert 0.05 < drawn.mean() < 0.95


def test_links_are_found_that_were_not_seen_and_not_those_of_other_nodes():
    x = graph("les-miserables").x
    split = split_links(x, seed=0)
    pair = made(77, 8)
    data = (split.x.unsqueeze(0), split.seen.unsqueeze(0))
    adam = torch.optim.Adam(pair.parameters(), lr=0.01)
    fit(SVI(pair), data, steps=400, batch_size=1, optimizer=adam, compile="eager", seed=0, progress=False)
    (scores,) = pair.link_probabilities(*data)
    torch.testing.assert_close(scores, scores.T)
    found = link_prediction(scores, split.test.links, split.test.uniform)
    assert found.auc > 0.85
    order = torch.randperm(77, generator=torch.Generator().manual_seed(0))
    others = scores[order][:, order]  # a model of a graph whose nodes are mixed up
    chance = 1 / math.sqrt(6 * 25)  # a standard error of the area without skill, of 25 against 25
    wrong = link_prediction(others, split.test.links, split.test.uniform).auc
    assert abs(wrong - 0.5) < 4.5 * chance
    assert found.auc - wrong > 0.2


def test_a_graph_of_other_size_and_what_is_missing_are_refused():
    with pytest.raises(ValueError, match="adjacency matrices of 3 nodes"):
        made(3, 1).encode(torch.zeros(1, 4, 4))
    with pytest.raises(ValueError, match="the guide needs x"):
        made(3, 1).guide()
