"""The adversarial autoencoder with a class and a style, learned without labels: clusters."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from probgen import nets
from probgen.models import VAE, AdversarialAutoencoder
from probgen.objectives import (
    Agreement,
    Classification,
    CodeGAN,
    PairReconstruction,
    Sum,
    adam_of_players,
)
from probgen.recipes.aae import BETAS, R1, of_codes
from probgen.recipes.gan import falling, units_of
from probgen.recipes.neighbour_clusters import check_different, cluster_of, clustered
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.semi_supervised_vae import of_moved_pictures
from probgen.recipes.task import Budget, Task
from probgen.training.schedules import Schedule

CLUSTERS = 10
"""The paper has 16 and 30; of 16 on digits four or five die out."""

STYLE, HIDDEN = 4, (128, 128)
"""Coordinates of the style, and widths of the layers; the paper's nets have two of 1000."""

WEIGHTS = {"reconstruction": 0.1, "classes": 10.0, "styles": 10.0, "agreement": 0.3}
"""Of the log-likelihood, of both games, and of classes that stay as pictures move."""

RATES, RISE = {"generator": 1e-3, "discriminator": 3e-3}, 150
"""Of Adam, that of the nets rising from 0 in so many steps: a game whose discriminators are not yet ready
takes apart the clusters that are there."""

OF_START, OF_ALL = Budget(200, 100, 1e-3), Budget(1600, 100, RATES["generator"])


@recipe(
    "aae-clusters",
    "an autoencoder of one of ten clusters and a style, each in a game with its prior, without labels",
    source="Makhzani, Shlens, Jaitly, Goodfellow and Frey (2016)",
    tasks=("images",),
)
def aae_clusters(task: Task, *, clusters: int = CLUSTERS) -> Recipe:
    """First a classifier of moved pictures is taught the clusters of a graph, then all learns jointly.

    From nothing, clusters that are of no use yet divide the pictures at random, and the style learns to do
    without them. A cluster should stay as a picture moves (``Agreement``), which the paper does not ask; the
    game of the classes with equal shares keeps them in use: without it all pictures come to be of one.
    Clusters that are many more than the data have merge all the same: of 30 on digits half are left.

    Raises ValueError for fewer different pictures than clusters.
    """
    assert task.image_shape is not None
    units_of(task)  # refuses what is not finite
    check_different(task, clusters, recipe="aae-clusters")
    encoder = nets.MLP(task.size, STYLE, hidden=HIDDEN, activation=nn.ReLU)
    decoder = nets.Joined(nets.MLP(STYLE + clusters, task.size, hidden=HIDDEN, activation=nn.ReLU))
    classifier = nets.ClassHead(of_moved_pictures(task.image_shape, clusters))
    model = AdversarialAutoencoder(classifier, nets.PointHead(encoder), task.likelihood(decoder))
    model = model.to(task.device)

    def of_start() -> Stage:
        found = clustered(task, clusters, seed=int(torch.randint(2**31, ())))
        return Stage(
            Classification(model), lambda rows: (rows.fresh, cluster_of(rows.smooth, found)), OF_START
        )

    of_class, of_style = of_codes(clusters), of_codes(STYLE)
    styles = VAE(model.encoder, model.decoder, model.prior)  # for its codes: the classifier has no part there
    parts = {
        "reconstruction": PairReconstruction(model),
        # By γ the force against a cluster of share q is as (1/K − q)/γ, so that γ = 1/K suits any number K.
        "classes": CodeGAN(model, of_class, site="y", r1=1 / clusters),
        "styles": CodeGAN(styles, of_style, r1=R1),
        "agreement": Agreement(model),
    }

    def plans(steps: int) -> dict[str, Schedule]:
        given = falling(RATES, steps)
        falls, rise = given["lr.generator"], min(RISE, steps // 4)
        return given | {"lr.generator": lambda step: falls(step) * min(1.0, (step + 1) / (rise + 1))}

    adam = adam_of_players(
        of_class, of_style, rate=RATES["generator"], discriminator=RATES["discriminator"], betas=BETAS
    )
    of_all = Stage(LastWeights(parts, WEIGHTS).to(task.device), lambda rows: rows.fresh, OF_ALL, plans, adam)
    every = torch.arange(clusters, device=task.device)  # equally likely, as in the prior
    return Recipe(model, [of_start, of_all], contexts=every, labels=every)


class LastWeights(Sum):
    """A sum whose last weights are kept: nothing that is held out tells how good clusters are."""

    def judge(self, terms: Mapping[str, float]) -> float | None:
        """Return None."""
        return None
