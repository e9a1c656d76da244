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

CLUSTERS, STYLE_OF_CLUSTERS = 16, 3
"""As many as the paper's fewer, and coordinates of the style beside: more leave nothing for the cluster."""

WEIGHTS = {"reconstruction": 0.1, "classes": 1.0, "styles": 10.0}
"""Of the log-likelihood and of both games."""

OF_CLUSTERS, R1_OF_CLUSTERS = WEIGHTS | {"classes": 30.0}, 10.0
"""Without labels their game alone draws probabilities to one-hot vectors: it should be strong and smooth."""

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
    model = _model(task, of_moved_pictures(task.image_shape, classes), STYLE)

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
    classifier = nets.MLP(task.size, CLUSTERS, hidden=(HIDDEN, HIDDEN), activation=nn.ReLU)
    model = _model(task, classifier, STYLE_OF_CLUSTERS)
    budget, games = Budget(3000, 128, RATES["generator"]), (OF_CLUSTERS, R1_OF_CLUSTERS)
    stage = _stage(task, model, budget, lambda rows: rows.fresh, {}, *games)
    every = torch.arange(CLUSTERS, device=task.device)  # equally likely, as in the prior
    return Recipe(model, [stage], contexts=every, labels=every)


def _model(task: Task, classifier: Any, style: int) -> AdversarialAutoencoder:
    classes = classifier.outputs
    hidden = (HIDDEN, HIDDEN)
    encoder = nets.MLP(task.size, style, hidden=hidden, activation=nn.ReLU)
    decoder = nets.Joined(nets.MLP(style + classes, task.size, hidden=hidden, activation=nn.ReLU))
    model = AdversarialAutoencoder(
        nets.ClassHead(classifier), nets.PointHead(encoder), task.likelihood(decoder)
    )
    return model.to(task.device)


def _stage(
    task: Task,
    model: AdversarialAutoencoder,
    budget: Budget,
    data: Any,
    others: Any,
    weights: dict[str, float] = WEIGHTS,
    r1: float = R1,
) -> Stage:
    """Return the training: reconstruction, a game for each code, and other parts."""
    size: Any = model.encoder.outputs
    of_class, of_style = of_codes(len(model.shares)), of_codes(size)
    parts = {
        "reconstruction": PairReconstruction(model),
        "classes": CodeGAN(model, of_class, site="y", r1=r1),
        "styles": CodeGAN(model, of_style, site="z", r1=R1),
        **others,
    }
    objective = Sum(parts, weights | dict.fromkeys(others, ALPHA)).to(task.device)
    adam = players(of_class, of_style, rates=RATES)
    return Stage(objective, data, budget, lambda steps: falling(RATES, steps), adam)
