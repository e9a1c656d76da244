"""The adversarial autoencoder with a class and a style, learned from few labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from probgen import nets
from probgen.models import AdversarialAutoencoder
from probgen.objectives import (
    Agreement,
    Classification,
    CodeGAN,
    PairReconstruction,
    Sum,
    adam_of_players,
)
from probgen.recipes.aae import BETAS, R1, of_codes
from probgen.recipes.gan import falling
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.semi_supervised_vae import RISE, START, of_moved_pictures, with_labels
from probgen.recipes.task import Budget, Rows, Task
from probgen.training.schedules import Schedule, linear

STYLE, HIDDEN = 8, (128, 128)
"""Coordinates of the style, and widths of the layers; the paper's nets have two of 1000."""

WEIGHTS = {"reconstruction": 0.1, "classes": 1.0, "styles": 10.0, "agreement": 1.0, "classification": 4.0}
"""Of the log-likelihood, of both games, of classes that stay as pictures move, and of what labels teach."""

BUDGET = Budget(6000, 80, 1e-3)

RATES = {"generator": 1e-3, "discriminator": 2e-3}


@recipe(
    "semi-supervised-aae",
    "an autoencoder of a class and a style, each in a game with its prior; ten labels of each class teach it",
    source="Makhzani, Shlens, Jaitly, Goodfellow and Frey (2016)",
    tasks=("images",),
)
def semi_supervised_aae(task: Task) -> Recipe:
    """The classifier and the labels of 'm2', with games in the place of its bound.

    A class should stay as a picture moves (``Agreement``), which the paper does not ask: of MNIST it nearly
    halves the errors. All weights but that of the labels begin near 0, so that the classifier at first learns
    from labels alone.
    """
    classes = task.classes("semi-supervised-aae", missing=True)
    assert task.image_shape is not None
    encoder = nets.MLP(task.size, STYLE, hidden=HIDDEN, activation=nn.ReLU)
    decoder = nets.Joined(nets.MLP(STYLE + classes, task.size, hidden=HIDDEN, activation=nn.ReLU))
    classifier = nets.ClassHead(of_moved_pictures(task.image_shape, classes))
    model = AdversarialAutoencoder(classifier, nets.PointHead(encoder), task.likelihood(decoder))
    model = model.to(task.device)
    of_class, of_style = of_codes(classes), of_codes(STYLE)
    parts = {
        "reconstruction": PairReconstruction(model),
        "classes": CodeGAN(model, of_class, site="y", r1=R1),
        "styles": CodeGAN(model, of_style, site="z", r1=R1),
        "agreement": Agreement(model),
        "classification": Classification(model),
    }

    def data_of(rows: Rows) -> Any:
        rows, labels = with_labels(rows, task)
        return rows.fresh, labels

    def plans(steps: int) -> dict[str, Schedule]:
        rising = {
            f"weight_{name}": linear(START * weight, weight, steps=RISE)
            for name, weight in WEIGHTS.items()
            if name != "classification"
        }
        return falling(RATES, steps) | rising

    adam = adam_of_players(
        of_class, of_style, rate=RATES["generator"], discriminator=RATES["discriminator"], betas=BETAS
    )
    stage = Stage(Sum(parts, WEIGHTS).to(task.device), data_of, BUDGET, plans, adam)
    every = torch.arange(classes, device=task.device)
    return Recipe(model, [stage], contexts=every, labels=every)
