"""The classes of the mixture VAE: where they start, and that they find clusters that are there."""

import math

import pytest
import torch

from probgen import recipes
from probgen.evaluation import clustering_accuracy
from probgen.models import VAE
from probgen.nets import MLP, NormalHead
from probgen.priors import GaussianMixture, NormalMixture
from probgen.recipes.mixture_vae import CLASSES, classes_of, start


def clusters(n=600, seed=0):
    """Points of ten small clusters on a ring, of unequal size, and which is whose."""
    gen = torch.Generator().manual_seed(seed)
    shares = torch.arange(10.0) + 5
    labels = torch.multinomial(shares, n, replacement=True, generator=gen)
    angle = labels * (2 * math.pi / 10)
    centres = 4 * torch.stack([angle.cos(), angle.sin()], 1)
    return centres + 0.15 * torch.randn(n, 2, generator=gen), labels


class Seen(torch.nn.Module):
    """q(z | x) = N(x, ½²)."""

    outputs = 2

    def forward(self, x):
        return torch.distributions.Independent(torch.distributions.Normal(x, torch.tensor(0.5)), 1)


def test_prior_and_classes_start_at_those_of_the_codes():
    x, labels = clusters()
    mixture = GaussianMixture(2, CLASSES)
    mixture.fit(x, seed=0)
    found = classes_of(mixture, x)
    assert clustering_accuracy(found, labels) > 0.99
    prior = NormalMixture(2, CLASSES)
    start(prior, VAE(Seen(), NormalHead(MLP(2, 2))), mixture, x)
    for k in range(CLASSES):
        own = found == k
        torch.testing.assert_close(prior.loc[k].detach(), x[own].mean(0))
        variance = x[own].var(0) + 0.25  # that of the posteriors too
        torch.testing.assert_close(prior.log_scale[k].detach().exp().square(), variance)
        share = float(prior.logits.detach().softmax(0)[k])
        assert share == pytest.approx((int(own.sum()) + 1) / (len(x) + CLASSES))


def test_clusters_that_are_there_are_found():
    x, labels = clusters()
    rows = recipes.Rows(x)
    task = recipes.Task("ring of clusters", "plane", rows, rows)
    torch.manual_seed(0)
    recipe = recipes.make("mixture-vae", task)
    recipes.train(recipe, task, seed=0, steps=80, batch_size=200, progress=False)
    classes = recipe.model.classify(x).probs.argmax(1)
    assert clustering_accuracy(classes, labels) > 0.9
