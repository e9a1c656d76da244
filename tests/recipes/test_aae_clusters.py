"""Clusters by contest: where they start, what is refused, and that those which are there are found."""

import math
from dataclasses import replace

import pytest
import torch

from probgen import recipes
from probgen.evaluation import clustering_accuracy
from probgen.recipes import Rows, Task
from probgen.recipes.aae_clusters import CLUSTERS, aae_clusters
from probgen.recipes.neighbour_clusters import Clustered, cluster_of, clustered

LEVELS = 17


def blots(n=400, seed=0):
    """Pictures of four shapes, a bar that lies, one that stands, a square and a cross, with grey noise."""
    gen = torch.Generator().manual_seed(seed)
    shapes = torch.zeros(4, 8, 8)
    shapes[0, 3:5, 1:7] = 1
    shapes[1, 1:7, 3:5] = 1
    shapes[2, 1:7, 1:7] = 1
    shapes[2, 3:5, 3:5] = 0
    shapes[3, range(8), range(8)] = 1
    shapes[3, range(8), range(7, -1, -1)] = 1
    labels = torch.multinomial(torch.tensor([0.2, 0.25, 0.25, 0.3]), n, replacement=True, generator=gen)
    grey = 0.8 * shapes.flatten(1)[labels] + 0.2 * torch.rand(n, 64, generator=gen)
    return (grey * (LEVELS - 1)).round() / (LEVELS - 1), labels


def task_of(x):
    rows = Rows(x)
    return Task("blots", "images", rows, rows, image_shape=(8, 8), levels=LEVELS)


def two_moons(n=600, seed=0):
    """Points along two half circles that reach into each other, which no two means part."""
    gen = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    angle = math.pi * torch.rand(n, generator=gen)
    x = torch.stack([angle.cos() + labels, (1 - 2 * labels) * angle.sin() + 0.4 * labels], 1)
    return x + 0.04 * torch.randn(n, 2, generator=gen), labels


def test_what_hangs_together_is_a_cluster_whatever_its_shape():
    x, labels = two_moons()
    found = clustered(task_of(x), 2, seed=3)
    assert clustering_accuracy(cluster_of(x, found), labels) == 1
    fresh, theirs = two_moons(seed=1)
    assert clustering_accuracy(cluster_of(fresh, found), theirs) > 0.99
    again = clustered(task_of(x), 2, seed=3)
    assert torch.equal(found.labels, again.labels)


def test_a_row_is_of_the_cluster_of_the_nearest_of_those_that_were_cut():
    known = Clustered(torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([2, 0, 1]))
    assert cluster_of(torch.tensor([[4.0], [0.4], [0.6], [-9.0]]), known).tolist() == [1, 2, 0, 2]


def test_rows_far_from_zero_are_of_the_cluster_that_they_were_cut_into():
    x = 0.9 + 0.004 * recipes.load("digits").train.smooth
    found = clustered(task_of(x), 10, seed=0)
    assert torch.equal(cluster_of(found.x, found), found.labels)


@pytest.mark.parametrize("n", [10, 12, 40, 64])
def test_few_rows_and_copies_are_cut_into_as_many_clusters(n):
    x = torch.rand(n, 64, generator=torch.Generator().manual_seed(n)).repeat(7, 1)
    found = clustered(task_of(x), 10, seed=0)
    assert len(found.x) == n
    assert len(found.labels.unique()) == 10


def test_the_classifier_starts_at_the_clusters_of_the_graph():
    task = task_of(blots()[0])
    torch.manual_seed(0)
    stage = aae_clusters(task, clusters=4).stages[0]()
    x, found = stage.data(task.train)
    assert torch.equal(x, task.train.x)
    assert clustering_accuracy(found, blots()[1]) == 1


@pytest.mark.parametrize("name", ["aae-clusters", "infogan"])
@pytest.mark.parametrize("change", [lambda x: x[:9], lambda x: x[:5].repeat(20, 1)])
def test_fewer_different_pictures_than_clusters_are_refused_in_words(name, change):
    task = recipes.load("digits")
    few = Rows(change(task.train.x))
    different = len(few.x.unique(dim=0))
    with pytest.raises(
        ValueError,
        match=f"needs a different picture for each of {CLUSTERS} clusters but 'digits' has {different}$",
    ):
        recipes.make(name, replace(task, train=few))


def test_its_last_weights_are_kept():
    (_, stage) = recipes.make("aae-clusters", recipes.load("digits")).stages
    assert stage.objective.judge({"loss": 1.0, "reconstruction": 1.0, "classes": 1.0, "styles": 1.0}) is None


def test_clusters_that_are_there_are_found():
    task = task_of(blots()[0])
    torch.manual_seed(0)
    recipe = aae_clusters(task, clusters=4)
    recipes.train(recipe, task, seed=0, steps=80, batch_size=64, progress=False)
    fresh, theirs = blots(seed=1)
    law = recipe.model.classify(fresh)
    assert clustering_accuracy(law.probs.argmax(1), theirs) > 0.97
    assert law.probs.max(1).values.mean() > 0.9  # sharp, as the prior's
