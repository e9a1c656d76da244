"""Adversarial autoencoders with a class and a style: learned from few labels, or clusters without any."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from probgen import nets
from probgen.models import AdversarialAutoencoder
from probgen.objectives import Classification, CodeGAN, PairReconstruction, Sum
from probgen.recipes.aae import R1, of_codes, players
from probgen.recipes.gan import falling
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.semi_supervised_vae import of_moved_pictures, with_labels
from probgen.recipes.task import Budget, Rows, Task

STYLE, HIDDEN = 8, 128
"""Coordinates of the style, and widths of the layers; the paper's nets have two of 1000."""

CLUSTERS = 16
"""As many as the paper's fewer; data have their own number of classes, which is not told."""

WEIGHTS = {"reconstruction": 0.1, "classes": 1.0, "styles": 10.0}
"""Of the log-likelihood and of both games."""

ALPHA = 4.0
"""The weight of the classification."""

RATES = {"generator": 1e-3, "discriminator": 2e-3}

SOURCE = "Makhzani, Shlens, Jaitly, Goodfellow and Frey (2016)"


@recipe(
    "semi-supervised-aae",
    "an autoencoder of a class and a style, each in a game with its prior; ten labels of each class teach it",
    source=SOURCE,
    tasks=("images",),
)
def semi_supervised_aae(task: Task) -> Recipe:
    """The classifier and the labels of 'm2', with games in the place of its bound."""
    classes = task.classes("semi-supervised-aae", missing=True)
    assert task.image_shape is not None
    model = _model(task, of_moved_pictures(task.image_shape, classes))

    def data_of(rows: Rows) -> Any:
        rows, labels = with_labels(rows, task)
        return rows.fresh, labels

    every = torch.arange(classes, device=task.device)
    parts = {"classification": Classification(model)}
    stage = _stage(task, model, Budget(3000, 80, RATES["generator"]), data_of, parts)
    return Recipe(model, [stage], contexts=every, labels=every)


@recipe(
    "aae-clusters",
    "an autoencoder of one of sixteen clusters and a style, each in a game with its prior, without labels",
    source=SOURCE,
    tasks=("images",),
)
def aae_clusters(task: Task) -> Recipe:
    """Clusters of what the decoder cannot tell by style."""
    model = _model(task, nets.MLP(task.size, CLUSTERS, hidden=(HIDDEN, HIDDEN), activation=nn.ReLU))
    stage = _stage(task, model, Budget(3000, 128, RATES["generator"]), lambda rows: rows.fresh, {})
    every = torch.arange(CLUSTERS, device=task.device)  # equally likely, as in the prior
    return Recipe(model, [stage], contexts=every, labels=every)


def _model(task: Task, classifier: Any) -> AdversarialAutoencoder:
    classes = classifier.outputs
    hidden = (HIDDEN, HIDDEN)
    encoder = nets.MLP(task.size, STYLE, hidden=hidden, activation=nn.ReLU)
    decoder = nets.Joined(nets.MLP(STYLE + classes, task.size, hidden=hidden, activation=nn.ReLU))
    model = AdversarialAutoencoder(
        nets.ClassHead(classifier), nets.PointHead(encoder), task.likelihood(decoder)
    )
    return model.to(task.device)


def _stage(task: Task, model: AdversarialAutoencoder, budget: Budget, data: Any, others: Any) -> Stage:
    """Return the training: reconstruction, a game for each code, and other parts."""
    of_class, of_style = of_codes(len(model.shares)), of_codes(STYLE)
    parts = {
        "reconstruction": PairReconstruction(model),
        "classes": CodeGAN(model, of_class, site="y", r1=R1),
        "styles": CodeGAN(model, of_style, site="z", r1=R1),
        **others,
    }
    weights = WEIGHTS | dict.fromkeys(others, ALPHA)
    objective = Sum(parts, weights).to(task.device)
    adam = players(of_class, of_style, rates=RATES)
    return Stage(objective, data, budget, lambda steps: falling(RATES, steps), adam)
