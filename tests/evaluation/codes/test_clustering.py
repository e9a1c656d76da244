"""Clusters against labels: assignments by enumeration, and codes whose clusters are known."""

import itertools
import math

import numpy as np
import pytest
import torch

from probgen.evaluation import clustering, clustering_accuracy


def blobs(n=300, apart=20.0):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 3
    centres = apart * torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    return centres[labels] + torch.randn(n, 2, generator=generator), labels


def test_the_accuracy_is_the_best_of_all_assignments():
    source = np.random.default_rng(0)
    for _ in range(5):
        found, labels = source.integers(5, size=40), source.integers(4, size=40)
        best = max(np.mean(np.array(p)[found] == labels) for p in itertools.permutations(range(5)))
        assert clustering_accuracy(found, labels) == pytest.approx(best)


def test_no_two_clusters_have_one_label():
    assert clustering_accuracy(np.array([0, 0, 1, 1]), np.zeros(4, int)) == 0.5


@pytest.mark.parametrize("method", ["k-means", "gaussian mixture"])
def test_clusters_far_apart_are_found(method, device):
    z, labels = blobs()
    found = clustering(z.to(device), labels.to(device), method=method, repeats=2)
    assert found.accuracy == found.ari == 1.0
    assert found.nmi == pytest.approx(1.0)
    assert (found.accuracy_std, found.ari_std) == (0.0, 0.0)


def test_labels_that_codes_know_nothing_of_score_as_chance():
    z, _ = blobs()
    labels = torch.randint(3, (300,), generator=torch.Generator().manual_seed(1))
    found = clustering(z, labels, repeats=2)
    assert abs(found.ari) < 0.03
    assert found.nmi < 0.03
    # The best of 6 assignments of which each has a mean of 1/3: below that and 4 standard deviations.
    assert 1 / 3 <= found.accuracy < 1 / 3 + 4 * math.sqrt(2 / 9 / 300)


def test_a_mixture_finds_clusters_that_lie_within_one_another():
    """Two crossed ellipses: k-means, which knows of distances alone, halves them."""
    generator = torch.Generator().manual_seed(2)
    labels = torch.arange(1000) % 2
    scales = torch.where(labels[:, None] == 0, torch.tensor([10.0, 0.3]), torch.tensor([0.3, 10.0]))
    z = torch.randn(1000, 2, generator=generator) * scales
    assert clustering(z, labels, method="gaussian mixture", repeats=1).accuracy > 0.9
    assert clustering(z, labels, repeats=1).accuracy < 0.8


def test_seeds_decide_and_the_spread_is_over_repeats():
    z = torch.rand(200, 5, generator=torch.Generator().manual_seed(3))
    labels = torch.arange(200) % 8
    found = clustering(z, labels, seed=1)
    assert clustering(z, labels, seed=1) == found
    assert found.accuracy_std > 0
    assert clustering(z, labels, seed=2) != found


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda z, y: clustering(z, y[:3]), r"labels should have shape \(300,\), one a code"),
        (lambda z, y: clustering(z, y - 1), "labels should be whole numbers"),
        (
            lambda z, y: clustering(z, y, clusters=301),
            "clusters should be at most 300, the codes",
        ),
        (lambda z, y: clustering(z * math.nan, y), "codes should be finite but hold 600 numbers"),
        (lambda z, y: clustering(z, y, method="kmeans"), "method should be 'k-means' or"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call(*blobs())
